#include <algorithm>
#include <limits>

#include "harness.h"

// gemm and gemm_silu_mul.

namespace hotpath::test {
namespace {

// n columns of y; with silu, w has 2 n rows: gate, then up.
struct GemmShape {
  int64_t m, n, k;
  bool silu = false, bias = false, accumulate = false;
  int64_t w_rows() const { return silu ? 2 * n : n; }
};

std::string shape_name(const GemmShape& s) {
  return concat("n=", s.n, " k=", s.k, s.bias ? " bias" : "", s.accumulate ? " accumulate" : "");
}

const char* op_name(const GemmShape& s) { return s.silu ? "gemm_silu_mul " : "gemm "; }

// Sums of k products of normals have size sqrt(k); scaling w keeps them near 1.
constexpr double kTolerance = 2e-5;

struct GemmData {
  GemmShape s;
  std::vector<float> x, w, b, y0;

  GemmData(Run& run, const GemmShape& shape) : s(shape) {
    x = run.rng().normals(s.m * s.k);
    w = run.rng().normals(s.w_rows() * s.k, 1 / std::sqrt(static_cast<float>(s.k)));
    b = run.rng().normals(s.w_rows()), y0 = run.rng().normals(s.m * s.n);
  }

  double dot(int64_t i, int64_t row) const {
    double sum = s.bias ? b[row] : 0.0;
    const float *xi = &x[i * s.k], *wj = &w[row * s.k];
    for (int64_t k = 0; k < s.k; ++k) sum += double{xi[k]} * wj[k];
    return sum;
  }
  double expected(int64_t i, int64_t j) const {
    if (s.silu) {
      const double gate = dot(i, j);
      return gate / (1 + std::exp(-gate)) * dot(i, s.n + j);
    }
    return dot(i, j) + (s.accumulate ? y0[i * s.n + j] : 0.0);
  }
};

void call(Ops& ops, const GemmShape& s, const Tensor& y, const Tensor& x, const Tensor& w,
          const Tensor& bias) {
  if (s.silu)
    ops.gemm_silu_mul(y, x, w, s.bias ? &bias : nullptr);
  else
    ops.gemm(y, x, w, s.bias ? &bias : nullptr, s.accumulate);
}

// Weights as unaligned as a checkpoint may have them. logits: y is f32 whatever the activations.
Case gemm_case(GemmShape s, DType dtype, bool strided, bool logits) {
  Case c;
  c.name = concat(op_name(s), dtype_name(dtype), " m=", s.m, " ", shape_name(s),
                  strided ? " strided" : "", logits ? " f32 out" : "");
  c.body = [=](Run& run) {
    GemmData data(run, s);
    const int skew = static_cast<int>(dtype_size(dtype));
    const DType out = logits ? DType::kF32 : run.activation();
    const Tensor w = run.upload(data.w, dtype, {s.w_rows(), s.k}, skew);
    const Tensor b = run.upload(data.b, dtype, {s.w_rows()}, skew);
    const Tensor x = run.upload_strided(data.x, run.activation(), s.m, s.k, s.k + 5 * strided);
    const Tensor y = run.upload_strided(data.y0, out, s.m, s.n, s.n + 3 * strided);
    call(run.ops(), s, y, x, w, b);
    std::vector<double> expected;
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) expected.push_back(data.expected(i, j));
    run.close(run.download(y), expected, run.tolerance(kTolerance, logits ? 0 : 1), "y");
  };
  return c;
}

// y's rows begin at whole 16 bytes but do not end there, as in a wider buffer: a kernel that stores
// 16 bytes at a time writes behind the last column, where all must stay NaN, as must the rows that
// follow.
Case gemm_between_rows(GemmShape s, DType dtype) {
  Case c;
  c.name = concat(op_name(s), dtype_name(dtype), " m=", s.m, " ", shape_name(s),
                  " nothing between rows");
  c.body = [=](Run& run) {
    constexpr int64_t kSpare = 3;
    const int64_t stride = (s.n + 7) / 8 * 8;
    expect(stride > s.n, "expected columns of no whole 8, received ", s.n);
    GemmData data(run, s);
    const Tensor w = run.upload(data.w, dtype, {s.w_rows(), s.k});
    const Tensor b = run.upload(data.b, dtype, {s.w_rows()});
    const Tensor x = run.upload(data.x, run.activation(), {s.m, s.k});
    const Tensor with_spare =
        run.upload_strided(data.y0, run.activation(), s.m, s.n, stride, kSpare);
    const Tensor y = with_spare.rows(s.m);
    call(run.ops(), s, y, x, w, b);
    const auto all = run.download(Tensor(y.data, y.dtype, {s.m + kSpare, stride}));
    for (int64_t i = 0; i < s.m + kSpare; ++i)
      for (int64_t j = i < s.m ? s.n : 0; j < stride; ++j)
        expect(std::isnan(all[i * stride + j]), "row ", i, " column ", j,
               ", outside of y: expected NaN as before, received ", all[i * stride + j]);
    const auto places = places_in(run.rng(), s.m, s.n, 6000000 / s.k);
    std::vector<double> expected;
    for (int64_t at : places) expected.push_back(data.expected(at / s.n, at % s.n));
    run.close_at(run.download(y), places, expected, run.tolerance(kTolerance), "y");
  };
  return c;
}

// A row alone, in batches of every size, between other neighbours, on one thread and on three: the
// same bits.
Case gemm_invariance(GemmShape s, DType dtype) {
  Case c;
  c.name = concat(op_name(s), dtype_name(dtype), " batch invariance ", shape_name(s));
  c.body = [=](Run& run) {
    GemmData data(run, s);
    const Tensor w =
        run.upload(data.w, dtype, {s.w_rows(), s.k}, static_cast<int>(dtype_size(dtype)));
    const Tensor x = run.upload(data.x, run.activation(), {s.m, s.k});
    const Tensor y = run.empty(DType::kF32, {s.m, s.n});
    call(run.ops(), s, y, x, w, {});
    const auto whole = run.download(y);
    auto others = run.other_threads();
    std::vector<Ops*> all = {&run.ops()};
    for (auto& other : others) all.push_back(other.get());
    for (int64_t size : {1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 33, 64}) {
      for (int64_t begin = 0; begin + size <= s.m; begin += std::max<int64_t>(size, 11)) {
        const Tensor part = run.empty(DType::kF32, {size, s.n});
        for (Ops* ops : all) {
          call(*ops, s, part, slice_rows(x, begin, size), w, {});
          expect_same(run.download(part), slice_rows(whole, s.n, begin, size),
                      concat("rows ", begin, " to ", begin + size, " of ", s.m).c_str());
        }
      }
    }
  };
  return c;
}

// Shapes that fast kernels take: everything aligned, whole vectors of K, several tiles of N. The
// largest batch is right at sampled places, and batches of every size at which one kernel may hand
// over to the next give the same bits, wherever the rows stand.
Case gemm_rows(GemmShape s, DType dtype, bool every_size = false) {
  const std::vector<int64_t> edges = {1,   2,   3,   4,   5,   7,   8,   9,  15, 16,
                                      17,  24,  31,  32,  33,  48,  63,  64, 65, 96,
                                      127, 128, 129, 192, 200, 256, 257, 300};
  std::vector<int64_t> few = {1, 2, 7, 33, 65, 129};
  if (s.w_rows() * s.k > 3000000) few = {1, 5, 33};  // the CPU has seen the others
  Case c;
  c.name = concat(op_name(s), dtype_name(dtype), every_size ? " every m" : " m=1..300", " ",
                  shape_name(s));
  c.body = [=](Run& run) {
    std::vector<int64_t> sizes = run.on_cpu() ? few : edges;
    if (every_size && !run.on_cpu()) {
      sizes.clear();
      for (int64_t m = 1; m <= 300; ++m) sizes.push_back(m);
    }
    GemmShape largest = s;
    largest.m = sizes.back();
    GemmData data(run, largest);
    const Tensor w = run.upload(data.w, dtype, {s.w_rows(), s.k});
    const Tensor b = run.upload(data.b, dtype, {s.w_rows()});
    const Tensor x = run.upload(data.x, run.activation(), {largest.m, s.k});
    auto result = [&](int64_t begin, int64_t m) {
      auto y0 = slice_rows(data.y0, s.n, begin, m);
      const Tensor y = run.upload(y0, run.activation(), {m, s.n});
      if (!s.accumulate) run.write(y, std::vector<float>(y0.size(), std::nanf("")));
      call(run.ops(), s, y, slice_rows(x, begin, m), w, b);
      return run.download(y);
    };
    const auto whole = result(0, largest.m);
    for (float& v : data.y0) v = rounded(v, run.activation());
    const auto places = places_in(run.rng(), largest.m, s.n, 6000000 / s.k);
    std::vector<double> expected;
    for (int64_t at : places) expected.push_back(data.expected(at / s.n, at % s.n));
    run.close_at(whole, places, expected, run.tolerance(kTolerance), "y");
    for (int64_t m : sizes)
      for (int64_t begin : {int64_t{0}, largest.m - m})
        expect_same(result(begin, m), slice_rows(whole, s.n, begin, m),
                    concat("rows ", begin, " to ", begin + m, " of ", largest.m).c_str());
  };
  return c;
}

}  // namespace

void add_gemm_cases(std::vector<Case>& cases) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    // Every tile edge: rows of x and of w around multiples of 3, 4 and 6, columns around vectors
    // and around the K block.
    for (int64_t m : {1, 2, 3, 4, 5, 7, 12, 25, 130})
      cases.push_back(
          gemm_case({m, 37, 200, false, m % 2 == 0, m % 3 == 0}, dtype, m % 5 == 0, m % 4 == 1));
    for (int64_t k : {1, 7, 8, 15, 16, 17, 511, 512, 513, 896, 1030, 4864})
      cases.push_back(gemm_case({5, 18, k}, dtype, false, k % 3 == 0));
    for (int64_t n : {1, 2, 3, 4, 5, 9, 31, 33, 257})
      cases.push_back(gemm_case({4, n, 65, false, true, true}, dtype, true, n % 2 == 0));
    cases.push_back(gemm_case({0, 16, 16, false, true}, dtype, false, false));
    cases.push_back(gemm_case({1, 700, 900, false, true}, dtype, false, true));
    cases.push_back(gemm_case({70, 300, 1200, false, false, true}, dtype, false, false));
    cases.push_back(gemm_invariance({70, 50, 1030}, dtype));
    cases.push_back(gemm_invariance({70, 203, 77}, dtype));

    for (int64_t m : {1, 2, 3, 6, 25, 66})
      cases.push_back(gemm_case({m, 37, 200, true, m % 2 == 0}, dtype, m % 3 == 0, false));
    for (int64_t n : {1, 2, 5, 16, 33, 130})
      cases.push_back(gemm_case({4, n, 65, true, n % 2 == 0}, dtype, true, false));
    for (int64_t k : {1, 8, 17, 513, 1200})
      cases.push_back(gemm_case({5, 18, k, true}, dtype, false, false));
    cases.push_back(gemm_case({0, 16, 16, true}, dtype, false, false));
    cases.push_back(gemm_invariance({70, 50, 333, true}, dtype));
  }
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    // N on both sides of 2048 and K of both sides of 512 (sums in one part or in four); K of whole
    // and of broken blocks of 64; N of whole tiles and not.
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{{96, 64},
                                                                       {128, 72},
                                                                       {130, 448},
                                                                       {256, 512},
                                                                       {1000, 520},
                                                                       {1152, 896},
                                                                       {896, 4864},
                                                                       {2048, 512},
                                                                       {2050, 136},
                                                                       {2304, 1088},
                                                                       {4096, 1024}}) {
      const int64_t kind = (n + k) / 8 % 3;
      cases.push_back(gemm_rows({0, n, k, false, kind == 1, kind == 2}, dtype));
    }
    cases.push_back(gemm_rows({0, 320, 896, false, true, true}, dtype));
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{
             {32, 64}, {48, 72}, {500, 520}, {704, 1024}, {1024, 640}, {1184, 200}, {4864, 896}})
      cases.push_back(gemm_rows({0, n, k, true, n % 3 == 0}, dtype));
    // Rows enough for the kernels that store tiles; K of whole blocks, in one part and in four.
    for (int64_t m : {40, 130}) {
      for (int64_t n : {2306, 2308, 1154}) {
        const int64_t k = n < 2048 ? 576 : 192;
        cases.push_back(gemm_between_rows({m, n, k}, dtype));
        cases.push_back(gemm_between_rows({m, n, k, false, true, true}, dtype));
      }
      cases.push_back(gemm_between_rows({m, 1154, 192, true}, dtype));
      cases.push_back(gemm_between_rows({m, 1156, 128, true, true}, dtype));
      cases.push_back(gemm_between_rows({m, 578, 576, true}, dtype));
    }
    cases.push_back(gemm_rows({0, 128, 576}, dtype, true));
    cases.push_back(gemm_rows({0, 2112, 192, false, true}, dtype, true));
    cases.push_back(gemm_rows({0, 96, 576, true}, dtype, true));
    cases.push_back(gemm_rows({0, 1056, 192, true}, dtype, true));
  }
}

}  // namespace hotpath::test

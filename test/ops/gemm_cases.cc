#include <algorithm>
#include <limits>

#include "harness.h"

namespace hotpath::test {
namespace {

struct GemmShape {
  int64_t m, n, k;
};

std::vector<double> gemm_reference(const std::vector<float>& x, const std::vector<float>& w,
                                   const GemmShape& s) {
  std::vector<double> y(s.m * s.n);
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < s.k; ++k) sum += double{x[i * s.k + k]} * w[j * s.k + k];
      y[i * s.n + j] = sum;
    }
  return y;
}

std::string shape_name(const GemmShape& s) { return concat("m=", s.m, " n=", s.n, " k=", s.k); }

// Sums of k products of normals have size sqrt(k); scaling w keeps them near 1.
constexpr double kTolerance = 2e-5;

Case gemm_case(GemmShape s, DType dtype, bool bias, bool accumulate, bool strided) {
  Case c;
  c.name = concat("gemm ", dtype_name(dtype), " ", shape_name(s), bias ? " bias" : "",
                  accumulate ? " accumulate" : "", strided ? " strided" : "");
  c.body = [=](Run& run) {
    auto x = run.rng().normals(s.m * s.k);
    auto w = run.rng().normals(s.n * s.k, 1 / std::sqrt(static_cast<float>(s.k)));
    auto b = run.rng().normals(s.n), y0 = run.rng().normals(s.m * s.n);
    const int skew = static_cast<int>(dtype_size(dtype));  // as unaligned as a checkpoint may be
    const Tensor tw = run.upload(w, dtype, {s.n, s.k}, skew);
    const Tensor tb = run.upload(b, dtype, {s.n}, skew);
    const Tensor tx = strided ? run.upload_strided(x, run.activation(), s.m, s.k, s.k + 5)
                              : run.upload(x, run.activation(), {s.m, s.k});
    const Tensor ty = strided ? run.upload_strided(y0, DType::kF32, s.m, s.n, s.n + 3)
                              : run.upload(y0, DType::kF32, {s.m, s.n});
    run.op([&](int) { run.ops().gemm(ty, tx, tw, bias ? &tb : nullptr, accumulate); });
    auto expected = gemm_reference(x, w, s);
    for (int64_t i = 0; i < s.m * s.n; ++i)
      expected[i] += (bias ? b[i % s.n] : 0.0) + (accumulate ? y0[i] : 0.0);
    run.close(run.download(ty), expected, kTolerance, "y");
  };
  return c;
}

// A row alone, in batches of every size, between other neighbours, on one thread and on three: the
// same bits.
Case gemm_invariance(GemmShape s, DType dtype) {
  Case c;
  c.name = concat("gemm ", dtype_name(dtype), " batch invariance n=", s.n, " k=", s.k);
  c.body = [=](Run& run) {
    auto x = run.rng().normals(s.m * s.k), w = run.rng().normals(s.n * s.k);
    const Tensor tw = run.upload(w, dtype, {s.n, s.k}, static_cast<int>(dtype_size(dtype)));
    const Tensor tx = run.upload(x, run.activation(), {s.m, s.k});
    const Tensor ty = run.empty(DType::kF32, {s.m, s.n});
    run.ops().gemm(ty, tx, tw, nullptr, false);
    const auto whole = run.download(ty);
    const auto one = run.with_threads(1), three = run.with_threads(3);
    for (int64_t size : {1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 33, 64}) {
      for (int64_t begin = 0; begin + size <= s.m; begin += std::max<int64_t>(size, 11)) {
        Tensor part = tx;
        part.data = tx.row<float>(begin);
        const Tensor y = run.empty(DType::kF32, {size, s.n});
        for (Ops* ops : {&run.ops(), one.get(), three.get()}) {
          ops->gemm(y, part.rows(size), tw, nullptr, false);
          expect_same(run.download(y),
                      {whole.begin() + begin * s.n, whole.begin() + (begin + size) * s.n},
                      concat("rows ", begin, " to ", begin + size, " of ", s.m).c_str());
        }
      }
    }
  };
  return c;
}

// Qwen2.5-0.5B's layers. Weights rotate through more memory than any cache holds, as they do in a
// model.
Case gemm_bench(const char* layer, GemmShape s, DType dtype) {
  Case c;
  c.name = concat("gemm ", dtype_name(dtype), " ", layer, " ", shape_name(s));
  c.bytes = static_cast<double>(s.n * s.k) * static_cast<double>(dtype_size(dtype)) +
            4.0 * static_cast<double>(s.m * (s.n + s.k));
  c.flops = 2.0 * static_cast<double>(s.m) * static_cast<double>(s.n * s.k);
  c.mode = Mode::kBench;
  c.body = [=](Run& run) {
    const int64_t copies = std::clamp<int64_t>((int64_t{192} << 20) / (s.n * s.k * 2), 1, 64);
    const Tensor w = run.empty(dtype, {copies * s.n, s.k});
    auto values = run.rng().normals(s.n * s.k, 0.02f);
    for (int64_t i = 0; i < copies; ++i) {
      Tensor part = w;
      part.data = w.as<char>() + i * s.n * s.k * static_cast<int64_t>(dtype_size(dtype));
      run.write(part.rows(s.n), values);
    }
    auto x = run.rng().normals(s.m * s.k);
    const Tensor tx = run.upload(x, run.activation(), {s.m, s.k});
    const Tensor y = run.empty(DType::kF32, {s.m, s.n});
    run.op([&](int i) {
      Tensor part = w;
      part.data = w.as<char>() + i % copies * s.n * s.k * static_cast<int64_t>(dtype_size(dtype));
      run.ops().gemm(y, tx, part.rows(s.n), nullptr, false);
    });
  };
  return c;
}

}  // namespace

void add_gemm_cases(std::vector<Case>& cases) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    // Every tile edge: rows of x and of w around multiples of 3, 4 and 6, columns around vectors
    // and around the K block.
    for (int64_t m : {1, 2, 3, 4, 5, 7, 12, 25, 130})
      cases.push_back(gemm_case({m, 37, 200}, dtype, m % 2 == 0, m % 3 == 0, m % 5 == 0));
    for (int64_t k : {1, 7, 8, 15, 16, 17, 511, 512, 513, 896, 1030, 4864})
      cases.push_back(gemm_case({5, 18, k}, dtype, false, false, false));
    for (int64_t n : {1, 2, 3, 4, 5, 9, 31, 33, 257})
      cases.push_back(gemm_case({4, n, 65}, dtype, true, true, true));
    cases.push_back(gemm_case({0, 16, 16}, dtype, true, false, false));
    cases.push_back(gemm_case({1, 700, 900}, dtype, true, false, false));
    cases.push_back(gemm_case({70, 300, 1200}, dtype, false, true, false));
    cases.push_back(gemm_invariance({70, 50, 1030}, dtype));
    cases.push_back(gemm_invariance({70, 203, 77}, dtype));
  }
  for (int64_t m : {1, 2, 4, 8, 16, 32, 64, 128}) {
    cases.push_back(gemm_bench("qkv", {m, 1152, 896}, DType::kBF16));
    cases.push_back(gemm_bench("o", {m, 896, 896}, DType::kBF16));
    cases.push_back(gemm_bench("gate_up", {m, 9728, 896}, DType::kBF16));
    cases.push_back(gemm_bench("down", {m, 896, 4864}, DType::kBF16));
    if (m <= 32) cases.push_back(gemm_bench("lm_head", {m, 151936, 896}, DType::kBF16));
  }
  for (int64_t m : {1, 8, 128}) {
    cases.push_back(gemm_bench("gate_up", {m, 9728, 896}, DType::kF16));
    cases.push_back(gemm_bench("gate_up", {m, 9728, 896}, DType::kF32));
  }
}

}  // namespace hotpath::test

#include <limits>

#include "harness.h"
#include "paged.h"

// embed, gather_logits_rows, rmsnorm, add_rmsnorm, silu_mul, qk_norm_rope_store.

namespace hotpath::test {
namespace {

constexpr DType kFloats[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr double kTolerance = 4e-6;

std::vector<double> norm_reference(const float* x, const float* w, int64_t n, float eps) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += double{x[i]} * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  std::vector<double> y(n);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * scale * (w ? w[i] : 1.0);
  return y;
}

Case norm_case(int64_t rows, int64_t n, DType dtype, bool residual, bool aligned = false) {
  Case c;
  c.name = concat(residual ? "add_rmsnorm " : "rmsnorm ", dtype_name(dtype), " t=", rows, " h=", n,
                  aligned ? " aligned" : "");
  c.body = [=](Run& run) {
    auto x = run.rng().normals(rows * n, 3), r = run.rng().normals(rows * n, 3);
    auto w = run.rng().normals(n);
    const Tensor tx = run.upload(x, run.activation(), {rows, n});
    const Tensor tr = run.upload(r, run.activation(), {rows, n});
    const Tensor tw = run.upload(w, dtype, {n}, aligned ? 0 : static_cast<int>(dtype_size(dtype)));
    const Tensor out = run.empty(run.activation(), {rows, n});
    if (residual)
      run.ops().add_rmsnorm(out, tr, tx, tw, 1e-6f);
    else
      run.ops().rmsnorm(out, tx, tw, 1e-6f);
    if (residual) {
      std::vector<double> sum;
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] = rounded(x[i] + r[i], run.activation());
        sum.push_back(x[i]);
      }
      run.close(run.download(tr), sum, 0, "residual");
    }
    std::vector<double> expected;
    for (int64_t i = 0; i < rows; ++i)
      for (double v : norm_reference(&x[i * n], w.data(), n, 1e-6f)) expected.push_back(v);
    const auto actual = run.download(out);
    run.close(actual, expected, run.tolerance(kTolerance, residual ? 2 : 1), "out");
    // Alone, the last row comes out the same.
    if (rows < 2) return;
    auto others = run.other_threads();
    Ops& ops = others.empty() ? run.ops() : *others[0];
    const Tensor last = slice_rows(tx, rows - 1, 1);
    const Tensor one = run.empty(run.activation(), {1, n});
    if (residual) {
      auto last_r = slice_rows(r, n, rows - 1, 1);
      ops.add_rmsnorm(one, run.upload(last_r, run.activation(), {1, n}), last, tw, 1e-6f);
    } else {
      ops.rmsnorm(one, last, tw, 1e-6f);
    }
    expect_same(run.download(one), {actual.end() - n, actual.end()}, "row alone");
  };
  return c;
}

Case silu_case(int64_t rows, int64_t n) {
  Case c;
  c.name = concat("silu_mul t=", rows, " i=", n);
  c.bytes = 12.0 * static_cast<double>(rows * n);
  c.mode = rows * n > 100000 ? Mode::kBoth : Mode::kTest;
  c.where = Where::kCpu;
  c.body = [=](Run& run) {
    auto x = run.rng().normals(rows * 2 * n, 4);
    const float lowest = run.activation() == DType::kF16 ? -300.0f : -1e30f;  // times 200
    if (x.size() >= 8) x[0] = 200, x[1] = -200, x[2] = 0, x[3] = 88, x[4] = -87.3f, x[5] = lowest;
    const Tensor tx = run.upload(x, run.activation(), {rows, 2 * n});
    const Tensor out = run.empty(run.activation(), {rows, n});
    run.op([&](int) { run.ops().silu_mul(out, tx); });
    if (run.bench()) return;
    std::vector<double> expected;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double g = x[i * 2 * n + j], u = x[i * 2 * n + n + j];
        expected.push_back(g / (1 + std::exp(-g)) * u);
      }
    run.close(run.download(out), expected, run.tolerance(1e-6), "out");
  };
  return c;
}

Case embed_case(DType dtype, int64_t hidden, bool aligned) {
  Case c;
  c.name = concat("embed and gather ", dtype_name(dtype), " h=", hidden);
  c.body = [=](Run& run) {
    constexpr int64_t kVocab = 50;
    auto table = run.rng().normals(kVocab * hidden);
    const Tensor tt = run.upload(table, dtype, {kVocab, hidden},
                                 aligned ? 0 : static_cast<int>(dtype_size(dtype)));
    PagedBatch paged({{0, 5}, {3, 1}, {9, 2}}, 4, run.rng());
    paged.input_ids = {0, 49, 7, 7, 12, 1, 48, 30};
    paged.logits_indices = {4, 5, 7};
    const Tensor out = run.empty(run.activation(), {run.limits().max_tokens, hidden});
    const Tensor rows = run.empty(run.activation(), {run.limits().max_logits, hidden});
    const StepShape shape = run.ops().begin_step(paged.view());
    run.ops().embed(out.rows(shape.tokens), tt);
    run.ops().gather_logits_rows(rows.rows(shape.logits), out.rows(shape.tokens));
    run.ops().end_step();
    std::vector<double> embedded, gathered;
    for (int id : paged.input_ids)
      for (int64_t j = 0; j < hidden; ++j)
        embedded.push_back(rounded(table[id * hidden + j], run.activation()));
    for (int row : paged.logits_indices)
      for (int64_t j = 0; j < hidden; ++j) gathered.push_back(embedded[row * hidden + j]);
    run.close(run.download(out.rows(8)), embedded, 0, "embedded");
    run.close(run.download(rows.rows(3)), gathered, 0, "gathered");
    if (run.ops().asynchronous()) return;  // ids are read on the device, which cannot throw
    paged.input_ids[2] = 50;
    run.ops().begin_step(paged.view());
    bool threw = false;
    try {
      run.ops().embed(out.rows(8), tt);
    } catch (const Error& e) {
      threw = true;
    }
    run.ops().end_step();
    expect(threw, "an id beyond the table: expected an error");
  };
  return c;
}

struct RopeShape {
  int heads, kv_heads, head_dim, rotary_dim;
  bool norm;
};

Case rope_case(RopeShape s, DType cache, int block_size) {
  Case c;
  c.name = concat("qk_norm_rope_store ", dtype_name(cache), " heads=", s.heads, "/", s.kv_heads,
                  " d=", s.head_dim, " rotary=", s.rotary_dim, s.norm ? " norm" : "",
                  " block=", block_size);
  c.body = [=](Run& run) {
    PagedBatch paged({{0, 5}, {17, 1}, {6, 9}, {0, 0}}, block_size, run.rng());
    const int64_t tokens = paged.num_tokens(), d = s.head_dim, half = s.rotary_dim / 2;
    const int64_t columns = (s.heads + 2 * s.kv_heads) * d;
    auto qkv = run.rng().normals(tokens * columns), wq = run.rng().normals(d),
         wk = run.rng().normals(d);
    std::vector<float> angles;
    for (int p = 0; p < 32; ++p)
      for (int part = 0; part < 2; ++part)
        for (int64_t i = 0; i < half; ++i) {
          const double a =
              p * std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half));
          angles.push_back(static_cast<float>(part ? std::sin(a) : std::cos(a)));
        }
    const Tensor tq = run.upload_strided(qkv, run.activation(), tokens, columns, columns,
                                         run.limits().max_tokens);
    const Tensor tnq = run.upload(wq, DType::kBF16, {d}, 2), tnk = run.upload(wk, DType::kF32, {d});
    const Tensor ta = run.upload(angles, DType::kF32, {32, s.rotary_dim});
    std::vector<float> marks(int64_t{paged.num_blocks} * s.kv_heads * block_size * d, -7);
    const Tensor k = run.upload(marks, cache, {paged.num_blocks, s.kv_heads, block_size, d});
    const Tensor v = run.upload(marks, cache, {paged.num_blocks, s.kv_heads, block_size, d});
    const StepShape shape = run.ops().begin_step(paged.view());
    QkNormRopeStore args{slice_rows(tq, 0, shape.tokens),
                         s.norm ? tnq : Tensor(),
                         s.norm ? tnk : Tensor(),
                         1e-5f,
                         {ta, s.rotary_dim},
                         k,
                         v,
                         s.heads,
                         s.kv_heads,
                         s.head_dim};
    run.ops().qk_norm_rope_store(args);
    run.ops().end_step();

    std::vector<double> expected(qkv.begin(), qkv.end()), ek(marks.begin(), marks.end()), ev = ek;
    for (int64_t t = 0; t < tokens; ++t) {
      const int p = paged.positions[t], slot = paged.slot_mapping[t];
      for (int h = 0; h < s.heads + 2 * s.kv_heads; ++h) {
        double* x = &expected[t * columns + h * d];
        const bool is_v = h >= s.heads + s.kv_heads, is_k = !is_v && h >= s.heads;
        if (!is_v && s.norm) {
          const auto y =
              norm_reference(&qkv[t * columns + h * d], (is_k ? wk : wq).data(), d, 1e-5f);
          std::copy(y.begin(), y.end(), x);
        }
        for (int64_t i = 0; i < half && !is_v; ++i) {
          const double a = x[i], b = x[i + half];
          const double cos = angles[p * 2 * half + i], sin = angles[p * 2 * half + half + i];
          x[i] = a * cos - b * sin, x[i + half] = b * cos + a * sin;
        }
        if (h < s.heads) continue;
        const int64_t kv = (h - s.heads) % s.kv_heads;
        const int64_t at =
            ((slot / block_size * s.kv_heads + kv) * block_size + slot % block_size) * d;
        std::copy(x, x + d, (is_k ? ek : ev).begin() + at);
      }
    }
    // The cache rounds too.
    const double half_ulp = cache == DType::kBF16 ? 0x1p-8 : cache == DType::kF16 ? 0x1p-11 : 0;
    const double rounding = run.tolerance(kTolerance) + half_ulp;
    run.close(run.download(tq.rows(tokens)), expected, run.tolerance(kTolerance), "qkv");
    run.close(run.download(k), ek, rounding, "k_cache");
    run.close(run.download(v), ev, rounding, "v_cache");
  };
  return c;
}

Case no_tokens() {
  Case c;
  c.name = "a step of no tokens";
  c.body = [](Run& run) {
    PagedBatch paged({{0, 0}}, 4, run.rng());
    std::vector<float> w(16, 1.0f), table(160, 1.0f);
    const Tensor tw = run.upload(w, DType::kF32, {16});
    const Tensor tt = run.upload(table, DType::kBF16, {10, 16});
    const Tensor x = run.empty(run.activation(), {run.limits().max_tokens, 16});
    const Tensor wide = run.empty(run.activation(), {run.limits().max_tokens, 32});
    const StepShape shape = run.ops().begin_step(paged.view());
    const Tensor rows = x.rows(shape.tokens);
    run.ops().embed(rows, tt);
    run.ops().rmsnorm(rows, rows, tw, 1e-6f);
    run.ops().gather_logits_rows(x.rows(shape.logits), rows);
    run.ops().silu_mul(rows, wide.rows(shape.tokens));
    run.ops().end_step();
    run.ops().sample(run.empty(DType::kF32, {0, 10}), {}, {});
    run.wait();
  };
  return c;
}

}  // namespace

void add_row_cases(std::vector<Case>& cases) {
  for (DType dtype : kFloats) {
    cases.push_back(embed_case(dtype, 37, false));
    cases.push_back(embed_case(dtype, 896, true));
    for (bool residual : {false, true}) {
      for (int64_t n : {1, 7, 16, 130, 896}) cases.push_back(norm_case(3, n, dtype, residual));
      cases.push_back(norm_case(40, 1024, dtype, residual));
      for (int64_t n : {8, 64, 896, 2048, 4096, 5120, 8192})
        cases.push_back(norm_case(5, n, dtype, residual, true));
    }
    cases.push_back(rope_case({4, 2, 16, 16, true}, dtype, 4));
    cases.push_back(rope_case({14, 2, 64, 64, false}, dtype, 16));
    cases.push_back(rope_case({3, 3, 20, 12, true}, dtype, 1));
    cases.push_back(rope_case({2, 1, 36, 0, false}, dtype, 8));
    cases.push_back(rope_case({8, 4, 64, 64, true}, dtype, 16));
    cases.push_back(rope_case({32, 8, 128, 128, true}, dtype, 16));
    cases.push_back(rope_case({32, 8, 128, 128, false}, dtype, 32));
    cases.push_back(rope_case({4, 2, 96, 48, true}, dtype, 16));
    cases.push_back(rope_case({4, 4, 192, 192, false}, dtype, 16));
    cases.push_back(rope_case({2, 1, 256, 64, true}, dtype, 16));
  }
  for (int64_t n : {1, 5, 64, 2049, 4864}) cases.push_back(silu_case(3, n));
  cases.push_back(silu_case(128, 4864));
  cases.push_back(no_tokens());
}

}  // namespace hotpath::test

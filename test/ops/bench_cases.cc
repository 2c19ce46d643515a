#include <algorithm>

#include "harness.h"
#include "paged.h"

// What is only timed: GEMMs and attention of published models.

namespace hotpath::test {
namespace {

struct Matrix {
  const char* layer;
  int64_t n, k;
  bool silu = false;    // gate and up: w has 2 n rows
  bool logits = false;  // y is f32
};

// Weights rotate through more memory than any cache holds, as they do in a model.
Case gemm_bench(const char* model, const Matrix& l, int64_t m, DType dtype, Where where) {
  Case c;
  c.name = concat("gemm ", dtype_name(dtype), " ", model, l.layer, " m=", m,
                  " n=", l.silu ? 2 * l.n : l.n, " k=", l.k);
  const int64_t w_rows = l.silu ? 2 * l.n : l.n;
  const double in = where == Where::kCpu ? 4 : 2,
               out = l.logits ? 4 : in;  // bytes of an activation
  c.bytes =
      static_cast<double>(w_rows * l.k) * static_cast<double>(dtype_size(dtype)) +
      static_cast<double>(m) * (out * static_cast<double>(l.n) + in * static_cast<double>(l.k));
  c.flops = 2.0 * static_cast<double>(m) * static_cast<double>(w_rows * l.k);
  c.mode = Mode::kBench;
  c.where = where;
  c.limits.max_tokens = m, c.limits.max_columns = std::max(w_rows, l.k);
  c.body = [=](Run& run) {
    const int64_t copies = std::clamp<int64_t>((int64_t{192} << 20) / (w_rows * l.k * 2), 1, 64);
    const Tensor w = run.random(dtype, {copies * w_rows, l.k}, 0.02f);
    const Tensor x = run.random(run.activation(), {m, l.k});
    const Tensor y = run.empty(l.logits ? DType::kF32 : run.activation(), {m, l.n});
    run.op([&](int i) {
      const Tensor part = slice_rows(w, i % copies * w_rows, w_rows);
      if (l.silu)
        run.ops().gemm_silu_mul(y, x, part, nullptr);
      else
        run.ops().gemm(y, x, part, nullptr, false);
    });
  };
  return c;
}

constexpr int kBlockSize = 16;

struct Heads {
  int heads, kv_heads, head_dim;
};

// Caches rotate as the weights do.
Case attention_bench(const char* label, const Heads& h, DType cache,
                     const std::vector<SequenceShape>& sequences, Where where) {
  Case c;
  c.name = concat("paged_attention ", label, " ", dtype_name(cache), " heads=", h.heads, "/",
                  h.kv_heads, " d=", h.head_dim, " block=", kBlockSize);
  int64_t tokens = 0, longest = 0, keys = 0;
  for (const SequenceShape& q : sequences) {
    double pairs = 0;  // (query, key)
    for (int t = 0; t < q.q_len; ++t) pairs += q.past + t + 1;
    c.flops += 4.0 * pairs * h.heads * h.head_dim;
    tokens += q.q_len, longest = std::max<int64_t>(longest, q.past + q.q_len);
    keys += q.past + q.q_len;
  }
  c.bytes = 2.0 * static_cast<double>(keys) * h.kv_heads * h.head_dim *
            static_cast<double>(dtype_size(cache));
  c.mode = Mode::kBench;
  c.where = where;
  c.limits.max_tokens = tokens, c.limits.max_seqlen = longest;
  c.limits.max_seqs = static_cast<int64_t>(sequences.size());
  c.limits.num_heads = h.heads, c.limits.head_dim = h.head_dim;
  c.limits.num_kv_heads = h.kv_heads;
  const int64_t copies =
      where == Where::kCpu ? 1 : std::clamp<int64_t>(static_cast<int64_t>(192e6 / c.bytes), 1, 64);
  c.body = [=](Run& run) {
    const PagedBatch paged(sequences, kBlockSize, run.rng());
    const int64_t d = h.head_dim, blocks = paged.num_blocks;
    const Tensor q = run.random(run.activation(), {tokens, h.heads * d});
    const Tensor k = run.random(cache, {copies * blocks, h.kv_heads, kBlockSize, d});
    const Tensor v = run.random(cache, {copies * blocks, h.kv_heads, kBlockSize, d});
    const Tensor out = run.empty(run.activation(), {tokens, h.heads * d});
    run.ops().begin_step(paged.view());
    run.op([&](int i) {
      const int64_t copy = i % copies * blocks;
      run.ops().paged_attention({out, q, slice_rows(k, copy, blocks), slice_rows(v, copy, blocks),
                                 h.heads, h.kv_heads, h.head_dim, 0.125f, 0});
    });
    run.ops().end_step();
  };
  return c;
}

std::vector<SequenceShape> decode(int sequences, int length) {
  return std::vector<SequenceShape>(sequences, {length - 1, 1});
}

void add_cpu_benches(std::vector<Case>& cases) {
  for (int64_t m : {1, 2, 4, 8, 16, 32, 64, 128})
    for (const Matrix& l :
         {Matrix{"qkv", 1152, 896}, Matrix{"o", 896, 896}, Matrix{"gate_up", 9728, 896},
          Matrix{"down", 896, 4864}, Matrix{"lm_head", 151936, 896}})
      if (m <= 32 || l.n < 100000) cases.push_back(gemm_bench("", l, m, DType::kBF16, Where::kCpu));
  for (int64_t m : {1, 8, 128})
    for (DType dtype : {DType::kF16, DType::kF32})
      cases.push_back(gemm_bench("", {"gate_up", 9728, 896}, m, dtype, Where::kCpu));
  const Heads qwen = {14, 2, 64};
  for (DType cache : {DType::kF32, DType::kBF16}) {
    auto add = [&](const char* label, const std::vector<SequenceShape>& sequences) {
      cases.push_back(attention_bench(label, qwen, cache, sequences, Where::kCpu));
    };
    add("decode 1 x 1k", decode(1, 1024));
    add("decode 1 x 16k", decode(1, 16384));
    add("decode 16 x 2k", decode(16, 2048));
    add("prefill 128", {{0, 128}});
    add("prefill 512 after 1.5k", {{1536, 512}});
  }
  cases.push_back(attention_bench("decode 8 x 4k, MHA", {16, 16, 128}, DType::kBF16,
                                  decode(8, 4096), Where::kCpu));
}

void add_cuda_benches(std::vector<Case>& cases) {
  struct Model {
    const char* name;
    std::vector<Matrix> matrices;
    Heads heads;
  };
  const std::vector<Model> models = {{"llama-8b ",
                                      {{"qkv", 6144, 4096},
                                       {"o", 4096, 4096},
                                       {"gate_up_silu", 14336, 4096, true},
                                       {"down", 4096, 14336},
                                       {"lm_head", 128256, 4096, false, true}},
                                      {32, 8, 128}},
                                     {"qwen-0.5b ",
                                      {{"qkv", 1152, 896},
                                       {"o", 896, 896},
                                       {"gate_up_silu", 4864, 896, true},
                                       {"down", 896, 4864},
                                       {"lm_head", 151936, 896, false, true}},
                                      {14, 2, 64}}};
  // As bench/peers/torch_kernels.py has them, for bench/collect.mjs to put side by side.
  for (int64_t m : {1, 8, 32, 128, 512, 2048, 8192})
    for (const Matrix& l :
         {Matrix{"", 4096, 4096}, Matrix{"", 28672, 4096}, Matrix{"", 4096, 14336},
          Matrix{"", 9728, 896}, Matrix{"", 151936, 896}, Matrix{"", 6144, 4096}})
      cases.push_back(gemm_bench("plain", l, m, DType::kBF16, Where::kCuda));
  for (const Model& model : models) {
    for (int64_t m : {1, 8, 32, 64, 128, 256, 512, 2048, 8192})
      for (const Matrix& l : model.matrices)
        if (!l.logits || m <= 256)
          cases.push_back(gemm_bench(model.name, l, m, DType::kBF16, Where::kCuda));
    auto add = [&](const char* label, const std::vector<SequenceShape>& sequences) {
      cases.push_back(attention_bench(concat(model.name, label).c_str(), model.heads, DType::kBF16,
                                      sequences, Where::kCuda));
    };
    add("prefill 1 x 2k", {{0, 2048}});
    add("prefill 1 x 8k", {{0, 8192}});
    add("prefill 1 x 32k", {{0, 32768}});
    add("prefill 512 after 7.5k", {{7680, 512}});
    add("prefill 16 x 512", std::vector<SequenceShape>(16, {0, 512}));
    add("decode 1 x 1k", decode(1, 1024));
    add("decode 1 x 8k", decode(1, 8192));
    add("decode 32 x 1k", decode(32, 1024));
    add("decode 64 x 4k", decode(64, 4096));
    add("decode 256 x 1k", decode(256, 1024));
  }
}

// Row ops at a step's size: reading and writing is all there is to them.
Case norm_bench(int64_t rows, int64_t n) {
  Case c;
  c.name = concat("add_rmsnorm bf16 t=", rows, " h=", n);
  c.bytes = 8.0 * static_cast<double>(rows * n);
  c.mode = Mode::kBench;
  c.where = Where::kCuda;
  c.limits.max_tokens = rows;
  c.body = [=](Run& run) {
    const Tensor x = run.random(run.activation(), {rows, n}, 0.01f);
    const Tensor residual = run.random(run.activation(), {rows, n});
    const Tensor w = run.random(DType::kBF16, {n});
    const Tensor out = run.empty(run.activation(), {rows, n});
    run.op([&](int) { run.ops().add_rmsnorm(out, residual, x, w, 1e-6f); });
  };
  return c;
}

}  // namespace

void add_bench_cases(std::vector<Case>& cases) {
  add_cpu_benches(cases);
  add_cuda_benches(cases);
  for (int64_t rows : {1, 64, 2048, 8192}) cases.push_back(norm_bench(rows, 4096));
}

}  // namespace hotpath::test

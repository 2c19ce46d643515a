#include <algorithm>

#include "harness.h"
#include "paged.h"

namespace hotpath::test {
namespace {

struct AttentionShape {
  int heads, kv_heads, head_dim, block_size, window;
  DType cache;
  std::vector<SequenceShape> sequences;
};

// q inside wider rows, as in a fused qkv; cache slots that no sequence owns stay NaN.
struct AttentionData {
  PagedBatch paged;
  std::vector<float> q, k, v;
  Tensor tq, tk, tv;
  float scale;

  AttentionData(Run& run, const AttentionShape& s) : paged(s.sequences, s.block_size, run.rng()) {
    const int64_t d = s.head_dim, columns = s.heads * d;
    q = run.rng().normals(paged.num_tokens() * columns);
    tq = run.upload_strided(q, run.activation(), paged.num_tokens(), columns,
                            columns + 2 * s.kv_heads * d);
    const int64_t size = int64_t{paged.num_blocks} * s.kv_heads * s.block_size * d;
    const float nan = std::nanf("");
    k.assign(size, nan), v.assign(size, nan);
    for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i)
      for (int p = 0; p < paged.seqlens_k[i]; ++p)
        for (int h = 0; h < s.kv_heads; ++h)
          for (int64_t j = 0; j < d; ++j) {
            const int64_t at = index(s, paged.slot(i, p), h) + j;
            k[at] = run.rng().normal(), v[at] = run.rng().normal();
          }
    tk = run.upload(k, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    tv = run.upload(v, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    scale = 1 / std::sqrt(static_cast<float>(d));
  }

  static int64_t index(const AttentionShape& s, int64_t slot, int head) {
    return ((slot / s.block_size * s.kv_heads + head) * s.block_size + slot % s.block_size) *
           s.head_dim;
  }

  PagedAttention args(const AttentionShape& s, const Tensor& out) const {
    return {out, tq, tk, tv, s.heads, s.kv_heads, s.head_dim, scale, s.window};
  }
};

std::vector<double> attention_reference(const AttentionData& data, const AttentionShape& s) {
  const int64_t d = s.head_dim;
  std::vector<double> out(data.paged.num_tokens() * s.heads * d);
  for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i)
    for (int t = data.paged.cu_seqlens_q[i]; t < data.paged.cu_seqlens_q[i + 1]; ++t)
      for (int h = 0; h < s.heads; ++h) {
        const int p = data.paged.positions[t], kv_head = h / (s.heads / s.kv_heads);
        const int first = s.window > 0 ? std::max(0, p - s.window + 1) : 0;
        const float* q = &data.q[(int64_t{t} * s.heads + h) * d];
        std::vector<double> scores;
        double largest = -INFINITY, total = 0;
        for (int key = first; key <= p; ++key) {
          const float* k = &data.k[AttentionData::index(s, data.paged.slot(i, key), kv_head)];
          double dot = 0;
          for (int64_t j = 0; j < d; ++j) dot += double{q[j]} * k[j];
          scores.push_back(dot * data.scale);
          largest = std::max(largest, scores.back());
        }
        double* o = &out[(int64_t{t} * s.heads + h) * d];
        for (int key = first; key <= p; ++key) {
          const float* v = &data.v[AttentionData::index(s, data.paged.slot(i, key), kv_head)];
          const double weight = std::exp(scores[key - first] - largest);
          total += weight;
          for (int64_t j = 0; j < d; ++j) o[j] += weight * v[j];
        }
        for (int64_t j = 0; j < d; ++j) o[j] /= total;
      }
  return out;
}

std::vector<float> attend(Run& run, Ops& ops, const AttentionShape& s, const PagedBatch& paged,
                          PagedAttention args) {
  args.out = run.empty(run.activation(), {paged.num_tokens(), s.heads * s.head_dim});
  ops.begin_step(paged.view());
  ops.paged_attention(args);
  ops.end_step();
  return run.download(args.out);
}

std::string shape_name(const AttentionShape& s) {
  return concat(dtype_name(s.cache), " heads=", s.heads, "/", s.kv_heads, " d=", s.head_dim,
                " block=", s.block_size, s.window ? concat(" window=", s.window) : "");
}

Case attention_case(AttentionShape s, const char* label) {
  Case c;
  c.name = concat("paged_attention ", label, " ", shape_name(s));
  c.body = [=](Run& run) {
    const AttentionData data(run, s);
    const auto out = attend(run, run.ops(), s, data.paged, data.args(s, {}));
    run.close(out, attention_reference(data, s), 3e-6, "out");
  };
  return c;
}

// A token's result is the same bits whether its sequence is alone or not, prefilled whole, in
// chunks or token by token, on any number of threads.
Case attention_invariance(AttentionShape s) {
  Case c;
  c.name = concat("paged_attention batch invariance ", shape_name(s));
  c.body = [=](Run& run) {
    const AttentionData data(run, s);
    const int64_t columns = s.heads * s.head_dim;
    const auto whole = attend(run, run.ops(), s, data.paged, data.args(s, {}));
    const auto one = run.with_threads(1), three = run.with_threads(3);
    expect_same(attend(run, *one, s, data.paged, data.args(s, {})), whole, "one thread");
    expect_same(attend(run, *three, s, data.paged, data.args(s, {})), whole, "three threads");
    for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i) {
      const PagedBatch alone = data.paged.slice(i, i + 1);
      for (int step : {1, 2, 5, 33, 1000}) {
        for (int t = 0; t < s.sequences[i].q_len; t += step) {
          PagedBatch chunk = alone;
          const int n = std::min(step, s.sequences[i].q_len - t);
          chunk.positions = {alone.positions.begin() + t, alone.positions.begin() + t + n};
          chunk.slot_mapping = {alone.slot_mapping.begin() + t, alone.slot_mapping.begin() + t + n};
          chunk.cu_seqlens_q = {0, n};
          chunk.seqlens_k = {s.sequences[i].past + t + n};
          chunk.shapes = {{s.sequences[i].past + t, n}};
          PagedAttention args = data.args(s, {});
          const int64_t row = data.paged.cu_seqlens_q[i] + t;
          args.q.data = data.tq.row<float>(row);
          args.q = args.q.rows(n);
          expect_same(attend(run, run.ops(), s, chunk, args),
                      {whole.begin() + row * columns, whole.begin() + (row + n) * columns},
                      concat("sequence ", i, " tokens ", t, " to ", t + n).c_str());
        }
      }
    }
  };
  return c;
}

Case attention_bench(const char* label, AttentionShape s) {
  Case c;
  c.name = concat("paged_attention ", label, " ", shape_name(s));
  for (const auto& q : s.sequences) {
    double pairs = 0;  // (query, key)
    for (int t = 0; t < q.q_len; ++t) pairs += q.past + t + 1;
    c.flops += 4.0 * pairs * s.heads * s.head_dim;
    c.bytes += 2.0 * (q.past + q.q_len) * s.kv_heads * s.head_dim *
               static_cast<double>(dtype_size(s.cache));
  }
  c.mode = Mode::kBench;
  c.body = [=](Run& run) {
    PagedBatch paged(s.sequences, s.block_size, run.rng());
    const int64_t d = s.head_dim, tokens = paged.num_tokens();
    auto q = run.rng().normals(tokens * s.heads * d);
    auto kv = run.rng().normals(int64_t{paged.num_blocks} * s.kv_heads * s.block_size * d);
    const Tensor tq = run.upload(q, run.activation(), {tokens, s.heads * d});
    const Tensor k = run.upload(kv, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    const Tensor v = run.upload(kv, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    const Tensor out = run.empty(run.activation(), {tokens, s.heads * d});
    run.ops().begin_step(paged.view());
    run.op([&](int) {
      run.ops().paged_attention({out, tq, k, v, s.heads, s.kv_heads, s.head_dim, 0.125f, s.window});
    });
    run.ops().end_step();
  };
  return c;
}

}  // namespace

void add_attention_cases(std::vector<Case>& cases) {
  const std::vector<SequenceShape> mixed = {{0, 9},  {40, 1},  {0, 1},    {63, 1}, {64, 1},
                                            {65, 3}, {0, 130}, {200, 37}, {5, 0}};
  for (DType cache : {DType::kF32, DType::kF16, DType::kBF16}) {
    cases.push_back(attention_case({4, 2, 32, 16, 0, cache, mixed}, "mixed"));
    cases.push_back(attention_case({14, 2, 64, 16, 0, cache, mixed}, "mixed"));
    cases.push_back(attention_case({3, 3, 20, 1, 0, cache, {{0, 70}, {129, 1}}}, "odd sizes"));
    cases.push_back(attention_case({4, 1, 128, 256, 0, cache, {{0, 3}, {500, 2}}}, "long blocks"));
    cases.push_back(attention_case({70, 1, 16, 8, 0, cache, {{100, 2}}}, "large group"));
    for (int window : {1, 3, 16, 64, 100})
      cases.push_back(attention_case({4, 2, 16, 16, window, cache, mixed}, "window"));
    cases.push_back(
        attention_invariance({6, 2, 40, 16, 0, cache, {{0, 140}, {30, 70}, {129, 1}, {64, 1}}}));
    cases.push_back(attention_invariance({14, 2, 64, 16, 50, cache, {{0, 140}, {130, 30}}}));
  }
  for (DType cache : {DType::kF32, DType::kBF16}) {
    cases.push_back(attention_bench("decode 1 x 1k", {14, 2, 64, 16, 0, cache, {{1023, 1}}}));
    cases.push_back(attention_bench("decode 1 x 16k", {14, 2, 64, 16, 0, cache, {{16383, 1}}}));
    cases.push_back(attention_bench(
        "decode 16 x 2k", {14, 2, 64, 16, 0, cache, std::vector<SequenceShape>(16, {2047, 1})}));
    cases.push_back(attention_bench("prefill 128", {14, 2, 64, 16, 0, cache, {{0, 128}}}));
    cases.push_back(
        attention_bench("prefill 512 after 1.5k", {14, 2, 64, 16, 0, cache, {{1536, 512}}}));
  }
  cases.push_back(attention_bench(
      "decode 8 x 4k, MHA",
      {16, 16, 128, 16, 0, DType::kBF16, std::vector<SequenceShape>(8, {4095, 1})}));
}

}  // namespace hotpath::test

#include <algorithm>
#include <utility>

#include "harness.h"
#include "paged.h"

namespace hotpath::test {
namespace {

struct AttentionShape {
  int heads, kv_heads, head_dim, block_size, window;
  DType cache;
  std::vector<SequenceShape> sequences;
};

OpLimits limits_of(const AttentionShape& s) {
  OpLimits l = kSmallLimits;
  l.max_tokens = 1, l.max_seqlen = 1;
  l.max_seqs = static_cast<int64_t>(s.sequences.size());
  for (const SequenceShape& q : s.sequences) {
    l.max_tokens += q.q_len;
    l.max_seqlen = std::max<int64_t>(l.max_seqlen, q.past + q.q_len);
  }
  l.num_heads = s.heads, l.head_dim = s.head_dim, l.num_kv_heads = s.kv_heads;
  l.max_columns = (s.heads + 2 * s.kv_heads) * s.head_dim;
  return l;
}

// q inside wider rows, as in a fused qkv; cache slots that no sequence owns stay NaN, and so do the
// rows beyond the batch's own, to which a back end may pad.
struct AttentionData {
  PagedBatch paged;
  std::vector<float> q, k, v;
  Tensor tq, tk, tv, out;
  float scale;

  AttentionData(Run& run, const AttentionShape& s) : paged(s.sequences, s.block_size, run.rng()) {
    const int64_t d = s.head_dim, columns = s.heads * d;
    q = run.rng().normals(paged.num_tokens() * columns);
    tq = run.upload_strided(q, run.activation(), paged.num_tokens(), columns,
                            columns + 2 * s.kv_heads * d, run.limits().max_tokens);
    const int64_t size = int64_t{paged.num_blocks} * s.kv_heads * s.block_size * d;
    k = run.rng().normals(size), v = run.rng().normals(size);
    std::vector<char> owned(int64_t{paged.num_blocks} * s.block_size);
    for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i)
      for (int p = 0; p < paged.seqlens_k[i]; ++p) owned[paged.slot(i, p)] = 1;
    for (int64_t slot = 0; slot < static_cast<int64_t>(owned.size()); ++slot)
      for (int h = 0; h < s.kv_heads && !owned[slot]; ++h) {
        std::fill_n(k.begin() + index(s, slot, h), d, std::nanf(""));
        std::fill_n(v.begin() + index(s, slot, h), d, std::nanf(""));
      }
    tk = run.upload(k, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    tv = run.upload(v, s.cache, {paged.num_blocks, s.kv_heads, s.block_size, d});
    out = run.empty(run.activation(), {run.limits().max_tokens, columns});
    scale = 1 / std::sqrt(static_cast<float>(d));
  }

  static int64_t index(const AttentionShape& s, int64_t slot, int head) {
    return ((slot / s.block_size * s.kv_heads + head) * s.block_size + slot % s.block_size) *
           s.head_dim;
  }
};

// The output of one head at one token, appended to out.
void attention_reference(const AttentionData& data, const AttentionShape& s, int sequence,
                         int token, int head, std::vector<double>& out) {
  const int64_t d = s.head_dim;
  const int p = data.paged.positions[token], kv_head = head / (s.heads / s.kv_heads);
  const int first = s.window > 0 ? std::max(0, p - s.window + 1) : 0;
  const float* q = &data.q[(int64_t{token} * s.heads + head) * d];
  std::vector<double> scores, o(d);
  double largest = -INFINITY, total = 0;
  for (int key = first; key <= p; ++key) {
    const float* k = &data.k[AttentionData::index(s, data.paged.slot(sequence, key), kv_head)];
    double dot = 0;
    for (int64_t j = 0; j < d; ++j) dot += double{q[j]} * k[j];
    scores.push_back(dot * data.scale);
    largest = std::max(largest, scores.back());
  }
  for (int key = first; key <= p; ++key) {
    const float* v = &data.v[AttentionData::index(s, data.paged.slot(sequence, key), kv_head)];
    const double weight = std::exp(scores[key - first] - largest);
    total += weight;
    for (int64_t j = 0; j < d; ++j) o[j] += weight * v[j];
  }
  for (int64_t j = 0; j < d; ++j) out.push_back(o[j] / total);
}

// Runs the op over a batch whose first row is row `begin` of the data's q; its rows alone come
// back.
std::vector<float> attend(Run& run, Ops& ops, const AttentionShape& s, const AttentionData& data,
                          const PagedBatch& paged, int64_t begin) {
  const Tensor own = data.out.rows(paged.num_tokens());
  run.write(own, std::vector<float>(own.numel(), std::nanf("")));
  const int64_t rows = ops.begin_step(paged.view()).tokens;
  ops.paged_attention({data.out.rows(rows), slice_rows(data.tq, begin, rows), data.tk, data.tv,
                       s.heads, s.kv_heads, s.head_dim, data.scale, s.window});
  ops.end_step();
  return run.download(own);
}

std::string shape_name(const AttentionShape& s) {
  return concat(dtype_name(s.cache), " heads=", s.heads, "/", s.kv_heads, " d=", s.head_dim,
                " block=", s.block_size, s.window ? concat(" window=", s.window) : "");
}

// Probabilities meet V in 16 bits: one rounding more than the result's.
Case attention_case(AttentionShape s, const char* label) {
  Case c;
  c.name = concat("paged_attention ", label, " ", shape_name(s));
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    const AttentionData data(run, s);
    const auto out = attend(run, run.ops(), s, data, data.paged, 0);
    // All heads of all tokens where that is little work; otherwise some, the ends among them.
    double work = 0;
    for (const int p : data.paged.positions) work += double(p + 1) * s.heads * s.head_dim;
    const int every = std::max(1, static_cast<int>(work / 2e7));
    std::vector<int64_t> places;
    std::vector<double> expected;
    for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i) {
      const int begin = data.paged.cu_seqlens_q[i], end = data.paged.cu_seqlens_q[i + 1];
      for (int t = begin; t < end; ++t)
        for (int h = 0; h < s.heads; ++h) {
          const bool edge = (t == begin || t == end - 1) && (h == 0 || h == s.heads - 1);
          if (!edge && run.rng().below(every) != 0) continue;
          attention_reference(data, s, i, t, h, expected);
          for (int64_t j = 0; j < s.head_dim; ++j)
            places.push_back((int64_t{t} * s.heads + h) * s.head_dim + j);
        }
    }
    run.close_at(out, places, expected, run.tolerance(3e-6, 2), "out");
    for (float v : out) expect(std::isfinite(v), "expected finite, received ", v);
  };
  return c;
}

// A token's result is the same bits whether its sequence is alone or not, whole, in chunks or token
// by token, on any number of threads.
Case attention_invariance(AttentionShape s) {
  Case c;
  c.name = concat("paged_attention batch invariance ", shape_name(s));
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    const AttentionData data(run, s);
    const int64_t columns = s.heads * s.head_dim;
    const auto whole = attend(run, run.ops(), s, data, data.paged, 0);
    for (const auto& ops : run.other_threads())
      expect_same(attend(run, *ops, s, data, data.paged, 0), whole, "another number of threads");
    for (int i = 0; i < static_cast<int>(s.sequences.size()); ++i) {
      const PagedBatch alone = data.paged.slice(i, i + 1);
      for (int step : {1, 2, 5, 33, 1000}) {
        for (int t = 0; t < s.sequences[i].q_len; t += step) {
          const int n = std::min(step, s.sequences[i].q_len - t);
          const int64_t row = data.paged.cu_seqlens_q[i] + t;
          expect_same(attend(run, run.ops(), s, data, alone.chunk(t, n), row),
                      slice_rows(whole, columns, row, n),
                      concat("sequence ", i, " tokens ", t, " to ", t + n).c_str());
        }
      }
    }
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
  // Head sizes, blocks and groups of published models; a prompt's chunk, generated tokens computed
  // again behind one, and lengths at which a decode's keys may be split.
  const std::vector<SequenceShape> steps = {{0, 65},  {100, 1},  {16, 64}, {15, 1},  {20, 12, 5},
                                            {0, 1},   {127, 1},  {128, 1}, {0, 128}, {250, 9, 0},
                                            {255, 1}, {33, 129}, {31, 1}};
  const std::vector<SequenceShape> lengths = {{511, 1},  {512, 1},  {513, 1},     {1023, 1},
                                              {1024, 1}, {2500, 3}, {3000, 2, 0}, {4095, 1}};
  // Few rows with many keys: a device cuts them to keep busy, whole chunks of up to 2048 keys each,
  // or into splits where all have few.
  const std::vector<SequenceShape> few = {{6000, 1}};
  const std::vector<SequenceShape> long_rows = {{19000, 1}, {70, 2, 0}, {9000, 1}};
  const std::vector<SequenceShape> short_rows = {{600, 1}, {64, 1}, {1, 1}, {130, 1}};
  for (DType cache : {DType::kBF16, DType::kF16}) {
    for (const auto& [label, rows] : {std::pair("cut few", few), std::pair("cut long", long_rows),
                                      std::pair("cut short", short_rows)}) {
      cases.push_back(attention_case({14, 2, 64, 16, 0, cache, rows}, label));
      cases.push_back(attention_case({8, 2, 128, 16, 0, cache, rows}, label));
      cases.push_back(attention_case({8, 2, 128, 32, 5000, cache, rows}, label));
      cases.push_back(attention_case({2, 1, 256, 16, 500, cache, rows}, label));
    }
    cases.push_back(attention_invariance({4, 2, 64, 16, 0, cache, long_rows}));
    cases.push_back(attention_invariance({8, 2, 128, 16, 9500, cache, {{19000, 1}, {600, 1}, {9000, 1}}}));
    cases.push_back(attention_case({14, 2, 64, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 8, 64, 32, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 1, 64, 16, 70, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 2, 96, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 2, 128, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 1, 128, 32, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({7, 1, 128, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({2, 2, 128, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({8, 2, 128, 16, 64, cache, steps}, "steps"));
    cases.push_back(attention_case({4, 2, 128, 24, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({4, 2, 128, 1, 0, cache, {{0, 70}, {129, 1}}}, "steps"));
    cases.push_back(attention_case({4, 1, 192, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({4, 1, 256, 16, 0, cache, steps}, "steps"));
    cases.push_back(attention_case({16, 2, 256, 32, 100, cache, steps}, "steps"));
    cases.push_back(attention_case({14, 2, 64, 16, 0, cache, lengths}, "lengths"));
    cases.push_back(attention_case({8, 2, 128, 32, 0, cache, lengths}, "lengths"));
    cases.push_back(attention_case({4, 1, 128, 16, 1500, cache, lengths}, "lengths"));
    cases.push_back(attention_case({8, 2, 128, 16, 0, cache, {{0, 600}, {300, 200}}}, "prompts"));
    cases.push_back(attention_case({7, 1, 64, 16, 0, cache, {{0, 700}, {2000, 70}}}, "prompts"));
    const std::vector<SequenceShape> mixed_steps = {{0, 150},      {70, 67},  {1500, 1}, {640, 1},
                                                    {20, 12, 5},   {255, 1},  {256, 1},  {0, 17},
                                                    {600, 40, 10}, {1023, 1}, {4000, 1}};
    cases.push_back(attention_invariance({8, 2, 128, 16, 0, cache, mixed_steps}));
    cases.push_back(attention_invariance({14, 2, 64, 16, 0, cache, mixed_steps}));
    cases.push_back(attention_invariance({4, 4, 64, 32, 100, cache, mixed_steps}));
    cases.push_back(attention_invariance({8, 1, 96, 16, 0, cache, mixed_steps}));
    cases.push_back(attention_invariance({4, 2, 256, 16, 0, cache, mixed_steps}));
  }
}

}  // namespace hotpath::test

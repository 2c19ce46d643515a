// Paged decode attention, the generic attention kernel, and RoPE with the KV store: correctness
// against double, bits that depend neither on the batch nor on how rows are cut, then timings.
// decode_lab [check|time|all]

#include <chrono>
#include <cstring>
#include <string>

#include "bench/lab/cuda/lab.h"
#include "cuda/attention.h"
#include "cuda/attention_decode.h"

using namespace hotpath;
using namespace hotpath::cuda;
using lab::Rng;

namespace {

int failures = 0;
void report(bool ok, const char* what, const std::string& where, double figure = 0) {
  if (!ok) ++failures;
  if (!ok) std::printf("FAIL %s %s %g\n", what, where.c_str(), figure);
}

struct SeqSpec {
  int context, prompt, generated;  // keys before the step; tokens of the step
};

// A batch on host and device. Blocks are dealt out at random.
struct Step {
  std::vector<int32_t> ids, positions, slots, cu{0}, seqlens, table, prefill_lens, logits;
  Batch batch;
  AttentionPlan plan;
  char* memory = nullptr;
  AttentionLaunch how;
  int num_blocks = 0;
  static constexpr size_t kTable = 1 << 20, kTokens = 1 << 19, kItems = 1 << 20;

  Step(const std::vector<SeqSpec>& seqs, int block_size, int spare_blocks, Rng& rng) {
    int max_k = 1;
    for (const auto& s : seqs) max_k = std::max(max_k, s.context + s.prompt + s.generated);
    const int max_blocks = (max_k + block_size - 1) / block_size;
    for (const auto& s : seqs)
      num_blocks += (s.context + s.prompt + s.generated + block_size - 1) / block_size;
    num_blocks += spare_blocks;
    std::vector<int32_t> order(num_blocks);
    for (int i = 0; i < num_blocks; ++i) order[i] = i;
    for (int i = num_blocks - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
    int next = 0;
    for (const auto& s : seqs) {
      const int end = s.context + s.prompt + s.generated;
      const size_t row = table.size();
      table.resize(row + max_blocks, 0);
      for (int b = 0; b * block_size < end; ++b) table[row + b] = order[next++];
      for (int p = s.context; p < end; ++p) {
        positions.push_back(p);
        slots.push_back(table[row + p / block_size] * block_size + p % block_size);
        ids.push_back(0);
      }
      cu.push_back(static_cast<int32_t>(positions.size()));
      seqlens.push_back(end);
      prefill_lens.push_back(s.prompt);
    }
    batch.num_seqs = static_cast<int>(seqs.size());
    batch.num_tokens = static_cast<int>(positions.size());
    batch.max_seqlen_k = max_k;
    batch.block_size = block_size;
    batch.max_blocks = max_blocks;
    batch.input_ids = ids, batch.positions = positions, batch.slot_mapping = slots;
    batch.cu_seqlens_q = cu, batch.seqlens_k = seqlens, batch.block_table = table;
    batch.prefill_lens = prefill_lens;
  }
  Step(const Step&) = delete;
  ~Step() {
    if (memory) cudaFree(memory);
  }

  size_t bytes() const { return 256 + 2 * kTokens + kTable + 2 * kItems; }
  // Fixed places, so that a captured graph finds another step's contents there.
  void upload_to(char* at) {
    StepHeader header{batch.num_seqs,
                      batch.num_tokens,
                      0,
                      batch.max_blocks,
                      static_cast<int>(plan.decode.size()),
                      static_cast<int>(plan.prefill.size()),
                      {}};
    DeviceBatch& d = how.batch;
    auto put = [&](size_t offset, const void* from, size_t n, size_t room) {
      if (n > room) std::printf("FAIL lab: %zu bytes, room for %zu\n", n, room), std::exit(1);
      LAB_CHECK(cudaMemcpy(at + offset, from, n, cudaMemcpyHostToDevice));
      return at + offset;
    };
    d.header = reinterpret_cast<StepHeader*>(put(0, &header, sizeof header, 256));
    d.positions = reinterpret_cast<int32_t*>(put(256, positions.data(), positions.size() * 4, kTokens));
    d.slot_mapping =
        reinterpret_cast<int32_t*>(put(256 + kTokens, slots.data(), slots.size() * 4, kTokens));
    d.block_table =
        reinterpret_cast<int32_t*>(put(256 + 2 * kTokens, table.data(), table.size() * 4, kTable));
    d.decode_items = reinterpret_cast<DecodeItem*>(
        put(256 + 2 * kTokens + kTable, plan.decode.data(), plan.decode.size() * 64, kItems));
    d.prefill_items = reinterpret_cast<PrefillItem*>(put(256 + 2 * kTokens + kTable + kItems,
                                                         plan.prefill.data(),
                                                         plan.prefill.size() * 16, kItems));
    d.block_size = batch.block_size;
    how.num_decode_items = header.num_decode_items;
    how.num_prefill_items = header.num_prefill_items;
  }
  void prepare(int concurrent, void* workspace) {
    plan_attention(batch, concurrent, plan);
    if (!memory) memory = static_cast<char*>(lab::device_bytes(bytes()));
    upload_to(memory);
    how.workspace = workspace;
  }
};

struct Layer {
  int heads, kv_heads, head_dim;
  DType dtype = DType::kBF16, cache_dtype = DType::kBF16;
  int window = 0;
  float softcap = 0;
  bool sinks = false;
};

void* workspace() {
  static void* at = nullptr;
  if (!at) {
    OpLimits limits{};
    const size_t bytes = attention_workspace(limits, 64, 256);
    at = lab::device_bytes(bytes);
    LAB_CHECK(cudaMemset(at, 0, bytes));
  }
  return at;
}

using Attend = void (*)(const Context&, const PagedAttention&, const AttentionExtras&,
                        const AttentionLaunch&);
void generic(const Context& ctx, const PagedAttention& a, const AttentionExtras& e,
             const AttentionLaunch& how) {
  generic_attention(ctx, a, e, how, true, true);
}

// Contents of the sequences and what attention gives for every row of the step.
struct Problem {
  Layer layer;
  Tensor q, out, k, v, sinks;
  std::vector<float> host_q, host_sinks;
  PagedAttention args{};
  AttentionExtras extras;
  std::vector<double> want;

  Problem(const Layer& l, const Step& step, uint64_t seed) : layer(l) {
    Rng rng(seed);
    const Batch& b = step.batch;
    const int d = l.head_dim, width = (l.heads + 2 * l.kv_heads) * d;
    host_q.resize(size_t(b.num_tokens) * width);
    for (auto& x : host_q) x = rng.normal();
    q = lab::upload(host_q, l.dtype, {b.num_tokens, width});
    out = Tensor(nullptr, l.dtype, {b.num_tokens, l.heads * d});
    out.data = lab::device_bytes(out.bytes());
    // What no sequence has stored is NaN.
    std::vector<float> host_k(size_t(step.num_blocks) * l.kv_heads * b.block_size * d, NAN);
    std::vector<float> host_v = host_k;
    auto at = [&](int seq, int key, int h) {
      const int64_t block = step.table[size_t(seq) * b.max_blocks + key / b.block_size];
      return ((block * l.kv_heads + h) * b.block_size + key % b.block_size) * d;
    };
    for (int s = 0; s < b.num_seqs; ++s)
      for (int key = 0; key < step.seqlens[s]; ++key)
        for (int h = 0; h < l.kv_heads; ++h)
          for (int i = 0; i < d; ++i) {
            host_k[at(s, key, h) + i] = rng.normal() * (key % 97 == 5 ? 3 : 1);
            host_v[at(s, key, h) + i] = rng.normal() + 0.5f;
          }
    k = lab::upload(host_k, l.cache_dtype, {step.num_blocks, l.kv_heads, b.block_size, d});
    v = lab::upload(host_v, l.cache_dtype, {step.num_blocks, l.kv_heads, b.block_size, d});
    if (l.sinks) {
      host_sinks.resize(l.heads);
      for (auto& x : host_sinks) x = rng.normal() * 3;
      sinks = lab::upload(host_sinks, DType::kF32, {l.heads});
      extras.sinks = sinks.as<float>();
    }
    extras.softcap = l.softcap;
    args.out = out, args.q = q.columns(0, l.heads * d);
    args.k_cache = k, args.v_cache = v;
    args.num_heads = l.heads, args.num_kv_heads = l.kv_heads, args.head_dim = d;
    args.scale = 1.0f / std::sqrt(static_cast<float>(d));
    args.window = l.window;

    want.resize(size_t(b.num_tokens) * l.heads * d);
    std::vector<double> s;
    for (int seq = 0; seq < b.num_seqs; ++seq)
      for (int t = step.cu[seq]; t < step.cu[seq + 1]; ++t)
        for (int h = 0; h < l.heads; ++h) {
          const int end = step.positions[t] + 1;
          const int begin = l.window > 0 ? std::max(0, end - l.window) : 0;
          const int kv = h / (l.heads / l.kv_heads);
          const float* query = &host_q[size_t(t) * width + h * d];
          s.assign(end, 0);
          double top = l.sinks ? host_sinks[h] : -1e300, sum = 0;
          for (int key = begin; key < end; ++key) {
            const float* from = &host_k[at(seq, key, kv)];
            double dot = 0;
            for (int i = 0; i < d; ++i) dot += double(query[i]) * from[i];
            dot *= args.scale;
            if (l.softcap > 0) dot = l.softcap * std::tanh(dot / l.softcap);
            s[key] = dot;
            top = std::max(top, dot);
          }
          if (l.sinks) sum = std::exp(host_sinks[h] - top);
          double* to = &want[(size_t(t) * l.heads + h) * d];
          for (int key = begin; key < end; ++key) {
            const double w = std::exp(s[key] - top);
            sum += w;
            const float* from = &host_v[at(seq, key, kv)];
            for (int i = 0; i < d; ++i) to[i] += w * from[i];
          }
          for (int i = 0; i < d; ++i) to[i] /= sum;
        }
  }
  Problem(const Problem&) = delete;
  ~Problem() {
    for (const Tensor* t : {&q, &out, &k, &v, &sinks})
      if (t->data) cudaFree(t->data);
  }
  std::vector<float> run(const Context& ctx, Attend attend, const AttentionLaunch& how) {
    LAB_CHECK(cudaMemset(out.data, 0xff, out.bytes()));
    attend(ctx, args, extras, how);
    LAB_CHECK(cudaStreamSynchronize(ctx.stream));
    LAB_CHECK(cudaGetLastError());
    return lab::download(out);
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

std::string name_of(const Layer& l, int block_size, const char* more) {
  char text[160];
  std::snprintf(text, sizeof text, "%d/%d hd %d %s/%s block %d window %d cap %g%s %s", l.heads,
                l.kv_heads, l.head_dim, std::string(dtype_name(l.dtype)).c_str(),
                std::string(dtype_name(l.cache_dtype)).c_str(), block_size, l.window, l.softcap,
                l.sinks ? " sinks" : "", more);
  return text;
}

void check_decode(Context& ctx, const Layer& l, int block_size, const std::vector<SeqSpec>& seqs,
                  double& worst, int& count) {
  static uint64_t seed = 100;
  Rng rng(++seed);
  Step step(seqs, block_size, 3, rng);
  Problem problem(l, step, seed);
  const double tolerance = l.dtype == DType::kBF16 ? 1.2e-2 : 2e-3;
  std::vector<float> first;
  for (const int concurrent : {1, 8, 33, 132, 1 << 20}) {
    step.prepare(concurrent, workspace());
    for (const Attend attend : {decode_attention_sm90, decode_attention_mma}) {
      for (int again = 0; again < 2; ++again) {
        const auto got = problem.run(ctx, attend, step.how);
        ++count;
        const std::string where =
            name_of(l, block_size, attend == decode_attention_sm90 ? "sm90" : "mma") +
            " concurrent " + std::to_string(concurrent) + " items " +
            std::to_string(step.plan.decode.size());
        if (first.empty()) {
          first = got;
          const double error = lab::worst_error(got, problem.want);
          worst = std::max(worst, error / tolerance);
          report(error < tolerance, "values", where, error);
        } else {
          report(same_bits(got, first), "bits", where, lab::worst_error(got, problem.want));
        }
      }
    }
  }
  step.prepare(33, workspace());
  const auto got = problem.run(ctx, generic, step.how);
  const double error = lab::worst_error(got, problem.want);
  report(error < tolerance, "generic", name_of(l, block_size, ""), error);
}

void check_all_decode(Context& ctx) {
  double worst = 0;
  int count = 0;
  const std::vector<SeqSpec> ragged = {{0, 0, 1},   {14, 0, 1},  {15, 0, 1},  {16, 0, 1},
                                       {63, 0, 1},  {64, 0, 1},  {255, 0, 1}, {256, 0, 1},
                                       {300, 0, 1}, {511, 0, 1}, {700, 0, 3}, {1100, 0, 1},
                                       {37, 0, 1},  {129, 0, 2}};
  for (const DType t : {DType::kBF16, DType::kF16})
    for (const int d : {64, 96, 128, 192, 256})
      for (const auto& [heads, kv] : std::vector<std::pair<int, int>>{{8, 2}, {14, 2}, {12, 1}})
        check_decode(ctx, {heads, kv, d, t, t}, 16, ragged, worst, count);
  for (const int group : {1, 2, 3, 5, 7, 8, 9, 16, 17, 24})
    check_decode(ctx, {group * 2, 2, 128}, 32, {{900, 0, 1}, {40, 0, 1}}, worst, count);
  for (const int block_size : {16, 32, 64, 256})
    for (const int window : {0, 1, 17, 64, 100, 500}) {
      check_decode(ctx, {8, 2, 64, DType::kBF16, DType::kBF16, window}, block_size, ragged, worst,
                   count);
    }
  for (const int window : {0, 200}) {
    Layer l{16, 2, 128, DType::kBF16, DType::kBF16, window};
    l.sinks = true;
    check_decode(ctx, l, 16, ragged, worst, count);
    l.softcap = 5;
    check_decode(ctx, l, 16, ragged, worst, count);
  }
  for (const int window : {0, 4096})
    check_decode(ctx, {4, 1, 64, DType::kBF16, DType::kBF16, window}, 16,
                 {{8190, 0, 3}, {9000, 0, 1}, {20000, 0, 1}, {33333, 0, 1}, {100, 0, 1}}, worst,
                 count);
  std::printf("decode: %d launches checked, worst error %.2f of tolerance\n", count, worst);

  // A row alone gives what it gives in company.
  Rng rng(7);
  std::vector<SeqSpec> company;
  for (int i = 0; i < 40; ++i) company.push_back({1 + rng.below(1500), 0, 1});
  const Layer l{16, 8, 128};
  Rng blocks(9);
  Step step(company, 16, 3, blocks);
  Problem problem(l, step, 77);
  step.prepare(decode_concurrency(ctx, 8), workspace());
  const auto all = problem.run(ctx, decode_attention_sm90, step.how);
  report(lab::worst_error(all, problem.want) < 1.2e-2, "company", "");
  AttentionPlan whole = step.plan;
  const Batch together = step.batch;
  const size_t row_size = size_t(l.heads) * l.head_dim;
  for (int i = 0; i < 40; i += 3) {
    // Only sequence i of the same step: its token, its table row.
    std::vector<int32_t> cu{0}, lens{0}, seqlens{step.seqlens[i]};
    std::vector<int32_t> positions{step.positions[i]};
    cu.push_back(1);
    Batch alone = together;
    alone.num_seqs = alone.num_tokens = 1;
    alone.cu_seqlens_q = cu, alone.prefill_lens = lens, alone.seqlens_k = seqlens;
    alone.positions = positions;
    alone.block_table = {&step.table[size_t(i) * together.max_blocks], size_t(together.max_blocks)};
    plan_attention(alone, decode_concurrency(ctx, 8), step.plan);
    for (auto& item : step.plan.decode) item.row = i, item.seq = i;
    step.upload_to(step.memory);
    const auto got = problem.run(ctx, decode_attention_sm90, step.how);
    report(std::memcmp(&got[i * row_size], &all[i * row_size], row_size * 4) == 0, "alone",
           std::to_string(i) + " items " + std::to_string(step.plan.decode.size()));
  }
  // A captured launch, replayed with other contents at the same addresses.
  step.plan = whole;
  step.upload_to(step.memory);
  step.how.num_decode_items = step.how.num_prefill_items = -1;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  LAB_CHECK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
  decode_attention_sm90(ctx, problem.args, problem.extras, step.how);
  decode_attention_sm90(ctx, problem.args, problem.extras, step.how);
  decode_attention_mma(ctx, problem.args, problem.extras, step.how);
  LAB_CHECK(cudaStreamEndCapture(ctx.stream, &graph));
  LAB_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  for (const int concurrent : {33, 4, 0, 2000, 1 << 20, 33}) {
    if (concurrent == 0) {
      step.plan.decode.clear();
    } else {
      plan_attention(together, concurrent, step.plan);
    }
    step.upload_to(step.memory);
    LAB_CHECK(cudaMemset(problem.out.data, 0xff, problem.out.bytes()));
    for (int i = 0; i < 3; ++i) LAB_CHECK(cudaGraphLaunch(exec, ctx.stream));
    LAB_CHECK(cudaStreamSynchronize(ctx.stream));
    const auto got = lab::download(problem.out);
    if (concurrent == 0) continue;
    report(same_bits(got, all), "graph", std::to_string(concurrent));
  }
  LAB_CHECK(cudaGraphExecDestroy(exec));
  LAB_CHECK(cudaGraphDestroy(graph));
}

void check_generic(Context& ctx) {
  const std::vector<SeqSpec> seqs = {{0, 70, 0}, {100, 3, 2}, {40, 0, 1}, {0, 1, 0}, {300, 140, 0}};
  double worst = 0;
  uint64_t seed = 1000;
  for (const DType t : {DType::kF32, DType::kBF16, DType::kF16})
    for (const DType c : {DType::kF32, DType::kBF16, DType::kF16})
      for (const int d : {8, 20, 80, 128, 512})
        for (const int window : {0, 33}) {
          const int block_size = d == 80 ? 7 : 16;
          Layer l{6, 2, d, t, c, window};
          l.sinks = window > 0 && d == 80;
          Rng rng(++seed);
          Step step(seqs, block_size, 2, rng);
          Problem problem(l, step, seed);
          step.prepare(33, workspace());
          const auto got = problem.run(ctx, generic, step.how);
          const double tolerance = t == DType::kF32    ? 2e-5
                                   : t == DType::kBF16 ? 8e-3
                                                       : 1e-3;
          const double error = lab::worst_error(got, problem.want);
          worst = std::max(worst, error / tolerance);
          report(error < tolerance, "generic", name_of(l, block_size, ""), error);
        }
  std::printf("generic: worst error %.2f of tolerance\n", worst);
}

void check_rope(Context& ctx) {
  struct Case {
    int heads, kv_heads, d, rotary;
    bool q_norm, k_norm;
    DType t, c, w;
  };
  const DType f = DType::kF32, b = DType::kBF16, h = DType::kF16;
  double worst = 0;
  uint64_t seed = 5000;
  for (const Case& c : std::vector<Case>{{16, 8, 128, 128, true, true, b, b, b},
                                         {14, 2, 64, 64, false, false, b, b, b},
                                         {14, 2, 64, 64, false, false, h, h, h},
                                         {4, 1, 256, 64, true, true, b, b, f},
                                         {5, 5, 96, 96, true, false, h, h, h},
                                         {3, 1, 192, 32, false, true, b, b, b},
                                         {4, 2, 80, 20, true, true, b, b, b},
                                         {4, 2, 10, 6, true, true, f, f, f},
                                         {4, 2, 128, 128, true, true, f, b, b},
                                         {4, 2, 128, 128, false, false, f, f, f},
                                         {4, 2, 64, 0, false, false, b, h, f},
                                         {40, 2, 512, 512, true, true, h, f, h}})
    for (const int tokens : {1, 7, 700}) {
      Rng rng(++seed);
      std::vector<SeqSpec> seqs{{3, 0, 1}};
      if (tokens > 1) seqs = {{5, tokens - 2, 0}, {20, 0, 2}};
      Step step(seqs, 16, 2, rng);
      step.slots.back() = -1;
      step.prepare(33, workspace());
      const int d = c.d, all = c.heads + 2 * c.kv_heads;
      std::vector<float> x(size_t(tokens) * all * d), qw(d), kw(d), angles(1024 * std::max(2, c.rotary));
      for (auto& v : x) v = rng.normal();
      for (auto& v : qw) v = 1 + 0.2f * rng.normal();
      for (auto& v : kw) v = 1 + 0.2f * rng.normal();
      for (auto& v : angles) v = rng.normal();
      QkNormRopeStore a{};
      a.qkv = lab::upload(x, c.t, {tokens, int64_t{all} * d});
      const Tensor q_norm = lab::upload(qw, c.w, {d}), k_norm = lab::upload(kw, c.w, {d});
      if (c.q_norm) a.q_norm = q_norm;
      if (c.k_norm) a.k_norm = k_norm;
      a.eps = 1e-6f;
      a.rope = {lab::upload(angles, DType::kF32, {1024, std::max(2, c.rotary)}), c.rotary};
      std::vector<float> none(size_t(step.num_blocks) * c.kv_heads * 16 * d, 12345.0f);
      a.k_cache = lab::upload(none, c.c, {step.num_blocks, c.kv_heads, 16, d});
      a.v_cache = lab::upload(none, c.c, {step.num_blocks, c.kv_heads, 16, d});
      a.num_heads = c.heads, a.num_kv_heads = c.kv_heads, a.head_dim = d;
      qk_norm_rope_store(ctx, a, step.how.batch);
      const auto got = lab::download(a.qkv), k = lab::download(a.k_cache), v = lab::download(a.v_cache);
      std::vector<double> want(x.begin(), x.end());
      std::vector<double> want_k(none.begin(), none.end()), want_v = want_k;
      for (int t = 0; t < tokens; ++t)
        for (int head = 0; head < all; ++head) {
          double* at = &want[(size_t(t) * all + head) * d];
          const bool is_k = head >= c.heads, is_v = head >= c.heads + c.kv_heads;
          if (!is_v && (is_k ? c.k_norm : c.q_norm)) {
            double sum = 0;
            for (int i = 0; i < d; ++i) sum += at[i] * at[i];
            const double r = 1 / std::sqrt(sum / d + 1e-6);
            for (int i = 0; i < d; ++i) at[i] *= r * (is_k ? kw : qw)[i];
          }
          for (int i = 0; !is_v && i < c.rotary / 2; ++i) {
            const float* angle = &angles[size_t(step.positions[t]) * c.rotary];
            const double p = at[i], q = at[i + c.rotary / 2];
            const double co = angle[i], si = angle[i + c.rotary / 2];
            at[i] = p * co - q * si;
            at[i + c.rotary / 2] = q * co + p * si;
          }
          const int slot = step.slots[t];
          if (is_k && slot >= 0) {
            const int kv = head - c.heads - (is_v ? c.kv_heads : 0);
            double* to = &(is_v ? want_v : want_k)[((int64_t{slot} / 16 * c.kv_heads + kv) * 16 +
                                                    slot % 16) * d];
            std::copy(at, at + d, to);
          }
        }
      const auto tolerance = [](DType t) {
        return t == DType::kF32 ? 1e-5 : t == DType::kBF16 ? 4.1e-3 : 6e-4;
      };
      const double error = std::max({lab::worst_error(got, want) / tolerance(c.t),
                                     lab::worst_error(k, want_k) / tolerance(c.c),
                                     lab::worst_error(v, want_v) / tolerance(c.c)});
      worst = std::max(worst, error);
      char where[80];
      std::snprintf(where, sizeof where, "%d/%d d %d rotary %d T %d", c.heads, c.kv_heads, d,
                    c.rotary, tokens);
      report(error < 1, "rope", where, error);
      for (const void* p : {a.qkv.data, q_norm.data, k_norm.data, a.rope.cos_sin.data,
                            a.k_cache.data, a.v_cache.data})
        cudaFree(const_cast<void*>(p));
    }
  std::printf("rope: worst error %.2f of tolerance\n", worst);
}

double copy_bandwidth(Context& ctx) {
  const size_t bytes = size_t{1} << 30;
  const Tensor a = lab::random(DType::kBF16, {int64_t(bytes / 2)});
  void* b = lab::device_bytes(bytes);
  const double us = lab::time_us(ctx, 3, [&](int) {
    LAB_CHECK(cudaMemcpyAsync(b, a.data, bytes, cudaMemcpyDeviceToDevice, ctx.stream));
  });
  cudaFree(a.data), cudaFree(b);
  return 2.0 * bytes / us * 1e-6;
}

// Every way of cutting rows, by steering the plan; figures in us (TB/s).
void time_decode(Context& ctx, const char* name, const Layer& l, const std::vector<int>& lengths) {
  Rng rng(3);
  std::vector<SeqSpec> seqs;
  double keys = 0;
  int64_t chunks = 0;
  for (const int n : lengths) {
    seqs.push_back({n - 1, 0, 1});
    keys += n;
    chunks += (n + 255) / 256;
  }
  Step step(seqs, 16, 1, rng);
  const double bytes = keys * l.kv_heads * l.head_dim * 4;
  const int64_t cache = int64_t{step.num_blocks} * l.kv_heads * 16 * l.head_dim;
  const int copies = static_cast<int>(std::clamp<int64_t>(260e6 / bytes, 1, 64));
  const Tensor k = lab::random(l.dtype, {cache * copies}, 1, 1);
  const Tensor v = lab::random(l.dtype, {cache * copies}, 1, 2);
  const int64_t tokens = step.batch.num_tokens;
  const Tensor q = lab::random(l.dtype, {tokens, (l.heads + 2 * l.kv_heads) * l.head_dim}, 1, 3);
  const Tensor out = lab::random(l.dtype, {tokens, l.heads * l.head_dim}, 1, 4);
  auto call = [&](Attend attend, bool captured) {
    AttentionLaunch how = step.how;
    if (captured) how.num_decode_items = how.num_prefill_items = -1;
    return lab::time_us(
        ctx, std::max(copies, 4),
        [&](int i) {
          PagedAttention a{};
          a.out = out, a.q = q.columns(0, l.heads * l.head_dim);
          a.k_cache = Tensor(k.as<uint16_t>() + i % copies * cache, l.dtype,
                             {step.num_blocks, l.kv_heads, 16, l.head_dim});
          a.v_cache = Tensor(v.as<uint16_t>() + i % copies * cache, l.dtype,
                             {step.num_blocks, l.kv_heads, 16, l.head_dim});
          a.num_heads = l.heads, a.num_kv_heads = l.kv_heads, a.head_dim = l.head_dim;
          a.scale = 0.09f;
          attend(ctx, a, {}, how);
        },
        9);
  };
  std::printf("%-22s", name);
  auto show = [&](const char* what, double us) {
    std::printf(" %s %.1f (%.2f)", what, us, bytes / us * 1e-6);
  };
  const int usual = decode_concurrency(ctx, l.kv_heads);
  step.prepare(usual, workspace());
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) plan_attention(step.batch, usual, step.plan);
  const auto end = std::chrono::steady_clock::now();
  std::printf(" plan %.1f us, %zu items:", std::chrono::duration<double>(end - begin).count() * 5e4,
              step.plan.decode.size());
  show("default", call(decode_attention_sm90, false));
  show("graph", call(decode_attention_sm90, true));
  show("mma", call(decode_attention_mma, true));
  const bool pdl = ctx.pdl;
  ctx.pdl = false;
  show("no pdl", call(decode_attention_sm90, true));
  ctx.pdl = pdl;
  std::printf("\n%-22s", "");
  step.prepare(1 << 28, workspace());
  if (step.plan.decode[0].span == 0) show("split", call(decode_attention_sm90, true));
  for (const int span : {1, 2, 4, 8, 1000}) {
    // concurrent_items that gives this span: chunks / (4 * concurrent).
    const int64_t concurrent = span == 1 ? 2 * chunks - 1 : std::max<int64_t>(1, chunks / (4 * span));
    if (span > 1 && chunks < 4 * span) continue;
    step.prepare(static_cast<int>(concurrent), workspace());
    const std::string what = "span " + std::to_string(step.plan.decode[0].span);
    show(what.c_str(), call(decode_attention_sm90, true));
  }
  std::printf("\n");
  for (const Tensor* t : {&k, &v, &q, &out}) cudaFree(t->data);
}

void time_rope(Context& ctx, int heads, int kv_heads, int d, bool norm, int tokens) {
  Rng rng(4);
  Step step({{16, tokens, 0}}, 16, 1, rng);
  step.prepare(33, workspace());
  const int width = (heads + 2 * kv_heads) * d, copies = tokens > 4000 ? 2 : 16;
  const Tensor qkv = lab::random(DType::kBF16, {int64_t{copies} * tokens, width});
  const Tensor cache = lab::random(DType::kBF16, {2, step.num_blocks, int64_t{kv_heads} * 16 * d});
  const Tensor weight = lab::random(DType::kBF16, {d});
  std::vector<float> angles(size_t(tokens + 16) * d, 0.7f);
  const Tensor table = lab::upload(angles, DType::kF32, {tokens + 16, d});
  const double us = lab::time_us(ctx, copies, [&](int i) {
    QkNormRopeStore a{};
    a.qkv = Tensor(qkv.row<uint16_t>(int64_t{i} * tokens), DType::kBF16, {tokens, width});
    if (norm) a.q_norm = weight, a.k_norm = weight;
    a.eps = 1e-6f;
    a.rope = {table, d};
    a.k_cache = Tensor(cache.data, DType::kBF16, {step.num_blocks, kv_heads, 16, d});
    a.v_cache = Tensor(cache.row<uint16_t>(1), DType::kBF16, {step.num_blocks, kv_heads, 16, d});
    a.num_heads = heads, a.num_kv_heads = kv_heads, a.head_dim = d;
    qk_norm_rope_store(ctx, a, step.how.batch);
  });
  const double bytes = 2.0 * tokens * (width + (heads + 3 * kv_heads) * d);
  std::printf("rope %d/%d hd %d T %-5d %7.2f us %.2f TB/s\n", heads, kv_heads, d, tokens, us,
              bytes / us * 1e-6);
  for (const Tensor* t : {&qkv, &cache, &weight, &table}) cudaFree(t->data);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  Context ctx = lab::make_context();
  try {
    if (what != "time") {
      check_all_decode(ctx);
      check_generic(ctx);
      check_rope(ctx);
      std::printf("%s: %d failures\n", failures ? "FAIL" : "PASS", failures);
    }
    if (what == "check") return failures != 0;
    std::printf("copy %.2f TB/s\n", copy_bandwidth(ctx));
    const Layer llama{32, 8, 128}, qwen{14, 2, 64}, qwen3{16, 8, 128};
    auto same = [](int n, int length) { return std::vector<int>(n, length); };
    Rng rng(1);
    std::vector<int> mixed;
    for (int i = 0; i < 256; ++i) mixed.push_back(100 + rng.below(1901));
    time_decode(ctx, "32/8 128 B=1 1k", llama, same(1, 1024));
    time_decode(ctx, "32/8 128 B=1 4k", llama, same(1, 4096));
    time_decode(ctx, "32/8 128 B=1 8k", llama, same(1, 8192));
    time_decode(ctx, "32/8 128 B=4 4k", llama, same(4, 4096));
    time_decode(ctx, "32/8 128 B=32 1k", llama, same(32, 1024));
    time_decode(ctx, "32/8 128 B=64 4k", llama, same(64, 4096));
    time_decode(ctx, "32/8 128 B=256 1k", llama, same(256, 1024));
    time_decode(ctx, "14/2 64 B=1 1k", qwen, same(1, 1024));
    time_decode(ctx, "14/2 64 B=1 4k", qwen, same(1, 4096));
    time_decode(ctx, "14/2 64 B=32 1k", qwen, same(32, 1024));
    time_decode(ctx, "14/2 64 B=64 4k", qwen, same(64, 4096));
    time_decode(ctx, "14/2 64 B=256 1k", qwen, same(256, 1024));
    time_decode(ctx, "16/8 128 B=1 1k", qwen3, same(1, 1024));
    time_decode(ctx, "16/8 128 B=256 mixed", qwen3, mixed);
    for (const int tokens : {1, 64, 256, 2048, 16384}) time_rope(ctx, 32, 8, 128, false, tokens);
    for (const int tokens : {1, 256, 16384}) time_rope(ctx, 16, 8, 128, true, tokens);
    for (const int tokens : {1, 16384}) time_rope(ctx, 14, 2, 64, false, tokens);
  } catch (const Error& e) {
    std::printf("FAIL %s\n", e.what());
    return 1;
  }
  return failures != 0;
}

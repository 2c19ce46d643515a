// Prefill attention: checks against double on ragged batches (prefixes, windows, sinks, soft cap,
// all head dims, hidden cache slots full of NaN), checks that rows have the same bits however the
// prompt is cut into tiles, then times both kernels and variants of the sm_90a one.
//
// Error bound: a probability is rounded to the 16-bit type before it meets V, the result once more:
// 2^-9 (bf16) or 2^-12 (f16) of the largest |v| (3.5 here), and of the result; twice that is let
// pass.

#include <bit>
#include <numeric>

#include "cuda/device/prefill_sm90.cuh"
#include "lab.h"

using namespace hotpath::cuda;
using hotpath::PagedAttention;
using lab::DType;
using lab::Tensor;

namespace {

struct Sequence {
  int prefix, fresh;  // tokens in the cache before this step, tokens of this step
};

struct Case {
  const char* name;
  DType dtype;
  int head_dim, heads, kv_heads, block_size;
  std::vector<Sequence> sequences;
  int window = 0;
  bool sinks = false;
  float softcap = 0;
};

template <typename U>
U* upload_array(const std::vector<U>& v) {
  U* p = static_cast<U*>(lab::device_bytes(std::max<size_t>(v.size() * sizeof(U), 16)));
  LAB_CHECK(cudaMemcpy(p, v.data(), v.size() * sizeof(U), cudaMemcpyHostToDevice));
  return p;
}

// A batch in device memory with its arguments. Freed at the end of the program only.
struct Problem {
  PagedAttention args{};
  AttentionLaunch how{};
  AttentionExtras extras{};
  std::vector<int> table;  // [sequences, max_blocks]
  int max_blocks = 0;
  std::vector<void*> owned;
};

std::vector<PrefillItem> cut(const std::vector<Sequence>& sequences,
                             const std::vector<int>& sizes) {
  std::vector<PrefillItem> items;
  int row = 0;
  size_t at = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    int done = 0;
    while (done < sequences[s].fresh) {
      const int n = std::min(sizes[at++ % sizes.size()], sequences[s].fresh - done);
      items.push_back({static_cast<int>(s), row + done, n, sequences[s].prefix + done});
      done += n;
    }
    row += sequences[s].fresh;
  }
  std::stable_sort(items.begin(), items.end(), [](const PrefillItem& a, const PrefillItem& b) {
    return a.position > b.position;
  });
  return items;
}

void set_items(Problem& problem, const std::vector<PrefillItem>& items) {
  problem.how.batch.prefill_items = upload_array(items);
  problem.owned.push_back(const_cast<PrefillItem*>(problem.how.batch.prefill_items));
  problem.how.num_prefill_items = static_cast<int>(items.size());
}

// Tables and lists; tensors are the caller's.
Problem make_problem(const Case& c, lab::Rng& rng) {
  Problem problem;
  int blocks = 0;
  for (const Sequence& s : c.sequences)
    problem.max_blocks =
        std::max(problem.max_blocks, (s.prefix + s.fresh + c.block_size - 1) / c.block_size);
  problem.max_blocks += 1;
  problem.table.assign(c.sequences.size() * problem.max_blocks, 0x7fffffff);
  std::vector<int> all(c.sequences.size() * problem.max_blocks);
  std::iota(all.begin(), all.end(), 0);
  for (size_t i = all.size() - 1; i > 0; --i) std::swap(all[i], all[rng.below(i + 1)]);
  int tokens = 0;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    const int n = (c.sequences[s].prefix + c.sequences[s].fresh + c.block_size - 1) / c.block_size;
    for (int i = 0; i < n; ++i) problem.table[s * problem.max_blocks + i] = all[blocks++];
    tokens += c.sequences[s].fresh;
  }
  StepHeader header{};
  header.num_seqs = c.sequences.size();
  header.num_tokens = tokens;
  header.max_blocks = problem.max_blocks;
  problem.how.batch.header = upload_array(std::vector<StepHeader>{header});
  problem.how.batch.block_table = upload_array(problem.table);
  problem.how.batch.block_size = c.block_size;
  problem.how.workspace = lab::device_bytes(1024);
  LAB_CHECK(cudaMemset(problem.how.workspace, 0, 1024));
  set_items(problem, cut(c.sequences, {kPrefillTileRows}));
  problem.args.num_heads = c.heads;
  problem.args.num_kv_heads = c.kv_heads;
  problem.args.head_dim = c.head_dim;
  problem.args.scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  problem.args.window = c.window;
  problem.extras.softcap = c.softcap;
  return problem;
}

using Kernel = bool (*)(const Context&, const PagedAttention&, const AttentionLaunch&,
                        const AttentionExtras&);
struct NamedKernel {
  const char* name;
  Kernel run;
};
constexpr NamedKernel kKernels[] = {{"sm90", prefill_attention_sm90},
                                    {"mma", prefill_attention_mma}};

int failures = 0;

// One row of one head, in double.
void reference_row(const Case& c, float scale, const float* q, const std::vector<float>& k,
                   const std::vector<float>& v, const int* table, int position, int kv_head,
                   float sink, double* out) {
  const int d = c.head_dim;
  const int begin = c.window > 0 ? std::max(0, position - c.window + 1) : 0;
  std::vector<double> w(position + 1 - begin);
  double most = c.sinks ? sink : -INFINITY;
  auto cache_row = [&](int key) {
    return ((size_t(table[key / c.block_size]) * c.kv_heads + kv_head) * c.block_size +
            key % c.block_size) * d;
  };
  for (int key = begin; key <= position; ++key) {
    const float* row = &k[cache_row(key)];
    double x = 0;
    for (int i = 0; i < d; ++i) x += double(q[i]) * row[i];
    x *= scale;
    if (c.softcap > 0) x = c.softcap * std::tanh(x / c.softcap);
    w[key - begin] = x;
    most = std::max(most, x);
  }
  double sum = c.sinks ? std::exp(sink - most) : 0;
  std::fill(out, out + d, 0.0);
  for (int key = begin; key <= position; ++key) {
    const double e = std::exp(w[key - begin] - most);
    sum += e;
    const float* row = &v[cache_row(key)];
    for (int i = 0; i < d; ++i) out[i] += e * row[i];
  }
  for (int i = 0; i < d; ++i) out[i] /= sum;
}

void check_case(Context& ctx, const Case& c) {
  lab::Rng rng(c.head_dim * 31 + c.block_size + c.window);
  Problem problem = make_problem(c, rng);
  int tokens = 0;
  for (const Sequence& s : c.sequences) tokens += s.fresh;
  const int d = c.head_dim, columns = (c.heads + 2 * c.kv_heads) * d;
  const int64_t blocks = int64_t(c.sequences.size()) * problem.max_blocks;

  std::vector<float> qkv(size_t(tokens) * columns);
  for (float& x : qkv) x = rng.normal() * 1.5f;
  Tensor fused = lab::upload(qkv, c.dtype, {tokens, columns});
  std::vector<float> k(blocks * c.kv_heads * c.block_size * d, NAN), v = k;
  for (size_t s = 0; s < c.sequences.size(); ++s) {
    for (int key = 0; key < c.sequences[s].prefix + c.sequences[s].fresh; ++key) {
      for (int h = 0; h < c.kv_heads; ++h) {
        const size_t row = ((size_t(problem.table[s * problem.max_blocks + key / c.block_size]) *
                             c.kv_heads + h) * c.block_size + key % c.block_size) * d;
        for (int i = 0; i < d; ++i) k[row + i] = rng.normal(), v[row + i] = rng.normal();
      }
    }
  }
  problem.args.k_cache = lab::upload(k, c.dtype, {blocks, c.kv_heads, c.block_size, d});
  problem.args.v_cache = lab::upload(v, c.dtype, {blocks, c.kv_heads, c.block_size, d});
  problem.args.q = fused.columns(0, c.heads * d);
  problem.args.out = Tensor(lab::device_bytes(size_t(tokens) * c.heads * d * 2), c.dtype,
                            {tokens, c.heads * d});
  std::vector<float> sinks(c.heads);
  for (float& x : sinks) x = rng.normal() * 3;
  if (c.sinks) problem.extras.sinks = upload_array(sinks);
  const std::vector<PrefillItem> whole = cut(c.sequences, {kPrefillTileRows});

  for (const NamedKernel& kernel : kKernels) {
    LAB_CHECK(cudaMemset(problem.args.out.data, 0xff, problem.args.out.bytes()));
    set_items(problem, whole);
    std::printf("%-5s %-28s ", kernel.name, c.name);
    std::fflush(stdout);
    const bool covered = kernel.run(ctx, problem.args, problem.how, problem.extras);
    const std::vector<float> out = lab::download(problem.args.out);

    std::vector<float> got;
    std::vector<double> want;
    int row0 = 0;
    for (size_t s = 0; s < c.sequences.size(); ++s) {
      const int n = c.sequences[s].fresh;
      for (int i = 0; i < 20; ++i) {
        const int r = i == 0 ? 0 : i == 1 ? n - 1 : rng.below(n);
        const int head = rng.below(c.heads);
        double expected[256];
        reference_row(c, problem.args.scale, &qkv[size_t(row0 + r) * columns + head * d], k, v,
                      &problem.table[s * problem.max_blocks], c.sequences[s].prefix + r,
                      head / (c.heads / c.kv_heads), sinks[head], expected);
        for (int j = 0; j < d; ++j) {
          got.push_back(out[(size_t(row0 + r) * c.heads + head) * d + j]);
          want.push_back(expected[j]);
        }
      }
      row0 += n;
    }
    const double error = lab::worst_error(got, want);
    const double bound = (c.dtype == DType::kBF16 ? 0x1p-8 : 0x1p-11) * 3.5;

    // Twice the same, then other cuts: the bits must be the same.
    int different = 0;
    const std::vector<int> cuts[] = {{128}, {1, 37, 100, 65}, {64}, {127, 3, 128}, {17}};
    for (const std::vector<int>& sizes : cuts) {
      LAB_CHECK(cudaMemset(problem.args.out.data, 0xff, problem.args.out.bytes()));
      set_items(problem, cut(c.sequences, sizes));
      kernel.run(ctx, problem.args, problem.how, problem.extras);
      const std::vector<float> again = lab::download(problem.args.out);
      for (size_t i = 0; i < out.size(); ++i)
        different += std::bit_cast<uint32_t>(out[i]) != std::bit_cast<uint32_t>(again[i]);
    }
    const bool ok = covered && error <= bound && different == 0;
    failures += !ok;
    std::printf("%s error %.5f (bound %.5f), %d bits differ\n", ok ? "PASS" : "FAIL", error, bound,
                different);
  }
  LAB_CHECK(cudaFree(problem.args.k_cache.data));
  LAB_CHECK(cudaFree(problem.args.v_cache.data));
  LAB_CHECK(cudaFree(problem.args.out.data));
  LAB_CHECK(cudaFree(fused.data));
  for (void* p : problem.owned) LAB_CHECK(cudaFree(p));
}

using Launch = void (*)(const Context&, const PagedAttention&, const AttentionLaunch&,
                        const AttentionExtras&);
struct Variant {
  const char* name;
  Launch run;
};
template <int kHeadDim, int kTile, bool kPingPong>
constexpr Launch variant() {
  return launch_prefill_sm90<bf16, kHeadDim, kTile, false, kPingPong>;
}
void production(const Context& ctx, const PagedAttention& a, const AttentionLaunch& how,
                const AttentionExtras& e) {
  prefill_attention_sm90(ctx, a, how, e);
}
void portable(const Context& ctx, const PagedAttention& a, const AttentionLaunch& how,
              const AttentionExtras& e) {
  prefill_attention_mma(ctx, a, how, e);
}

// All variants on one shape; the sums of the outputs must agree roughly with the first's.
void time_case(Context& ctx, const Case& c, const std::vector<Variant>& variants) {
  lab::Rng rng(7);
  Problem problem = make_problem(c, rng);
  int tokens = 0;
  double flops = 0;
  for (const Sequence& s : c.sequences) {
    tokens += s.fresh;
    double keys = 0;
    for (int i = 0; i < s.fresh; ++i)
      keys += c.window > 0 ? std::min(c.window, s.prefix + i + 1) : s.prefix + i + 0.5;
    flops += 4.0 * keys * c.head_dim * c.heads;
  }
  const int64_t blocks = int64_t(c.sequences.size()) * problem.max_blocks;
  const int columns = (c.heads + 2 * c.kv_heads) * c.head_dim;
  Tensor fused = lab::random(c.dtype, {tokens, columns}, 1.0f, 1);
  problem.args.q = fused.columns(0, c.heads * c.head_dim);
  problem.args.k_cache =
      lab::random(c.dtype, {blocks, c.kv_heads, c.block_size, c.head_dim}, 1.0f, 2);
  problem.args.v_cache =
      lab::random(c.dtype, {blocks, c.kv_heads, c.block_size, c.head_dim}, 1.0f, 3);
  problem.args.out = lab::random(c.dtype, {tokens, c.heads * c.head_dim}, 1.0f, 4);
  std::printf("%-30s", c.name);
  std::vector<float> first;
  for (const Variant& v : variants) {
    const int calls = std::clamp(static_cast<int>(1e12 / flops), 1, 10);
    const double us = lab::time_us(
        ctx, calls, [&](int) { v.run(ctx, problem.args, problem.how, problem.extras); },
        flops > 2e12 ? 4 : 7);
    const std::vector<float> out = lab::download(problem.args.out);
    if (first.empty()) first = out;
    double worst = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      const double e = std::abs(out[i] - first[i]);
      if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
    }
    std::printf(" | %s %.1f us %.0f%s", v.name, us, flops / us * 1e-6,
                worst < 0.03 ? "" : " WRONG");
    std::fflush(stdout);
  }
  std::printf("\n");
  for (Tensor* t : {&fused, &problem.args.k_cache, &problem.args.v_cache, &problem.args.out})
    LAB_CHECK(cudaFree(t->data));
}

}  // namespace

int main(int argc, char** argv) {
  Context ctx = lab::make_context();
  constexpr DType kB = DType::kBF16, kF = DType::kF16;
  const std::vector<Sequence> ragged = {{0, 300},  {77, 129}, {500, 64},
                                        {0, 1},    {1000, 3}, {31, 200}};
  const std::vector<Case> checks = {
      {"d128 8/2 b16", kB, 128, 8, 2, 16, ragged},
      {"d128 8/8 b64 f16", kF, 128, 8, 8, 64, ragged},
      {"d128 8/1 b128 w100", kB, 128, 8, 1, 128, ragged, 100},
      {"d128 4/2 b32 w1", kB, 128, 4, 2, 32, ragged, 1},
      {"d128 4/2 b256 w257", kB, 128, 4, 2, 256, ragged, 257},
      {"d128 4/4 b16 sinks", kB, 128, 4, 4, 16, ragged, 0, true},
      {"d128 4/4 b16 sinks cap w128", kB, 128, 4, 4, 16, ragged, 128, true, 5.0f},
      {"d64 14/2 b16", kB, 64, 14, 2, 16, ragged},
      {"d64 6/2 b64 w130 f16", kF, 64, 6, 2, 64, ragged, 130},
      {"d64 6/2 b128 cap", kB, 64, 6, 2, 128, ragged, 0, false, 3.0f},
      {"d96 5/5 b16", kB, 96, 5, 5, 16, ragged},
      {"d96 4/2 b64 f16 w70", kF, 96, 4, 2, 64, ragged, 70},
      {"d192 4/2 b16", kB, 192, 4, 2, 16, ragged},
      {"d192 4/1 b128 w90 f16", kF, 192, 4, 1, 128, ragged, 90},
      {"d256 4/2 b16", kB, 256, 4, 2, 16, ragged},
      {"d256 4/1 b64 f16 cap w200", kF, 256, 4, 1, 64, ragged, 200, false, 30.0f},
      {"d128 32/8 b16, 40 short", kB, 128, 32, 8, 16, std::vector<Sequence>(40, {5, 19})},
      {"d64 14/2 b16 2k", kB, 64, 14, 2, 16, {{0, 2048}}},
      {"d128 16/8 b16 3k", kB, 128, 16, 8, 16, {{100, 3001}}},
  };
  for (const Case& c : checks) check_case(ctx, c);
  std::printf("%s: %d failures\n", failures == 0 ? "PASS" : "FAIL", failures);
  if (failures > 0 || argc > 1) return failures > 0;

  std::printf("# causal, TFLOP/s last\n");
  const Variant prod{"sm90", production}, mma{"mma", portable};
  const std::vector<Variant> d128 = {prod,
                                     {"128 pp", variant<128, 128, true>()},
                                     {"176", variant<128, 176, false>()},
                                     mma};
  const std::vector<Variant> d64 = {prod,
                                    {"128 pp", variant<64, 128, true>()},
                                    {"160", variant<64, 160, false>()},
                                    {"192 pp", variant<64, 192, true>()},
                                    {"192", variant<64, 192, false>()},
                                    mma};
  const std::vector<Sequence> shorts(32, {0, 512});
  time_case(ctx, {"d128 32/8 b16 2k", kB, 128, 32, 8, 16, {{0, 2048}}}, d128);
  time_case(ctx, {"d128 32/8 b16 8k", kB, 128, 32, 8, 16, {{0, 8192}}}, d128);
  time_case(ctx, {"d128 32/8 b128 8k", kB, 128, 32, 8, 128, {{0, 8192}}}, {prod, d128[1]});
  time_case(ctx, {"d128 32/8 b16 32 x 512", kB, 128, 32, 8, 16, shorts}, d128);
  time_case(ctx, {"d128 32/8 b16 512", kB, 128, 32, 8, 16, {{0, 512}}}, d128);
  time_case(ctx, {"d128 32/8 b16 8k w1024", kB, 128, 32, 8, 16, {{0, 8192}}, 1024}, d128);
  time_case(ctx, {"d128 32/8 b16 4k cap", kB, 128, 32, 8, 16, {{0, 4096}}, 0, false, 50.0f},
            {prod, mma});
  time_case(ctx, {"d64 14/2 b16 2k", kB, 64, 14, 2, 16, {{0, 2048}}}, d64);
  time_case(ctx, {"d64 14/2 b16 8k", kB, 64, 14, 2, 16, {{0, 8192}}}, d64);
  time_case(ctx, {"d64 14/2 b16 32 x 512", kB, 64, 14, 2, 16, shorts}, d64);
  const size_t l2 = ctx.l2_bytes;
  std::printf("# L2 %zu MB; below: the share of it for a section of heads\n", l2 >> 20);
  for (int percent : {0, 8, 20, 50, 100}) {
    ctx.l2_bytes = l2 * percent / 50;
    std::printf("%3d%% ", percent);
    time_case(ctx, {"d128 32/32 b16 2k", kB, 128, 32, 32, 16, {{0, 2048}}}, {prod});
    std::printf("%3d%% ", percent);
    time_case(ctx, {"d128 32/32 b16 8k", kB, 128, 32, 32, 16, {{0, 8192}}}, {prod});
    std::printf("%3d%% ", percent);
    time_case(ctx, {"d128 32/8 b16 8k", kB, 128, 32, 8, 16, {{0, 8192}}}, {prod});
    std::printf("%3d%% ", percent);
    time_case(ctx, {"d64 14/14 b16 8k", kB, 64, 14, 14, 16, {{0, 8192}}}, {prod, d64[3]});
    if (percent % 50 == 0) {
      std::printf("%3d%% ", percent);
      time_case(ctx, {"d128 32/8 b16 32k", kB, 128, 32, 8, 16, {{0, 32768}}}, {prod});
    }
  }
  ctx.l2_bytes = l2;
  time_case(ctx, {"d64 14/2 b16 32k", kB, 64, 14, 2, 16, {{0, 32768}}}, {prod});
  time_case(ctx, {"d96 32/32 b16 4k", kB, 96, 32, 32, 16, {{0, 4096}}}, {prod, mma});
  time_case(ctx, {"d192 16/8 b16 4k", kB, 192, 16, 8, 16, {{0, 4096}}},
            {prod, {"112", variant<192, 112, false>()}, mma});
  time_case(ctx, {"d256 16/8 b16 4k", kB, 256, 16, 8, 16, {{0, 4096}}},
            {prod, {"80 pp", variant<256, 80, true>()}, mma});
  return 0;
}

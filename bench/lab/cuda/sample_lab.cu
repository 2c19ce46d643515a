// The sampler: every rule against a reference in double and against the CPU's sampler, batch
// invariance, then timings. Build: sample.cu sample_pack.cu context.cu, ../cpu/sampler.cc,
// ../cpu/kernels_baseline.cc and test/ops/sample_reference.cc, with -Itest/ops.

#include <cfloat>
#include <chrono>
#include <cstring>
#include <string>

#include "cpu/kernels.h"
#include "cpu/sampler.h"
#include "cuda/device/sample_row.cuh"
#include "cuda/sample.h"
#include "lab.h"
#include "sample_reference.h"

namespace {

using namespace hotpath;
using hotpath::cuda::Context;
using hotpath::cuda::SampleStage;
using hotpath::test::Sampled;

constexpr float kInf = INFINITY;
constexpr int kMaxRows = 256, kVocab = 151936, kMaxVocab = 256000;

int failures = 0;
#define EXPECT(condition, ...)                       \
  do {                                               \
    if (!(condition)) {                              \
      if (++failures <= 25) {                        \
        std::printf("FAIL %s:%d ", __func__, __LINE__); \
        std::printf(__VA_ARGS__);                    \
        std::printf("\n");                           \
      }                                              \
    }                                                \
  } while (0)

struct Output {
  int32_t token = -2;
  float logprob = 0;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
  bool operator==(const Output&) const = default;
};

struct RowData {
  std::vector<int32_t> seen, counts, bias_tokens, suppressed;
  std::vector<float> bias_values;
  std::vector<uint32_t> mask;
  SampleRow row;
  int32_t pending_token = -1;
  std::vector<int32_t> all_seen, all_counts;  // with the pending one

  void bind() {
    row.seen_tokens = seen, row.seen_counts = counts;
    row.bias_tokens = bias_tokens, row.bias_values = bias_values;
    row.suppressed = suppressed;
    row.bitmask = mask.empty() ? nullptr : mask.data();
    row.pending = pending_token >= 0;
    all_seen = seen, all_counts = counts;
    if (pending_token < 0) return;
    const auto at = std::find(seen.begin(), seen.end(), pending_token) - seen.begin();
    if (at < static_cast<int64_t>(seen.size()))
      ++all_counts[at];
    else
      all_seen.push_back(pending_token), all_counts.push_back(1);
  }
  // As one who knows the pending token would write it.
  SampleRow known() const {
    SampleRow r = row;
    r.pending = false, r.seen_tokens = all_seen, r.seen_counts = all_counts;
    return r;
  }
};

class Lab {
 public:
  explicit Lab(Context& c)
      : ctx(c), stage(c, OpLimits{.max_logits = kMaxRows, .vocab_size = kMaxVocab}) {
    LAB_CHECK(cudaMalloc(&device, size_t{kMaxRows} * kVocab * 4 + 64));
    LAB_CHECK(cudaMalloc(&last, (kMaxRows + 1) * sizeof(int32_t)));
  }

  // pending[i] >= 0: what row i's slot holds before.
  std::vector<Output> run(const std::vector<const std::vector<float>*>& logits,
                          std::vector<SampleRow> rows, const std::vector<int32_t>& pending,
                          int skew = 0) {
    const int64_t n = logits[0]->size();
    float* x = device + skew;
    std::vector<int32_t> slots(kMaxRows + 1, -7);
    for (size_t i = 0; i < rows.size(); ++i) {
      LAB_CHECK(cudaMemcpyAsync(x + i * n, logits[i]->data(), n * 4, cudaMemcpyHostToDevice,
                                ctx.stream));
      rows[i].slot = static_cast<int32_t>(kMaxRows - i);
      if (pending[i] >= 0) slots[kMaxRows - i] = pending[i];
    }
    LAB_CHECK(cudaMemcpyAsync(last, slots.data(), slots.size() * 4, cudaMemcpyHostToDevice,
                              ctx.stream));
    std::vector<Output> out(rows.size());
    std::vector<SampleResult> results;
    for (size_t i = 0; i < rows.size(); ++i) {
      out[i].top_ids.resize(std::max(0, rows[i].num_logprobs));
      out[i].top_logprobs.resize(out[i].top_ids.size());
      results.push_back({-2, 0, out[i].top_ids.data(), out[i].top_logprobs.data()});
    }
    ring = (ring + 1) % SampleStage::kRing;
    stage.launch(Tensor(x, DType::kF32, {static_cast<int64_t>(rows.size()), n}), rows, last, ring);
    LAB_CHECK(cudaStreamSynchronize(ctx.stream));
    stage.collect(ring, results);
    LAB_CHECK(cudaMemcpy(slots.data(), last, slots.size() * 4, cudaMemcpyDeviceToHost));
    for (size_t i = 0; i < rows.size(); ++i) {
      out[i].token = results[i].token, out[i].logprob = results[i].logprob;
      const int32_t kept = slots[kMaxRows - i];
      if (rows[i].score_token < 0)
        EXPECT(kept == std::max(0, out[i].token), "slot: %d after token %d", kept, out[i].token);
    }
    return out;
  }
  Output one(const std::vector<float>& logits, const SampleRow& row) {
    return run({&logits}, {row}, {-1})[0];
  }

  Context& ctx;
  SampleStage stage;
  float* device;
  int32_t* last;
  int ring = 0;
};

Output on_cpu(std::vector<float> x, const SampleRow& row) {
  const int64_t n = x.size(), blocks = cpu::sample_blocks(n);
  std::vector<float> work(n + 3 * blocks);
  std::vector<int32_t> candidates(n);
  const cpu::SampleScratch scratch{work.data(), work.data() + n, work.data() + n + blocks,
                                   work.data() + n + 2 * blocks, candidates.data()};
  Output out;
  out.top_ids.resize(std::max(0, row.num_logprobs));
  out.top_logprobs.resize(out.top_ids.size());
  SampleResult result{-2, 0, out.top_ids.data(), out.top_logprobs.data()};
  cpu::sample_row(cpu::kBaseline, scratch, x.data(), n, row, result);
  out.token = result.token, out.logprob = result.logprob;
  return out;
}

std::vector<float> normals(lab::Rng& rng, int64_t n, float scale) {
  std::vector<float> v(n);
  for (float& x : v)
    x = std::sqrt(-2 * std::log(rng.uniform() + 0x1p-25f)) * std::cos(6.2831853f * rng.uniform()) *
        scale;
  return v;
}

RowData random_row(lab::Rng& rng, int vocab) {
  RowData d;
  auto one_in = [&](int n) { return rng.below(n) == 0; };
  SampleRow& r = d.row;
  r.greedy = one_in(6);
  r.temperature = one_in(3) ? 1.0f : 0.2f + 2 * rng.uniform();
  if (one_in(2)) r.top_k = 1 + rng.below(one_in(3) ? vocab : std::min(vocab, 60));
  if (one_in(2)) r.top_p = 0.02f + 0.97f * rng.uniform();
  if (one_in(3)) r.min_p = 0.3f * rng.uniform() * rng.uniform();
  if (one_in(2)) {
    r.frequency_penalty = rng.normal(), r.presence_penalty = rng.normal();
    r.repetition_penalty = 0.5f + rng.uniform();
    const int step = one_in(3) ? std::max(1, vocab / 700) : 1;
    for (int i = 0; i < vocab && i / step < 800; i += step)
      if (one_in(2)) d.seen.push_back(i), d.counts.push_back(rng.below(4));
    if (one_in(2)) d.pending_token = rng.below(one_in(2) ? vocab : std::min(vocab, 40));
  }
  if (one_in(3))
    for (int i = 0; i < 5; ++i) {
      d.bias_tokens.push_back(i > 2 && one_in(2) ? d.bias_tokens[0] : rng.below(vocab));
      d.bias_values.push_back(8 * rng.normal());
    }
  if (one_in(3))
    for (int i = 0; i < 3; ++i) d.suppressed.push_back(rng.below(vocab));
  if (one_in(3))
    for (int i = 0; i < vocab; i += 32)
      d.mask.push_back(one_in(3) ? ~0u : one_in(2) ? 0u : static_cast<uint32_t>(rng.next()));
  r.seed = rng.next();
  if (one_in(2)) r.num_logprobs = rng.below(std::min(vocab, one_in(4) ? 2500 : 20) + 1);
  d.bind();
  return d;
}

void check_logprobs(const Output& out, const Sampled& expected, const Output& cpu, int n) {
  auto clamped = [](double v) { return std::max(v, -double{FLT_MAX}); };
  auto near = [&](float got, int token, const char* what) {
    const double want = clamped(expected.logprobs[token]);
    EXPECT(std::abs(got - want) <= 2e-5 * (1 + std::min(1e3, std::abs(want))) || got == want,
           "%s of token %d: expected %g, received %g", what, token, want, got);
  };
  if (out.token >= 0) near(out.logprob, out.token, "logprob");
  for (int i = 0; i < n; ++i) {
    EXPECT(out.top_ids[i] == cpu.top_ids[i], "top %d of %d: expected %d, received %d", i, n,
           cpu.top_ids[i], out.top_ids[i]);
    if (out.top_ids[i] != cpu.top_ids[i]) return;
    near(out.top_logprobs[i], out.top_ids[i], "top logprob");
  }
}

struct Agreement {
  int64_t draws = 0, same = 0;
};

void rules(Lab& lab, uint64_t seed, int vocab, int rounds, int draws, float spread,
           Agreement& agreement) {
  lab::Rng rng(seed);
  for (int round = 0; round < rounds; ++round) {
    auto logits = normals(rng, vocab, spread);
    if (round % 4 == 3)  // ties everywhere
      for (float& x : logits) x = std::round(x * 4) / 4;
    RowData d = random_row(rng, vocab);
    d.bind();
    const SampleRow known = d.known();
    const Sampled expected = hotpath::test::sample_reference(logits, known);
    const int count = d.row.greedy ? 1 : draws;
    std::vector<SampleRow> rows(count, d.row);
    for (int i = 0; i < count; ++i) rows[i].position = i + 1000 * round;
    const std::vector<const std::vector<float>*> all(count, &logits);
    const auto out = lab.run(all, rows, std::vector<int32_t>(count, d.pending_token), round % 2);
    for (int i = 0; i < count; ++i) {
      const int32_t token = out[i].token;
      SampleRow cpu_row = known;
      cpu_row.position = rows[i].position;
      const Output cpu = on_cpu(logits, cpu_row);
      const bool kept = token >= 0 && token < vocab && expected.kept[token];
      EXPECT(kept || token == cpu.token,
             "vocab %d spread %g round %d: drew %d, which the rules exclude (cpu %d, greedy %d "
             "T %g k %d p %g min %g mask %d)",
             vocab, spread, round, token, cpu.token, d.row.greedy, d.row.temperature, d.row.top_k,
             d.row.top_p, d.row.min_p, !d.mask.empty());
      ++agreement.draws, agreement.same += token == cpu.token;
      if (d.row.num_logprobs >= 0 && i < 3)
        check_logprobs(out[i], expected, cpu, d.row.num_logprobs);
      if (d.row.num_logprobs > 1024) break;
    }
  }
}

void invariance(Lab& lab, int vocab, int count) {
  lab::Rng rng(7);
  std::vector<std::vector<float>> logits;
  std::vector<RowData> data;
  for (int i = 0; i < count; ++i) {
    logits.push_back(normals(rng, vocab, i % 2 ? 1 : 3));
    data.push_back(random_row(rng, vocab));
  }
  std::vector<SampleRow> rows;
  std::vector<const std::vector<float>*> all;
  std::vector<int32_t> pending;
  for (int i = 0; i < count; ++i) {
    data[i].bind(), rows.push_back(data[i].row), all.push_back(&logits[i]);
    pending.push_back(data[i].pending_token);
  }
  const auto whole = lab.run(all, rows, pending);
  for (int i = 0; i < count; i += 3) {
    const int m = std::min(3, count - i);
    const auto three = lab.run({all.begin() + i, all.begin() + i + m},
                               {rows.begin() + i, rows.begin() + i + m},
                               {pending.begin() + i, pending.begin() + i + m});
    for (int j = 0; j < m; ++j)
      EXPECT(three[j] == whole[i + j], "vocab %d row %d differs in threes", vocab, i + j);
    EXPECT(lab.run({all[i]}, {rows[i]}, {pending[i]})[0] == whole[i],
           "vocab %d row %d alone differs", vocab, i);
  }
}

void edges(Lab& lab) {
  const float nan = std::nanf("");
  SampleRow greedy, plain;
  greedy.greedy = true;
  auto same = [&](const char* what, const std::vector<float>& logits, const SampleRow& row) {
    const Output want = on_cpu(logits, row), got = lab.one(logits, row);
    EXPECT(got.token == want.token, "%s: expected %d, received %d", what, want.token, got.token);
    if (row.num_logprobs < 0) return;
    EXPECT(std::abs(got.logprob - want.logprob) <= 1e-5f * (1 + std::abs(want.logprob)),
           "%s: logprob %g, received %g", what, want.logprob, got.logprob);
    if (want.token >= 0)
      EXPECT(got.top_ids == want.top_ids, "%s: top ids", what);
  };
  for (int n : {4, 5003, kVocab}) {
    std::vector<float> flat(n, 1.0f), dead(n, -kInf), broken(n, nan), mixed(n, -kInf), up(n, 0.0f);
    mixed[n - 2] = nan;
    up[n / 2] = kInf;
    std::vector<float> one = mixed, zeros(n, 0.0f), low(n, -FLT_MAX);
    one[n - 1] = -4;
    for (int i = 0; i < n; i += 2) zeros[i] = -0.0f;
    std::vector<float> far(n, -1e9f), many_up(n, kInf);
    far[n - 1] = 3, far[0] = 2, many_up[0] = 1;
    std::vector<uint32_t> mask((n + 31) / 32, 0), none((n + 31) / 32, 0);
    mask[0] = 0b1100;
    const std::vector<int32_t> two = {2}, both = {2, 3};
    SampleRow k = plain, p = plain, m = plain, big = plain, tiny = plain, kp = plain, tops = plain;
    k.top_k = 2, p.top_p = 0.5f, m.min_p = 0.5f, big.top_k = n - 1, tiny.top_p = 1e-6f;
    kp.top_k = n - 1, kp.top_p = 0.3f, kp.min_p = 0.01f, tops.num_logprobs = 3, tops.top_k = 3;
    SampleRow score = tops, cold = plain;
    score.score_token = 1, cold.temperature = 1e-6f;
    int which = 0;
    for (const auto* x : {&flat, &dead, &broken, &mixed, &up, &one, &zeros, &low, &far, &many_up})
      for (SampleRow row : {greedy, plain, k, p, m, big, tiny, kp, tops, score, cold}) {
        char what[64];
        for (int position = 0; position < (n > 10000 ? 1 : 3); ++position) {
          std::snprintf(what, sizeof what, "n=%d logits %d row %d pos %d", n, which / 11,
                        which % 11, position);
          row.position = position;
          same(what, *x, row);
        }
        ++which;
      }
    SampleRow s = tops;
    s.bitmask = mask.data();
    same("mask over -inf", dead, s), same("mask over NaN", broken, s);
    same("mask over NaN and -inf", mixed, s), same("mask", flat, s);
    s.suppressed = two;
    same("mask and suppressed", flat, s), same("mask and suppressed over -inf", dead, s);
    s.suppressed = both;
    same("all suppressed, mask first", flat, s);
    s.bitmask = none.data(), s.suppressed = {};
    same("mask of nothing", flat, s);
    s.num_logprobs = n;
    same("all logprobs", up, s);
    s.bitmask = nullptr;
    same("all logprobs of equal logits", flat, s), same("all logprobs", one, s);
    s.num_logprobs = std::min(n, 1000);
    same("1000 logprobs of equal logits", flat, s), same("1000 logprobs of few", far, s);
  }
  const std::vector<float> logits = {1, 2, 3, 4};
  for (int what = 0; what < 4; ++what) {
    const std::vector<int32_t> beyond = {4}, count = {1};
    const std::vector<float> value = {1};
    SampleRow bad = plain;
    bad.presence_penalty = 1;
    if (what == 0) bad.seen_tokens = beyond, bad.seen_counts = count;
    if (what == 1) bad.bias_tokens = beyond, bad.bias_values = value;
    if (what == 2) bad.suppressed = beyond;
    if (what == 3) bad.score_token = 4;
    bool threw = false;
    try {
      lab.one(logits, bad);
    } catch (const Error&) {
      threw = true;
    }
    EXPECT(threw, "token beyond the vocabulary, kind %d: no error", what);
  }
  lab.stage.launch(Tensor(lab.device, DType::kF32, {0, 4}), {}, lab.last, 0);
  lab.stage.collect(0, {});
}

__global__ void gaussian_kernel(float* x, size_t n, float spread) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    uint32_t z = static_cast<uint32_t>(i) * 0x9E3779B9u;
    z = (z ^ z >> 16) * 0x85EBCA6Bu, z = (z ^ z >> 13) * 0xC2B2AE35u, z ^= z >> 16;
    uint32_t y = (z ^ 0x5bd1e995u) * 0x9E3779B1u;
    y = (y ^ y >> 15) * 0x85EBCA77u, y ^= y >> 13;
    x[i] = spread * sqrtf(-2 * logf(((z >> 8) + 0.5f) * 0x1p-24f)) *
           cospif(2 * (y >> 8) * 0x1p-24f);
  }
}

void timings(Lab& lab) {
  lab::Rng rng(3);
  RowData greedy, plain, k, usual, full, peaked, min_p, tops, masked;
  greedy.row.greedy = true;
  k.row.top_k = 50, usual.row.top_k = 50, usual.row.top_p = 0.9f, usual.row.temperature = 0.7f;
  full = usual;
  full.row.frequency_penalty = 1e-4f, full.row.presence_penalty = 1e-4f;
  full.row.repetition_penalty = 1.00001f;
  for (int i = 0; i < 200; ++i) full.seen.push_back(i * 701), full.counts.push_back(1 + i % 3);
  for (int i = 0; i < 100; ++i)
    full.bias_tokens.push_back(i * 1409 + 5), full.bias_values.push_back(1e-3f * (i % 7 - 3));
  full.pending_token = 11;
  peaked.row.top_p = 0.95f;
  min_p.row.min_p = 0.05f;
  tops = usual, tops.row.num_logprobs = 20;
  masked = usual;
  masked.mask.assign((kVocab + 31) / 32, 0x0f0f00ffu);
  RowData greedy_tops = greedy;
  greedy_tops.row.num_logprobs = 20;
  struct Line {
    const char* name;
    RowData* data;
    float spread;
  };
  const Line lines[] = {{"greedy", &greedy, 3},
                        {"greedy, 20 logprobs", &greedy_tops, 3},
                        {"plain temperature", &plain, 3},
                        {"top-k 50", &k, 3},
                        {"top-k 50, top-p 0.9", &usual, 3},
                        {" same, flat logits", &usual, 1},
                        {" same, 20 logprobs", &tops, 3},
                        {" same, masked", &masked, 3},
                        {"full options", &full, 3},
                        {"top-p 0.95, peaked", &peaked, 8},
                        {"top-p 0.95, spread 3", &peaked, 3},
                        {"top-p 0.95, flat", &peaked, 1},
                        {"min-p 0.05, spread 3", &min_p, 3},
                        {"min-p 0.05, flat", &min_p, 1}};
  std::printf("%-26s %9s %9s %9s   us per call; host us to enqueue, call to result\n",
              "vocab 151936", "B=1", "B=32", "B=256");
  float spread = 0;
  for (const Line& line : lines) {
    if (line.spread != spread) {
      spread = line.spread;
      gaussian_kernel<<<1024, 256>>>(lab.device, size_t{kMaxRows} * kVocab, spread);
      LAB_CHECK(cudaDeviceSynchronize());
    }
    line.data->bind();
    std::printf("%-26s", line.name);
    double enqueue[3], round_trip[3];
    int column = 0;
    for (int rows : {1, 32, kMaxRows}) {
      std::vector<SampleRow> all(rows, line.data->row);
      for (int i = 0; i < rows; ++i)
        all[i].slot = i, all[i].position = i, all[i].seed = rng.next();
      const Tensor t(lab.device, DType::kF32, {rows, kVocab});
      std::vector<int32_t> ids(rows * 32);
      std::vector<float> values(rows * 32);
      std::vector<SampleResult> results;
      for (int i = 0; i < rows; ++i) results.push_back({0, 0, &ids[i * 32], &values[i * 32]});
      std::printf(" %9.1f",
                  lab::time_us(lab.ctx, 8, [&](int) { lab.stage.launch(t, all, lab.last, 0); }, 7));
      using Clock = std::chrono::steady_clock;
      std::vector<double> a, b;
      for (int i = 0; i < 9; ++i) {
        const auto begin = Clock::now();
        lab.stage.launch(t, all, lab.last, 1);
        const auto middle = Clock::now();
        LAB_CHECK(cudaStreamSynchronize(lab.ctx.stream));
        lab.stage.collect(1, results);
        const auto end = Clock::now();
        a.push_back(std::chrono::duration<double, std::micro>(middle - begin).count());
        b.push_back(std::chrono::duration<double, std::micro>(end - begin).count());
      }
      std::sort(a.begin(), a.end()), std::sort(b.begin(), b.end());
      enqueue[column] = a[4], round_trip[column++] = b[4];
    }
    std::printf("   %5.1f %5.1f %6.1f, %6.1f %6.1f %6.1f\n", enqueue[0], enqueue[1], enqueue[2],
                round_trip[0], round_trip[1], round_trip[2]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Context ctx = lab::make_context();
  const std::string what = argc > 1 ? argv[1] : "all";
  try {
    Lab lab(ctx);
    const auto begin = std::chrono::steady_clock::now();
    auto passed = [&](const char* name) {
      const double s =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      std::printf("%s %s (%.1f s)\n", failures ? "FAIL" : "PASS", name, s);
      std::fflush(stdout);
    };
    if (what != "time") {
      edges(lab), passed("edges");
      Agreement small, large;
      for (int vocab : {1, 2, 5, 61, 64, 65, 130, 1000, 4096, 4097, 5003})
        rules(lab, vocab, vocab, 100, 25, 3, small);
      passed("rules, small vocabularies");
      for (float spread : {3.0f, 0.3f, 8.0f}) rules(lab, 1, 40000, 24, 6, spread, large);
      for (float spread : {3.0f, 1.0f}) rules(lab, 2, kVocab, 20, 6, spread, large);
      rules(lab, 3, kVocab + 1, 8, 6, 2, large), rules(lab, 4, kMaxVocab, 8, 6, 2, large);
      passed("rules, large vocabularies");
      std::printf("same token as the CPU: small %lld of %lld, large %lld of %lld\n",
                  static_cast<long long>(small.same), static_cast<long long>(small.draws),
                  static_cast<long long>(large.same), static_cast<long long>(large.draws));
      invariance(lab, 5003, 60), invariance(lab, 40000, 100), passed("invariance");
    }
    if (what != "check") timings(lab);
  } catch (const std::exception& e) {
    std::printf("FAIL exception: %s\n", e.what());
    return 1;
  }
  return failures > 0;
}

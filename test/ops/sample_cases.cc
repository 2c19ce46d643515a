#include <algorithm>
#include <cfloat>
#include <limits>

#include "harness.h"
#include "sample_reference.h"

namespace hotpath::test {
namespace {

constexpr int kVocab = 151936;  // Qwen2.5's

OpLimits limits_of(int64_t rows, int64_t vocab) {
  OpLimits l = kSmallLimits;
  l.max_seqs = l.max_logits = rows, l.vocab_size = vocab;
  return l;
}

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Output {
  int32_t token = -2;
  float logprob = 0;
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
};

// The op overwrites logits, so each call gets its own copy.
std::vector<Output> sample(Run& run, Ops& ops, const std::vector<std::vector<float>>& logits,
                           const std::vector<SampleRow>& rows) {
  std::vector<float> all;
  for (const auto& l : logits) all.insert(all.end(), l.begin(), l.end());
  const int64_t n = static_cast<int64_t>(logits[0].size());
  void* memory = run.ops().device().allocate(all.size() * sizeof(float), false);
  run.ops().device().copy_in(memory, all.data(), all.size() * sizeof(float));
  const Tensor t(memory, DType::kF32, {static_cast<int64_t>(logits.size()), n});
  std::vector<Output> out(rows.size());
  std::vector<SampleResult> results;
  for (size_t i = 0; i < rows.size(); ++i) {
    out[i].top_ids.resize(std::max(0, rows[i].num_logprobs));
    out[i].top_logprobs.resize(out[i].top_ids.size());
    results.push_back({-2, 0, out[i].top_ids.data(), out[i].top_logprobs.data()});
  }
  try {
    ops.sample(t, rows, results);
    ops.wait(ops.ticket());
  } catch (...) {
    run.ops().device().free(memory);
    throw;
  }
  run.ops().device().free(memory);
  for (size_t i = 0; i < rows.size(); ++i)
    out[i].token = results[i].token, out[i].logprob = results[i].logprob;
  return out;
}

void check_logprobs(const Output& out, const Sampled& expected, int n) {
  auto clamped = [](double v) { return std::max(v, -double{FLT_MAX}); };
  auto near = [&](float got, int token, const char* what) {
    const double want = clamped(expected.logprobs[token]);
    expect(std::abs(got - want) <= 2e-5 * (1 + std::min(1e3, std::abs(want))) || got == want, what,
           " of token ", token, ": expected ", want, ", received ", got);
  };
  near(out.logprob, out.token, "logprob");
  const auto order = by_logprob(expected.logprobs);
  for (int i = 0; i < n; ++i) {
    // Neighbours whose logprobs agree to float's precision may change places.
    const double want = clamped(expected.logprobs[order[i]]);
    const double got = clamped(expected.logprobs[out.top_ids[i]]);
    expect(want == got ? out.top_ids[i] == order[i] : std::abs(want - got) < 1e-6 * std::abs(want),
           "top logprob ", i, ": expected token ", order[i], " (", want, "), received ",
           out.top_ids[i], " (", got, ")");
    near(out.top_logprobs[i], out.top_ids[i], "top logprob");
  }
}

// Rows under test: what they need is owned here, for SampleRow only points.
struct RowData {
  std::vector<int32_t> seen, counts, bias_tokens, suppressed;
  std::vector<float> bias_values;
  std::vector<uint32_t> mask;
  SampleRow row;

  void bind() {
    row.seen_tokens = seen, row.seen_counts = counts;
    row.bias_tokens = bias_tokens, row.bias_values = bias_values;
    row.suppressed = suppressed;
    row.bitmask = mask.empty() ? nullptr : mask.data();
  }
};

RowData random_row(Rng& rng, int vocab) {
  RowData d;
  auto one_in = [&](int n) { return rng.below(n) == 0; };
  SampleRow& r = d.row;
  r.greedy = one_in(6);
  r.temperature = one_in(3) ? 1.0f : 0.2f + 2 * rng.uniform();
  if (one_in(2)) r.top_k = 1 + rng.below(one_in(3) ? vocab : std::min(vocab, 60));
  if (one_in(2)) r.top_p = 0.02f + 0.97f * rng.uniform();
  if (one_in(3)) r.min_p = 0.3f * rng.uniform();
  if (one_in(2)) {
    r.frequency_penalty = rng.normal(), r.presence_penalty = rng.normal();
    r.repetition_penalty = 0.5f + rng.uniform();
    for (int i = 0; i < vocab && i < 40; ++i)
      if (one_in(2)) d.seen.push_back(i), d.counts.push_back(rng.below(4));
  }
  if (one_in(3))
    for (int i = 0; i < 5; ++i) {
      d.bias_tokens.push_back(rng.below(vocab));
      d.bias_values.push_back(8 * rng.normal());
    }
  if (one_in(3))
    for (int i = 0; i < 3; ++i) d.suppressed.push_back(rng.below(vocab));
  if (one_in(3))
    for (int i = 0; i < vocab; i += 32)
      d.mask.push_back(one_in(3) ? ~0u : one_in(2) ? 0u : static_cast<uint32_t>(rng.next()));
  r.seed = rng.next();
  r.num_logprobs = one_in(2) ? rng.below(std::min(vocab, 20) + 1) : -1;
  d.bind();
  return d;
}

Case rules_case(int vocab, int rounds, float spread) {
  Case c;
  c.name = concat("sample rules vocab=", vocab, " spread=", spread);
  c.limits = limits_of(32, vocab);
  c.body = [=](Run& run) {
    for (int round = 0; round < rounds; ++round) {
      const auto logits = run.rng().normals(vocab, spread);
      RowData d = random_row(run.rng(), vocab);
      const Sampled expected = sample_reference(logits, d.row);
      const int draws = d.row.greedy ? 1 : vocab > 10000 ? 4 : 25;
      std::vector<SampleRow> rows(draws, d.row);
      for (int i = 0; i < draws; ++i) rows[i].position = i;
      const auto out = sample(run, run.ops(), std::vector<std::vector<float>>(draws, logits), rows);
      for (const Output& o : out) {
        expect(o.token >= 0 && o.token < vocab && expected.kept[o.token], "round ", round,
               ": drew token ", o.token, ", which the rules exclude");
        if (d.row.num_logprobs >= 0) check_logprobs(o, expected, d.row.num_logprobs);
      }
    }
  };
  return c;
}

// Many draws of a small vocabulary against the probabilities that the rules leave. The seed is
// fixed: passes always or never.
Case frequencies_case(const char* label, SampleRow row) {
  Case c;
  c.name = concat("sample frequencies ", label);
  c.limits = limits_of(500, 10);
  c.body = [=](Run& run) {
    constexpr int kDraws = 30000;
    const std::vector<float> logits = {0.3f, -1, 2, 1.1f, 0, -0.4f, 1.9f, -3, 0.8f, 1};
    const Sampled expected = sample_reference(logits, row);
    double total = 0;
    for (size_t i = 0; i < logits.size(); ++i)
      if (expected.kept[i]) total += std::exp(expected.logprobs[i]);
    std::vector<int> counts(logits.size());
    std::vector<SampleRow> rows(500, row);
    for (int i = 0; i < kDraws; i += 500) {
      for (int j = 0; j < 500; ++j) rows[j].position = i + j;
      for (const auto& o :
           sample(run, run.ops(), std::vector<std::vector<float>>(500, logits), rows))
        ++counts[o.token];
    }
    double chi_square = 0;
    int degrees = -1;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!expected.kept[i]) {
        expect(counts[i] == 0, "token ", i, " was drawn ", counts[i], " times, expected never");
        continue;
      }
      const double want = kDraws * std::exp(expected.logprobs[i]) / total;
      chi_square += (counts[i] - want) * (counts[i] - want) / want;
      ++degrees;
    }
    const double bound =
        degrees + 4 * std::sqrt(2.0 * degrees) + 4;  // beyond the 99.9th percentile
    expect(chi_square <= bound, "chi-square ", chi_square, " of ", degrees,
           " degrees of freedom: expected at most ", bound);
  };
  return c;
}

// Where top-p cuts a flat distribution of thousands: nothing beyond the cut is drawn, and the last
// two percent before it are.
Case nucleus_case() {
  Case c;
  c.name = "sample top-p of a flat distribution";
  c.limits = limits_of(100, 6000);
  c.body = [](Run& run) {
    constexpr int kTokens = 6000, kDraws = 4000;
    const auto logits = run.rng().normals(kTokens, 0.3f);
    SampleRow row;
    row.top_p = 0.5f;
    const Sampled expected = sample_reference(logits, row);
    std::vector<bool> last(kTokens, false);
    double mass = 0;
    for (int token : by_logprob(expected.logprobs)) {
      if (!expected.kept[token]) break;
      mass += std::exp(expected.logprobs[token]) / row.top_p;
      last[token] = mass > 0.98;
    }
    int in_last = 0;
    std::vector<SampleRow> rows(100, row);
    for (int i = 0; i < kDraws; i += 100) {
      for (int j = 0; j < 100; ++j) rows[j].position = i + j;
      for (const auto& o :
           sample(run, run.ops(), std::vector<std::vector<float>>(100, logits), rows)) {
        expect(expected.kept[o.token], "draw ", i, ": token ", o.token, " lies beyond the cut");
        in_last += last[o.token];
      }
    }
    expect(in_last > 50 && in_last < 115, "draws from the last 2 %: expected about 80, received ",
           in_last);
  };
  return c;
}

Case invariance_case() {
  Case c;
  c.name = "sample batch invariance";
  constexpr int kRows = 24, kSmall = 5003;
  c.limits = limits_of(kRows, kSmall);
  c.body = [=](Run& run) {
    std::vector<std::vector<float>> logits;
    std::vector<RowData> data;
    for (int i = 0; i < kRows; ++i) {
      logits.push_back(run.rng().normals(kSmall, 2));
      data.push_back(random_row(run.rng(), kSmall));
    }
    std::vector<SampleRow> rows;
    for (auto& d : data) d.bind(), rows.push_back(d.row);
    const auto whole = sample(run, run.ops(), logits, rows);
    auto compare = [&](const Output& a, const Output& b, int i) {
      expect(a.token == b.token && a.logprob == b.logprob && a.top_ids == b.top_ids &&
                 a.top_logprobs == b.top_logprobs,
             "row ", i, " differs: tokens ", a.token, " and ", b.token);
    };
    const auto others = run.other_threads();
    for (const auto& ops : others) {
      const auto other = sample(run, *ops, logits, rows);
      for (int i = 0; i < kRows; ++i) compare(other[i], whole[i], i);
    }
    Ops& ops = others.empty() ? run.ops() : *others[0];
    for (int i = 0; i < kRows; ++i)
      compare(sample(run, ops, {logits[i]}, {rows[i]})[0], whole[i], i);
  };
  return c;
}

Case edges_case() {
  Case c;
  c.name = "sample edges: ties, NaN, infinities, nothing left, score rows";
  c.body = [](Run& run) {
    const float nan = std::nanf("");
    auto one = [&](const std::vector<float>& logits, SampleRow row) {
      return sample(run, run.ops(), {logits}, {row})[0];
    };
    auto token_is = [&](const char* what, int32_t got, int32_t want) {
      expect(got == want, what, ": expected token ", want, ", received ", got);
    };
    SampleRow greedy, plain;
    greedy.greedy = true;
    token_is("greedy tie", one({1, 3, 3, 2}, greedy).token, 1);
    token_is("greedy NaN", one({nan, -2, nan, -1}, greedy).token, 3);
    token_is("greedy +inf", one({1, 2, kInf, 3}, greedy).token, 2);
    token_is("one token", one({0.5f}, plain).token, 0);
    token_is("one possible", one({-kInf, nan, -kInf, 4, -kInf}, plain).token, 3);
    token_is("drawn +inf", one({1, kInf, 2}, plain).token, 1);

    SampleRow k = plain;
    for (uint64_t position = 0; position < 50; ++position) {
      k.position = position;
      k.top_k = 2, k.top_p = 1, k.min_p = 0;
      expect(one({1, 1, 1, 1}, k).token < 2, "top-k ties go to the lower ids");
      k.top_k = -1, k.top_p = 0.5f;
      expect(one({1, 1, 1, 1}, k).token < 2, "top-p ties go to the lower ids");
      k.top_p = 1e-6f;
      token_is("tiny top-p keeps one", one({1, 1.5f, 2, 1}, k).token, 2);
      k.top_p = 1, k.min_p = 1;
      token_is("min-p 1 keeps the likeliest", one({1, 1.5f, 2, 1}, k).token, 2);
      k.min_p = 0, k.temperature = 1e-6f;
      token_is("temperature near 0", one({1, 1.5f, 1.501f, 1}, k).token, 2);
      k.temperature = 1;
    }

    SampleRow none = plain;
    none.num_logprobs = 3;
    token_is("nothing but NaN", one({nan, nan, nan, nan}, none).token, -1);
    token_is("nothing but NaN and -inf, greedy", one({-kInf, nan, -kInf, -kInf}, greedy).token, -1);
    Output out = one({-kInf, -kInf, -kInf, -kInf}, none);
    token_is("nothing finite", out.token, 0);
    expect(out.logprob == -FLT_MAX && out.top_ids == std::vector<int32_t>({0, 1, 2}) &&
               out.top_logprobs == std::vector<float>(3, -FLT_MAX),
           "nothing finite: expected logprobs of -FLT_MAX for the lowest ids");
    const std::vector<uint32_t> mask = {0b1100};
    const std::vector<int32_t> suppressed = {2};
    none.bitmask = mask.data();
    token_is("nothing finite, mask", one({-kInf, 5, -kInf, -kInf}, none).token, 2);
    token_is("nothing but NaN, mask", one({-kInf, 5, nan, -kInf}, none).token, -1);
    none.suppressed = suppressed;
    token_is("nothing finite, mask and suppressed", one({1, 5, 2, -kInf}, none).token, 3);
    const std::vector<int32_t> both = {2, 3};
    none.suppressed = both;
    token_is("nothing allowed, mask first", one({1, 5, 2, 9}, none).token, 2);
    const std::vector<uint32_t> nothing = {0};
    none.bitmask = nothing.data(), none.suppressed = {};
    token_is("mask of nothing", one({1, 5, 2, 9}, none).token, 0);

    SampleRow scored = plain;
    scored.score_token = 1, scored.num_logprobs = 0;
    token_is("scored NaN", one({nan, nan, nan, nan}, scored).token, -1);

    // A score row reads the raw logits: no penalties, no temperature.
    SampleRow score = none;
    score.score_token = 1, score.temperature = 0.1f;
    const std::vector<float> logits = {1, 2, 3, -kInf};
    out = one(logits, score);
    token_is("score row", out.token, 1);
    check_logprobs(out, sample_reference(logits, score), 3);
    score.score_token = 3;
    expect(one(logits, score).logprob == -FLT_MAX, "impossible scored token: expected -FLT_MAX");

    for (int what = 0; what < 4; ++what) {
      const std::vector<int32_t> beyond = {4}, count = {1};
      const std::vector<float> value = {1};
      SampleRow bad = plain;
      if (what == 0) bad.seen_tokens = beyond, bad.seen_counts = count;
      if (what == 1) bad.bias_tokens = beyond, bad.bias_values = value;
      if (what == 2) bad.suppressed = beyond;
      if (what == 3) bad.score_token = 4;
      bool threw = false;
      try {
        one({1, 2, 3, 4}, bad);
      } catch (const Error& e) {
        threw = true;
      }
      expect(threw, "token beyond the vocabulary, kind ", what, ": expected an error");
    }
  };
  return c;
}

// Order of the rules, by numbers that tell: additive before multiplicative, mask before bias.
Case order_case() {
  Case c;
  c.name = "sample order of penalties, mask and bias";
  c.body = [](Run& run) {
    RowData d;
    d.seen = {0, 1, 2}, d.counts = {2, 1, 0};
    d.row.frequency_penalty = 0.5f, d.row.presence_penalty = 0.25f;
    d.row.repetition_penalty = 2;
    d.mask = {0b1111};
    d.bias_tokens = {3, 4}, d.bias_values = {0.5f, 100};
    d.row.greedy = true, d.row.num_logprobs = 4;
    d.bind();
    // 0: (1 - 1.25) * 2 = -0.5; 1: (3 - 0.75) / 2 = 1.125; 2: count 0, stays 1; 3: 0.5 + 0.5 = 1;
    // 4: masked, the bias does not bring it back.
    const auto out = sample(run, run.ops(), {{1, 3, 1, 0.5f, 9}}, {d.row})[0];
    expect(out.token == 1 && out.top_ids == std::vector<int32_t>({1, 2, 3, 0}),
           "expected the order 1, 2, 3, 0, received ", out.top_ids[0], ", ", out.top_ids[1], ", ",
           out.top_ids[2], ", ", out.top_ids[3]);
    const double largest = 1.125;
    double total = 0;
    for (double v : {-0.5, 1.125, 1.0, 1.0}) total += std::exp(v - largest);
    const double wanted[] = {1.125, 1.0, 1.0, -0.5};
    for (int i = 0; i < 4; ++i)
      expect(std::abs(out.top_logprobs[i] - (wanted[i] - largest - std::log(total))) < 1e-6,
             "logprob ", i, ": received ", out.top_logprobs[i]);
  };
  return c;
}

// The token last drawn into a row's slot counts as generated once more, as if the host had known.
Case pending_case() {
  Case c;
  c.name = "sample with a pending token";
  c.limits = limits_of(8, 3000);
  c.body = [](Run& run) {
    for (int vocab : {40, 3000})
      for (int round = 0; round < 60; ++round) {
        const auto logits = run.rng().normals(vocab, 2);
        const int slot = round % 8, token = run.rng().below(vocab);
        std::vector<float> forcing(vocab, 0.0f);
        forcing[token] = 50;
        SampleRow draw;
        draw.greedy = true, draw.slot = slot;
        expect(sample(run, run.ops(), {forcing}, {draw})[0].token == token, "the forced token");

        RowData d = random_row(run.rng(), vocab);
        d.row.frequency_penalty = run.rng().normal(), d.row.presence_penalty = run.rng().normal();
        d.row.repetition_penalty = 0.5f + run.rng().uniform();
        d.row.num_logprobs = 5;
        // Every other time the host has seen that token before.
        const auto at = std::find(d.seen.begin(), d.seen.end(), token);
        if (round % 2 && at == d.seen.end())
          d.seen.push_back(token), d.counts.push_back(2);
        else if (round % 2 == 0 && at != d.seen.end())
          d.counts.erase(d.counts.begin() + (at - d.seen.begin())), d.seen.erase(at);
        d.bind();
        SampleRow pending = d.row;
        pending.slot = slot, pending.pending = true;
        RowData known = d;
        const auto same = std::find(known.seen.begin(), known.seen.end(), token);
        if (same != known.seen.end())
          ++known.counts[same - known.seen.begin()];
        else
          known.seen.push_back(token), known.counts.push_back(1);
        known.bind();
        known.row.slot = -1;

        const Output b = sample(run, run.ops(), {logits}, {known.row})[0];
        const Output a = sample(run, run.ops(), {logits}, {pending})[0];
        expect(a.token == b.token && a.top_ids == b.top_ids, "vocab ", vocab, " round ", round,
               ": tokens ", a.token, " and ", b.token, " differ");
        check_logprobs(a, sample_reference(logits, known.row), 5);
      }
  };
  return c;
}

Case sample_bench(const char* label, int rows, float spread, RowData data) {
  Case c;
  c.name = concat("sample ", label, " rows=", rows, " vocab=", kVocab);
  c.bytes = 4.0 * rows * kVocab;
  c.mode = Mode::kBench;
  c.limits = limits_of(rows, kVocab);
  c.body = [=](Run& run) {
    RowData d = data;
    d.bind();
    const Tensor t = run.random(DType::kF32, {rows, kVocab}, spread);
    std::vector<SampleRow> all(rows, d.row);
    std::vector<int32_t> ids(rows * 32);
    std::vector<float> logprobs(rows * 32);
    std::vector<SampleResult> results;
    for (int i = 0; i < rows; ++i) results.push_back({0, 0, &ids[i * 32], &logprobs[i * 32]});
    uint64_t last = run.ops().ticket();
    run.op([&](int i) {
      for (auto& row : all) row.position = i;
      run.ops().sample(t, all, results);
      const uint64_t ticket = run.ops().ticket();
      run.ops().wait(last);  // as an engine does that is one step ahead
      last = ticket;
    });
  };
  return c;
}

}  // namespace

void add_sample_cases(std::vector<Case>& cases) {
  for (int vocab : {1, 2, 5, 63, 64, 65, 130, 1000}) cases.push_back(rules_case(vocab, 60, 3));
  cases.push_back(rules_case(kVocab, 12, 3));
  cases.push_back(rules_case(kVocab, 12, 0.3f));
  cases.push_back(rules_case(40000, 12, 8));

  SampleRow plain, truncated, seeded;
  plain.seed = 1;
  truncated.seed = 2, truncated.top_k = 7, truncated.top_p = 0.9f, truncated.min_p = 0.1f;
  truncated.temperature = 1.4f;
  seeded.seed = 3, seeded.temperature = 0.6f, seeded.top_p = 0.95f;
  cases.push_back(frequencies_case("plain", plain));
  cases.push_back(frequencies_case("top-k, top-p, min-p", truncated));
  cases.push_back(frequencies_case("temperature, top-p", seeded));
  cases.push_back(nucleus_case());
  cases.push_back(invariance_case());
  cases.push_back(edges_case());
  cases.push_back(order_case());
  cases.push_back(pending_case());

  RowData greedy, all, usual, nucleus, min_p, masked;
  greedy.row.greedy = true;
  usual.row.top_k = 50, usual.row.top_p = 0.9f;
  nucleus.row.top_p = 0.95f;
  min_p.row.min_p = 0.05f;
  masked = usual;
  masked.row.num_logprobs = 20;
  masked.mask.assign((kVocab + 31) / 32, 0x0f0f00ffu);
  RowData every = usual;  // option at once
  every.row.temperature = 0.8f;
  every.row.frequency_penalty = 0.5f, every.row.presence_penalty = 0.25f;
  every.row.repetition_penalty = 1.1f;
  for (int32_t t = 0; t < 300; ++t)
    every.seen.push_back(t * 500), every.counts.push_back(1 + t % 5);
  for (int32_t t = 0; t < 32; ++t)
    every.bias_tokens.push_back(t * 4000), every.bias_values.push_back(0.5f);
  cases.push_back(sample_bench("greedy", 1, 3, greedy));
  cases.push_back(sample_bench("temperature", 1, 3, all));
  cases.push_back(sample_bench("top-k 50, top-p 0.9", 1, 3, usual));
  cases.push_back(sample_bench("top-p 0.95, peaked", 1, 8, nucleus));
  cases.push_back(sample_bench("top-p 0.95, flat", 1, 1, nucleus));
  cases.push_back(sample_bench("min-p 0.05", 1, 3, min_p));
  cases.push_back(sample_bench("masked, 20 logprobs", 1, 3, masked));
  cases.push_back(sample_bench("top-k 50, top-p 0.9", 32, 3, usual));
  for (Case c : {sample_bench("greedy", 32, 3, greedy), sample_bench("greedy", 256, 3, greedy),
                 sample_bench("temperature", 256, 3, all),
                 sample_bench("temperature, top-k, top-p, penalties, bias", 256, 3, every),
                 sample_bench("top-k 50, top-p 0.9", 256, 3, usual),
                 sample_bench("top-p 0.95, peaked", 256, 8, nucleus),
                 sample_bench("top-p 0.95, flat", 32, 1, nucleus)}) {
    c.where = Where::kCuda;
    cases.push_back(c);
  }
}

}  // namespace hotpath::test

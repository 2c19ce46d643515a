#include "sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fake_backend.h"
#include "harness.h"

namespace hotpath::test {
namespace {

template <typename T>
bool is(std::span<const T> a, std::initializer_list<T> b) {
  return std::ranges::equal(a, b);
}

TEST(sampler_row_carries_every_parameter) {
  SamplingParams p;
  p.temperature = 0.7f;
  p.top_p = 0.9f;
  p.min_p = 0.1f;
  p.top_k = 40;
  p.frequency_penalty = 0.5f;
  p.presence_penalty = 0.25f;
  p.repetition_penalty = 1.5f;
  p.logit_bias = {{3, -100.0f}, {9, 2.5f}};
  p.seed = 0xfedcba9876543210ull;
  p.num_logprobs = 5;
  SamplerState state(p);
  const SampleRow row = state.row(p, 11);
  EXPECT(!row.greedy && row.temperature == 0.7f && row.top_p == 0.9f && row.min_p == 0.1f &&
             row.top_k == 40 && row.frequency_penalty == 0.5f && row.presence_penalty == 0.25f &&
             row.repetition_penalty == 1.5f,
         "a number is lost");
  EXPECT(is<int32_t>(row.bias_tokens, {3, 9}) && is<float>(row.bias_values, {-100.0f, 2.5f}),
         "bias");
  EXPECT(row.seed == p.seed && row.position == 11 && row.num_logprobs == 5, "draw");
  EXPECT(row.score_token == -1 && row.bitmask == nullptr, "not a score row");
}

TEST(sampler_counts_generated_tokens_only_when_a_penalty_reads_them) {
  SamplingParams p;
  p.presence_penalty = 1;
  SamplerState state(p);
  EXPECT(state.row(p, 0).seen_tokens.empty(), "nothing was generated yet");
  for (int32_t t : {8, 2, 8, 5, 8, 2}) state.append(t);
  const SampleRow row = state.row(p, 6);
  EXPECT(is<int32_t>(row.seen_tokens, {2, 5, 8}) && is<int32_t>(row.seen_counts, {2, 1, 3}),
         "counts");
  for (auto member : {&SamplingParams::frequency_penalty, &SamplingParams::repetition_penalty}) {
    SamplingParams one;
    one.*member = 1.1f;
    SamplerState counts(one);
    counts.append(4);
    EXPECT(is<int32_t>(counts.row(one, 1).seen_tokens, {4}), "a penalty without counts");
  }
  const SamplingParams none;
  SamplerState off(none);
  off.append(4);
  EXPECT(off.row(none, 1).seen_tokens.empty(), "counted for nobody");
}

TEST(sampler_suppresses_stop_ids_below_min_tokens) {
  SamplingParams p;
  p.stop_token_ids = {1, 2};
  p.min_tokens = 3;
  SamplerState state(p);
  EXPECT(is<int32_t>(state.row(p, 0).suppressed, {1, 2}), "first token");
  EXPECT(is<int32_t>(state.row(p, 2).suppressed, {1, 2}), "third token");
  EXPECT(state.row(p, 3).suppressed.empty(), "the fourth may stop");
  p.ignore_eos = true;
  EXPECT(state.row(p, 0).suppressed.empty(), "with ignore_eos they are ordinary tokens");
}

TEST(sampler_is_greedy_at_temperature_0_and_just_above) {
  SamplingParams p;
  SamplerState state(p);
  for (auto [temperature, greedy] : {std::pair{0.0f, true}, {9e-7f, true}, {2e-6f, false}}) {
    p.temperature = temperature;
    EXPECT_EQ(state.row(p, 0).greedy, greedy);
    EXPECT(state.row(p, 0).temperature > 0, "ops divide by it");
  }
}

TEST(sampler_score_row_only_scores) {
  const SampleRow row = score_row(17, 3);
  EXPECT(row.score_token == 17 && row.num_logprobs == 3 && row.seen_tokens.empty() &&
             row.suppressed.empty() && row.bias_tokens.empty(),
         "score row");
}

TEST(sampler_refuses_what_the_ops_cannot_take) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const auto refuse = [&](const char* text, auto change) {
    SamplingParams p;
    check_sampling_params(p, kVocab);
    change(p);
    EXPECT_ERROR("invalid_request", text, check_sampling_params(p, kVocab));
  };
  refuse("temperature", [&](auto& p) { p.temperature = nan; });
  refuse("temperature", [&](auto& p) { p.temperature = -0.5f; });
  refuse("temperature", [&](auto& p) { p.temperature = inf; });
  refuse("top_p", [&](auto& p) { p.top_p = 0; });
  refuse("top_p", [&](auto& p) { p.top_p = 1.5f; });
  refuse("top_p", [&](auto& p) { p.top_p = nan; });
  refuse("min_p", [&](auto& p) { p.min_p = -0.1f; });
  refuse("min_p", [&](auto& p) { p.min_p = nan; });
  refuse("top_k", [&](auto& p) { p.top_k = 0; });
  refuse("top_k", [&](auto& p) { p.top_k = -2; });
  refuse("frequency_penalty", [&](auto& p) { p.frequency_penalty = nan; });
  refuse("presence_penalty", [&](auto& p) { p.presence_penalty = inf; });
  refuse("repetition_penalty", [&](auto& p) { p.repetition_penalty = 0; });
  refuse("repetition_penalty", [&](auto& p) { p.repetition_penalty = nan; });
  refuse("max_tokens", [&](auto& p) { p.max_tokens = -1; });
  refuse("min_tokens", [&](auto& p) { p.min_tokens = -1; });
  refuse("num_logprobs", [&](auto& p) { p.num_logprobs = kVocab + 1; });
  refuse("num_logprobs", [&](auto& p) { p.num_logprobs = -2; });
  refuse("num_prompt_logprobs", [&](auto& p) { p.num_prompt_logprobs = kVocab + 1; });
  refuse("logit_bias: expected token ids in [0, 61), received 61", [&](auto& p) {
    p.logit_bias = {{kVocab, 1.0f}};
  });
  refuse("logit_bias", [&](auto& p) { p.logit_bias = {{-1, 1.0f}}; });
  refuse("logit_bias", [&](auto& p) { p.logit_bias = {{1, nan}}; });
  refuse("stop_token_ids", [&](auto& p) { p.stop_token_ids = {2, kVocab}; });
  refuse("stop_token_ids", [&](auto& p) { p.stop_token_ids = {-1}; });
}

}  // namespace
}  // namespace hotpath::test

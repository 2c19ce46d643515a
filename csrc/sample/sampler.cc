#include "sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace hotpath {

namespace {

// Below this a temperature only rounds the logits to infinities; it means greedy.
constexpr float kGreedyTemperature = 1e-6f;

void require(bool ok, const char* name, const char* expected, double received) {
  if (!ok) fail("invalid_request", name, ": expected ", expected, ", received ", received);
}

}  // namespace

void check_sampling_params(const SamplingParams& p, int vocab_size) {
  require(std::isfinite(p.temperature) && p.temperature >= 0, "temperature", "a finite number >= 0",
          p.temperature);
  require(p.top_p > 0 && p.top_p <= 1, "top_p", "a number in (0, 1]", p.top_p);
  require(p.min_p >= 0 && p.min_p <= 1, "min_p", "a number in [0, 1]", p.min_p);
  require(p.top_k == -1 || p.top_k >= 1, "top_k", "-1 or a positive integer", p.top_k);
  require(std::isfinite(p.frequency_penalty), "frequency_penalty", "a finite number",
          p.frequency_penalty);
  require(std::isfinite(p.presence_penalty), "presence_penalty", "a finite number",
          p.presence_penalty);
  require(std::isfinite(p.repetition_penalty) && p.repetition_penalty > 0, "repetition_penalty",
          "a finite number > 0", p.repetition_penalty);
  require(p.max_tokens >= 0, "max_tokens", "an integer >= 0", p.max_tokens);
  require(p.min_tokens >= 0, "min_tokens", "an integer >= 0", p.min_tokens);
  require(p.num_logprobs >= -1 && p.num_logprobs <= vocab_size, "num_logprobs",
          "-1 or a count up to the vocabulary's size", p.num_logprobs);
  require(p.num_prompt_logprobs >= -1 && p.num_prompt_logprobs <= vocab_size, "num_prompt_logprobs",
          "-1 or a count up to the vocabulary's size", p.num_prompt_logprobs);
  for (const TokenBias& b : p.logit_bias) {
    if (b.token < 0 || b.token >= vocab_size)
      fail("invalid_request", "logit_bias: expected token ids in [0, ", vocab_size, "), received ",
           b.token);
    require(std::isfinite(b.bias), "logit_bias", "finite numbers", b.bias);
  }
  for (int32_t t : p.stop_token_ids)
    if (t < 0 || t >= vocab_size)
      fail("invalid_request", "stop_token_ids: expected ids in [0, ", vocab_size, "), received ",
           t);
}

SamplerState::SamplerState(const SamplingParams& p)
    : penalised_(p.frequency_penalty != 0 || p.presence_penalty != 0 || p.repetition_penalty != 1) {
  bias_tokens_.reserve(p.logit_bias.size());
  bias_values_.reserve(p.logit_bias.size());
  for (const TokenBias& b : p.logit_bias) {
    bias_tokens_.push_back(b.token);
    bias_values_.push_back(b.bias);
  }
}

void SamplerState::append(int32_t token) {
  if (!penalised_) return;
  const auto at = std::ranges::lower_bound(seen_tokens_, token);
  const auto i = at - seen_tokens_.begin();
  if (at != seen_tokens_.end() && *at == token) {
    ++seen_counts_[i];
    return;
  }
  seen_tokens_.insert(at, token);
  seen_counts_.insert(seen_counts_.begin() + i, 1);
}

SampleRow SamplerState::row(const SamplingParams& p, int64_t position) const {
  SampleRow row;
  row.greedy = p.temperature < kGreedyTemperature;
  row.temperature = row.greedy ? 1.0f : p.temperature;
  row.top_p = p.top_p;
  row.min_p = p.min_p;
  row.top_k = p.top_k;
  row.frequency_penalty = p.frequency_penalty;
  row.presence_penalty = p.presence_penalty;
  row.repetition_penalty = p.repetition_penalty;
  row.seen_tokens = seen_tokens_;
  row.seen_counts = seen_counts_;
  row.bias_tokens = bias_tokens_;
  row.bias_values = bias_values_;
  // With ignore_eos the stop ids end nothing, so they are ordinary tokens.
  if (position < p.min_tokens && !p.ignore_eos) row.suppressed = p.stop_token_ids;
  row.seed = p.seed;
  row.position = static_cast<uint64_t>(position);
  row.num_logprobs = p.num_logprobs;
  return row;
}

SampleRow score_row(int32_t token, int32_t num_logprobs) {
  SampleRow row;
  row.score_token = token;
  row.num_logprobs = num_logprobs;
  return row;
}

}  // namespace hotpath

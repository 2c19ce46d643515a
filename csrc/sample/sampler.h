#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"
#include "sample/params.h"

namespace hotpath {

// Throws Error("invalid_request") for values that the ops cannot take: not finite, out of range,
// ids outside the vocabulary. TypeScript gives the friendly messages; this guards the arrays.
void check_sampling_params(const SamplingParams& params, int vocab_size);

// What the sampler remembers of one sequence: which tokens were generated how often (only when a
// penalty reads it), and the constant arrays that its rows point to.
class SamplerState {
 public:
  explicit SamplerState(const SamplingParams& params);

  // A token was generated.
  void append(int32_t token);

  // The row that draws generated token number `position` (from 0). Its arrays live in this object
  // and in params; valid until append.
  SampleRow row(const SamplingParams& params, int64_t position) const;

 private:
  bool penalised_;
  std::vector<int32_t> seen_tokens_;  // distinct, ascending
  std::vector<int32_t> seen_counts_;  // parallel
  std::vector<int32_t> bias_tokens_;
  std::vector<float> bias_values_;
};

// The row that reports how likely `token` was, and the num_logprobs likeliest; no draw.
SampleRow score_row(int32_t token, int32_t num_logprobs);

}  // namespace hotpath

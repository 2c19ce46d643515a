#pragma once

#include <cstdint>
#include <vector>

namespace hotpath {

struct TokenBias {
  int32_t token;
  float bias;
};

// What one request asks of the sampler and of the stopping rules. Validated in TypeScript; the
// defaults here are "off".
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy (values below 1e-6 count as 0)
  float top_p = 1.0f;        // (0, 1]
  float min_p = 0.0f;        // [0, 1]
  int32_t top_k = -1;        // -1: off
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  float repetition_penalty = 1.0f;
  std::vector<TokenBias> logit_bias;
  uint64_t seed = 0;
  int32_t max_tokens =
      0;  // generated tokens, at least 1 unless prompt logprobs alone are asked for (0)
  int32_t min_tokens = 0;   // stop ids are suppressed until that many tokens are generated
  bool ignore_eos = false;  // neither EOS nor stop_token_ids end the request
  std::vector<int32_t> stop_token_ids;  // EOS ids included by the caller
  int32_t num_logprobs = -1;            // -1: none; 0: the sampled token's; n: and the n likeliest
  int32_t num_prompt_logprobs = -1;     // same for prompt positions 1..
  bool return_routed_experts = false;
};

}  // namespace hotpath

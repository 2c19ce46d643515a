#include "engine/sequence.h"

#include <algorithm>

#include "core/error.h"

namespace hotpath {

namespace {

// Room for generated tokens that is set aside at submit; longer ones grow as vectors do.
constexpr int32_t kReservedTokens = 1024;

// What needs every token's own step cannot go without one: logprobs, and the experts of a position.
bool may_jump(const SamplingParams& p) {
  return p.num_logprobs < 0 && p.num_prompt_logprobs < 0 && !p.return_routed_experts &&
         p.min_tokens == 0;
}

// Checked before the members are built from it.
Request checked(Request r, const Sequence::Limits& limits) {
  if (r.id < 1 || r.id > INT32_MAX)
    fail("invalid_request", "id: expected an integer in [1, 2^31), received ", r.id);
  if (r.prompt.empty())
    fail("invalid_request", "the prompt is empty: expected at least one token id");
  for (size_t i = 0; i < r.prompt.size(); ++i)
    if (r.prompt[i] < 0 || r.prompt[i] >= limits.vocab_size)
      fail("invalid_request", "prompt: expected token ids in [0, ", limits.vocab_size,
           "), received ", r.prompt[i], " at index ", i);
  check_sampling_params(r.params, limits.vocab_size);
  if (r.num_counted < 0 || r.num_counted > static_cast<int64_t>(r.prompt.size()))
    fail("invalid_request", "num_counted: expected 0 to ", r.prompt.size(),
         ", the prompt's tokens, received ", r.num_counted);
  if (r.grammar && r.grammar->vocabulary().size() != limits.vocab_size)
    fail("invalid_request", "grammar: expected one for a vocabulary of ", limits.vocab_size,
         " tokens, received one for ", r.grammar->vocabulary().size());
  const auto prompt_len = static_cast<int64_t>(r.prompt.size());
  const bool generates = r.params.max_tokens > 0;
  if (prompt_len + (generates ? 1 : 0) > limits.max_model_len)
    fail("invalid_request", "the prompt has ", prompt_len, " tokens, but max_model_len is ",
         limits.max_model_len, generates ? " including at least one generated token" : "",
         ": shorten the prompt or load with a larger max_model_len");
  if (r.params.return_routed_experts && !limits.experts_captured)
    fail("invalid_request",
         "return_routed_experts: expected an engine with capture_routed_experts on, but it is off");
  const int64_t most = std::min<int64_t>(prompt_len + r.params.max_tokens, limits.max_model_len);
  // The last generated token is never fed, so it needs no KV.
  const int64_t cached = generates ? most - 1 : prompt_len;
  const int64_t blocks = (cached + limits.block_size - 1) / limits.block_size;
  if (blocks > limits.num_blocks)
    fail("invalid_request", "the request may need ", blocks, " KV blocks (", prompt_len,
         " prompt tokens + max_tokens ", r.params.max_tokens, "), but the cache has ",
         limits.num_blocks, " blocks of ", limits.block_size,
         " tokens: lower max_tokens or load with a larger KV cache");
  return r;
}

}  // namespace

Sequence::Sequence(Request r, const Limits& limits)
    : id((r = checked(std::move(r), limits)).id),
      params(std::move(r.params)),
      priority(r.priority),
      cache_salt(r.cache_salt),
      share_group(r.share_group),
      prompt_len(static_cast<int32_t>(r.prompt.size())),
      max_len(static_cast<int32_t>(
          std::min<int64_t>(int64_t{prompt_len} + params.max_tokens, limits.max_model_len))),
      tokens(std::move(r.prompt)),
      sampler(params),
      constraint(r.grammar ? std::make_shared<Constraint>(std::move(r.grammar),
                                                          std::move(r.grammar_start),
                                                          limits.jump_forward && may_jump(params))
                           : nullptr),
      next_score(params.num_prompt_logprobs >= 0 ? 1 : prompt_len) {
  for (int32_t i = prompt_len - r.num_counted; i < prompt_len; ++i) sampler.append(tokens[i]);
  tokens.reserve(std::min(max_len, prompt_len + kReservedTokens));
}

Finish Sequence::finish_at(int32_t index) const {
  if (index + 1 - prompt_len >= params.max_tokens) return Finish::kLength;
  if (!params.ignore_eos &&
      std::ranges::find(params.stop_token_ids, tokens[index]) != params.stop_token_ids.end())
    return Finish::kStop;
  return index + 1 >= max_len ? Finish::kLength : Finish::kNone;
}

}  // namespace hotpath

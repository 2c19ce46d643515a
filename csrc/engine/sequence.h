#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cache/prefix_tree.h"
#include "engine/constraint.h"
#include "engine/engine.h"
#include "sample/sampler.h"

namespace hotpath {

// The whole state of one request. Touched by the engine thread alone once it is submitted.
//
//   0 ......... num_tree_blocks * block_size ..... cached_len ..... tokens.size()
//   |  blocks of the prefix tree,  | blocks of this   | KV to be      |
//   |  locked through tree_node    | sequence alone   | computed      |
//
// block_table covers at least cached_len. The newest token has no KV until the step that draws its
// successor.
struct Sequence {
  // Throws Error("invalid_request"), before anything is queued, for a request that could never run:
  // see Limits.
  struct Limits {
    int vocab_size = 0;
    int max_model_len = 0;
    int block_size = 0;
    int num_blocks = 0;
    bool experts_captured = false;
    bool jump_forward = false;
  };
  Sequence(Request request, const Limits& limits);

  const int64_t id;
  const SamplingParams params;
  const int32_t priority;
  const uint64_t cache_salt;
  const int64_t share_group;
  const int32_t prompt_len;
  const int32_t max_len;  // tokens.size() ends here at the latest: min(prompt + max_tokens, model)

  std::vector<int32_t> tokens;  // the prompt, then what was generated
  SamplerState sampler;
  const std::shared_ptr<Constraint> constraint;  // null: none
  uint64_t arrival = 0;  // order of arrival, kept across preemption

  // KV is, or will be once the steps in flight are done, in [0, cached_len).
  int32_t cached_len = 0;
  std::vector<int32_t> block_table;
  // Of its last admission, once it is preempted: the experts of its positions lie there until a
  // later step is completed, and a draw in flight may still end it.
  std::vector<int32_t> last_blocks;
  int32_t num_tree_blocks = 0;
  int32_t tree_node = PrefixTree::kRoot;

  int32_t prefix_len = 0;  // prompt tokens that came from the cache at first admission
  bool was_admitted = false;
  bool running = false;
  int32_t slot = -1;  // while running: its place among the running ones, for tokens on the device

  // What steps in flight know ahead of the host.
  int32_t stored_len = 0;     // KV is valid in [0, stored_len) and its tokens are known
  int32_t num_in_flight = 0;  // chunks launched and not completed
  uint32_t epoch = 0;         // counts admissions: a chunk of an earlier one stored nothing of use
  bool ended = false;         // its last record is out; it waits for its chunks in flight
  // The next prompt position whose logprob is owed; prompt_len when none is. It is scored from the
  // logits of the position before.
  int32_t next_score;

  int32_t len() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_generated() const { return len() - prompt_len; }
  int32_t remaining() const { return len() - cached_len; }
  bool owes_scores() const { return next_score < prompt_len; }
  std::span<const int32_t> prompt() const {
    return {tokens.data(), static_cast<size_t>(prompt_len)};
  }

  // How much cached KV may stand in for computing: the last token must be computed for its logits,
  // and so must every position whose logits are still owed.
  int32_t reusable_len() const { return owes_scores() ? next_score - 1 : len() - 1; }

  // Whether the generated token at tokens[index] ends the sequence.
  Finish finish_at(int32_t index) const;
  // A token that is drawn but not known yet (only ever the newest).
  static constexpr int32_t kUnknown = -1;
  bool newest_unknown() const { return tokens.back() == kUnknown; }
  // Will end with the newest token, whatever it is.
  bool is_full() const {
    return num_generated() > 0 && (num_generated() >= params.max_tokens || len() >= max_len);
  }
};

// What one forward step computes of one sequence: tokens [begin, begin + len).
struct Chunk {
  Sequence* seq;
  int32_t begin;
  int32_t len;
  int32_t num_scores;  // prompt positions scored: [seq->next_score, + num_scores)
  bool samples;        // the chunk ends at the newest token, so the next one is drawn
  int32_t first_score = 0;  // seq->next_score when the chunk was made
  int32_t drawn_index = 0;  // where in seq->tokens the drawn token belongs
  uint32_t epoch = 0;       // of seq when the chunk was made

  int32_t num_rows() const { return num_scores + (samples ? 1 : 0); }
};

struct Step {
  std::vector<Chunk> chunks;
  int32_t num_tokens = 0;
  int32_t num_rows = 0;  // of logits; a chunk's rows are its scores, then its draw

  void clear() { chunks.clear(), num_tokens = 0, num_rows = 0; }
};

}  // namespace hotpath

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sequence.h"
#include "ops/batch.h"
#include "ops/ops.h"

namespace hotpath {

// Turns a Step into what the model (build) and the sampler (build_rows) take. All arrays are set
// aside once; what the getters return is valid until the next build.
class BatchBuilder {
 public:
  struct Limits {
    int32_t max_tokens, max_seqs, max_logits, max_model_len, block_size;
  };
  explicit BatchBuilder(const Limits& limits);

  void build(const Step& step);
  // The rows as they are to be drawn now: the tokens of steps that were completed since build are
  // known. late[i]: chunk i's mask is not there, what its row draws is dropped.
  void build_rows(const Step& step, const std::vector<char>& late);

  const Batch& batch() const { return batch_; }
  // One per row of logits, in the order of the step's chunks: scores, then the draw.
  std::span<const SampleRow> rows() const { return rows_; }
  std::span<SampleResult> results() { return results_; }
  int32_t slot(int32_t token) const { return slot_mapping_[token]; }

 private:
  void add_rows(const Chunk& chunk, bool late);

  int32_t block_size_, max_blocks_;
  Batch batch_;
  std::vector<int32_t> input_ids_, positions_, slot_mapping_, cu_seqlens_q_, seqlens_k_,
      prefill_lens_, block_table_, logits_indices_;
  std::vector<SampleRow> rows_;
  std::vector<SampleResult> results_;
  std::vector<int32_t> top_ids_;     // the results' top_ids, back to back
  std::vector<float> top_logprobs_;  // and top_logprobs
};

}  // namespace hotpath

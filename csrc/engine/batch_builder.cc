#include "engine/batch_builder.h"

#include <algorithm>

namespace hotpath {

BatchBuilder::BatchBuilder(const Limits& limits)
    : block_size_(limits.block_size),
      max_blocks_((limits.max_model_len + limits.block_size - 1) / limits.block_size) {
  input_ids_.reserve(limits.max_tokens);
  positions_.reserve(limits.max_tokens);
  slot_mapping_.reserve(limits.max_tokens);
  cu_seqlens_q_.reserve(limits.max_seqs + 1);
  seqlens_k_.reserve(limits.max_seqs);
  prefill_lens_.reserve(limits.max_seqs);
  block_table_.resize(static_cast<size_t>(limits.max_seqs) * max_blocks_);
  logits_indices_.reserve(limits.max_logits);
  rows_.reserve(limits.max_logits);
  results_.reserve(limits.max_logits);
}

void BatchBuilder::build(const Step& step) {
  for (auto* v :
       {&input_ids_, &positions_, &slot_mapping_, &cu_seqlens_q_, &seqlens_k_, &prefill_lens_,
                  &logits_indices_})
    v->clear();
  batch_ = Batch();
  batch_.num_seqs = static_cast<int>(step.chunks.size());
  batch_.num_tokens = step.num_tokens;
  batch_.block_size = block_size_;
  // As many columns as this step's longest sequence needs.
  for (const Chunk& c : step.chunks) {
    batch_.max_seqlen_q = std::max(batch_.max_seqlen_q, c.len);
    batch_.max_seqlen_k = std::max(batch_.max_seqlen_k, c.begin + c.len);
  }
  batch_.max_blocks = (batch_.max_seqlen_k + block_size_ - 1) / block_size_;

  cu_seqlens_q_.push_back(0);
  auto table_row = block_table_.begin();
  for (const Chunk& c : step.chunks) {
    const Sequence& seq = *c.seq;
    const auto first_token = static_cast<int32_t>(input_ids_.size());
    const int32_t end = c.begin + c.len;
    for (int32_t p = c.begin; p < end; ++p) {
      input_ids_.push_back(seq.tokens[p] == Sequence::kUnknown ? -1 - seq.slot : seq.tokens[p]);
      positions_.push_back(p);
      slot_mapping_.push_back(seq.block_table[p / block_size_] * block_size_ + p % block_size_);
    }
    cu_seqlens_q_.push_back(first_token + c.len);
    seqlens_k_.push_back(end);
    prefill_lens_.push_back(std::clamp(seq.prompt_len - c.begin, 0, c.len));
    const int32_t used = (end + block_size_ - 1) / block_size_;
    // Columns beyond the sequence's own blocks are never read; 0 keeps them inside the cache.
    std::fill(std::copy_n(seq.block_table.begin(), used, table_row), table_row + batch_.max_blocks,
              0);
    table_row += batch_.max_blocks;
    for (int32_t i = 0; i < c.num_scores; ++i)  // from the logits of the position before
      logits_indices_.push_back(first_token + c.first_score + i - 1 - c.begin);
    if (c.samples) logits_indices_.push_back(first_token + c.len - 1);
  }

  batch_.input_ids = input_ids_;
  batch_.positions = positions_;
  batch_.slot_mapping = slot_mapping_;
  batch_.cu_seqlens_q = cu_seqlens_q_;
  batch_.seqlens_k = seqlens_k_;
  batch_.prefill_lens = prefill_lens_;
  batch_.block_table = {block_table_.data(), static_cast<size_t>(table_row - block_table_.begin())};
  batch_.logits_indices = logits_indices_;
}

void BatchBuilder::build_rows(const Step& step, const std::vector<char>& late) {
  rows_.clear();
  for (size_t i = 0; i < step.chunks.size(); ++i) add_rows(step.chunks[i], late[i] != 0);
  int64_t num_top = 0;
  for (const SampleRow& row : rows_) num_top += std::max(row.num_logprobs, 0);
  if (num_top > static_cast<int64_t>(top_ids_.size())) {
    top_ids_.resize(num_top);
    top_logprobs_.resize(num_top);
  }
  results_.assign(rows_.size(), SampleResult{-1, 0, nullptr, nullptr});
  num_top = 0;
  for (size_t i = 0; i < rows_.size(); ++i) {
    results_[i].top_ids = top_ids_.data() + num_top;
    results_[i].top_logprobs = top_logprobs_.data() + num_top;
    num_top += std::max(rows_[i].num_logprobs, 0);
  }
}

void BatchBuilder::add_rows(const Chunk& c, bool late) {
  const Sequence& seq = *c.seq;
  for (int32_t i = 0; i < c.num_scores; ++i)
    rows_.push_back(score_row(seq.tokens[c.first_score + i], seq.params.num_prompt_logprobs));
  if (!c.samples) return;
  if (late || seq.ended) {
    // Its logits are there all the same; what is drawn from them is nobody's.
    SampleRow nobody;
    nobody.greedy = true;
    rows_.push_back(nobody);
    return;
  }
  SampleRow row = seq.sampler.row(seq.params, c.drawn_index - seq.prompt_len);
  row.slot = seq.slot;
  row.pending = seq.tokens[c.drawn_index - 1] == Sequence::kUnknown;
  if (seq.constraint && seq.constraint->is_active())
    row.bitmask = seq.constraint->mask();
  else if (seq.constraint && row.suppressed.empty())
    row.suppressed = seq.constraint->stop_ids();  // the answer has not begun: it cannot end
  rows_.push_back(row);
}

}  // namespace hotpath

#pragma once

#include <vector>

#include "harness.h"

namespace hotpath::test {

struct SequenceShape {
  int past, q_len;  // tokens already in the cache, tokens of this step
  // How many of this step's belong to the prompt; -1: none of a single token that has a past, else
  // all.
  int prefill = -1;

  int prefill_len() const { return prefill >= 0 ? prefill : q_len == 1 && past > 0 ? 0 : q_len; }
};

// A ragged batch over a shuffled block table, with the arrays that Batch views.
struct PagedBatch {
  int block_size, num_blocks;
  std::vector<SequenceShape> shapes;
  std::vector<int32_t> input_ids, positions, slot_mapping, cu_seqlens_q, seqlens_k, block_table,
      prefill_lens, logits_indices;
  int max_blocks = 0;

  PagedBatch(std::vector<SequenceShape> sequences, int block_size, Rng& rng);
  // A view of sequences [first, last) alone, with the same blocks.
  PagedBatch slice(int first, int last) const;
  // Tokens [first, first + n) of the only sequence.
  PagedBatch chunk(int first, int n) const;
  Batch view() const;
  int num_tokens() const { return static_cast<int>(positions.size()); }
  // Slot of a position of a sequence.
  int64_t slot(int sequence, int position) const;

 private:
  PagedBatch() = default;
  void index();
};

}  // namespace hotpath::test

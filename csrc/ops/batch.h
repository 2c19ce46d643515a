#pragma once

#include <cstdint>
#include <span>

namespace hotpath {

// One forward step over a ragged set of sequences; a decode is simply a sequence with q_len 1.
// All arrays live on the host; a device back end copies them in begin_step. They stay valid until
// end_step.
struct Batch {
  int num_seqs = 0;
  int num_tokens = 0;
  int max_seqlen_q = 0;
  int max_seqlen_k = 0;
  int block_size = 0;                  // tokens in a KV block
  int max_blocks = 0;                  // columns of block_table
  // [num_tokens] token ids; a negative id -1 - slot stands for the token last drawn into that slot
  // (SampleRow::slot), which the host need not know yet
  std::span<const int32_t> input_ids;
  std::span<const int32_t> positions;  // [num_tokens] position of the token in its sequence
  std::span<const int32_t>
      slot_mapping;  // [num_tokens] block * block_size + offset where K and V go
  std::span<const int32_t> cu_seqlens_q;  // [num_seqs + 1] tokens of sequence i: [cu[i], cu[i+1])
  std::span<const int32_t> seqlens_k;     // [num_seqs] KV length once this step's tokens are stored
  std::span<const int32_t> block_table;   // [num_seqs, max_blocks]
  // [num_seqs] how many of sequence i's tokens here belong to its prompt (they come first); the rest
  // were generated. A back end may attend with other kernels for the two: which one a position gets
  // is then a matter of its request, never of the batch.
  std::span<const int32_t> prefill_lens;
  std::span<const int32_t> logits_indices;  // [num_logits] token rows that need logits
};

}  // namespace hotpath

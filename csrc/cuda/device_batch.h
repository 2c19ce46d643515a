#pragma once

#include <cstdint>

namespace hotpath::cuda {

// The step's batch in device memory. Addresses never change (captured graphs hold them), contents
// are uploaded by begin_step with a copy (never by a kernel: so kernels may read all of it before
// griddep_wait()); kernels take this struct by value. Rows beyond the header's num_tokens (a
// replayed graph is padded to its bucket) have input id 0, position 0 and slot -1.
struct StepHeader {
  int32_t num_seqs, num_tokens, num_logits;
  int32_t max_blocks;         // columns of block_table
  int32_t num_decode_items;   // work items of the decode attention kernel
  int32_t num_prefill_items;  // and of the prefill kernel
  int32_t reserved[2];
};

// A part of one query row's keys, work for the decode kernel (all heads of a KV head at a time).
// A row is cut into splits or into runs of chunks; how is free: its result has the same bits
// whatever the cut (see attention.h). 64 bytes, 16-byte aligned.
struct DecodeItem {
  int32_t row;            // of q and out
  int32_t seq;            // row of block_table
  int32_t seqlen;         // keys it may see: position + 1
  int32_t begin, end;     // chunks of this part; splits: this split, and how many the row has
  uint32_t cuts;          // bit i: a part of the row begins at chunk i; 0: cut into splits
  int32_t first_partial;  // the row's first slot for partial results, also its counter
  int32_t stored;         // keys that were in the cache before this step
  int32_t blocks[4];      // splits: the blocks of the split's leaves (16 keys each)
  int32_t reserved[4];
};

// A tile of prompt tokens of one sequence for the prefill kernel.
struct PrefillItem {
  int32_t seq;        // row of block_table
  int32_t row_begin;  // first row of q and out
  int32_t num_rows;
  int32_t position;   // of the first row; the others follow
};

struct DeviceBatch {
  const StepHeader* header;
  const int32_t* input_ids;       // >= 0: a token; < 0: the token last drawn into slot -1 - id
  const int32_t* positions;       // [tokens]
  const int32_t* slot_mapping;    // [tokens]; -1: stored nowhere
  const int32_t* block_table;     // [seqs, header->max_blocks]
  const int32_t* logits_indices;  // [logits]
  const DecodeItem* decode_items;  // room for max_decode_items(), 16-byte aligned
  const PrefillItem* prefill_items;
  const int32_t* last_tokens;  // [slots] token last drawn into each slot
  int32_t block_size;
};

}  // namespace hotpath::cuda

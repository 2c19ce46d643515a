#pragma once

// Between attention.cu and the prefill kernels.

#include "cuda/attention_decode.h"

namespace hotpath::cuda {

// Rows of a PrefillItem at most, for both kernels. The planner cuts a sequence's prompt tokens into
// tiles of this many rows (the last may have fewer) and lists the tiles of all sequences by falling
// position: blocks take them in order, so the longest start first and the shortest fill the end.
// Where tiles begin is free: a row's result has the same bits in whatever tile it is, for keys are
// taken in steps aligned to absolute positions and a step that a row does not see changes nothing.
inline constexpr int kPrefillTileRows = 128;

// What the two kernels cover: q, caches and out of one 16-bit dtype, head_dim 64, 96, 128, 192 or
// 256, block_size a power of two from 16, scale > 0, q's and out's rows aligned to 16 bytes.
bool prefill_fits(const PagedAttention& args, int block_size);

// The work list is how.batch.prefill_items[0 .. how.num_prefill_items), which the host must know.
// The first two ints of how.workspace are the blocks' queue: zero before, zero after.
// False: not covered, nothing was launched.
bool prefill_attention_sm90(const Context& ctx, const PagedAttention& args,
                            const AttentionLaunch& how, const AttentionExtras& extras = {});
bool prefill_attention_mma(const Context& ctx, const PagedAttention& args,
                           const AttentionLaunch& how, const AttentionExtras& extras = {});

// What the kernels share of their parameters.
struct PrefillCommon {
  void* out;
  int64_t out_stride;  // elements
  const PrefillItem* items;
  const int32_t* block_table;
  const StepHeader* header;
  int* queue;          // [0] units handed out beyond the first of each block, [1] blocks at the end
  const float* sinks;  // [num_heads] or null
  float exponent;      // (capped) scores times this are powers of two
  float softcap_in;    // scale / softcap; 0: none
  float softcap_out;   // softcap
  int num_items, num_heads, num_kv_heads, group;
  int window;       // > 0: a row sees that many keys; 0: all up to itself
  int block_shift;  // log2(block_size)
  // Heads whose K and V of the longest item are to stay in L2 together: they are worked off before
  // the next ones.
  int64_t l2_budget;  // bytes
};
PrefillCommon prefill_common(const Context& ctx, const PagedAttention& args,
                             const AttentionLaunch& how, const AttentionExtras& extras);

}  // namespace hotpath::cuda

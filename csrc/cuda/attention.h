#pragma once

#include <cstddef>
#include <vector>

#include "cuda/context.h"
#include "cuda/device_batch.h"
#include "ops/ops.h"

namespace hotpath::cuda {

// THE order in which the decode kernels sum a row, a function of the row's own length:
//   leaf   16 keys: one tensor-core step
//   split  4 leaves (64 keys): common maximum, the leaves' sums added in order
//   lane   decode_rounds() splits, kChunkLanes * 64 keys apart, rescaled online
//   chunk  kChunkLanes lanes, merged in order
//   row    its chunks, folded in order
// all aligned to absolute positions. A row may be cut into parts of whole chunks, or, while a lane
// is one split, into splits: what is left to the last part then does the same arithmetic in the
// same order.
inline constexpr int kLeafKeys = 16;
inline constexpr int kSplitKeys = 64;
inline constexpr int kChunkLanes = 4;
inline constexpr int kRoundKeys = kSplitKeys * kChunkLanes;
// Splits of a lane: 1 up to 8192 keys, then doubling with the length: a row has at most 32 chunks.
#ifdef __CUDACC__
__host__ __device__
#endif
    inline int
    decode_rounds(int seqlen) {
  int rounds = 1;
  for (int n = (seqlen - 1) >> 13; n > 0; n >>= 1) rounds *= 2;
  return rounds;
}

// Work lists of a batch. Prompt tokens (the first prefill_lens[i] of a sequence's chunk) go to the
// prefill kernel in tiles, generated ones to the decode kernel, one row each, whatever the chunk:
// which kernel computes a position is a matter of the request, never of the batch.
struct AttentionPlan {
  std::vector<DecodeItem> decode;  // longest first
  std::vector<PrefillItem> prefill;
  // Scratch of plan_attention, kept so that it does not allocate.
  std::vector<DecodeItem> sorted;
  std::vector<int32_t> order;
};
// concurrent_items: how many decode items run at a time, decode_concurrency(). It steers how rows
// are cut, for speed; results do not depend on it.
void plan_attention(const Batch& batch, int concurrent_items, AttentionPlan& plan);
int decode_concurrency(const Context& ctx, int num_kv_heads);
// The most items a step within the limits can have.
int64_t max_decode_items(const OpLimits& limits);
int64_t max_prefill_items(const OpLimits& limits);

// What the two launches of paged_attention need beside the op's arguments.
struct AttentionLaunch {
  DeviceBatch batch;
  // Host's knowledge of the lists; -1: not known at launch (captured graph), the kernel reads the
  // header and its grid must suit any number.
  int num_decode_items = -1;
  int num_prefill_items = -1;
  void* workspace;  // attention_workspace() bytes, zeroed once at reserve, kept between launches
};
size_t attention_workspace(const OpLimits& limits, int max_heads, int max_head_dim);

// attention.cu: picks kernels by dtype, head_dim, block_size and architecture.
void paged_attention(const Context& ctx, const PagedAttention& args, const AttentionLaunch& how);
// rope.cu
void qk_norm_rope_store(const Context& ctx, const QkNormRopeStore& args, const DeviceBatch& batch);

}  // namespace hotpath::cuda

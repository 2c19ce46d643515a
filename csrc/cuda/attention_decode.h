#pragma once

// Between attention.cu and the decode kernels.

#include <cuda.h>

#include "cuda/attention.h"

namespace hotpath::cuda {

// Partial results in the workspace: a slot holds one split's or chunk's of all heads.
inline constexpr int kMaxPartials = 2048;
inline constexpr int kMaxUnits = 128;  // tiles of heads of a layer
inline constexpr size_t kQueueBytes = 256;
inline constexpr int kDecodeWarps = 4;  // one per lane of a chunk
static_assert(kDecodeWarps == kChunkLanes);
inline constexpr int kDecodeThreads = kDecodeWarps * 32 + 32;  // and one that loads

// Query heads of a KV head that one block answers: two tensor-core tiles where registers allow it.
constexpr int most_heads(int head_dim) { return head_dim == 64 || head_dim == 128 ? 16 : 8; }

// Facts of a layer that ops.h has no fields for; the kernels know them.
struct AttentionExtras {
  const float* sinks = nullptr;  // [num_heads] a logit in the softmax's sum, without value
  float softcap = 0;             // > 0: logits become softcap * tanh(logit / softcap)
};

struct DecodeParams {
  CUtensorMap k_map, v_map;  // sm_90: [head_dim / E, rows, E] of the cache, box [all, 16, E]
  const void* k_cache;
  const void* v_cache;
  const void* q;
  void* out;
  int64_t q_stride, out_stride;  // elements
  DeviceBatch batch;
  const float* sinks;
  float exponent;       // scores times this are powers of 2
  float softcap_in;     // scale / softcap; 0: none
  float softcap_out;    // softcap
  int window;
  int num_heads, num_kv_heads, group;
  int parts;           // tiles of heads per KV head
  int heads_per_part;  // <= most_heads(head_dim)
  int units_per_item;  // num_kv_heads * parts
  int block_shift;     // log2(block_size)
  int num_slots;       // of a warp's ring; a slot holds 16 keys of K or of V
  // Workspace, see attention_workspace().
  int* queue;     // [0] units handed out beyond the first of each block, [1] blocks that have ended
  int* counters;  // [kMaxPartials, units_per_item] parts that have arrived
  float2* partial_ml;  // [kMaxPartials, num_heads] maximum (power of 2) and sum
  float* partial_o;    // [kMaxPartials, num_heads, head_dim]
};

bool decode_fits(const PagedAttention& args, int block_size);  // 16-bit, known head_dim, ...
DecodeParams decode_params(const Context& ctx, const PagedAttention& args,
                           const AttentionExtras& extras, const AttentionLaunch& how);
void decode_attention_sm90(const Context& ctx, const PagedAttention& args,
                           const AttentionExtras& extras, const AttentionLaunch& how);
void decode_attention_mma(const Context& ctx, const PagedAttention& args,
                          const AttentionExtras& extras, const AttentionLaunch& how);

// attention_generic.cu: any float dtypes, any head_dim up to 512, any block_size; every row of both
// lists that the flags name.
void generic_attention(const Context& ctx, const PagedAttention& args,
                       const AttentionExtras& extras, const AttentionLaunch& how, bool decode,
                       bool prefill);

}  // namespace hotpath::cuda

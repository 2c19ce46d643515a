#pragma once

// What the sampler's host part hands to its kernels, and how the kernels read a row of logits.

#include <cfloat>
#include <cstdint>

#include "cuda/context.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda::sampling {

// A block's maximum is all that most later work needs to know of it; a chunk is one CTA's share of
// a row. Both depend on nothing, so that a row's sums do not depend on the batch.
constexpr int kBlock = 64;
constexpr int kChunk = 4096;
// The likeliest tokens that the select kernel sorts in shared memory, and the longest prefix that
// may be asked of it. Longer lists of logprobs are sorted by the host.
constexpr int kListCapacity = 4096;
constexpr int kMaxNeed = 1024;
// Rows that travel as a kernel argument: no copy stands before the first kernel then.
constexpr int kInlineRows = 8;

struct Row {
  float inverse_temperature;  // 1 for greedy and score rows
  float top_p;                // >= 1: none
  float min_p;                // <= 0: none
  int32_t top_k;              // 0: none
  float frequency, presence, repetition;
  int32_t num_seen, num_suppressed, num_bias;
  int32_t score_token, num_logprobs, slot;
  bool greedy, pending, needs_sum;
  // Host memory (mapped): seen tokens, their counts, suppressed tokens, biased tokens (rising),
  // their values (f32).
  const int32_t* edits;
  const uint32_t* mask;         // device memory, or null; up to a multiple of 16 bytes
  const uint32_t* mask_source;  // host memory; null where another row fetches this mask
  int32_t* top_ids;             // host memory, [num_logprobs] ids, then as many logprobs
  uint64_t seed, position;
};

struct RowTable {
  const Row* rows;    // device memory, null: inlined
  const Row* source;  // the same in host memory
  Row inlined[kInlineRows];
};

struct Outcome {
  int32_t token;
  float logprob;
};

// Numbers of one chunk: what the first pass leaves.
struct ChunkStat {
  float maximum;   // NaN skipped; may be +inf
  float sum;       // of exp((x - maximum) / temperature), where the row needs it
  int32_t argmax;  // the lowest
  int32_t has_nan;
};

// What the kernels of one call work on. All device memory but where said.
struct Launch {
  float* logits;
  int64_t vocab;
  int rows;
  bool prepare;   // the prepare kernel has something to do
  bool any_wide;  // and so may the wide one
  bool aligned;           // rows of logits start at multiples of 16 bytes
  ChunkStat* chunks;      // [R, chunk_count]
  float* block_maxima;    // [R, block_count]
  int32_t* resolved;      // [R] by the select kernel: 1 where the wide one has nothing to do
  Outcome* outcomes;      // host memory (mapped), [R]
  int32_t* last_tokens;
};

void enqueue(const Context& ctx, const Launch& launch, const RowTable& table);

#ifdef __CUDACC__

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// Four entries of a row, ids 4 * quad and up: -inf where masked, beyond the end or NaN.
struct RowView {
  const float* x;
  const uint32_t* mask;
  int n;
  bool aligned;

  // nan: set when an entry that is not masked is one.
  __device__ __forceinline__ float4 raw_quad(int quad, bool* nan) const {
    const int id = 4 * quad;
    float v[4] = {-infinity(), -infinity(), -infinity(), -infinity()};
    if (aligned && id + 3 < n) {
      const float4 q = *reinterpret_cast<const float4*>(x + id);
      v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (id + i < n) v[i] = x[id + i];
    }
    if (mask && id < n) {
      const uint32_t bits = mask[quad >> 3] >> (4 * (quad & 7));
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (!(bits >> i & 1)) v[i] = -infinity();
    }
    if (nan) *nan |= isnan(v[0]) | isnan(v[1]) | isnan(v[2]) | isnan(v[3]);
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = fmaxf(v[i], -infinity());
    return make_float4(v[0], v[1], v[2], v[3]);
  }
  __device__ __forceinline__ float4 quad(int quad) const { return raw_quad(quad, nullptr); }
  __device__ __forceinline__ float one(int id) const {
    const bool masked = mask && !(mask[id >> 5] >> (id & 31) & 1);
    return masked ? -infinity() : fmaxf(x[id], -infinity());
  }
};

// Rises with x; both zeros are one.
__device__ __forceinline__ uint32_t ordered_key(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float key_value(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// exp((x - max) / T): exactly 1 for the likeliest.
struct Softmax {
  float maximum, inverse;
  __device__ __forceinline__ float scaled(float x) const {
    return (fminf(x, FLT_MAX) - maximum) * inverse;
  }
  __device__ __forceinline__ float weight(float x) const { return expf(scaled(x)); }
};

#endif

}  // namespace hotpath::cuda::sampling

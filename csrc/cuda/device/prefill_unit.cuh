#pragma once

// What the two prefill kernels share: units of work, the online softmax of a tile of scores held in
// mma accumulator layout, and the rows' way out.

#include "cuda/attention_prefill.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda {

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// One head of one item. Ordered by sections of heads, then items, then heads of the section.
struct PrefillUnit {
  PrefillItem item;
  int head;
};

__device__ __forceinline__ int prefill_section_heads(const PrefillCommon& p, int head_dim) {
  const PrefillItem longest = p.items[0];
  const int64_t bytes = int64_t{longest.position + longest.num_rows} * head_dim * 4;
  const int kv_heads = static_cast<int>(min(p.l2_budget / bytes, int64_t{p.num_kv_heads}));
  return max(kv_heads, 1) * p.group;
}

__device__ __forceinline__ PrefillUnit prefill_unit(const PrefillCommon& p, int section_heads,
                                                    int unit) {
  const int section = unit / (p.num_items * section_heads);
  const int inside = unit - section * p.num_items * section_heads;
  const int first_head = section * section_heads;
  const int width = min(section_heads, p.num_heads - first_head);
  return {p.items[inside / width], first_head + inside % width};
}

// The first key that any of `rows` rows from `position` on sees.
__device__ __forceinline__ int first_key(const PrefillCommon& p, int position) {
  return p.window > 0 ? max(0, position - p.window + 1) : 0;
}

// Scores of one lane: s[4 i + {0, 1}] are columns 8 i + 2 t, + 1 of its first row, {2, 3} of its
// second, 8 rows further. kColumns / 2 of them.
// The state of the two rows: largest score so far (unscaled), sum of the lane's own columns.
struct RowState {
  float m[2], l[2];
};

// Scores -> softcap * tanh(score * scale / softcap).
template <int N>
__device__ __forceinline__ void softcap_scores(const PrefillCommon& p, float (&s)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const float e = exp2_fast(s[i] * p.softcap_in * 2.8853900817779268f);  // exp(2 x)
    s[i] = p.softcap_out * (1.0f - __fdividef(2.0f, 1.0f + e));
  }
}

// Hides the keys outside (position - window, position]. key0: the lane's first column (t included).
template <int N>
__device__ __forceinline__ void mask_scores(const PrefillCommon& p, float (&s)[N], int key0,
                                            int position) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = position + 8 * r - key0;
    const int first = p.window > 0 ? last - p.window + 1 : -(1 << 30);
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = 8 * i + e;
        if (column > last || column < first) s[4 * i + 2 * r + e] = -INFINITY;
      }
    }
  }
}

// Scores -> probabilities, relative to the new maximum. rescale: what older sums are to be
// multiplied by, exactly 1 where the maximum stays. A row without a visible key keeps m = -inf,
// l = 0 and gets zeros.
template <int N>
__device__ __forceinline__ void softmax_scores(float exponent, float (&s)[N], RowState& row,
                                               float (&rescale)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most[4] = {row.m[r], -INFINITY, -INFINITY, -INFINITY};  // four chains for latency
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
      most[2 * (i & 1)] = fmaxf(most[2 * (i & 1)], s[4 * i + 2 * r]);
      most[2 * (i & 1) + 1] = fmaxf(most[2 * (i & 1) + 1], s[4 * i + 2 * r + 1]);
    }
    float m = fmaxf(fmaxf(most[0], most[1]), fmaxf(most[2], most[3]));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
    const float origin = m == -INFINITY ? 0.0f : m;
    rescale[r] = exp2_fast((row.m[r] - origin) * exponent);
    row.m[r] = m;
    const float offset = -origin * exponent;
    float sum[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < N / 4; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& x = s[4 * i + 2 * r + e];
        x = exp2_fast(fmaf(x, exponent, offset));
        sum[2 * (i & 1) + e] += x;
      }
    }
    row.l[r] = fmaf(row.l[r], rescale[r], (sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

// 1 / the softmax denominator of the rows, the sink of `head` included.
template <bool kGeneral>
__device__ __forceinline__ void row_inverse(const PrefillCommon& p, const RowState& row, int head,
                                            float (&inverse)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float l = row.l[r];
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    l += __shfl_xor_sync(0xffffffffu, l, 2);
    if (kGeneral && p.sinks != nullptr)
      l += exp2_fast(p.sinks[head] * 1.4426950408889634f - row.m[r] * p.exponent);
    inverse[r] = 1.0f / l;
  }
}

// Four pairs (column blocks 0..3 of eight columns, the lane's two of each) to the eight columns of
// block t, as one 16-byte piece.
__device__ __forceinline__ uint4 quad_transpose(uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                int t) {
  const bool odd = t & 1, high = t & 2;
  uint32_t x = __shfl_xor_sync(0xffffffffu, odd ? a0 : a1, 1);
  uint32_t y = __shfl_xor_sync(0xffffffffu, odd ? a2 : a3, 1);
  if (odd) {
    a0 = x, a2 = y;
  } else {
    a1 = x, a3 = y;
  }
  x = __shfl_xor_sync(0xffffffffu, high ? a0 : a2, 2);
  y = __shfl_xor_sync(0xffffffffu, high ? a1 : a3, 2);
  if (high) {
    a0 = x, a1 = y;
  } else {
    a2 = x, a3 = y;
  }
  return {a0, a1, a2, a3};
}

// Writes the lane's part of rows `row` and `row` + 8 of the item. o as s above, kHeadDim columns.
template <typename T, int kHeadDim>
__device__ __forceinline__ void store_rows(const PrefillCommon& p, const PrefillUnit& unit,
                                           const float (&o)[kHeadDim / 2], int row, int t,
                                           const float (&inverse)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    T* out = static_cast<T*>(p.out) + (unit.item.row_begin + row + 8 * r) * p.out_stride +
             unit.head * kHeadDim + 8 * t;
    const bool valid = row + 8 * r < unit.item.num_rows;
#pragma unroll
    for (int b = 0; b < kHeadDim / 32; ++b) {
      uint32_t a[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int i = 16 * b + 4 * j + 2 * r;
        a[j] = pack2<T>(o[i] * inverse[r], o[i + 1] * inverse[r]);
      }
      const uint4 piece = quad_transpose(a[0], a[1], a[2], a[3], t);
      if (valid) *reinterpret_cast<uint4*>(out + 32 * b) = piece;
    }
  }
}

}  // namespace hotpath::cuda

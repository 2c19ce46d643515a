#pragma once

// What the tensor-core GEMMs do with their sums: bias, silu(gate) * up, accumulation, one rounding.

#include "core/dtype.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda {

struct GemmOutput {
  void* y;             // [m, n]
  int64_t y_stride;    // elements
  const void* bias;    // [n] or, with silu_mul, [2 n]; null: none
  DType bias_dtype;
  bool y_is_float;     // else T
  bool accumulate;
  bool silu_mul;
  int m, n;
};

__device__ __forceinline__ float load_as_float(const void* p, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF16:
      return to_float(static_cast<const f16*>(p)[i]);
    case DType::kBF16:
      return to_float(static_cast<const bf16*>(p)[i]);
    default:
      return static_cast<const float*>(p)[i];
  }
}

// The bias of the two rows of W that a lane (g = lane / 4) of a 16-row unit holds sums of.
struct UnitBias {
  float low, high;
};
__device__ __forceinline__ UnitBias load_unit_bias(const GemmOutput& out, int n0, int lane) {
  UnitBias bias{0.0f, 0.0f};
  if (out.bias == nullptr) return bias;
  const int n = n0 + lane / 4;
  const int high = out.silu_mul ? n + out.n : n + 8;
  if (n < out.n) bias.low = load_as_float(out.bias, out.bias_dtype, n);
  if (out.silu_mul ? n < out.n : high < out.n)
    bias.high = load_as_float(out.bias, out.bias_dtype, high);
  return bias;
}

// Where a lane writes of an 8 x 8 block (rows n0.., columns m0..) of sums: after lanes g and g ^ 1
// swapped halves, each has outputs (n, n + 1) of one m.
__device__ __forceinline__ int pair_n(int n0, int lane) { return n0 + (lane / 4 & ~1); }
__device__ __forceinline__ int pair_m(int m0, int lane) {
  return m0 + lane % 4 * 2 + (lane / 4 & 1);
}

// The 16-bit pair of y that store_pair() will add to; loaded early, its latency is hidden.
template <typename T>
__device__ __forceinline__ uint32_t load_pair(const GemmOutput& out, int n0, int m0, int lane) {
  const int n = pair_n(n0, lane), m = pair_m(m0, lane);
  if (n >= out.n || m >= out.m) return 0;
  return *reinterpret_cast<const uint32_t*>(static_cast<const T*>(out.y) + m * out.y_stride + n);
}

// (v0, v1): outputs n0 + g of columns m0 + 2 t and m0 + 2 t + 1, lane = 4 g + t. The whole warp.
template <typename T>
__device__ __forceinline__ void store_pair(const GemmOutput& out, float v0, float v1, int n0,
                                           int m0, int lane, uint32_t old) {
  const bool odd = lane / 4 & 1;
  const float swapped = __shfl_xor_sync(0xffffffffu, odd ? v0 : v1, 4);
  float lo = odd ? swapped : v0;
  float hi = odd ? v1 : swapped;
  const int n = pair_n(n0, lane), m = pair_m(m0, lane);
  if (n >= out.n || m >= out.m) return;
  if (out.y_is_float) {
    float* p = static_cast<float*>(out.y) + m * out.y_stride + n;
    if (out.accumulate) {
      lo += p[0];
      hi += p[1];
    }
    p[0] = lo;
    p[1] = hi;
  } else {
    if (out.accumulate) {
      const float2 before = unpack2<T>(old);
      lo += before.x;
      hi += before.y;
    }
    *reinterpret_cast<uint32_t*>(static_cast<T*>(out.y) + m * out.y_stride + n) =
        pack2<T>(lo, hi);
  }
}

// The m16n8 block of sums of a unit whose first output is n0. old: load_pair() of the first and
// the second 8 outputs. second: rows 8..15 of the unit are outputs of their own (or up rows).
template <typename T>
__device__ __forceinline__ void store_unit(const GemmOutput& out, const float (&sum)[4],
                                           UnitBias bias, int n0, int m0, int lane,
                                           const uint32_t (&old)[2], bool second) {
  float v[4] = {sum[0], sum[1], sum[2], sum[3]};
  if (out.bias != nullptr) {
    v[0] += bias.low;
    v[1] += bias.low;
    v[2] += bias.high;
    v[3] += bias.high;
  }
  if (out.silu_mul) {
    store_pair<T>(out, silu(v[0]) * v[2], silu(v[1]) * v[3], n0, m0, lane, old[0]);
  } else {
    store_pair<T>(out, v[0], v[1], n0, m0, lane, old[0]);
    if (second) store_pair<T>(out, v[2], v[3], n0 + 8, m0, lane, old[1]);
  }
}

template <typename T>
__device__ __forceinline__ void load_unit(const GemmOutput& out, int n0, int m0, int lane,
                                          uint32_t (&old)[2], bool second) {
  old[0] = old[1] = 0;
  if (!out.accumulate || out.y_is_float) return;
  old[0] = load_pair<T>(out, n0, m0, lane);
  if (second && !out.silu_mul) old[1] = load_pair<T>(out, n0 + 8, m0, lane);
}

}  // namespace hotpath::cuda

#pragma once

// Element access by run-time dtype, for paths where any dtype and alignment must work and speed is
// not the point; and 16-byte vectors of activations.

#include "core/dtype.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda {

__device__ __forceinline__ float load_any(const void* p, DType dtype, int64_t i) {
  if (dtype == DType::kBF16) return to_float(static_cast<const bf16*>(p)[i]);
  if (dtype == DType::kF16) return to_float(static_cast<const f16*>(p)[i]);
  return static_cast<const float*>(p)[i];
}
__device__ __forceinline__ void store_any(void* p, DType dtype, int64_t i, float v) {
  if (dtype == DType::kBF16)
    static_cast<bf16*>(p)[i] = from_float<bf16>(v);
  else if (dtype == DType::kF16)
    static_cast<f16*>(p)[i] = from_float<f16>(v);
  else
    static_cast<float*>(p)[i] = v;
}

// 16 bytes of T as floats and back.
template <typename T>
struct Vector {
  static constexpr int kWidth = 16 / sizeof(T);

  static __device__ __forceinline__ void unpack(float (&v)[kWidth], const uint4& raw) {
    if constexpr (sizeof(T) == 4) {
      v[0] = __uint_as_float(raw.x), v[1] = __uint_as_float(raw.y);
      v[2] = __uint_as_float(raw.z), v[3] = __uint_as_float(raw.w);
    } else {
      const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = unpack2<T>(words[i]);
        v[2 * i] = pair.x, v[2 * i + 1] = pair.y;
      }
    }
  }
  static __device__ __forceinline__ uint4 pack(const float (&v)[kWidth]) {
    if constexpr (sizeof(T) == 4)
      return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]),
                        __float_as_uint(v[3]));
    else
      return make_uint4(pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]), pack2<T>(v[4], v[5]),
                        pack2<T>(v[6], v[7]));
  }
};

}  // namespace hotpath::cuda

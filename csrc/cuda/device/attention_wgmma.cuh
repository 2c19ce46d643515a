#pragma once

// The wgmma forms of flash attention: S = Q K^T with both operands in shared memory, K-major, and
// O += P V with P in registers and V as it lies in the cache (MN-major). Included by *_sm90.cu
// files only.

#include "cuda/device/wgmma.cuh"

namespace hotpath::cuda {

template <typename T, int N>
using WgmmaScores = Wgmma<T, N>;  // Q K^T
template <typename T, int N>
using WgmmaValues = WgmmaRegisters<T, N>;  // P V

// B[16, N] of WgmmaValues, 128-byte swizzle: rows of 64 columns (128 bytes), 8 rows to an atom,
// `chunk` bytes from one 64-column chunk to the next, `group` bytes from 8 rows to the next 8.
__device__ __forceinline__ uint64_t swizzle128_mn_descriptor(uint32_t smem, uint32_t chunk,
                                                             uint32_t group) {
  uint64_t d = 0;
  d |= static_cast<uint64_t>((smem & 0x3ffff) >> 4);
  d |= static_cast<uint64_t>((chunk & 0x3ffff) >> 4) << 16;
  d |= static_cast<uint64_t>((group & 0x3ffff) >> 4) << 32;
  d |= static_cast<uint64_t>(1) << 62;
  return d;
}

}  // namespace hotpath::cuda

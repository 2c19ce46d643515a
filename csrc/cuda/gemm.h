#pragma once

#include "core/tensor.h"
#include "cuda/context.h"

namespace hotpath::cuda {

// y[M, N] = x[M, K] w[N, K]^T, then one of the epilogues. Float accumulation, one rounding.
struct GemmArgs {
  Tensor y;  // [M, N] ([M, N / 2] with silu_mul), rows may be strided; activation dtype or f32
  Tensor x;  // [M, K], rows may be strided; activation dtype
  Tensor w;  // [N, K] contiguous; any float dtype, any alignment
  const Tensor* bias = nullptr;  // [N], any float dtype, or null; added before the other epilogues
  bool accumulate = false;       // y += ...
  bool silu_mul = false;  // w rows [0, N/2) are gate, [N/2, N) up: y = silu(gate) * up
};

// THE order in which a row's K products are summed, the same in every 16-bit kernel whatever M, so
// that a row's bits do not depend on the batch: K is cut into k_segments(N, K) contiguous segments
// of segment_length() (a multiple of 64; the last may be shorter); within one, tensor-core steps of
// 16 consecutive k from a zero accumulator; the segments' sums are added in rising order in float.
inline int k_segments(int64_t n, int64_t k) { return n < 2048 && k >= 512 ? 4 : 1; }
inline int64_t segment_length(int64_t n, int64_t k) {
  const int64_t blocks = (k + 63) / 64;
  return (blocks + k_segments(n, k) - 1) / k_segments(n, k) * 64;
}

// gemm.cu. Picks one of the kernels below by M, dtype, alignment and architecture. M = 0: nothing.
void gemm(const Context& ctx, const GemmArgs& args);

// True where the 16-bit kernels can take it: x and w of one 16-bit dtype, both 16-byte aligned with
// rows of a multiple of 16 bytes, N even, y's rows 4-byte aligned for pairs of elements.
bool fits_tensor_cores(const GemmArgs& args);
void gemm_stream(const Context& ctx, const GemmArgs& args);  // M <= 64: weights streamed once
void gemm_mma(const Context& ctx, const GemmArgs& args);     // any M, sm_80 and newer
void gemm_wgmma(const Context& ctx, const GemmArgs& args);   // any M (best above 64), sm_90a
void gemm_simt(const Context& ctx, const GemmArgs& args);    // any dtypes, strides, alignment

}  // namespace hotpath::cuda

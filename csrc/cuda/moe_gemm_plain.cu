// Grouped expert product for any dtypes and alignment (f32 activations above all): no tensor cores,
// K summed one by one in rising order.

#include <algorithm>

#include "cuda/device/any_dtype.cuh"
#include "cuda/moe_gemm.h"

namespace hotpath::cuda {
namespace {

constexpr int kRows = 64, kCols = 16, kStep = 32, kThreads = 256;

// A block: 64 rows of W (with gate: 32 gate rows, then their 32 up rows) by 16 pairs. Thread (lane,
// warp): rows lane and lane + 32, pairs warp and warp + 8.
__global__ void __launch_bounds__(kThreads) plain_kernel(const MoeGemm p) {
  __shared__ float w_tile[kRows][kStep + 1];
  __shared__ float x_tile[kCols][kStep + 1];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  griddep_launch();
  griddep_wait();
  const int num_tiles = *p.num_tiles;
  const int block_outputs = p.gate ? kRows / 2 : kRows;
  const int total = num_tiles * ((p.outputs + block_outputs - 1) / block_outputs);
  for (int work = blockIdx.x; work < total; work += gridDim.x) {
    const MoeTile tile = p.tiles[work % num_tiles];
    const int first = work / num_tiles * block_outputs;
    const int64_t expert_row = static_cast<int64_t>(tile.expert) * p.outputs * (p.gate ? 2 : 1);
    float sum[2][2] = {};
    for (int k0 = 0; k0 < p.k; k0 += kStep) {
      const bool inside = k0 + lane < p.k;
      for (int r = warp; r < kRows; r += kThreads / 32) {
        const int output = first + (p.gate ? r % 32 : r);
        const int64_t row = expert_row + output + (p.gate ? r / 32 * p.outputs : 0);
        w_tile[r][lane] = inside && output < p.outputs
                              ? load_any(p.w, p.w_dtype, row * p.k + k0 + lane)
                              : 0.0f;
      }
      for (int c = warp; c < kCols; c += kThreads / 32) {
        float v = 0;
        if (inside && c < tile.count) {
          const int place = tile.begin + c;
          const int64_t row = p.x_rows ? p.x_rows[place] : place;
          v = load_any(p.x, p.dtype, row * p.x_stride + k0 + lane);
        }
        x_tile[c][lane] = v;
      }
      __syncthreads();
#pragma unroll
      for (int k = 0; k < kStep; ++k)
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int j = 0; j < 2; ++j)
            sum[i][j] = fmaf(w_tile[lane + 32 * i][k], x_tile[warp + 8 * j][k], sum[i][j]);
      __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int c = warp + 8 * j;
      if (c >= tile.count) continue;
      const int place = tile.begin + c;
      const int64_t y_row = static_cast<int64_t>(p.y_rows ? p.y_rows[place] : place) * p.outputs;
      if (p.gate) {
        if (first + lane < p.outputs)
          store_any(p.y, p.dtype, y_row + first + lane, silu(sum[0][j]) * sum[1][j]);
      } else {
#pragma unroll
        for (int i = 0; i < 2; ++i)
          if (first + lane + 32 * i < p.outputs)
            static_cast<float*>(p.y)[y_row + first + lane + 32 * i] = sum[i][j];
      }
    }
  }
}

}  // namespace

void moe_gemm_plain(const Context& ctx, const MoeGemm& p) {
  const int64_t work =
      static_cast<int64_t>(p.max_tiles) * ceil_div(p.outputs, p.gate ? kRows / 2 : kRows);
  launch(ctx, plain_kernel, dim3(static_cast<unsigned>(std::min<int64_t>(work, 8 * ctx.num_sms))),
         dim3(kThreads), 0, p);
}

}  // namespace hotpath::cuda

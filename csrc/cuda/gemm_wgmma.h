#pragma once

#include <algorithm>

#include "cuda/gemm.h"

namespace hotpath::cuda {

// How a GEMM is cut up for the wgmma kernel. A tile is tile_m rows of x times tile_n rows of w, one
// block's work at a time. A cluster is cluster_m x cluster_n neighbouring tiles: the blocks of one
// column share their w tile and those of one row their x tile through multicast.
struct WgmmaPlan {
  int tile_m, tile_n;        // see kWgmmaTiles in gemm_wgmma_sm90.cu
  int cluster_m, cluster_n;  // product 1, 2 or 4
  int group = 8;  // this many clusters along m are worked on together, so that w comes from L2
};

// The group of clusters along m whose rows of x stay in L2 while w passes by.
inline int wgmma_group(int tile_m, int cluster_m, int64_t k) {
  const int64_t rows = std::max<int64_t>(2048, (int64_t{16} << 20) / (2 * k));
  return static_cast<int>(std::max<int64_t>(1, rows / (tile_m * cluster_m)));
}

// The plan with the least estimated time.
WgmmaPlan plan_wgmma(const Context& ctx, int64_t m, int64_t n, int64_t k, bool silu_mul);
// gemm_wgmma by a given plan. Every plan gives the same bits.
void gemm_wgmma_as(const Context& ctx, const GemmArgs& args, const WgmmaPlan& plan);

// What the kernel needs besides its three tensor maps.
struct WgmmaParams {
  void* y;
  const void* bias;      // or null
  int64_t y_stride;      // elements
  int m, n, n_out;       // n_out: columns of y, n / 2 with silu_mul
  int k_blocks, segment_blocks;
  int units_m, units_n, group;  // the grid of clusters' tiles and how it is walked
  int cluster_m, cluster_n;
  int w_box;          // rows of w in one copy
  int chunk_columns;  // columns of y in one store by the copy engine; 0: plain stores
  bool accumulate, silu_mul, y_f32;
  bool y_pairs;  // y_pairs: two columns may be stored at once
  DType bias_dtype;
};

// Defined in gemm_wgmma_{bf16,f16}_sm90.cu, one translation unit per element type of x and w.
struct WgmmaMaps;  // device/gemm_wgmma.cuh
template <typename T>
void launch_wgmma(const Context& ctx, const WgmmaPlan& plan, bool segmented, const WgmmaMaps& maps,
                  const WgmmaParams& params);

}  // namespace hotpath::cuda

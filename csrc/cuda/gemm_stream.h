#pragma once

#include "cuda/gemm.h"

namespace hotpath::cuda {

// How gemm_stream_sm90 cuts the work. A unit is the 16 rows of W that one tensor-core product
// takes: 16 outputs, or with silu_mul 8 gate rows and their 8 up rows; thin units are 8 outputs,
// twice, which spreads a small matrix over more multiprocessors.
struct StreamConfig {
  bool thin = false;
  int row_groups = 1;     // blocks that share a run of units and take part of x's rows each
  int blocks_per_sm = 1;  // where K has one segment; else a block has one unit
  int most_warps = 4;     // units a block works on at once, at most; one warp (per k segment) each
  int stage_chunks = 4;   // blocks of 64 k in a stage of the ring
  int ring_bytes = 100 << 10;  // at most; two blocks of successive kernels should fit in an SM
  bool evict_first = true;  // L2 policy of W
};

// M <= 64, K a multiple of 64, fits_tensor_cores(args), ctx.hopper and ctx.encode_tiled.
constexpr int kStreamMostRows = 64;
StreamConfig pick_stream_config(const Context& ctx, const GemmArgs& args);
// False, and nothing done, where the configuration does not suit the shape.
bool gemm_stream_sm90(const Context& ctx, const GemmArgs& args, const StreamConfig& config);

// Throws what it expected and received unless fits_tensor_cores(args).
void check_fits_tensor_cores(const char* kernel, const GemmArgs& args);

}  // namespace hotpath::cuda

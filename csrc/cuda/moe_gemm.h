#pragma once

#include "cuda/context.h"
#include "ops/ops.h"

namespace hotpath::cuda {

// Inside of moe_experts. A pair is one (token, slot) of the routing: pair = token * top_k + slot.
// Every pair's gate_up and down results are computed apart, K summed in rising steps of 16 (tensor
// cores) or 1 (plain), whichever kernel does it; they are added per token in slot order at the end.

// Columns (pairs) of a tile that one block computes; a tile's pairs share an expert.
struct MoeTile {
  int32_t expert, begin, count, unused;  // pairs [begin, begin + count) of the sorted ones
};

// Where moe_experts keeps its intermediate results for one chunk of tokens; all in the workspace.
struct MoeBuffers {
  int32_t* num_tiles;
  MoeTile* tiles;
  int32_t* rank;    // [pairs] place among the pairs of the same expert
  int32_t* pairs;   // [pairs] sorted by expert
  int32_t* tokens;  // [pairs] their tokens
  void* inner;      // [pairs, I] silu(gate) * up, activation dtype; by sorted place (kStream: pair)
  float* outs;      // [pairs, H] by pair
};

// Which kernels run; the result does not depend on it, except that kPlain rounds differently.
enum class MoePlan {
  kStream,   // few pairs: each pair's weights streamed by its own warps, slots added in the block
  kTile32,   // tensor-core tiles of 32 pairs
  kTile64,   // ... of 64
  kTile128,  // ... of 128
  kWgmma,    // Hopper's tensor cores, tiles of up to 320
  kPlain,    // any dtypes and alignment
};
int moe_tile_columns(MoePlan plan);
bool moe_fits_tensor_cores(const MoeExperts& args);
bool moe_fits_wgmma(const Context& ctx, const MoeExperts& args);
constexpr int kMoeStreamSlots = 8;  // the most slots that kStream takes

// moe.cu: with a given plan (which must fit).
void moe_experts(const Context& ctx, const MoeExperts& args, void* workspace, MoePlan plan);

// moe_stream.cu: the whole layer.
void moe_stream(const Context& ctx, const MoeExperts& args, void* inner);

// One grouped product y[row] = w[expert] x[row'] over all tiles, with SiLU gate or without.
struct MoeGemm {
  const void* w;  // [E, gate ? 2 * outputs : outputs, k]
  const void* x;
  void* y;
  const int32_t* x_rows;  // row of x of each sorted place; null: the place itself
  const int32_t* y_rows;  // same for y
  const MoeTile* tiles;
  const int32_t* num_tiles;
  int64_t x_stride;  // elements
  int experts, outputs, k;
  bool gate;         // y (activation dtype) = silu(gate) * up; else y is f32
  int max_tiles;     // upper bound of *num_tiles
  DType dtype;       // of x and, with gate, of y
  DType w_dtype;
};
void moe_gemm_mma(const Context& ctx, const MoeGemm& args, MoePlan plan);  // moe_gemm.cu
void moe_gemm_wgmma(const Context& ctx, const MoeGemm& args);              // moe_wgmma_sm90.cu
void moe_gemm_plain(const Context& ctx, const MoeGemm& args);              // moe_gemm_plain.cu

}  // namespace hotpath::cuda

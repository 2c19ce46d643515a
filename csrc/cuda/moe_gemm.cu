// Grouped expert product on tensor cores, sm_80 and newer. Blocks stay and walk over the work,
// (tile of pairs) x (tile of weight rows), both read on the device; one cp.async ring runs through
// all of a block's work, so that the next tile's loads are in flight while one ends. 16 rows of W
// are the A operand of mma.sync, 8 pairs the B operand; K in rising steps of 16 from zero.

#include <algorithm>

#include "cuda/device/mma.cuh"
#include "cuda/moe_gemm.h"

namespace hotpath::cuda {
namespace {

constexpr int kChunk = 64;  // k of a stage; a row of a stage is 128 bytes

// kRows of W by kCols pairs per block, cut by kWarpsN x kWarpsM warps.
template <int kRows_, int kCols_, int kWarpsN_, int kWarpsM_, int kStages_, int kBlocksPerSm_>
struct Tiling {
  static constexpr int kRows = kRows_, kCols = kCols_, kWarpsN = kWarpsN_, kWarpsM = kWarpsM_;
  static constexpr int kStages = kStages_, kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kThreads = 32 * kWarpsN * kWarpsM;
  static constexpr int kUnits = kRows / kWarpsN / 16;  // per warp
  static constexpr int kBlocks = kCols / kWarpsM / 8;  // per warp
  static constexpr int kRowStep = kThreads / 8;        // rows that one round of copies takes
  static constexpr int kWeightRounds = kRows / kRowStep, kPairRounds = kCols / kRowStep;
  static constexpr int kStageBytes = (kRows + kCols) * kChunk * 2;
  static constexpr int kSmem = kStages * kStageBytes;
  static_assert(kRows % kRowStep == 0 && kCols % kRowStep == 0 && kRowStep % 16 == 0);
};

// Walks a block's work ahead of the products and issues the copies.
template <typename T, typename Tile>
struct Copier {
  const MoeGemm& p;
  const int num_tiles, total, steps;
  const uint32_t ring;
  int work, step = 0, slot = 0;
  const T* w = nullptr;           // this thread's piece of round 0
  const T* x[Tile::kPairRounds];  // null: no such pair
  int first_output = 0;           // of this thread's rows

  __device__ __forceinline__ Copier(const MoeGemm& p_, int num_tiles_, int total_, int steps_,
                                    uint32_t ring_)
      : p(p_), num_tiles(num_tiles_), total(total_), steps(steps_), ring(ring_),
        work(static_cast<int>(blockIdx.x)) {
    if (work < total) start();
  }

  // Outputs that one round of rows advances by.
  __device__ __forceinline__ int round_outputs() const {
    return p.gate ? Tile::kRowStep / 2 : Tile::kRowStep;
  }

  __device__ __forceinline__ void start() {
    const int row = threadIdx.x / 8, group = threadIdx.x % 8;
    const MoeTile tile = p.tiles[work % num_tiles];
    const int n0 = work / num_tiles * (p.gate ? Tile::kRows / 2 : Tile::kRows);
    // With gate, 16 rows of the tile are 8 gate rows and their 8 up rows.
    first_output = n0 + (p.gate ? row / 16 * 8 + row % 8 : row);
    int64_t w_row = static_cast<int64_t>(tile.expert) * p.outputs * (p.gate ? 2 : 1) + first_output;
    if (p.gate && row / 8 % 2) w_row += p.outputs;
    w = static_cast<const T*>(p.w) + w_row * p.k + group * 8;
#pragma unroll
    for (int i = 0; i < Tile::kPairRounds; ++i) {
      const int c = i * Tile::kRowStep + row, place = tile.begin + c;
      x[i] = nullptr;
      if (c < tile.count)
        x[i] = static_cast<const T*>(p.x) + (p.x_rows ? p.x_rows[place] : place) * p.x_stride +
               group * 8;
    }
  }

  // The next stage; does nothing but close an empty group once the work is done.
  __device__ __forceinline__ void copy() {
    if (work < total) {
      const int row = threadIdx.x / 8, group = threadIdx.x % 8, k = step * kChunk;
      const bool inside = k + group * 8 < p.k;
      const uint32_t to =
          ring + slot * Tile::kStageBytes + row * 128 + ((group ^ row) & 7) * 16;
      const int64_t w_step = static_cast<int64_t>(round_outputs()) * p.k;
#pragma unroll
      for (int i = 0; i < Tile::kWeightRounds; ++i) {
        const bool copied = inside && first_output + i * round_outputs() < p.outputs;
        cp_async16(to + i * Tile::kRowStep * 128,
                   copied ? w + i * w_step + k : static_cast<const T*>(p.w), copied ? 16 : 0);
      }
#pragma unroll
      for (int i = 0; i < Tile::kPairRounds; ++i) {
        const bool copied = inside && x[i];
        cp_async16(to + (Tile::kRows + i * Tile::kRowStep) * 128,
                   copied ? x[i] + k : static_cast<const T*>(p.w), copied ? 16 : 0);
      }
      if (++step == steps) {
        step = 0;
        work += gridDim.x;
        if (work < total) start();
      }
    }
    cp_async_commit();
    slot = slot + 1 == Tile::kStages ? 0 : slot + 1;
  }
};

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerSm)
    grouped_kernel(const MoeGemm p) {
  extern __shared__ __align__(128) char smem[];
  constexpr int kUnits = Tile::kUnits, kBlocks = Tile::kBlocks, kStages = Tile::kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_n = warp % Tile::kWarpsN, warp_m = warp / Tile::kWarpsN;
  const int unit_outputs = p.gate ? 8 : 16;
  const int steps = (p.k + kChunk - 1) / kChunk;
  griddep_launch();
  griddep_wait();

  const int num_tiles = *p.num_tiles;
  const int block_outputs = Tile::kRows / 16 * unit_outputs;
  const int total = num_tiles * ((p.outputs + block_outputs - 1) / block_outputs);
  const uint32_t ring = smem_address(smem);
  Copier<T, Tile> copier(p, num_tiles, total, steps, ring);
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) copier.copy();

  const uint32_t w_row = (warp_n * kUnits * 16 + (lane & 15)) * 128;
  const uint32_t x_row = (Tile::kRows + warp_m * kBlocks * 8 + (lane & 7)) * 128;
  const uint32_t w_swizzle = static_cast<uint32_t>((lane / 16 ^ (lane & 7)) * 16);
  const uint32_t x_swizzle = static_cast<uint32_t>((lane / 8 ^ (lane & 7)) * 16);
  int slot = 0;
  for (int work = blockIdx.x; work < total; work += gridDim.x) {
    const MoeTile tile = p.tiles[work % num_tiles];
    float sum[kUnits][kBlocks][4] = {};
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<kStages - 2>();
      __syncthreads();
      copier.copy();
      const uint32_t stage = ring + slot * Tile::kStageBytes;
      slot = slot + 1 == kStages ? 0 : slot + 1;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t x[kBlocks][4];
#pragma unroll
        for (int b = 0; b < kBlocks; ++b)
          ldmatrix_x4(x[b], stage + x_row + b * 1024 + (x_swizzle ^ half * 64));
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          uint32_t w[kUnits][4];
#pragma unroll
          for (int u = 0; u < kUnits; ++u)
            ldmatrix_x4(w[u], stage + w_row + u * 2048 + (w_swizzle ^ (half * 64 + j * 32)));
#pragma unroll
          for (int u = 0; u < kUnits; ++u)
#pragma unroll
            for (int b = 0; b < kBlocks; ++b)
              mma_16816<T>(sum[u][b], w[u], x[b][2 * j], x[b][2 * j + 1]);
        }
      }
    }

    const int n0 = work / num_tiles * block_outputs + warp_n * kUnits * unit_outputs + lane / 4;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        const int c = (warp_m * kBlocks + b) * 8 + lane % 4 * 2 + side;
        if (c >= tile.count) continue;
        const int place = tile.begin + c;
        const int64_t at = static_cast<int64_t>(p.y_rows ? p.y_rows[place] : place) * p.outputs;
#pragma unroll
        for (int u = 0; u < kUnits; ++u) {
          const int n = n0 + u * unit_outputs;
          if (n >= p.outputs) continue;
          if (p.gate) {
            static_cast<T*>(p.y)[at + n] =
                from_float<T>(silu(sum[u][b][side]) * sum[u][b][side + 2]);
          } else {
            static_cast<float*>(p.y)[at + n] = sum[u][b][side];
            if (n + 8 < p.outputs) static_cast<float*>(p.y)[at + n + 8] = sum[u][b][side + 2];
          }
        }
      }
    }
  }
}

template <typename T, typename Tile>
void launch_tiles(const Context& ctx, const MoeGemm& p) {
  static const bool allowed =
      (allow_smem(grouped_kernel<T, Tile>, Tile::kSmem), true);
  static_cast<void>(allowed);
  const int64_t work = static_cast<int64_t>(p.max_tiles) *
                       ceil_div(p.outputs, p.gate ? Tile::kRows / 2 : Tile::kRows);
  const int64_t resident = int64_t{Tile::kBlocksPerSm} * ctx.num_sms;
  launch(ctx, grouped_kernel<T, Tile>, dim3(static_cast<unsigned>(std::min(work, resident))),
         dim3(Tile::kThreads), Tile::kSmem, p);
}

template <typename T>
void grouped(const Context& ctx, const MoeGemm& p, MoePlan plan) {
  switch (plan) {
    case MoePlan::kTile128:
      return launch_tiles<T, Tiling<128, 128, 2, 4, 3, 2>>(ctx, p);
    case MoePlan::kTile64:
      return launch_tiles<T, Tiling<128, 64, 4, 2, 4, 2>>(ctx, p);
    default:
      return launch_tiles<T, Tiling<64, 32, 4, 1, 6, 3>>(ctx, p);
  }
}

}  // namespace

void moe_gemm_mma(const Context& ctx, const MoeGemm& p, MoePlan plan) {
  if (p.dtype == DType::kBF16)
    grouped<bf16>(ctx, p, plan);
  else
    grouped<f16>(ctx, p, plan);
}

}  // namespace hotpath::cuda

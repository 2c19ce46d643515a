// Grouped expert product on Hopper, for many pairs per expert: wgmma with 64 rows of W as A and up
// to 160 pairs as B. One warpgroup fills a ring of shared-memory stages, W by TMA and the scattered
// rows of x by cp.async; two warpgroups multiply 128 rows of W each and store. The two blocks of a
// cluster share a tile's pairs and take the same W, of which each fetches half for both: L2 could not
// feed them otherwise. Same sums as moe_gemm.cu.

#include <algorithm>
#include <array>

#include "cuda/device/mma.cuh"
#include "cuda/device/wgmma.cuh"
#include "cuda/moe_gemm.h"

namespace hotpath::cuda {
namespace {

constexpr int kRows = 256, kCols = 160, kChunk = 64, kStages = 4;
constexpr int kCluster = 2;
constexpr int kThreads = 384;                // producer warpgroup, two consumers
constexpr int kWBytes = kRows * kChunk * 2;  // of a stage; 16 rows: 8 gate and their 8 up rows
constexpr int kXBytes = kCols * kChunk * 2;
constexpr int kBarriers = kStages * (kWBytes + kXBytes);
constexpr int kSmem = kBarriers + 2 * kStages * 8 + 1024;  // 1024: alignment of the swizzle
constexpr int kLag = 2;     // stages whose copies a producer thread leaves in flight
constexpr int kRounds = kCols / 16;

// Into both blocks of the cluster, at the same offsets.
__device__ __forceinline__ void load_weights(uint32_t smem, const CUtensorMap* map, uint32_t bar,
                                             int k, int block, int expert) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
      "cluster [%0], [%1, {%3, %6, %6, %4, %5}], [%2], %7;" ::"r"(smem),
      "l"(map), "r"(bar), "r"(k), "r"(block), "r"(expert), "r"(0),
      "h"(static_cast<uint16_t>((1 << kCluster) - 1))
      : "memory");
}

// This block's part of a tile.
__device__ __forceinline__ MoeTile my_tile(const MoeGemm& p, int index, uint32_t rank) {
  MoeTile tile = p.tiles[index];
  const int share = (tile.count + kCluster - 1) / kCluster;
  const int skipped = static_cast<int>(rank) * share;
  tile.begin += skipped;
  tile.count = min(share, tile.count - skipped);
  return tile;
}

struct Ring {
  uint32_t w, x, full, empty;
  int slot = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ explicit Ring(uint32_t smem)
      : w(smem), x(smem + kStages * kWBytes), full(smem + kBarriers), empty(full + kStages * 8) {}
  __device__ __forceinline__ void advance() {
    if (++slot == kStages) {
      slot = 0;
      parity ^= 1;
    }
  }
};

__device__ __forceinline__ void produce(const CUtensorMap& map, const MoeGemm& p, Ring ring,
                                        int num_tiles, int total, uint32_t rank) {
  const int thread = threadIdx.x % 128, row = thread / 8, group = thread % 8;
  const int steps = (p.k + kChunk - 1) / kChunk;
  const uint32_t row_vectors = static_cast<uint32_t>(p.x_stride / 8);  // 16-byte ones
  const uint32_t to_row = ring.x + row * 128 + ((group ^ row) & 7) * 16;
  const uint4* x = static_cast<const uint4*>(p.x) + group;
  int issued = 0, ready_slot = 0;
  const auto make_ready = [&] {  // the oldest stage not yet handed over has all of its copies
    fence_async_proxy();
    mbarrier_arrive(ring.full + ready_slot * 8);
    ready_slot = ready_slot + 1 == kStages ? 0 : ready_slot + 1;
  };
  for (int work = blockIdx.x / kCluster; work < total; work += gridDim.x / kCluster) {
    const MoeTile tile = my_tile(p, work % num_tiles, rank);
    const int part = static_cast<int>(rank) * (kRows / kCluster);  // of W's rows, fetched here
    const int block = (work / num_tiles * kRows + part) / 16;
    uint32_t offsets[kRounds];
#pragma unroll
    for (int i = 0; i < kRounds; ++i) {
      const int place = tile.begin + i * 16 + row;
      offsets[i] = 0;
      if (i * 16 + row < tile.count)
        offsets[i] = (p.x_rows ? p.x_rows[place] : place) * row_vectors;
    }
    for (int step = 0; step < steps; ++step) {
      mbarrier_wait(ring.empty + ring.slot * 8, ring.parity ^ 1);
      if (thread == 0) {
        mbarrier_expect(ring.full + ring.slot * 8, kWBytes);
        load_weights(ring.w + ring.slot * kWBytes + part * kChunk * 2, &map,
                     ring.full + ring.slot * 8, step * kChunk, block, tile.expert);
      }
      const int bytes = step * kChunk + group * 8 < p.k ? 16 : 0;
      const uint4* from = bytes ? x + step * (kChunk / 8) : x - group;
#pragma unroll
      for (int i = 0; i < kRounds; ++i)
        if (i * 16 + row < tile.count)
          cp_async16(to_row + ring.slot * kXBytes + i * 2048, from + offsets[i], bytes);
      cp_async_commit();
      if (++issued > kLag) {
        cp_async_wait<kLag>();
        make_ready();
      }
      ring.advance();
    }
  }
  cp_async_wait<0>();
  for (int i = min(issued, kLag); i > 0; --i) make_ready();
}

// One tile of at most N pairs by this warpgroup's 128 rows.
template <typename T, int N>
__device__ __forceinline__ void multiply_tile(const MoeGemm& p, Ring& ring, const MoeTile& tile,
                                              int block_row) {
  const int thread = threadIdx.x % 128, lane = thread % 32, half = threadIdx.x / 128 - 1;
  const int steps = (p.k + kChunk - 1) / kChunk;
  const uint64_t w_base = swizzle128_descriptor(ring.w + half * 128 * 128);
  const uint64_t x_base = swizzle128_descriptor(ring.x);
  // Thread i tells block i of the cluster that a stage is free.
  const uint32_t empty = cluster_address(ring.empty, thread % kCluster);
  float acc[2][N / 2];
  const auto multiply = [&](bool first) {
    mbarrier_wait(ring.full + ring.slot * 8, ring.parity);
    const uint64_t a = w_base + ring.slot * (kWBytes >> 4);
    const uint64_t b = x_base + ring.slot * (kXBytes >> 4);
    wgmma_fence();
#pragma unroll
    for (int j = 0; j < kChunk / 16; ++j)
#pragma unroll
      for (int m = 0; m < 2; ++m)
        Wgmma<T, N>::mma(acc[m], a + m * (64 * 128 >> 4) + 2 * j, b + 2 * j, !first || j > 0);
    wgmma_commit();
  };
  // The first step is apart: "add or not" must be known when compiling.
  multiply(true);
  int previous = ring.slot;
  ring.advance();
  for (int step = 1; step < steps; ++step) {
    multiply(false);
    wgmma_wait<1>();
    if (thread < kCluster) mbarrier_arrive_remote(empty + previous * 8);
    previous = ring.slot;
    ring.advance();
  }
  wgmma_wait<0>();
  if (thread < kCluster) mbarrier_arrive_remote(empty + previous * 8);
  wgmma_pin(acc[0]);
  wgmma_pin(acc[1]);

  const int unit = block_row / 16 + half * 8 + thread / 32;  // of 16 rows; second half: + 4
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < N / 8; ++i)
#pragma unroll
    for (int side = 0; side < 2; ++side) {
      const int c = i * 8 + t * 2 + side;
      if (c >= tile.count) continue;
      const int place = tile.begin + c;
      const int64_t at = static_cast<int64_t>(p.y_rows ? p.y_rows[place] : place) * p.outputs;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const float low = acc[m][4 * i + side], high = acc[m][4 * i + 2 + side];
        if (p.gate) {
          const int n = (unit + 4 * m) * 8 + g;
          if (n < p.outputs) static_cast<T*>(p.y)[at + n] = from_float<T>(silu(low) * high);
        } else {
          const int n = (unit + 4 * m) * 16 + g;
          if (n < p.outputs) {  // outputs is a multiple of 16
            static_cast<float*>(p.y)[at + n] = low;
            static_cast<float*>(p.y)[at + n + 8] = high;
          }
        }
      }
    }
}

template <typename T>
__global__ void __cluster_dims__(kCluster, 1, 1) __launch_bounds__(kThreads, 1)
    wgmma_kernel(const __grid_constant__ CUtensorMap map, const MoeGemm p) {
  extern __shared__ char smem[];
  Ring ring((smem_address(smem) + 1023) & ~1023u);
  griddep_launch();
  if (threadIdx.x == 0) {
    prefetch_tensor_map(&map);
    for (int s = 0; s < kStages; ++s) {
      mbarrier_init(ring.full + s * 8, 128 + 1);  // each producer thread, and TMA's bytes
      mbarrier_init(ring.empty + s * 8, 2 * kCluster);
    }
    mbarrier_fence_init();
  }
  cluster_sync();
  const uint32_t rank = cluster_rank();
  griddep_wait();
  const int num_tiles = *p.num_tiles;
  const int block_outputs = p.gate ? kRows / 2 : kRows;
  const int total = num_tiles * ((p.outputs + block_outputs - 1) / block_outputs);
  if (threadIdx.x < 128) {
    setmaxnreg_dec<56>();
    produce(map, p, ring, num_tiles, total, rank);
  } else {
    setmaxnreg_inc<224>();
    for (int work = blockIdx.x / kCluster; work < total; work += gridDim.x / kCluster) {
      const MoeTile tile = my_tile(p, work % num_tiles, rank);
      const int block_row = work / num_tiles * kRows;
      if (tile.count <= 32)
        multiply_tile<T, 32>(p, ring, tile, block_row);
      else if (tile.count <= 64)
        multiply_tile<T, 64>(p, ring, tile, block_row);
      else if (tile.count <= 96)
        multiply_tile<T, 96>(p, ring, tile, block_row);
      else if (tile.count <= 128)
        multiply_tile<T, 128>(p, ring, tile, block_row);
      else if (tile.count <= 144)
        multiply_tile<T, 144>(p, ring, tile, block_row);
      else
        multiply_tile<T, kCols>(p, ring, tile, block_row);
    }
  }
  cluster_sync();  // the other block may still write to this one's shared memory
}

// W as [expert][16-row block][gate, up (or rows 0-7, 8-15)][8 rows][k], so that one copy brings
// blocks of 16 rows in the order that the accumulators want.
CUtensorMap weight_map(const Context& ctx, const MoeGemm& p) {
  const cuuint64_t k = p.k, outputs = p.outputs, row = k * 2;
  const cuuint64_t block_outputs = p.gate ? 8 : 16;
  const cuuint64_t expert_rows = p.gate ? 2 * outputs : outputs;
  const std::array<cuuint64_t, 5> sizes{k, 8, 2, outputs / block_outputs,
                                        static_cast<cuuint64_t>(p.experts)};
  const std::array<cuuint64_t, 4> strides{row, (p.gate ? outputs : 8) * row, block_outputs * row,
                                          expert_rows * row};
  const std::array<cuuint32_t, 5> box{kChunk, 8, 2, kRows / 16 / kCluster, 1}, ones{1, 1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status = ctx.encode_tiled(
      &map,
      p.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      5, const_cast<void*>(p.w), sizes.data(), strides.data(), box.data(), ones.data(),
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "moe_gemm_wgmma: tensor map: CUresult ", static_cast<int>(status));
  return map;
}

template <typename T>
void launch_wgmma_moe(const Context& ctx, const MoeGemm& p) {
  static const bool allowed = (allow_smem(wgmma_kernel<T>, kSmem), true);
  static_cast<void>(allowed);
  const int64_t work =
      static_cast<int64_t>(p.max_tiles) * ceil_div(p.outputs, p.gate ? kRows / 2 : kRows);
  const int64_t clusters = std::min<int64_t>(work, ctx.num_sms / kCluster);
  launch(ctx, wgmma_kernel<T>, dim3(static_cast<unsigned>(clusters * kCluster)), dim3(kThreads),
         kSmem, weight_map(ctx, p), p);
}

}  // namespace

void moe_gemm_wgmma(const Context& ctx, const MoeGemm& p) {
  if (p.dtype == DType::kBF16)
    launch_wgmma_moe<bf16>(ctx, p);
  else
    launch_wgmma_moe<f16>(ctx, p);
}

}  // namespace hotpath::cuda

#pragma once

// The wgmma GEMM kernel and its launcher. Two producer warps, one for w and one for x, fill a ring
// of shared-memory stages by TMA; one warpgroup per 64 rows of the tile multiplies and stores.
// Blocks are persistent: while the warpgroups store a tile, the producers load the next one.

#include <algorithm>

#include "cuda/device/wgmma.cuh"
#include "cuda/gemm_wgmma.h"

namespace hotpath::cuda {

struct WgmmaMaps {
  CUtensorMap x, w, y;  // y: only where chunk_columns != 0
};

// Shared memory, each part 1024-byte aligned because of the swizzle: kStages x tiles [tile_m][64],
// kStages w tiles [tile_n][64], two store buffers of [16][64] per consumer warp, the barriers.
template <int kTileM, int kTileN>
struct WgmmaLayout {
  static constexpr int kConsumers = kTileM / 64;  // warpgroups
  static constexpr int kThreads = (kConsumers + 1) * 128;
  static constexpr int kXBytes = kTileM * 128, kWBytes = kTileN * 128;
  static constexpr int kStoreBytes = kConsumers * 4 * 2 * 2048;
  static constexpr int kLimit = 232448 - 1024 - 256;  // what a block can have, less alignment
  static constexpr int kStages = std::min(12, (kLimit - kStoreBytes) / (kXBytes + kWBytes));
  static constexpr int kW = kStages * kXBytes;
  static constexpr int kStore = kW + kStages * kWBytes;
  static constexpr int kBarriers = kStore + kStoreBytes;
  static constexpr int kBytes = kBarriers + 256 + 1024;
};

struct WgmmaTile {
  int m, n;  // tile coordinates
};
// Which tile this block of cluster `unit` computes.
__device__ __forceinline__ WgmmaTile wgmma_tile(const WgmmaParams& p, int unit, int rank_m,
                                                int rank_n) {
  const int per_group = p.group * p.units_n;
  const int first_m = unit / per_group * p.group;
  const int rows = min(p.units_m - first_m, p.group);
  const int inside = unit % per_group;
  return {(first_m + inside % rows) * p.cluster_m + rank_m,
          inside / rows * p.cluster_n + rank_n};
}

__device__ __forceinline__ float load_as_float(const void* p, DType dtype, int i) {
  if (dtype == DType::kF32) return static_cast<const float*>(p)[i];
  if (dtype == DType::kBF16) return to_float(static_cast<const bf16*>(p)[i]);
  return to_float(static_cast<const f16*>(p)[i]);
}

// Bias of every column of the tile is added to acc. A lane fetches the columns lane, lane + 32, ...
// and the warp exchanges them.
template <int kTileN>
__device__ __forceinline__ void wgmma_add_bias(float (&acc)[kTileN / 2], const WgmmaParams& p,
                                               int tile_n, int lane) {
  constexpr int kFetches = (kTileN + 31) / 32;
  float bias[kFetches];
#pragma unroll
  for (int i = 0; i < kFetches; ++i) {
    const int column = i * 32 + lane;
    int row = tile_n * kTileN + column;  // of w
    if (p.silu_mul) {
      const bool up = column >= kTileN / 2;
      const int inside = tile_n * (kTileN / 2) + column - (up ? kTileN / 2 : 0);
      row = inside < p.n_out ? inside + (up ? p.n_out : 0) : p.n;
    }
    bias[i] = row < p.n ? load_as_float(p.bias, p.bias_dtype, row) : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kTileN / 8; ++i) {
    const int source = i % 4 * 8 + lane % 4 * 2;
    const float b0 = __shfl_sync(0xffffffffu, bias[i / 4], source);
    const float b1 = __shfl_sync(0xffffffffu, bias[i / 4], source + 1);
    acc[4 * i] += b0;
    acc[4 * i + 1] += b1;
    acc[4 * i + 2] += b0;
    acc[4 * i + 3] += b1;
  }
}

template <typename Y>
__device__ __forceinline__ float2 load_pair(const Y* p, bool pairs, bool two);
template <>
__device__ __forceinline__ float2 load_pair<float>(const float* p, bool pairs, bool two) {
  if (pairs && two) return *reinterpret_cast<const float2*>(p);
  return make_float2(p[0], two ? p[1] : 0.0f);
}
template <typename Y>
__device__ __forceinline__ float2 load_pair(const Y* p, bool pairs, bool two) {
  if (pairs && two) return unpack2<Y>(*reinterpret_cast<const uint32_t*>(p));
  return make_float2(to_float(p[0]), two ? to_float(p[1]) : 0.0f);
}
template <typename Y>
__device__ __forceinline__ void store_pair(Y* p, float a, float b, bool pairs, bool two) {
  if (pairs && two) {
    if constexpr (sizeof(Y) == 4)
      *reinterpret_cast<float2*>(p) = make_float2(a, b);
    else
      *reinterpret_cast<uint32_t*>(p) = pack2<Y>(a, b);
  } else {
    p[0] = from_float<Y>(a);
    if (two) p[1] = from_float<Y>(b);
  }
}

// acc += y, for the store by the copy engine; y has pairs there. row: of this lane's first
// accumulators; column: of the tile.
template <typename T, int kTileN>
__device__ __forceinline__ void wgmma_add_residual(float (&acc)[kTileN / 2], const WgmmaParams& p,
                                                   int row, int column, int columns, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + half * 8;
    if (r >= p.m) continue;
    const T* line = static_cast<const T*>(p.y) + r * p.y_stride;
#pragma unroll
    for (int i = 0; i < kTileN / 8; ++i) {
      const int c = column + i * 8 + lane % 4 * 2;
      if (i * 8 >= columns || c >= p.n_out) continue;
      const float2 old = load_pair(line + c, true, true);
      acc[4 * i + 2 * half] += old.x;
      acc[4 * i + 2 * half + 1] += old.y;
    }
  }
}

// y = acc (+ y) straight between registers and global memory, any alignment.
template <typename Y, int kTileN>
__device__ __forceinline__ void wgmma_direct_store(float (&acc)[kTileN / 2], const WgmmaParams& p,
                                                   int row, int column, int columns, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = row + half * 8;
    if (r >= p.m) continue;
    Y* line = static_cast<Y*>(p.y) + r * p.y_stride;
#pragma unroll
    for (int i = 0; i < kTileN / 8; ++i) {
      const int c = column + i * 8 + lane % 4 * 2;
      if (i * 8 >= columns || c >= p.n_out) continue;
      const bool two = c + 1 < p.n_out;
      float a = acc[4 * i + 2 * half], b = acc[4 * i + 2 * half + 1];
      if (p.accumulate) {
        const float2 old = load_pair(line + c, p.y_pairs, two);
        a += old.x;
        b += old.y;
      }
      store_pair(line + c, a, b, p.y_pairs, two);
    }
  }
}

// 16-bit y through this warp's two store buffers: chunks of 16 rows x chunk_columns, swizzled like
// the tensor map of y, then one bulk store each, which also drops rows and columns outside of y.
template <typename T, int kTileN>
__device__ __forceinline__ void wgmma_bulk_store(const float (&acc)[kTileN / 2],
                                                 const WgmmaParams& p, const CUtensorMap* map,
                                                 uint32_t buffers, int row, int column, int columns,
                                                 int lane) {
  const int per_chunk = p.chunk_columns / 16;      // 16-column steps
  const uint32_t swizzle = p.chunk_columns / 8 - 1;  // 16-byte pieces that trade places
  const uint32_t line = lane % 16 * p.chunk_columns * 2;
#pragma unroll
  for (int i = 0; i < kTileN / 16; ++i) {
    if (i * 16 >= columns) break;
    const int step = i & (per_chunk - 1);
    const uint32_t buffer = buffers + (i / per_chunk % 2) * 2048;
    if (step == 0) {
      if (lane == 0) bulk_wait_read<1>();
      __syncwarp();
    }
    uint32_t offset = line + step * 32 + lane / 16 * 16;
    offset ^= (offset >> 7 & swizzle) << 4;
    stmatrix_x4(buffer + offset, pack2<T>(acc[8 * i], acc[8 * i + 1]),
                pack2<T>(acc[8 * i + 2], acc[8 * i + 3]),
                pack2<T>(acc[8 * i + 4], acc[8 * i + 5]),
                pack2<T>(acc[8 * i + 6], acc[8 * i + 7]));
    if (step == per_chunk - 1) {
      fence_async_proxy();
      __syncwarp();
      if (lane == 0) {
        tma_store_2d(map, buffer, column + (i - step) * 16, row);
        bulk_commit();
      }
    }
  }
}

// The two loaders, one thread each. Their loops set the pace of small tiles (one thread's chain of
// instructions per 64 of K), so everything that does not change with k is computed before.

// Weights never change: this one does not wait for the kernel before.
template <int kTileM, int kTileN>
__device__ __forceinline__ void wgmma_load_w(const WgmmaMaps& maps, const WgmmaParams& p,
                                             uint32_t smem, int rank_m, int rank_n) {
  using Layout = WgmmaLayout<kTileM, kTileN>;
  const uint32_t full = smem + Layout::kBarriers, empty = full + Layout::kStages * 8;
  const uint16_t mask = ((1 << p.cluster_m) - 1) << (rank_n * p.cluster_m);
  const bool shared = p.cluster_m > 1;
  // This block's part of the tile. Gate and up are two copies where one block loads both.
  const bool two = p.silu_mul && !shared;
  const int inside = rank_m * p.w_box;
  const uint32_t to = smem + Layout::kW + inside * 128;
  const int blocks = p.cluster_m * p.cluster_n;
  const int units = p.units_m * p.units_n;
  int stage = 0;
  uint32_t parity = 1;
  for (int unit = blockIdx.x / blocks; unit < units; unit += gridDim.x / blocks) {
    const int tile = wgmma_tile(p, unit, rank_m, rank_n).n;
    int row = tile * kTileN + inside;
    if (p.silu_mul) {
      row = tile * (kTileN / 2) + inside;
      if (inside >= kTileN / 2) row += p.n_out - kTileN / 2;
    }
    for (int k = 0; k < p.k_blocks; ++k) {
      const uint32_t bar = full + stage * 8, stage_to = to + stage * Layout::kWBytes;
      mbarrier_wait(empty + stage * 8, parity);
      mbarrier_expect(bar, Layout::kWBytes);
      if (shared) {
        tma_load_2d_multicast(stage_to, &maps.w, bar, k * 64, row, mask);
      } else {
        tma_load_2d(stage_to, &maps.w, bar, k * 64, row);
        if (two) tma_load_2d(stage_to + kTileN * 64, &maps.w, bar, k * 64, row + p.n_out);
      }
      if (++stage == Layout::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

template <int kTileM, int kTileN>
__device__ __forceinline__ void wgmma_load_x(const WgmmaMaps& maps, const WgmmaParams& p,
                                             uint32_t smem, int rank_m, int rank_n) {
  using Layout = WgmmaLayout<kTileM, kTileN>;
  const uint32_t full = smem + Layout::kBarriers, empty = full + Layout::kStages * 8;
  uint16_t mask = 0;
  for (int i = 0; i < p.cluster_n; ++i) mask |= 1 << (i * p.cluster_m + rank_m);
  const bool shared = p.cluster_n > 1;
  const int inside = kTileM / p.cluster_n * rank_n;
  const uint32_t to = smem + inside * 128;
  const int blocks = p.cluster_m * p.cluster_n;
  const int units = p.units_m * p.units_n;
  int stage = 0;
  uint32_t parity = 1;
  griddep_wait();
  for (int unit = blockIdx.x / blocks; unit < units; unit += gridDim.x / blocks) {
    const int row = wgmma_tile(p, unit, rank_m, rank_n).m * kTileM + inside;
    for (int k = 0; k < p.k_blocks; ++k) {
      const uint32_t bar = full + stage * 8, stage_to = to + stage * Layout::kXBytes;
      mbarrier_wait(empty + stage * 8, parity);
      mbarrier_expect(bar, Layout::kXBytes);
      if (shared)
        tma_load_2d_multicast(stage_to, &maps.x, bar, k * 64, row, mask);
      else
        tma_load_2d(stage_to, &maps.x, bar, k * 64, row);
      if (++stage == Layout::kStages) {
        stage = 0;
        parity ^= 1;
      }
    }
  }
}

template <typename T, int kTileM, int kTileN, bool kSegmented>
__device__ __forceinline__ void wgmma_consume(const WgmmaMaps& maps, const WgmmaParams& p,
                                              uint32_t smem, int rank_m, int rank_n, int warp) {
  using Layout = WgmmaLayout<kTileM, kTileN>;
  constexpr int kStages = Layout::kStages;
  const int thread = threadIdx.x % 128, lane = threadIdx.x % 32;
  const int group = warp / 4;
  const uint32_t full = smem + Layout::kBarriers;
  // Thread i of a warpgroup tells block i of the cluster, if that block's copies end up here too,
  // that a stage is free.
  const int blocks = p.cluster_m * p.cluster_n;
  const bool releases = thread < blocks && (thread % p.cluster_m == rank_m ||
                                            thread / p.cluster_m == rank_n);
  const uint32_t empty = cluster_address(full + kStages * 8, releases ? thread : 0);
  const uint32_t buffers = smem + Layout::kStore + warp * 4096;
  const uint64_t x_base = swizzle128_descriptor(smem + group * 64 * 128);
  const uint64_t w_base = swizzle128_descriptor(smem + Layout::kW);

  griddep_wait();
  int stage = 0;
  uint32_t parity = 0;
  auto advance = [&] {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  };
  const int units = p.units_m * p.units_n;
  for (int unit = blockIdx.x / blocks; unit < units; unit += gridDim.x / blocks) {
    const WgmmaTile tile = wgmma_tile(p, unit, rank_m, rank_n);
    float acc[kTileN / 2];
    float total[kSegmented ? kTileN / 2 : 1];
    if constexpr (kSegmented) {
#pragma unroll
      for (int i = 0; i < kTileN / 2; ++i) total[i] = 0.0f;
    }
    for (int begin = 0; begin < p.k_blocks; begin += p.segment_blocks) {
      const int count = min(p.segment_blocks, p.k_blocks - begin);
      // The first block is apart: ptxas serialises wgmma when it is told "add or not" at run time.
      auto multiply = [&](bool first) {
        mbarrier_wait(full + stage * 8, parity);
        const uint64_t a = x_base + stage * (Layout::kXBytes >> 4);
        const uint64_t b = w_base + stage * (Layout::kWBytes >> 4);
        wgmma_fence();
#pragma unroll
        for (int j = 0; j < 4; ++j)
          Wgmma<T, kTileN>::mma(acc, a + 2 * j, b + 2 * j, !first || j > 0);
        wgmma_commit();
      };
      multiply(true);
      int previous = stage;
      advance();
      for (int k = 1; k < count; ++k) {
        multiply(false);
        wgmma_wait<1>();
        if (releases) mbarrier_arrive_remote(empty + previous * 8);
        previous = stage;
        advance();
      }
      wgmma_wait<0>();
      wgmma_pin(acc);
      if (releases) mbarrier_arrive_remote(empty + previous * 8);
      if constexpr (kSegmented) {
#pragma unroll
        for (int i = 0; i < kTileN / 2; ++i) total[i] += acc[i];
      }
    }
    if constexpr (kSegmented) {
#pragma unroll
      for (int i = 0; i < kTileN / 2; ++i) acc[i] = total[i];
    }

    if (p.bias) wgmma_add_bias<kTileN>(acc, p, tile.n, lane);
    int columns = kTileN;
    if (p.silu_mul) {
      columns = kTileN / 2;
#pragma unroll
      for (int i = 0; i < kTileN / 4; ++i) acc[i] = silu(acc[i]) * acc[i + kTileN / 4];
    }
    const int row = tile.m * kTileM + warp * 16;  // the warp's 16 rows
    const int column = tile.n * columns;
    if (p.chunk_columns) {
      if (p.accumulate)
        wgmma_add_residual<T, kTileN>(acc, p, row + lane / 4, column, columns, lane);
      wgmma_bulk_store<T, kTileN>(acc, p, &maps.y, buffers, row, column, columns, lane);
    } else if (p.y_f32) {
      wgmma_direct_store<float, kTileN>(acc, p, row + lane / 4, column, columns, lane);
    } else {
      wgmma_direct_store<T, kTileN>(acc, p, row + lane / 4, column, columns, lane);
    }
  }
  if (lane == 0) bulk_wait_all();
  __syncwarp();
}

template <typename T, int kTileM, int kTileN, bool kSegmented>
__global__ __launch_bounds__(kTileM * 2 + 128, 1) void wgmma_kernel(
    const __grid_constant__ WgmmaMaps maps, const __grid_constant__ WgmmaParams p) {
  using Layout = WgmmaLayout<kTileM, kTileN>;
  constexpr int kProducer = Layout::kConsumers * 4;  // its first warp
  griddep_launch();
  extern __shared__ uint8_t raw[];
  const uint32_t smem = (smem_address(raw) + 1023) & ~1023u;
  const int rank = cluster_rank();
  const int rank_m = rank % p.cluster_m, rank_n = rank / p.cluster_m;
  // The exchange tells the compiler that a warp is of one mind.
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  if (warp == kProducer && elect_one()) {
    prefetch_tensor_map(&maps.x);
    prefetch_tensor_map(&maps.w);
    const uint32_t full = smem + Layout::kBarriers, empty = full + Layout::kStages * 8;
    for (int i = 0; i < Layout::kStages; ++i) {
      mbarrier_init(full + i * 8, 2);  // one for x, one for w
      mbarrier_init(empty + i * 8, Layout::kConsumers * (p.cluster_m + p.cluster_n - 1));
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  cluster_sync();
  // Two consumer warpgroups: 2 x 128 x 232 + 128 x 40 registers are all there are.
  if (warp >= kProducer) {
    if constexpr (Layout::kConsumers == 2) setmaxnreg_dec<40>();
    if (warp == kProducer) {
      if (elect_one()) wgmma_load_w<kTileM, kTileN>(maps, p, smem, rank_m, rank_n);
    } else if (warp == kProducer + 1) {
      if (elect_one()) wgmma_load_x<kTileM, kTileN>(maps, p, smem, rank_m, rank_n);
    }
    __syncwarp();
  } else {
    if constexpr (Layout::kConsumers == 2) setmaxnreg_inc<232>();
    wgmma_consume<T, kTileM, kTileN, kSegmented>(maps, p, smem, rank_m, rank_n, warp);
  }
  // No block ends while another may still copy or signal into its shared memory.
  cluster_sync();
}

// launch() for clusters of `blocks` blocks.
inline void launch_clusters(const Context& ctx, void (*kernel)(WgmmaMaps, WgmmaParams),
                            int clusters, int blocks, int threads, int smem, const WgmmaMaps& maps,
                            const WgmmaParams& params) {
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = clusters * blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = smem;
  config.stream = ctx.stream;
  config.attrs = attributes;
  config.numAttrs = ctx.pdl ? 2 : 1;
  check_cuda(cudaLaunchKernelEx(&config, kernel, maps, params), "gemm_wgmma");
}

// Clusters of four blocks that can be resident at once; some SMs are left over.
inline int resident_quads(const Context& ctx, void (*kernel)(WgmmaMaps, WgmmaParams), int threads,
                          int smem) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {4, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = ctx.num_sms / 4 * 4;
  config.blockDim = threads;
  config.dynamicSmemBytes = smem;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int most = 0;
  check_cuda(cudaOccupancyMaxActiveClusters(&most, kernel, &config),
             "cudaOccupancyMaxActiveClusters");
  return std::max(1, most);
}

template <typename T, int kTileM, int kTileN, bool kSegmented>
void launch_wgmma_tile(const Context& ctx, const WgmmaMaps& maps, const WgmmaParams& p) {
  using Layout = WgmmaLayout<kTileM, kTileN>;
  const auto kernel = wgmma_kernel<T, kTileM, kTileN, kSegmented>;
  static const int quads = (allow_smem(kernel, Layout::kBytes),
                            resident_quads(ctx, kernel, Layout::kThreads, Layout::kBytes));
  const int blocks = p.cluster_m * p.cluster_n;
  const int resident = blocks == 4 ? quads : ctx.num_sms / blocks;
  launch_clusters(ctx, kernel, std::min(resident, p.units_m * p.units_n), blocks, Layout::kThreads,
                  Layout::kBytes, maps, p);
}

// Every tile that plan_wgmma may pick; segmented sums only in tiles that leave room for a second
// accumulator.
template <typename T>
void launch_wgmma(const Context& ctx, const WgmmaPlan& plan, bool segmented, const WgmmaMaps& maps,
                  const WgmmaParams& params) {
  const int tile = plan.tile_m * 1000 + plan.tile_n;
#define HP_TILE(M, N, SEGMENTED)                                   \
  if (tile == M * 1000 + N && segmented == SEGMENTED)              \
    return launch_wgmma_tile<T, M, N, SEGMENTED>(ctx, maps, params);
  HP_TILE(128, 256, false)
  HP_TILE(128, 224, false)
  HP_TILE(128, 192, false)
  HP_TILE(128, 160, false)
  HP_TILE(128, 128, false)
  HP_TILE(128, 96, false)
  HP_TILE(128, 64, false)
  HP_TILE(64, 128, false)
  HP_TILE(64, 96, false)
  HP_TILE(64, 64, false)
  HP_TILE(64, 32, false)
  HP_TILE(128, 192, true)
  HP_TILE(128, 160, true)
  HP_TILE(128, 144, true)
  HP_TILE(128, 128, true)
  HP_TILE(128, 64, true)
  HP_TILE(64, 96, true)
  HP_TILE(64, 64, true)
  HP_TILE(64, 32, true)
#undef HP_TILE
  fail("internal_error", "gemm_wgmma: no kernel for tile ", plan.tile_m, " x ", plan.tile_n,
       segmented ? ", segmented" : "");
}

}  // namespace hotpath::cuda

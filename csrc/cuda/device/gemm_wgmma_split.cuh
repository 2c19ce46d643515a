#pragma once

// The wgmma GEMM for outputs of few tiles whose K has four segments (gemm.h): a cluster of four
// blocks computes one tile, each block one segment, and adds the segments' sums in their order
// through shared memory, so that the bits are those of the block that does all four.

#include "cuda/device/gemm_wgmma.cuh"

namespace hotpath::cuda {

inline constexpr int kSplitSegments = 4;

// x stages, w stages, this block's sums, the barriers.
template <int kTileM, int kTileN>
struct SplitLayout {
  static constexpr int kConsumers = kTileM / 64;
  static constexpr int kThreads = (kConsumers + 1) * 128;
  static constexpr int kXBytes = kTileM * 128, kWBytes = kTileN * 128;
  static constexpr int kSumBytes = kTileM * kTileN * 4;
  static constexpr int kStages =
      std::min(12, (232448 - 1024 - 256 - kSumBytes) / (kXBytes + kWBytes));
  static constexpr int kW = kStages * kXBytes;
  static constexpr int kSums = kW + kStages * kWBytes;
  static constexpr int kBarriers = kSums + kSumBytes;
  static constexpr int kBytes = kBarriers + 256 + 1024;
};

__device__ __forceinline__ float4 load_cluster_float4(uint32_t address) {
  float4 v;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"(address)
               : "memory");
  return v;
}

template <typename Y>
__device__ __forceinline__ void split_store(const WgmmaParams& p, int row, int column, float a,
                                            float b) {
  if (row >= p.m || column >= p.n_out) return;
  Y* at = static_cast<Y*>(p.y) + row * p.y_stride + column;
  const bool two = column + 1 < p.n_out;
  if (p.accumulate) {
    const float2 old = load_pair(at, p.y_pairs, two);
    a += old.x;
    b += old.y;
  }
  store_pair(at, a, b, p.y_pairs, two);
}

template <typename T, int kTileM, int kTileN>
__global__ __launch_bounds__(kTileM * 2 + 128, 1) void wgmma_split_kernel(
    const __grid_constant__ WgmmaMaps maps, const __grid_constant__ WgmmaParams p) {
  using Layout = SplitLayout<kTileM, kTileN>;
  constexpr int kConsumers = Layout::kConsumers, kStages = Layout::kStages;
  griddep_launch();
  extern __shared__ uint8_t raw[];
  const uint32_t smem = (smem_address(raw) + 1023) & ~1023u;
  const uint32_t full = smem + Layout::kBarriers, empty = full + kStages * 8;
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int segment = cluster_rank();
  const int tile = blockIdx.x / kSplitSegments;
  const int row = tile % p.units_m * kTileM, column = tile / p.units_m * kTileN;
  const int first = segment * p.segment_blocks;
  const int count = max(0, min(p.segment_blocks, p.k_blocks - first));
  if (warp == kConsumers * 4 && elect_one()) {
    prefetch_tensor_map(&maps.x);
    prefetch_tensor_map(&maps.w);
    for (int i = 0; i < kStages; ++i) {
      mbarrier_init(full + i * 8, 2);
      mbarrier_init(empty + i * 8, kConsumers);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  float acc[kTileN / 2];
  int stage = 0;
  uint32_t parity = 0;
  auto advance = [&] {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  };
  if (warp >= kConsumers * 4) {
    if (warp == kConsumers * 4 && elect_one()) {  // w, not waiting for the kernel before
      for (int k = first; k < first + count; ++k, advance()) {
        mbarrier_wait(empty + stage * 8, parity ^ 1);
        mbarrier_expect(full + stage * 8, Layout::kWBytes);
        tma_load_2d(smem + Layout::kW + stage * Layout::kWBytes, &maps.w, full + stage * 8, k * 64,
                    column);
      }
    } else if (warp == kConsumers * 4 + 1 && elect_one()) {
      griddep_wait();
      for (int k = first; k < first + count; ++k, advance()) {
        mbarrier_wait(empty + stage * 8, parity ^ 1);
        mbarrier_expect(full + stage * 8, Layout::kXBytes);
        tma_load_2d(smem + stage * Layout::kXBytes, &maps.x, full + stage * 8, k * 64, row);
      }
    }
    __syncwarp();
  } else {
    griddep_wait();
    const uint64_t x_base = swizzle128_descriptor(smem + warp / 4 * 64 * 128);
    const uint64_t w_base = swizzle128_descriptor(smem + Layout::kW);
    auto multiply = [&](bool begin) {
      mbarrier_wait(full + stage * 8, parity);
      const uint64_t a = x_base + stage * (Layout::kXBytes >> 4);
      const uint64_t b = w_base + stage * (Layout::kWBytes >> 4);
      wgmma_fence();
#pragma unroll
      for (int j = 0; j < 4; ++j) Wgmma<T, kTileN>::mma(acc, a + 2 * j, b + 2 * j, !begin || j > 0);
      wgmma_commit();
    };
    if (count > 0) {
      multiply(true);
      int previous = stage;
      advance();
      for (int k = 1; k < count; ++k) {
        multiply(false);
        wgmma_wait<1>();
        if (threadIdx.x % 128 == 0) mbarrier_arrive(empty + previous * 8);
        previous = stage;
        advance();
      }
      wgmma_wait<0>();
      wgmma_pin(acc);
    } else {
#pragma unroll
      for (int i = 0; i < kTileN / 2; ++i) acc[i] = 0.0f;
    }
    // [kTileN / 8][consumer threads] of four sums
#pragma unroll
    for (int i = 0; i < kTileN / 8; ++i)
      asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(
                       smem + Layout::kSums + (i * kConsumers * 128 + threadIdx.x) * 16),
                   "f"(acc[4 * i]), "f"(acc[4 * i + 1]), "f"(acc[4 * i + 2]), "f"(acc[4 * i + 3])
                   : "memory");
  }
  cluster_sync();
  if (warp < kConsumers * 4) {
    // This block finishes a quarter of the tile's columns.
    constexpr int kQuarter = kTileN / 8 / kSplitSegments;
#pragma unroll
    for (int i = 0; i < kQuarter; ++i) {
      const int part = segment * kQuarter + i;
      const uint32_t at = smem + Layout::kSums + (part * kConsumers * 128 + threadIdx.x) * 16;
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int s = 0; s < kSplitSegments; ++s) {
        const float4 v = load_cluster_float4(cluster_address(at, s));
        sum.x += v.x;
        sum.y += v.y;
        sum.z += v.z;
        sum.w += v.w;
      }
      const int c = column + part * 8 + lane % 4 * 2, r = row + warp * 16 + lane / 4;
      if (p.bias && c < p.n) {  // n is even
        const float b0 = load_as_float(p.bias, p.bias_dtype, c);
        const float b1 = load_as_float(p.bias, p.bias_dtype, c + 1);
        sum.x += b0;
        sum.y += b1;
        sum.z += b0;
        sum.w += b1;
      }
      if (p.y_f32) {
        split_store<float>(p, r, c, sum.x, sum.y);
        split_store<float>(p, r + 8, c, sum.z, sum.w);
      } else {
        split_store<T>(p, r, c, sum.x, sum.y);
        split_store<T>(p, r + 8, c, sum.z, sum.w);
      }
    }
  }
  __syncwarp();
  // The other blocks may still read this one's sums.
  cluster_sync();
}

template <typename T, int kTileM, int kTileN>
void launch_split_tile(const Context& ctx, const WgmmaMaps& maps, const WgmmaParams& p) {
  using Layout = SplitLayout<kTileM, kTileN>;
  const auto kernel = wgmma_split_kernel<T, kTileM, kTileN>;
  static const bool allowed = (allow_smem(kernel, Layout::kBytes), true);
  (void)allowed;
  launch_clusters(ctx, kernel, p.units_m * p.units_n, kSplitSegments, Layout::kThreads,
                  Layout::kBytes, maps, p);
}

template <typename T>
void launch_wgmma_split(const Context& ctx, const WgmmaPlan& plan, const WgmmaMaps& maps,
                        const WgmmaParams& params) {
  if (plan.tile_m == 64 && plan.tile_n == 64)
    return launch_split_tile<T, 64, 64>(ctx, maps, params);
  if (plan.tile_m == 128 && plan.tile_n == 64)
    return launch_split_tile<T, 128, 64>(ctx, maps, params);
  if (plan.tile_m == 128 && plan.tile_n == 128)
    return launch_split_tile<T, 128, 128>(ctx, maps, params);
  fail("internal_error", "gemm_wgmma: no split kernel for tile ", plan.tile_m, " x ", plan.tile_n);
}

}  // namespace hotpath::cuda

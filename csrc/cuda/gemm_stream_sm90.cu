// The decode GEMM on Hopper: few rows of x, W streamed once from HBM by TMA through a ring of
// shared memory. A block has one warp that only issues copies and consumer warps that multiply. W
// never changes, so the ring is filled with it before the kernel waits for the one before it.

#include "cuda/device/gemm_output.cuh"
#include "cuda/device/hopper.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/gemm_stream.h"

namespace hotpath::cuda {
namespace {

constexpr int kChunkBytes = 128;  // 64 k of one row: the width of the 128-byte swizzle
constexpr int kSwizzleAtom = 1024;

// A stage of the ring: [segment][unit][chunk][unit_rows][128 bytes] of W, then
// [segment][chunk][group_rows][128 bytes] of x, each swizzled, all aligned to the swizzle's 1024
// bytes. Multicasting x in clusters of 2 or 4 was tried: 1.5 to 2 times slower, cause not found.
struct StreamParams {
  GemmOutput out;
  int units, unit_outputs, unit_rows;
  int unit_warps, segments, stage_chunks, stages, tiles;
  int group_rows;      // of x, to a block
  int chunks;          // K / 64
  int segment_chunks;  // of every segment but the last
  int unit_bytes, x_bytes, x_pitch, stage_bytes;
  bool evict_first;
};

__device__ __forceinline__ uint64_t l2_policy(bool evict_first) {
  uint64_t policy;
  if (evict_first)
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  else
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

__device__ __forceinline__ void load_weights(uint32_t smem, const CUtensorMap* map, uint32_t bar,
                                             int row, int chunk, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(smem),
      "l"(map), "r"(bar), "r"(0), "r"(row), "r"(0), "r"(chunk), "l"(policy)
      : "memory");
}

// Fragments of 32 k: two steps of one unit of W and of kBlocks columns blocks of 8 rows of x.
template <int kBlocks>
struct Fragments {
  uint32_t w[2][4];
  uint32_t x[kBlocks][4];
};

template <int kBlocks>
__device__ __forceinline__ void load_fragments(Fragments<kBlocks>& f, uint32_t w_row,
                                               uint32_t w_swizzle, uint32_t x_chunk,
                                               const uint32_t (&x_row)[kBlocks], int lane,
                                               int half) {
#pragma unroll
  for (int step = 0; step < 2; ++step)
    ldmatrix_x4(f.w[step], w_row + (w_swizzle ^ (half * 64 + step * 32)));
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    const uint32_t row = x_chunk + x_row[b];  // bits 7..9: the row within its swizzle atom
    const uint32_t group = static_cast<uint32_t>(half * 64 + lane / 8 * 16);
    ldmatrix_x4(f.x[b], row + (group ^ (row >> 3 & 0x70)));
  }
}

template <typename T, int kBlocks>
__device__ __forceinline__ void multiply(float (&sum)[kBlocks][4], const Fragments<kBlocks>& f) {
#pragma unroll
  for (int step = 0; step < 2; ++step)
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
      mma_16816<T>(sum[b], f.w[step], f.x[b][2 * step], f.x[b][2 * step + 1]);
}

// The run of units of tile `tile` of `tiles` of a block that has units [begin, end).
struct Tile {
  int first, count;
};
__device__ __forceinline__ Tile tile_of(int begin, int end, int tiles, int tile) {
  const int first = begin + (end - begin) * tile / tiles;
  return {first, begin + (end - begin) * (tile + 1) / tiles - first};
}

template <typename T, int kBlocks>
__global__ void __launch_bounds__(288, 1)
    stream_kernel(const __grid_constant__ CUtensorMap w_map,
                  const __grid_constant__ CUtensorMap x_map, const StreamParams p) {
  extern __shared__ __align__(1024) char smem[];
  constexpr bool kLoadsEarly = kBlocks <= 4;  // y, when accumulating; registers permitting
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int consumers = p.unit_warps * p.segments;
  const uint32_t ring = smem_address(smem);
  const uint32_t full = ring + p.stages * p.stage_bytes, empty = full + p.stages * 8;
  const int x_offset = p.segments * p.unit_warps * p.unit_bytes;

  const int begin = static_cast<int>(static_cast<int64_t>(p.units) * blockIdx.x / gridDim.x);
  const int end = static_cast<int>(static_cast<int64_t>(p.units) * (blockIdx.x + 1) / gridDim.x);
  const int tile_stages = (p.segment_chunks + p.stage_chunks - 1) / p.stage_chunks;
  const int m0 = blockIdx.y * p.group_rows;

  // First of all: a small matrix's time is mostly the latency of launch and first copies.
  griddep_launch();
  if (warp == consumers && lane == 0) {
    prefetch_tensor_map(&w_map);
    prefetch_tensor_map(&x_map);
    for (int s = 0; s < p.stages; ++s) {
      mbarrier_init(full + 8 * s, 1);
      mbarrier_init(empty + 8 * s, consumers);
    }
    mbarrier_fence_init();
  }
  __syncthreads();

  if (warp == consumers) {  // the warp that copies
    if (lane == 0) {
      const uint64_t policy = l2_policy(p.evict_first);
      const int total = p.tiles * tile_stages;
      const int prefilled = min(p.stages, total);
      int stage = 0, parity = 1, i = 0;
      bool waited = false;
      for (int tile = 0; tile < p.tiles; ++tile) {
        const Tile t = tile_of(begin, end, p.tiles, tile);
        const int bytes = p.segments * (t.count * p.unit_bytes + p.x_bytes);
        for (int k = 0; k < tile_stages; ++k, ++i) {
          const uint32_t bar = full + 8 * stage, base = ring + stage * p.stage_bytes;
          if (i >= p.stages) mbarrier_wait(empty + 8 * stage, parity);
          mbarrier_expect(bar, bytes);
          for (int seg = 0; seg < p.segments; ++seg) {
            const int chunk = seg * p.segment_chunks + k * p.stage_chunks;
            for (int u = 0; u < t.count; ++u)
              load_weights(base + (seg * p.unit_warps + u) * p.unit_bytes, &w_map, bar,
                           (t.first + u) * p.unit_outputs, chunk, policy);
            if (waited) tma_load_3d(base + x_offset + seg * p.x_pitch, &x_map, bar, 0, m0, chunk);
          }
          if (++stage == p.stages) {
            stage = 0;
            parity ^= 1;
          }
          if (i + 1 == prefilled) {  // x is an earlier kernel's: it joins the stages under way
            griddep_wait();
            waited = true;
            for (int j = 0; j < prefilled; ++j)
              for (int seg = 0; seg < p.segments; ++seg)
                tma_load_3d(ring + j * p.stage_bytes + x_offset + seg * p.x_pitch, &x_map,
                            full + 8 * j, 0, m0,
                            seg * p.segment_chunks + j % tile_stages * p.stage_chunks);
          }
        }
      }
    }
    __syncwarp();
    griddep_wait();
  } else {
    const int unit = warp / p.segments, seg = warp % p.segments;
    const bool second = p.unit_rows == 16;
    const int my_chunks = min(max(p.chunks - seg * p.segment_chunks, 0), p.segment_chunks);
    // Rows 8..15 of a thin unit are rows 0..7 again.
    const uint32_t w_lane =
        ((lane & 7) + (second ? lane & 8 : 0)) * kChunkBytes +
        (seg * p.unit_warps + unit) * p.unit_bytes;
    const uint32_t w_swizzle = static_cast<uint32_t>((lane / 16 ^ (lane & 7)) * 16);
    const int chunk_rows_bytes = p.unit_rows * kChunkBytes;
    const int x_chunk_bytes = p.group_rows * kChunkBytes;
    GemmOutput out = p.out;
    out.m = min(out.m, m0 + p.group_rows);
    uint32_t x_row[kBlocks];  // columns beyond out.m repeat the last: nobody reads what they give
#pragma unroll
    for (int b = 0; b < kBlocks; ++b)
      x_row[b] = min(b * 8 + (lane & 7), out.m - m0 - 1) * kChunkBytes;
    float* partial = reinterpret_cast<float*>(smem + p.stages * (p.stage_bytes + 16));

    griddep_wait();
    int stage = 0, parity = 0;
    for (int tile = 0; tile < p.tiles; ++tile) {
      const Tile t = tile_of(begin, end, p.tiles, tile);
      const bool active = unit < t.count;
      const int n0 = (t.first + unit) * p.unit_outputs;
      const bool stores = active && seg == 0;
      UnitBias bias{0.0f, 0.0f};
      uint32_t old[kBlocks][2];
      if (stores) {
        bias = load_unit_bias(out, n0, lane);
        if constexpr (kLoadsEarly) {
#pragma unroll
          for (int b = 0; b < kBlocks; ++b)
            load_unit<T>(out, n0, m0 + b * 8, lane, old[b], second);
        }
      }
      float sum[kBlocks][4] = {};
      for (int k = 0; k < tile_stages; ++k) {
        const int count = active ? min(p.stage_chunks, my_chunks - k * p.stage_chunks) : 0;
        mbarrier_wait(full + 8 * stage, parity);
        if (count > 0) {
          uint32_t w_row = ring + stage * p.stage_bytes + w_lane;
          uint32_t x_chunk = ring + stage * p.stage_bytes + x_offset + seg * p.x_pitch;
          Fragments<kBlocks> even, odd;
          load_fragments(even, w_row, w_swizzle, x_chunk, x_row, lane, 0);
#pragma unroll 1
          for (int c = 0; c < count; ++c) {
            load_fragments(odd, w_row, w_swizzle, x_chunk, x_row, lane, 1);
            multiply<T>(sum, even);
            w_row += chunk_rows_bytes;
            x_chunk += x_chunk_bytes;
            if (c + 1 < count) load_fragments(even, w_row, w_swizzle, x_chunk, x_row, lane, 0);
            multiply<T>(sum, odd);
          }
        }
        __syncwarp();
        if (lane == 0) mbarrier_arrive(empty + 8 * stage);
        if (++stage == p.stages) {
          stage = 0;
          parity ^= 1;
        }
      }
      if (p.segments > 1) {  // one tile to a block: `partial` is written once
        float* mine = partial + unit * (p.segments - 1) * kBlocks * 128 + lane;
        if (seg > 0) {
#pragma unroll
          for (int i = 0; i < kBlocks * 4; ++i)
            mine[((seg - 1) * kBlocks * 4 + i) * 32] = sum[i / 4][i % 4];
        }
        named_barrier_sync(1, consumers * 32);
        if (stores) {
          for (int s = 0; s < p.segments - 1; ++s)
#pragma unroll
            for (int i = 0; i < kBlocks * 4; ++i)
              sum[i / 4][i % 4] += mine[(s * kBlocks * 4 + i) * 32];
        }
      }
      if (stores) {
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
          if constexpr (!kLoadsEarly) load_unit<T>(out, n0, m0 + b * 8, lane, old[b], second);
          store_unit<T>(out, sum[b], bias, n0, m0 + b * 8, lane, old[b], second);
        }
      }
    }
  }
}

CUtensorMap encode(const Context& ctx, const Tensor& t, int rank, const cuuint64_t* dims,
                   const cuuint64_t* strides, const cuuint32_t* box) {
  CUtensorMap map;
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult status = ctx.encode_tiled(
      &map,
      t.dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      rank, t.data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "gemm_stream: expected a tensor map, received CUresult ",
        static_cast<int>(status));
  return map;
}

int round_up(int a, int b) { return (a + b - 1) / b * b; }

// All about the ring and the grid that follows from the shapes; stages: 0 where it cannot be.
void lay_out(const Context& ctx, const GemmArgs& args, const StreamConfig& config, StreamParams& p,
             int& blocks) {
  const int n = static_cast<int>(args.w.dim(0)), k = static_cast<int>(args.w.dim(1));
  const int m = static_cast<int>(args.x.dim(0)), outputs = args.silu_mul ? n / 2 : n;
  p.segments = k_segments(n, k);
  p.unit_rows = config.thin ? 8 : 16;
  p.unit_outputs = config.thin || args.silu_mul ? 8 : 16;
  p.units = ceil_div(outputs, p.unit_outputs);
  p.chunks = k / 64;
  p.segment_chunks = static_cast<int>(segment_length(n, k) / 64);
  p.stage_chunks = config.stage_chunks;
  p.evict_first = config.evict_first;

  const int slots = ctx.num_sms * config.blocks_per_sm / config.row_groups;
  blocks = p.segments == 1 ? std::min(p.units, slots) : p.units;
  const int block_units = ceil_div(p.units, blocks);
  p.tiles = ceil_div(block_units, config.most_warps);
  p.unit_warps = ceil_div(block_units, p.tiles);

  p.group_rows = config.row_groups == 1 ? m : round_up(ceil_div(m, config.row_groups), 8);
  p.unit_bytes = p.unit_rows * p.stage_chunks * kChunkBytes;
  p.x_bytes = p.group_rows * p.stage_chunks * kChunkBytes;
  p.x_pitch = round_up(p.x_bytes, kSwizzleAtom);
  p.stage_bytes = p.segments * (p.unit_warps * p.unit_bytes + p.x_pitch);
  const int total = p.tiles * ceil_div(p.segment_chunks, p.stage_chunks);
  p.stages = std::min(config.ring_bytes / p.stage_bytes, total);
}

template <typename T, int kBlocks>
void launch_blocks(const Context& ctx, dim3 grid, int threads, size_t smem,
                   const CUtensorMap& w_map, const CUtensorMap& x_map, const StreamParams& p) {
  constexpr auto kernel = stream_kernel<T, kBlocks>;
  static const bool allowed = (allow_smem(kernel, 227 * 1024), true);
  static_cast<void>(allowed);
  launch(ctx, kernel, grid, dim3(threads), smem, w_map, x_map, p);
}

template <typename T, typename... Args>
void launch_type(int column_blocks, Args&&... args) {
  switch (column_blocks) {
    case 1:
      return launch_blocks<T, 1>(args...);
    case 2:
      return launch_blocks<T, 2>(args...);
    case 4:
      return launch_blocks<T, 4>(args...);
    default:
      return launch_blocks<T, 8>(args...);
  }
}

}  // namespace

// From timings on an H100 at M = 1, 8, 16, 32, 64 (bench/lab/cuda/gemm_stream_lab.cu).
StreamConfig pick_stream_config(const Context& ctx, const GemmArgs& args) {
  constexpr int kWholeRing = 200 << 10;
  const int m = static_cast<int>(args.x.dim(0));
  const int n = static_cast<int>(args.w.dim(0)), k = static_cast<int>(args.w.dim(1));
  StreamConfig config;
  if (k_segments(n, k) > 1) {
    config.thin = !args.silu_mul && n <= 1152 && k >= 2048 && m <= 16;
    if (m <= 16) return config;
    config.evict_first = false;  // the row groups share W through L2
    config.row_groups = m > 32 && k < 2048 ? 4 : 2;
    if (k >= 4096)
      config.ring_bytes = kWholeRing;
    else if (k >= 2048 || m <= 32)
      config.stage_chunks = 2;
    return config;
  }
  if (m > 16) {
    config.most_warps = 7;
    const bool small = k <= 1024 && n <= 8192;
    config.row_groups = m > 32 && n <= 8192 ? 2 : 1;
    if (!small && (m > 32 || n > 8192 || k > 8192)) config.ring_bytes = kWholeRing;
    return config;
  }
  // Several small blocks to an SM, the fewer units there are the deeper their stages.
  const double units = n / 16.0 / ctx.num_sms;
  if (units > 8) {
    config.blocks_per_sm = 2;
    config.most_warps = 8;
    config.stage_chunks = 2;
  } else if (units > 4) {
    config.blocks_per_sm = 3;
    config.most_warps = 8;
    config.stage_chunks = 3;
    config.ring_bytes = 64 << 10;
  } else if (k > 2048) {
    config.blocks_per_sm = 2;
    config.stage_chunks = 8;
  }
  return config;
}

bool gemm_stream_sm90(const Context& ctx, const GemmArgs& args, const StreamConfig& config) {
  const int m = static_cast<int>(args.x.dim(0));
  const int n = static_cast<int>(args.w.dim(0)), k = static_cast<int>(args.w.dim(1));
  check(m <= kStreamMostRows && k % 64 == 0,
        "gemm_stream_sm90: expected M <= 64 and K a multiple of 64, received M ", m, ", K ", k);
  StreamParams p;
  int blocks;
  lay_out(ctx, args, config, p, blocks);
  const int threads = 32 * (p.unit_warps * p.segments + 1);
  const bool fits = p.stages >= 1 && (p.segments == 1 || p.tiles == 1) && threads <= 288 &&
                    p.group_rows <= 64 && !(config.thin && args.silu_mul);
  if (!fits) return false;
  p.out = {args.y.data,
           args.y.row_stride,
           args.bias ? args.bias->data : nullptr,
           args.bias ? args.bias->dtype : DType::kF32,
           args.y.dtype == DType::kF32,
           args.accumulate,
           args.silu_mul,
           m,
           args.silu_mul ? n / 2 : n};

  // W as {64 k, row, gate or up, chunk of 64 k}, so that one copy brings a unit's whole stage.
  const cuuint64_t row_bytes = static_cast<cuuint64_t>(k) * 2;
  const cuuint64_t halves = args.silu_mul ? 2 : 1;
  const auto all_chunks = static_cast<cuuint64_t>(p.chunks);
  const cuuint64_t w_dims[4] = {64, n / halves, halves, all_chunks};
  const cuuint64_t w_strides[3] = {row_bytes, n / halves * row_bytes, kChunkBytes};
  const auto chunks = static_cast<cuuint32_t>(p.stage_chunks);
  const cuuint32_t w_box[4] = {64, static_cast<cuuint32_t>(p.unit_outputs),
                               static_cast<cuuint32_t>(halves), chunks};
  const CUtensorMap w_map = encode(ctx, args.w, 4, w_dims, w_strides, w_box);
  const cuuint64_t x_dims[3] = {64, static_cast<cuuint64_t>(m), all_chunks};
  const cuuint64_t x_strides[2] = {static_cast<cuuint64_t>(args.x.row_stride) * 2, kChunkBytes};
  const cuuint32_t x_box[3] = {64, static_cast<cuuint32_t>(p.group_rows), chunks};
  const CUtensorMap x_map = encode(ctx, args.x, 3, x_dims, x_strides, x_box);

  const int rows = p.group_rows;
  const int column_blocks = rows <= 8 ? 1 : rows <= 16 ? 2 : rows <= 32 ? 4 : 8;
  const int partials = p.unit_warps * (p.segments - 1) * column_blocks * 512;
  const size_t smem = static_cast<size_t>(p.stages) * (p.stage_bytes + 16) + partials;
  const dim3 grid(blocks, ceil_div(m, p.group_rows));
  if (args.x.dtype == DType::kF16)
    launch_type<f16>(column_blocks, ctx, grid, threads, smem, w_map, x_map, p);
  else
    launch_type<bf16>(column_blocks, ctx, grid, threads, smem, w_map, x_map, p);
  return true;
}

}  // namespace hotpath::cuda

// The portable tensor-core GEMM, sm_80 and newer: tiles of W and x through a cp.async ring,
// mma.sync with 16 rows of W as the A operand and 8 rows of x as the B operand. Small tiles serve
// decoding; where K is cut into segments they give each of four warps one.

#include "cuda/device/gemm_output.cuh"
#include "cuda/device/mma.cuh"
#include "cuda/gemm_stream.h"

namespace hotpath::cuda {
namespace {

constexpr int kChunk = 64;         // k of a stage; a row of a stage is 128 bytes
constexpr int kSegmentWarps = 4;  // k_segments() is 1 or this

// kRows of W by kCols of x per block. kSplit: the four warps take a segment of K each and a stage
// has all four segments' tiles. Otherwise the kWarpsN x kWarpsM warps cut the tile; with kFold the
// segments follow one another, which takes a second set of sums.
enum class Segments { kOne, kFold, kSplit };
template <int kRows_, int kCols_, int kWarpsN_, int kWarpsM_, int kStages_, Segments kSegments>
struct Tiling {
  static constexpr int kRows = kRows_, kCols = kCols_, kWarpsN = kWarpsN_, kWarpsM = kWarpsM_;
  static constexpr int kStages = kStages_;
  static constexpr bool kSplit = kSegments == Segments::kSplit;
  static constexpr bool kFold = kSegments == Segments::kFold;
  static constexpr int kParts = kSplit ? kSegmentWarps : 1;
  static constexpr int kThreads = 32 * kWarpsN * kWarpsM * kParts;
  static constexpr int kUnits = kRows / kWarpsN / 16;   // per warp
  static constexpr int kBlocks = kCols / kWarpsM / 8;   // per warp
  static constexpr int kTileBytes = (kRows + kCols) * kChunk * 2;
  static constexpr int kStageBytes = kParts * kTileBytes;
  static constexpr int kPartialBytes =
      kSplit ? (kSegmentWarps - 1) * kUnits * kBlocks * 4 * 32 * 4 : 0;
  static constexpr int kSmem =
      kStages * kStageBytes > kPartialBytes ? kStages * kStageBytes : kPartialBytes;
  static_assert(!kSplit || kWarpsN * kWarpsM == 1);
};

struct MmaParams {
  GemmOutput out;
  const void* w;
  const void* x;
  int64_t x_stride;
  int w_rows, k, segments, segment_chunks;
};

// Copies a part's tile chunk by chunk: rows of 128 bytes, 16-byte groups xor-swizzled by row; zeros
// beyond the rows and beyond K. A thread has one group of every kRowStep-th row.
template <typename T, typename Tile, int kThreads>
struct TileCopy {
  static constexpr int kRowStep = kThreads / 8;
  static_assert(Tile::kRows % kRowStep == 0 && Tile::kCols % kRowStep == 0);
  const T* w;
  const T* x;
  int64_t x_step;
  int k, group_k, row, gate_rows, w_rows, x_rows;
  uint32_t to;

  __device__ TileCopy(const MmaParams& p, int n0, int m0, int thread)
      : w(static_cast<const T*>(p.w) + static_cast<int64_t>(n0) * p.k),
        x(static_cast<const T*>(p.x) + (m0 + thread / 8) * p.x_stride),
        x_step(kRowStep * p.x_stride),
        k(p.k),
        group_k(thread % 8 * 8),
        row(thread / 8),
        gate_rows(p.out.silu_mul ? p.out.n : 0),
        w_rows(p.out.n - n0),
        x_rows(p.out.m - m0 - thread / 8),
        to(row * 128 + ((thread ^ row) & 7) * 16) {}

  __device__ __forceinline__ void operator()(uint32_t smem, int chunk) const {
    const int at = chunk * kChunk + group_k;
    const bool inside_k = at < k;
#pragma unroll
    for (int i = 0; i < Tile::kRows / kRowStep; ++i) {
      const int r = row + i * kRowStep;
      // With silu_mul a unit is 8 gate rows and their 8 up rows.
      int n = gate_rows ? r / 16 * 8 + r % 8 : r;
      const bool inside = inside_k && n < w_rows;
      if (gate_rows && r & 8) n += gate_rows;
      cp_async16(smem + swizzled(i * kRowStep), inside ? w + static_cast<int64_t>(n) * k + at : w,
                 inside ? 16 : 0);
    }
#pragma unroll
    for (int i = 0; i < Tile::kCols / kRowStep; ++i) {
      const bool inside = inside_k && i * kRowStep < x_rows;
      cp_async16(smem + swizzled(Tile::kRows + i * kRowStep), inside ? x + i * x_step + at : w,
                 inside ? 16 : 0);
    }
  }
  // Where this thread's group of the row `rows` below its first goes.
  __device__ __forceinline__ uint32_t swizzled(int rows) const {
    return (to ^ (rows & 7) * 16) + rows * 128;
  }
};

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads) mma_kernel(const MmaParams p) {
  extern __shared__ __align__(128) char smem[];
  constexpr int kUnits = Tile::kUnits, kBlocks = Tile::kBlocks, kStages = Tile::kStages;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int part = Tile::kSplit ? warp : 0;
  const int warp_n = Tile::kSplit ? 0 : warp % Tile::kWarpsN;
  const int warp_m = Tile::kSplit ? 0 : warp / Tile::kWarpsN;
  const int unit_outputs = p.out.silu_mul ? 8 : 16;
  const int n0 = blockIdx.y * (Tile::kRows / 16) * unit_outputs, m0 = blockIdx.x * Tile::kCols;
  const int all_chunks = (p.k + kChunk - 1) / kChunk;
  const int first = Tile::kSplit ? part * p.segment_chunks : 0;
  const int mine = Tile::kSplit ? min(max(all_chunks - first, 0), p.segment_chunks) : all_chunks;
  const int steps = Tile::kSplit ? p.segment_chunks : all_chunks;
  const uint32_t ring = smem_address(smem);

  griddep_launch();
  griddep_wait();

  constexpr int kCopyThreads = Tile::kSplit ? 32 : Tile::kThreads;
  const int copy_thread = Tile::kSplit ? lane : threadIdx.x;
  const TileCopy<T, Tile, kCopyThreads> tile_copy(p, n0, m0, copy_thread);
  const auto copy = [&](int step) {
    if (step < mine)
      tile_copy(ring + step % kStages * Tile::kStageBytes + part * Tile::kTileBytes, first + step);
    cp_async_commit();
  };
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) copy(s);

  float sum[kUnits][kBlocks][4] = {};
  float total[kUnits][kBlocks][4];
  const uint32_t w_row = ((warp_n * kUnits * 16) + (lane & 15)) * 128;
  const uint32_t x_row = (Tile::kRows + warp_m * kBlocks * 8 + (lane & 7)) * 128;
  const uint32_t w_swizzle = static_cast<uint32_t>((lane / 16 ^ (lane & 7)) * 16);
  const uint32_t x_swizzle = static_cast<uint32_t>((lane / 8 ^ (lane & 7)) * 16);
  int segment_end = p.segment_chunks;
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    if (Tile::kSplit)
      __syncwarp();
    else
      __syncthreads();
    copy(step + kStages - 1);
    const uint32_t tile = ring + step % kStages * Tile::kStageBytes + part * Tile::kTileBytes;
    if (step < mine) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t x[kBlocks][4];
#pragma unroll
        for (int b = 0; b < kBlocks; ++b)
          ldmatrix_x4(x[b], tile + x_row + b * 1024 + (x_swizzle ^ half * 64));
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          uint32_t w[kUnits][4];
#pragma unroll
          for (int u = 0; u < kUnits; ++u)
            ldmatrix_x4(w[u], tile + w_row + u * 2048 + (w_swizzle ^ (half * 64 + j * 32)));
#pragma unroll
          for (int u = 0; u < kUnits; ++u)
#pragma unroll
            for (int b = 0; b < kBlocks; ++b)
              mma_16816<T>(sum[u][b], w[u], x[b][2 * j], x[b][2 * j + 1]);
        }
      }
    }
    if (Tile::kFold && p.segments > 1 && (step + 1 == segment_end || step + 1 == steps)) {
      const bool is_first = segment_end == p.segment_chunks;
#pragma unroll
      for (int u = 0; u < kUnits; ++u)
#pragma unroll
        for (int b = 0; b < kBlocks; ++b)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            total[u][b][i] = is_first ? sum[u][b][i] : total[u][b][i] + sum[u][b][i];
            sum[u][b][i] = 0.0f;
          }
      segment_end += p.segment_chunks;
    }
  }
  if (Tile::kSplit) {
    cp_async_wait<0>();
    __syncthreads();  // the ring becomes the place of the partial sums
    float* partial = reinterpret_cast<float*>(smem) + lane;
    constexpr int kSums = kUnits * kBlocks * 4;
    if (part > 0) {
#pragma unroll
      for (int i = 0; i < kSums; ++i)
        partial[((part - 1) * kSums + i) * 32] = sum[i / 4 / kBlocks][i / 4 % kBlocks][i % 4];
    }
    __syncthreads();
    if (part > 0) return;
    for (int s = 0; s < kSegmentWarps - 1; ++s)
#pragma unroll
      for (int i = 0; i < kSums; ++i)
        sum[i / 4 / kBlocks][i / 4 % kBlocks][i % 4] += partial[(s * kSums + i) * 32];
  }
  const bool folded = Tile::kFold && p.segments > 1;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int n = n0 + (warp_n * kUnits + u) * unit_outputs;
    const UnitBias bias = load_unit_bias(p.out, n, lane);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const int m = m0 + (warp_m * kBlocks + b) * 8;
      float v[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) v[i] = folded ? total[u][b][i] : sum[u][b][i];
      uint32_t old[2];
      load_unit<T>(p.out, n, m, lane, old, true);
      store_unit<T>(p.out, v, bias, n, m, lane, old, true);
    }
  }
}

template <typename T, typename Tile>
void launch_tile(const Context& ctx, const MmaParams& p) {
  constexpr auto kernel = mma_kernel<T, Tile>;
  static const bool allowed = (allow_smem(kernel, Tile::kSmem), true);
  static_cast<void>(allowed);
  const int unit_outputs = p.out.silu_mul ? 8 : 16;
  const dim3 grid(ceil_div(p.out.m, Tile::kCols),
                  ceil_div(p.out.n, Tile::kRows / 16 * unit_outputs));
  launch(ctx, kernel, grid, dim3(Tile::kThreads), Tile::kSmem, p);
}

//                               rows cols warps stages
using DecodeTile = Tiling<64, 16, 4, 1, 6, Segments::kOne>;
using DecodeSplitTile = Tiling<16, 16, 1, 1, 4, Segments::kSplit>;
using SmallTile = Tiling<64, 64, 2, 2, 4, Segments::kFold>;
using SmallSplitTile = Tiling<16, 64, 1, 1, 2, Segments::kSplit>;
using LargeTile = Tiling<128, 128, 2, 2, 3, Segments::kOne>;

template <typename T>
void launch_type(const Context& ctx, const MmaParams& p) {
  const bool split = p.segments > 1;
  const int64_t large_blocks =
      int64_t{ceil_div(p.out.m, LargeTile::kCols)} * ceil_div(p.w_rows, LargeTile::kRows);
  if (p.out.m <= 16)
    split ? launch_tile<T, DecodeSplitTile>(ctx, p) : launch_tile<T, DecodeTile>(ctx, p);
  else if (p.out.m <= 64 && split)
    launch_tile<T, SmallSplitTile>(ctx, p);
  else if (p.out.m <= 64 || split || 2 * large_blocks < ctx.num_sms)
    launch_tile<T, SmallTile>(ctx, p);
  else
    launch_tile<T, LargeTile>(ctx, p);
}

}  // namespace

void gemm_mma(const Context& ctx, const GemmArgs& args) {
  const int m = static_cast<int>(args.x.dim(0));
  if (m == 0) return;
  check_fits_tensor_cores("gemm_mma", args);
  const int n = static_cast<int>(args.w.dim(0)), k = static_cast<int>(args.w.dim(1));
  MmaParams p;
  p.out = {args.y.data,
           args.y.row_stride,
           args.bias ? args.bias->data : nullptr,
           args.bias ? args.bias->dtype : DType::kF32,
           args.y.dtype == DType::kF32,
           args.accumulate,
           args.silu_mul,
           m,
           args.silu_mul ? n / 2 : n};
  p.w = args.w.data;
  p.x = args.x.data;
  p.x_stride = args.x.row_stride;
  p.w_rows = n;
  p.k = k;
  p.segments = k_segments(n, k);
  p.segment_chunks = static_cast<int>(segment_length(n, k) / kChunk);
  if (args.x.dtype == DType::kF16)
    launch_type<f16>(ctx, p);
  else
    launch_type<bf16>(ctx, p);
}

}  // namespace hotpath::cuda

// The GEMM for what tensor cores do not take: f32, mixed dtypes, odd strides and alignments.
// Order, whatever M: K in 8 contiguous segments, fused multiply-adds in rising k within one from
// zero, the segments' sums added in rising order. The tile kernel goes through the segments one
// after the other, the row kernel gives each of 8 warps one.

#include <algorithm>

#include "cuda/device/gemm_output.cuh"
#include "cuda/gemm.h"

namespace hotpath::cuda {
namespace {

constexpr int kSegments = 8;
constexpr int kRowsAtMost = 32;  // of x, for the row kernel

struct SimtParams {
  void* y;
  int64_t y_stride;
  DType y_dtype;
  const void* x;
  int64_t x_stride;
  DType x_dtype;
  const void* w;
  const void* bias;
  DType bias_dtype;
  bool accumulate;
  bool silu_mul;
  int m, n, k;  // n: outputs, half of W's rows with silu_mul
  int segment;  // k per segment
};

__device__ __forceinline__ void store_as(void* p, DType dtype, int64_t i, float v) {
  if (dtype == DType::kF16)
    static_cast<f16*>(p)[i] = from_float<f16>(v);
  else if (dtype == DType::kBF16)
    static_cast<bf16*>(p)[i] = from_float<bf16>(v);
  else
    static_cast<float*>(p)[i] = v;
}

// `up`: the sum of row n + p.n of W, with silu_mul.
__device__ __forceinline__ void finish(const SimtParams& p, int m, int n, float sum, float up) {
  if (p.bias != nullptr) {
    sum += load_as_float(p.bias, p.bias_dtype, n);
    if (p.silu_mul) up += load_as_float(p.bias, p.bias_dtype, n + p.n);
  }
  float v = p.silu_mul ? silu(sum) * up : sum;
  const int64_t at = m * p.y_stride + n;
  if (p.accumulate) v += load_as_float(p.y, p.y_dtype, at);
  store_as(p.y, p.y_dtype, at, v);
}

// The W rows of a tile whose first output is n0: column c is the row of output n0 + c or, with
// silu_mul, even columns are gate rows and odd ones their up rows.
template <typename W>
struct Columns {
  const W* first;
  int64_t pair_stride, odd_stride;  // elements
  int count;                        // of columns that exist

  __device__ Columns(const SimtParams& p, int n0)
      : first(static_cast<const W*>(p.w) + static_cast<int64_t>(n0) * p.k),
        pair_stride(static_cast<int64_t>(p.silu_mul ? 1 : 2) * p.k),
        odd_stride(static_cast<int64_t>(p.silu_mul ? p.n : 1) * p.k),
        count((p.n - n0) * (p.silu_mul ? 2 : 1)) {}
  __device__ float load(int c, int k, bool inside) const {
    const int64_t at = c / 2 * pair_stride + c % 2 * odd_stride + k;
    return inside && c < count ? to_float(first[at]) : 0.0f;
  }
};

template <typename X, int kCount>
__device__ __forceinline__ void load_rows_as(float (&v)[kCount], const SimtParams& p, int m,
                                             int step, int k, bool inside) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int row = m + i * step;
    v[i] = inside && row < p.m ? to_float(static_cast<const X*>(p.x)[row * p.x_stride + k]) : 0.0f;
  }
}
// Element k of the rows m, m + step, ... of x. One branch on the dtype for all of them: the loads
// are under way together.
template <int kCount>
__device__ __forceinline__ void load_rows(float (&v)[kCount], const SimtParams& p, int m, int step,
                                          int k, bool inside) {
  switch (p.x_dtype) {
    case DType::kF16:
      return load_rows_as<f16>(v, p, m, step, k, inside);
    case DType::kBF16:
      return load_rows_as<bf16>(v, p, m, step, k, inside);
    default:
      return load_rows_as<float>(v, p, m, step, k, inside);
  }
}

// 64 x 64 tiles, 16 k at a time, 256 threads with 4 x 4 sums each.
constexpr int kTile = 64, kTileK = 16, kPad = 4;
template <typename W>
__global__ void __launch_bounds__(256, 2) simt_tile_kernel(const SimtParams p) {
  __shared__ float xs[kTileK][kTile + kPad], ws[kTileK][kTile + kPad];
  griddep_launch();
  griddep_wait();
  const int outputs = p.silu_mul ? kTile / 2 : kTile;
  const int m0 = blockIdx.x * kTile, n0 = blockIdx.y * outputs;
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;  // columns 4 tx.., rows 4 ty..
  const int load_k = threadIdx.x % kTileK, load_row = threadIdx.x / kTileK;
  const Columns<W> columns(p, n0);
  float next_x[4], next_w[4];  // on their way while the tile before is multiplied
  const auto fetch = [&](int k, int end) {
    load_rows(next_x, p, m0 + load_row, 16, k, k < end);
#pragma unroll
    for (int i = 0; i < 4; ++i) next_w[i] = columns.load(load_row + 16 * i, k, k < end);
  };
  fetch(load_k, min(p.segment, p.k));
  float total[4][4] = {};
  for (int begin = 0; begin < p.k; begin += p.segment) {
    const int end = min(begin + p.segment, p.k);
    float sum[4][4] = {};
    for (int k0 = begin; k0 < end; k0 += kTileK) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        xs[load_k][load_row + 16 * i] = next_x[i];
        ws[load_k][load_row + 16 * i] = next_w[i];
      }
      __syncthreads();
      if (k0 + kTileK < end)
        fetch(k0 + kTileK + load_k, end);
      else
        fetch(end + load_k, min(end + p.segment, p.k));
#pragma unroll 4
      for (int kk = 0; kk < kTileK; ++kk) {
        const float4 a = *reinterpret_cast<const float4*>(&xs[kk][4 * ty]);
        const float4 b = *reinterpret_cast<const float4*>(&ws[kk][4 * tx]);
        const float av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(av[i], bv[j], sum[i][j]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) total[i][j] += sum[i][j];
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int m = m0 + 4 * ty + i;
    if (m >= p.m) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int n = p.silu_mul ? n0 + (4 * tx + j) / 2 : n0 + 4 * tx + j;
      if (n >= p.n || (p.silu_mul && j % 2)) continue;
      finish(p, m, n, total[i][j], total[i][(j + 1) % 4]);
    }
  }
}

// 32 columns to a block, a lane each, and up to kRows rows of x; warp s sums segment s. W is staged
// through shared memory so that its loads are coalesced.
constexpr int kRowK = 32;
template <typename W, int kRows>
__global__ void __launch_bounds__(32 * kSegments) simt_row_kernel(const SimtParams p) {
  __shared__ float ws[kSegments][32][kRowK + 1];
  __shared__ float xs[kSegments][kRows][kRowK];
  griddep_launch();
  griddep_wait();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int n0 = blockIdx.x * (p.silu_mul ? 16 : 32), m0 = blockIdx.y * kRows;
  const int begin = min(warp * p.segment, p.k), end = min(begin + p.segment, p.k);
  const Columns<W> columns(p, n0);
  float sum[kRows] = {};
  for (int k0 = begin; k0 < end; k0 += kRowK) {
    const int k = k0 + lane;
    float w[32], x[kRows];
#pragma unroll
    for (int c = 0; c < 32; ++c) w[c] = columns.load(c, k, k < end);
    load_rows(x, p, m0, 1, k, k < end);
    __syncwarp();
#pragma unroll
    for (int c = 0; c < 32; ++c) ws[warp][c][lane] = w[c];
#pragma unroll
    for (int r = 0; r < kRows; ++r) xs[warp][r][lane] = x[r];
    __syncwarp();
#pragma unroll 8
    for (int kk = 0; kk < kRowK; ++kk) {
      const float v = ws[warp][lane][kk];
#pragma unroll
      for (int r = 0; r < kRows; ++r) sum[r] = fmaf(xs[warp][r][kk], v, sum[r]);
    }
  }
  __syncthreads();
  float* partial = &ws[0][0][0];
#pragma unroll
  for (int r = 0; r < kRows; ++r) partial[(warp * kRows + r) * 32 + lane] = sum[r];
  __syncthreads();
  for (int r = warp; r < kRows; r += kSegments) {
    const int m = m0 + r;
    float total = 0.0f;
    for (int s = 0; s < kSegments; ++s) total += partial[(s * kRows + r) * 32 + lane];
    const float up = __shfl_xor_sync(0xffffffffu, total, 1);
    const int n = p.silu_mul ? n0 + lane / 2 : n0 + lane;
    if (m >= p.m || n >= p.n || (p.silu_mul && lane % 2)) continue;
    finish(p, m, n, total, up);
  }
}

template <typename W>
void launch_simt(const Context& ctx, const SimtParams& p) {
  const int columns = p.silu_mul ? 2 * p.n : p.n;
  if (p.m == 1)
    launch(ctx, simt_row_kernel<W, 1>, dim3(ceil_div(columns, 32)), dim3(32 * kSegments), 0, p);
  else if (p.m <= kRowsAtMost)
    launch(ctx, simt_row_kernel<W, 8>, dim3(ceil_div(columns, 32), ceil_div(p.m, 8)),
           dim3(32 * kSegments), 0, p);
  else
    launch(ctx, simt_tile_kernel<W>, dim3(ceil_div(p.m, kTile), ceil_div(columns, kTile)),
           dim3(256), 0, p);
}

}  // namespace

void gemm_simt(const Context& ctx, const GemmArgs& args) {
  if (args.x.dim(0) == 0) return;
  SimtParams p;
  p.y = args.y.data;
  p.y_stride = args.y.row_stride;
  p.y_dtype = args.y.dtype;
  p.x = args.x.data;
  p.x_stride = args.x.row_stride;
  p.x_dtype = args.x.dtype;
  p.w = args.w.data;
  p.bias = args.bias ? args.bias->data : nullptr;
  p.bias_dtype = args.bias ? args.bias->dtype : DType::kF32;
  p.accumulate = args.accumulate;
  p.silu_mul = args.silu_mul;
  p.m = static_cast<int>(args.x.dim(0));
  p.n = static_cast<int>(args.y.dim(1));
  p.k = static_cast<int>(args.x.dim(1));
  p.segment = std::max(1, ceil_div(p.k, kSegments));
  switch (args.w.dtype) {
    case DType::kF16:
      return launch_simt<f16>(ctx, p);
    case DType::kBF16:
      return launch_simt<bf16>(ctx, p);
    default:
      check(args.w.dtype == DType::kF32, "gemm_simt: expected float weights, received ",
            dtype_name(args.w.dtype));
      return launch_simt<float>(ctx, p);
  }
}

}  // namespace hotpath::cuda

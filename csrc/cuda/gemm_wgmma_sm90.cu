#include <algorithm>
#include <tuple>

#include "cuda/device/gemm_wgmma.cuh"
#include "cuda/gemm_wgmma.h"

namespace hotpath::cuda {

extern template void launch_wgmma<bf16>(const Context&, const WgmmaPlan&, bool, const WgmmaMaps&,
                                        const WgmmaParams&);
extern template void launch_wgmma<f16>(const Context&, const WgmmaPlan&, bool, const WgmmaMaps&,
                                       const WgmmaParams&);

namespace {

struct Tile {
  int m, n;
  bool whole, segmented;  // built for one K segment; for four
};
constexpr Tile kWgmmaTiles[] = {{128, 256, true, false}, {128, 224, true, false},
                                {128, 192, true, true},  {128, 160, true, true},
                                {128, 144, false, true}, {128, 128, true, true},
                                {128, 96, true, false},  {128, 64, true, true},
                                {64, 128, true, false},  {64, 96, true, true},
                                {64, 64, true, true},    {64, 32, true, true}};

// A row-major matrix of 16-bit elements, read or written in boxes of [box_rows][box_columns].
void encode(const Context& ctx, CUtensorMap* map, const Tensor& t, int64_t box_columns,
            int64_t box_rows) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(t.dim(1)),
                              static_cast<cuuint64_t>(t.dim(0))};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(t.row_stride) * 2};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_columns),
                             static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUtensorMapSwizzle swizzle = box_columns == 64   ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : box_columns == 32 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                         : CU_TENSOR_MAP_SWIZZLE_32B;
  const CUresult status = ctx.encode_tiled(
      map, t.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      2, t.data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "gemm_wgmma: cuTensorMapEncodeTiled gave ",
        static_cast<int>(status), " for ", t.to_string(), ", row stride ", t.row_stride, ", box ",
        box_rows, " x ", box_columns);
}

bool aligned(const Tensor& t, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(t.data) % bytes == 0 &&
         t.row_stride * static_cast<int64_t>(dtype_size(t.dtype)) % bytes == 0;
}

}  // namespace

WgmmaPlan plan_wgmma(const Context& ctx, int64_t m, int64_t n, int64_t k, bool silu_mul) {
  const bool segmented = k_segments(n, k) > 1;
  const bool tall = segmented && m >= 2048;
  const bool wide = m >= 8192 && n >= 65536 && k < 1024;
  const int k_blocks = ceil_div(k, 64);
  // Cycles that fetching w once from device memory takes, 2000 bytes a cycle.
  const double fetch = 2.0 * static_cast<double>(n) * static_cast<double>(k) / 2000;
  WgmmaPlan best{};
  double best_time = 0;
  auto consider = [&](double work, const WgmmaPlan& plan) {
    const double time = std::max(work, fetch) + work / 16;  // equal: the one with less work
    if (best.tile_m != 0 && time >= best_time) return;
    best_time = time;
    best = plan;
  };
  for (const Tile& tile : kWgmmaTiles) {
    if (!(segmented ? tile.segmented : tile.whole)) continue;
    if (silu_mul && tile.n % 32 != 0) continue;  // halves of whole steps of 16
    const int tiles_m = ceil_div(m, tile.m), tiles_n = ceil_div(n, tile.n);
    // Cycles per 64 of K: the tensor cores (2 x 1024 multiply-adds each), shared memory (128 bytes:
    // a warpgroup reads its x rows and all w rows, copies come in), copies (54 bytes as measured).
    const int groups = tile.m / 64, copied = (tile.m + tile.n) * 128;
    const int compute = groups * tile.n * 2;
    const int shared = (groups * (64 + tile.n) * 128 + copied) / 128;
    const double step = std::max({compute * 1.0, shared * 1.0, copied / 54.0});
    // Filling and emptying the pipeline, storing; a stop at the end of each segment.
    const double rest = 1000 + tile.m * tile.n / 32.0 + (segmented ? 4 * 250 : 0);
    // 2x1 shares w, 1x2 shares x, 1x1 nothing: L2 bandwidth against waits for the partner. Mostly
    // 2x1 is best. H100, us of 2x1 and of the better one, where it is not:
    //  - four segments, many rows: 1x2 with an even number of tiles along n (M = 2048: 1152 x 896
    //    10.99, 10.32; M = 8192: 1152 x 896 32.44, 31.93, 896 x 896 28.64, 27.41), else half a
    //    cluster idles and 1x1 is (M = 2048: 896 x 4864 33.86, 32.50, 896 x 896 9.64, 9.26);
    //  - a very wide, short w and very many rows: 1x1 (M = 8192: 151936 x 896 3739, 3676).
    const double share_w = tall ? 1.05 : 1.0;
    const double share_x = tiles_m == 1 || (tall && tiles_n % 2 == 0) ? 1.0 : 1.08;
    const double alone = tall ? 1.02 : wide ? 0.98 : 1.08;
    for (const auto [cluster_m, cluster_n, cost] :
         {std::tuple{2, 1, share_w}, std::tuple{1, 2, share_x}, std::tuple{1, 1, alone}}) {
      const int units = ceil_div(tiles_m, cluster_m) * ceil_div(tiles_n, cluster_n);
      const int waves = ceil_div(units, ctx.num_sms / (cluster_m * cluster_n));
      consider(waves * (k_blocks * step * cost + rest),
               {tile.m, tile.n, cluster_m, cluster_n, wgmma_group(tile.m, cluster_m, k)});
    }
  }
  return best;
}

void gemm_wgmma_as(const Context& ctx, const GemmArgs& args, const WgmmaPlan& plan) {
  const Tensor &x = args.x, &w = args.w, &y = args.y;
  const int64_t m = x.dim(0), k = x.dim(1), n = w.dim(0);
  const int64_t n_out = args.silu_mul ? n / 2 : n;
  check(x.ndim == 2 && w.ndim == 2 && y.ndim == 2 && w.dim(1) == k && y.dim(0) == m &&
            y.dim(1) == n_out && n % 2 == 0 && k > 0,
        "gemm_wgmma: expected y[M, N] = x[M, K] w[N, K]^T, N even; received ", y.to_string(), ", ",
        x.to_string(), ", ", w.to_string());
  check((x.dtype == DType::kBF16 || x.dtype == DType::kF16) && w.dtype == x.dtype &&
            (y.dtype == x.dtype || y.dtype == DType::kF32),
        "gemm_wgmma: expected x, w of one 16-bit dtype and y of it or f32; received ",
        y.to_string(), ", ", x.to_string(), ", ", w.to_string());
  check(aligned(x, 16) && aligned(w, 16) && w.contiguous(),
        "gemm_wgmma: expected 16-byte aligned rows; received ", x.to_string(), ", row stride ",
        x.row_stride, ", ", w.to_string(), ", row stride ", w.row_stride);
  check(!args.silu_mul || plan.tile_n % 32 == 0,
        "gemm_wgmma: expected a tile of whole 32 columns for silu_mul, received ", plan.tile_n);
  check(!args.bias || (args.bias->ndim == 1 && args.bias->dim(0) == n),
        "gemm_wgmma: expected a bias of ", n, " elements");
  if (m == 0 || n == 0) return;

  const bool split_halves = args.silu_mul && plan.cluster_m == 1;
  WgmmaParams p{};
  p.y = y.data;
  p.bias = args.bias ? args.bias->data : nullptr;
  p.bias_dtype = args.bias ? args.bias->dtype : DType::kF32;
  p.y_stride = y.row_stride;
  p.m = static_cast<int>(m);
  p.n = static_cast<int>(n);
  p.n_out = static_cast<int>(n_out);
  p.k_blocks = ceil_div(k, 64);
  p.segment_blocks = static_cast<int>(segment_length(n, k) / 64);
  p.cluster_m = plan.cluster_m;
  p.cluster_n = plan.cluster_n;
  // With silu_mul a tile has tile_n / 2 gate rows and the tile_n / 2 up rows that belong to them.
  p.units_m = ceil_div(m, plan.tile_m * plan.cluster_m);
  p.units_n = ceil_div(n, plan.tile_n * plan.cluster_n);
  p.group = plan.group;
  p.w_box = plan.tile_n / (split_halves ? 2 : plan.cluster_m);
  p.accumulate = args.accumulate;
  p.silu_mul = args.silu_mul;
  p.y_f32 = y.dtype == DType::kF32;
  p.y_pairs = aligned(y, 2 * static_cast<int64_t>(dtype_size(y.dtype)));
  const int columns = args.silu_mul ? plan.tile_n / 2 : plan.tile_n;
  // The copy engine clips a row at whole 16 bytes only: it would write over what lies behind y's
  // last column.
  if (!p.y_f32 && aligned(y, 16) && n_out % 8 == 0)
    p.chunk_columns = columns % 64 == 0 ? 64 : columns % 32 == 0 ? 32 : 16;

  WgmmaMaps maps;
  encode(ctx, &maps.x, x, 64, plan.tile_m / plan.cluster_n);
  encode(ctx, &maps.w, w, 64, p.w_box);
  if (p.chunk_columns) encode(ctx, &maps.y, y, p.chunk_columns, 16);
  const bool segmented = k_segments(n, k) > 1;
  if (x.dtype == DType::kBF16)
    launch_wgmma<bf16>(ctx, plan, segmented, maps, p);
  else
    launch_wgmma<f16>(ctx, plan, segmented, maps, p);
}

void gemm_wgmma(const Context& ctx, const GemmArgs& args) {
  const WgmmaPlan plan = plan_wgmma(ctx, args.x.dim(0), args.w.dim(0), args.x.dim(1),
                                    args.silu_mul);
  gemm_wgmma_as(ctx, args, plan);
}

}  // namespace hotpath::cuda

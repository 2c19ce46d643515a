#include "cuda/gemm.h"

#include "cuda/gemm_stream.h"

namespace hotpath::cuda {
namespace {

// Prints a tensor's type and shape; nothing is formatted unless a check fails.
struct Shape {
  const Tensor& tensor;
};
std::ostream& operator<<(std::ostream& out, const Shape& s) { return out << s.tensor.to_string(); }

bool is_float(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

bool aligned(const void* p, uintptr_t bytes) {
  return (reinterpret_cast<uintptr_t>(p) & (bytes - 1)) == 0;
}

bool shapes_agree(const GemmArgs& a) {
  if (a.y.ndim != 2 || a.x.ndim != 2 || a.w.ndim != 2 || !a.w.contiguous()) return false;
  const int64_t n = a.w.dim(0);
  if (a.silu_mul && n % 2 != 0) return false;
  if (a.y.dim(1) != (a.silu_mul ? n / 2 : n) || a.x.dim(1) != a.w.dim(1)) return false;
  if (a.y.dim(0) != a.x.dim(0)) return false;
  if (!is_float(a.x.dtype) || !is_float(a.w.dtype)) return false;
  if (a.y.dtype != a.x.dtype && a.y.dtype != DType::kF32) return false;
  return a.bias == nullptr || (a.bias->numel() == n && is_float(a.bias->dtype));
}

bool streams_on_hopper(const Context& ctx, const GemmArgs& args) {
  return ctx.hopper && ctx.encode_tiled != nullptr && args.w.dim(1) % 64 == 0 &&
         args.x.dim(0) <= kStreamMostRows;
}

}  // namespace

bool fits_tensor_cores(const GemmArgs& a) {
  if (a.x.dtype != a.w.dtype || a.x.dtype == DType::kF32) return false;
  if (!aligned(a.x.data, 16) || !aligned(a.w.data, 16)) return false;
  if (a.w.dim(1) % 8 != 0 || a.x.row_stride % 8 != 0) return false;
  if (a.w.dim(0) % (a.silu_mul ? 4 : 2) != 0) return false;
  return aligned(a.y.data, 4) && (a.y.dtype == DType::kF32 || a.y.row_stride % 2 == 0);
}

void check_fits_tensor_cores(const char* kernel, const GemmArgs& a) {
  check(shapes_agree(a) && fits_tensor_cores(a), kernel,
        ": expected x [M, K] and w [N, K] of one 16-bit dtype, 16-byte aligned, N even, received ",
        "x ",
        Shape{a.x}, ", w ", Shape{a.w}, ", y ", Shape{a.y});
}

void gemm_stream(const Context& ctx, const GemmArgs& args) {
  if (args.x.dim(0) == 0) return;
  check_fits_tensor_cores("gemm_stream", args);
  if (streams_on_hopper(ctx, args) &&
      gemm_stream_sm90(ctx, args, pick_stream_config(ctx, args)))
    return;
  gemm_mma(ctx, args);
}

void gemm(const Context& ctx, const GemmArgs& args) {
  const int64_t m = args.x.dim(0);
  if (m == 0) return;
  check(shapes_agree(args), "gemm: expected y [M, N] = x [M, K] w [N, K]^T, received x ",
        Shape{args.x}, ", w ", Shape{args.w}, ", y ", Shape{args.y});
  // H100: with few rows streaming W is fastest. Beyond 32 rows it reads x from L2 too often: wgmma
  // takes 128 rows in less time than streaming takes for 64 (4096 x 4096: 15.1 against 17.8 us,
  // 4096 x 14336: 45 against 51), except where N is small (896 x 4864: 12 us for 256 against 9.3).
  const bool wgmma = ctx.hopper && ctx.encode_tiled != nullptr &&
                     m > (args.w.dim(0) < 2048 ? kStreamMostRows : 32);
  if (!fits_tensor_cores(args))
    gemm_simt(ctx, args);
  else if (wgmma)
    gemm_wgmma(ctx, args);
  else if (m <= kStreamMostRows)
    gemm_stream(ctx, args);
  else
    gemm_mma(ctx, args);
}

}  // namespace hotpath::cuda

// Ops that treat rows apart: embedding, norms, SiLU gate, gather. All are bound by memory at many
// rows and by latency at few: one pass, 16-byte vectors, the row in registers.

#include "cuda/row_ops.h"

#include <algorithm>

#include "cuda/device/any_dtype.cuh"

namespace hotpath::cuda {
namespace {

bool is_float(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// True where every row of t is a whole number of aligned 16-byte vectors.
bool vector_rows(const Tensor& t) {
  const int64_t size = static_cast<int64_t>(dtype_size(t.dtype));
  return aligned16(t.data) && t.dim(1) * size % 16 == 0 &&
         (t.row_stride * size % 16 == 0 || t.dim(0) <= 1);
}

void check_rows(const Tensor& t, const char* name, int64_t rows, int64_t columns, DType dtype) {
  if (t.ndim == 2 && t.dim(0) == rows && t.dim(1) == columns && t.dtype == dtype) return;
  fail("internal_error", name, ": expected ", dtype_name(dtype), "[", rows, ", ", columns,
       "], received ", t.to_string());
}

void check_activation(const Tensor& t, const char* name) {
  if (t.ndim == 2 && is_float(t.dtype)) return;
  fail("internal_error", name, ": expected f32, f16 or bf16 [rows, columns], received ",
       t.to_string());
}

// ------------------------------------------------------------------------------- embed, gather

struct CopyRows {
  void* out;
  const void* source;
  int64_t out_stride, source_stride;  // elements
  DType out_dtype, source_dtype;
  int columns, source_rows;
  int vectors;                 // 16-byte vectors of a row; 0: element by element, converting
  const int32_t* indices;      // [rows]; negative ones (embed only): last_tokens[-1 - index]
  const int32_t* last_tokens;  // null for gather
};

__global__ void __launch_bounds__(1024) copy_rows_kernel(const CopyRows p) {
  griddep_launch();
  griddep_wait();
  const int64_t row = blockIdx.x;
  int index = p.indices[row];
  if (index < 0 && p.last_tokens) index = p.last_tokens[-1 - index];
  index = min(max(index, 0), p.source_rows - 1);
  if (p.vectors) {
    const int64_t row_vectors = p.out_dtype == DType::kF32 ? 4 : 8;
    const uint4* source =
        static_cast<const uint4*>(p.source) + index * (p.source_stride / row_vectors);
    uint4* out = static_cast<uint4*>(p.out) + row * (p.out_stride / row_vectors);
    for (int i = threadIdx.x; i < p.vectors; i += blockDim.x) out[i] = source[i];
    return;
  }
  for (int i = threadIdx.x; i < p.columns; i += blockDim.x)
    store_any(p.out, p.out_dtype, row * p.out_stride + i,
              load_any(p.source, p.source_dtype, index * p.source_stride + i));
}

void copy_rows(const Context& ctx, const Tensor& out, const Tensor& source, const int32_t* indices,
               const int32_t* last_tokens) {
  const int64_t rows = out.dim(0), columns = out.dim(1);
  if (out.dim(0) == 0) return;
  check(source.dim(0) > 0, "rows to copy from: expected at least 1, received ", source.dim(0));
  if (rows == 0 || columns == 0) return;
  CopyRows p{out.data,    source.data,   out.row_stride,
             source.row_stride, out.dtype, source.dtype,
             static_cast<int>(columns), static_cast<int>(source.dim(0)),
             0,           indices,       last_tokens};
  if (out.dtype == source.dtype && vector_rows(out) && vector_rows(source))
    p.vectors = static_cast<int>(columns * dtype_size(out.dtype) / 16);
  const int width = p.vectors ? p.vectors : p.columns;
  launch(ctx, copy_rows_kernel, dim3(rows), dim3(std::min(1024, ceil_div(width, 32) * 32)), 0, p);
}

// --------------------------------------------------------------------------------------- norms

struct Norm {
  void* out;
  const void* x;
  void* residual;  // null: a plain norm
  const void* w;
  int64_t out_stride, x_stride, residual_stride;  // elements
  int columns;
  float eps;
  DType dtype, w_dtype;
  bool w_vectors;  // w has the activations' dtype and is aligned
};

// The sum over the block, in every thread; the order depends on blockDim only. `partial`: [32].
__device__ __forceinline__ float block_sum(float v, float* partial) {
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  v = warp_sum(v);
  if (lane == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  return warp_sum(lane < warps ? partial[lane] : 0.0f);
}

// One block per row; thread i holds vectors i, i + blockDim.x, ... (kVectors of them).
template <typename T, int kVectors>
__global__ void __launch_bounds__(kVectors == 4 ? 1024 : 512) norm_kernel(const Norm p) {
  constexpr int kWidth = Vector<T>::kWidth;
  constexpr bool kEarlyWeights = kVectors < 4;  // of 64 registers a thread there are none to spare
  __shared__ float partial[32];
  const int vectors = p.columns / kWidth;
  const int64_t row = blockIdx.x;
  griddep_launch();

  uint4 w[kVectors];
  if (kEarlyWeights && p.w_vectors) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      const int i = threadIdx.x + v * blockDim.x;
      if (i < vectors) w[v] = __ldg(static_cast<const uint4*>(p.w) + i);
    }
  }
  griddep_wait();

  const uint4* x_row =
      reinterpret_cast<const uint4*>(static_cast<const T*>(p.x) + row * p.x_stride);
  uint4* residual_row =
      reinterpret_cast<uint4*>(static_cast<T*>(p.residual) + row * p.residual_stride);
  uint4 x[kVectors], residual[kVectors];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = threadIdx.x + v * blockDim.x;
    x[v] = i < vectors ? x_row[i] : make_uint4(0, 0, 0, 0);
    if (p.residual) residual[v] = i < vectors ? residual_row[i] : make_uint4(0, 0, 0, 0);
  }
  float sum = 0;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    float a[kWidth];
    Vector<T>::unpack(a, x[v]);
    if (p.residual) {
      float b[kWidth];
      Vector<T>::unpack(b, residual[v]);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) a[i] += b[i];
      x[v] = Vector<T>::pack(a);
      Vector<T>::unpack(a, x[v]);
      const int i = threadIdx.x + v * blockDim.x;
      if (i < vectors) residual_row[i] = x[v];
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum += a[i] * a[i];
  }
  const float scale =
      rsqrtf(block_sum(sum, partial) / static_cast<float>(p.columns) + p.eps);

  uint4* out_row = reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row * p.out_stride);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int i = threadIdx.x + v * blockDim.x;
    if (i >= vectors) continue;
    float a[kWidth], b[kWidth];
    Vector<T>::unpack(a, x[v]);
    if (p.w_vectors) {
      if (!kEarlyWeights) w[v] = __ldg(static_cast<const uint4*>(p.w) + i);
      Vector<T>::unpack(b, w[v]);
    } else {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) b[j] = load_any(p.w, p.w_dtype, i * kWidth + j);
    }
#pragma unroll
    for (int j = 0; j < kWidth; ++j) a[j] = a[j] * scale * b[j];
    out_row[i] = Vector<T>::pack(a);
  }
}

// Rows that are no whole vectors, or too long for registers: two passes, element by element.
__global__ void __launch_bounds__(256) norm_any_kernel(const Norm p) {
  __shared__ float partial[32];
  const int64_t row = blockIdx.x;
  griddep_launch();
  griddep_wait();
  float sum = 0;
  for (int i = threadIdx.x; i < p.columns; i += blockDim.x) {
    float v = load_any(p.x, p.dtype, row * p.x_stride + i);
    if (p.residual) {
      const int64_t at = row * p.residual_stride + i;
      store_any(p.residual, p.dtype, at, v + load_any(p.residual, p.dtype, at));
      v = load_any(p.residual, p.dtype, at);
    }
    sum += v * v;
  }
  const float scale = rsqrtf(block_sum(sum, partial) / static_cast<float>(p.columns) + p.eps);
  for (int i = threadIdx.x; i < p.columns; i += blockDim.x) {
    const float v = p.residual ? load_any(p.residual, p.dtype, row * p.residual_stride + i)
                               : load_any(p.x, p.dtype, row * p.x_stride + i);
    store_any(p.out, p.dtype, row * p.out_stride + i, v * scale * load_any(p.w, p.w_dtype, i));
  }
}

template <typename T>
void launch_norm(const Context& ctx, const Norm& p, int64_t rows) {
  const int vectors = p.columns / Vector<T>::kWidth;
  const auto threads = [&](int per_thread) {
    return dim3(ceil_div(ceil_div(vectors, per_thread), 32) * 32);
  };
  if (vectors <= 512)
    launch(ctx, norm_kernel<T, 1>, dim3(rows), threads(1), 0, p);
  else if (vectors <= 1024)
    launch(ctx, norm_kernel<T, 2>, dim3(rows), threads(2), 0, p);
  else
    launch(ctx, norm_kernel<T, 4>, dim3(rows), threads(4), 0, p);
}

void norm(const Context& ctx, const Tensor& out, const Tensor& x, const Tensor* residual,
          const Tensor& w, float eps) {
  check_activation(x, "norm x");
  const int64_t rows = x.dim(0), columns = x.dim(1);
  check_rows(out, "norm out", rows, columns, x.dtype);
  if (residual) check_rows(*residual, "norm residual", rows, columns, x.dtype);
  check(w.ndim == 1 && w.dim(0) == columns && is_float(w.dtype), "norm w: expected float [",
        columns, "], received ", dtype_name(w.dtype), " of ", w.dim(0));
  if (rows == 0 || columns == 0) return;
  const Norm p{out.data,
               x.data,
               residual ? residual->data : nullptr,
               w.data,
               out.row_stride,
               x.row_stride,
               residual ? residual->row_stride : 0,
               static_cast<int>(columns),
               eps,
               x.dtype,
               w.dtype,
               w.dtype == x.dtype && aligned16(w.data)};
  const bool in_registers = columns * static_cast<int64_t>(dtype_size(x.dtype)) <= 4 * 1024 * 16 &&
                            vector_rows(x) && vector_rows(out) &&
                            (!residual || vector_rows(*residual));
  if (!in_registers)
    launch(ctx, norm_any_kernel, dim3(rows), dim3(256), 0, p);
  else if (x.dtype == DType::kBF16)
    launch_norm<bf16>(ctx, p, rows);
  else if (x.dtype == DType::kF16)
    launch_norm<f16>(ctx, p, rows);
  else
    launch_norm<float>(ctx, p, rows);
}

// ------------------------------------------------------------------------------------- SiLU gate

struct SiluMul {
  void* out;
  const void* gate_up;
  int64_t out_stride, gate_up_stride;  // elements
  DType dtype;
  uint32_t columns;  // of out
  uint32_t items;    // vectors (or elements) of out in all
};

template <typename T>
__global__ void __launch_bounds__(256) silu_mul_kernel(const SiluMul p) {
  constexpr int kWidth = Vector<T>::kWidth;
  griddep_launch();
  griddep_wait();
  const uint32_t item = blockIdx.x * 256u + threadIdx.x, vectors = p.columns / kWidth;
  if (item >= p.items) return;
  const uint32_t row = item / vectors, column = item % vectors * kWidth;
  const T* gate_row = static_cast<const T*>(p.gate_up) + row * p.gate_up_stride + column;
  const uint4 raw_gate = *reinterpret_cast<const uint4*>(gate_row);
  const uint4 raw_up = *reinterpret_cast<const uint4*>(gate_row + p.columns);
  float gate[kWidth], up[kWidth];
  Vector<T>::unpack(gate, raw_gate);
  Vector<T>::unpack(up, raw_up);
#pragma unroll
  for (int i = 0; i < kWidth; ++i) gate[i] = silu(gate[i]) * up[i];
  *reinterpret_cast<uint4*>(static_cast<T*>(p.out) + row * p.out_stride + column) =
      Vector<T>::pack(gate);
}

__global__ void __launch_bounds__(256) silu_mul_any_kernel(const SiluMul p) {
  griddep_launch();
  griddep_wait();
  const uint32_t item = blockIdx.x * 256u + threadIdx.x;
  if (item >= p.items) return;
  const uint32_t row = item / p.columns, column = item % p.columns;
  const int64_t at = row * p.gate_up_stride + column;
  const float gate = load_any(p.gate_up, p.dtype, at);
  const float up = load_any(p.gate_up, p.dtype, at + p.columns);
  store_any(p.out, p.dtype, row * p.out_stride + column, silu(gate) * up);
}

}  // namespace

void embed(const Context& ctx, const Tensor& out, const Tensor& table, const DeviceBatch& batch) {
  check_activation(out, "embed out");
  check(table.ndim == 2 && is_float(table.dtype) && table.dim(1) == out.dim(1),
        "embed table: expected float [vocab, ", out.dim(1), "], received ",
        dtype_name(table.dtype), " of ", table.dim(1), " columns");
  copy_rows(ctx, out, table, batch.input_ids, batch.last_tokens);
}

void gather_rows(const Context& ctx, const Tensor& out, const Tensor& x, const int32_t* indices) {
  check_activation(x, "gather x");
  check_rows(out, "gather out", out.dim(0), x.dim(1), x.dtype);
  copy_rows(ctx, out, x, indices, nullptr);
}

void rmsnorm(const Context& ctx, const Tensor& out, const Tensor& x, const Tensor& w, float eps) {
  norm(ctx, out, x, nullptr, w, eps);
}

void add_rmsnorm(const Context& ctx, const Tensor& out, const Tensor& residual, const Tensor& x,
                 const Tensor& w, float eps) {
  norm(ctx, out, x, &residual, w, eps);
}

void silu_mul(const Context& ctx, const Tensor& out, const Tensor& gate_up) {
  check_activation(out, "silu_mul out");
  const int64_t rows = out.dim(0), columns = out.dim(1);
  check_rows(gate_up, "silu_mul gate_up", rows, 2 * columns, out.dtype);
  check(rows * columns < int64_t{1} << 31, "silu_mul: expected less than 2^31 elements, received ",
        rows * columns);
  if (rows == 0 || columns == 0) return;
  SiluMul p{out.data,  gate_up.data,
            out.row_stride, gate_up.row_stride,
            out.dtype, static_cast<uint32_t>(columns),
            static_cast<uint32_t>(rows * columns)};
  const uint32_t width = static_cast<uint32_t>(16 / dtype_size(out.dtype));
  const bool vectors = vector_rows(out) && vector_rows(gate_up);
  if (vectors) p.items /= width;
  const auto kernel = !vectors                     ? silu_mul_any_kernel
                      : out.dtype == DType::kBF16 ? silu_mul_kernel<bf16>
                      : out.dtype == DType::kF16  ? silu_mul_kernel<f16>
                                                  : silu_mul_kernel<float>;
  launch(ctx, kernel, dim3(ceil_div(p.items, 256)), dim3(256), 0, p);
}

}  // namespace hotpath::cuda

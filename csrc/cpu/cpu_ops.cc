#include "cpu/cpu_ops.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace hotpath::cpu {
namespace {

int kernel_index(DType t) {
  check(t == DType::kF32 || t == DType::kF16 || t == DType::kBF16,
        "CPU kernel: expected f32, f16 or bf16, received ", dtype_name(t));
  return static_cast<int>(t);
}

void check_matrix(const char* what, const Tensor& t, int64_t rows, int64_t columns) {
  if (t.ndim == 2 && t.shape[0] == rows && t.shape[1] == columns) [[likely]]
    return;
  check(false, what, ": expected [", rows, ", ", columns, "], received ", t.to_string());
}

void check_f32(const char* what, const Tensor& t) {
  if (t.dtype != DType::kF32) [[unlikely]]
    check(false, what, ": expected f32, received ", t.to_string());
}

const char* row_bytes(const Tensor& t, int64_t i) {
  return static_cast<const char*>(t.data) +
         i * t.row_stride * static_cast<int64_t>(dtype_size(t.dtype));
}

}  // namespace

Scratch::~Scratch() { std::free(data_); }

void* Scratch::bytes(size_t size) {
  if (size > size_) {
    std::free(data_);
    size_ = 0;
    const size_t rounded = (size + 63) / 64 * 64;
    data_ = std::aligned_alloc(64, rounded);
    if (!data_) fail("out_of_memory", "CPU scratch: needed ", rounded, " bytes");
    size_ = rounded;
  }
  return data_;
}

CpuOps::CpuOps(const Kernels& kernels, int num_threads)
    : kernels_(kernels), device_(kernels.name, num_threads), pool_(num_threads) {
  thread_gemm_.resize(num_threads);
  thread_attention_.resize(num_threads);
  thread_route_.resize(num_threads);
  thread_sample_.resize(num_threads);
  for (auto& s : thread_gemm_) s.get<float>(kGemmScratch);
}

void CpuOps::reserve(const OpLimits& l) {
  const int64_t pairs = l.max_tokens * l.top_k;
  x_rows_.get<float*>(std::max(l.max_tokens, pairs));
  y_rows_.get<float*>(std::max(l.max_tokens, pairs));
  bias_.get<float>(l.max_columns);
  reserve_attention(256);
  reserve_sample(l.vocab_size);
  gate_up_.get<float>(l.max_tokens * l.max_columns);
  last_tokens_.assign(std::max<int64_t>(l.max_seqs, 1), 0);
  for (auto& s : thread_route_) s.get<float>(2 * l.num_experts + 64);
  if (l.num_experts > 0) reserve_moe(pairs, l.num_experts, l.moe_intermediate, l.max_columns);
}

StepShape CpuOps::begin_step(const Batch& batch) {
  batch_ = batch;
  in_step_ = true;
  return {batch.num_tokens, static_cast<int64_t>(batch.logits_indices.size())};
}

void CpuOps::end_step() { in_step_ = false; }

void CpuOps::read_back(void* host, const Tensor& t) {
  check(t.contiguous(), "read_back: expected contiguous rows, received ", t.to_string());
  std::memcpy(host, t.data, t.bytes());
}

const Batch& CpuOps::batch() const {
  check(in_step_, "op that reads the batch: expected between begin_step and end_step");
  return batch_;
}

int64_t CpuOps::rows_per_piece(int64_t columns, int64_t work) const {
  return std::max<int64_t>(1, work / std::max<int64_t>(1, columns));
}

const float* CpuOps::widened(const Tensor& t, Scratch& scratch) {
  if (t.dtype == DType::kF32 && reinterpret_cast<uintptr_t>(t.data) % alignof(float) == 0)
    return t.as<const float>();
  float* out = scratch.get<float>(t.numel());
  kernels_.widen[kernel_index(t.dtype)](out, t.data, t.numel());
  return out;
}

void CpuOps::embed(const Tensor& out, const Tensor& table) {
  const auto id_of = [&, ids = batch().input_ids](int64_t t) {
    if (ids[t] >= 0) return ids[t];
    const auto slot = static_cast<size_t>(-1 - ids[t]);
    check(slot < last_tokens_.size(), "embed: expected a slot in [0, ", last_tokens_.size(),
          "), received ", slot);
    return last_tokens_[slot];
  };
  const int64_t tokens = batch().num_tokens, columns = table.dim(1);
  check_f32("embed out", out);
  check_matrix("embed out", out, tokens, columns);
  const auto widen = kernels_.widen[kernel_index(table.dtype)];
  for (int64_t t = 0; t < tokens; ++t)
    check(id_of(t) >= 0 && id_of(t) < table.dim(0), "embed: expected a token id in [0, ",
          table.dim(0), "), received ", id_of(t));
  pool_.parallel_for(tokens, rows_per_piece(columns), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      widen(out.row<float>(t), row_bytes(table, id_of(t)), columns);
  });
}

void CpuOps::gather_logits_rows(const Tensor& out, const Tensor& x) {
  const auto rows = batch().logits_indices;
  check_f32("gather out", out);
  check_f32("gather x", x);
  check_matrix("gather out", out, static_cast<int64_t>(rows.size()), x.dim(1));
  for (size_t r = 0; r < rows.size(); ++r) {
    check(rows[r] >= 0 && rows[r] < x.dim(0), "gather: expected a row in [0, ", x.dim(0),
          "), received ", rows[r]);
    std::memcpy(out.row<float>(r), x.row<float>(rows[r]), x.dim(1) * sizeof(float));
  }
}

void CpuOps::norm_rows(const Tensor& out, const Tensor& x, const Tensor* residual, const Tensor& w,
                       float eps) {
  const int64_t rows = x.dim(0), columns = x.dim(1);
  check_f32("norm out", out);
  check_f32("norm x", x);
  check_matrix("norm out", out, rows, columns);
  check(w.ndim == 1 && w.dim(0) == columns, "norm weight: expected [", columns, "], received ",
        w.to_string());
  if (residual) {
    check_f32("norm residual", *residual);
    check_matrix("norm residual", *residual, rows, columns);
  }
  const auto norm = kernels_.rmsnorm[kernel_index(w.dtype)];
  pool_.parallel_for(rows, rows_per_piece(columns), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      norm(out.row<float>(i), x.row<float>(i), residual ? residual->row<float>(i) : nullptr, w.data,
           columns, eps);
  });
}

void CpuOps::rmsnorm(const Tensor& out, const Tensor& x, const Tensor& w, float eps) {
  norm_rows(out, x, nullptr, w, eps);
}

void CpuOps::add_rmsnorm(const Tensor& out, const Tensor& residual, const Tensor& x,
                         const Tensor& w, float eps) {
  norm_rows(out, x, &residual, w, eps);
}

void CpuOps::silu_mul(const Tensor& out, const Tensor& gate_up) {
  const int64_t rows = out.dim(0), columns = out.dim(1);
  check_f32("silu_mul out", out);
  check_f32("silu_mul gate_up", gate_up);
  check_matrix("silu_mul gate_up", gate_up, rows, 2 * columns);
  // Columns are cut at multiples of 64 (whole vectors), so that decode uses every thread too.
  const int64_t width = std::min(columns, int64_t{2048}), cuts = divide_up(columns, width);
  pool_.parallel_for(rows * cuts, rows_per_piece(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / cuts, column = i % cuts * width;
      const float* gate = gate_up.row<float>(row) + column;
      kernels_.silu_mul(out.row<float>(row) + column, gate, gate + columns,
                        std::min(width, columns - column));
    }
  });
}

void CpuOps::gemm(const Tensor& y, const Tensor& x, const Tensor& w, const Tensor* bias,
                  bool accumulate) {
  const int64_t m = x.dim(0), k = x.dim(1), n = w.dim(0);
  check_f32("gemm y", y);
  check_f32("gemm x", x);
  check_matrix("gemm y", y, m, n);
  check_matrix("gemm w", w, n, k);
  if (bias)
    check(bias->ndim == 1 && bias->dim(0) == n, "gemm bias: expected [", n, "], received ",
          bias->to_string());
  if (m == 0 || n == 0) return;
  const float** x_rows = x_rows_.get<const float*>(m);
  float** y_rows = y_rows_.get<float*>(m);
  for (int64_t i = 0; i < m; ++i) x_rows[i] = x.row<float>(i), y_rows[i] = y.row<float>(i);
  GemmTask task;
  task.x = x_rows, task.y = y_rows;
  task.m = m, task.k = k;
  task.w = w.data, task.w_stride = w.row_stride;
  task.bias = bias ? widened(*bias, bias_) : nullptr;
  task.accumulate = accumulate;
  gemm_pieces(kernel_index(w.dtype), &task, 1, n);
}

void CpuOps::gemm_silu_mul(const Tensor& out, const Tensor& x, const Tensor& w,
                           const Tensor* bias) {
  const int64_t rows = x.dim(0), columns = w.dim(0);
  const Tensor gate_up(gate_up_.get<float>(rows * columns), DType::kF32, {rows, columns});
  gemm(gate_up, x, w, bias, false);
  silu_mul(out, gate_up);
}

int64_t CpuOps::gemm_rows_per_piece(int64_t m, int64_t k, int64_t n) const {
  // A piece does at least 64 K multiply-adds (a few us) and at most what keeps four pieces per
  // thread; multiples of 16 rows, whatever tile the kernel likes.
  const int64_t least = divide_up(65536, std::max<int64_t>(1, m * k));
  const int64_t most = divide_up(n, int64_t{4} * pool_.num_threads());
  return divide_up(std::max(least, std::min<int64_t>(most, 256)), 16) * 16;
}

void CpuOps::gemm_pieces(int dtype, const GemmTask* tasks, int64_t num_tasks, int64_t n) {
  if (num_tasks == 0) return;
  int64_t m = 0;
  for (int64_t i = 0; i < num_tasks; ++i) m += tasks[i].m;
  const int64_t rows = gemm_rows_per_piece(divide_up(m, num_tasks), tasks[0].k, n);
  const int64_t pieces = divide_up(n, rows);
  pool_.parallel_for(num_tasks * pieces, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      GemmTask task = tasks[i / pieces];
      task.n_begin = i % pieces * rows;
      task.n_end = std::min(n, task.n_begin + rows);
      task.scratch = thread_gemm_[thread].get<float>(kGemmScratch);
      kernels_.gemm[dtype](task);
    }
  });
}

std::unique_ptr<Ops> create_cpu_ops(const Kernels& kernels, int num_threads) {
  return std::make_unique<CpuOps>(kernels, num_threads);
}

}  // namespace hotpath::cpu

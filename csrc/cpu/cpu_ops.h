#pragma once

#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "cpu/device.h"
#include "cpu/kernels.h"
#include "cpu/sampler.h"
#include "ops/ops.h"

namespace hotpath::cpu {

// A growing piece of 64-byte aligned memory for one purpose. reserve() sizes it for every step;
// only what is beyond the reserved limits makes it grow later.
class Scratch {
 public:
  template <typename T>
  T* get(int64_t count) {
    return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  ~Scratch();
  Scratch() = default;
  Scratch(Scratch&& other) noexcept : data_(other.data_), size_(other.size_) {
    other.data_ = nullptr, other.size_ = 0;
  }
  Scratch& operator=(Scratch&&) = delete;

 private:
  void* bytes(size_t size);
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Splits each op over threads and leaves the arithmetic to the kernels. Work is cut so that a row's
// result never depends on the cut.
class CpuOps final : public Ops {
 public:
  CpuOps(const Kernels& kernels, int num_threads);

  Device& device() override { return device_; }
  DType activation_dtype() const override { return DType::kF32; }
  void reserve(const OpLimits& limits) override;
  StepShape begin_step(const Batch& batch) override;
  void run(const std::function<void()>& body) override { body(); }
  void end_step() override;
  bool asynchronous() const override { return false; }
  uint64_t ticket() override { return 0; }
  void wait(uint64_t) override {}
  void read_back(void* host, const Tensor& t) override;
  void embed(const Tensor& out, const Tensor& table) override;
  void gemm(const Tensor& y, const Tensor& x, const Tensor& w, const Tensor* bias,
            bool accumulate) override;
  void gemm_silu_mul(const Tensor& out, const Tensor& x, const Tensor& w,
                     const Tensor* bias) override;
  void rmsnorm(const Tensor& out, const Tensor& x, const Tensor& w, float eps) override;
  void add_rmsnorm(const Tensor& out, const Tensor& residual, const Tensor& x, const Tensor& w,
                   float eps) override;
  void qk_norm_rope_store(const QkNormRopeStore& args) override;
  void paged_attention(const PagedAttention& args) override;
  void silu_mul(const Tensor& out, const Tensor& gate_up) override;
  void moe_route(const MoeRoute& args) override;
  void moe_experts(const MoeExperts& args) override;
  void gather_logits_rows(const Tensor& out, const Tensor& x) override;
  void sample(const Tensor& logits, std::span<const SampleRow> rows,
              std::span<SampleResult> results) override;

 private:
  struct AttentionPiece;  // one task of paged_attention

  const Batch& batch() const;
  // Rows per piece so that a piece is worth handing out: about `work` floats of about `columns`
  // each.
  int64_t rows_per_piece(int64_t columns, int64_t work = 8192) const;
  void norm_rows(const Tensor& out, const Tensor& x, const Tensor* residual, const Tensor& w,
                 float eps);
  const float* widened(const Tensor& t, Scratch& scratch);
  int64_t gemm_rows_per_piece(int64_t m, int64_t k, int64_t n) const;
  // y = x w^T for several weights of one shape (experts), w rows [0, n) of each cut into pieces.
  void gemm_pieces(int dtype, const GemmTask* tasks, int64_t num_tasks, int64_t n);
  void reserve_attention(int head_dim);
  void reserve_moe(int64_t pairs, int64_t experts, int64_t intermediate, int64_t hidden);
  void reserve_sample(int64_t vocab_size);

  const Kernels& kernels_;
  CpuDevice device_;
  ThreadPool pool_;
  Batch batch_;
  bool in_step_ = false;
  Scratch x_rows_, y_rows_, bias_, attention_pieces_, expert_lists_, expert_tasks_, expert_gate_up_,
      expert_act_, expert_out_, gate_up_;
  std::vector<int32_t> last_tokens_;  // by slot
  std::vector<Scratch> thread_gemm_, thread_attention_, thread_route_, thread_sample_;
};

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::unique_ptr<Ops> create_cpu_ops(const Kernels& kernels, int num_threads);

}  // namespace hotpath::cpu

#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "cuda/attention.h"
#include "cuda/cuda_device.h"
#include "cuda/sample.h"
#include "ops/ops.h"

namespace hotpath::cuda {

// The ops on one card: everything is enqueued on one stream. A step's arrays go up in one packed
// copy (and the block table in another) from a ring of pinned buffers; a decode step, padded to one
// of a few sizes, is recorded once as a CUDA graph and replayed.
class CudaOps final : public Ops {
 public:
  CudaOps(int index, const BackendOptions& options);
  ~CudaOps() override;

  Device& device() override { return *device_; }
  DType activation_dtype() const override { return activation_; }
  void reserve(const OpLimits& limits) override;
  StepShape begin_step(const Batch& batch) override;
  void run(const std::function<void()>& body) override;
  void end_step() override;
  std::vector<int> recorded_sizes(int max_seqs) const override;
  bool asynchronous() const override { return true; }
  uint64_t ticket() override;
  void wait(uint64_t ticket) override;
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
  static constexpr int kRing = SampleStage::kRing;
  // Host memory of one step in flight.
  struct Slot {
    PinnedBuffer arrays, block_table;
    cudaEvent_t uploaded = nullptr;  // the two have been copied
    cudaEvent_t done = nullptr;      // recorded by ticket()
    uint64_t ticket = 0;
    std::span<SampleResult> results;  // of a draw not collected yet
  };

  const DeviceBatch& batch() const;
  void check_batch(const Batch& batch) const;
  void check_reserved(const OpLimits& needed) const;
  void release();
  void upload(const Batch& batch, int64_t rows);
  void reserve_block_table(size_t ints);
  void drop_graphs();
  OpLimits limits_of(const Batch& batch) const;

  Context ctx_;
  std::unique_ptr<CudaDevice> device_;
  DType activation_;
  OpLimits limits_{};
  std::array<Slot, kRing> ring_;
  int current_ = 0;
  uint64_t next_ticket_ = 1;

  // Device memory of the batch.
  char* arrays_ = nullptr;
  size_t arrays_bytes_ = 0;
  int32_t* block_table_ = nullptr;
  size_t block_table_ints_ = 0;
  int32_t* last_tokens_ = nullptr;
  void* attention_workspace_ = nullptr;
  void* moe_workspace_ = nullptr;
  std::unique_ptr<SampleStage> sampler_;

  AttentionPlan plan_;
  int concurrent_items_ = 1;  // of the decode attention
  DeviceBatch batch_{};
  bool in_step_ = false;
  int64_t replay_rows_ = 0;  // rows of the graph that this step fits, or 0
  std::map<int64_t, cudaGraphExec_t> graphs_;
};

}  // namespace hotpath::cuda

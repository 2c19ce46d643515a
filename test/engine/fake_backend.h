#pragma once

// A model whose logits are a hash of the token history that it reads back from the KV cache through
// the block table. A wrong block table, a stale or shared block or a missed token gives other
// tokens than expected() says, which knows nothing of batches, blocks or caches.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_set>
#include <vector>

#include "model/model.h"
#include "ops/ops.h"
#include "sample/params.h"

namespace hotpath::test {

inline constexpr int kVocab = 61;
inline constexpr int kLayers = 2;  // the first dense, the second with experts
inline constexpr int kExperts = 8;
inline constexpr int kTopK = 2;
// A history that begins with this token has NaN among its logits once it is that long.
inline constexpr int32_t kPoison = 60;
inline constexpr int32_t kPoisonLength = 8;

class FakeDevice final : public Device {
 public:
  DeviceInfo info() const override { return {}; }
  void* allocate(size_t bytes, bool zeroed) override;
  void free(void* p) override;
  void copy_in(void* dst, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* src, size_t bytes) override;
  bool host_visible() const override { return true; }
  int num_threads() const override { return 1; }
  size_t num_allocations() const { return live_.size(); }
  // Throws out_of_memory at the allocation after that many more; -1: never.
  int fail_after = -1;

 private:
  std::unordered_set<void*> live_;
};

// sample() in the order of ops.h; nothing else is ever called.
class FakeOps final : public Ops {
 public:
  ~FakeOps() override;
  Device& device() override { return device_; }
  DType activation_dtype() const override { return DType::kF32; }
  void reserve(const OpLimits&) override {}
  StepShape begin_step(const Batch& b) override {
    return {b.num_tokens, static_cast<int64_t>(b.logits_indices.size())};
  }
  void run(const std::function<void()>& body) override { body(); }
  void end_step() override {}
  // With HOTPATH_FAKE_OVERLAP set the results of a draw are there after wait() only, and the engine
  // runs a step ahead of them.
  bool asynchronous() const override;
  uint64_t ticket() override;
  void wait(uint64_t ticket) override;
  void read_back(void*, const Tensor&) override { unused(); }
  void embed(const Tensor&, const Tensor&) override { unused(); }
  void gemm(const Tensor&, const Tensor&, const Tensor&, const Tensor*, bool) override { unused(); }
  void gemm_silu_mul(const Tensor&, const Tensor&, const Tensor&, const Tensor*) override {
    unused();
  }
  void rmsnorm(const Tensor&, const Tensor&, const Tensor&, float) override { unused(); }
  void add_rmsnorm(const Tensor&, const Tensor&, const Tensor&, const Tensor&, float) override {
    unused();
  }
  void qk_norm_rope_store(const QkNormRopeStore&) override { unused(); }
  void paged_attention(const PagedAttention&) override { unused(); }
  void silu_mul(const Tensor&, const Tensor&) override { unused(); }
  void moe_route(const MoeRoute&) override { unused(); }
  void moe_experts(const MoeExperts&) override { unused(); }
  void gather_logits_rows(const Tensor&, const Tensor&) override { unused(); }
  void sample(const Tensor& logits, std::span<const SampleRow> rows,
              std::span<SampleResult> results) override;

 private:
  struct Drawn {
    uint64_t ticket;
    std::vector<SampleResult> results;
    std::vector<size_t> top_counts;
    std::vector<int32_t> top_ids;
    std::vector<float> top_logprobs;
    std::span<SampleResult> out;
  };
  static void unused();
  FakeDevice device_;
  uint64_t next_ticket_ = 1;
  std::vector<Drawn> drawn_;
};

// What one row gives: shared by FakeOps and by expected().
SampleResult sample_row(const float* logits, const SampleRow& row, std::vector<int32_t>& top_ids,
                        std::vector<float>& top_logprobs);

// What a test sees and steers of the forward passes; outlives the engine.
struct Probe {
  std::atomic<int64_t> steps{0}, tokens{0}, max_tokens{0}, max_rows{0}, max_seqs{0};
  // Called in every forward, on the engine's thread; may throw or wait.
  std::function<void(const Batch&)> on_forward;
};

ModelSpec fake_spec();

class FakeModel final : public Model {
 public:
  explicit FakeModel(std::shared_ptr<Probe> probe) : spec_(fake_spec()), probe_(std::move(probe)) {}
  const ModelSpec& spec() const override { return spec_; }
  uint64_t weight_bytes() const override { return 1234; }
  void reserve(int64_t max_tokens, int64_t max_seqs, int64_t max_seqlen,
               int64_t max_logits) override;
  Tensor forward(const Batch& batch, const KvTensors& kv, int32_t* routed_experts) override;

 private:
  void check_batch(const Batch& batch, const KvTensors& kv) const;

  ModelSpec spec_;
  std::shared_ptr<Probe> probe_;
  int64_t max_tokens_ = 0, max_seqs_ = 0, max_seqlen_ = 0, max_logits_ = 0;
  std::vector<float> logits_;
};

// What a request gives when it is alone in the world.
struct Expected {
  std::vector<int32_t> tokens;  // generated
  int finish = 0;               // FinishCode
  int matched = -1;
  std::vector<float> logprobs;          // of tokens; with num_logprobs >= 0
  std::vector<int32_t> top_ids;         // [tokens, num_logprobs]
  std::vector<float> prompt_logprobs;   // positions 1..; with num_prompt_logprobs >= 0
  std::vector<int32_t> prompt_top_ids;  // [positions, num_prompt_logprobs]
  std::vector<int32_t> experts;         // [prompt + generated - 1, kLayers, kTopK]
};
Expected expected(const std::vector<int32_t>& prompt, const SamplingParams& params,
                  int max_model_len);

}  // namespace hotpath::test

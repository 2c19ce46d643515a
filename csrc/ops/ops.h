#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/tensor.h"
#include "ops/batch.h"
#include "ops/device.h"

namespace hotpath {

// THE back-end contract. The model calls nothing else. Rules for every op, on every back end:
//  - weights keep their checkpoint dtype (f32, f16, bf16); activations have activation_dtype();
//  - accumulate in float, round once;
//  - a row's result depends on that row and on the layer's shape only, never on the number of rows
//  or on
//    the other rows (batch invariance), nor on the number of threads;
//  - nothing allocates inside a step beyond what reserve() set aside;
//  - row counts (T, R) may be anything from 0 to what reserve() was told.
// T: tokens of the step. H: hidden_size. Tensors are [rows, columns], row-major, contiguous unless
// said.

struct RopeTable {
  Tensor cos_sin;  // f32 [max_positions, rotary_dim]: rotary_dim/2 cosines, then rotary_dim/2 sines
  int rotary_dim;  // even, <= head_dim; pairs are (i, i + rotary_dim/2), the Hugging Face "half"
                   // order
};

struct QkNormRopeStore {
  Tensor qkv;  // [T, (num_heads + 2 * num_kv_heads) * head_dim]; q and k are normed and rotated in
               // place
  Tensor q_norm;  // [head_dim] or null
  Tensor k_norm;  // [head_dim] or null
  float eps;
  RopeTable rope;
  Tensor k_cache;  // [num_blocks, num_kv_heads, block_size, head_dim], kv dtype (f32, f16 or bf16)
  Tensor v_cache;  // same
  int num_heads, num_kv_heads, head_dim;
};

struct PagedAttention {
  Tensor out;               // [T, num_heads * head_dim]
  Tensor q;                 // [T, num_heads * head_dim], rows may be strided (the q part of qkv)
  Tensor k_cache, v_cache;  // as in QkNormRopeStore; this step's tokens are already stored
  int num_heads, num_kv_heads, head_dim;
  float scale;
  int window;  // a query at position p sees keys in (p - window, p]; 0: all of [0, p]
};

struct MoeRoute {
  Tensor router_logits;  // [T, num_experts], activation dtype
  Tensor topk_ids;       // i32 [T, top_k], by falling score; ties: the lower id first
  Tensor topk_weights;   // f32 [T, top_k]
  bool renormalize;      // weights of the chosen sum to 1
};

struct MoeExperts {
  Tensor out;      // [T, H], overwritten with the weighted sum over the chosen experts
  Tensor x;        // [T, H]
  Tensor gate_up;  // [num_experts, 2 * intermediate, H]: gate rows first, then up rows
  Tensor down;     // [num_experts, H, intermediate]
  Tensor topk_ids, topk_weights;  // from moe_route
};

// One row of logits and what is to be done with it. Arrays are host memory, valid during the call.
struct SampleRow {
  bool greedy = false;
  float temperature = 1.0f;  // > 0; not read when greedy
  float top_p = 1.0f, min_p = 0.0f;
  int32_t top_k = -1;
  float frequency_penalty = 0, presence_penalty = 0, repetition_penalty = 1;
  std::span<const int32_t> seen_tokens;  // distinct generated tokens
  std::span<const int32_t> seen_counts;  // how often each was generated
  std::span<const int32_t> bias_tokens;  // logit_bias
  std::span<const float> bias_values;
  std::span<const int32_t> suppressed;  // tokens set to -inf (stop ids while below min_tokens)
  const uint32_t* bitmask = nullptr;    // grammar: bit i set = token i allowed; null: all
  uint64_t seed = 0;                    // draw = f(seed, position) and this row only
  uint64_t position = 0;
  int32_t score_token = -1;   // >= 0: no draw; report the logprob of this token from the raw logits
  int32_t num_logprobs = -1;  // -1 none; n >= 0: the token's logprob and the n likeliest
};

struct SampleResult {
  int32_t token;        // drawn (or score_token); -1: what is left is NaN or -inf, and some is NaN
  float logprob;        // of token; only when num_logprobs >= 0
  int32_t* top_ids;     // [num_logprobs] by falling logprob; caller's memory
  float* top_logprobs;  // [num_logprobs]
};

struct OpLimits {
  int64_t max_tokens;  // T of a step
  int64_t max_seqs;    // sequences of a step
  int64_t max_seqlen;  // longest KV length
  int64_t max_logits;  // rows of logits of a step
  int64_t vocab_size;
  int64_t max_columns;                           // widest activation row
  int64_t num_experts, top_k, moe_intermediate;  // 0 without MoE
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual Device& device() = 0;
  virtual DType activation_dtype() const = 0;

  // Sets aside every scratch buffer that steps within these limits need. Called once, before any
  // step.
  virtual void reserve(const OpLimits& limits) = 0;
  virtual void begin_step(
      const Batch& batch) = 0;  // the batch that the ops until end_step refer to
  virtual void end_step() = 0;

  // out[T, H] = table[input_ids[t]]
  virtual void embed(const Tensor& out, const Tensor& table) = 0;
  // y[M, N] = x[M, K] w[N, K]^T (+ bias[N]) (+ y, when accumulate); y and x may have strided rows.
  virtual void gemm(const Tensor& y, const Tensor& x, const Tensor& w, const Tensor* bias,
                    bool accumulate) = 0;
  // out = x / rms(x) * w;  x: [T, H], w: [H]
  virtual void rmsnorm(const Tensor& out, const Tensor& x, const Tensor& w, float eps) = 0;
  // residual += x; out = rmsnorm(residual) * w
  virtual void add_rmsnorm(const Tensor& out, const Tensor& residual, const Tensor& x,
                           const Tensor& w, float eps) = 0;
  virtual void qk_norm_rope_store(const QkNormRopeStore& args) = 0;
  virtual void paged_attention(const PagedAttention& args) = 0;
  // out[T, I] = silu(gate) * up;  gate_up: [T, 2 I], gate first
  virtual void silu_mul(const Tensor& out, const Tensor& gate_up) = 0;
  virtual void moe_route(const MoeRoute& args) = 0;
  virtual void moe_experts(const MoeExperts& args) = 0;
  // out[R, H] = x[indices[r]]; indices are the batch's logits_indices
  virtual void gather_logits_rows(const Tensor& out, const Tensor& x) = 0;

  // In this order (penalties before mask before bias before temperature before truncation):
  //  1. logit -= frequency * count + presence * [count > 0] over the generated tokens
  //  2. repetition: x < 0 ? x * r : x / r, over the generated tokens; suppressed tokens = -inf
  //  3. grammar mask: -inf outside; 4. logit_bias added
  //  5. greedy: the largest, lowest id on ties; else / temperature, softmax
  //  6. top-k, then top-p over what is left (renormalised), then min-p relative to the largest; one
  //  draw
  // logprobs are those of the distribution after 5, before 6 (no temperature when greedy). A score
  // row skips 1-6: plain log-softmax of the logits. logits: f32 [R, vocab_size], may be
  // overwritten.
  virtual void sample(const Tensor& logits, std::span<const SampleRow> rows,
                      std::span<SampleResult> results) = 0;
};

struct BackendOptions {
  int num_threads = 0;  // CPU: 0 = what the process may use (affinity and cgroup)
  std::string isa;  // CPU, for tests: "baseline", "avx2", "avx512", "neon"; "" = the best there is
};

// device: "cpu" or "cuda:<index>". Throws Error("device_unavailable") with the reason.
std::unique_ptr<Ops> create_ops(const std::string& device, const BackendOptions& options);

}  // namespace hotpath

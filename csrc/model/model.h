#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "model/spec.h"
#include "ops/ops.h"

namespace hotpath {

// The paged cache's tensors, one pair per layer. Owned by cache/kv_cache.
struct KvTensors {
  std::vector<Tensor> k, v;  // [num_blocks, num_kv_heads, block_size, head_dim] each
};

// May throw to stop the load; the exception comes out of load or dummy.
using LoadProgress = std::function<void(uint64_t bytes_done, uint64_t bytes_total)>;

// Weights on a device plus the forward pass. Not thread-safe: the engine thread is its only caller
// after load.
class Model {
 public:
  // Checks every tensor's dtype and shape against the spec, that none is missing and none is left
  // over.
  static std::unique_ptr<Model> load(const ModelSpec& spec, const std::vector<TensorRef>& tensors,
                                     Ops& ops, const LoadProgress& progress);
  // Random weights in place of a checkpoint, for measuring at real sizes. dtype: "bf16", "f16" or
  // "f32".
  static std::unique_ptr<Model> dummy(const ModelSpec& spec, const std::string& dtype,
                                      uint64_t seed, Ops& ops, const LoadProgress& progress);
  virtual ~Model() = default;

  virtual const ModelSpec& spec() const = 0;
  virtual uint64_t weight_bytes() const = 0;
  // Sets aside activations for steps within the limits (op limits included). Once, before forward.
  virtual void reserve(int64_t max_tokens, int64_t max_seqs, int64_t max_seqlen,
                       int64_t max_logits) = 0;
  // Runs one step; returns logits f32 [num_logits, vocab_size], valid until the next forward.
  // routed_experts: null, or host i32 [num_tokens, num_layers, max_top_k], filled with the chosen
  // experts by the time that Ops::wait says (what layers without MoE and unused columns hold is not
  // specified).
  virtual Tensor forward(const Batch& batch, const KvTensors& kv, int32_t* routed_experts) = 0;
};

}  // namespace hotpath

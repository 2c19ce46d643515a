#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "model/model.h"
#include "model/spec.h"
#include "ops/device.h"

namespace hotpath {

// Weights as the forward wants them: parts that are multiplied by the same input are stacked by
// rows, so that one GEMM serves them. Null tensors are parts this model does not have.
struct AttentionWeights {
  Tensor qkv;  // [(num_heads + 2 * num_kv_heads) * head_dim, hidden_size]: q rows, k rows, v rows
  Tensor qkv_bias;        // [(num_heads + 2 * num_kv_heads) * head_dim]
  Tensor out;             // [hidden_size, num_heads * head_dim]
  Tensor out_bias;        // [hidden_size]
  Tensor q_norm, k_norm;  // [head_dim]
};

struct DenseFfnWeights {
  Tensor gate_up;       // [2 * intermediate_size, hidden_size]: gate rows, up rows
  Tensor gate_up_bias;  // [2 * intermediate_size]
  Tensor down;          // [hidden_size, intermediate_size]
  Tensor down_bias;     // [hidden_size]
};

struct MoeWeights {
  Tensor router;   // [num_experts, hidden_size]
  Tensor gate_up;  // [num_experts, 2 * intermediate_size, hidden_size]
  Tensor down;     // [num_experts, hidden_size, intermediate_size]
};

struct LayerWeights {
  Tensor attn_norm, ffn_norm;  // [hidden_size]
  AttentionWeights attention;
  DenseFfnWeights dense;  // when the layer's ffn is dense
  MoeWeights moe;         // when it is moe
};

struct Weights {
  Tensor embed;       // [vocab_size, hidden_size]
  Tensor final_norm;  // [hidden_size]
  Tensor lm_head;     // [vocab_size, hidden_size]; the same memory as embed when tied
  std::vector<LayerWeights> layers;
};

// Where every weight comes from and where it goes: one allocation, filled by several readers.
// Use: add() all, then either read() or fill_random().
class WeightPlan {
 public:
  // refs: the checkpoint's tensors by role. Null: there is no checkpoint; weights get dtype
  // `dummy`.
  WeightPlan(const std::vector<TensorRef>* refs, DType dummy);

  struct Part {
    std::string role;
    std::vector<int64_t> shape;
  };
  enum class Kind { kMatrix, kNorm, kBias };  // what random weights look like

  // *target becomes a tensor of `shape` made of the parts one after the other, which must have one
  // dtype and the shapes stated. target must stay where it is until the plan is done.
  void add(Tensor* target, std::vector<int64_t> shape, const std::vector<Part>& parts,
           Kind kind = Kind::kMatrix);

  uint64_t total_bytes() const { return total_bytes_; }
  // Throws Error("checkpoint_invalid") when a tensor of the checkpoint has no use.
  void check_nothing_left_over() const;
  // Allocates on the device (caller frees the returned pointer after the tensors' last use) and
  // fills.
  void* read(Device& device, const LoadProgress& progress);
  void* fill_random(Device& device, uint64_t seed, const LoadProgress& progress);

 private:
  struct Copy {
    const TensorRef* ref;  // null for dummy weights
    Kind kind;
    DType dtype;
    uint64_t offset, bytes;  // in the allocation
  };
  void* allocate(Device& device);

  const std::vector<TensorRef>* refs_;
  DType dummy_;
  std::unordered_map<std::string, const TensorRef*> by_role_;
  std::unordered_map<std::string, bool> used_;
  std::vector<Copy> copies_;
  std::vector<std::pair<Tensor*, uint64_t>> targets_;  // tensor, offset
  uint64_t total_bytes_ = 0;
};

// Declares every weight of the spec. `weights` must not move until the plan is done.
void plan_weights(const ModelSpec& spec, WeightPlan& plan, Weights& weights);

}  // namespace hotpath

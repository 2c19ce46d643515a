#include "model/weights.h"

#include <algorithm>

#include "core/error.h"

namespace hotpath {
namespace {

constexpr uint64_t kAlignment = 256;  // TMA and huge vectors are content with it

uint64_t aligned(uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

DType dtype_of(const TensorRef& ref) {
  if (ref.dtype == "F32") return DType::kF32;
  if (ref.dtype == "F16") return DType::kF16;
  if (ref.dtype == "BF16") return DType::kBF16;
  fail("checkpoint_invalid", "tensor ", ref.name, " in ", ref.file,
       ": expected dtype F32, F16 or BF16, received ", ref.dtype,
       "; convert the checkpoint to one of them");
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

Tensor make_tensor(DType dtype, const std::vector<int64_t>& shape) {
  switch (shape.size()) {
    case 1:
      return Tensor(nullptr, dtype, {shape[0]});
    case 2:
      return Tensor(nullptr, dtype, {shape[0], shape[1]});
    case 3:
      return Tensor(nullptr, dtype, {shape[0], shape[1], shape[2]});
    default:
      fail("internal_error", "weight of rank ", shape.size());
  }
}

}  // namespace

WeightPlan::WeightPlan(const std::vector<TensorRef>* refs, DType dummy)
    : refs_(refs), dummy_(dummy) {
  if (!refs) return;
  for (const TensorRef& ref : *refs) {
    if (!by_role_.emplace(ref.role, &ref).second)
      fail("checkpoint_invalid", "two tensors for the role ", ref.role, ": ",
           by_role_[ref.role]->name, " and ", ref.name);
  }
}

void WeightPlan::add(Tensor* target, std::vector<int64_t> shape, const std::vector<Part>& parts,
                     Kind kind) {
  DType dtype = dummy_;
  int64_t elements = 0;
  std::vector<const TensorRef*> refs;
  for (const Part& part : parts) {
    elements += product(part.shape);
    if (!refs_) {
      refs.push_back(nullptr);
      continue;
    }
    auto it = by_role_.find(part.role);
    if (it == by_role_.end())
      fail("checkpoint_invalid", "the checkpoint has no tensor for ", part.role, ": expected ",
           shape_text(part.shape));
    const TensorRef& ref = *it->second;
    if (ref.shape != part.shape)
      fail("checkpoint_invalid", "tensor ", ref.name, " in ", ref.file, ": expected shape ",
           shape_text(part.shape), ", received ", shape_text(ref.shape));
    DType part_dtype = dtype_of(ref);
    if (ref.bytes != static_cast<uint64_t>(product(ref.shape)) * dtype_size(part_dtype))
      fail("checkpoint_invalid", "tensor ", ref.name, " in ", ref.file, ": expected ",
           product(ref.shape) * dtype_size(part_dtype), " bytes for ", ref.dtype, " ",
           shape_text(ref.shape), ", received ", ref.bytes);
    if (!refs.empty() && part_dtype != dtype)
      fail("checkpoint_invalid", "tensors ", refs.front()->name, " and ", ref.name,
           " are used as one: expected one dtype, received ", refs.front()->dtype, " and ",
           ref.dtype);
    dtype = part_dtype;
    used_[part.role] = true;
    refs.push_back(&ref);
  }
  check(elements == product(shape), "weight plan: parts have ", elements, " elements, ",
        shape_text(shape), " expected");
  uint64_t begin = aligned(total_bytes_), offset = begin;
  for (size_t i = 0; i < parts.size(); ++i) {
    uint64_t bytes = static_cast<uint64_t>(product(parts[i].shape)) * dtype_size(dtype);
    copies_.push_back({refs[i], kind, dtype, offset, bytes});
    offset += bytes;
  }
  *target = make_tensor(dtype, shape);
  targets_.emplace_back(target, begin);
  total_bytes_ = offset;
}

void WeightPlan::check_nothing_left_over() const {
  if (!refs_) return;
  for (const TensorRef& ref : *refs_)
    if (!used_.count(ref.role))
      fail("checkpoint_invalid", "tensor ", ref.name, " (role ", ref.role,
           ") has no use in this model: expected every tensor to be used");
}

void* WeightPlan::allocate(Device& device) {
  void* base = device.allocate(std::max<uint64_t>(total_bytes_, kAlignment), false);
  for (auto& [tensor, offset] : targets_) tensor->data = static_cast<char*>(base) + offset;
  return base;
}

void plan_weights(const ModelSpec& spec, WeightPlan& plan, Weights& weights) {
  using Kind = WeightPlan::Kind;
  using Parts = std::vector<WeightPlan::Part>;
  const int64_t hidden = spec.hidden_size, vocab = spec.vocab_size;
  auto one = [&](Tensor* target, std::vector<int64_t> shape, const std::string& role,
                 Kind kind = Kind::kMatrix) {
    plan.add(target, shape, {{role, shape}}, kind);
  };

  one(&weights.embed, {vocab, hidden}, "embed");
  weights.layers.resize(spec.layers.size());
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const MixerSpec& mixer = spec.layers[i].mixer;
    const FfnSpec& ffn = spec.layers[i].ffn;
    LayerWeights& layer = weights.layers[i];
    const std::string prefix = concat("layers.", i, ".");
    const int64_t q = int64_t{mixer.num_heads} * mixer.head_dim;
    const int64_t kv = int64_t{mixer.num_kv_heads} * mixer.head_dim;

    one(&layer.attn_norm, {hidden}, prefix + "attn_norm", Kind::kNorm);
    const std::string attn = prefix + "attn.";
    plan.add(&layer.attention.qkv, {q + 2 * kv, hidden},
             {{attn + "q", {q, hidden}}, {attn + "k", {kv, hidden}}, {attn + "v", {kv, hidden}}});
    if (mixer.qkv_bias)
      plan.add(&layer.attention.qkv_bias, {q + 2 * kv},
               {{attn + "q_bias", {q}}, {attn + "k_bias", {kv}}, {attn + "v_bias", {kv}}},
               Kind::kBias);
    if (mixer.qk_norm) {
      one(&layer.attention.q_norm, {mixer.head_dim}, attn + "q_norm", Kind::kNorm);
      one(&layer.attention.k_norm, {mixer.head_dim}, attn + "k_norm", Kind::kNorm);
    }
    one(&layer.attention.out, {hidden, q}, attn + "o");
    if (mixer.out_bias) one(&layer.attention.out_bias, {hidden}, attn + "o_bias", Kind::kBias);

    one(&layer.ffn_norm, {hidden}, prefix + "ffn_norm", Kind::kNorm);
    const int64_t inner = ffn.intermediate_size;
    if (ffn.kind == "dense") {
      const std::string name = prefix + "ffn.";
      plan.add(&layer.dense.gate_up, {2 * inner, hidden},
               {{name + "gate", {inner, hidden}}, {name + "up", {inner, hidden}}});
      one(&layer.dense.down, {hidden, inner}, name + "down");
      if (ffn.bias) {
        plan.add(&layer.dense.gate_up_bias, {2 * inner},
                 {{name + "gate_bias", {inner}}, {name + "up_bias", {inner}}}, Kind::kBias);
        one(&layer.dense.down_bias, {hidden}, name + "down_bias", Kind::kBias);
      }
    } else {
      const std::string name = prefix + "moe.";
      one(&layer.moe.router, {ffn.num_experts, hidden}, name + "router");
      Parts gate_up, down;
      for (int e = 0; e < ffn.num_experts; ++e) {
        const std::string expert = concat(name, "experts.", e, ".");
        gate_up.push_back({expert + "gate", {inner, hidden}});
        gate_up.push_back({expert + "up", {inner, hidden}});
        down.push_back({expert + "down", {hidden, inner}});
      }
      plan.add(&layer.moe.gate_up, {ffn.num_experts, 2 * inner, hidden}, gate_up);
      plan.add(&layer.moe.down, {ffn.num_experts, hidden, inner}, down);
    }
  }
  one(&weights.final_norm, {hidden}, "final_norm", Kind::kNorm);
  if (!spec.tie_embeddings) one(&weights.lm_head, {vocab, hidden}, "lm_head");
  plan.check_nothing_left_over();
}

}  // namespace hotpath

// The forward pass, all of it: pre-norm decoder layers, each a mixer and a feed-forward part.

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "model/model.h"
#include "model/rope.h"
#include "model/weights.h"

namespace hotpath {
namespace {

void check_spec(const ModelSpec& spec) {
  auto positive = [](int64_t value, const char* name) {
    if (value <= 0)
      fail("config_unsupported", "model spec: expected ", name, " > 0, received ", value);
  };
  positive(spec.hidden_size, "hiddenSize");
  positive(spec.vocab_size, "vocabSize");
  positive(spec.max_position, "maxPosition");
  positive(static_cast<int64_t>(spec.layers.size()), "layers.length");
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    const auto& [mixer, ffn] = spec.layers[i];
    positive(mixer.num_heads, "numHeads");
    positive(mixer.num_kv_heads, "numKvHeads");
    positive(mixer.head_dim, "headDim");
    positive(ffn.intermediate_size, "intermediateSize");
    if (mixer.num_heads % mixer.num_kv_heads)
      fail("config_unsupported", "layer ", i,
           ": expected numHeads to be a multiple of numKvHeads, received ", mixer.num_heads,
           " and ", mixer.num_kv_heads);
    if (mixer.rope.rotary_dim <= 0 || mixer.rope.rotary_dim > mixer.head_dim ||
        mixer.rope.rotary_dim % 2)
      fail("config_unsupported", "layer ", i, ": expected an even rotaryDim in [2, ",
           mixer.head_dim, "], received ", mixer.rope.rotary_dim);
    if (mixer.window < 0)
      fail("config_unsupported", "layer ", i, ": expected window >= 0, received ", mixer.window);
    if (ffn.kind == "moe") {
      if (ffn.top_k < 1 || ffn.top_k > ffn.num_experts)
        fail("config_unsupported", "layer ", i,
             ": expected topK in [1, numExperts = ", ffn.num_experts, "], received ", ffn.top_k);
    } else if (ffn.kind != "dense") {
      fail("config_unsupported", "layer ", i, ": expected ffn kind dense or moe, received ",
           ffn.kind);
    }
  }
}

// The widest of each activation over all layers, in columns.
struct Widths {
  int64_t qkv = 0, attention = 0, gate_up = 0, inner = 0, experts = 0, top_k = 0, moe_inner = 0;

  explicit Widths(const ModelSpec& spec) {
    for (const auto& [mixer, ffn] : spec.layers) {
      const int64_t heads = mixer.num_heads + 2 * mixer.num_kv_heads;
      qkv = std::max(qkv, heads * mixer.head_dim);
      attention = std::max(attention, int64_t{mixer.num_heads} * mixer.head_dim);
      if (ffn.kind == "moe") {
        experts = std::max<int64_t>(experts, ffn.num_experts);
        top_k = std::max<int64_t>(top_k, ffn.top_k);
        moe_inner = std::max<int64_t>(moe_inner, ffn.intermediate_size);
      } else {
        gate_up = std::max<int64_t>(gate_up, 2 * int64_t{ffn.intermediate_size});
        inner = std::max<int64_t>(inner, ffn.intermediate_size);
      }
    }
  }
};

class Transformer final : public Model {
 public:
  Transformer(const ModelSpec& spec, Ops& ops) : spec_(spec), ops_(ops), widths_(spec) {}

  ~Transformer() override {
    for (void* p : allocations_) ops_.device().free(p);
  }

  void load(const std::vector<TensorRef>* refs, DType dummy, uint64_t seed,
            const LoadProgress& progress) {
    WeightPlan plan(refs, dummy);
    plan_weights(spec_, plan, weights_);
    Device& device = ops_.device();
    allocations_.push_back(refs ? plan.read(device, progress)
                                : plan.fill_random(device, seed, progress));
    weight_bytes_ = plan.total_bytes();
    if (spec_.tie_embeddings) weights_.lm_head = weights_.embed;
  }

  const ModelSpec& spec() const override { return spec_; }
  uint64_t weight_bytes() const override { return weight_bytes_; }

  void reserve(int64_t max_tokens, int64_t max_seqs, int64_t max_seqlen,
               int64_t max_logits) override {
    check(!hidden_, "reserve: called twice");
    const DType act = ops_.activation_dtype();
    hidden_ = buffer(act, max_tokens, spec_.hidden_size);
    normed_ = buffer(act, max_tokens, spec_.hidden_size);
    block_out_ = buffer(act, max_tokens, spec_.hidden_size);
    qkv_ = buffer(act, max_tokens, widths_.qkv);
    attention_ = buffer(act, max_tokens, widths_.attention);
    if (widths_.inner) inner_ = buffer(act, max_tokens, widths_.inner);
    if (widths_.experts) {
      router_logits_ = buffer(act, max_tokens, widths_.experts);
      topk_ids_ = buffer(DType::kI32, max_tokens,
                         static_cast<int64_t>(spec_.layers.size()) * widths_.top_k);
      topk_weights_ = buffer(DType::kF32, max_tokens, widths_.top_k);
    }
    logits_rows_ = buffer(act, max_logits, spec_.hidden_size);
    logits_ = buffer(DType::kF32, max_logits, spec_.vocab_size);
    make_rope_tables(max_seqlen);

    OpLimits limits{};
    limits.max_tokens = max_tokens;
    limits.max_seqs = max_seqs;
    limits.max_seqlen = max_seqlen;
    limits.max_logits = max_logits;
    limits.vocab_size = spec_.vocab_size;
    limits.max_columns = std::max({int64_t{spec_.hidden_size}, widths_.qkv, widths_.attention,
                                   widths_.gate_up, 2 * widths_.moe_inner});
    limits.num_experts = widths_.experts;
    limits.top_k = widths_.top_k;
    limits.moe_intermediate = widths_.moe_inner;
    for (const LayerSpec& layer : spec_.layers) {
      limits.num_heads = std::max<int64_t>(limits.num_heads, layer.mixer.num_heads);
      limits.head_dim = std::max<int64_t>(limits.head_dim, layer.mixer.head_dim);
      const int64_t kv_heads = layer.mixer.num_kv_heads;
      limits.num_kv_heads =
          limits.num_kv_heads ? std::min(limits.num_kv_heads, kv_heads) : kv_heads;
    }
    ops_.reserve(limits);
  }

  Tensor forward(const Batch& batch, const KvTensors& kv, int32_t* routed_experts) override {
    const StepShape shape = ops_.begin_step(batch);
    ops_.run([&] { compute(shape, kv); });
    ops_.end_step();
    if (routed_experts) ops_.read_back(routed_experts, topk_ids_.rows(batch.num_tokens));
    return logits_.rows(static_cast<int64_t>(batch.logits_indices.size()));
  }

 private:
  void compute(const StepShape& shape, const KvTensors& kv) {
    const Tensor hidden = hidden_.rows(shape.tokens), normed = normed_.rows(shape.tokens);
    ops_.embed(hidden, weights_.embed);
    bool owes_add = false;  // block_out_ is still to be added to hidden
    const auto norm = [&](const Tensor& w) {
      if (owes_add)
        ops_.add_rmsnorm(normed, hidden, block_out_.rows(shape.tokens), w, spec_.norm_eps);
      else
        ops_.rmsnorm(normed, hidden, w, spec_.norm_eps);
      owes_add = false;
    };
    for (size_t i = 0; i < spec_.layers.size(); ++i) {
      const LayerWeights& layer = weights_.layers[i];
      norm(layer.attn_norm);
      attention(i, normed, hidden, kv);
      norm(layer.ffn_norm);
      if (spec_.layers[i].ffn.kind == "moe") {
        moe(i, normed, block_out_.rows(shape.tokens));
        owes_add = true;
      } else {
        dense(i, normed, hidden);
      }
    }
    norm(weights_.final_norm);
    if (shape.logits == 0) return;
    Tensor last = normed;
    // As many rows of logits as tokens: they are the same rows.
    if (shape.logits != shape.tokens) {
      last = logits_rows_.rows(shape.logits);
      ops_.gather_logits_rows(last, normed);
    }
    ops_.gemm(logits_.rows(shape.logits), last, weights_.lm_head, nullptr, false);
  }

  // hidden += attention(x)
  void attention(size_t index, const Tensor& x, const Tensor& hidden, const KvTensors& kv) {
    const MixerSpec& mixer = spec_.layers[index].mixer;
    const AttentionWeights& w = weights_.layers[index].attention;
    const int64_t q_columns = int64_t{mixer.num_heads} * mixer.head_dim;
    const Tensor qkv = view(qkv_, x.dim(0), w.qkv.dim(0));
    const Tensor attended = view(attention_, x.dim(0), q_columns);

    ops_.gemm(qkv, x, w.qkv, mixer.qkv_bias ? &w.qkv_bias : nullptr, false);
    ops_.qk_norm_rope_store({.qkv = qkv,
                             .q_norm = w.q_norm,
                             .k_norm = w.k_norm,
                             .eps = spec_.norm_eps,
                             .rope = rope_[index],
                             .k_cache = kv.k[index],
                             .v_cache = kv.v[index],
                             .num_heads = mixer.num_heads,
                             .num_kv_heads = mixer.num_kv_heads,
                             .head_dim = mixer.head_dim});
    ops_.paged_attention({.out = attended,
                          .q = qkv.columns(0, q_columns),
                          .k_cache = kv.k[index],
                          .v_cache = kv.v[index],
                          .num_heads = mixer.num_heads,
                          .num_kv_heads = mixer.num_kv_heads,
                          .head_dim = mixer.head_dim,
                          .scale = 1.0f / std::sqrt(static_cast<float>(mixer.head_dim)),
                          .window = mixer.window});
    ops_.gemm(hidden, attended, w.out, mixer.out_bias ? &w.out_bias : nullptr, true);
  }

  // hidden += feed-forward(x)
  void dense(size_t index, const Tensor& x, const Tensor& hidden) {
    const FfnSpec& ffn = spec_.layers[index].ffn;
    const DenseFfnWeights& w = weights_.layers[index].dense;
    const Tensor inner = view(inner_, x.dim(0), ffn.intermediate_size);
    ops_.gemm_silu_mul(inner, x, w.gate_up, ffn.bias ? &w.gate_up_bias : nullptr);
    ops_.gemm(hidden, inner, w.down, ffn.bias ? &w.down_bias : nullptr, true);
  }

  void moe(size_t index, const Tensor& x, const Tensor& out) {
    const FfnSpec& ffn = spec_.layers[index].ffn;
    const MoeWeights& w = weights_.layers[index].moe;
    const int64_t tokens = x.dim(0);
    const Tensor router_logits = view(router_logits_, tokens, ffn.num_experts);
    // This layer's columns of topk_ids_, whose rows hold every layer's experts of a token.
    const Tensor ids =
        topk_ids_.rows(tokens).columns(static_cast<int64_t>(index) * widths_.top_k, ffn.top_k);
    const Tensor weights = view(topk_weights_, tokens, ffn.top_k);
    ops_.gemm(router_logits, x, w.router, nullptr, false);
    ops_.moe_route({router_logits, ids, weights, ffn.renormalize});
    ops_.moe_experts({out, x, w.gate_up, w.down, ids, weights});
  }

  // The first rows * columns elements of a buffer as a dense [rows, columns].
  static Tensor view(const Tensor& buffer, int64_t rows, int64_t columns) {
    return Tensor(buffer.data, buffer.dtype, {rows, columns});
  }

  Tensor buffer(DType dtype, int64_t rows, int64_t columns) {
    Tensor t(nullptr, dtype, {rows, columns});
    t.data = ops_.device().allocate(std::max<size_t>(t.bytes(), 64), true);
    allocations_.push_back(t.data);
    return t;
  }

  // Layers with the same rope share a table.
  void make_rope_tables(int64_t num_positions) {
    std::map<std::tuple<float, int, std::string, float, float, float, int>, Tensor> tables;
    for (const LayerSpec& layer : spec_.layers) {
      const RopeSpec& rope = layer.mixer.rope;
      Tensor& table =
          tables[{rope.theta, rope.rotary_dim, rope.scaling, rope.factor, rope.low_freq_factor,
                  rope.high_freq_factor, rope.original_max_position}];
      if (!table) {
        const std::vector<float> values = rope_table(rope, num_positions);
        table = buffer(DType::kF32, num_positions, rope.rotary_dim);
        ops_.device().copy_in(table.data, values.data(), values.size() * sizeof(float));
      }
      rope_.push_back({table, rope.rotary_dim});
    }
  }

  ModelSpec spec_;
  Ops& ops_;
  Widths widths_;
  Weights weights_;
  uint64_t weight_bytes_ = 0;
  std::vector<void*> allocations_;  // device memory, freed with the model
  std::vector<RopeTable> rope_;     // one per layer

  // Activations, [max_tokens, columns] unless said; columns are the widest layer's.
  Tensor hidden_;     // the residual stream
  Tensor normed_;     // input of a mixer or ffn
  Tensor block_out_;  // output of an expert layer, added to hidden_ by the next norm
  Tensor qkv_, attention_, inner_;
  Tensor router_logits_, topk_weights_;
  Tensor topk_ids_;  // i32 [max_tokens, num_layers * max_top_k], zero where a layer has no experts
  Tensor logits_rows_, logits_;  // [max_logits, ...]
};

}  // namespace

std::unique_ptr<Model> Model::load(const ModelSpec& spec, const std::vector<TensorRef>& tensors,
                                   Ops& ops, const LoadProgress& progress) {
  check_spec(spec);
  auto model = std::make_unique<Transformer>(spec, ops);
  model->load(&tensors, DType::kF32, 0, progress);
  return model;
}

std::unique_ptr<Model> Model::dummy(const ModelSpec& spec, const std::string& dtype, uint64_t seed,
                                    Ops& ops, const LoadProgress& progress) {
  check_spec(spec);
  DType type = DType::kBF16;
  if (dtype == "f32")
    type = DType::kF32;
  else if (dtype == "f16")
    type = DType::kF16;
  else if (dtype != "bf16")
    fail("invalid_request", "dummy weights: expected dtype bf16, f16 or f32, received ", dtype);
  auto model = std::make_unique<Transformer>(spec, ops);
  model->load(nullptr, type, seed, progress);
  return model;
}

}  // namespace hotpath

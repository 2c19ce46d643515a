#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hotpath {

// What a checkpoint is, as lib/models/spec.ts describes it. Same names, other case.

struct RopeSpec {
  float theta = 10000.0f;
  int rotary_dim = 0;
  std::string scaling = "none";  // "none" | "linear" | "llama3"
  float factor = 1.0f;
  float low_freq_factor = 1.0f, high_freq_factor = 1.0f;
  int original_max_position = 0;
};

struct MixerSpec {  // kind "gqa"
  int num_heads = 0, num_kv_heads = 0, head_dim = 0;
  bool qkv_bias = false, out_bias = false, qk_norm = false;
  int window = 0;  // 0: full attention
  RopeSpec rope;
};

struct FfnSpec {
  std::string kind;  // "dense" | "moe"
  int intermediate_size = 0;
  bool bias = false;  // dense only
  int num_experts = 0, top_k = 0;
  bool renormalize = false;
};

struct LayerSpec {
  MixerSpec mixer;
  FfnSpec ffn;
};

struct ModelSpec {
  std::string family;
  int hidden_size = 0, vocab_size = 0, max_position = 0;
  float norm_eps = 1e-6f;
  bool tie_embeddings = false;
  std::vector<LayerSpec> layers;
};

// One weight: where its bytes are. role is a name of lib/models/spec.ts ("layers.3.attn.q"); the
// parts of a fused weight come as separate roles and are fused natively.
struct TensorRef {
  std::string role;
  std::string name;  // the checkpoint's own, for messages
  std::string file;
  uint64_t offset = 0, bytes = 0;
  std::string dtype;  // "F32" | "F16" | "BF16"
  std::vector<int64_t> shape;
};

}  // namespace hotpath

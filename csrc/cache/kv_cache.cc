#include "cache/kv_cache.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace hotpath {

DType parse_kv_dtype(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  fail("invalid_request", "kv_cache_dtype: expected f32, f16 or bf16, received '", name, "'");
}

KvCache::KvCache(Device& device, const ModelSpec& spec, const KvCacheOptions& options)
    : device_(device), block_size_(options.block_size) {
  check(!spec.layers.empty(), "KV cache: the model has no layers");
  int64_t block_bytes = 0;  // over all layers
  int max_top_k = 0, max_experts = 0;
  for (const LayerSpec& layer : spec.layers) {
    const MixerSpec& m = layer.mixer;
    block_bytes += 2 * static_cast<int64_t>(m.num_kv_heads) * block_size_ * m.head_dim *
                   static_cast<int64_t>(dtype_size(options.dtype));
    max_top_k = std::max(max_top_k, layer.ffn.top_k);
    max_experts = std::max(max_experts, layer.ffn.num_experts);
  }
  check(block_bytes > 0, "KV cache: the model's layers have no KV heads");
  const int64_t blocks = options.bytes / block_bytes;
  if (blocks < 1)
    fail("out_of_memory", "kv_cache_bytes: one block of ", block_size_, " tokens takes ",
         block_bytes, " bytes with this model, received ", options.bytes);
  // Slots are 32 bits wide in Batch.
  num_blocks_ = static_cast<int32_t>(
      std::min<int64_t>({blocks, options.num_blocks,
                         std::numeric_limits<int32_t>::max() / block_size_}));
  bytes_ = num_blocks_ * block_bytes;

  if (options.capture_routed_experts) {
    if (max_top_k == 0)
      fail("config_unsupported",
           "capture_routed_experts: expected a model with experts, but none of this model's layers "
           "has any; leave it off");
    check(max_experts <= std::numeric_limits<int16_t>::max(), "KV cache: ", max_experts,
          " experts do not fit in 16 bits");
    experts_per_token_ = static_cast<int32_t>(spec.layers.size()) * max_top_k;
    experts_.resize(static_cast<size_t>(num_blocks_) * block_size_ * experts_per_token_);
  }

  tensors_.k.reserve(spec.layers.size());
  tensors_.v.reserve(spec.layers.size());
  try {
    for (const LayerSpec& layer : spec.layers) {
      const MixerSpec& m = layer.mixer;
      for (auto* list : {&tensors_.k, &tensors_.v}) {
        Tensor t(nullptr, options.dtype, {num_blocks_, m.num_kv_heads, block_size_, m.head_dim});
        // Zeroed: kernels may read (and mask) the unused end of a block, and 0 * garbage must not
        // be NaN.
        t.data = device_.allocate(t.bytes(), /*zeroed=*/true);
        list->push_back(t);
      }
    }
  } catch (...) {
    for (auto* list : {&tensors_.k, &tensors_.v})
      for (Tensor& t : *list) device_.free(t.data);
    throw;
  }
}

KvCache::~KvCache() {
  for (auto* list : {&tensors_.k, &tensors_.v})
    for (Tensor& t : *list) device_.free(t.data);
}

void KvCache::store_experts(int64_t slot, const int32_t* row) {
  std::copy_n(row, experts_per_token_, experts_.begin() + slot * experts_per_token_);
}

void KvCache::load_experts(int64_t slot, int32_t* row) const {
  std::copy_n(experts_.begin() + slot * experts_per_token_, experts_per_token_, row);
}

}  // namespace hotpath

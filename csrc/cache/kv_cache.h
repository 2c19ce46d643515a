#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"
#include "model/spec.h"
#include "ops/device.h"

namespace hotpath {

// "f32" | "f16" | "bf16" to its DType; throws Error("invalid_request") otherwise.
DType parse_kv_dtype(const std::string& name);

struct KvCacheOptions {
  int32_t block_size = 16;
  int64_t bytes = 0;  // rounded down to whole blocks
  DType dtype = DType::kF32;
  bool capture_routed_experts = false;
  int32_t num_blocks = std::numeric_limits<int32_t>::max();  // at most
};

// The memory of the paged cache: two tensors per layer on the device and, when routed experts are
// captured, which experts each cached token went to, on the host. Who may use which block is the
// business of BlockPool and PrefixTree. A slot is block * block_size + offset.
class KvCache {
 public:
  // Allocates. Throws out_of_memory when not even one block fits in options.bytes.
  KvCache(Device& device, const ModelSpec& spec, const KvCacheOptions& options);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const KvTensors& tensors() const { return tensors_; }
  int32_t num_blocks() const { return num_blocks_; }
  int32_t block_size() const { return block_size_; }
  int64_t bytes() const { return bytes_; }

  // Ids per token: num_layers * max_top_k; 0 when not captured.
  int32_t experts_per_token() const { return experts_per_token_; }
  // row: experts_per_token ids.
  void store_experts(int64_t slot, const int32_t* row);
  void load_experts(int64_t slot, int32_t* row) const;

 private:
  Device& device_;
  KvTensors tensors_;
  int32_t num_blocks_ = 0;
  int32_t block_size_ = 0;
  int64_t bytes_ = 0;
  int32_t experts_per_token_ = 0;
  // [num_slots, num_layers, max_top_k]; 16 bits, for it is as long as the cache. Zero for layers
  // without experts.
  std::vector<int16_t> experts_;
};

}  // namespace hotpath

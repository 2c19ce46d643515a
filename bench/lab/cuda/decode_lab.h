#pragma once

// What the attention and RoPE labs share: a batch on host and device, and the tally of failures.

#include <string>

#include "bench/lab/cuda/lab.h"
#include "cuda/attention.h"
#include "cuda/attention_decode.h"

namespace lab {

using namespace hotpath;
using namespace hotpath::cuda;

inline int failures = 0;
inline void report(bool ok, const char* what, const std::string& where, double figure = 0) {
  if (!ok) ++failures;
  if (!ok) std::printf("FAIL %s %s %g\n", what, where.c_str(), figure);
}

struct SeqSpec {
  int context, prompt, generated;  // keys before the step; tokens of the step
};

// A batch on host and device. Blocks are dealt out at random.
struct Step {
  std::vector<int32_t> ids, positions, slots, cu{0}, seqlens, table, prefill_lens, logits;
  Batch batch;
  AttentionPlan plan;
  char* memory = nullptr;
  AttentionLaunch how;
  int num_blocks = 0;
  static constexpr size_t kTable = 1 << 20, kTokens = 1 << 19, kItems = 1 << 20;

  Step(const std::vector<SeqSpec>& seqs, int block_size, int spare_blocks, Rng& rng) {
    int max_k = 1;
    for (const auto& s : seqs) max_k = std::max(max_k, s.context + s.prompt + s.generated);
    const int max_blocks = (max_k + block_size - 1) / block_size;
    for (const auto& s : seqs)
      num_blocks += (s.context + s.prompt + s.generated + block_size - 1) / block_size;
    num_blocks += spare_blocks;
    std::vector<int32_t> order(num_blocks);
    for (int i = 0; i < num_blocks; ++i) order[i] = i;
    for (int i = num_blocks - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
    int next = 0;
    for (const auto& s : seqs) {
      const int end = s.context + s.prompt + s.generated;
      const size_t row = table.size();
      table.resize(row + max_blocks, 0);
      for (int b = 0; b * block_size < end; ++b) table[row + b] = order[next++];
      for (int p = s.context; p < end; ++p) {
        positions.push_back(p);
        slots.push_back(table[row + p / block_size] * block_size + p % block_size);
        ids.push_back(0);
      }
      cu.push_back(static_cast<int32_t>(positions.size()));
      seqlens.push_back(end);
      prefill_lens.push_back(s.prompt);
    }
    batch.num_seqs = static_cast<int>(seqs.size());
    batch.num_tokens = static_cast<int>(positions.size());
    batch.max_seqlen_k = max_k;
    batch.block_size = block_size;
    batch.max_blocks = max_blocks;
    batch.input_ids = ids, batch.positions = positions, batch.slot_mapping = slots;
    batch.cu_seqlens_q = cu, batch.seqlens_k = seqlens, batch.block_table = table;
    batch.prefill_lens = prefill_lens;
  }
  Step(const Step&) = delete;
  ~Step() {
    if (memory) cudaFree(memory);
  }

  size_t bytes() const { return 256 + 2 * kTokens + kTable + 2 * kItems; }
  // Fixed places, so that a captured graph finds another step's contents there.
  void upload_to(char* at) {
    StepHeader header{batch.num_seqs,
                      batch.num_tokens,
                      0,
                      batch.max_blocks,
                      static_cast<int>(plan.decode.size()),
                      static_cast<int>(plan.prefill.size()),
                      {}};
    DeviceBatch& d = how.batch;
    auto put = [&](size_t offset, const void* from, size_t n, size_t room) {
      if (n > room) std::printf("FAIL lab: %zu bytes, room for %zu\n", n, room), std::exit(1);
      LAB_CHECK(cudaMemcpy(at + offset, from, n, cudaMemcpyHostToDevice));
      return at + offset;
    };
    d.header = reinterpret_cast<StepHeader*>(put(0, &header, sizeof header, 256));
    d.positions =
        reinterpret_cast<int32_t*>(put(256, positions.data(), positions.size() * 4, kTokens));
    d.slot_mapping =
        reinterpret_cast<int32_t*>(put(256 + kTokens, slots.data(), slots.size() * 4, kTokens));
    d.block_table =
        reinterpret_cast<int32_t*>(put(256 + 2 * kTokens, table.data(), table.size() * 4, kTable));
    d.decode_items = reinterpret_cast<DecodeItem*>(
        put(256 + 2 * kTokens + kTable, plan.decode.data(), plan.decode.size() * 64, kItems));
    d.prefill_items = reinterpret_cast<PrefillItem*>(put(256 + 2 * kTokens + kTable + kItems,
                                                         plan.prefill.data(),
                                                         plan.prefill.size() * 16, kItems));
    d.block_size = batch.block_size;
    how.num_decode_items = header.num_decode_items;
    how.num_prefill_items = header.num_prefill_items;
  }
  void prepare(int concurrent, void* workspace) {
    plan_attention(batch, concurrent, plan);
    if (!memory) memory = static_cast<char*>(device_bytes(bytes()));
    upload_to(memory);
    how.workspace = workspace;
  }
};

inline void* workspace() {
  static void* at = nullptr;
  if (!at) {
    OpLimits limits{};
    const size_t bytes = attention_workspace(limits, 64, 256);
    at = device_bytes(bytes);
    LAB_CHECK(cudaMemset(at, 0, bytes));
  }
  return at;
}

}  // namespace lab

#include <algorithm>
#include <array>
#include <utility>

#include "cuda/attention_decode.h"
#include "cuda/attention_prefill.h"

namespace hotpath::cuda {
namespace {

int splits_of(int seqlen) { return (seqlen - 1) / kSplitKeys + 1; }

// The most splits a row is cut into: reading more partial results takes longer than it saves.
constexpr int kMaxSplits = 32;

int chunk_keys(const DecodeItem& item) { return decode_rounds(item.seqlen) * kRoundKeys; }

// plan.order = the items' indices, longest first to within 64 keys: a counting sort.
void order_by_work(AttentionPlan& plan) {
  constexpr int kBuckets = 1024;
  auto bucket = [](const DecodeItem& item) {
    int keys = kSplitKeys;
    if (item.cuts != 0) {
      const int chunk = chunk_keys(item);
      keys = std::min(item.seqlen, item.end * chunk) - item.begin * chunk;
    }
    return kBuckets - 1 - std::min(keys / kSplitKeys, kBuckets - 1);
  };
  std::array<int32_t, kBuckets> next{};
  for (const DecodeItem& item : plan.decode) ++next[bucket(item)];
  int32_t begin = 0;
  for (int32_t& n : next) begin += std::exchange(n, begin);
  plan.order.resize(plan.decode.size());
  for (size_t i = 0; i < plan.decode.size(); ++i)
    plan.order[next[bucket(plan.decode[i])]++] = static_cast<int32_t>(i);
}

// Cuts rows so that concurrent_items workers finish together. Each in turn takes rows, longest
// first, until it has its share; the row that goes beyond is cut there and the next worker has the
// rest. Partial results cost bandwidth, so a worker rather takes a little too much.
void cut_rows(int concurrent_items, int64_t keys, AttentionPlan& plan) {
  const int64_t share = keys / concurrent_items + 1, most = share + share / 20;
  order_by_work(plan);
  int64_t load = 0;
  int partials = 0;
  for (const int32_t i : plan.order) {
    DecodeItem item = plan.decode[i];
    const int chunk = chunk_keys(item), chunks = item.end;
    if (load + item.seqlen <= most || partials + chunks > kMaxPartials) {
      load += item.seqlen;
      if (load >= share) load = 0;
      continue;
    }
    uint32_t cuts = 0;
    for (int begin = 0; begin < chunks;) {
      int room = static_cast<int>((share - load + chunk / 2) / chunk);
      if (room <= 0) {
        load = 0;
        room = static_cast<int>(std::max<int64_t>(1, (share + chunk / 2) / chunk));
      }
      const int count = std::min(room, chunks - begin);
      cuts |= 1u << begin;
      begin += count;
      load += int64_t{count} * chunk;
      if (load >= share) load = 0;
    }
    if (cuts == 1) continue;
    item.cuts = cuts;
    item.first_partial = partials;
    partials += chunks;
    for (int begin = 0, end; begin < chunks; begin = end) {
      for (end = begin + 1; end < chunks && !(cuts >> end & 1);) ++end;
      item.begin = begin;
      item.end = end;
      if (begin == 0) {
        plan.decode[i] = item;
      } else {
        plan.decode.push_back(item);
      }
    }
  }
}

// Cuts rows into splits, for steps with so few keys that even chunks leave workers idle.
void split_rows(const Batch& batch, AttentionPlan& plan) {
  const size_t rows = plan.decode.size();
  int partials = 0;
  for (size_t i = 0; i < rows; ++i) {
    DecodeItem item = plan.decode[i];
    const int splits = splits_of(item.seqlen);
    if (splits == 1 || partials + splits > kMaxPartials) continue;
    item.cuts = 0;
    item.end = splits;
    item.first_partial = partials;
    partials += splits;
    const int32_t* table = &batch.block_table[size_t(item.seq) * batch.max_blocks];
    for (int split = 0; split < splits; ++split) {
      item.begin = split;
      for (int leaf = 0; leaf < kSplitKeys / kLeafKeys; ++leaf) {
        const int key = split * kSplitKeys + leaf * kLeafKeys;
        item.blocks[leaf] = key < item.seqlen ? table[key / batch.block_size] : 0;
      }
      if (split == 0) {
        plan.decode[i] = item;
      } else {
        plan.decode.push_back(item);
      }
    }
  }
}

}  // namespace

int decode_concurrency(const Context& ctx, int num_kv_heads) {
  return std::max(1, 2 * ctx.num_sms / std::max(1, num_kv_heads));
}

int64_t max_decode_items(const OpLimits& limits) {
  // A row that is cut has a slot for partial results for each of its parts.
  return limits.max_tokens + kMaxPartials;
}

int64_t max_prefill_items(const OpLimits& limits) {
  return limits.max_tokens / kPrefillTileRows + limits.max_seqs + 1;
}

size_t attention_workspace(const OpLimits& limits, int max_heads, int max_head_dim) {
  (void)limits;
  return kQueueBytes + size_t{kMaxPartials} * kMaxUnits * sizeof(int) +
         size_t{kMaxPartials} * max_heads * (2 + max_head_dim) * sizeof(float);
}

void plan_attention(const Batch& batch, int concurrent_items, AttentionPlan& plan) {
  plan.decode.clear();
  plan.prefill.clear();
  check(static_cast<int>(batch.prefill_lens.size()) == batch.num_seqs,
        "prefill_lens: expected ", batch.num_seqs, ", received ", batch.prefill_lens.size());

  int64_t keys = 0;
  int longest = 0;
  for (int s = 0; s < batch.num_seqs; ++s) {
    const int32_t begin = batch.cu_seqlens_q[s], end = batch.cu_seqlens_q[s + 1];
    const int32_t prompt_end = begin + batch.prefill_lens[s];
    check(prompt_end <= end, "prefill_lens: expected at most ", end - begin, ", received ",
          batch.prefill_lens[s]);
    for (int32_t t = begin; t < prompt_end; t += kPrefillTileRows)
      plan.prefill.push_back(
          {s, t, std::min<int32_t>(kPrefillTileRows, prompt_end - t), batch.positions[t]});
    for (int32_t t = prompt_end; t < end; ++t) {
      DecodeItem item{};
      item.row = t;
      item.seq = s;
      item.seqlen = batch.positions[t] + 1;
      item.cuts = 1;
      item.end = (item.seqlen - 1) / chunk_keys(item) + 1;
      item.stored = batch.positions[begin];
      keys += item.seqlen;
      longest = std::max(longest, item.seqlen);
      plan.decode.push_back(item);
    }
  }
  // The tiles that see the most keys first: what is left for the end is short.
  std::sort(plan.prefill.begin(), plan.prefill.end(),
            [](const PrefillItem& a, const PrefillItem& b) {
              return a.position != b.position ? a.position > b.position
                                              : a.row_begin < b.row_begin;
            });

  if (plan.decode.empty()) return;
  concurrent_items = std::max(1, concurrent_items);
  if (keys * 2 <= int64_t{concurrent_items} * kRoundKeys && splits_of(longest) <= kMaxSplits &&
      batch.block_size % kLeafKeys == 0) {
    split_rows(batch, plan);
  } else {
    cut_rows(concurrent_items, keys, plan);
  }
  order_by_work(plan);
  plan.sorted.clear();
  for (const int32_t i : plan.order) plan.sorted.push_back(plan.decode[i]);
  std::swap(plan.decode, plan.sorted);
}

}  // namespace hotpath::cuda

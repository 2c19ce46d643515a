#pragma once

// One block's work on the likeliest tokens of a row: finding them by the block maxima, sorting
// them, their logprobs, and the draw among them.

#include "cuda/device/sample_select.cuh"

namespace hotpath::cuda::sampling {

constexpr int kSelectBins = 1024;
constexpr int kBlockCapacity = 2048;

// What the chunks say of a row.
struct RowStat {
  float maximum;    // raw
  int argmax;
  bool nothing_left, has_nan;
  double total, log_total;  // of the softmax's weights
  // The untruncated draw: a chunk, and where in it as a part of its sum.
  int chunk;
  double part;
};

__device__ __forceinline__ float logprob_of(float x, const Softmax& softmax, double log_total) {
  if (!(x > -infinity())) return -FLT_MAX;
  return static_cast<float>(
      fmax(static_cast<double>(softmax.scaled(x)) - log_total, -double{FLT_MAX}));
}

struct SelectShared {
  union {
    uint64_t list[kListCapacity];  // ~key << 32 | id: rising is by falling logit, then rising id
    WideShared<1> wide;
  };
  uint64_t sorted[kThreads];  // a short list, sorted
  uint64_t masses[kThreads];
  union {
    uint32_t bins[kSelectBins];
    uint16_t blocks[kBlockCapacity];
  };
  BlockScan scan;
  RowStat stat;
  float warp_lowest[kWarps];
  int warp_possible[kWarps];
  int num_blocks, count, found_bin, found_count, token;
};

__device__ __forceinline__ float listed_value(uint64_t entry) {
  return key_value(~static_cast<uint32_t>(entry >> 32));
}

// Which logits are listed: the floor and a number of equal steps below the top.
struct Accept {
  float top, scale, bound, floor;
  __device__ __forceinline__ bool operator()(float x) const {
    return x >= floor && !((top - fminf(x, FLT_MAX)) * scale >= bound);  // inf * 0: yes
  }
};

// A row's block maxima: the first kKept per thread in registers, beyond that in memory.
struct Maxima {
  static constexpr int kKept = 5;
  float kept[kKept];
  const float* memory;
  int blocks;

  __device__ __forceinline__ Maxima(const float* maxima, int num_blocks)
      : memory(maxima), blocks(num_blocks) {
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const int b = threadIdx.x + i * kThreads;
      kept[i] = b < blocks ? memory[b] : -infinity();
    }
  }
  // body(maximum, block)
  template <typename Body>
  __device__ __forceinline__ void each(Body body) const {
#pragma unroll
    for (int i = 0; i < kKept; ++i) body(kept[i], static_cast<int>(threadIdx.x) + i * kThreads);
    for (int b = threadIdx.x + kKept * kThreads; b < blocks; b += kThreads) body(memory[b], b);
  }
};

// An upper end of the distribution that contains at least `need` tokens and few more: the `need`
// largest block maxima are as many tokens. All that is possible when there are fewer blocks.
__device__ inline Accept choose_list(SelectShared& s, const Maxima& maxima, float largest, int need,
                                     bool& complete) {
  const int t = threadIdx.x;
  float lowest = infinity();
  int possible = 0;
  maxima.each([&](float m, int) {
    if (m > -infinity()) lowest = fminf(lowest, m), ++possible;
  });
  lowest = -warp_max(-lowest), possible = __reduce_add_sync(0xffffffffu, possible);
  if (t % 32 == 0) s.warp_lowest[t / 32] = lowest, s.warp_possible[t / 32] = possible;
  for (int i = t; i < kSelectBins; i += kThreads) s.bins[i] = 0;
  __syncthreads();
  lowest = infinity(), possible = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w)
    lowest = fminf(lowest, s.warp_lowest[w]), possible += s.warp_possible[w];
  float top = fminf(largest, FLT_MAX), floor = lowest;
  Accept accept{top, 0, 1, -FLT_MAX};
  complete = need >= possible;
  if (complete) return accept;
  accept.floor = lowest;
  for (int level = 0; level < 5 && top > floor; ++level) {
    if (level > 0) {
      __syncthreads();  // what was found has been read
      for (int i = t; i < kSelectBins; i += kThreads) s.bins[i] = 0;
      __syncthreads();
    }
    const float scale = kSelectBins / (top - floor);
    maxima.each([&](float m, int) {
      if (!(m >= floor)) return;
      const float at = (top - fminf(m, FLT_MAX)) * scale;
      atomicAdd(&s.bins[at < kSelectBins - 1 ? max(static_cast<int>(at), 0) : kSelectBins - 1], 1u);
    });
    __syncthreads();
    constexpr int kPer = kSelectBins / kThreads;
    int n[kPer], sum = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) n[i] = s.bins[t * kPer + i], sum += n[i];
    uint64_t total;
    int before = static_cast<int>(s.scan.inclusive(sum, total)) - sum;
    if (total < need) break;  // rounding at the floor: the level before stands
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (before < need && before + n[i] >= need)
        s.found_bin = t * kPer + i, s.found_count = before + n[i];
      before += n[i];
    }
    __syncthreads();
    const int bin = s.found_bin, taken = s.found_count;
    accept = {top, scale, bin == kSelectBins - 1 ? infinity() : static_cast<float>(bin + 1), floor};
    if (taken <= need + need / 4 + 32) break;
    const float step = (top - floor) / kSelectBins, old_top = top;
    top = old_top - bin * step;
    if (bin < kSelectBins - 1) floor = fmaxf(floor, old_top - (bin + 1) * step);
  }
  return accept;
}

// Appends the tokens that `keep` takes of the quads that `quad_at` names.
template <typename QuadAt, typename Keep>
__device__ void append(SelectShared& s, const RowView& view, int quads, QuadAt quad_at, Keep keep) {
  constexpr int kUnroll = 4;
  for (int i = threadIdx.x; i < quads; i += kThreads * kUnroll) {
    float4 v[kUnroll];
    int q[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int at = i + u * kThreads;
      q[u] = at < quads ? quad_at(at) : (view.n + 3) / 4;
      v[u] = view.quad(q[u]);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const float x[4] = {v[u].x, v[u].y, v[u].z, v[u].w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int id = 4 * q[u] + e;
        if (!(x[e] > -infinity()) || !keep(x[e], id)) continue;
        const int place = atomicAdd(&s.count, 1);
        if (place < kListCapacity)
          s.list[place] = uint64_t{~ordered_key(x[e])} << 32 | static_cast<uint32_t>(id);
      }
    }
  }
  __syncthreads();
}

// Sorts the likeliest tokens, into s.sorted if there are up to kThreads, else into s.list; returns
// how many. complete: these are all.
__device__ inline int list_likeliest(SelectShared& s, const RowView& view,
                                     const float* block_maxima, int blocks, const Softmax& softmax,
                                     float largest, int need, bool& complete) {
  const int t = threadIdx.x;
  const Maxima maxima(block_maxima, blocks);
  if (t == 0) s.num_blocks = 0, s.count = 0;
  const Accept accept = choose_list(s, maxima, largest, need, complete);
  __syncthreads();
  maxima.each([&](float m, int b) {
    if (!accept(m)) return;
    const int place = atomicAdd(&s.num_blocks, 1);
    if (place < kBlockCapacity) s.blocks[place] = static_cast<uint16_t>(b);
  });
  __syncthreads();
  const int num_blocks = s.num_blocks;
  constexpr int kBlockQuads = kBlock / 4;
  if (num_blocks <= kBlockCapacity)
    append(s, view, num_blocks * kBlockQuads,
           [&](int i) { return s.blocks[i / kBlockQuads] * kBlockQuads + i % kBlockQuads; },
           [&](float x, int) { return accept(x); });
  int count = s.count;
  if (num_blocks > kBlockCapacity || count > kListCapacity) {
    // Too many alike: exactly the first `need` of them, by passes over the whole row.
    Wide<1> wide(s.wide, s.scan, view, softmax);
    complete = false;
    const int wanted = min(need, kMaxNeed);
    const Kept kept = wide.kept_by_count(wanted);
    __syncthreads();
    if (t == 0) s.count = 0;
    __syncthreads();
    append(s, view, (view.n + 3) / 4, [](int i) { return i; },
           [&](float x, int id) { return kept(x, id); });
    count = s.count;
  }
  if (count <= kThreads) {
    const int group = pair_group(count), item = t / group;
    const uint64_t mine = item < count ? s.list[item] : 0;
    int rank = 0;
    for (int j = t % group; j < count; j += group) rank += s.list[j] < mine;
    rank = group_sum(rank, group);
    if (item < count && t % group == 0) s.sorted[rank] = mine;
    __syncthreads();
  } else {
    bitonic_sort(s.list, padded(s.list, count));
  }
  return count;
}

__device__ inline void write_logprobs(const Row& row, const RowView& view, const SelectShared& s,
                               const Softmax& softmax, int count) {
  const int wanted = row.num_logprobs, t = threadIdx.x;
  float* values = reinterpret_cast<float*>(row.top_ids + wanted);
  const uint64_t* list = count <= kThreads ? s.sorted : s.list;
  const double log_total = s.stat.log_total;
  for (int i = t; i < min(count, wanted); i += kThreads) {
    row.top_ids[i] = static_cast<int32_t>(list[i]);
    values[i] = logprob_of(listed_value(list[i]), softmax, log_total);
  }
  // Fewer possible than wanted: the rest is equally impossible, the lowest ids first.
  if (count < wanted && t < 32) {
    int place = count;
    for (int base = 0; base < view.n && place < wanted; base += 32) {
      const int id = base + t;
      const bool impossible = id < view.n && !(view.one(id) > -infinity());
      const uint32_t all = __ballot_sync(0xffffffffu, impossible);
      const int at = place + __popc(all & ((1u << t) - 1));
      if (impossible && at < wanted) row.top_ids[at] = id, values[at] = -FLT_MAX;
      place += __popc(all);
    }
  }
}

// The draw among the sorted list's first tokens, after the truncations that it can settle; -1 when
// it does not reach far enough. kPer: entries per thread, 1 for a short list.
template <int kPer>
__device__ inline int draw_from_list(SelectShared& s, const Row& row, const Softmax& softmax,
                                     int count, bool complete, double u) {
  const int t = threadIdx.x;
  uint64_t* const list = kPer == 1 ? s.sorted : s.list;
  bool settled = complete;
  if (row.top_k > 0) {
    if (row.top_k <= count) settled = true, count = row.top_k;
    if (!settled) return -1;
  }
  float weight[kPer];
  uint64_t mass[kPer], sum = 0, total;  // 40 bits for the likeliest token
  auto weigh = [&](int n) {
    sum = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int at = t * kPer + i;
      weight[i] = at < n ? softmax.weight(listed_value(list[at])) : 0.0f;
      mass[i] = __float2ull_rn(weight[i] * 0x1p40f);
      sum += mass[i];
    }
  };
  weigh(count);
  if (row.top_p < 1) {
    uint64_t before = s.scan.inclusive(sum, total) - sum;
    const double whole = row.top_k > 0 ? static_cast<double>(total) : s.stat.total * 0x1p40;
    const uint64_t target = max(uint64_t{1}, static_cast<uint64_t>(ceil(row.top_p * whole)));
    if (target <= total) {
      settled = true;
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        if (before < target && before + mass[i] >= target) s.found_count = t * kPer + i + 1;
        before += mass[i];
      }
      __syncthreads();
      count = s.found_count;
    }
    if (!settled) return -1;
  }
  if (row.min_p > 0) {
    int likely = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i)
      likely += __syncthreads_count(t * kPer + i < count && weight[i] >= row.min_p);
    if (likely < count) settled = true;
    if (!settled) return -1;
    count = max(1, likely);
  }
  if constexpr (kPer == 1) {
    // In id order without sorting: what lies at or below each token's id.
    s.masses[t] = t < count ? mass[0] : 0;
    __syncthreads();
    const int group = pair_group(count), item = t / group;
    const uint32_t id = item < count ? static_cast<uint32_t>(list[item]) : 0;
    uint64_t upto = 0, whole = 0;
#pragma unroll 4
    for (int j = t % group; j < count; j += group) {
      const uint64_t w = s.masses[j];
      whole += w;
      if (static_cast<uint32_t>(list[j]) <= id) upto += w;
    }
    upto = group_sum(upto, group), whole = group_sum(whole, group);
    const uint64_t target = min(static_cast<uint64_t>(u * static_cast<double>(whole)), whole - 1);
    if (item < count && t % group == 0 && target < upto && upto - s.masses[item] <= target)
      s.token = static_cast<int>(id);
  } else {
    __syncthreads();
    for (int i = t; i < count; i += kThreads) list[i] = list[i] << 32 | list[i] >> 32;
    bitonic_sort(list, padded(list, count));
    for (int i = t; i < count; i += kThreads) list[i] = list[i] << 32 | list[i] >> 32;
    __syncthreads();
    weigh(count);
    uint64_t before = s.scan.inclusive(sum, total) - sum;
    const uint64_t target = min(static_cast<uint64_t>(u * static_cast<double>(total)), total - 1);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (before <= target && target < before + mass[i])
        s.token = static_cast<int>(static_cast<uint32_t>(list[t * kPer + i]));
      before += mass[i];
    }
  }
  __syncthreads();
  return s.token;
}

// Nothing is possible: the lowest token that is allowed and not suppressed, failing that allowed,
// failing that 0.
__device__ inline int lowest_allowed(SelectShared& s, const Row& row, int n) {
  const int t = threadIdx.x;
  const int32_t* suppressed = row.edits + 2 * row.num_seen;
  if (t == 0) s.token = INT_MAX, s.count = INT_MAX;
  __syncthreads();
  for (int id = t; id < n; id += kThreads) {
    if (row.mask && !(row.mask[id >> 5] >> (id & 31) & 1)) continue;
    if (id < s.count) atomicMin(&s.count, id);
    if (id > s.token) break;
    bool held = false;
    for (int i = 0; i < row.num_suppressed; ++i) held |= suppressed[i] == id;
    if (!held) atomicMin(&s.token, id);
  }
  __syncthreads();
  const int masked = s.count == INT_MAX ? 0 : s.count;
  return s.token == INT_MAX ? masked : s.token;
}

}  // namespace hotpath::cuda::sampling

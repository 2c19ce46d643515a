#pragma once

// Block-wide and cluster-wide selection without sorting the vocabulary. All sums are integers
// (fixed point), so that their order is nobody's business.

#include <climits>

#include "cuda/device/sample_row.cuh"

namespace hotpath::cuda::sampling {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kBins = 2048;

// Inclusive scan of one value per thread; `total` is the sum of all.
struct BlockScan {
  uint64_t warp_totals[kWarps];

  __device__ __forceinline__ uint64_t inclusive(uint64_t v, uint64_t& total) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
      const uint64_t below = __shfl_up_sync(0xffffffffu, v, offset);
      if (lane >= offset) v += below;
    }
    __syncthreads();  // the totals of the scan before have been read
    if (lane == 31) warp_totals[warp] = v;
    __syncthreads();
    total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) v += warp_totals[w];
      total += warp_totals[w];
    }
    return v;
  }
};

// The largest of all threads' values; room: a float per warp.
__device__ __forceinline__ float block_max(float v, float* room, int warps) {
  v = warp_max(v);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
  __syncthreads();
  v = room[0];
  for (int w = 1; w < warps; ++w) v = fmaxf(v, room[w]);
  return v;
}

// Sorts `count` (a power of two) keys, rising.
__device__ inline void bitonic_sort(uint64_t* keys, int count) {
  for (int size = 2; size <= count; size <<= 1)
    for (int stride = size >> 1; stride > 0; stride >>= 1) {
      __syncthreads();
      for (int i = threadIdx.x; i < count / 2; i += kThreads) {
        const int low = 2 * i - (i & (stride - 1)), high = low + stride;
        const uint64_t a = keys[low], b = keys[high];
        if ((a > b) == ((low & size) == 0)) keys[low] = b, keys[high] = a;
      }
    }
  __syncthreads();
}
__device__ inline int padded(uint64_t* keys, int count) {
  int size = 1;
  while (size < count) size <<= 1;
  for (int i = count + threadIdx.x; i < size; i += kThreads) keys[i] = ~0ull;
  return size;
}

// Lanes that share one of `count` items when all threads compare all pairs; 1 beyond 256 items.
__device__ __forceinline__ int pair_group(int count) {
  return count <= 64 ? 8 : count <= 128 ? 4 : count <= 256 ? 2 : 1;
}
template <typename T>
__device__ __forceinline__ T group_sum(T v, int group) {
  for (int offset = group >> 1; offset > 0; offset >>= 1)
    v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

// ---- clusters of kCtas blocks, each with one slice of the row ----

template <int kCtas>
__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
  if constexpr (kCtas > 1) asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}
template <int kCtas>
__device__ __forceinline__ void cluster_sync() {
#if __CUDA_ARCH__ >= 900
  if constexpr (kCtas > 1) {
    asm volatile(
        "barrier.cluster.arrive.release.aligned;\n"
        "barrier.cluster.wait.acquire.aligned;" ::
            : "memory");
    return;
  }
#endif
  __syncthreads();
}
template <int kCtas>
__device__ __forceinline__ uint64_t cluster_read(const uint64_t* p, uint32_t rank) {
#if __CUDA_ARCH__ >= 900
  if constexpr (kCtas > 1) {
    uint32_t address;
    uint64_t v;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(address)
                 : "r"(smem_address(p)), "r"(rank));
    asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(v) : "r"(address) : "memory");
    return v;
  }
#endif
  return *p;
}

struct WideShared {
  uint32_t low[kBins];   // a bin's weight, in two words: 64-bit shared atomics are slow
  uint32_t high[kBins];
  uint64_t merged[kBins];  // the cluster's; block r has bins [r, r + 1) * kBins / kCtas
  uint64_t warp_sums[kWarps];
  uint64_t exchange;
  uint64_t found_above, found_weight;
  int found_bin, found_id;
};

// Where a sum over the falling keys reaches its target.
struct Cut {
  uint32_t key;     // the sum over larger keys is below the target, with this key it is not
  uint64_t above;   // that sum
  uint64_t weight;  // of all tokens with this key
  uint64_t target;
};

template <int kCtas>
struct Wide {
  WideShared& s;
  BlockScan& scan;
  RowView view;
  Softmax softmax;
  uint32_t rank;
  int begin, end;  // quads of this block's slice
  int per_warp;    // quads of each of its warps' segments

  __device__ Wide(WideShared& shared, BlockScan& block_scan, const RowView& row,
                  const Softmax& row_softmax)
      : s(shared), scan(block_scan), view(row), softmax(row_softmax), rank(cluster_rank<kCtas>()) {
    const int quads = (view.n + 3) / 4;
    const int slice = (quads + kCtas - 1) / kCtas;
    begin = min(quads, static_cast<int>(rank) * slice);
    end = min(quads, begin + slice);
    per_warp = (slice + 32 * kWarps - 1) / (32 * kWarps) * 32;
  }

  // Fixed point, 31 bits: what is less likely than that by the likeliest is never drawn.
  __device__ __forceinline__ uint32_t mass(float x) const {
    return __float2uint_rn(softmax.weight(x) * 0x1p31f);
  }
  // 92 bins per unit: beyond the last one the mass is 0.
  __device__ __forceinline__ int linear_bin(float x) const {
    const float t = (softmax.maximum - fminf(x, FLT_MAX)) * (softmax.inverse * 92.0f);
    return t < kBins - 1 ? static_cast<int>(t) : kBins - 1;
  }
  // The largest key in a bin >= b.
  __device__ uint32_t bin_top(int b) const {
    uint32_t low = ordered_key(-FLT_MAX), high = ordered_key(infinity());
    while (low < high) {
      const uint32_t middle = low + (high - low + 1) / 2;
      if (linear_bin(key_value(middle)) >= b)
        low = middle;
      else
        high = middle - 1;
    }
    return low;
  }

  template <typename Body>
  __device__ __forceinline__ void for_slice(Body body) const {
    constexpr int kUnroll = 4;
    for (int q = begin + threadIdx.x; q < end; q += kUnroll * kThreads) {
      float4 v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) v[u] = view.quad(q + u * kThreads);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        if (q + u * kThreads >= end) break;
        body(v[u].x), body(v[u].y), body(v[u].z), body(v[u].w);
      }
    }
  }

  // One histogram of the cluster's tokens, and the bin where the sum reaches the target.
  template <bool kMass, typename Bin>
  __device__ void histogram(uint64_t share_numerator, bool scaled, float share, uint64_t& target,
                            Bin bin) {
    for (int i = threadIdx.x; i < kBins; i += kThreads) s.low[i] = 0, s.high[i] = 0;
    __syncthreads();
    for_slice([&](float x) {
      const int b = x > -infinity() ? bin(x) : -1;
      if (b < 0) return;
      if constexpr (kMass) {
        const uint32_t w = mass(x);
        if (w == 0) return;
        const uint32_t before = atomicAdd(&s.low[b], w);
        if (before + w < before) atomicAdd(&s.high[b], 1u);
      } else {
        atomicAdd(&s.low[b], 1u);
      }
    });
    cluster_sync<kCtas>();
    constexpr int kOwn = kBins / kCtas;
    for (int i = threadIdx.x; i < kOwn; i += kThreads) {
      uint64_t sum = 0;
      const int b = static_cast<int>(rank) * kOwn + i;
      if constexpr (kCtas == 1) {
        sum = uint64_t{s.high[b]} << 32 | s.low[b];
      } else {
        // Eight-byte reads of two bins each would need even bins; a pair per thread is what
        // 64-bit reads give.
        const int pair = b & ~1;
        for (int r = 0; r < kCtas; ++r) {
          const uint64_t low =
              cluster_read<kCtas>(reinterpret_cast<const uint64_t*>(&s.low[pair]), r);
          const uint64_t high =
              cluster_read<kCtas>(reinterpret_cast<const uint64_t*>(&s.high[pair]), r);
          const int shift = b & 1 ? 32 : 0;
          sum += (high >> shift & 0xffffffffu) << 32 | (low >> shift & 0xffffffffu);
        }
      }
      s.merged[i] = sum;
    }
    cluster_sync<kCtas>();
    constexpr int kPer = kBins / kThreads;
    uint64_t w[kPer], sum = 0, total;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int b = threadIdx.x * kPer + i;
      w[i] = cluster_read<kCtas>(&s.merged[b % kOwn], b / kOwn);
      sum += w[i];
    }
    uint64_t above = scan.inclusive(sum, total) - sum;
    if (scaled) {
      const double wanted = ceil(static_cast<double>(share) * static_cast<double>(
                                     share_numerator ? share_numerator : total));
      target = wanted < 1 ? 1 : static_cast<uint64_t>(wanted);
    }
    if (target > total) target = total;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (above < target && above + w[i] >= target)
        s.found_bin = threadIdx.x * kPer + i, s.found_above = above, s.found_weight = w[i];
      above += w[i];
    }
    __syncthreads();
  }

  // Where the sum over falling keys reaches `target` (a count), or with kMass `share` of `whole`
  // (0: of the mass of all).
  template <bool kMass>
  __device__ Cut find_cut(uint64_t target, float share, uint64_t whole) {
    Cut cut{};
    histogram<kMass>(whole, kMass, share, target, [&](float x) { return linear_bin(x); });
    const int bin = s.found_bin;
    cut.target = target, cut.above = s.found_above, cut.weight = s.found_weight;
    uint32_t top = bin_top(bin);
    uint32_t bottom = bin == kBins - 1 ? ordered_key(-FLT_MAX) : bin_top(bin + 1) + 1;
    while (top > bottom) {
      const int bits = 32 - __clz(top - bottom);
      const int shift = max(0, bits - 11);
      uint64_t rest = target - cut.above;
      __syncthreads();  // what was found has been read
      histogram<kMass>(0, false, 0, rest, [&](float x) {
        const uint32_t key = ordered_key(x);
        return key <= top && key >= bottom ? static_cast<int>((top - key) >> shift) : -1;
      });
      cut.above += s.found_above, cut.weight = s.found_weight;
      top -= static_cast<uint32_t>(s.found_bin) << shift;
      const uint32_t width = (1u << shift) - 1;
      bottom = top - bottom > width ? top - width : bottom;
    }
    cut.key = top;
    __syncthreads();
    return cut;
  }

  // The token, ids rising, at which the running sum of weight(x, id) passes target_of(total).
  template <typename Weight, typename Target>
  __device__ int locate(Weight weight, Target target_of) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first = min(end, begin + warp * per_warp), last = min(end, first + per_warp);
    uint64_t sum = 0;
    constexpr int kUnroll = 4;
    for (int q = first + lane; q < last; q += 32 * kUnroll) {
      float4 v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) v[u] = view.quad(q + 32 * u);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u)
        if (q + 32 * u < last) sum += quad_weight(v[u], 4 * (q + 32 * u), weight);
    }
    for (int offset = 16; offset > 0; offset >>= 1)
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) s.warp_sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      uint64_t block = 0;
      for (int w = 0; w < kWarps; ++w) block += s.warp_sums[w];
      s.exchange = block;
      s.found_id = 0;
    }
    cluster_sync<kCtas>();
    uint64_t total = 0, before = 0, mine = 0;
    for (int r = 0; r < kCtas; ++r) {
      const uint64_t part = cluster_read<kCtas>(&s.exchange, r);
      total += part;
      if (r < static_cast<int>(rank)) before += part;
      if (r == static_cast<int>(rank)) mine = part;
    }
    const uint64_t target = target_of(total);
    int owner = 0;
    {
      uint64_t running = 0;
      for (int r = 0; r < kCtas; ++r) {
        running += cluster_read<kCtas>(&s.exchange, r);
        if (running > target) break;
        owner = min(r + 1, kCtas - 1);
      }
    }
    cluster_sync<kCtas>();  // before exchange is used again
    if (before <= target && target < before + mine) {
      int w = 0;
      uint64_t running = before;
      while (running + s.warp_sums[w] <= target) running += s.warp_sums[w++];
      const int from = begin + w * per_warp;
      draw_in_range(from, min(end, from + per_warp), target - running, weight);
      if (threadIdx.x == 0) s.exchange = static_cast<uint64_t>(s.found_id);
    }
    cluster_sync<kCtas>();
    const int id = static_cast<int>(cluster_read<kCtas>(&s.exchange, owner));
    cluster_sync<kCtas>();
    return id;
  }

  template <typename Weight>
  __device__ __forceinline__ uint64_t quad_weight(const float4& v, int id, Weight& weight) const {
    return uint64_t{weight(v.x, id)} + weight(v.y, id + 1) + weight(v.z, id + 2) +
           weight(v.w, id + 3);
  }

  // This block alone, over quads [from, to): s.found_id is where the sum passes the target.
  template <typename Weight>
  __device__ void draw_in_range(int from, int to, uint64_t target, Weight weight) {
    const int per_thread = (to - from + kThreads - 1) / kThreads;
    const int first = min(to, from + static_cast<int>(threadIdx.x) * per_thread);
    const int last = min(to, first + per_thread);
    uint64_t sum = 0, total;
    for (int q = first; q < last; ++q) sum += quad_weight(view.quad(q), 4 * q, weight);
    uint64_t running = scan.inclusive(sum, total) - sum;
    if (running <= target && target < running + sum) {
      int id = 4 * first - 1;
      while (running <= target) {
        ++id;
        running += weight(view.one(id), id);
      }
      s.found_id = id;
    }
    __syncthreads();
  }

  // The same at a part, in [0, 1], of the range's sum.
  template <typename Weight>
  __device__ int draw_chunk(int from, int to, double part, Weight weight) {
    uint64_t sum = 0, total;
    for (int q = from + threadIdx.x; q < to; q += kThreads)
      sum += quad_weight(view.quad(q), 4 * q, weight);
    scan.inclusive(sum, total);
    const auto target = static_cast<uint64_t>(part * static_cast<double>(total));
    draw_in_range(from, to, min(target, total - 1), weight);
    return s.found_id;
  }

  // Of the tokens whose key is the cut's, the highest id among the first `count`.
  __device__ int last_tie(uint32_t key, uint64_t count) {
    return locate([=](float x, int) { return uint32_t{ordered_key(x) == key}; },
                  [=](uint64_t) { return count - 1; });
  }
};

// Tokens that a cut keeps: larger keys, and equal ones up to an id.
struct Kept {
  uint32_t key = 0;
  int last_id = INT_MAX;
  __device__ __forceinline__ bool operator()(uint32_t k, int id) const {
    return k > key || (k == key && id <= last_id);
  }
};

}  // namespace hotpath::cuda::sampling

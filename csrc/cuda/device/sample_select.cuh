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

template <int kCtas>
__device__ __forceinline__ uint32_t cluster_read(const uint32_t* p, uint32_t rank) {
#if __CUDA_ARCH__ >= 900
  if constexpr (kCtas > 1) {
    uint32_t address, v;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(address)
                 : "r"(smem_address(p)), "r"(rank));
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
    return v;
  }
#endif
  return *p;
}

template <int kCtas>
struct WideShared {
  // Block r of the cluster adds up bins [r, r + 1) * kOwn of all blocks.
  static constexpr int kOwn = kCtas == 1 ? 1 : kBins / kCtas;
  uint32_t sums[kBins];    // of weights, in units of the bin's nominal one
  uint32_t counts[kBins];  // of tokens; not in a first histogram of masses
  uint64_t merged[kOwn];
  uint32_t merged_counts[kOwn];
  uint64_t warp_sums[kWarps];
  uint64_t exchange;
  uint64_t found_above;
  uint32_t answer, found_count;
  int found_bin, found_id;
};

// Where a sum over the falling logits reaches its target.
struct Cut {
  float value;     // larger logits stay below the target; with those >= value it is reached
  uint64_t above;  // sum of what is larger
  uint32_t count;  // of the tokens that have this value: several only if they are equal
  uint64_t target;
};

// Tokens that a cut keeps: larger logits, and equal ones up to an id.
struct Kept {
  float value = -infinity();
  int last_id = INT_MAX;
  __device__ __forceinline__ bool operator()(float x, int id) const {
    return x > value || (x == value && id <= last_id);
  }
};

template <int kCtas>
struct Wide {
  // Masses that cuts compare are fixed point, 2^kMassBits for the likeliest token's.
  static constexpr int kMassBits = 42;
  static constexpr float kBinsPerUnit = 92.0f, kLog2e = 1.44269504f;
  WideShared<kCtas>& s;
  BlockScan& scan;
  RowView view;
  Softmax softmax;
  uint32_t rank;
  int begin, end;  // quads of this block's slice
  int per_warp;    // quads of each of its warps' segments
  int bits;        // of a weight in a histogram, so that a slice's sum fits in 32

  __device__ Wide(WideShared<kCtas>& shared, BlockScan& block_scan, const RowView& row,
                  const Softmax& row_softmax)
      : s(shared), scan(block_scan), view(row), softmax(row_softmax), rank(cluster_rank<kCtas>()) {
    const int quads = (view.n + 3) / 4;
    const int slice = (quads + kCtas - 1) / kCtas;
    begin = min(quads, static_cast<int>(rank) * slice);
    end = min(quads, begin + slice);
    per_warp = (slice + 32 * kWarps - 1) / (32 * kWarps) * 32;
    bits = min(16, 31 - (32 - __clz(4 * slice)));
  }

  // Fixed point, 31 bits: what is less likely than that by the likeliest is never drawn.
  __device__ __forceinline__ uint32_t mass(float x) const {
    return __float2uint_rn(exp2_fast(softmax.scaled(x) * kLog2e) * 0x1p31f);
  }
  static __device__ __forceinline__ float exp2_fast(float x) {
    float e;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x));
    return e;
  }
  // The bin of equally wide bins, as 2^23 + bin: rises as the logit falls.
  __device__ __forceinline__ float linear_bin(float x) const {
    const float t = (softmax.maximum - fminf(x, FLT_MAX)) * (softmax.inverse * kBinsPerUnit);
    return fminf(t, kBins - 1) + 0x1p23f;
  }
  // By how much e = exp((x - max) / T) exceeds that of its bin: about 1, in `bits` bits.
  __device__ __forceinline__ uint32_t relative_mass(float x, float bin) const {
    const float exponent = softmax.scaled(x) * kLog2e + (bin - 0x1p23f) * (kLog2e / kBinsPerUnit);
    return __float2uint_rn(exp2_fast(exponent + static_cast<float>(bits)));
  }
  __device__ __forceinline__ double nominal_mass(int bin) const {
    const double below = static_cast<double>(bin) * (double{kLog2e} / double{kBinsPerUnit});
    return exp2(kMassBits - bits - below);
  }
  // The largest key whose bin is >= b. By every warp for itself.
  __device__ uint32_t bin_top(int b) const {
    const uint32_t lane = threadIdx.x % 32;
    const float bin = static_cast<float>(b) + 0x1p23f;
    uint32_t low = ordered_key(-FLT_MAX), high = ordered_key(infinity());
    while (low < high) {
      const uint32_t step = (high - low) / 32 + 1, at = low + (lane + 1) * step;
      const bool below = at <= high && linear_bin(key_value(at)) >= bin;
      const int n = __popc(__ballot_sync(0xffffffffu, below));
      high = min(high, low + (n + 1) * step - 1);
      low += n * step;
    }
    return low;
  }

  template <typename Body>
  __device__ __forceinline__ void for_slice(Body body) const {
    constexpr int kUnroll = 5;
    for (int q = begin + threadIdx.x; q < end; q += kUnroll * kThreads) {
      float4 v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        v[u] = make_float4(-infinity(), -infinity(), -infinity(), -infinity());
        if (q + u * kThreads < end) v[u] = view.quad(q + u * kThreads);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) body(v[u].x), body(v[u].y), body(v[u].z), body(v[u].w);
    }
  }

  __device__ __forceinline__ void clear() {
    for (int i = threadIdx.x; i < kBins; i += kThreads) s.sums[i] = 0, s.counts[i] = 0;
    __syncthreads();
  }

  // Adds up the cluster's histograms and finds the bin where the sum reaches the target; share >= 0
  // makes that this part of `whole` (0: of all). weight_of(sum, bin): 64-bit weight.
  template <typename WeightOf>
  __device__ void find_bin(uint64_t& target, float share, uint64_t whole, WeightOf weight_of) {
    constexpr int kOwn = WideShared<kCtas>::kOwn;
    cluster_sync<kCtas>();
    if constexpr (kCtas > 1) {
      for (int i = threadIdx.x; i < kOwn; i += kThreads) {
        const int b = static_cast<int>(rank) * kOwn + i;
        uint64_t sum = 0;
        uint32_t count = 0;
#pragma unroll
        for (int r = 0; r < kCtas; ++r) {
          sum += cluster_read<kCtas>(&s.sums[b], r);
          count += cluster_read<kCtas>(&s.counts[b], r);
        }
        s.merged[i] = weight_of(sum, b), s.merged_counts[i] = count;
      }
      cluster_sync<kCtas>();
    }
    constexpr int kPer = kBins / kThreads;
    uint64_t w[kPer], sum = 0, total;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int b = threadIdx.x * kPer + i;
      if constexpr (kCtas > 1)
        w[i] = cluster_read<kCtas>(&s.merged[b % kOwn], b / kOwn);
      else
        w[i] = weight_of(s.sums[b], b);
      sum += w[i];
    }
    uint64_t above = scan.inclusive(sum, total) - sum;
    if (share >= 0) {
      const double wanted = ceil(static_cast<double>(share) *
                                 static_cast<double>(whole ? whole : total));
      target = wanted < 1 ? 1 : static_cast<uint64_t>(wanted);
    }
    if (target > total) target = total;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (above < target && above + w[i] >= target) {
        const int b = threadIdx.x * kPer + i;
        s.found_bin = b, s.found_above = above;
        if constexpr (kCtas > 1)
          s.found_count = cluster_read<kCtas>(&s.merged_counts[b % kOwn], b / kOwn);
        else
          s.found_count = s.counts[b];
      }
      above += w[i];
    }
    __syncthreads();
  }

  // Where the sum over falling logits reaches `target` tokens, or with kMass `share` of the mass
  // `whole` (0: of all): first by bins of equal width, then by the bits of the one bin's logits.
  template <bool kMass>
  __device__ Cut find_cut(uint64_t target, float share, uint64_t whole) {
    clear();
    for_slice([&](float x) {
      if (!(x > -infinity())) return;
      const float bin = linear_bin(x);
      const uint32_t w = kMass ? relative_mass(x, bin) : 1;
      if (w != 0) atomicAdd(&s.sums[__float_as_uint(bin) & (kBins - 1)], w);
    });
    find_bin(target, kMass ? share : -1.0f, whole, [&](uint64_t sum, int b) {
      return kMass ? __double2ull_rn(static_cast<double>(sum) * nominal_mass(b)) : sum;
    });
    Cut cut{0, s.found_above, 0, target};
    const int found = s.found_bin;
    const float bin = static_cast<float>(found) + 0x1p23f;
    const double nominal = nominal_mass(found);
    uint32_t top = bin_top(found);
    uint32_t bottom = found == kBins - 1 ? ordered_key(-FLT_MAX) : bin_top(found + 1) + 1;
    for (;;) {
      const int shift = max(0, 32 - __clz(top - bottom) - 11);
      const float high = key_value(top), low = key_value(bottom);
      __syncthreads();  // what was found has been read
      clear();
      for_slice([&](float x) {
        if (!(x <= high && x >= low)) return;
        const int b = (top - ordered_key(x)) >> shift;
        atomicAdd(&s.sums[b], kMass ? relative_mass(x, bin) : 1u);
        atomicAdd(&s.counts[b], 1u);
      });
      uint64_t rest = target > cut.above ? target - cut.above : 1;
      find_bin(rest, -1.0f, 0, [&](uint64_t sum, int) {
        return kMass ? __double2ull_rn(static_cast<double>(sum) * nominal) : sum;
      });
      cut.above += s.found_above, cut.count = s.found_count;
      top -= static_cast<uint32_t>(s.found_bin) << shift;
      const uint32_t width = (1u << shift) - 1;
      if (top - bottom > width) bottom = top - width;
      if (shift == 0 || cut.count == 1) break;
    }
    cut.value = key_value(bottom);
    __syncthreads();
    return cut;
  }
  // What a mass cut keeps, down to the tokens it takes of equal ones.
  __device__ Kept kept_by_mass(float share, uint64_t whole) {
    const Cut cut = find_cut<true>(0, share, whole);
    if (cut.count <= 1) return {cut.value, INT_MAX};
    const double each = fmax(1.0, ldexp(static_cast<double>(mass(cut.value)), kMassBits - 31));
    const double wanted = ceil(static_cast<double>(cut.target - min(cut.target, cut.above)) / each);
    if (wanted >= cut.count) return {cut.value, INT_MAX};
    return {cut.value, last_tie(cut.value, max(uint64_t{1}, static_cast<uint64_t>(wanted)))};
  }
  __device__ Kept kept_by_count(uint64_t count) {
    const Cut cut = find_cut<false>(count, 0, 0);
    if (cut.above + cut.count <= count) return {cut.value, INT_MAX};
    return {cut.value, last_tie(cut.value, count - cut.above)};
  }

  // The token, ids rising, at which the running sum of weight(x, id) passes target_of(total).
  template <typename Weight, typename Target>
  __device__ int locate(Weight weight, Target target_of) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first = min(end, begin + warp * per_warp), last = min(end, first + per_warp);
    uint64_t sum = 0;
    constexpr int kUnroll = 5;
    for (int q = first + lane; q < last; q += 32 * kUnroll) {
      float4 v[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        v[u] = make_float4(-infinity(), -infinity(), -infinity(), -infinity());
        if (q + 32 * u < last) v[u] = view.quad(q + 32 * u);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) sum += quad_weight(v[u], 4 * (q + 32 * u), weight);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1)
      sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) s.warp_sums[warp] = sum;
    __syncthreads();
    if (warp == 0) {
      uint64_t block = lane < kWarps ? s.warp_sums[lane] : 0;
#pragma unroll
      for (int offset = kWarps / 2; offset > 0; offset >>= 1)
        block += __shfl_xor_sync(0xffffffffu, block, offset);
      if (lane == 0) s.exchange = block;
    }
    cluster_sync<kCtas>();
    uint64_t parts[kCtas], total = 0;
#pragma unroll
    for (int r = 0; r < kCtas; ++r) parts[r] = cluster_read<kCtas>(&s.exchange, r);
#pragma unroll
    for (int r = 0; r < kCtas; ++r) total += parts[r];
    const uint64_t target = target_of(total);
    uint32_t owner = 0;
    uint64_t before = 0, running = 0;
#pragma unroll
    for (int r = 0; r < kCtas; ++r) {
      if (running <= target) owner = r, before = running;
      running += parts[r];
    }
    if (owner == rank) {
      int w = 0;
      uint64_t below = before;
      while (w < kWarps - 1 && below + s.warp_sums[w] <= target) below += s.warp_sums[w++];
      const int from = begin + w * per_warp;
      draw_in_range(from, min(end, from + per_warp), target - below, weight);
      if (threadIdx.x == 0) s.answer = s.found_id;
    }
    cluster_sync<kCtas>();
    return static_cast<int>(cluster_read<kCtas>(&s.answer, owner));
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

  // Of the tokens with this logit, the highest id among the first `count`.
  __device__ int last_tie(float value, uint64_t count) {
    return locate([=](float x, int) { return uint32_t{x == value}; },
                  [=](uint64_t) { return count - 1; });
  }
};

}  // namespace hotpath::cuda::sampling

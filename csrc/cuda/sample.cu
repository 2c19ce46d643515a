// The sampler's kernels, in order of launch:
//  prepare one block per row: fetches parameters and mask from the host's memory, and scatters
//          penalties, suppressed tokens and bias into the logits. Not launched for a few plain rows;
//  stats   one block per chunk: the only pass over all logits that every row needs. Leaves each
//          chunk's maximum, sum of exponentials and argmax, and the maximum of every 64 logits;
//  select  one block per row: what needs the likeliest few hundred tokens only (greedy, top-k,
//          logprobs, a nucleus that they cover) and draws from the untruncated distribution. The
//          block maxima tell which few logits to read again;
//  wide    a cluster per row: nuclei, min-p and top-k that keep more than that, by histograms of
//          fixed-point mass. Launched where a row may need it.
// Sums that decide are integers or have a fixed order, so that a row gives the same whatever the
// batch. The semantics are Ops::sample's; the CPU sampler is the model in every corner case.

#include "cuda/device/sample_list.cuh"

namespace hotpath::cuda::sampling {
namespace {

constexpr int kPrepareThreads = 256;
constexpr int kStatsThreads = 256;
constexpr int kCluster = 8;
constexpr int kFirstNeed = 128;  // tokens that a nucleus is looked for in first

// Rows in device memory are there once the prepare kernel has ended; inlined ones at once.
__device__ __forceinline__ const Row& row_of(const RowTable& table, int r) {
  if (table.rows) griddep_wait();
  return table.rows ? table.rows[r] : table.inlined[r];
}

__device__ __forceinline__ RowView view_of(const Launch& launch, const Row& row, int r) {
  return {launch.logits + r * launch.vocab, row.mask, static_cast<int>(launch.vocab),
          launch.aligned};
}

// As the CPU rounds: no fused multiply-add.
__device__ __forceinline__ float penalised(float x, const Row& row, int count) {
  const float less =
      __fadd_rn(__fmul_rn(row.frequency, static_cast<float>(count)), row.presence);
  x = __fsub_rn(x, less);
  return x < 0 ? x * row.repetition : x / row.repetition;
}

__global__ void __launch_bounds__(kPrepareThreads)
    prepare_kernel(const __grid_constant__ Launch launch, const __grid_constant__ RowTable table) {
  constexpr int kRowWords = sizeof(Row) / 4, kMaskQuads = 5;
  __shared__ alignas(16) uint32_t row_words[kRowWords];
  griddep_launch();
  const int r = blockIdx.x, t = threadIdx.x;
  // All that the host wrote comes over PCIe while the kernel before this one still runs.
  const auto* source = reinterpret_cast<const uint32_t*>(table.rows ? &table.source[r]
                                                                    : &table.inlined[r]);
  if (t < kRowWords) row_words[t] = source[t];
  __syncthreads();
  const Row& row = *reinterpret_cast<const Row*>(row_words);
  float* x = launch.logits + r * launch.vocab;
  const int32_t *seen = row.edits, *counts = seen + row.num_seen,
                *suppressed = counts + row.num_seen, *biased = suppressed + row.num_suppressed;
  const float* values = reinterpret_cast<const float*>(biased + row.num_bias);
  int token = t < row.num_seen ? seen[t] : -1, count = t < row.num_seen ? counts[t] : 0;
  int off = t < row.num_suppressed ? suppressed[t] : -1;
  int up = t < row.num_bias ? biased[t] : -1;
  const uint4* mask = reinterpret_cast<const uint4*>(row.mask_source);
  const int mask_quads = mask ? static_cast<int>((launch.vocab + 127) / 128) : 0;
  uint4 masks[kMaskQuads];
#pragma unroll
  for (int i = 0; i < kMaskQuads; ++i)
    if (t + i * kPrepareThreads < mask_quads) masks[i] = mask[t + i * kPrepareThreads];
  griddep_wait();
  if (table.rows && t < kRowWords)
    reinterpret_cast<uint32_t*>(const_cast<Row*>(&table.rows[r]))[t] = row_words[t];
  uint4* mask_copy = reinterpret_cast<uint4*>(const_cast<uint32_t*>(row.mask));
#pragma unroll
  for (int i = 0; i < kMaskQuads; ++i)
    if (t + i * kPrepareThreads < mask_quads) mask_copy[t + i * kPrepareThreads] = masks[i];
  for (int i = t + kMaskQuads * kPrepareThreads; i < mask_quads; i += kPrepareThreads)
    mask_copy[i] = mask[i];
  const int pending = row.pending ? launch.last_tokens[row.slot] : -1;
  bool found = false;
  for (int i = t; i < row.num_seen;) {
    if (token == pending) found = true, ++count;
    if (count > 0) x[token] = penalised(x[token], row, count);
    i += kPrepareThreads;
    if (i < row.num_seen) token = seen[i], count = counts[i];
  }
  if (row.pending) {
    found = __syncthreads_or(found);
    if (t == 0 && !found && pending >= 0 && pending < launch.vocab)
      x[pending] = penalised(x[pending], row, 1);
  }
  if (row.num_suppressed > 0) {
    __syncthreads();
    for (int i = t; i < row.num_suppressed;) {
      x[off] = -infinity();
      i += kPrepareThreads;
      if (i < row.num_suppressed) off = suppressed[i];
    }
  }
  if (row.num_bias > 0) {
    __syncthreads();
    for (int i = t; i < row.num_bias;) {
      // Whoever has the first of several for one token adds them all, in order.
      if (i == 0 || biased[i - 1] != up)
        for (int j = i; j < row.num_bias && biased[j] == up; ++j) x[up] += values[j];
      i += kPrepareThreads;
      if (i < row.num_bias) up = biased[i];
    }
  }
}

__global__ void __launch_bounds__(kStatsThreads, 6)
    stats_kernel(const __grid_constant__ Launch launch, const __grid_constant__ RowTable table) {
  constexpr int kQuads = kChunk / 4 / kStatsThreads, kStatsWarps = kStatsThreads / 32;
  __shared__ float warp_max[kStatsWarps], warp_sums[kStatsWarps];
  __shared__ int argmax;
  griddep_launch();
  const int r = blockIdx.y, chunk = blockIdx.x, t = threadIdx.x;
  const Row& row = row_of(table, r);
  const RowView view = view_of(launch, row, r);
  const float inverse = row.inverse_temperature * 1.44269504f;
  const bool needs_sum = row.needs_sum;
  if (t == 0) argmax = INT_MAX;
  griddep_wait();

  float4 v[kQuads];
  bool nan = false;
  const int first = chunk * (kChunk / 4) + t;
#pragma unroll
  for (int j = 0; j < kQuads; ++j) v[j] = view.raw_quad(first + j * kStatsThreads, &nan);
  float largest = -infinity();
  const int blocks = (view.n + kBlock - 1) / kBlock;
  float* block_maxima = launch.block_maxima + int64_t{r} * blocks;
#pragma unroll
  for (int j = 0; j < kQuads; ++j) {
    float m = fmaxf(fmaxf(v[j].x, v[j].y), fmaxf(v[j].z, v[j].w));
    largest = fmaxf(largest, m);
#pragma unroll
    for (int offset = 8; offset > 0; offset >>= 1)
      m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, offset));
    const int block = (first + j * kStatsThreads) / (kBlock / 4);
    if (t % (kBlock / 4) == 0 && block < blocks) block_maxima[block] = m;
  }
  const float chunk_max = block_max(largest, warp_max, kStatsWarps);
  if (largest == chunk_max && chunk_max > -infinity()) {
    int id = INT_MAX;
#pragma unroll
    for (int j = kQuads - 1; j >= 0; --j) {
      const int base = 4 * (first + j * kStatsThreads);
      if (v[j].w == chunk_max) id = base + 3;
      if (v[j].z == chunk_max) id = base + 2;
      if (v[j].y == chunk_max) id = base + 1;
      if (v[j].x == chunk_max) id = base;
    }
    atomicMin(&argmax, id);
  }
  float sum = 0;
  if (needs_sum && chunk_max > -infinity()) {
    const float top = fminf(chunk_max, FLT_MAX);
    auto weight = [&](float x) {
      float e;
      asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"((fminf(x, FLT_MAX) - top) * inverse));
      return e;
    };
#pragma unroll
    for (int j = 0; j < kQuads; ++j)
      sum += (weight(v[j].x) + weight(v[j].y)) + (weight(v[j].z) + weight(v[j].w));
    sum = warp_sum(sum);
    if (t % 32 == 0) warp_sums[t / 32] = sum;
  }
  nan = __syncthreads_or(nan);
  if (t == 0) {
    sum = 0;
    if (needs_sum && chunk_max > -infinity())
      for (int w = 0; w < kStatsWarps; ++w) sum += warp_sums[w];
    launch.chunks[int64_t{r} * gridDim.x + chunk] = {chunk_max, sum, argmax, nan};
  }
}

// Philox4x32-10 under key `seed` and counter `position`, 53 bits of it.
__device__ double uniform(uint64_t seed, uint64_t position) {
  uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(position >> 32);
  uint32_t c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t a = __umulhi(0xD2511F53u, c0), b = __umulhi(0xCD9E8D57u, c2);
    const uint32_t next1 = 0xCD9E8D57u * c2, next3 = 0xD2511F53u * c0;
    c0 = b ^ c1 ^ k0, c1 = next1, c2 = a ^ c3 ^ k1, c3 = next3;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return static_cast<double>((uint64_t{c1} << 32 | c0) >> 11) * 0x1p-53;
}

// By the first warp; u: the row's draw.
__device__ void reduce_chunks(const ChunkStat* chunks, int count, float inverse, bool needs_sum,
                              double u, RowStat* out) {
  const int lane = threadIdx.x;
  float maximum = -infinity();
  int argmax = INT_MAX, nan = 0;
  for (int c = lane; c < count; c += 32) {
    const ChunkStat s = chunks[c];
    nan |= s.has_nan;
    if (s.maximum > maximum) maximum = s.maximum, argmax = s.argmax;
  }
  const float largest = warp_max(maximum);
  argmax = __reduce_min_sync(0xffffffffu, maximum == largest ? argmax : INT_MAX);
  nan = __any_sync(0xffffffffu, nan);
  double total = 0;
  const bool left = largest > -infinity();
  if (needs_sum && left) {
    const Softmax softmax{fminf(largest, FLT_MAX), inverse};
    const int per_lane = (count + 31) / 32;
    const int first = min(count, lane * per_lane), last = min(count, first + per_lane);
    auto part_of = [&](int c) {
      return chunks[c].sum > 0 ? static_cast<double>(chunks[c].sum) *
                                     static_cast<double>(softmax.weight(chunks[c].maximum))
                               : 0.0;
    };
    double sum = 0;
    for (int c = first; c < last; ++c) sum += part_of(c);
    double running = sum;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
      const double below = __shfl_up_sync(0xffffffffu, running, offset);
      if (lane >= offset) running += below;
    }
    total = __shfl_sync(0xffffffffu, running, 31);
    const double target = u * total;
    // The first lane whose running sum passes the target; rounding may leave none.
    const uint32_t passing = __ballot_sync(0xffffffffu, running > target && sum > 0);
    const uint32_t filled = __ballot_sync(0xffffffffu, sum > 0);
    const int owner = passing ? __ffs(passing) - 1 : 31 - __clz(filled);
    if (lane == owner) {
      double before = running - sum;
      int chunk = first;
      for (int c = first; c < last; ++c) {
        const double p = part_of(c);
        if (p <= 0) continue;
        chunk = c;
        if (before + p > target) break;
        before += p;
      }
      out->chunk = chunk;
      out->part = fmin(fmax((target - before) / part_of(chunk), 0.0), 1.0);
    }
  }
  if (lane == 0) {
    out->maximum = largest, out->argmax = argmax;
    out->nothing_left = !left, out->has_nan = nan;
    out->total = total, out->log_total = total > 0 ? log(total) : 0;
  }
}

// By one thread.
__device__ void finish(const Launch& launch, const Row& row, int r, const RowView& view,
                       const Softmax& softmax, const RowStat& stat, int token) {
  float logprob = -FLT_MAX;
  if (row.num_logprobs >= 0 && token >= 0 && !stat.nothing_left)
    logprob = logprob_of(view.one(token), softmax, stat.log_total);
  launch.outcomes[r] = {token, logprob};
  if (row.slot >= 0 && row.score_token < 0) launch.last_tokens[row.slot] = max(token, 0);
}

__global__ void __launch_bounds__(kThreads)
    select_kernel(const __grid_constant__ Launch launch, const __grid_constant__ RowTable table) {
  __shared__ SelectShared s;
  griddep_launch();
  const int r = blockIdx.x, t = threadIdx.x;
  const Row& row = row_of(table, r);
  const RowView view = view_of(launch, row, r);
  const int blocks = (view.n + kBlock - 1) / kBlock, chunks = (view.n + kChunk - 1) / kChunk;
  const double u = uniform(row.seed, row.position);
  const bool draws = !row.greedy && row.score_token < 0;
  const bool truncates = draws && (row.top_k > 0 || row.top_p < 1 || row.min_p > 0);
  int need = row.num_logprobs <= kMaxNeed ? max(row.num_logprobs, 0) : 0;
  if (truncates) {
    if (view.n <= kListCapacity)
      need = kListCapacity;
    else if (row.top_k == 0)
      need = max(need, kFirstNeed);
    else if (row.top_k <= kMaxNeed)
      need = max(need, row.top_k);
  }
  griddep_wait();

  if (t < 32)
    reduce_chunks(launch.chunks + int64_t{r} * chunks, chunks, row.inverse_temperature,
                  row.needs_sum, u, &s.stat);
  __syncthreads();
  const RowStat& stat = s.stat;
  const Softmax softmax{fminf(stat.maximum, FLT_MAX), row.inverse_temperature};
  if (t == 0) launch.resolved[r] = 1;
  if (stat.nothing_left) {
    int token = stat.has_nan ? -1 : row.score_token;
    if (token < 0 && !stat.has_nan) token = lowest_allowed(s, row, view.n);
    if (!stat.has_nan && row.num_logprobs > 0 && row.num_logprobs <= kMaxNeed)
      write_logprobs(row, view, s, softmax, 0);
    if (t == 0) finish(launch, row, r, view, softmax, stat, token);
    return;
  }
  int count = 0;
  bool complete = false;
  if (need > 0)
    count = list_likeliest(s, view, launch.block_maxima + int64_t{r} * blocks, blocks, softmax,
                           stat.maximum, need, complete);
  if (row.num_logprobs > 0 && row.num_logprobs <= kMaxNeed)
    write_logprobs(row, view, s, softmax, count);
  int token = row.score_token;
  if (row.greedy && token < 0) {
    token = stat.argmax;
  } else if (truncates) {
    __syncthreads();
    if (need > 0)
      token = count <= kThreads
                  ? draw_from_list<1>(s, row, softmax, count, complete, u)
                  : draw_from_list<kListCapacity / kThreads>(s, row, softmax, count, complete, u);
    if (token < 0) {
      if (t == 0) launch.resolved[r] = 0;
      return;
    }
  } else if (draws) {
    __syncthreads();
    Wide<1> wide(s.wide, s.scan, view, softmax);
    // Relative to the chunk's own maximum, or an unlikely chunk would have no mass.
    const int chunk = stat.chunk;
    wide.softmax.maximum =
        fminf(launch.chunks[int64_t{r} * chunks + chunk].maximum, FLT_MAX);
    auto mass = [&](float x, int) { return wide.mass(x); };
    token = wide.draw_chunk(chunk * (kChunk / 4), min((view.n + 3) / 4, (chunk + 1) * (kChunk / 4)),
                            stat.part, mass);
  }
  if (t == 0) finish(launch, row, r, view, softmax, stat, token);
}

template <int kCtas>
struct WideKernelShared {
  WideShared<kCtas> wide;
  BlockScan scan;
  RowStat stat;
};

template <int kCtas>
__device__ void draw_wide(const Launch& launch, const RowTable& table) {
  __shared__ WideKernelShared<kCtas> s;
  griddep_launch();
  const int r = blockIdx.y, t = threadIdx.x;
  const Row& row = row_of(table, r);
  const RowView view = view_of(launch, row, r);
  const int chunks = (view.n + kChunk - 1) / kChunk;
  const double u = uniform(row.seed, row.position);
  griddep_wait();
  if (launch.resolved[r]) return;
  if (t < 32)
    reduce_chunks(launch.chunks + int64_t{r} * chunks, chunks, row.inverse_temperature,
                  row.needs_sum, u, &s.stat);
  __syncthreads();
  const Softmax softmax{fminf(s.stat.maximum, FLT_MAX), row.inverse_temperature};
  Wide<kCtas> wide(s.wide, s.scan, view, softmax);
  Kept kept;
  uint64_t whole = 0;
  if (row.top_k > 0) {
    kept = wide.kept_by_count(row.top_k);
    if (row.top_p < 1)
      wide.locate([&](float x, int id) { return kept(x, id) ? wide.mass(x) : 0u; },
                  [&](uint64_t total) {
                    whole = total << (wide.kMassBits - 31);
                    return uint64_t{0};
                  });
  }
  if (row.top_p < 1) kept = wide.kept_by_mass(row.top_p, whole);
  // A min-p of 1 keeps what is exactly as likely as the likeliest.
  const auto least = max(1u, __float2uint_ru(fminf(row.min_p, 1.0f) * 0x1p31f));
  const int token = wide.locate(
      [&](float x, int id) {
        if (!kept(x, id)) return 0u;
        const uint32_t w = wide.mass(x);
        return w >= least ? w : 0u;
      },
      [&](uint64_t total) {
        return min(static_cast<uint64_t>(u * static_cast<double>(total)), total - 1);
      });
  if (t == 0 && cluster_rank<kCtas>() == 0) finish(launch, row, r, view, softmax, s.stat, token);
  cluster_sync<kCtas>();  // until all have read this block's memory
}

// Without cluster dimensions for the host's pass and for older machines, which get the other one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define HOTPATH_CLUSTER_OF_8 __cluster_dims__(8, 1, 1)
#else
#define HOTPATH_CLUSTER_OF_8
#endif
__global__ void __launch_bounds__(kThreads) HOTPATH_CLUSTER_OF_8
    wide_cluster_kernel(const __grid_constant__ Launch launch,
                        const __grid_constant__ RowTable table) {
#if __CUDA_ARCH__ >= 900
  draw_wide<kCluster>(launch, table);
#endif
}
__global__ void __launch_bounds__(kThreads)
    wide_kernel(const __grid_constant__ Launch launch, const __grid_constant__ RowTable table) {
#if __CUDA_ARCH__ < 900
  draw_wide<1>(launch, table);
#endif
}

}  // namespace

void enqueue(const Context& ctx, const Launch& l, const RowTable& table) {
  const auto rows = static_cast<unsigned>(l.rows);
  if (l.prepare) launch(ctx, prepare_kernel, rows, kPrepareThreads, 0, l, table);
  launch(ctx, stats_kernel, dim3(ceil_div(l.vocab, kChunk), rows), kStatsThreads, 0, l, table);
  launch(ctx, select_kernel, rows, kThreads, 0, l, table);
  if (!l.any_wide) return;
  if (ctx.arch >= 90)
    launch(ctx, wide_cluster_kernel, dim3(kCluster, rows), kThreads, 0, l, table);
  else
    launch(ctx, wide_kernel, dim3(1, rows), kThreads, 0, l, table);
}

}  // namespace hotpath::cuda::sampling

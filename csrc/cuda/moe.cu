// Mixture of experts: routing, sorting of pairs by expert, and what ties the expert GEMMs together.

#include <algorithm>
#include <cfloat>
#include <climits>

#include "cuda/device/any_dtype.cuh"
#include "cuda/moe_gemm.h"
#include "cuda/row_ops.h"

namespace hotpath::cuda {
namespace {

constexpr int kMaxExperts = 512, kMaxTopK = 32;
// Tokens are worked on in chunks such that these hold what a chunk's pairs need.
constexpr int64_t kOutsBytes = int64_t{256} << 20, kInnerBytes = int64_t{128} << 20;
constexpr int64_t kMaxChunkPairs = 1 << 17;
constexpr int kSmallestTile = 16;

int64_t align256(int64_t bytes) { return (bytes + 255) / 256 * 256; }

bool is_float(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

// --------------------------------------------------------------------------------------- route

struct Route {
  const void* logits;
  int32_t* ids;
  float* weights;
  int64_t logits_stride, ids_stride, weights_stride;  // elements
  int tokens, experts, top_k;
  bool renormalize;
};

// A key that rises with the float, so that integer warp reductions find the largest; +0 and -0 are
// equal, no key is 0.
__device__ __forceinline__ uint32_t order_key(float v) {
  const uint32_t u = __float_as_uint(v + 0.0f);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float key_value(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

constexpr int kRouteWarps = 4;

// One warp per token; lane l holds the logits of experts l, l + 32, ... (kPerLane of them).
template <typename T, int kPerLane>
__global__ void __launch_bounds__(32 * kRouteWarps) route_kernel(const Route p) {
  constexpr uint32_t kAll = 0xffffffffu;
  const int lane = threadIdx.x % 32;
  const int64_t token = blockIdx.x * kRouteWarps + threadIdx.x / 32;
  griddep_launch();
  griddep_wait();
  if (token >= p.tokens) return;

  const T* logits = static_cast<const T*>(p.logits) + token * p.logits_stride;
  float v[kPerLane];
  uint32_t keys[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int e = i * 32 + lane;
    v[i] = e < p.experts ? to_float(logits[e]) : 0.0f;
    v[i] = v[i] > -FLT_MAX ? fminf(v[i], FLT_MAX) : -FLT_MAX;  // NaN and -inf: the smallest
    keys[i] = e < p.experts ? order_key(v[i]) : 0;
  }
  int my_id = 0;  // lane i keeps the i-th choice
  float my_value = 0, largest = 0;
  for (int s = 0; s < p.top_k; ++s) {
    uint32_t best = keys[0];
    int best_i = 0;
#pragma unroll
    for (int i = 1; i < kPerLane; ++i)
      if (keys[i] > best) best = keys[i], best_i = i;
    const uint32_t top = __reduce_max_sync(kAll, best);
    const int id = __reduce_min_sync(kAll, best == top ? best_i * 32 + lane : INT_MAX);
    if (s == 0) largest = key_value(top);
    if (lane == s) my_id = id, my_value = key_value(top);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (id == i * 32 + lane) keys[i] = 0;
  }
  const float score = lane < p.top_k ? expf(my_value - largest) : 0.0f;
  float total = score;
  if (!p.renormalize) {
    total = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (i * 32 + lane < p.experts) total += expf(v[i] - largest);
  }
  total = warp_sum(total);
  if (lane < p.top_k) {
    p.ids[token * p.ids_stride + lane] = my_id;
    p.weights[token * p.weights_stride + lane] = score / total;
  }
}

template <typename T>
void launch_route(const Context& ctx, const Route& p) {
  const auto kernel = p.experts <= 32    ? route_kernel<T, 1>
                      : p.experts <= 128 ? route_kernel<T, 4>
                                         : route_kernel<T, kMaxExperts / 32>;
  launch(ctx, kernel, dim3(ceil_div(p.tokens, kRouteWarps)), dim3(32 * kRouteWarps), 0, p);
}

void check_choice(const Tensor& ids, const Tensor& weights, int64_t tokens, int64_t experts) {
  check(ids.dtype == DType::kI32 && weights.dtype == DType::kF32 && ids.ndim == 2 &&
            weights.ndim == 2 && ids.dim(0) == tokens && weights.dim(0) == tokens &&
            ids.dim(1) == weights.dim(1),
        "topk_ids, topk_weights: expected i32 and f32 [", tokens, ", top_k], received ",
        ids.shape[0], " x ", ids.shape[1], " and ", weights.shape[0], " x ", weights.shape[1]);
  check(experts <= kMaxExperts && ids.dim(1) >= 1 &&
            ids.dim(1) <= std::min<int64_t>(experts, kMaxTopK),
        "moe: expected at most ", kMaxExperts, " experts and 1 to ", kMaxTopK,
        " of them chosen, received ", experts, " and ", ids.dim(1));
}

// ---------------------------------------------------------------------------------------- sort

struct Sort {
  const int32_t* ids;  // [tokens, top_k]
  int64_t ids_stride;
  int pairs, top_k, experts, tile_columns;
  MoeBuffers out;
};

constexpr int kSortThreads = 1024;

// One block: counts the pairs of each expert, lists tiles, and the pairs by expert. The order of an
// expert's pairs is left to the atomics: no result depends on it.
__global__ void __launch_bounds__(kSortThreads) sort_kernel(const Sort p) {
  __shared__ int counts[kMaxExperts];
  __shared__ int starts[kMaxExperts];
  __shared__ uint64_t warp_totals[kMaxExperts / 32];
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  griddep_launch();
  if (thread < kMaxExperts) counts[thread] = 0;
  __syncthreads();
  griddep_wait();

  // Several pairs of a thread at a time, so that their loads overlap. Where that is all there are,
  // registers keep them; else ranks go through global memory and ids are read again.
  constexpr int kBatch = 8;
  const bool one_batch = p.pairs <= kBatch * kSortThreads;
  int experts[kBatch], ranks[kBatch];  // expert -1: no pair
  const auto load_experts = [&](int first) {
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int pair = first + i * kSortThreads, token = pair / p.top_k;
      experts[i] = -1;
      if (pair < p.pairs) {
        const int e = p.ids[token * p.ids_stride + (pair - token * p.top_k)];
        experts[i] = min(max(e, 0), p.experts - 1);
      }
    }
  };
  for (int first = thread; first < p.pairs; first += kBatch * kSortThreads) {
    load_experts(first);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (experts[i] < 0) continue;
      ranks[i] = atomicAdd(&counts[experts[i]], 1);
      if (!one_batch) p.out.rank[first + i * kSortThreads] = ranks[i];
    }
  }
  __syncthreads();

  // Exclusive scan over the experts of (tiles, pairs), the two in one 64-bit word.
  const int count = thread < kMaxExperts ? counts[thread] : 0;
  const int tiles = (count + p.tile_columns - 1) / p.tile_columns;
  const uint64_t mine = static_cast<uint64_t>(tiles) << 32 | static_cast<uint32_t>(count);
  uint64_t before = mine;
#pragma unroll
  for (int offset = 1; offset < 32; offset <<= 1) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, before, offset);
    if (lane >= offset) before += other;
  }
  if (thread < kMaxExperts && lane == 31) warp_totals[warp] = before;
  __syncthreads();
  if (thread < kMaxExperts) {
    before -= mine;
#pragma unroll
    for (int w = 0; w < kMaxExperts / 32; ++w)
      if (w < warp) before += warp_totals[w];
    const int start = static_cast<int>(before & 0xffffffffu);
    const int first_tile = static_cast<int>(before >> 32);
    starts[thread] = start;
    const int share = tiles ? (count + tiles - 1) / tiles : 0;
    for (int i = 0; i < tiles; ++i)
      p.out.tiles[first_tile + i] = {thread, start + i * share, min(share, count - i * share), 0};
    if (thread == kMaxExperts - 1) *p.out.num_tiles = first_tile + tiles;
  }
  __syncthreads();
  for (int first = thread; first < p.pairs; first += kBatch * kSortThreads) {
    if (!one_batch) {
      load_experts(first);
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        if (experts[i] >= 0) ranks[i] = p.out.rank[first + i * kSortThreads];
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (experts[i] < 0) continue;
      const int pair = first + i * kSortThreads, place = starts[experts[i]] + ranks[i];
      p.out.pairs[place] = pair;
      p.out.tokens[place] = pair / p.top_k;
    }
  }
}

// ------------------------------------------------------------------------------------- combine

struct Combine {
  void* out;
  const float* outs;     // [tokens * top_k, columns]
  const float* weights;  // [tokens, top_k]
  int64_t out_stride, weights_stride;
  int columns, top_k;
  bool vectors;  // columns, out: multiples of 4 elements, aligned
};

// out = sum over slots, in order. moe_stream.cu adds in the same way: the bits must agree.
template <typename T>
__global__ void __launch_bounds__(256) combine_kernel(const Combine p) {
  griddep_launch();
  griddep_wait();
  const int64_t token = blockIdx.x;
  const float* weights = p.weights + token * p.weights_stride;
  const float* outs = p.outs + token * p.top_k * p.columns;
  T* out = static_cast<T*>(p.out) + token * p.out_stride;
  if (p.vectors) {
    const int column = (blockIdx.y * 256 + threadIdx.x) * 4;
    if (column >= p.columns) return;
    float sum[4];
#pragma unroll 8
    for (int s = 0; s < p.top_k; ++s) {
      const float4 v = *reinterpret_cast<const float4*>(outs + int64_t{s} * p.columns + column);
      const float w = weights[s], part[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sum[i] = s == 0 ? __fmul_rn(w, part[i]) : __fmaf_rn(w, part[i], sum[i]);
    }
    if constexpr (sizeof(T) == 4)
      *reinterpret_cast<float4*>(out + column) = make_float4(sum[0], sum[1], sum[2], sum[3]);
    else
      *reinterpret_cast<uint2*>(out + column) =
          make_uint2(pack2<T>(sum[0], sum[1]), pack2<T>(sum[2], sum[3]));
    return;
  }
  for (int column = blockIdx.y * 256 + threadIdx.x; column < p.columns;
       column += gridDim.y * 256) {
    float sum = 0;
    for (int s = 0; s < p.top_k; ++s) {
      const float v = outs[int64_t{s} * p.columns + column];
      sum = s == 0 ? __fmul_rn(weights[0], v) : __fmaf_rn(weights[s], v, sum);
    }
    out[column] = from_float<T>(sum);
  }
}

// -------------------------------------------------------------------------------------- experts

int64_t max_tiles(int64_t pairs, int64_t experts, int columns) {
  return pairs / columns + std::min(experts, pairs);
}

// Lays out the buffers from `base` (which may be null to learn the size); returns the end.
int64_t place_buffers(MoeBuffers& b, void* base, int64_t pairs, int64_t tiles,
                      int64_t inner_bytes) {
  int64_t offset = 0;
  const auto take = [&](int64_t bytes) {
    char* p = static_cast<char*>(base) + offset;
    offset += align256(bytes);
    return static_cast<void*>(p);
  };
  b.num_tiles = static_cast<int32_t*>(take(4));
  b.tiles = static_cast<MoeTile*>(take(tiles * static_cast<int64_t>(sizeof(MoeTile))));
  b.rank = static_cast<int32_t*>(take(pairs * 4));
  b.pairs = static_cast<int32_t*>(take(pairs * 4));
  b.tokens = static_cast<int32_t*>(take(pairs * 4));
  b.inner = take(inner_bytes);
  b.outs = static_cast<float*>(take(0));
  return offset;
}

// Tokens of a chunk: at least 1, at most what the budgets above hold.
int64_t chunk_tokens(int64_t tokens, int64_t top_k, int64_t hidden, int64_t inner_row_bytes) {
  int64_t pairs = std::min(kMaxChunkPairs, kOutsBytes / (hidden * 4));
  pairs = std::min(pairs, kInnerBytes / inner_row_bytes);
  return std::clamp<int64_t>(pairs / top_k, 1, std::max<int64_t>(tokens, 1));
}

MoePlan pick_plan(const Context& ctx, const MoeExperts& a) {
  if (!moe_fits_tensor_cores(a)) return MoePlan::kPlain;
  const int64_t top_k = a.topk_ids.dim(1), pairs = a.x.dim(0) * top_k;
  // kStream reads an expert's weights once per pair: only where few pairs share an expert.
  const int64_t experts = a.gate_up.dim(0);
  if (top_k <= kMoeStreamSlots && (a.x.dim(0) == 1 || (pairs <= 32 && pairs * 4 <= experts)))
    return MoePlan::kStream;
  const int64_t pairs_of_expert = pairs / experts;
  if (pairs_of_expert > 32 && moe_fits_wgmma(ctx, a)) return MoePlan::kWgmma;
  return pairs_of_expert <= 24   ? MoePlan::kTile32
         : pairs_of_expert <= 64 ? MoePlan::kTile64
                                 : MoePlan::kTile128;
}

// One chunk of tokens through sort, gate_up, down and combine.
void grouped_experts(const Context& ctx, const MoeExperts& a, void* workspace, MoePlan plan) {
  const int64_t tokens = a.x.dim(0), hidden = a.x.dim(1), experts = a.gate_up.dim(0);
  const int64_t inter = a.down.dim(2), top_k = a.topk_ids.dim(1), pairs = tokens * top_k;
  const int columns = moe_tile_columns(plan);
  const int64_t tiles = max_tiles(pairs, experts, columns);
  MoeBuffers buffers;
  place_buffers(buffers, workspace, pairs, tiles,
                pairs * inter * static_cast<int64_t>(dtype_size(a.x.dtype)));

  const Sort sort{a.topk_ids.as<const int32_t>(),
                  a.topk_ids.row_stride,
                  static_cast<int>(pairs),
                  static_cast<int>(top_k),
                  static_cast<int>(experts),
                  columns,
                  buffers};
  launch(ctx, sort_kernel, dim3(1), dim3(kSortThreads), 0, sort);

  const auto gemm = [&](const MoeGemm& g) {
    if (plan == MoePlan::kPlain)
      moe_gemm_plain(ctx, g);
    else if (plan == MoePlan::kWgmma)
      moe_gemm_wgmma(ctx, g);
    else
      moe_gemm_mma(ctx, g, plan);
  };
  MoeGemm g{};
  g.tiles = buffers.tiles, g.num_tiles = buffers.num_tiles;
  g.max_tiles = static_cast<int>(tiles);
  g.dtype = a.x.dtype, g.w_dtype = a.gate_up.dtype;
  g.experts = static_cast<int>(experts);
  g.w = a.gate_up.data, g.x = a.x.data, g.y = buffers.inner;
  g.x_rows = buffers.tokens, g.x_stride = a.x.row_stride;
  g.outputs = static_cast<int>(inter), g.k = static_cast<int>(hidden), g.gate = true;
  gemm(g);
  g.w = a.down.data, g.x = buffers.inner, g.y = buffers.outs;
  g.x_rows = nullptr, g.x_stride = inter, g.y_rows = buffers.pairs;
  g.outputs = static_cast<int>(hidden), g.k = static_cast<int>(inter), g.gate = false;
  gemm(g);

  const int64_t size = static_cast<int64_t>(dtype_size(a.out.dtype));
  const Combine combine{a.out.data,
                        buffers.outs,
                        a.topk_weights.as<const float>(),
                        a.out.row_stride,
                        a.topk_weights.row_stride,
                        static_cast<int>(hidden),
                        static_cast<int>(top_k),
                        hidden % 4 == 0 && a.out.row_stride % 4 == 0 &&
                            reinterpret_cast<uintptr_t>(a.out.data) % (4 * size) == 0};
  const auto kernel = a.out.dtype == DType::kBF16  ? combine_kernel<bf16>
                      : a.out.dtype == DType::kF16 ? combine_kernel<f16>
                                                   : combine_kernel<float>;
  launch(ctx, kernel, dim3(tokens, ceil_div(hidden, 1024)), dim3(256), 0, combine);
}

MoeExperts token_range(const MoeExperts& a, int64_t begin, int64_t count) {
  MoeExperts part = a;
  for (Tensor* t : {&part.out, &part.x, &part.topk_ids, &part.topk_weights}) {
    t->data = static_cast<char*>(t->data) +
              begin * t->row_stride * static_cast<int64_t>(dtype_size(t->dtype));
    t->shape[0] = count;
  }
  return part;
}

void check_experts(const MoeExperts& a) {
  check(a.x.ndim == 2 && a.out.ndim == 2 && is_float(a.x.dtype) && a.out.dtype == a.x.dtype &&
            a.out.dim(0) == a.x.dim(0) && a.out.dim(1) == a.x.dim(1),
        "moe x and out: expected one float dtype [tokens, hidden], received ", a.x.shape[0], " x ",
        a.x.shape[1], " and ", a.out.shape[0], " x ", a.out.shape[1]);
  check(a.gate_up.ndim == 3 && a.down.ndim == 3 && is_float(a.gate_up.dtype) &&
            a.gate_up.dtype == a.down.dtype && a.gate_up.dim(1) == 2 * a.down.dim(2) &&
            a.gate_up.dim(2) == a.x.dim(1) && a.down.dim(0) == a.gate_up.dim(0) &&
            a.down.dim(1) == a.x.dim(1) && a.gate_up.contiguous() && a.down.contiguous(),
        "expert weights: expected contiguous [E, 2 I, H] and [E, H, I], received [",
        a.gate_up.shape[0], ", ", a.gate_up.shape[1], ", ", a.gate_up.shape[2], "] and [",
        a.down.shape[0], ", ", a.down.shape[1], ", ", a.down.shape[2], "]");
  check_choice(a.topk_ids, a.topk_weights, a.x.dim(0), a.gate_up.dim(0));
}

}  // namespace

int moe_tile_columns(MoePlan plan) {
  switch (plan) {
    case MoePlan::kWgmma:
      return 320;
    case MoePlan::kTile128:
      return 128;
    case MoePlan::kTile64:
      return 64;
    case MoePlan::kTile32:
      return 32;
    default:
      return kSmallestTile;
  }
}

bool moe_fits_tensor_cores(const MoeExperts& a) {
  const auto aligned = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
  };
  return a.x.dtype != DType::kF32 && a.gate_up.dtype == a.x.dtype && aligned(a.x) &&
         aligned(a.gate_up) && aligned(a.down) && a.x.dim(1) % 8 == 0 && a.down.dim(2) % 8 == 0 &&
         (a.x.row_stride % 8 == 0 || a.x.dim(0) <= 1);
}

bool moe_fits_wgmma(const Context& ctx, const MoeExperts& a) {
  return ctx.hopper && ctx.encode_tiled && moe_fits_tensor_cores(a) && a.x.dim(1) % 16 == 0;
}

size_t moe_workspace(const OpLimits& limits, size_t activation_bytes) {
  if (limits.num_experts == 0) return 0;
  const int64_t inner_row =
      std::max<int64_t>(limits.moe_intermediate * static_cast<int64_t>(activation_bytes), 1);
  // The hidden size is not known here, only that it is at most max_columns; a layer's experts may
  // be narrower than the widest. Hence each part's own bound: the budget, or one token if that is
  // more.
  const int64_t all_pairs = limits.max_tokens * limits.top_k;
  const auto bound = [&](int64_t row_bytes, int64_t budget) {
    return std::min(all_pairs * row_bytes, std::max(budget, limits.top_k * row_bytes));
  };
  const int64_t pairs = std::min(all_pairs, kMaxChunkPairs);
  MoeBuffers unused;
  return static_cast<size_t>(
      place_buffers(unused, nullptr, pairs, max_tiles(pairs, limits.num_experts, kSmallestTile),
                    bound(inner_row, kInnerBytes)) +
      align256(bound(limits.max_columns * 4, kOutsBytes)));
}

void moe_route(const Context& ctx, const MoeRoute& a) {
  check(a.router_logits.ndim == 2 && is_float(a.router_logits.dtype),
        "router_logits: expected float [tokens, experts], received ", a.router_logits.shape[0],
        " x ", a.router_logits.shape[1]);
  const int64_t tokens = a.router_logits.dim(0), experts = a.router_logits.dim(1);
  check_choice(a.topk_ids, a.topk_weights, tokens, experts);
  if (tokens == 0) return;
  const Route p{a.router_logits.data,
                a.topk_ids.as<int32_t>(),
                a.topk_weights.as<float>(),
                a.router_logits.row_stride,
                a.topk_ids.row_stride,
                a.topk_weights.row_stride,
                static_cast<int>(tokens),
                static_cast<int>(experts),
                static_cast<int>(a.topk_ids.dim(1)),
                a.renormalize};
  if (a.router_logits.dtype == DType::kBF16)
    launch_route<bf16>(ctx, p);
  else if (a.router_logits.dtype == DType::kF16)
    launch_route<f16>(ctx, p);
  else
    launch_route<float>(ctx, p);
}

void moe_experts(const Context& ctx, const MoeExperts& a, void* workspace, MoePlan plan) {
  const int64_t tokens = a.x.dim(0), inter = a.down.dim(2);
  if (tokens == 0 || a.x.dim(1) == 0) return;
  if (plan == MoePlan::kStream) {
    MoeBuffers buffers;
    place_buffers(buffers, workspace, 0, 0, 0);
    moe_stream(ctx, a, buffers.inner);
    return;
  }
  const int64_t chunk =
      chunk_tokens(tokens, a.topk_ids.dim(1), a.x.dim(1),
                   std::max<int64_t>(inter * static_cast<int64_t>(dtype_size(a.x.dtype)), 1));
  for (int64_t t = 0; t < tokens; t += chunk)
    grouped_experts(ctx, token_range(a, t, std::min(chunk, tokens - t)), workspace, plan);
}

void moe_experts(const Context& ctx, const MoeExperts& a, void* workspace) {
  check_experts(a);
  moe_experts(ctx, a, workspace, pick_plan(ctx, a));
}

}  // namespace hotpath::cuda

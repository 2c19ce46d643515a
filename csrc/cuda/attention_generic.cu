// Attention for whatever the tensor-core kernels do not take: f32, mixed dtypes, odd head sizes and
// block sizes. A block answers one (row, head): its warps take tiles of 32 keys in turn, a lane
// scores a key, then the lanes share out the columns.

#include <algorithm>

#include "cuda/attention_decode.h"
#include "cuda/attention_prefill.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kMaxHeadDim = 512;
constexpr int kColumns = kMaxHeadDim / 32;  // of a lane

struct GenericParams {
  const void* q;
  void* out;
  const void* k_cache;
  const void* v_cache;
  int64_t q_stride, out_stride;
  DeviceBatch batch;
  const float* sinks;
  float scale, softcap;
  int window, num_heads, num_kv_heads, head_dim, tile_rows;
  bool decode, prefill, vectors;  // vectors: rows of K are whole 16-byte pieces
};

struct alignas(16) Piece {
  uint32_t words[4];
};

template <typename TC>
__device__ float dot(const float* q, const TC* k, int head_dim, bool vectors) {
  float sum = 0;
  if (vectors) {
    constexpr int kPerPiece = 16 / sizeof(TC);
    for (int d = 0; d < head_dim; d += kPerPiece) {
      const Piece piece = *reinterpret_cast<const Piece*>(k + d);
      const TC* v = reinterpret_cast<const TC*>(&piece);
#pragma unroll
      for (int i = 0; i < kPerPiece; ++i) sum = fmaf(q[d + i], to_float(v[i]), sum);
    }
  } else {
    for (int d = 0; d < head_dim; ++d) sum = fmaf(q[d], to_float(k[d]), sum);
  }
  return sum;
}

template <typename T, typename TC>
__device__ void attend(const GenericParams& p, int row, int seq, int seqlen, int head) {
  __shared__ float q[kMaxHeadDim];
  __shared__ float partial_o[kWarps][kMaxHeadDim];
  __shared__ float partial_m[kWarps], partial_l[kWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, d = p.head_dim;
  const int64_t columns = int64_t{head} * d;
  __syncthreads();  // the row before has been written
  for (int i = threadIdx.x; i < d; i += kWarps * 32)
    q[i] = to_float(static_cast<const T*>(p.q)[row * p.q_stride + columns + i]);
  __syncthreads();

  const int kv_head = head / (p.num_heads / p.num_kv_heads), block_size = p.batch.block_size;
  const int32_t* table = p.batch.block_table + int64_t{seq} * p.batch.header->max_blocks;
  auto key_offset = [&](int key) {
    const int64_t block = table[key / block_size];
    return ((block * p.num_kv_heads + kv_head) * block_size + key % block_size) * d;
  };
  const TC* k_cache = static_cast<const TC*>(p.k_cache);
  const TC* v_cache = static_cast<const TC*>(p.v_cache);
  const int first = p.window > 0 ? max(0, seqlen - p.window) : 0;
  float m = -INFINITY, l = 0, o[kColumns] = {};
  for (int tile = first + warp * 32; tile < seqlen; tile += kWarps * 32) {
    const int key = tile + lane, count = min(32, seqlen - tile);
    int64_t offset = 0;
    float s = -INFINITY;
    if (lane < count) {
      offset = key_offset(key);
      s = dot(q, k_cache + offset, d, p.vectors) * p.scale;
      if (p.softcap > 0) s = p.softcap * tanhf(s / p.softcap);
    }
    const float top = fmaxf(m, warp_max(s)), a = __expf(m - top), w = __expf(s - top);
    m = top;
    l = l * a + warp_sum(w);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) o[i] *= a;
    for (int j = 0; j < count; ++j) {
      const float weight = __shfl_sync(0xffffffffu, w, j);
      const TC* v = v_cache + __shfl_sync(0xffffffffu, offset, j);
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (i * 32 + lane < d) o[i] = fmaf(weight, to_float(v[i * 32 + lane]), o[i]);
    }
  }
  if (lane == 0) partial_m[warp] = m, partial_l[warp] = l;
#pragma unroll
  for (int i = 0; i < kColumns; ++i)
    if (i * 32 + lane < d) partial_o[warp][i * 32 + lane] = o[i];
  __syncthreads();

  float top = p.sinks ? p.sinks[head] : -INFINITY;
  for (int w = 0; w < kWarps; ++w) top = fmaxf(top, partial_m[w]);
  float total = p.sinks ? __expf(p.sinks[head] - top) : 0.0f;
  for (int w = 0; w < kWarps; ++w) total += partial_l[w] * __expf(partial_m[w] - top);
  for (int i = threadIdx.x; i < d; i += kWarps * 32) {
    float sum = 0;
    for (int w = 0; w < kWarps; ++w) sum += partial_o[w][i] * __expf(partial_m[w] - top);
    static_cast<T*>(p.out)[row * p.out_stride + columns + i] = from_float<T>(sum / total);
  }
}

template <typename T, typename TC>
__global__ void __launch_bounds__(kWarps * 32)
    generic_kernel(const __grid_constant__ GenericParams p) {
  griddep_launch();
  griddep_wait();
  if (p.decode) {
    const int64_t work = int64_t{p.batch.header->num_decode_items} * p.num_heads;
    for (int64_t i = blockIdx.x; i < work; i += gridDim.x) {
      const DecodeItem& item = p.batch.decode_items[i / p.num_heads];
      if (item.begin == 0)
        attend<T, TC>(p, item.row, item.seq, item.seqlen, static_cast<int>(i % p.num_heads));
    }
  }
  if (p.prefill) {
    const int64_t per_item = int64_t{p.num_heads} * p.tile_rows;
    const int64_t work = p.batch.header->num_prefill_items * per_item;
    for (int64_t i = blockIdx.x; i < work; i += gridDim.x) {
      const PrefillItem& item = p.batch.prefill_items[i / per_item];
      const int row = static_cast<int>(i % per_item) / p.num_heads;
      if (row < item.num_rows)
        attend<T, TC>(p, item.row_begin + row, item.seq, item.position + row + 1,
                      static_cast<int>(i % p.num_heads));
    }
  }
}

template <typename T>
void launch_generic(const Context& ctx, DType cache, int grid, const GenericParams& p) {
  switch (cache) {
    case DType::kF16:
      return launch(ctx, generic_kernel<T, f16>, dim3(grid), dim3(kWarps * 32), 0, p);
    case DType::kBF16:
      return launch(ctx, generic_kernel<T, bf16>, dim3(grid), dim3(kWarps * 32), 0, p);
    default:
      return launch(ctx, generic_kernel<T, float>, dim3(grid), dim3(kWarps * 32), 0, p);
  }
}

}  // namespace

void generic_attention(const Context& ctx, const PagedAttention& a, const AttentionExtras& extras,
                       const AttentionLaunch& how, bool decode, bool prefill) {
  check(a.head_dim <= kMaxHeadDim, "head_dim: expected at most ", kMaxHeadDim, ", received ",
        a.head_dim);
  const size_t element = dtype_size(a.k_cache.dtype);
  GenericParams p;
  p.q = a.q.data, p.out = a.out.data;
  p.k_cache = a.k_cache.data, p.v_cache = a.v_cache.data;
  p.q_stride = a.q.row_stride, p.out_stride = a.out.row_stride;
  p.batch = how.batch;
  p.sinks = extras.sinks;
  p.scale = a.scale, p.softcap = extras.softcap;
  p.window = a.window;
  p.num_heads = a.num_heads, p.num_kv_heads = a.num_kv_heads, p.head_dim = a.head_dim;
  p.tile_rows = kPrefillTileRows;
  p.decode = decode, p.prefill = prefill;
  p.vectors = a.head_dim * element % 16 == 0 &&
              reinterpret_cast<uintptr_t>(a.k_cache.data) % 16 == 0;
  const int grid = static_cast<int>(
      std::min<int64_t>(a.q.dim(0) * a.num_heads, int64_t{8} * ctx.num_sms));
  switch (a.q.dtype) {
    case DType::kF16:
      return launch_generic<f16>(ctx, a.k_cache.dtype, grid, p);
    case DType::kBF16:
      return launch_generic<bf16>(ctx, a.k_cache.dtype, grid, p);
    default:
      return launch_generic<float>(ctx, a.k_cache.dtype, grid, p);
  }
}

}  // namespace hotpath::cuda

#include <algorithm>

#include "cuda/attention.h"
#include "cuda/device/common.cuh"

namespace hotpath::cuda {
namespace {

struct RopeParams {
  void* qkv;
  int64_t qkv_stride;
  const void* q_norm;
  const void* k_norm;
  DType q_norm_dtype, k_norm_dtype;
  const float* cos_sin;
  void* k_cache;
  void* v_cache;
  const int32_t* positions;
  const int32_t* slot_mapping;
  float eps;
  int rotary_dim, num_heads, num_kv_heads, head_dim, block_size;
  int lanes;       // of a head: a power of 2
  int iterations;  // heads that a group of lanes takes one after the other
};

__device__ __forceinline__ float load_as(const void* p, DType dtype, int i) {
  if (dtype == DType::kBF16) return to_float(static_cast<const bf16*>(p)[i]);
  if (dtype == DType::kF16) return to_float(static_cast<const f16*>(p)[i]);
  return static_cast<const float*>(p)[i];
}

// Eight elements at any alignment.
__device__ __forceinline__ void load8_as(const void* p, DType dtype, int i, float (&v)[8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = load_as(p, dtype, i + j);
}

template <typename T>
__device__ __forceinline__ void load8(const T* p, float (&v)[8]) {
  if constexpr (sizeof(T) == 4) {
    const float4 a = reinterpret_cast<const float4*>(p)[0];
    const float4 b = reinterpret_cast<const float4*>(p)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
  } else {
    const uint4 a = *reinterpret_cast<const uint4*>(p);
    const uint32_t words[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 f = unpack2<T>(words[i]);
      v[2 * i] = f.x, v[2 * i + 1] = f.y;
    }
  }
}
template <typename T>
__device__ __forceinline__ void store8(T* p, const float (&v)[8]) {
  if constexpr (sizeof(T) == 4) {
    reinterpret_cast<float4*>(p)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4*>(p)[1] = make_float4(v[4], v[5], v[6], v[7]);
  } else {
    *reinterpret_cast<uint4*>(p) =
        make_uint4(pack2<T>(v[0], v[1]), pack2<T>(v[2], v[3]), pack2<T>(v[4], v[5]),
                   pack2<T>(v[6], v[7]));
  }
}

// Where a head's row of the slot begins in a cache; slot >= 0.
__device__ __forceinline__ int64_t cache_offset(const RopeParams& p, int slot, int kv_head) {
  const int block = slot / p.block_size, offset = slot % p.block_size;
  return ((int64_t{block} * p.num_kv_heads + kv_head) * p.block_size + offset) * p.head_dim;
}

// Block: one token, some of its heads. A lane has two runs of 8 elements of a head, at a and b: the
// two halves of 8 rotated pairs, or, beyond rotary_dim, 16 neighbours.
template <typename T, typename TC>
__global__ void __launch_bounds__(128) rope_kernel(const __grid_constant__ RopeParams p) {
  griddep_launch();
  const int token = blockIdx.x, lane = threadIdx.x & (p.lanes - 1);
  const int groups = blockDim.x / p.lanes, group = threadIdx.x / p.lanes;
  const bool used = lane * 16 < p.head_dim, rotated = lane * 16 < p.rotary_dim;
  const int a = rotated ? lane * 8 : lane * 16;
  const int b = rotated ? a + p.rotary_dim / 2 : a + 8;
  const int slot = p.slot_mapping[token];
  float cosine[8], sine[8];
  if (rotated) {
    const float* angles = p.cos_sin + int64_t{p.positions[token]} * p.rotary_dim + a;
    load8(angles, cosine);
    load8(angles + p.rotary_dim / 2, sine);
  }
  // Norm weights are loaded again only where a group goes from q heads to k heads.
  const void* loaded = nullptr;
  float weight_x[8], weight_y[8];
  auto load_weights = [&](int head) {
    const bool is_k = head >= p.num_heads;
    const void* weight = is_k ? p.k_norm : p.q_norm;
    if (!used || weight == nullptr || weight == loaded) return;
    load8_as(weight, is_k ? p.k_norm_dtype : p.q_norm_dtype, a, weight_x);
    load8_as(weight, is_k ? p.k_norm_dtype : p.q_norm_dtype, b, weight_y);
    loaded = weight;
  };
  load_weights(blockIdx.y * p.iterations * groups + group);
  griddep_wait();

  const int heads = p.num_heads + 2 * p.num_kv_heads;
  for (int i = 0; i < p.iterations; ++i) {
    const int head = (blockIdx.y * p.iterations + i) * groups + group;
    const bool is_v = head >= p.num_heads + p.num_kv_heads, is_k = !is_v && head >= p.num_heads;
    const bool active = used && head < heads && !(is_v && slot < 0);
    T* row = static_cast<T*>(p.qkv) + token * p.qkv_stride + int64_t{head} * p.head_dim;
    float x[8] = {}, y[8] = {};
    if (active) {
      load8(row + a, x);
      load8(row + b, y);
    }
    if (p.q_norm != nullptr || p.k_norm != nullptr) {
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j) sum = fmaf(x[j], x[j], fmaf(y[j], y[j], sum));
      for (int d = p.lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
      if (active && !is_v && (is_k ? p.k_norm : p.q_norm) != nullptr) {
        load_weights(head);
        const float r = rsqrtf(sum / static_cast<float>(p.head_dim) + p.eps);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          x[j] *= r * weight_x[j];
          y[j] *= r * weight_y[j];
        }
      }
    }
    if (!active) continue;
    if (!is_v) {
      if (rotated) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const float u = x[j], v = y[j];
          x[j] = u * cosine[j] - v * sine[j];
          y[j] = v * cosine[j] + u * sine[j];
        }
      }
      store8(row + a, x);
      store8(row + b, y);
    }
    if ((is_k || is_v) && slot >= 0) {
      const int kv_head = head - p.num_heads - (is_v ? p.num_kv_heads : 0);
      TC* to = static_cast<TC*>(is_v ? p.v_cache : p.k_cache) + cache_offset(p, slot, kv_head);
      store8(to + a, x);
      store8(to + b, y);
    }
  }
}

// Any even head_dim, any alignment: a warp for each (token, head).
template <typename T, typename TC>
__global__ void __launch_bounds__(128) rope_any_kernel(const __grid_constant__ RopeParams p) {
  griddep_launch();
  griddep_wait();
  const int token = blockIdx.x, lane = threadIdx.x & 31;
  const int head = blockIdx.y * 4 + threadIdx.x / 32;
  if (head >= p.num_heads + 2 * p.num_kv_heads) return;
  const bool is_v = head >= p.num_heads + p.num_kv_heads, is_k = !is_v && head >= p.num_heads;
  const int slot = p.slot_mapping[token], half = p.rotary_dim / 2;
  T* row = static_cast<T*>(p.qkv) + token * p.qkv_stride + int64_t{head} * p.head_dim;
  TC* to = nullptr;
  if ((is_k || is_v) && slot >= 0)
    to = static_cast<TC*>(is_v ? p.v_cache : p.k_cache) +
         cache_offset(p, slot, head - p.num_heads - (is_v ? p.num_kv_heads : 0));
  const void* weight = is_v ? nullptr : is_k ? p.k_norm : p.q_norm;
  const DType dtype = is_k ? p.k_norm_dtype : p.q_norm_dtype;
  float r = 1;
  if (weight != nullptr) {
    float sum = 0;
    for (int i = lane; i < p.head_dim; i += 32) {
      const float v = to_float(row[i]);
      sum = fmaf(v, v, sum);
    }
    r = rsqrtf(warp_sum(sum) / static_cast<float>(p.head_dim) + p.eps);
    __syncwarp();
  }
  auto normed = [&](int i) {
    const float v = to_float(row[i]);
    return weight != nullptr ? v * (r * load_as(weight, dtype, i)) : v;
  };
  auto give = [&](int i, float v) {
    if (!is_v) row[i] = from_float<T>(v);
    if (to != nullptr) to[i] = from_float<TC>(v);
  };
  const float* angles = p.cos_sin + int64_t{p.positions[token]} * p.rotary_dim;
  const int pairs = is_v ? 0 : half;
  for (int i = lane; i < pairs; i += 32) {
    const float u = normed(i), v = normed(i + half), c = angles[i], s = angles[i + half];
    give(i, u * c - v * s);
    give(i + half, v * c + u * s);
  }
  for (int i = 2 * pairs + lane; i < p.head_dim; i += 32) give(i, normed(i));
}

template <typename T, typename TC>
void launch_rope(const Context& ctx, int64_t tokens, bool fast, RopeParams& p) {
  const int heads = p.num_heads + 2 * p.num_kv_heads;
  if (!fast) {
    launch(ctx, rope_any_kernel<T, TC>, dim3(tokens, ceil_div(heads, 4)), dim3(128), 0, p);
    return;
  }
  p.lanes = 1;
  while (p.lanes * 16 < p.head_dim) p.lanes *= 2;
  // Few tokens: heads side by side; many: one after the other, which keeps the angles at hand.
  const int at_once = 128 / p.lanes, blocks = ceil_div(heads, at_once * 4);
  p.iterations = 1;
  dim3 grid(tokens, ceil_div(heads, at_once)), block(128);
  if (tokens >= 4 * ctx.num_sms) {
    p.iterations = ceil_div(ceil_div(heads, blocks), at_once);
    const int groups = ceil_div(heads, blocks * p.iterations);
    grid.y = blocks;
    block.x = std::min(128, (groups * p.lanes + 31) / 32 * 32);
  }
  launch(ctx, rope_kernel<T, TC>, grid, block, 0, p);
}

template <typename T>
void launch_rope_cache(const Context& ctx, int64_t tokens, bool fast, DType cache, RopeParams& p) {
  switch (cache) {
    case DType::kF16:
      return launch_rope<T, f16>(ctx, tokens, fast, p);
    case DType::kBF16:
      return launch_rope<T, bf16>(ctx, tokens, fast, p);
    default:
      return launch_rope<T, float>(ctx, tokens, fast, p);
  }
}

bool is_float(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

}  // namespace

void qk_norm_rope_store(const Context& ctx, const QkNormRopeStore& a, const DeviceBatch& batch) {
  const int64_t heads = a.num_heads + 2 * a.num_kv_heads, d = a.head_dim;
  const int rotary = a.rope.rotary_dim;
  check(a.qkv.ndim == 2 && a.qkv.dim(1) == heads * d && is_float(a.qkv.dtype),
        "qkv: expected float [T, ", heads * d, "]");
  for (const Tensor* cache : {&a.k_cache, &a.v_cache})
    check(cache->ndim == 4 && cache->dim(1) == a.num_kv_heads &&
              cache->dim(2) == batch.block_size && cache->dim(3) == d && cache->contiguous() &&
              cache->dtype == a.k_cache.dtype && is_float(cache->dtype),
          "qk_norm_rope_store: expected float K and V caches [num_blocks, num_kv_heads, "
          "block_size, head_dim] of one dtype");
  check(rotary >= 0 && rotary <= d && rotary % 2 == 0 && d % 2 == 0,
        "rotary_dim: expected an even number up to ", d, ", received ", rotary);
  for (const Tensor* w : {&a.q_norm, &a.k_norm})
    check(!*w || (w->numel() == d && is_float(w->dtype)), "q_norm, k_norm: expected float [", d,
          "]");
  if (a.qkv.dim(0) == 0) return;

  RopeParams p;
  p.qkv = a.qkv.data, p.qkv_stride = a.qkv.row_stride;
  p.q_norm = a.q_norm.data, p.k_norm = a.k_norm.data;
  p.q_norm_dtype = a.q_norm.dtype, p.k_norm_dtype = a.k_norm.dtype;
  p.cos_sin = a.rope.cos_sin.as<const float>();
  p.k_cache = a.k_cache.data, p.v_cache = a.v_cache.data;
  p.positions = batch.positions, p.slot_mapping = batch.slot_mapping;
  p.eps = a.eps;
  p.rotary_dim = rotary;
  p.num_heads = a.num_heads, p.num_kv_heads = a.num_kv_heads, p.head_dim = a.head_dim;
  p.block_size = batch.block_size;
  auto aligned = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  const bool fast = d % 16 == 0 && rotary % 16 == 0 && d <= 512 && aligned(a.qkv.data) &&
                    a.qkv.row_stride * dtype_size(a.qkv.dtype) % 16 == 0 &&
                    aligned(a.k_cache.data) && aligned(a.v_cache.data) && aligned(p.cos_sin);
  switch (a.qkv.dtype) {
    case DType::kF16:
      return launch_rope_cache<f16>(ctx, a.qkv.dim(0), fast, a.k_cache.dtype, p);
    case DType::kBF16:
      return launch_rope_cache<bf16>(ctx, a.qkv.dim(0), fast, a.k_cache.dtype, p);
    default:
      return launch_rope_cache<float>(ctx, a.qkv.dim(0), fast, a.k_cache.dtype, p);
  }
}

}  // namespace hotpath::cuda

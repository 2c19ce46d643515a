#include "cuda/attention.h"

#include "cuda/attention_decode.h"
#include "cuda/attention_prefill.h"

namespace hotpath::cuda {
namespace {

bool aligned(const void* p, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
bool is_float(DType t) { return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16; }

void check_shapes(const PagedAttention& a, int block_size) {
  const int64_t columns = int64_t{a.num_heads} * a.head_dim;
  check(a.num_kv_heads > 0 && a.num_heads % a.num_kv_heads == 0,
        "num_heads: expected a multiple of num_kv_heads, received ", a.num_heads, " and ",
        a.num_kv_heads);
  check(a.q.ndim == 2 && a.q.dim(1) == columns && a.out.ndim == 2 && a.out.dim(1) == columns &&
            a.q.dim(0) == a.out.dim(0) && a.q.dtype == a.out.dtype && is_float(a.q.dtype),
        "attention: expected q and out [T, ", columns, "] of one float dtype");
  for (const Tensor* cache : {&a.k_cache, &a.v_cache})
    check(cache->ndim == 4 && cache->dim(1) == a.num_kv_heads && cache->dim(2) == block_size &&
              cache->dim(3) == a.head_dim && cache->contiguous() && is_float(cache->dtype) &&
              cache->dtype == a.k_cache.dtype && cache->dim(0) == a.k_cache.dim(0),
          "attention: expected float K and V caches [num_blocks, num_kv_heads, block_size, "
          "head_dim] of one dtype");
}

}  // namespace

bool decode_fits(const PagedAttention& a, int block_size) {
  const DType t = a.q.dtype;
  const int d = a.head_dim;
  return (t == DType::kF16 || t == DType::kBF16) && a.k_cache.dtype == t &&
         (d == 64 || d == 96 || d == 128 || d == 192 || d == 256) && block_size >= kLeafKeys &&
         (block_size & (block_size - 1)) == 0 && a.scale > 0 && a.q.row_stride % 2 == 0 &&
         a.out.row_stride % 4 == 0 && aligned(a.q.data, 4) && aligned(a.out.data, 8) &&
         aligned(a.k_cache.data, 16) && aligned(a.v_cache.data, 16) &&
         a.k_cache.numel() / d < (int64_t{1} << 31);
}

DecodeParams decode_params(const Context& ctx, const PagedAttention& a,
                           const AttentionExtras& extras, const AttentionLaunch& how) {
  (void)ctx;
  constexpr float kLog2e = 1.4426950408889634f;
  DecodeParams p;
  p.k_cache = a.k_cache.data;
  p.v_cache = a.v_cache.data;
  p.q = a.q.data;
  p.out = a.out.data;
  p.q_stride = a.q.row_stride;
  p.out_stride = a.out.row_stride;
  p.batch = how.batch;
  p.sinks = extras.sinks;
  const bool capped = extras.softcap > 0;
  p.exponent = capped ? kLog2e : a.scale * kLog2e;
  p.softcap_in = capped ? a.scale / extras.softcap : 0.0f;
  p.softcap_out = extras.softcap;
  p.window = a.window;
  p.num_heads = a.num_heads;
  p.num_kv_heads = a.num_kv_heads;
  p.group = a.num_heads / a.num_kv_heads;
  p.parts = ceil_div(p.group, most_heads(a.head_dim));
  p.heads_per_part = ceil_div(p.group, p.parts);
  p.units_per_item = p.num_kv_heads * p.parts;
  check(p.units_per_item <= kMaxUnits, "attention: expected at most ", kMaxUnits,
        " tiles of heads, received ", p.units_per_item);
  p.block_shift = 0;
  while ((1 << p.block_shift) < how.batch.block_size) ++p.block_shift;
  auto* at = static_cast<char*>(how.workspace);
  p.queue = reinterpret_cast<int*>(at);
  at += kQueueBytes;
  p.counters = reinterpret_cast<int*>(at);
  at += size_t{kMaxPartials} * kMaxUnits * sizeof(int);
  p.partial_ml = reinterpret_cast<float2*>(at);
  at += size_t{kMaxPartials} * a.num_heads * sizeof(float2);
  p.partial_o = reinterpret_cast<float*>(at);
  return p;
}

void paged_attention(const Context& ctx, const PagedAttention& args, const AttentionLaunch& how) {
  check_shapes(args, how.batch.block_size);
  if (args.q.dim(0) == 0) return;
  const AttentionExtras extras;
  const bool decode = how.num_decode_items != 0, prefill = how.num_prefill_items != 0;
  const bool fast = ctx.arch >= 80 && decode_fits(args, how.batch.block_size);
  if (decode && fast) {
    if (ctx.hopper) {
      decode_attention_sm90(ctx, args, extras, how);
    } else {
      decode_attention_mma(ctx, args, extras, how);
    }
  }
  // The prefill kernels need to know how many tiles there are.
  bool covered = !prefill;
  if (prefill && how.num_prefill_items > 0 && ctx.arch >= 80)
    covered = ctx.hopper ? prefill_attention_sm90(ctx, args, how, extras)
                         : prefill_attention_mma(ctx, args, how, extras);
  if ((decode && !fast) || !covered)
    generic_attention(ctx, args, extras, how, decode && !fast, !covered);
}

}  // namespace hotpath::cuda

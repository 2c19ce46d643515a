// Decode attention with K and V loaded by TMA: a slot (16 keys of a head) is one request.

#include "cuda/device/attention_decode.cuh"
#include "cuda/device/decode_launch.cuh"
#include "cuda/device/hopper.cuh"

namespace hotpath::cuda {
namespace {

// L2 policy of the loads: what a step reads once must not push out what it will read again
// (weights, activations, partial results). The encoding is createpolicy's for the whole line.
constexpr uint64_t kEvictFirst = 0x12F0000000000000;

__device__ __forceinline__ void load_slot(uint32_t smem, const CUtensorMap* map, uint32_t bar,
                                          int row, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%3, %4, %3}], [%2], %5;" ::"r"(smem),
      "l"(map), "r"(bar), "r"(0), "r"(row), "l"(policy)
      : "memory");
}

struct TmaLoader {
  static constexpr int kArrivals = 1;
  template <typename Slot>
  __device__ static __forceinline__ void load(const DecodeParams& p, const DecodeSmem& smem,
                                              RingCursor& cursor, int row, int per_warp, int leaf,
                                              bool is_v) {
    const int w = threadIdx.x & 31;
    const int r = __shfl_sync(0xffffffffu, row, (w * per_warp + leaf) & 31);
    if (w < kDecodeWarps && r >= 0) {
      pipe_wait(smem.empty(w, cursor.slot), cursor.phase ^ 1);
      const uint32_t full = smem.full(w, cursor.slot);
      mbarrier_expect(full, Slot::kBytes);
      load_slot(smem.slot(w, cursor.slot), is_v ? &p.v_map : &p.k_map, full, r, kEvictFirst);
      cursor.advance(p.num_slots);
    }
    __syncwarp();
  }
};

CUtensorMap cache_map(const Context& ctx, const Tensor& cache) {
  const int64_t head_dim = cache.dim(3), columns = head_dim % 64 == 0 ? 64 : 32;
  const cuuint64_t dims[3] = {static_cast<cuuint64_t>(columns),
                              static_cast<cuuint64_t>(cache.numel() / head_dim),
                              static_cast<cuuint64_t>(head_dim / columns)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(head_dim) * 2,
                                 static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(columns), kLeafKeys,
                             static_cast<cuuint32_t>(head_dim / columns)};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult status = ctx.encode_tiled(
      &map,
      cache.dtype == DType::kF16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      3, cache.data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      columns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "cuTensorMapEncodeTiled: ", static_cast<int>(status));
  return map;
}

}  // namespace

void decode_attention_sm90(const Context& ctx, const PagedAttention& args,
                           const AttentionExtras& extras, const AttentionLaunch& how) {
  if (how.num_decode_items == 0) return;
  DecodeParams p = decode_params(ctx, args, extras, how);
  p.k_map = cache_map(ctx, args.k_cache);
  p.v_map = cache_map(ctx, args.v_cache);
  launch_decode<TmaLoader>(ctx, args, how, p);
}

}  // namespace hotpath::cuda

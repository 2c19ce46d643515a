#pragma once

// Prefill attention on sm_90a: one producer warp gathers K and V page by page with TMA, two
// warpgroups of 64 rows each multiply with wgmma and do the softmax in registers. They take turns
// (kPingPong): while one feeds the tensor cores, the other does its softmax; and within a
// warpgroup the scores of the next keys are computed while the last probabilities meet V.
// Blocks are persistent and take units (item, head) from a queue.

#include <numeric>

#include "cuda/device/attention_wgmma.cuh"
#include "cuda/device/prefill_unit.cuh"

namespace hotpath::cuda {

struct PrefillSm90Params {
  CUtensorMap q;     // [rows, all columns], box [64, 64]
  CUtensorMap k, v;  // cache as [num_blocks * num_kv_heads * block_size, head_dim], box [box_rows, 64]
  PrefillCommon c;
  int box_shift;  // log2(rows of a box)
};

// Shared memory: Q [2 warpgroups][chunks of 64 columns][64 rows][64], then K and V stages of
// [chunks][kTile keys][64], then barriers. All swizzled, every part 1024-byte aligned.
template <int kHeadDim, int kTile>
struct PrefillLayout {
  static constexpr int kChunks = (kHeadDim + 63) / 64;
  static constexpr int kStages = 2;
  static constexpr int kQBytes = 2 * kChunks * 64 * 128;
  static constexpr int kTileBytes = kChunks * kTile * 128;
  static constexpr int kK = kQBytes;
  static constexpr int kV = kK + kStages * kTileBytes;
  static constexpr int kBarriers = kV + kStages * kTileBytes;
  static constexpr int kUnit = kBarriers + 128;
  static constexpr int kBytes = kUnit + 64 + 1024;
  static_assert(kBytes <= 232448);
  // Barriers, 8 bytes each.
  static constexpr int kQFull = 0, kQEmpty = 8, kKFull = 16, kVFull = 32, kKEmpty = 48,
                       kVEmpty = 64;
};

inline constexpr int kPrefillSm90Threads = 3 * 128;

// Boxes of one K or V tile: lane i loads box i / kChunks, chunk i % kChunks.
template <int kHeadDim, int kTile>
struct PrefillProducer {
  using L = PrefillLayout<kHeadDim, kTile>;
  const PrefillSm90Params& p;
  uint32_t smem;
  int lane;
  int box, chunk;  // of this lane

  __device__ __forceinline__ void load(const CUtensorMap* map, int stage_offset, int full,
                                       int empty, int count, int y, bool valid) {
    const int stage = count & 1;
    const uint32_t bars = smem + L::kBarriers + 8 * stage;
    mbarrier_wait(bars + empty, ((count >> 1) & 1) ^ 1);
    const int boxes = __popc(__ballot_sync(0xffffffffu, valid));
    if (lane == 0) mbarrier_expect(bars + full, boxes << (p.box_shift + 7));
    __syncwarp();
    if (valid)
      tma_load_2d(smem + stage_offset + stage * L::kTileBytes + chunk * kTile * 128 +
                      (box << (p.box_shift + 7)),
                  map, bars + full, chunk * 64, y);
  }

  __device__ void run() {
    const PrefillCommon& c = p.c;
    const int total = c.num_items * c.num_heads;
    const int section_heads = prefill_section_heads(c, kHeadDim);
    const int max_blocks = c.header->max_blocks;
    const int boxes_per_tile = kTile >> p.box_shift;
    box = lane / L::kChunks;
    chunk = lane % L::kChunks;
    griddep_wait();

    int unit_index = blockIdx.x;
    int count = 0;  // K/V tiles of earlier units
    for (int turn = 0; unit_index < total; ++turn) {
      int next = 0;
      if (lane == 0) next = static_cast<int>(gridDim.x) + atomicAdd(c.queue, 1);
      const PrefillUnit unit = prefill_unit(c, section_heads, unit_index);
      const int end = unit.item.position + unit.item.num_rows;
      const int begin = first_key(c, unit.item.position);
      const int kv_head = unit.head / c.group;
      const int32_t* table = c.block_table + int64_t{unit.item.seq} * max_blocks;
      const int first = begin / kTile, last = (end - 1) / kTile;
      const int mask = (1 << c.block_shift) - 1;

      // Where this lane's box of a tile lies in the cache; -1: not needed.
      auto row_of = [&](int tile) {
        const int key = tile * kTile + (box << p.box_shift);
        if (tile > last || box >= boxes_per_tile || key >= end ||
            key + (1 << p.box_shift) <= begin)
          return -1;
        const int block = table[key >> c.block_shift];
        return ((block * c.num_kv_heads + kv_head) << c.block_shift) + (key & mask);
      };

      int k_row = row_of(first);
      int next_row = row_of(first + 1);
      load(&p.k, L::kK, L::kKFull, L::kKEmpty, count, k_row, k_row >= 0);
      mbarrier_wait(smem + L::kBarriers + L::kQEmpty, (turn & 1) ^ 1);
      if (lane == 0) {
        auto* shared = reinterpret_cast<PrefillUnit*>(__cvta_shared_to_generic(smem + L::kUnit));
        *shared = unit;
        mbarrier_expect(smem + L::kBarriers + L::kQFull, L::kQBytes);
#pragma unroll
        for (int w = 0; w < 2; ++w) {
#pragma unroll
          for (int i = 0; i < L::kChunks; ++i)
            tma_load_2d(smem + (w * L::kChunks + i) * 8192, &p.q,
                        smem + L::kBarriers + L::kQFull, unit.head * kHeadDim + 64 * i,
                        unit.item.row_begin + 64 * w);
        }
      }
      __syncwarp();
      for (int tile = first; tile <= last; ++tile, ++count) {
        const int v_row = k_row;
        k_row = next_row;
        if (tile < last) {
          next_row = row_of(tile + 2);
          load(&p.k, L::kK, L::kKFull, L::kKEmpty, count + 1, k_row, k_row >= 0);
        }
        load(&p.v, L::kV, L::kVFull, L::kVEmpty, count, v_row, v_row >= 0);
      }
      unit_index = __shfl_sync(0xffffffffu, next, 0);
      if (unit_index >= total) {
        mbarrier_wait(smem + L::kBarriers + L::kQEmpty, turn & 1);
        if (lane == 0) {
          auto* shared = reinterpret_cast<PrefillUnit*>(__cvta_shared_to_generic(smem + L::kUnit));
          shared->head = -1;
          mbarrier_arrive(smem + L::kBarriers + L::kQFull);
        }
      }
    }
    if (lane == 0 && atomicAdd(c.queue + 1, 1) == static_cast<int>(gridDim.x) - 1) {
      c.queue[0] = 0;  // ready for the next launch
      c.queue[1] = 0;
    }
  }
};

// One warpgroup: 64 rows.
template <typename T, int kHeadDim, int kTile, bool kGeneral, bool kPingPong>
struct PrefillConsumer {
  using L = PrefillLayout<kHeadDim, kTile>;
  const PrefillSm90Params& p;
  uint32_t smem;
  int wg, thread;  // warpgroup 0 or 1, thread in it

  __device__ __forceinline__ uint32_t bar(int which, int stage = 0) const {
    return smem + L::kBarriers + which + 8 * stage;
  }
  __device__ __forceinline__ void release(int which, int stage = 0) const {
    if ((thread & 31) == 0) mbarrier_arrive(bar(which, stage));
  }

  __device__ __forceinline__ void scores(float (&s)[kTile / 2], int stage) const {
    const uint64_t q = swizzle128_descriptor(smem + wg * (L::kQBytes / 2));
    const uint64_t k = swizzle128_descriptor(smem + L::kK + stage * L::kTileBytes);
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i)
      WgmmaScores<T, kTile>::mma(s, q + (i / 4 * 8192 + i % 4 * 32) / 16,
                                 k + (i / 4 * kTile * 128 + i % 4 * 32) / 16, i > 0);
    wgmma_commit();
  }

  __device__ __forceinline__ void values(float (&o)[kHeadDim / 2],
                                         const uint32_t (&probs)[kTile / 16][4], int stage) const {
    const uint64_t v =
        swizzle128_mn_descriptor(smem + L::kV + stage * L::kTileBytes, kTile * 128);
#pragma unroll
    for (int j = 0; j < kTile / 16; ++j) {
      const uint64_t step = v + j * 2048 / 16;
      if constexpr (kHeadDim == 96) {
        WgmmaValues<T, 64>::mma(o, probs[j], step);
        WgmmaValues<T, 32>::mma(o + 32, probs[j], step + kTile * 128 / 16);
      } else {
        WgmmaValues<T, kHeadDim>::mma(o, probs[j], step);
      }
    }
    wgmma_commit();
  }

  __device__ __forceinline__ void pack(uint32_t (&probs)[kTile / 16][4],
                                       const float (&s)[kTile / 2]) const {
#pragma unroll
    for (int j = 0; j < kTile / 16; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        probs[j][i] = pack2<T>(s[8 * j + 2 * i], s[8 * j + 2 * i + 1]);
    }
  }

  // V rows of keys that no row of the unit sees may hold anything, NaN too, or were not loaded:
  // they become zeros. Both warpgroups write the same zeros, each before its own wgmma.
  __device__ __forceinline__ void clear_values(int stage, int key0, int begin, int end) const {
    const uint32_t base = smem + L::kV + stage * L::kTileBytes;
    const int front = max(0, min(begin - key0, kTile)), back = min(end - key0, kTile);
    const int hidden = front + kTile - back;
    for (int i = thread; i < hidden * L::kChunks * 8; i += 128) {
      int row = i / (L::kChunks * 8);
      if (row >= front) row += back - front;
      const int piece = i % (L::kChunks * 8);
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(
                       base + piece / 8 * kTile * 128 + row * 128 + piece % 8 * 16),
                   "r"(0)
                   : "memory");
    }
    fence_async_proxy();
    named_barrier_sync(3 + wg, 128);
  }

  __device__ __forceinline__ void wait_values(int count, int tile, int begin, int end) const {
    mbarrier_wait(bar(L::kVFull, count & 1), (count >> 1) & 1);
    const int key0 = tile * kTile;
    if (key0 < begin || key0 + kTile > end) clear_values(count & 1, key0, begin, end);
  }

  // Scores of `tile` to probabilities.
  __device__ __forceinline__ void softmax(float (&s)[kTile / 2], int tile, int row_position,
                                          int wg_position, RowState& row,
                                          float (&rescale)[2]) const {
    if constexpr (kGeneral) {
      if (p.c.softcap_in > 0) softcap_scores(p.c, s);
    }
    const int key0 = tile * kTile;
    if (key0 + kTile - 1 > wg_position ||
        (p.c.window > 0 && key0 <= wg_position + 63 - p.c.window))
      mask_scores(p.c, s, key0 + thread % 4 * 2, row_position);
    softmax_scores(p.c.exponent, s, row, rescale);
  }

  __device__ __forceinline__ void my_turn() const {
    if constexpr (kPingPong) named_barrier_sync(1 + wg, 256);
  }
  __device__ __forceinline__ void your_turn() const {
    if constexpr (kPingPong) named_barrier_arrive(2 - wg, 256);
  }

  __device__ void run() {
    const int row_in_item = wg * 64 + thread / 32 * 16 + thread % 32 / 4;
    if (wg == 1) your_turn();
    griddep_wait();
    int count = 0;
    for (int turn = 0;; ++turn) {
      mbarrier_wait(bar(L::kQFull), turn & 1);
      const PrefillUnit unit =
          *reinterpret_cast<PrefillUnit*>(__cvta_shared_to_generic(smem + L::kUnit));
      if (unit.head < 0) break;
      const int end = unit.item.position + unit.item.num_rows;
      const int begin = first_key(p.c, unit.item.position);
      const int first = begin / kTile, last = (end - 1) / kTile;
      const int wg_position = unit.item.position + wg * 64;
      const int row_position = unit.item.position + row_in_item;

      float s[kTile / 2], o[kHeadDim / 2];
      uint32_t probs[kTile / 16][4];
      RowState row{{-INFINITY, -INFINITY}, {0, 0}};
      float rescale[2];
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) o[i] = 0;

      mbarrier_wait(bar(L::kKFull, count & 1), (count >> 1) & 1);
      wgmma_fence();
      scores(s, count & 1);
      wgmma_wait<0>();
      wgmma_pin(s);
      release(L::kKEmpty, count & 1);
      if (first == last) release(L::kQEmpty);
      softmax(s, first, row_position, wg_position, row, rescale);
      pack(probs, s);

      for (int tile = first + 1; tile <= last; ++tile, ++count) {
        const int stage = count & 1, next = stage ^ 1;
        mbarrier_wait(bar(L::kKFull, next), ((count + 1) >> 1) & 1);
        my_turn();
        wgmma_pin(s);
        wgmma_fence();
        scores(s, next);
        wait_values(count, tile - 1, begin, end);
        wgmma_pin(o);
        wgmma_fence();
        values(o, probs, stage);
        your_turn();
        wgmma_wait<1>();
        wgmma_pin(s);
        release(L::kKEmpty, next);
        if (tile == last) release(L::kQEmpty);
        softmax(s, tile, row_position, wg_position, row, rescale);
        wgmma_wait<0>();
        wgmma_pin(o);
        release(L::kVEmpty, stage);
#pragma unroll
        for (int i = 0; i < kHeadDim / 2; ++i) o[i] *= rescale[i / 2 % 2];
        pack(probs, s);
      }

      wait_values(count, last, begin, end);
      wgmma_pin(o);
      wgmma_fence();
      values(o, probs, count & 1);
      float inverse[2];
      row_inverse<kGeneral>(p.c, row, unit.head, inverse);
      wgmma_wait<0>();
      wgmma_pin(o);
      release(L::kVEmpty, count & 1);
      ++count;
      store_rows<T, kHeadDim>(p.c, unit, o, row_in_item, thread % 4, inverse);
    }
  }
};

template <typename T, int kHeadDim, int kTile, bool kGeneral, bool kPingPong>
__global__ void __launch_bounds__(kPrefillSm90Threads, 1)
    prefill_sm90_kernel(const __grid_constant__ PrefillSm90Params p) {
  using L = PrefillLayout<kHeadDim, kTile>;
  extern __shared__ char raw[];
  const uint32_t smem = (smem_address(raw) + 1023) & ~1023u;
  griddep_launch();
  if (threadIdx.x == 0) {
    const uint32_t bars = smem + L::kBarriers;
    mbarrier_init(bars + L::kQFull, 1);
    mbarrier_init(bars + L::kQEmpty, 8);
    for (int i = 0; i < L::kStages; ++i) {
      mbarrier_init(bars + L::kKFull + 8 * i, 1);
      mbarrier_init(bars + L::kVFull + 8 * i, 1);
      mbarrier_init(bars + L::kKEmpty + 8 * i, 8);
      mbarrier_init(bars + L::kVEmpty + 8 * i, 8);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  const int role = threadIdx.x / 128;
  if (role == 0) {
    setmaxnreg_dec<24>();
    if (threadIdx.x < 32) {
      PrefillProducer<kHeadDim, kTile> producer{p, smem, static_cast<int>(threadIdx.x), 0, 0};
      producer.run();
    }
  } else {
    setmaxnreg_inc<240>();
    PrefillConsumer<T, kHeadDim, kTile, kGeneral, kPingPong> consumer{
        p, smem, role - 1, static_cast<int>(threadIdx.x) % 128};
    consumer.run();
  }
}

inline void encode_2d(const Context& ctx, CUtensorMap* map, const Tensor& t, int64_t columns,
                      int64_t rows, int64_t stride, int box_rows) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[2] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult status = ctx.encode_tiled(
      map,
      t.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      2, t.data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "cuTensorMapEncodeTiled: expected success, received ",
        static_cast<int>(status));
}

template <typename T, int kHeadDim, int kTile, bool kGeneral, bool kPingPong>
void launch_prefill_sm90(const Context& ctx, const PagedAttention& args,
                         const AttentionLaunch& how, const AttentionExtras& extras) {
  using L = PrefillLayout<kHeadDim, kTile>;
  const int box_rows = std::gcd(how.batch.block_size, kTile);
  PrefillSm90Params p;
  p.c = prefill_common(ctx, args, how, extras);
  p.box_shift = 0;
  while ((1 << p.box_shift) < box_rows) ++p.box_shift;
  encode_2d(ctx, &p.q, args.q, args.q.dim(1), args.q.dim(0), args.q.row_stride, 64);
  const int64_t cache_rows = args.k_cache.dim(0) * args.num_kv_heads * how.batch.block_size;
  encode_2d(ctx, &p.k, args.k_cache, kHeadDim, cache_rows, kHeadDim, box_rows);
  encode_2d(ctx, &p.v, args.v_cache, kHeadDim, cache_rows, kHeadDim, box_rows);
  const auto kernel = prefill_sm90_kernel<T, kHeadDim, kTile, kGeneral, kPingPong>;
  static const bool allowed = (allow_smem(kernel, L::kBytes), true);
  static_cast<void>(allowed);
  const int units = p.c.num_items * p.c.num_heads;
  launch(ctx, kernel, dim3(units < ctx.num_sms ? units : ctx.num_sms), dim3(kPrefillSm90Threads),
         L::kBytes, p);
}

}  // namespace hotpath::cuda

#pragma once

// Prefill attention on sm_90a: two producer warps gather K and V page by page with TMA, two
// warpgroups of 64 rows each multiply with wgmma and do the softmax in registers. They take turns
// (kPingPong): while one feeds the tensor cores, the other does its softmax; and within a
// warpgroup the scores of the next keys are computed while the last probabilities meet V.
// Blocks are persistent and take units (item, head) from a queue.

#include <numeric>
#include <type_traits>

#include "cuda/device/attention_wgmma.cuh"
#include "cuda/device/prefill_unit.cuh"

namespace hotpath::cuda {

struct PrefillSm90Params {
  CUtensorMap q;  // [rows, all columns], box [64, 64]
  // The cache as [row / 8, column / 64, row % 8, column % 64], box [box_rows / 8, all, 8, 64]: one
  // copy takes a page's keys whole. With a head_dim of 96 there is one chunk of 96 columns, of
  // which a box takes 64 (the second one 32 and zeros).
  CUtensorMap k, v;
  PrefillCommon c;
  int box_shift;  // log2(rows of a box)
};

// Shared memory: Q [2 warpgroups][chunks of 64 columns][64 rows][64], then K and V stages of
// [kTile / 8 groups of keys][chunks][8][64] (head_dim 96: [chunks][groups][8][64]), then barriers.
// All swizzled, every part 1024-byte aligned.
template <int kHeadDim, int kTile>
struct PrefillLayout {
  static constexpr int kChunks = (kHeadDim + 63) / 64;
  static constexpr int kStages = 2;
  static constexpr int kQBytes = 2 * kChunks * 64 * 128;
  static constexpr int kTileBytes = kChunks * kTile * 128;
  static constexpr bool kWholeRows = kHeadDim % 64 == 0;  // a box has all columns
  static constexpr int kBoxChunks = kWholeRows ? kChunks : 1;
  static constexpr int kGroupStride = kBoxChunks * 1024;
  static constexpr int kChunkStride = kWholeRows ? 1024 : kTile * 128;
  static constexpr int kK = kQBytes;
  static constexpr int kV = kK + kStages * kTileBytes;
  static constexpr int kBarriers = kV + kStages * kTileBytes;
  static constexpr int kUnit = kBarriers + 128;
  static constexpr int kBytes = kUnit + 128 + 1024;  // [3] PrefillUnit: Q's, the V warp's two
  static_assert(kBytes <= 232448);
  // Barriers, 8 bytes each. Units go from the K warp to the V warp through two slots.
  static constexpr int kQFull = 0, kQEmpty = 8, kKFull = 16, kVFull = 32, kKEmpty = 48,
                       kVEmpty = 64, kUnitFull = 80, kUnitEmpty = 96;
};

inline constexpr int kPrefillSm90Threads = 3 * 128;

// A warp's copy of the unit in shared memory. Only lane 0 reads, which also is the one that says
// when the place is free again; the others have it from lane 0.
__device__ __forceinline__ PrefillUnit take_unit(uint32_t slot, int lane) {
  PrefillUnit unit{};
  if (lane == 0) unit = *reinterpret_cast<PrefillUnit*>(__cvta_shared_to_generic(slot));
  for (int32_t* part : {&unit.item.seq, &unit.item.row_begin, &unit.item.num_rows,
                        &unit.item.position, &unit.head})
    *part = __shfl_sync(0xffffffffu, *part, 0);
  return unit;
}

// The warps that load: K, with Q and the queue, and V.
template <int kHeadDim, int kTile>
struct PrefillProducer {
  using L = PrefillLayout<kHeadDim, kTile>;
  static constexpr int kBoxesWide = L::kWholeRows ? 1 : L::kChunks;
  const PrefillSm90Params& p;
  uint32_t smem;
  int lane;
  int box, chunk;  // of a tile, what this lane loads

  __device__ PrefillProducer(const PrefillSm90Params& params, uint32_t smem_, int lane_)
      : p(params), smem(smem_), lane(lane_), box(lane_ / kBoxesWide), chunk(lane_ % kBoxesWide) {}

  __device__ __forceinline__ uint32_t bar(int which, int stage = 0) const {
    return smem + L::kBarriers + which + 8 * stage;
  }
  __device__ __forceinline__ PrefillUnit* slot(int i) const {
    return reinterpret_cast<PrefillUnit*>(__cvta_shared_to_generic(smem + L::kUnit)) + i;
  }

  // The keys of a unit and where they lie.
  struct Keys {
    const int32_t* table;
    int begin, end, first, last, kv_head;
  };
  __device__ __forceinline__ Keys keys_of(const PrefillUnit& unit, int max_blocks) const {
    Keys k;
    k.table = p.c.block_table + int64_t{unit.item.seq} * max_blocks;
    k.end = unit.item.position + unit.item.num_rows;
    k.begin = first_key(p.c, unit.item.position);
    k.first = k.begin / kTile;
    k.last = (k.end - 1) / kTile;
    k.kv_head = unit.head / p.c.group;
    return k;
  }
  // The cache row of this lane's box of a tile; -1: not needed.
  __device__ __forceinline__ int row_of(const Keys& k, int tile) const {
    const int key = tile * kTile + (box << p.box_shift);
    if (tile > k.last || box >= kTile >> p.box_shift || key >= k.end ||
        key + (1 << p.box_shift) <= k.begin)
      return -1;
    const int block = k.table[key >> p.c.block_shift];
    return ((block * p.c.num_kv_heads + k.kv_head) << p.c.block_shift) +
           (key & ((1 << p.c.block_shift) - 1));
  }
  __device__ __forceinline__ void load(const CUtensorMap* map, int tiles, int full, int empty,
                                       int count, int row) const {
    const int stage = count & 1;
    mbarrier_wait(bar(empty, stage), ((count >> 1) & 1) ^ 1);
    const bool valid = row >= 0;
    const int boxes = __popc(__ballot_sync(0xffffffffu, valid));
    const int box_bytes = (L::kBoxChunks * 128) << p.box_shift;
    if (lane == 0) mbarrier_expect(bar(full, stage), boxes * box_bytes);
    __syncwarp();
    if (valid)
      tma_load_4d(smem + tiles + stage * L::kTileBytes + chunk * L::kChunkStride + box * box_bytes,
                  map, bar(full, stage), chunk * 64, 0, 0, row >> 3);
  }

  __device__ void run_keys() {
    const PrefillCommon& c = p.c;
    const int total = c.num_items * c.num_heads;
    const int section_heads = prefill_section_heads(c, kHeadDim);
    const int max_blocks = c.header->max_blocks;
    griddep_wait();
    int unit_index = blockIdx.x;
    int count = 0;  // tiles so far
    for (int turn = 0;; ++turn) {
      PrefillUnit unit{{0, 0, 0, 0}, -1};
      if (unit_index < total) unit = prefill_unit(c, section_heads, unit_index);
      int next = 0;
      if (lane == 0) {
        mbarrier_wait(bar(L::kUnitEmpty, turn & 1), ((turn >> 1) & 1) ^ 1);
        *slot(1 + (turn & 1)) = unit;
        mbarrier_arrive(bar(L::kUnitFull, turn & 1));
        if (unit.head >= 0) next = static_cast<int>(gridDim.x) + atomicAdd(c.queue, 1);
      }
      __syncwarp();
      Keys k{};
      int next_row = -1;
      if (unit.head >= 0) {
        k = keys_of(unit, max_blocks);
        const int row = row_of(k, k.first);
        next_row = row_of(k, k.first + 1);
        load(&p.k, L::kK, L::kKFull, L::kKEmpty, count++, row);
      }
      mbarrier_wait(bar(L::kQEmpty), (turn & 1) ^ 1);
      if (lane == 0) {
        *slot(0) = unit;
        if (unit.head >= 0) {
          mbarrier_expect(bar(L::kQFull), L::kQBytes);
#pragma unroll
          for (int i = 0; i < 2 * L::kChunks; ++i)
            tma_load_2d(smem + i * 8192, &p.q, bar(L::kQFull),
                        unit.head * kHeadDim + i % L::kChunks * 64,
                        unit.item.row_begin + i / L::kChunks * 64);
        } else {
          mbarrier_arrive(bar(L::kQFull));
        }
      }
      __syncwarp();
      if (unit.head < 0) break;
      for (int tile = k.first + 1; tile <= k.last; ++tile) {
        const int row = next_row;
        next_row = row_of(k, tile + 1);
        load(&p.k, L::kK, L::kKFull, L::kKEmpty, count++, row);
      }
      unit_index = __shfl_sync(0xffffffffu, next, 0);
    }
    if (lane == 0 && atomicAdd(c.queue + 1, 1) == static_cast<int>(gridDim.x) - 1) {
      c.queue[0] = 0;  // ready for the next launch
      c.queue[1] = 0;
    }
  }

  __device__ void run_values() {
    const int max_blocks = p.c.header->max_blocks;
    griddep_wait();
    int count = 0;
    for (int turn = 0;; ++turn) {
      mbarrier_wait(bar(L::kUnitFull, turn & 1), (turn >> 1) & 1);
      const PrefillUnit unit =
          take_unit(smem + L::kUnit + (1 + (turn & 1)) * sizeof(PrefillUnit), lane);
      if (unit.head < 0) break;
      if (lane == 0) mbarrier_arrive(bar(L::kUnitEmpty, turn & 1));
      const Keys k = keys_of(unit, max_blocks);
      int next_row = row_of(k, k.first);
      for (int tile = k.first; tile <= k.last; ++tile) {
        const int row = next_row;
        next_row = row_of(k, tile + 1);
        load(&p.v, L::kV, L::kVFull, L::kVEmpty, count++, row);
      }
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

  // What the warpgroup does for a unit: keys [begin, end) in tiles first .. last; positions of the
  // warpgroup's first row and of the lane's.
  struct Work {
    int begin, end, first, last, wg_position, row_position;
  };

  __device__ __forceinline__ uint32_t bar(int which, int stage = 0) const {
    return smem + L::kBarriers + which + 8 * stage;
  }
  __device__ __forceinline__ void release(int which, int stage = 0) const {
    if ((thread & 31) == 0) mbarrier_arrive(bar(which, stage));
  }

  // How many 64s of the last tile's keys the rows see, the last one whole: the rest would change
  // nothing and is left out. Not the same for both warpgroups.
  static constexpr int kParts = kTile < 128 ? 1 : (kTile + 63) / 64;
  __device__ __forceinline__ int parts_seen(const Work& w) const {
    const int parts = (w.wg_position + 63 - w.last * kTile) / 64 + 1;
    return __shfl_sync(0xffffffffu, max(1, min(parts, kParts)), 0);
  }
  // f(number of keys, a compile-time one)
  template <typename F>
  __device__ __forceinline__ void with_parts(int parts, F f) const {
    if constexpr (kParts > 1) {
      if (parts == 1) return f(std::integral_constant<int, 64>());
    }
    if constexpr (kParts > 2) {
      if (parts == 2) return f(std::integral_constant<int, 128>());
    }
    f(std::integral_constant<int, kTile>());
  }

  // Of the first kKeys keys of the tile.
  template <int kKeys>
  __device__ __forceinline__ void scores(float (&s)[kKeys / 2], int stage) const {
    wgmma_fence();
    const uint64_t q = swizzle128_descriptor(smem + wg * (L::kQBytes / 2));
    const uint64_t k =
        swizzle128_descriptor(smem + L::kK + stage * L::kTileBytes, L::kGroupStride);
#pragma unroll
    for (int i = 0; i < kHeadDim / 16; ++i)
      WgmmaScores<T, kKeys>::mma(s, q + (i / 4 * 8192 + i % 4 * 32) / 16,
                                 k + (i / 4 * L::kChunkStride + i % 4 * 32) / 16, i > 0);
    wgmma_commit();
  }

  template <int kKeys>
  __device__ __forceinline__ void values(float (&o)[kHeadDim / 2],
                                         const uint32_t (&probs)[kTile / 16][4], int stage) const {
    wgmma_pin(o);
    wgmma_fence();
    const uint64_t v =
        swizzle128_mn_descriptor(smem + L::kV + stage * L::kTileBytes, L::kChunkStride,
                                 L::kGroupStride);
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
      const uint64_t step = v + j * 2 * L::kGroupStride / 16;
      if constexpr (kHeadDim == 96) {
        WgmmaValues<T, 64>::mma(o, probs[j], step);
        WgmmaValues<T, 32>::mma(o + 32, probs[j], step + L::kChunkStride / 16);
      } else {
        WgmmaValues<T, kHeadDim>::mma(o, probs[j], step);
      }
    }
    wgmma_commit();
  }

  template <int kKeys>
  __device__ __forceinline__ void pack(uint32_t (&probs)[kTile / 16][4],
                                       const float (&s)[kKeys / 2]) const {
#pragma unroll
    for (int j = 0; j < kKeys / 16; ++j) {
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
                       base + row / 8 * L::kGroupStride + piece / 8 * L::kChunkStride +
                       row % 8 * 128 + piece % 8 * 16),
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
  template <int kKeys>
  __device__ __forceinline__ void softmax(float (&s)[kKeys / 2], int tile, const Work& w,
                                          RowState& row, float (&rescale)[2]) const {
    if constexpr (kGeneral) {
      if (p.c.softcap_in > 0) softcap_scores(p.c, s);
    }
    const int key0 = tile * kTile;
    if (key0 + kKeys - 1 > w.wg_position ||
        (p.c.window > 0 && key0 <= w.wg_position + 63 - p.c.window))
      mask_scores(p.c, s, key0 + thread % 4 * 2, w.row_position);
    softmax_scores(p.c.exponent, s, row, rescale);
  }

  __device__ __forceinline__ void my_turn() const {
    if constexpr (kPingPong) named_barrier_sync(1 + wg, 256);
  }
  __device__ __forceinline__ void your_turn() const {
    if constexpr (kPingPong) named_barrier_arrive(2 - wg, 256);
  }

  // The first scores. kKeys: of the tile, that the rows see at most.
  template <int kKeys>
  __device__ __forceinline__ void start(uint32_t (&probs)[kTile / 16][4], RowState& row,
                                        int count, const Work& w) const {
    float s[kKeys / 2];
    mbarrier_wait(bar(L::kKFull, count & 1), (count >> 1) & 1);
    scores<kKeys>(s, count & 1);
    wgmma_wait<0>();
    wgmma_pin(s);
    release(L::kKEmpty, count & 1);
    if (w.first == w.last) release(L::kQEmpty);
    float rescale[2];
    softmax<kKeys>(s, w.first, w, row, rescale);
    pack<kKeys>(probs, s);
  }

  // The scores of `tile` while the probabilities of the one before, number `count`, meet V.
  template <int kKeys>
  __device__ __forceinline__ void step(float (&o)[kHeadDim / 2], uint32_t (&probs)[kTile / 16][4],
                                       RowState& row, int count, int tile, const Work& w) const {
    float s[kKeys / 2];
    const int stage = count & 1, next = stage ^ 1;
    mbarrier_wait(bar(L::kKFull, next), ((count + 1) >> 1) & 1);
    my_turn();
    scores<kKeys>(s, next);
    wait_values(count, tile - 1, w.begin, w.end);
    values<kTile>(o, probs, stage);
    your_turn();
    wgmma_wait<1>();
    wgmma_pin(s);
    release(L::kKEmpty, next);
    if (tile == w.last) release(L::kQEmpty);
    float rescale[2];
    softmax<kKeys>(s, tile, w, row, rescale);
    wgmma_wait<0>();
    wgmma_pin(o);
    release(L::kVEmpty, stage);
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) o[i] *= rescale[i / 2 % 2];
    pack<kKeys>(probs, s);
  }

  // The last probabilities meet V.
  template <int kKeys>
  __device__ __forceinline__ void finish(float (&o)[kHeadDim / 2],
                                         const uint32_t (&probs)[kTile / 16][4], int count) const {
    values<kKeys>(o, probs, count & 1);
    wgmma_wait<0>();
    wgmma_pin(o);
    release(L::kVEmpty, count & 1);
  }

  __device__ void run() {
    const int row_in_item = wg * 64 + thread / 32 * 16 + thread % 32 / 4;
    if (wg == 1) your_turn();
    griddep_wait();
    int count = 0;
    for (int turn = 0;; ++turn) {
      mbarrier_wait(bar(L::kQFull), turn & 1);
      const PrefillUnit unit = take_unit(smem + L::kUnit, thread % 32);
      if (unit.head < 0) break;
      const int end = unit.item.position + unit.item.num_rows;
      const int begin = first_key(p.c, unit.item.position);
      const int first = begin / kTile, last = (end - 1) / kTile;
      const int wg_position = unit.item.position + wg * 64;
      const Work w{begin, end, first, last, wg_position, unit.item.position + row_in_item};

      float o[kHeadDim / 2];
      uint32_t probs[kTile / 16][4];
      RowState row{{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) o[i] = 0;

      const int parts = parts_seen(w);
      with_parts(first == last ? parts : kParts,
                 [&](auto keys) { start<decltype(keys)::value>(probs, row, count, w); });
      const int whole = parts < kParts ? last - 1 : last;
      for (int tile = first + 1; tile <= whole; ++tile, ++count)
        step<kTile>(o, probs, row, count, tile, w);
      if constexpr (kParts > 1) {
        if (whole < last && first < last) {
          if (parts == 1) {
            step<64>(o, probs, row, count, last, w);
          } else if constexpr (kParts > 2) {
            step<128>(o, probs, row, count, last, w);
          }
          ++count;
        }
      }
      wait_values(count, last, begin, end);
      with_parts(parts, [&](auto keys) { finish<decltype(keys)::value>(o, probs, count); });
      ++count;
      float inverse[2];
      row_inverse<kGeneral>(p.c, row, unit.head, inverse);
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
      mbarrier_init(bars + L::kUnitFull + 8 * i, 1);
      mbarrier_init(bars + L::kUnitEmpty + 8 * i, 1);
    }
    mbarrier_fence_init();
  }
  __syncthreads();
  const int role = threadIdx.x / 128;
  if (role == 0) {
    setmaxnreg_dec<40>();
    PrefillProducer<kHeadDim, kTile> producer(p, smem, threadIdx.x % 32);
    if (threadIdx.x < 32) {
      producer.run_keys();
    } else if (threadIdx.x < 64) {
      producer.run_values();
    }
  } else {
    setmaxnreg_inc<232>();
    PrefillConsumer<T, kHeadDim, kTile, kGeneral, kPingPong> consumer{
        p, smem, role - 1, static_cast<int>(threadIdx.x) % 128};
    consumer.run();
  }
}

inline void encode_map(const Context& ctx, CUtensorMap* map, const Tensor& t, int rank,
                       const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box) {
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult status = ctx.encode_tiled(
      map,
      t.dtype == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
      rank, t.data, dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(status == CUDA_SUCCESS, "cuTensorMapEncodeTiled: expected success, received ",
        static_cast<int>(status));
}

inline void encode_queries(const Context& ctx, CUtensorMap* map, const Tensor& q) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(q.dim(1)), static_cast<cuuint64_t>(q.dim(0))};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(q.row_stride) * 2};
  const cuuint32_t box[2] = {64, 64};
  encode_map(ctx, map, q, 2, dims, strides, box);
}

inline void encode_cache(const Context& ctx, CUtensorMap* map, const Tensor& cache, int head_dim,
                         int box_rows) {
  const bool whole_rows = head_dim % 64 == 0;
  const cuuint64_t rows = static_cast<cuuint64_t>(cache.numel() / head_dim);
  const cuuint64_t columns = static_cast<cuuint64_t>(head_dim);
  const cuuint64_t chunks = whole_rows ? columns / 64 : 1;
  const cuuint64_t dims[4] = {whole_rows ? 64 : columns, 8, chunks, rows / 8};
  const cuuint64_t strides[3] = {columns * 2, 128, columns * 16};
  const cuuint32_t box[4] = {64, 8, static_cast<cuuint32_t>(chunks),
                             static_cast<cuuint32_t>(box_rows / 8)};
  encode_map(ctx, map, cache, 4, dims, strides, box);
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
  encode_queries(ctx, &p.q, args.q);
  encode_cache(ctx, &p.k, args.k_cache, kHeadDim, box_rows);
  encode_cache(ctx, &p.v, args.v_cache, kHeadDim, box_rows);
  const auto kernel = prefill_sm90_kernel<T, kHeadDim, kTile, kGeneral, kPingPong>;
  static const bool allowed = (allow_smem(kernel, L::kBytes), true);
  static_cast<void>(allowed);
  const int units = p.c.num_items * p.c.num_heads;
  launch(ctx, kernel, dim3(units < ctx.num_sms ? units : ctx.num_sms), dim3(kPrefillSm90Threads),
         L::kBytes, p);
}

}  // namespace hotpath::cuda

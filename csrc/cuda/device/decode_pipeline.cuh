#pragma once

// How K and V reach the warps of the decode attention kernel: rings of 16-key slots in shared
// memory, and the warp that fills them and deals out units of work.

#include "cuda/attention_decode.h"
#include "cuda/device/mma.cuh"

namespace hotpath::cuda {

// mbarriers as every architecture from sm_80 on has them.
__device__ __forceinline__ void pipe_init(uint32_t bar, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void pipe_arrive(uint32_t bar) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}\n" ::"r"(bar)
               : "memory");
}
__device__ __forceinline__ void pipe_wait(uint32_t bar, uint32_t parity) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\nmbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n@!done bra again;\n}\n" ::"r"(
          bar),
      "r"(parity)
      : "memory");
#else
  asm volatile(
      "{\n.reg .pred done;\n"
      "again:\nmbarrier.test_wait.parity.shared.b64 done, [%0], %1;\n@!done bra again;\n}\n" ::"r"(
          bar),
      "r"(parity)
      : "memory");
#endif
}

// A slot: 16 keys of K or V as planes of 64 (or 32) columns, [plane][key][column], the 16-byte
// pieces of a row swizzled as TMA does it, so that ldmatrix meets no bank twice.
template <int kHeadDim>
struct DecodeSlot {
  static constexpr int kColumns = kHeadDim % 64 == 0 ? 64 : 32;
  static constexpr int kPlanes = kHeadDim / kColumns;
  static constexpr int kRowBytes = kColumns * 2;
  static constexpr int kPlaneBytes = kLeafKeys * kRowBytes;
  static constexpr int kBytes = kPlanes * kPlaneBytes;
  static constexpr int kRowPieces = kHeadDim / 8;

  __device__ static constexpr int swizzle(int key) {
    return kColumns == 64 ? key & 7 : key >> 1 & 3;
  }
  // Of 16-column step i: where its plane is, and its offset (to be xored) in the row.
  __device__ static constexpr int plane(int i) { return i / (kColumns / 16) * kPlaneBytes; }
  __device__ static constexpr int column(int i) { return i % (kColumns / 16) * 32; }
};

struct RingCursor {
  int slot = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance(int num_slots) {
    if (++slot == num_slots) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// What a block does at a time: a part of a row for one KV head.
struct Unit {
  int row;  // -1: no more
  int head;  // kv_head * parts + part
  int seqlen, first_key;
  int begin, end;  // chunks; spread: the split is begin
  int spread;
  int active_parts;  // of the row, those with keys inside the window
  int first_partial;
};

// Shared memory of a block.
struct DecodeSmem {
  char* ring;
  float* merge;   // [warp][head][head_dim + 4]
  float* row;     // [head][head_dim / 4][6]
  float2* ml;     // [warp][16]
  float* top;     // [warp][16]
  Unit* units;    // [2]
  int* flag;
  uint32_t barriers, ring_address;
  int num_slots, slot_bytes;

  static constexpr int kFixed = kDecodeWarps * 16 * 12 + 2 * sizeof(Unit) + 8 + 4 * 8;
  __host__ __device__ static int bytes(int num_slots, int slot_bytes, int heads, int head_dim) {
    return kDecodeWarps * (num_slots * (slot_bytes + 16) + heads * (head_dim + 4) * 4) +
           heads * head_dim * 6 + kFixed;
  }
  __device__ DecodeSmem(char* base, const DecodeParams& p, int slot_bytes_, int head_dim)
      : num_slots(p.num_slots), slot_bytes(slot_bytes_) {
    ring = base;
    merge = reinterpret_cast<float*>(ring + kDecodeWarps * num_slots * slot_bytes);
    row = merge + kDecodeWarps * p.heads_per_part * (head_dim + 4);
    ml = reinterpret_cast<float2*>(row + p.heads_per_part * head_dim / 4 * 6);
    top = reinterpret_cast<float*>(ml + kDecodeWarps * 16);
    barriers = smem_address(top + kDecodeWarps * 16);
    auto* rest = reinterpret_cast<char*>(top + kDecodeWarps * 16) +
                 (2 * kDecodeWarps * num_slots + 4) * 8;
    units = reinterpret_cast<Unit*>(rest);
    flag = reinterpret_cast<int*>(units + 2);
    ring_address = smem_address(ring);
  }
  __device__ __forceinline__ uint32_t slot(int warp, int i) const {
    return ring_address + (warp * num_slots + i) * slot_bytes;
  }
  __device__ __forceinline__ uint32_t full(int warp, int i) const {
    return barriers + (warp * num_slots + i) * 8;
  }
  __device__ __forceinline__ uint32_t empty(int warp, int i) const {
    return barriers + ((kDecodeWarps + warp) * num_slots + i) * 8;
  }
  __device__ __forceinline__ uint32_t unit_full(int i) const {
    return barriers + (2 * kDecodeWarps * num_slots + i) * 8;
  }
  __device__ __forceinline__ uint32_t unit_empty(int i) const { return unit_full(i + 2); }

  __device__ void init(int slots, int load_arrivals) const {
    for (int i = 0; i < kDecodeWarps * slots; ++i) {
      pipe_init(full(0, i), load_arrivals);
      pipe_init(empty(0, i), 1);
    }
    for (int i = 0; i < 2; ++i) {
      pipe_init(unit_full(i), 1);
      pipe_init(unit_empty(i), kDecodeWarps);
    }
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
  }
};

// The loading warp. Lane w < 4 has the cursor of warp w's ring. Keys that were in the cache before
// this step are loaded before griddep_wait(): no kernel of this step writes them.
template <typename Slot, typename Loader>
struct DecodeFeeder {
  const DecodeParams& p;
  const DecodeSmem& smem;
  const int lane;
  RingCursor cursor{};
  bool waited = false;

  __device__ DecodeFeeder(const DecodeParams& params, const DecodeSmem& s)
      : p(params), smem(s), lane(threadIdx.x & 31) {}

  __device__ __forceinline__ void wait_earlier() {
    if (!waited) griddep_wait();
    waited = true;
  }

  // Row of the cache, [block, kv_head, offset] flattened, of the leaf at `key`; -1: no key of it
  // counts.
  __device__ __forceinline__ int leaf_row(const Unit& u, const int32_t* blocks, int key,
                                          int kv_head) const {
    if (key >= u.seqlen || key + kLeafKeys <= u.first_key) return -1;
    const int block = *blocks;
    return (block * p.num_kv_heads + kv_head) << p.block_shift | (key & ((1 << p.block_shift) - 1));
  }

  // A round of leaves: lane j has the row of leaf j. K of each warp's leaves, then V.
  __device__ __forceinline__ void feed_round(const Unit& u, int key, int row, int stored) {
    const int per_warp = u.spread ? 1 : kSplitKeys / kLeafKeys;
    if (!waited &&
        __any_sync(0xffffffffu, row >= 0 && key + (lane + 1) * kLeafKeys > stored))
      wait_earlier();
    for (int j = 0; j < 2 * per_warp; ++j) {
      const bool is_v = j >= per_warp;
      const int leaf = is_v ? j - per_warp : j;
      Loader::template load<Slot>(p, smem, cursor, row, per_warp, leaf, is_v);
    }
  }

  __device__ __forceinline__ void feed(const Unit& u, const DecodeItem* item, int seq, int stored,
                                       int max_blocks) {
    const int kv_head = u.head / p.parts;
    if (u.spread) {
      const int key = u.begin * kSplitKeys;
      const int row = lane < kSplitKeys / kLeafKeys
                          ? leaf_row(u, item->blocks + lane, key + lane * kLeafKeys, kv_head)
                          : -1;
      feed_round(u, key, row, stored);
      return;
    }
    const int32_t* table = p.batch.block_table + int64_t{seq} * max_blocks;
    const int chunk_keys = decode_rounds(u.seqlen) * kRoundKeys;
    const int end = min(u.end * chunk_keys, u.seqlen);
    auto look_up = [&](int key) {
      const int leaf = key + lane * kLeafKeys;
      return lane < kRoundKeys / kLeafKeys && key < end
                 ? leaf_row(u, table + (leaf >> p.block_shift), leaf, kv_head)
                 : -1;
    };
    int key = u.begin * chunk_keys;
    int row = look_up(key);
    for (; key < end; key += kRoundKeys) {
      const int next = look_up(key + kRoundKeys);
      feed_round(u, key, row, stored);
      row = next;
    }
  }

  __device__ __forceinline__ void publish(RingCursor& units, const Unit& u) {
    pipe_wait(smem.unit_empty(units.slot), units.phase ^ 1);
    if (lane == 0) {
      smem.units[units.slot] = u;
      pipe_arrive(smem.unit_full(units.slot));
    }
    __syncwarp();
    units.advance(2);
  }

  __device__ __forceinline__ int take(int none) {
    int next = none;
    if (lane == 0) next = static_cast<int>(gridDim.x) + atomicAdd(p.queue, 1);
    return next;
  }

  __device__ void run() {
    // The first items lie within the list's memory whatever their number (max_decode_items()), so
    // that header and item are read at the same time.
    const int max_blocks = p.batch.header->max_blocks;
    const int num_items = p.batch.header->num_decode_items;
    const int num_units = num_items * p.units_per_item;
    const bool dynamic = num_units > static_cast<int>(gridDim.x);
    RingCursor units{};
    int index = blockIdx.x;
    while (index < num_units || index == static_cast<int>(blockIdx.x)) {
      const DecodeItem* item = p.batch.decode_items + index / p.units_per_item;
      const int4 a = reinterpret_cast<const int4*>(item)[0];
      const int4 b = reinterpret_cast<const int4*>(item)[1];
      if (index >= num_units) break;
      // The index after this one arrives while this unit is loaded, except for the first: nothing
      // may be written before griddep_wait().
      const bool early = dynamic && waited;
      int next = early ? take(num_units) : num_units;

      Unit u;
      u.row = a.x;
      u.head = index % p.units_per_item;
      u.seqlen = a.z;
      u.first_key = p.window > 0 ? max(0, u.seqlen - p.window) : 0;
      u.first_partial = b.z;
      const uint32_t cuts = b.y;
      u.spread = cuts == 0;
      if (u.spread) {
        const int first_split = u.first_key / kSplitKeys;
        u.begin = a.w;
        u.end = a.w >= first_split ? a.w + 1 : a.w;
        u.active_parts = b.x - first_split;
      } else {
        const int first_chunk = u.first_key / (decode_rounds(u.seqlen) * kRoundKeys);
        u.begin = max(a.w, first_chunk);
        u.end = b.x;
        u.active_parts = 1 + __popc(cuts & ~((2u << first_chunk) - 1));
      }
      if (u.begin < u.end) {
        publish(units, u);
        feed(u, item, a.y, b.w, max_blocks);
      }
      if (dynamic && !early) {
        wait_earlier();
        next = take(num_units);
      }
      index = __shfl_sync(0xffffffffu, next, 0);
    }
    Unit end{};
    end.row = -1;
    publish(units, end);
    // A block without work makes room at once; that one block waits keeps the order of the kernels.
    if (blockIdx.x == 0) wait_earlier();
    if (dynamic && lane == 0 && atomicAdd(p.queue + 1, 1) == static_cast<int>(gridDim.x) - 1) {
      p.queue[0] = 0;  // ready for the next launch
      p.queue[1] = 0;
    }
  }
};

// Portable loads: the whole warp copies one slot after the other.
struct CopyLoader {
  static constexpr int kArrivals = 32;
  template <typename Slot>
  __device__ static __forceinline__ void load(const DecodeParams& p, const DecodeSmem& smem,
                                              RingCursor& cursor, int row, int per_warp, int leaf,
                                              bool is_v) {
    const int lane = threadIdx.x & 31;
    const char* cache = static_cast<const char*>(is_v ? p.v_cache : p.k_cache);
    for (int w = 0; w < kDecodeWarps; ++w) {
      const int r = __shfl_sync(0xffffffffu, row, w * per_warp + leaf);
      if (r < 0) continue;
      const int slot = __shfl_sync(0xffffffffu, cursor.slot, w);
      pipe_wait(smem.empty(w, slot), __shfl_sync(0xffffffffu, cursor.phase, w) ^ 1);
      const char* from = cache + int64_t{r} * (Slot::kRowPieces * 16);
      const uint32_t to = smem.slot(w, slot);
      constexpr int kPieces = Slot::kRowPieces * kLeafKeys;
#pragma unroll
      for (int i = 0; i < kPieces / 32; ++i) {
        const int piece = i * 32 + lane, key = piece / Slot::kRowPieces;
        const int column = piece % Slot::kRowPieces;
        constexpr int kPlanePieces = Slot::kColumns / 8;
        cp_async16(to + column / kPlanePieces * Slot::kPlaneBytes + key * Slot::kRowBytes +
                       (column % kPlanePieces ^ Slot::swizzle(key)) * 16,
                   from + piece * 16);
      }
      asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(smem.full(w, slot))
                   : "memory");
      if (lane == w) cursor.advance(p.num_slots);
    }
    __syncwarp();
  }
};

}  // namespace hotpath::cuda

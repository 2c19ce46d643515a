#pragma once

// The decode attention kernel: one query row per DecodeItem, all query heads of a KV head at once.
// Four warps compute, a fifth loads K and V into a ring of each (and runs ahead across units of
// work); attention.h has the order of the sums. Scores are computed transposed, S^T = K Q^T (16
// keys x 8 heads), and so is the output, O^T = V^T P^T (16 columns x 8 heads): a group of up to 8
// heads costs no more than one.

#include "cuda/attention_decode.h"
#include "cuda/device/decode_pipeline.cuh"
#include "cuda/device/mma.cuh"

namespace hotpath::cuda {

// Blocks on a multiprocessor: larger accumulators take the registers of two.
constexpr int decode_blocks(int head_dim, int head_tiles) {
  return head_dim <= 128 && head_tiles == 1 ? 2 : 1;
}

inline constexpr float kNoKeys = -INFINITY;  // maximum of a part without keys

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Transposes an 8 x 8 matrix of 16-bit values held as an mma fragment.
__device__ __forceinline__ uint32_t transpose_8x8(uint32_t v) {
  uint32_t r;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(v));
  return r;
}

// Four columns of a head: maximum (as a power of 2), sum and weighted values.
struct Partial {
  float m = kNoKeys, l = 0;
  float o[4] = {0, 0, 0, 0};
};
// The arithmetic of a merge is spelled out, so that it is the same wherever it is done.
__device__ __forceinline__ Partial merge_lanes(const Partial (&lanes)[kChunkLanes]) {
  Partial chunk;
#pragma unroll
  for (int i = 0; i < kChunkLanes; ++i) chunk.m = fmaxf(chunk.m, lanes[i].m);
#pragma unroll
  for (int i = 0; i < kChunkLanes; ++i) {
    if (lanes[i].m == kNoKeys) continue;
    const float w = exp2_fast(lanes[i].m - chunk.m);
    chunk.l = fmaf(lanes[i].l, w, chunk.l);
#pragma unroll
    for (int j = 0; j < 4; ++j) chunk.o[j] = fmaf(lanes[i].o[j], w, chunk.o[j]);
  }
  return chunk;
}
__device__ __forceinline__ void fold(Partial& row, const Partial& chunk) {
  const float m = fmaxf(row.m, chunk.m);
  const float a = exp2_fast(row.m - m), b = exp2_fast(chunk.m - m);
  row.m = m;
  row.l = fmaf(row.l, a, __fmul_rn(chunk.l, b));
#pragma unroll
  for (int j = 0; j < 4; ++j) row.o[j] = fmaf(row.o[j], a, __fmul_rn(chunk.o[j], b));
}

template <typename T, int kHeadDim, int kHeadTiles>
struct DecodeWorker {
  using Slot = DecodeSlot<kHeadDim>;
  static constexpr int kSteps = kHeadDim / 16;
  static constexpr int kVectors = kHeadDim / 4;  // of four columns, in a head
  static constexpr int kMergeStride = kHeadDim + 4;

  const DecodeParams& p;
  const DecodeSmem& smem;
  const int warp, lane, g, t;
  Unit unit{};
  int head0 = 0, heads = 0;  // of this unit
  RingCursor cursor{};
  uint32_t q[kHeadTiles][kSteps][2];
  float o[kHeadTiles][kSteps][4];  // lane (g, t): columns 16 i + g, + 8 of heads 2 t, 2 t + 1
  float l[kHeadTiles][2], m[kHeadTiles][2];

  __device__ DecodeWorker(const DecodeParams& params, const DecodeSmem& s, int warp_)
      : p(params), smem(s), warp(warp_), lane(threadIdx.x & 31), g(lane >> 2), t(lane & 3) {}

  __device__ __forceinline__ static void sync() {
    asm volatile("bar.sync 1, %0;" ::"n"(kDecodeWarps * 32) : "memory");
  }

  __device__ __forceinline__ void load_q() {
    const T* base = static_cast<const T*>(p.q) + unit.row * p.q_stride + int64_t{head0} * kHeadDim;
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      const int head = 8 * n + g;
      const uint32_t* from = reinterpret_cast<const uint32_t*>(base + head * kHeadDim) + t;
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        q[n][i][0] = head < heads ? from[8 * i] : 0;
        q[n][i][1] = head < heads ? from[8 * i + 4] : 0;
      }
    }
  }

  __device__ __forceinline__ uint32_t acquire() {
    pipe_wait(smem.full(warp, cursor.slot), cursor.phase);
    return smem.slot(warp, cursor.slot);
  }
  __device__ __forceinline__ void release() {
    __syncwarp();
    if (lane == 0) pipe_arrive(smem.empty(warp, cursor.slot));
    cursor.advance(p.num_slots);
  }

  // s = scores of 16 keys: lane (g, t) has keys g, g, g + 8, g + 8 of heads 2 t, 2 t + 1 each.
  __device__ __forceinline__ void score_leaf(float (&s)[kHeadTiles][4], float (&top)[kHeadTiles][2],
                                             int key) {
    const uint32_t slot = acquire();
    const int r = lane & 15;
    const uint32_t base = slot + r * Slot::kRowBytes, x = ((lane >> 4) ^ Slot::swizzle(r)) * 16;
    float sum[2][kHeadTiles][4] = {};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint32_t k[4];
      ldmatrix_x4(k, base + Slot::plane(i) + (x ^ Slot::column(i)));
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) mma_16816<T>(sum[i & 1][n], k, q[n][i][0], q[n][i][1]);
    }
    release();
    const int first = key + g, second = first + 8;
    const bool in0 = first >= unit.first_key && first < unit.seqlen;
    const bool in1 = second >= unit.first_key && second < unit.seqlen;
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float v = sum[0][n][j] + sum[1][n][j];
        if (p.softcap_in > 0) {
          const float e = __expf(2.0f * p.softcap_in * v);
          v = p.softcap_out * (1.0f - 2.0f / (1.0f + e));
        }
        v = (j < 2 ? in0 : in1) ? v : kNoKeys;
        s[n][j] = v;
        top[n][j & 1] = fmaxf(top[n][j & 1], v);
      }
    }
  }
  // The largest score of each head among the warp's, as a power of 2.
  __device__ __forceinline__ void reduce_top(float (&top)[kHeadTiles][2]) {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int d = 4; d < 32; d *= 2)
          top[n][j] = fmaxf(top[n][j], __shfl_xor_sync(0xffffffffu, top[n][j], d));
  }

  // o and l += the leaf's own sums, each from zero.
  __device__ __forceinline__ void value_leaf(const float (&s)[kHeadTiles][4], int key) {
    uint32_t weights[kHeadTiles][2];
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      float w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = exp2_fast(fmaf(s[n][j], p.exponent, -m[n][j & 1]));
      weights[n][0] = transpose_8x8(pack2<T>(w[0], w[1]));
      weights[n][1] = transpose_8x8(pack2<T>(w[2], w[3]));
      const uint32_t one = pack2<T>(1.0f, 1.0f), ones[4] = {one, one, one, one};
      float sum[4] = {};
      mma_16816<T>(sum, ones, weights[n][0], weights[n][1]);
      l[n][0] += sum[0];
      l[n][1] += sum[1];
    }
    const uint32_t slot = acquire();
    if (key >= unit.first_key && key + kLeafKeys <= unit.seqlen) {
      add_values<false>(slot, weights, key);
    } else {
      add_values<true>(slot, weights, key);
    }
    release();
  }
  // kMask: what lies beyond the row's keys may be NaN, which a weight of 0 does not cover.
  template <bool kMask>
  __device__ __forceinline__ void add_values(uint32_t slot,
                                             const uint32_t (&weights)[kHeadTiles][2], int key) {
    const int r = (lane & 7) + (lane >> 4) * 8;
    const uint32_t base = slot + r * Slot::kRowBytes,
                   x = ((lane >> 3 & 1) ^ Slot::swizzle(r)) * 16;
    uint32_t mask[2] = {};
    if constexpr (kMask) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int k = key + 2 * t + (j & 1) + (j >> 1) * 8;
        if (k >= unit.first_key && k < unit.seqlen) mask[j >> 1] |= 0xffffu << (j & 1) * 16;
      }
    }
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint32_t v[4];
      ldmatrix_x4_trans(v, base + Slot::plane(i) + (x ^ Slot::column(i)));
      if constexpr (kMask) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] &= mask[j >> 1];
      }
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) {
        float sum[4] = {};
        mma_16816<T>(sum, v, weights[n][0], weights[n][1]);
#pragma unroll
        for (int j = 0; j < 4; ++j) o[n][i][j] += sum[j];
      }
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      l[n][0] = l[n][1] = 0;
      m[n][0] = m[n][1] = kNoKeys;
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) o[n][i][j] = 0;
    }
  }

  // This warp's lane of a chunk: a split of every round.
  __device__ __forceinline__ void attend_lane(int chunk, int rounds) {
    clear();
    for (int r = 0; r < rounds; ++r) {
      const int key = (chunk * rounds + r) * kRoundKeys + warp * kSplitKeys;
      const int begin = max(0, (unit.first_key - key) >> 4);
      const int end = min(kSplitKeys / kLeafKeys, (unit.seqlen - key + kLeafKeys - 1) >> 4);
      if (begin >= end) continue;
      float s[kSplitKeys / kLeafKeys][kHeadTiles][4], top[kHeadTiles][2];
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) top[n][0] = top[n][1] = kNoKeys;
#pragma unroll
      for (int leaf = 0; leaf < kSplitKeys / kLeafKeys; ++leaf)
        if (leaf >= begin && leaf < end) score_leaf(s[leaf], top, key + leaf * kLeafKeys);
      reduce_top(top);
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
        for (int j = 0; j < 2; ++j) top[n][j] = fmaxf(m[n][j], top[n][j] * p.exponent);
      if (r > 0) {
#pragma unroll
        for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const float a = exp2_fast(m[n][j] - top[n][j]);
            l[n][j] *= a;
#pragma unroll
            for (int i = 0; i < kSteps; ++i) {
              o[n][i][j] *= a;
              o[n][i][j + 2] *= a;
            }
          }
      }
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) m[n][0] = top[n][0], m[n][1] = top[n][1];
#pragma unroll
      for (int leaf = 0; leaf < kSplitKeys / kLeafKeys; ++leaf)
        if (leaf >= begin && leaf < end) value_leaf(s[leaf], key + leaf * kLeafKeys);
    }
  }
  // One leaf of a split that the four warps share.
  __device__ __forceinline__ void attend_leaf() {
    clear();
    const int key = unit.begin * kSplitKeys + warp * kLeafKeys;
    const bool any = key < unit.seqlen && key + kLeafKeys > unit.first_key;
    float s[kHeadTiles][4], top[kHeadTiles][2];
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) top[n][0] = top[n][1] = kNoKeys;
    if (any) score_leaf(s, top, key);
    reduce_top(top);
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j)
        if (g == 0) smem.top[warp * 16 + 8 * n + 2 * t + j] = top[n][j];
    sync();
    if (!any) return;
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float v = kNoKeys;
#pragma unroll
        for (int w = 0; w < kDecodeWarps; ++w) v = fmaxf(v, smem.top[w * 16 + 8 * n + 2 * t + j]);
        m[n][j] = v * p.exponent;
      }
    value_leaf(s, key);
  }

  // The warp's o, l and m to shared memory, [warp][head][column]; without keys only m.
  __device__ __forceinline__ void give() {
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int head = 8 * n + 2 * t + j;
        if (head >= heads) continue;
        if (g == 0) smem.ml[warp * 16 + head] = make_float2(m[n][j], l[n][j]);
        if (m[n][j] == kNoKeys) continue;
        float* to = smem.merge + (warp * p.heads_per_part + head) * kMergeStride + g;
#pragma unroll
        for (int i = 0; i < kSteps; ++i) {
          to[16 * i] = o[n][i][j];
          to[16 * i + 8] = o[n][i][j + 2];
        }
      }
    sync();
  }
  __device__ __forceinline__ Partial taken(int w, int head, int vector) const {
    Partial part;
    const float2 ml = smem.ml[w * 16 + head];
    part.m = ml.x, part.l = ml.y;
    const float4 v = *reinterpret_cast<const float4*>(
        smem.merge + (w * p.heads_per_part + head) * kMergeStride + 4 * vector);
    part.o[0] = v.x, part.o[1] = v.y, part.o[2] = v.z, part.o[3] = v.w;
    return part;
  }

  __device__ __forceinline__ void store_partial(int slot, int head, int vector,
                                                const Partial& part) const {
    const int64_t at = int64_t{slot} * p.num_heads + head0 + head;
    __stcg(reinterpret_cast<float4*>(p.partial_o + at * kHeadDim) + vector,
           make_float4(part.o[0], part.o[1], part.o[2], part.o[3]));
    if (vector == 0) __stcg(p.partial_ml + at, make_float2(part.m, part.l));
  }

  // Every (head, vector) belongs to one thread throughout.
  template <typename F>
  __device__ __forceinline__ void for_own(F&& f) {
    for (int v = threadIdx.x; v < heads * kVectors; v += kDecodeWarps * 32)
      f(v / kVectors, v % kVectors);
  }
  // The row so far of a thread's vector waits in shared memory between chunks.
  __device__ __forceinline__ void fold_into_row(int head, int vector, const Partial& chunk,
                                                bool first, bool last) {
    auto* at = reinterpret_cast<float2*>(smem.row) + (head * kVectors + vector) * 3;
    Partial row;
    if (!first) {
      const float2 ml = at[0], a = at[1], b = at[2];
      row = {ml.x, ml.y, {a.x, a.y, b.x, b.y}};
    }
    fold(row, chunk);
    if (last) {
      write_out(head, vector, row);
    } else {
      at[0] = make_float2(row.m, row.l);
      at[1] = make_float2(row.o[0], row.o[1]);
      at[2] = make_float2(row.o[2], row.o[3]);
    }
  }

  // Folds the row's partial results, kSubs of them to a chunk (splits), or each one a chunk.
  template <int kSubs>
  __device__ __forceinline__ void fold_partials(int first, int end) {
    constexpr int kAtOnce = 16;
    for_own([&](int head, int vector) {
      Partial row;
      for (int c = first / kSubs * kSubs; c < end; c += kAtOnce) {
        Partial part[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          if (c + k < first || c + k >= end) continue;
          const int64_t at = int64_t{unit.first_partial + c + k} * p.num_heads + head0 + head;
          const float2 ml = __ldcg(p.partial_ml + at);
          const float4 v =
              __ldcg(reinterpret_cast<const float4*>(p.partial_o + at * kHeadDim) + vector);
          part[k].m = ml.x, part[k].l = ml.y;
          part[k].o[0] = v.x, part[k].o[1] = v.y, part[k].o[2] = v.z, part[k].o[3] = v.w;
        }
#pragma unroll
        for (int k = 0; k < kAtOnce; k += kSubs) {
          if (c + k >= end) continue;
          if constexpr (kSubs == 1) {
            fold(row, part[k]);
          } else {
            fold(row, merge_lanes({part[k], part[k + 1], part[k + 2], part[k + 3]}));
          }
        }
      }
      write_out(head, vector, row);
    });
  }

  __device__ __forceinline__ void write_out(int head, int vector, Partial r) const {
    if (p.sinks != nullptr) {
      const float sink = p.sinks[head0 + head] * 1.4426950408889634f, top = fmaxf(r.m, sink);
      const float a = exp2_fast(r.m - top);
      r.l = fmaf(r.l, a, exp2_fast(sink - top));
#pragma unroll
      for (int j = 0; j < 4; ++j) r.o[j] = __fmul_rn(r.o[j], a);
    }
    const float inverse = __frcp_rn(r.l);
    uint2 packed;
    packed.x = pack2<T>(__fmul_rn(r.o[0], inverse), __fmul_rn(r.o[1], inverse));
    packed.y = pack2<T>(__fmul_rn(r.o[2], inverse), __fmul_rn(r.o[3], inverse));
    T* to = static_cast<T*>(p.out) + unit.row * p.out_stride +
            int64_t{head0 + head} * kHeadDim + 4 * vector;
    *reinterpret_cast<uint2*>(to) = packed;
  }

  // True in the last part of the row to get here; the others' partial results are then visible.
  __device__ __forceinline__ bool arrive() {
    sync();
    if (threadIdx.x == 0) {
      int* counter = p.counters + int64_t{unit.first_partial} * p.units_per_item + unit.head;
      int before;
      asm volatile("atom.add.acq_rel.gpu.global.s32 %0, [%1], 1;"
                   : "=r"(before)
                   : "l"(counter)
                   : "memory");
      const bool last = before == unit.active_parts - 1;
      if (last) *counter = 0;  // ready for the next launch
      *smem.flag = last;
    }
    sync();
    return *smem.flag != 0;
  }

  // Only lane 0 reads the slot, so that its arrival alone says that the warp is done with it.
  __device__ __forceinline__ void take_unit(int slot) {
    constexpr int kInts = sizeof(Unit) / sizeof(int);
    int* parts = reinterpret_cast<int*>(&unit);
    if (lane == 0) {
      const int* from = reinterpret_cast<const int*>(smem.units + slot);
#pragma unroll
      for (int i = 0; i < kInts; ++i) parts[i] = from[i];
    }
#pragma unroll
    for (int i = 0; i < kInts; ++i) parts[i] = __shfl_sync(0xffffffffu, parts[i], 0);
    if (lane == 0) pipe_arrive(smem.unit_empty(slot));
  }

  __device__ void run() {
    RingCursor units{};
    while (true) {
      pipe_wait(smem.unit_full(units.slot), units.phase);
      take_unit(units.slot);
      units.advance(2);
      if (unit.row < 0) return;
      head0 = unit.head / p.parts * p.group + unit.head % p.parts * p.heads_per_part;
      heads = min(p.heads_per_part, p.group - unit.head % p.parts * p.heads_per_part);
      griddep_wait();
      load_q();
      const bool whole = unit.active_parts == 1;
      if (unit.spread) {
        attend_leaf();
        give();
        for_own([&](int head, int vector) {
          Partial split;
#pragma unroll
          for (int w = 0; w < kDecodeWarps; ++w) {
            const Partial leaf = taken(w, head, vector);
            if (leaf.m == kNoKeys) continue;
            split.m = leaf.m;
            split.l += leaf.l;
#pragma unroll
            for (int j = 0; j < 4; ++j) split.o[j] += leaf.o[j];
          }
          if (whole) {
            fold_into_row(head, vector,
                          merge_lanes({split, Partial(), Partial(), Partial()}), true, true);
          } else {
            store_partial(unit.first_partial + unit.begin, head, vector, split);
          }
        });
        sync();
      } else {
        const int rounds = decode_rounds(unit.seqlen);
        for (int chunk = unit.begin; chunk < unit.end; ++chunk) {
          attend_lane(chunk, rounds);
          give();
          for_own([&](int head, int vector) {
            const Partial merged =
                merge_lanes({taken(0, head, vector), taken(1, head, vector),
                             taken(2, head, vector), taken(3, head, vector)});
            if (whole) {
              fold_into_row(head, vector, merged, chunk == unit.begin, chunk + 1 == unit.end);
            } else {
              store_partial(unit.first_partial + chunk, head, vector, merged);
            }
          });
          sync();
        }
      }
      if (!whole) {
        if (!arrive()) continue;
        if (unit.spread) {
          fold_partials<kChunkLanes>(unit.first_key / kSplitKeys,
                                     (unit.seqlen + kSplitKeys - 1) / kSplitKeys);
        } else {
          const int chunk_keys = decode_rounds(unit.seqlen) * kRoundKeys;
          fold_partials<1>(unit.first_key / chunk_keys,
                           (unit.seqlen + chunk_keys - 1) / chunk_keys);
        }
      }
    }
  }
};

template <typename T, int kHeadDim, int kHeadTiles, typename Loader>
__global__ void __launch_bounds__(kDecodeThreads, decode_blocks(kHeadDim, kHeadTiles))
    decode_kernel(const __grid_constant__ DecodeParams p) {
  griddep_launch();
  extern __shared__ __align__(1024) char dynamic[];
  const DecodeSmem smem(dynamic, p, DecodeSlot<kHeadDim>::kBytes, kHeadDim);
  const int warp = threadIdx.x >> 5;
  if (threadIdx.x == 0) smem.init(p.num_slots, Loader::kArrivals);
  __syncthreads();
  if (warp == kDecodeWarps) {
    DecodeFeeder<DecodeSlot<kHeadDim>, Loader>(p, smem).run();
  } else {
    DecodeWorker<T, kHeadDim, kHeadTiles>(p, smem, warp).run();
  }
}

}  // namespace hotpath::cuda

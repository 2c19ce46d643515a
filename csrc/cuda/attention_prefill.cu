// Prefill attention for sm_80 and newer: cp.async, ldmatrix, mma.sync; and what both prefill
// kernels' launchers share.

#include "cuda/attention_prefill.h"

#include "cuda/device/mma.cuh"
#include "cuda/device/prefill_unit.cuh"

namespace hotpath::cuda {

bool prefill_fits(const PagedAttention& args, int block_size) {
  const DType dtype = args.q.dtype;
  const int d = args.head_dim;
  auto aligned = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.row_stride % 8 == 0;
  };
  return (dtype == DType::kBF16 || dtype == DType::kF16) && args.out.dtype == dtype &&
         args.k_cache.dtype == dtype && args.v_cache.dtype == dtype &&
         (d == 64 || d == 96 || d == 128 || d == 192 || d == 256) && block_size >= 16 &&
         (block_size & (block_size - 1)) == 0 && args.scale > 0 && aligned(args.q) &&
         aligned(args.out) && aligned(args.k_cache) && aligned(args.v_cache);
}

PrefillCommon prefill_common(const Context& ctx, const PagedAttention& args,
                             const AttentionLaunch& how, const AttentionExtras& extras) {
  constexpr float kLog2e = 1.4426950408889634f;
  check(how.num_prefill_items >= 0, "num_prefill_items: expected >= 0, received ",
        how.num_prefill_items);
  check(args.num_kv_heads > 0 && args.num_heads % args.num_kv_heads == 0,
        "num_heads: expected a multiple of ", args.num_kv_heads, ", received ", args.num_heads);
  check(args.q.dim(1) == int64_t{args.num_heads} * args.head_dim &&
            args.out.dim(1) == args.q.dim(1) && args.out.dim(0) == args.q.dim(0),
        "prefill attention: expected q and out of ", args.num_heads, " x ", args.head_dim,
        " columns, received ", args.q.to_string(), " and ", args.out.to_string());
  check(args.k_cache.ndim == 4 && args.k_cache.shape == args.v_cache.shape &&
            args.k_cache.dim(1) == args.num_kv_heads &&
            args.k_cache.dim(2) == how.batch.block_size && args.k_cache.dim(3) == args.head_dim,
        "k_cache: expected [blocks, ", args.num_kv_heads, ", ", how.batch.block_size, ", ",
        args.head_dim, "], received ", args.k_cache.to_string());
  const bool capped = extras.softcap > 0;
  PrefillCommon p;
  p.out = args.out.data;
  p.out_stride = args.out.row_stride;
  p.items = how.batch.prefill_items;
  p.block_table = how.batch.block_table;
  p.header = how.batch.header;
  p.queue = static_cast<int*>(how.workspace);
  p.sinks = extras.sinks;
  p.exponent = capped ? kLog2e : args.scale * kLog2e;
  p.softcap_in = capped ? args.scale / extras.softcap : 0.0f;
  p.softcap_out = extras.softcap;
  p.num_items = how.num_prefill_items;
  p.num_heads = args.num_heads;
  p.num_kv_heads = args.num_kv_heads;
  p.group = args.num_heads / args.num_kv_heads;
  p.window = args.window;
  p.block_shift = 0;
  while ((1 << p.block_shift) < how.batch.block_size) ++p.block_shift;
  p.l2_budget = static_cast<int64_t>(ctx.l2_bytes / 2);
  return p;
}

namespace {

struct PrefillMmaParams {
  PrefillCommon c;
  const void* q;
  const void* k_cache;
  const void* v_cache;
  int64_t q_stride;  // elements
};

// Shared memory: Q [128][kPitch], K [kTile][kPitch], V [kTile][kPitch] bytes. The pitch is an odd
// number of 16-byte pieces, so that the eight rows of an ldmatrix lie in different banks.
template <int kHeadDim>
constexpr int kPitch = kHeadDim * 2 + 16;
template <int kHeadDim, int kTile>
constexpr int kMmaBytes = (kPrefillTileRows + 2 * kTile) * kPitch<kHeadDim>;

// Keys key0 .. key0 + kTile - 1 of one head; those outside [begin, end) become zeros.
template <typename T, int kHeadDim, int kTile, int kThreads>
__device__ __forceinline__ void load_keys(const PrefillCommon& c, uint32_t smem, const void* cache,
                                          const int32_t* table, int kv_head, int key0, int begin,
                                          int end) {
  constexpr int kPieces = kHeadDim / 8;
  const int mask = (1 << c.block_shift) - 1;
#pragma unroll 2  // more would cost registers that the accumulators need
  for (int i = 0; i < kTile * kPieces / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads;
    const int row = at / kPieces, piece = at % kPieces;
    const int key = key0 + row;
    const bool valid = key >= begin && key < end;
    const int block = valid ? table[key >> c.block_shift] : 0;
    const int64_t cache_row =
        ((int64_t{block} * c.num_kv_heads + kv_head) << c.block_shift) + (key & mask);
    cp_async16(smem + row * kPitch<kHeadDim> + piece * 16,
               static_cast<const T*>(cache) + cache_row * kHeadDim + piece * 8, valid ? 16 : 0);
  }
}

// A block computes one unit; warp w has rows [w * 16 * kBlocksM, ...). While the scores of a tile
// become probabilities the next K is under way, while the scores are computed V is.
template <typename T, int kHeadDim, int kTile, int kWarps, int kMinBlocks>
__global__ void __launch_bounds__(kWarps * 32, kMinBlocks)
    prefill_mma_kernel(const __grid_constant__ PrefillMmaParams p) {
  constexpr int kThreads = kWarps * 32;
  constexpr int kBlocksM = kPrefillTileRows / (16 * kWarps);
  constexpr int kPieces = kHeadDim / 8;
  extern __shared__ __align__(16) char raw[];
  const PrefillCommon& c = p.c;
  griddep_launch();
  const PrefillUnit unit = prefill_unit(c, prefill_section_heads(c, kHeadDim), blockIdx.x);
  const int end = unit.item.position + unit.item.num_rows;
  const int begin = first_key(c, unit.item.position);
  const int first = begin / kTile, last = (end - 1) / kTile;
  const int kv_head = unit.head / c.group;
  const int32_t* table = c.block_table + int64_t{unit.item.seq} * c.header->max_blocks;
  const uint32_t q_smem = smem_address(raw);
  const uint32_t k_smem = q_smem + kPrefillTileRows * kPitch<kHeadDim>;
  const uint32_t v_smem = k_smem + kTile * kPitch<kHeadDim>;
  const int lane = threadIdx.x % 32;
  const int warp_row = threadIdx.x / 32 * 16 * kBlocksM;
  const int warp_position = unit.item.position + warp_row;
  griddep_wait();

#pragma unroll
  for (int i = 0; i < kPrefillTileRows * kPieces / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads;
    const int row = at / kPieces, piece = at % kPieces;
    const bool valid = row < unit.item.num_rows;
    cp_async16(q_smem + row * kPitch<kHeadDim> + piece * 16,
               static_cast<const T*>(p.q) +
                   (valid ? unit.item.row_begin + row : unit.item.row_begin) * p.q_stride +
                   unit.head * kHeadDim + piece * 8,
               valid ? 16 : 0);
  }
  load_keys<T, kHeadDim, kTile, kThreads>(c, k_smem, p.k_cache, table, kv_head, first * kTile,
                                          begin, end);
  cp_async_commit();

  // Where this lane's rows of an ldmatrix start: Q and V go by rows first, K by columns first.
  const int by_rows = (lane / 8 % 2 * 8 + lane % 8) * kPitch<kHeadDim> + lane / 16 * 16;
  const int by_columns = (lane / 16 * 8 + lane % 8) * kPitch<kHeadDim> + lane / 8 % 2 * 16;
  float o[kBlocksM][kHeadDim / 2];
  RowState row[kBlocksM];
#pragma unroll
  for (int m = 0; m < kBlocksM; ++m) {
    row[m] = {{-INFINITY, -INFINITY}, {0, 0}};
#pragma unroll
    for (int i = 0; i < kHeadDim / 2; ++i) o[m][i] = 0;
  }

  for (int tile = first; tile <= last; ++tile) {
    const int key0 = tile * kTile;
    // A tile that none of the warp's rows sees changes nothing: the warp skips it.
    const bool seen = key0 < warp_position + 16 * kBlocksM &&
                      (c.window == 0 || key0 + kTile > warp_position - c.window + 1);
    cp_async_wait<0>();
    __syncthreads();
    load_keys<T, kHeadDim, kTile, kThreads>(c, v_smem, p.v_cache, table, kv_head, key0, begin, end);
    cp_async_commit();
    float s[kBlocksM][kTile / 2];
    if (seen) {
#pragma unroll
      for (int m = 0; m < kBlocksM; ++m) {
#pragma unroll
        for (int i = 0; i < kTile / 2; ++i) s[m][i] = 0;
      }
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; ++k) {
        uint32_t a[kBlocksM][4];
#pragma unroll
        for (int m = 0; m < kBlocksM; ++m)
          ldmatrix_x4(a[m], q_smem + (warp_row + 16 * m) * kPitch<kHeadDim> + by_rows + k * 32);
#pragma unroll
        for (int n = 0; n < kTile / 16; ++n) {
          uint32_t b[4];
          ldmatrix_x4(b, k_smem + n * 16 * kPitch<kHeadDim> + by_columns + k * 32);
#pragma unroll
          for (int m = 0; m < kBlocksM; ++m) {
            mma_16816<T>(reinterpret_cast<float(&)[4]>(s[m][8 * n]), a[m], b[0], b[1]);
            mma_16816<T>(reinterpret_cast<float(&)[4]>(s[m][8 * n + 4]), a[m], b[2], b[3]);
          }
        }
      }
    }
    __syncthreads();
    if (tile < last)
      load_keys<T, kHeadDim, kTile, kThreads>(c, k_smem, p.k_cache, table, kv_head, key0 + kTile,
                                              begin, end);
    cp_async_commit();
    uint32_t probs[kBlocksM][kTile / 16][4];
    if (seen) {
#pragma unroll
      for (int m = 0; m < kBlocksM; ++m) {
        const int position = warp_position + 16 * m;
        if (c.softcap_in > 0) softcap_scores(c, s[m]);
        if (key0 + kTile - 1 > position || (c.window > 0 && key0 <= position + 15 - c.window))
          mask_scores(c, s[m], key0 + lane % 4 * 2, position + lane / 4);
        float rescale[2];
        softmax_scores(c.exponent, s[m], row[m], rescale);
#pragma unroll
        for (int i = 0; i < kHeadDim / 2; ++i) o[m][i] *= rescale[i / 2 % 2];
#pragma unroll
        for (int j = 0; j < kTile / 16; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i)
            probs[m][j][i] = pack2<T>(s[m][8 * j + 2 * i], s[m][8 * j + 2 * i + 1]);
        }
      }
    }
    cp_async_wait<1>();
    __syncthreads();
    if (seen) {
#pragma unroll
      for (int j = 0; j < kTile / 16; ++j) {
#pragma unroll
        for (int n = 0; n < kHeadDim / 16; ++n) {
          uint32_t b[4];
          ldmatrix_x4_trans(b, v_smem + j * 16 * kPitch<kHeadDim> + by_rows + n * 32);
#pragma unroll
          for (int m = 0; m < kBlocksM; ++m) {
            mma_16816<T>(reinterpret_cast<float(&)[4]>(o[m][8 * n]), probs[m][j], b[0], b[1]);
            mma_16816<T>(reinterpret_cast<float(&)[4]>(o[m][8 * n + 4]), probs[m][j], b[2], b[3]);
          }
        }
      }
    }
  }

#pragma unroll
  for (int m = 0; m < kBlocksM; ++m) {
    float inverse[2];
    row_inverse<true>(c, row[m], unit.head, inverse);
    store_rows<T, kHeadDim>(c, unit, o[m], warp_row + 16 * m + lane / 4, lane % 4, inverse);
  }
}

template <typename T, int kHeadDim, int kTile, int kWarps, int kMinBlocks>
void launch_mma(const Context& ctx, const PrefillMmaParams& p) {
  constexpr int kBytes = kMmaBytes<kHeadDim, kTile>;
  const auto kernel = prefill_mma_kernel<T, kHeadDim, kTile, kWarps, kMinBlocks>;
  static const bool allowed = (allow_smem(kernel, kBytes), true);
  static_cast<void>(allowed);
  launch(ctx, kernel, dim3(p.c.num_items * p.c.num_heads), dim3(kWarps * 32), kBytes, p);
}

// Rows per warp and keys per step: what the registers hold; 99 KiB of shared memory at most, which
// is what sm_86 and sm_89 have.
template <typename T>
void launch_by_head_dim(const Context& ctx, int head_dim, const PrefillMmaParams& p) {
  switch (head_dim) {
    case 64:
      return launch_mma<T, 64, 64, 8, 2>(ctx, p);
    case 96:
      return launch_mma<T, 96, 64, 4, 2>(ctx, p);
    case 128:
      return launch_mma<T, 128, 32, 4, 2>(ctx, p);
    case 192:
      return launch_mma<T, 192, 32, 8, 1>(ctx, p);
    default:
      return launch_mma<T, 256, 32, 8, 1>(ctx, p);
  }
}

}  // namespace

bool prefill_attention_mma(const Context& ctx, const PagedAttention& args,
                           const AttentionLaunch& how, const AttentionExtras& extras) {
  if (!prefill_fits(args, how.batch.block_size)) return false;
  PrefillMmaParams p;
  p.c = prefill_common(ctx, args, how, extras);
  if (p.c.num_items == 0) return true;
  p.q = args.q.data;
  p.k_cache = args.k_cache.data;
  p.v_cache = args.v_cache.data;
  p.q_stride = args.q.row_stride;
  if (args.q.dtype == DType::kBF16) {
    launch_by_head_dim<bf16>(ctx, args.head_dim, p);
  } else {
    launch_by_head_dim<f16>(ctx, args.head_dim, p);
  }
  return true;
}

}  // namespace hotpath::cuda

#pragma once

// Host side of the decode attention kernels: picks the instance and the shape of the launch.

#include <algorithm>

#include "cuda/device/attention_decode.cuh"

namespace hotpath::cuda {

template <typename T, int kHeadDim, int kHeadTiles, typename Loader>
void launch_decode_instance(const Context& ctx, const AttentionLaunch& how, DecodeParams& p) {
  using Slot = DecodeSlot<kHeadDim>;
  constexpr int kBlockReserve = 1024;  // shared memory that the system takes of each block
  const int available = ctx.arch == 80 || ctx.arch == 87   ? 164 << 10
                        : ctx.arch == 86 || ctx.arch == 89 ? 100 << 10
                        : ctx.arch >= 120                  ? 100 << 10
                                                           : 228 << 10;
  auto slots_for = [&](int blocks) {
    const int rest = available / blocks - kBlockReserve -
                     DecodeSmem::bytes(0, Slot::kBytes, p.heads_per_part, kHeadDim);
    return rest / (kDecodeWarps * (Slot::kBytes + 16));
  };
  // Two blocks to a multiprocessor, unless that leaves rings too short to cover the latency.
  constexpr int kMaxBlocks = decode_blocks(kHeadDim, kHeadTiles);
  const int blocks = kMaxBlocks == 2 && slots_for(2) >= 4 ? 2 : 1;
  p.num_slots = std::min(slots_for(blocks), 16);
  check(p.num_slots >= 1, "attention: head_dim ", kHeadDim, " needs more shared memory");
  const int smem = DecodeSmem::bytes(p.num_slots, Slot::kBytes, p.heads_per_part, kHeadDim);

  auto* kernel = decode_kernel<T, kHeadDim, kHeadTiles, Loader>;
  static uint64_t ready = 0;  // devices that have been told of the most there is
  if (!(ready >> ctx.device & 1)) {
    allow_smem(kernel, available - kBlockReserve);
    ready |= uint64_t{1} << ctx.device;
  }
  int grid = blocks * ctx.num_sms;
  if (how.num_decode_items >= 0)
    grid = static_cast<int>(
        std::min<int64_t>(grid, int64_t{how.num_decode_items} * p.units_per_item));
  launch(ctx, kernel, dim3(grid), dim3(kDecodeThreads), smem, p);
}

template <typename T, int kHeadDim, typename Loader>
void launch_decode_tiles(const Context& ctx, const AttentionLaunch& how, DecodeParams& p) {
  if constexpr (most_heads(kHeadDim) > 8) {
    if (p.heads_per_part > 8) return launch_decode_instance<T, kHeadDim, 2, Loader>(ctx, how, p);
  }
  launch_decode_instance<T, kHeadDim, 1, Loader>(ctx, how, p);
}

template <typename T, typename Loader>
void launch_decode_dim(const Context& ctx, int head_dim, const AttentionLaunch& how,
                       DecodeParams& p) {
  switch (head_dim) {
    case 64:
      return launch_decode_tiles<T, 64, Loader>(ctx, how, p);
    case 96:
      return launch_decode_tiles<T, 96, Loader>(ctx, how, p);
    case 128:
      return launch_decode_tiles<T, 128, Loader>(ctx, how, p);
    case 192:
      return launch_decode_tiles<T, 192, Loader>(ctx, how, p);
    case 256:
      return launch_decode_tiles<T, 256, Loader>(ctx, how, p);
    default:
      fail("internal_error", "decode attention: no kernel for head_dim ", head_dim);
  }
}

template <typename Loader>
void launch_decode(const Context& ctx, const PagedAttention& args, const AttentionLaunch& how,
                   DecodeParams& p) {
  if (args.q.dtype == DType::kF16) {
    launch_decode_dim<f16, Loader>(ctx, args.head_dim, how, p);
  } else {
    launch_decode_dim<bf16, Loader>(ctx, args.head_dim, how, p);
  }
}

}  // namespace hotpath::cuda

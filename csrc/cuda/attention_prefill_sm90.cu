#include "cuda/device/prefill_sm90.cuh"

namespace hotpath::cuda {
namespace {

constexpr bool kPingPong = false;

// Keys per step: what fits beside Q and two stages of each of K and V.
template <typename T, bool kGeneral>
void launch_by_head_dim(const Context& ctx, const PagedAttention& args, const AttentionLaunch& how,
                        const AttentionExtras& extras) {
  switch (args.head_dim) {
    case 64:
      return launch_prefill_sm90<T, 64, 128, kGeneral, kPingPong>(ctx, args, how, extras);
    case 96:
      return launch_prefill_sm90<T, 96, 128, kGeneral, kPingPong>(ctx, args, how, extras);
    case 128:
      return launch_prefill_sm90<T, 128, 128, kGeneral, kPingPong>(ctx, args, how, extras);
    case 192:
      return launch_prefill_sm90<T, 192, 96, kGeneral, kPingPong>(ctx, args, how, extras);
    default:
      return launch_prefill_sm90<T, 256, 80, kGeneral, kPingPong>(ctx, args, how, extras);
  }
}

}  // namespace

bool prefill_attention_sm90(const Context& ctx, const PagedAttention& args,
                            const AttentionLaunch& how, const AttentionExtras& extras) {
  if (ctx.encode_tiled == nullptr || !prefill_fits(args, how.batch.block_size)) return false;
  check(how.num_prefill_items >= 0, "num_prefill_items: expected >= 0, received ",
        how.num_prefill_items);
  if (how.num_prefill_items == 0) return true;
  const bool general = extras.sinks != nullptr || extras.softcap > 0;
  if (args.q.dtype == DType::kBF16) {
    general ? launch_by_head_dim<bf16, true>(ctx, args, how, extras)
            : launch_by_head_dim<bf16, false>(ctx, args, how, extras);
  } else {
    general ? launch_by_head_dim<f16, true>(ctx, args, how, extras)
            : launch_by_head_dim<f16, false>(ctx, args, how, extras);
  }
  return true;
}

}  // namespace hotpath::cuda

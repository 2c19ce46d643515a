// Decode attention for sm_80 and newer, K and V loaded by cp.async.

#include "cuda/device/attention_decode.cuh"
#include "cuda/device/decode_launch.cuh"

namespace hotpath::cuda {

void decode_attention_mma(const Context& ctx, const PagedAttention& args,
                          const AttentionExtras& extras, const AttentionLaunch& how) {
  if (how.num_decode_items == 0) return;
  DecodeParams p = decode_params(ctx, args, extras, how);
  launch_decode<CopyLoader>(ctx, args, how, p);
}

}  // namespace hotpath::cuda

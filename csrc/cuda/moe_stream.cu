// Expert layers for few tokens (decoding): nothing but streaming weights. Each warp owns 16 rows of
// one pair's expert and brings them in through a cp.async ring of its own, without block-wide
// barriers; the 16 rows are the A operand of mma.sync, the token is column 0 of B. The products are
// summed exactly as in moe_gemm.cu.

#include "cuda/device/mma.cuh"
#include "cuda/moe_gemm.h"

namespace hotpath::cuda {
namespace {

constexpr int kChunk = 64;  // k of a stage
constexpr int kWeightBytes = 16 * kChunk * 2, kXBytes = kChunk * 2;
constexpr int kStages = 6;
constexpr int kRingBytes = kStages * (kWeightBytes + kXBytes);

// A warp's ring: [kStages][16 rows][128 bytes], 16-byte groups xor-swizzled by row, then
// [kStages][128 bytes] of x.
template <typename T>
struct WarpStream {
  uint32_t ring;
  const T* low;   // this lane's piece of rows 0-3 (4 to 7 are 4 k further)
  const T* high;  // and of rows 8-11; null: there are no such rows
  const T* x;
  int k;

  __device__ __forceinline__ void set_rows(const T* low_rows, const T* high_rows) {
    const int64_t offset = static_cast<int64_t>(threadIdx.x % 32 / 8) * k + threadIdx.x % 8 * 8;
    low = low_rows + offset;
    high = high_rows ? high_rows + offset : nullptr;
  }
  __device__ __forceinline__ void copy_weights(int chunk, int slot) const {
    const int lane = threadIdx.x % 32, group = lane % 8;
    const bool inside = chunk * kChunk + group * 8 < k;
    const uint32_t to = ring + slot * kWeightBytes;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = i * 4 + lane / 8;
      const T* piece = i < 2 ? low : high;
      const bool copied = inside && piece;
      cp_async16(to + row * 128 + ((group ^ row) & 7) * 16,
                 copied ? piece + int64_t{i % 2 * 4} * k + chunk * kChunk : x, copied ? 16 : 0);
    }
  }
  __device__ __forceinline__ void copy_x(int chunk, int slot) const {
    const int lane = threadIdx.x % 32, at = chunk * kChunk + lane * 8;
    if (lane < 8)
      cp_async16(ring + kStages * kWeightBytes + slot * kXBytes + lane * 16, at < k ? x + at : x,
                 at < k ? 16 : 0);
  }
  __device__ __forceinline__ int chunks() const { return (k + kChunk - 1) / kChunk; }

  // The 16 sums: in lanes 4 g, sum[0] of row g and sum[2] of row g + 8. The first kStages - 1
  // chunks' copies have been issued, in kStages - 1 groups.
  __device__ __forceinline__ void run(float (&sum)[4]) const {
    const int lane = threadIdx.x % 32;
    const uint32_t a_row = ring + (lane & 15) * 128;
    const uint32_t swizzle = static_cast<uint32_t>((lane / 16 ^ (lane & 7)) * 16);
    const uint32_t x_at = ring + kStages * kWeightBytes + lane * 4;
    int slot = 0;
    for (int chunk = 0; chunk < chunks(); ++chunk) {
      cp_async_wait<kStages - 2>();
      __syncwarp();
      const int next = chunk + kStages - 1, next_slot = slot == 0 ? kStages - 1 : slot - 1;
      if (next < chunks()) {
        copy_weights(next, next_slot);
        copy_x(next, next_slot);
      }
      cp_async_commit();
#pragma unroll
      for (int j = 0; j < kChunk / 16; ++j) {
        uint32_t a[4], b0 = 0, b1 = 0;
        ldmatrix_x4(a, a_row + slot * kWeightBytes + (swizzle ^ j * 32));
        if (lane < 4) {
          const uint32_t at = x_at + slot * kXBytes + j * 32;
          asm volatile("ld.shared.u32 %0, [%1];" : "=r"(b0) : "r"(at) : "memory");
          asm volatile("ld.shared.u32 %0, [%1];" : "=r"(b1) : "r"(at + 16) : "memory");
        }
        mma_16816<T>(sum, a, b0, b1);
      }
      slot = slot + 1 == kStages ? 0 : slot + 1;
    }
  }
};

struct Stream {
  const void* w;
  const void* x;
  void* y;
  const int32_t* ids;
  const float* weights;
  int64_t x_stride, ids_stride, weights_stride, y_stride;  // elements
  int experts, top_k, outputs, k;
};

__device__ __forceinline__ int clamp_expert(int e, int experts) {
  return min(max(e, 0), experts - 1);
}

constexpr int kGateWarps = 2;

// inner[pair, i] = silu(gate) * up. Grid: (8-output units / kGateWarps, pairs).
template <typename T>
__global__ void __launch_bounds__(32 * kGateWarps) stream_gate_up_kernel(const Stream p) {
  extern __shared__ __align__(128) char smem[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = (blockIdx.x * kGateWarps + warp) * 8, pair = blockIdx.y;
  // The next kernel may look at the ids before it waits for this one: they must be there by then,
  // so it is let go only after the wait.
  griddep_wait();
  griddep_launch();
  if (first >= p.outputs) return;
  const int token = pair / p.top_k;
  const int expert =
      clamp_expert(p.ids[token * p.ids_stride + (pair - token * p.top_k)], p.experts);
  WarpStream<T> stream;
  stream.ring = smem_address(smem) + warp * kRingBytes;
  stream.k = p.k;
  stream.x = static_cast<const T*>(p.x) + token * p.x_stride;
  const T* gate =
      static_cast<const T*>(p.w) + (static_cast<int64_t>(expert) * 2 * p.outputs + first) * p.k;
  stream.set_rows(gate, gate + static_cast<int64_t>(p.outputs) * p.k);
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < stream.chunks()) stream.copy_weights(s, s), stream.copy_x(s, s);
    cp_async_commit();
  }
  float sum[4] = {};
  stream.run(sum);
  if (lane % 4 == 0)
    static_cast<T*>(p.y)[static_cast<int64_t>(pair) * p.outputs + first + lane / 4] =
        from_float<T>(silu(sum[0]) * sum[2]);
}

// out[token] = sum over slots of weight * down(inner[pair]). Grid: (16-output units, tokens); warp
// s of a block does slot s.
template <typename T>
__global__ void __launch_bounds__(32 * kMoeStreamSlots) stream_down_kernel(const Stream p) {
  extern __shared__ __align__(128) char smem[];
  __shared__ float parts[kMoeStreamSlots][16];
  const int slot = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = blockIdx.x * 16, token = blockIdx.y;
  griddep_launch();
  // Written by a kernel that had finished before stream_gate_up_kernel let this one start.
  const int expert = clamp_expert(p.ids[token * p.ids_stride + slot], p.experts);
  const float* weights = p.weights + token * p.weights_stride;
  WarpStream<T> stream;
  stream.ring = smem_address(smem) + slot * kRingBytes;
  stream.k = p.k;
  stream.x = static_cast<const T*>(p.x) + (token * p.top_k + slot) * p.x_stride;
  const T* low =
      static_cast<const T*>(p.w) + (static_cast<int64_t>(expert) * p.outputs + first) * p.k;
  stream.set_rows(low, first + 8 < p.outputs ? low + int64_t{8} * p.k : nullptr);
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s)
    if (s < stream.chunks()) stream.copy_weights(s, s);
  griddep_wait();
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < stream.chunks()) stream.copy_x(s, s);
    cp_async_commit();
  }
  float sum[4] = {};
  stream.run(sum);
  if (lane % 4 == 0) {
    parts[slot][lane / 4] = sum[0];
    parts[slot][lane / 4 + 8] = sum[2];
  }
  __syncthreads();
  if (threadIdx.x < 16 && first + threadIdx.x < p.outputs) {
    float total = __fmul_rn(weights[0], parts[0][threadIdx.x]);
    for (int s = 1; s < p.top_k; ++s)
      total = __fmaf_rn(weights[s], parts[s][threadIdx.x], total);
    static_cast<T*>(p.y)[token * p.y_stride + first + threadIdx.x] = from_float<T>(total);
  }
}

template <typename T>
void stream_experts(const Context& ctx, const Stream& gate_up, const Stream& down, int tokens) {
  static const bool allowed = [] {
    allow_smem(stream_gate_up_kernel<T>, kGateWarps * kRingBytes);
    allow_smem(stream_down_kernel<T>, kMoeStreamSlots * kRingBytes);
    return true;
  }();
  static_cast<void>(allowed);
  launch(ctx, stream_gate_up_kernel<T>,
         dim3(ceil_div(gate_up.outputs, 8 * kGateWarps), tokens * gate_up.top_k),
         dim3(32 * kGateWarps), kGateWarps * kRingBytes, gate_up);
  launch(ctx, stream_down_kernel<T>, dim3(ceil_div(down.outputs, 16), tokens),
         dim3(32 * down.top_k), down.top_k * kRingBytes, down);
}

}  // namespace

void moe_stream(const Context& ctx, const MoeExperts& a, void* inner) {
  const int tokens = static_cast<int>(a.x.dim(0)), hidden = static_cast<int>(a.x.dim(1));
  const int inter = static_cast<int>(a.down.dim(2)), top_k = static_cast<int>(a.topk_ids.dim(1));
  check(top_k <= kMoeStreamSlots && tokens < 1 << 16, "moe_stream: expected at most ",
        kMoeStreamSlots, " slots, received ", top_k);
  Stream gate_up{a.gate_up.data,
                 a.x.data,
                 inner,
                 a.topk_ids.as<const int32_t>(),
                 a.topk_weights.as<const float>(),
                 a.x.row_stride,
                 a.topk_ids.row_stride,
                 a.topk_weights.row_stride,
                 inter,
                 static_cast<int>(a.gate_up.dim(0)),
                 top_k,
                 inter,
                 hidden};
  Stream down = gate_up;
  down.w = a.down.data, down.x = inner, down.x_stride = inter;
  down.y = a.out.data, down.y_stride = a.out.row_stride;
  down.outputs = hidden, down.k = inter;
  if (a.x.dtype == DType::kBF16)
    stream_experts<bf16>(ctx, gate_up, down, tokens);
  else
    stream_experts<f16>(ctx, gate_up, down, tokens);
}

}  // namespace hotpath::cuda

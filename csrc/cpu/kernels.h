#pragma once

#include <cstdint>

#include "core/dtype.h"

// The inner loops, compiled once per instruction set and chosen at run time. This header is
// included by files compiled with -mavx2 and the like: it and everything it includes must define no
// inline function that is emitted out of line, or the linker may keep the copy that a lesser
// machine cannot run.

namespace hotpath::cpu {

// Keys that attention works on at a time; also a bound on block_size's share of scratch.
constexpr int kAttentionChunk = 64;
// Rows (query token x head of the group) of one attention task.
constexpr int kAttentionRows = 64;
// Entries per block of the sampler's per-block maxima and sums.
constexpr int kSampleBlock = 64;
// Floats of scratch that a GEMM task needs.
constexpr int64_t kGemmScratch = 16 * 1024;

// y[i][n] = dot(x[i], w row n) (+ bias[n]) (+ y[i][n]) for i < m, n in [n_begin, n_end).
struct GemmTask {
  const float* const* x;  // [m] pointers to rows of k floats
  float* const* y;        // [m] pointers to rows; column n is y[i][n]
  int64_t m, k;
  const void* w;     // [N, k], any alignment
  int64_t w_stride;  // elements between rows of w
  int64_t n_begin, n_end;
  const float* bias;  // [N] or null
  bool accumulate;
  float* scratch;  // kGemmScratch floats, 64-byte aligned
};

// One kv head of one sequence for the query tokens [0, num_tokens), all heads of the group.
struct AttentionTask {
  const float* q;  // token 0, first head of the group
  int64_t q_stride;
  float* out;
  int64_t out_stride;
  const int32_t* positions;  // [num_tokens]
  int num_tokens, group;     // num_tokens * group <= kAttentionRows, or num_tokens == 1
  const void *k_cache, *v_cache;
  const int32_t* block_table;
  int block_size, num_kv_heads, kv_head, head_dim;
  float scale;
  int window;
  float* scratch;  // attention_scratch() floats, 64-byte aligned
};

constexpr int64_t attention_scratch(int64_t rows, int64_t head_dim) {
  return rows * (kAttentionChunk + head_dim + 16) + 2 * kAttentionChunk * (head_dim + 8) + 256;
}

// Arrays of three are indexed by DType: f32, f16, bf16.
struct Kernels {
  const char* name;
  void (*gemm[3])(const GemmTask& task);
  void (*attention[3])(const AttentionTask& task);
  void (*widen[3])(float* out, const void* x, int64_t n);
  void (*narrow[3])(void* out, const float* x, int64_t n);
  // out = x / sqrt(mean(x^2) + eps) * w; residual, if given, is first raised by x and normed
  // itself.
  void (*rmsnorm[3])(float* out, const float* x, float* residual, const void* w, int64_t n,
                     float eps);
  void (*rope)(float* x, const float* cos_sin, int64_t rotary_dim);
  void (*silu_mul)(float* out, const float* gate, const float* up, int64_t n);
  void (*scale)(float* out, const float* x, float a, int64_t n);  // out = a x
  void (*axpy)(float* out, const float* x, float a, int64_t n);   // out += a x
  // Largest entry of every kSampleBlock entries, NaN skipped (-inf when there is nothing else).
  void (*block_max)(float* maxima, const float* x, int64_t n);
  // e = exp((x - max) * inv_temperature), NaN: 0, +inf counts as FLT_MAX; sums per kSampleBlock.
  // e may be x or null (sums only).
  void (*block_exp)(float* e, float* sums, const float* x, int64_t n, float max,
                    float inv_temperature);
  float (*sum_read)(const float* x, int64_t n);  // a streaming read; the bench's bandwidth probe
  double (*fma_probe)(int64_t iterations);       // returns the flops done; the bench's peak probe
};

extern const Kernels kBaseline;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

}  // namespace hotpath::cpu

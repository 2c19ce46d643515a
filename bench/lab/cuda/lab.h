#pragma once

// What the kernel labs share: device memory with random contents, errors against double, timing by
// CUDA graph over rotated inputs. A lab is one program per subject: it checks, then times, and
// prints a short table.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "core/half.h"
#include "core/tensor.h"
#include "cuda/context.h"

namespace lab {

using hotpath::DType;
using hotpath::Tensor;

#define LAB_CHECK(call)                                                                  \
  do {                                                                                   \
    const cudaError_t status_ = (call);                                                  \
    if (status_ != cudaSuccess) {                                                        \
      std::printf("FAIL %s:%d %s: %s\n", __FILE__, __LINE__, #call,                      \
                  cudaGetErrorString(status_));                                          \
      std::exit(1);                                                                      \
    }                                                                                    \
  } while (0)

inline hotpath::cuda::Context make_context(bool portable = false) {
  hotpath::cuda::Context ctx;
  cudaDeviceProp prop;
  LAB_CHECK(cudaGetDeviceProperties(&prop, 0));
  LAB_CHECK(cudaStreamCreateWithFlags(&ctx.stream, cudaStreamNonBlocking));
  ctx.num_sms = prop.multiProcessorCount;
  ctx.arch = prop.major * 10 + prop.minor;
  ctx.hopper = ctx.arch == 90 && !portable;
  ctx.pdl = ctx.arch >= 90;
  ctx.l2_bytes = prop.l2CacheSize;
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  LAB_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                             cudaEnableDefault, &found));
  ctx.encode_tiled = reinterpret_cast<decltype(ctx.encode_tiled)>(entry);
  std::printf("# %s, %d SMs, sm_%d%s\n", prop.name, ctx.num_sms, ctx.arch,
              portable ? ", portable" : "");
  return ctx;
}

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  float normal() {  // sum of four uniforms, variance 1
    return (uniform() + uniform() + uniform() + uniform() - 2.0f) * 1.7320508f;
  }
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

inline void* device_bytes(size_t bytes) {
  void* p = nullptr;
  LAB_CHECK(cudaMalloc(&p, bytes));
  LAB_CHECK(cudaMemset(p, 0xff, bytes));
  return p;
}

// Rounds `values` to the dtype in place and uploads them.
inline Tensor upload(std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims) {
  Tensor t(nullptr, dtype, dims);
  t.data = device_bytes(std::max<size_t>(t.bytes(), 16));
  std::vector<char> raw(t.bytes());
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      reinterpret_cast<float*>(raw.data())[i] = values[i];
    } else {
      const uint16_t h = dtype == DType::kF16 ? hotpath::float_to_f16(values[i])
                                              : hotpath::float_to_bf16(values[i]);
      reinterpret_cast<uint16_t*>(raw.data())[i] = h;
      values[i] = dtype == DType::kF16 ? hotpath::f16_to_float(h) : hotpath::bf16_to_float(h);
    }
  }
  LAB_CHECK(cudaMemcpy(t.data, raw.data(), raw.size(), cudaMemcpyHostToDevice));
  return t;
}

inline std::vector<float> download(const Tensor& t) {
  std::vector<char> raw(t.bytes());
  LAB_CHECK(cudaDeviceSynchronize());
  LAB_CHECK(cudaMemcpy(raw.data(), t.data, raw.size(), cudaMemcpyDeviceToHost));
  std::vector<float> values(t.numel());
  for (size_t i = 0; i < values.size(); ++i) {
    if (t.dtype == DType::kF32)
      values[i] = reinterpret_cast<float*>(raw.data())[i];
    else if (t.dtype == DType::kF16)
      values[i] = hotpath::f16_to_float(reinterpret_cast<uint16_t*>(raw.data())[i]);
    else
      values[i] = hotpath::bf16_to_float(reinterpret_cast<uint16_t*>(raw.data())[i]);
  }
  return values;
}

// Fills device memory with random 16-bit floats of about the given size, fast, for timing only
// (zeros run faster than real data).
__global__ inline void fill_kernel(uint16_t* p, size_t n, uint32_t seed, float scale, bool half) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    uint32_t z = static_cast<uint32_t>(i) * 0x9E3779B9u + seed;
    z = (z ^ z >> 16) * 0x85EBCA6Bu;
    z = (z ^ z >> 13) * 0xC2B2AE35u;
    z ^= z >> 16;
    const float v = (static_cast<float>(z >> 8) * 0x1p-24f - 0.5f) * 3.4641f * scale;
    if (half)
      p[i] = __half_as_ushort(__float2half_rn(v));
    else
      p[i] = __bfloat16_as_ushort(__float2bfloat16_rn(v));
  }
}
inline Tensor random(DType dtype, std::initializer_list<int64_t> dims, float scale = 1,
                     uint32_t seed = 1) {
  Tensor t(nullptr, dtype, dims);
  t.data = device_bytes(t.bytes());
  fill_kernel<<<1024, 256>>>(static_cast<uint16_t*>(t.data), t.numel(), seed, scale,
                             dtype == DType::kF16);
  LAB_CHECK(cudaDeviceSynchronize());
  return t;
}

// Median microseconds of one call: `calls` calls with i = 0 .. calls - 1 (rotate inputs by i) are
// captured into a graph, which is replayed `repeats` times.
inline double time_us(hotpath::cuda::Context& ctx, int calls, const std::function<void(int)>& call,
                      int repeats = 15) {
  call(0);
  LAB_CHECK(cudaStreamSynchronize(ctx.stream));
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  LAB_CHECK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < calls; ++i) call(i);
  LAB_CHECK(cudaStreamEndCapture(ctx.stream, &graph));
  LAB_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  LAB_CHECK(cudaEventCreate(&begin));
  LAB_CHECK(cudaEventCreate(&end));
  std::vector<float> times;
  for (int r = 0; r < repeats + 2; ++r) {
    LAB_CHECK(cudaEventRecord(begin, ctx.stream));
    LAB_CHECK(cudaGraphLaunch(exec, ctx.stream));
    LAB_CHECK(cudaEventRecord(end, ctx.stream));
    LAB_CHECK(cudaEventSynchronize(end));
    float ms = 0;
    LAB_CHECK(cudaEventElapsedTime(&ms, begin, end));
    if (r >= 2) times.push_back(ms);
  }
  std::sort(times.begin(), times.end());
  LAB_CHECK(cudaGraphExecDestroy(exec));
  LAB_CHECK(cudaGraphDestroy(graph));
  return times[times.size() / 2] * 1000.0 / calls;
}

// Largest |a - b| / (1 + |b|); NaN anywhere gives infinity.
inline double worst_error(const std::vector<float>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double e = std::abs(a[i] - b[i]) / (1 + std::abs(b[i]));
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  return worst;
}

}  // namespace lab

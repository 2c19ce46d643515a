#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <utility>

#include "core/error.h"

namespace hotpath::cuda {

// Throws Error("internal_error") with CUDA's words; out of memory is told apart by the device.
void check_cuda(cudaError_t status, const char* what);

// What a launcher needs to know. One per Ops; passed by reference to every launcher.
struct Context {
  cudaStream_t stream = nullptr;
  int device = 0;
  int num_sms = 0;
  int arch = 0;         // compute capability * 10: 80, 86, 89, 90, ...
  bool hopper = false;  // sm_90a kernels (wgmma, TMA) may be picked
  bool pdl = false;     // launch with programmatic stream serialization
  size_t l2_bytes = 0;
  // cuTensorMapEncodeTiled, taken from the driver at run time; null where it has none.
  CUresult (*encode_tiled)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                           const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                           CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                           CUtensorMapFloatOOBfill) = nullptr;
};

// Launches kernel<<<grid, block, smem, ctx.stream>>>(args...). With ctx.pdl the kernel may start
// while the one before it still runs: every kernel calls griddep_wait() (device/common.cuh) in all
// threads before it reads what an earlier kernel wrote and before it writes anything.
template <typename... Params, typename... Args>
void launch(const Context& ctx, void (*kernel)(Params...), dim3 grid, dim3 block, size_t smem,
            Args&&... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = smem;
  config.stream = ctx.stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = ctx.pdl ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, Params(std::forward<Args>(args))...),
             "kernel launch");
}

// Lets a kernel have more than 48 KiB of dynamic shared memory; called before each launch of such a
// kernel, it costs nothing after the first time (a static flag per call site).
template <typename Kernel>
void allow_smem(Kernel* kernel, size_t bytes) {
  check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(bytes)),
             "cudaFuncSetAttribute");
}

inline int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

}  // namespace hotpath::cuda

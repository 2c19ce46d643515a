#include "cuda/context.h"

namespace hotpath::cuda {

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]]
    return;
  fail("internal_error", "CUDA: ", what, ": ", cudaGetErrorName(status), " (",
       cudaGetErrorString(status), ")");
}

}  // namespace hotpath::cuda

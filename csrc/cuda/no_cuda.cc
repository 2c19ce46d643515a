// The CUDA back end of a build without it.

#include "core/error.h"
#include "cuda/backend.h"

namespace hotpath::cuda {

std::vector<DeviceInfo> list_devices() { return {}; }

std::unique_ptr<Ops> create_cuda_ops(int index, const BackendOptions&) {
  fail("device_unavailable", "device 'cuda:", index,
       "': this build of hotpath has no CUDA back end; use device 'cpu', or a prebuild with CUDA");
}

}  // namespace hotpath::cuda

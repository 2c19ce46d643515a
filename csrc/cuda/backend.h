#pragma once

#include <memory>
#include <vector>

#include "ops/ops.h"

// What ops/backend.cc sees of the CUDA back end: no CUDA word. A build without nvcc links
// no_cuda.cc in its place.
namespace hotpath::cuda {

// Every CUDA device, or one entry that says why there is none to use; empty in a build without CUDA.
std::vector<DeviceInfo> list_devices();
// Throws Error("device_unavailable") with the reason.
std::unique_ptr<Ops> create_cuda_ops(int index, const BackendOptions& options);

}  // namespace hotpath::cuda

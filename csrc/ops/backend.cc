#include <charconv>
#include <system_error>

#include "core/error.h"
#include "core/host_info.h"
#include "cpu/cpu_ops.h"
#include "cpu/device.h"
#include "cpu/isa.h"
#include "cuda/backend.h"
#include "ops/ops.h"

namespace hotpath {

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices{cpu::describe(cpu::pick_kernels("").name, usable_cpus())};
  for (DeviceInfo& device : cuda::list_devices()) devices.push_back(std::move(device));
  return devices;
}

std::unique_ptr<Ops> create_ops(const std::string& device, const BackendOptions& options) {
  if (device == "cpu") {
    if (options.num_threads < 0 || options.num_threads > 1024)
      fail("invalid_request",
           "threads: expected 1 to 1024, or 0 for as many as the process may use", ", received ",
           options.num_threads);
    const int threads = options.num_threads > 0 ? options.num_threads : usable_cpus();
    return cpu::create_cpu_ops(cpu::pick_kernels(options.isa), threads);
  }
  if (device == "cuda") return cuda::create_cuda_ops(0, options);
  if (int index = 0; device.starts_with("cuda:")) {
    const char* end = device.data() + device.size();
    const auto [rest, error] = std::from_chars(device.data() + 5, end, index);
    if (error == std::errc() && rest == end && index >= 0)
      return cuda::create_cuda_ops(index, options);
  }
  fail("device_unavailable", "device: expected 'cpu' or 'cuda:<index>', received '", device, "'");
}

}  // namespace hotpath

#include "core/error.h"
#include "core/host_info.h"
#include "cpu/cpu_ops.h"
#include "cpu/device.h"
#include "cpu/isa.h"
#include "ops/ops.h"

namespace hotpath {

std::vector<DeviceInfo> list_devices() {
  return {cpu::describe(cpu::pick_kernels("").name, usable_cpus())};
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
  if (device == "cuda" || device.starts_with("cuda:"))
    fail(
        "device_unavailable", "device '", device,
        "': this build of hotpath has no CUDA back end; use device 'cpu', or a prebuild with CUDA");
  fail("device_unavailable", "device: expected 'cpu' or 'cuda:<index>', received '", device, "'");
}

}  // namespace hotpath

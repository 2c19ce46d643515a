#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "ops/device.h"

namespace hotpath::cpu {

// Host memory. Allocations of a few MiB and more come straight from the kernel, in huge pages where
// it grants them, and are zero without being touched.
class CpuDevice final : public Device {
 public:
  CpuDevice(std::string isa, int num_threads);
  ~CpuDevice() override;

  DeviceInfo info() const override;
  void* allocate(size_t bytes, bool zeroed) override;
  void free(void* p) override;
  void copy_in(void* dst, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* src, size_t bytes) override;
  bool host_visible() const override { return true; }
  int num_threads() const override { return num_threads_; }

 private:
  std::string isa_;
  int num_threads_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> mapped_;  // allocations made by mmap and their sizes
};

DeviceInfo describe(const std::string& isa, int num_threads);

}  // namespace hotpath::cpu

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hotpath {

struct DeviceInfo {
  std::string kind;  // "cpu" | "cuda"
  int index = 0;
  std::string name;
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
  std::string detail;       // CPU: instruction set in use and threads; CUDA: compute capability
  std::string unavailable;  // why it cannot be used; empty when it can
};

// Memory of one device. On the CPU, host memory is device memory.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceInfo info() const = 0;
  // 64-byte aligned. zeroed: all bits 0. Throws Error("out_of_memory") with needed and free bytes.
  virtual void* allocate(size_t bytes, bool zeroed) = 0;
  virtual void free(void* p) = 0;
  virtual void copy_in(void* dst, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* src, size_t bytes) = 0;
  // True when the device reads mmapped checkpoint bytes in place (CPU).
  virtual bool host_visible() const = 0;
  virtual int num_threads() const = 0;
};

// Every device that this binary could use, with the reason where it cannot.
std::vector<DeviceInfo> list_devices();

}  // namespace hotpath

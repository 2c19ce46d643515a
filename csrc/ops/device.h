#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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

// One reader's way to the device while weights load: host memory that the device copies from while
// the reader fills the next piece. Not thread-safe; its destructor waits for all copies.
class Uploader {
 public:
  virtual ~Uploader() = default;
  // Memory for the next piece, of at least `bytes`; waits until it is free again.
  virtual char* stage(size_t bytes) = 0;
  // Starts copying the first `bytes` of what stage returned to dst.
  virtual void send(void* dst, size_t bytes) = 0;
  virtual void finish() = 0;  // waits for all copies
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
  // Null where host_visible().
  virtual std::unique_ptr<Uploader> uploader() { return nullptr; }
  virtual int num_threads() const = 0;
};

// Every device that this binary could use, with the reason where it cannot.
std::vector<DeviceInfo> list_devices();

}  // namespace hotpath

#pragma once

#include <string>

#include "cuda/context.h"
#include "ops/device.h"

namespace hotpath::cuda {

// Memory of one card. Copies wait for the stream of the Ops it belongs to.
class CudaDevice final : public Device {
 public:
  // Makes the card current for the calling thread and fills `ctx`.
  CudaDevice(int index, Context& ctx);

  DeviceInfo info() const override;
  void* allocate(size_t bytes, bool zeroed) override;
  void free(void* p) override;
  void copy_in(void* dst, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* src, size_t bytes) override;
  bool host_visible() const override { return false; }
  int num_threads() const override { return num_threads_; }
  std::unique_ptr<Uploader> uploader() override;
  // The card is current per thread: whoever calls from a new thread says so first.
  void make_current() const;

 private:
  Context& ctx_;
  int index_;
  int num_threads_;  // readers of weights
};

DeviceInfo describe(int index);

// Page-locked host memory, which the card copies from and to by itself.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace hotpath::cuda

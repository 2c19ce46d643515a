#include "cuda/cuda_device.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/host_info.h"
#include "cuda/backend.h"

namespace hotpath::cuda {
namespace {

// PCIe 5 and a page cache feed at most a few readers; each holds two pieces of pinned memory.
constexpr int kMaxReaders = 8;

class CudaUploader final : public Uploader {
 public:
  explicit CudaUploader(int index) {
    check_cuda(cudaSetDevice(index), "cudaSetDevice");
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
    for (cudaEvent_t& event : copied_)
      check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event");
  }
  ~CudaUploader() override {
    cudaStreamSynchronize(stream_);
    for (cudaEvent_t event : copied_) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  char* stage(size_t bytes) override {
    check_cuda(cudaEventSynchronize(copied_[next_]), "upload");
    if (buffers_[next_].size() < bytes) buffers_[next_] = PinnedBuffer(bytes);
    return buffers_[next_].data();
  }
  void send(void* dst, size_t bytes) override {
    check_cuda(cudaMemcpyAsync(dst, buffers_[next_].data(), bytes, cudaMemcpyHostToDevice, stream_),
               "upload");
    check_cuda(cudaEventRecord(copied_[next_], stream_), "upload");
    next_ = 1 - next_;
  }
  void finish() override { check_cuda(cudaStreamSynchronize(stream_), "upload"); }

 private:
  cudaStream_t stream_ = nullptr;
  std::array<cudaEvent_t, 2> copied_{};
  std::array<PinnedBuffer, 2> buffers_;
  int next_ = 0;
};

// What a driver without a device, or none at all, is called in devices().
DeviceInfo unavailable(const std::string& reason) {
  DeviceInfo info;
  info.kind = "cuda";
  info.name = "CUDA";
  info.unavailable = reason;
  return info;
}

}  // namespace

PinnedBuffer::PinnedBuffer(size_t bytes) : size_(bytes) {
  void* p = nullptr;
  const cudaError_t status = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    fail("out_of_memory", "page-locked host memory: needed ", bytes, " bytes");
  }
  check_cuda(status, "cudaHostAlloc");
  data_ = static_cast<char*>(p);
}
PinnedBuffer::~PinnedBuffer() {
  if (data_) cudaFreeHost(data_);
}
PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

DeviceInfo describe(int index) {
  DeviceInfo info;
  info.kind = "cuda";
  info.index = index;
  cudaDeviceProp prop;
  if (const cudaError_t status = cudaGetDeviceProperties(&prop, index); status != cudaSuccess) {
    cudaGetLastError();
    info.unavailable = cudaGetErrorString(status);
    return info;
  }
  info.name = prop.name;
  info.total_bytes = static_cast<int64_t>(prop.totalGlobalMem);
  info.detail = concat("compute capability ", prop.major, ".", prop.minor, ", ",
                       prop.multiProcessorCount, " multiprocessors");
  if (prop.major < 8) {
    info.unavailable = concat("compute capability ", prop.major, ".", prop.minor,
                              ": 8.0 or newer is needed");
    return info;
  }
  int before = 0;
  cudaGetDevice(&before);
  size_t free_bytes = 0, total_bytes = 0;
  cudaError_t status = cudaSetDevice(index);
  if (status == cudaSuccess) status = cudaMemGetInfo(&free_bytes, &total_bytes);
  if (status != cudaSuccess) {
    cudaGetLastError();
    info.unavailable = cudaGetErrorString(status);
  }
  info.free_bytes = static_cast<int64_t>(free_bytes);
  cudaSetDevice(before);
  return info;
}

std::vector<DeviceInfo> list_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    if (status == cudaErrorInsufficientDriver)
      return {unavailable("no NVIDIA driver, or one older than CUDA " +
                          std::to_string(CUDART_VERSION / 1000) + "." +
                          std::to_string(CUDART_VERSION % 1000 / 10))};
    return {unavailable(status == cudaSuccess || status == cudaErrorNoDevice
                            ? "no CUDA device"
                            : cudaGetErrorString(status))};
  }
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) devices.push_back(describe(i));
  return devices;
}

CudaDevice::CudaDevice(int index, Context& ctx)
    : ctx_(ctx), index_(index), num_threads_(std::clamp(usable_cpus(), 1, kMaxReaders)) {
  cudaDeviceProp prop;
  check_cuda(cudaSetDevice(index), "cudaSetDevice");
  check_cuda(cudaGetDeviceProperties(&prop, index), "cudaGetDeviceProperties");
  ctx.device = index;
  ctx.num_sms = prop.multiProcessorCount;
  ctx.arch = prop.major * 10 + prop.minor;
  ctx.pdl = ctx.arch >= 90;
  ctx.l2_bytes = static_cast<size_t>(prop.l2CacheSize);
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                       &found) != cudaSuccess)
    entry = nullptr;
  ctx.encode_tiled = reinterpret_cast<decltype(ctx.encode_tiled)>(entry);
  ctx.hopper = ctx.arch == 90 && entry != nullptr;
}

void CudaDevice::make_current() const { check_cuda(cudaSetDevice(index_), "cudaSetDevice"); }

DeviceInfo CudaDevice::info() const { return describe(index_); }

void* CudaDevice::allocate(size_t bytes, bool zeroed) {
  make_current();
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    fail("out_of_memory", "GPU memory of cuda:", index_, ": needed ", bytes, " bytes, free ",
         free_bytes, " of ", total_bytes,
         " bytes; use a smaller model, a shorter context or a smaller KV cache");
  }
  check_cuda(status, "cudaMalloc");
  if (zeroed) {
    check_cuda(cudaMemset(p, 0, std::max<size_t>(bytes, 1)), "cudaMemset");
    check_cuda(cudaStreamSynchronize(nullptr), "cudaMemset");
  }
  return p;
}

void CudaDevice::free(void* p) {
  if (!p) return;
  cudaSetDevice(index_);
  cudaFree(p);
}

void CudaDevice::copy_in(void* dst, const void* host, size_t bytes) {
  make_current();
  check_cuda(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, ctx_.stream), "copy in");
  check_cuda(cudaStreamSynchronize(ctx_.stream), "copy in");
}

void CudaDevice::copy_out(void* host, const void* src, size_t bytes) {
  make_current();
  check_cuda(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, ctx_.stream), "copy out");
  check_cuda(cudaStreamSynchronize(ctx_.stream), "copy out");
}

std::unique_ptr<Uploader> CudaDevice::uploader() { return std::make_unique<CudaUploader>(index_); }

}  // namespace hotpath::cuda

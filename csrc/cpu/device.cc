#include "cpu/device.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/host_info.h"

namespace hotpath::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

[[noreturn]] void out_of_memory(size_t bytes, int64_t available) {
  fail("out_of_memory", "CPU memory: needed ", bytes, " bytes, available ", available,
       " bytes; use a smaller model, a shorter context or a smaller KV cache");
}

// Maps a multiple of the huge page, aligned to it.
void* map_huge(size_t bytes) {
  const size_t span = bytes + kHugePage;
  void* base = mmap(nullptr, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(base);
  char* aligned = begin + (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (aligned != begin) munmap(begin, aligned - begin);
  char *end = aligned + bytes, *span_end = begin + span;
  if (end != span_end) munmap(end, span_end - end);
#if defined(MADV_HUGEPAGE)
  madvise(aligned, bytes, MADV_HUGEPAGE);  // advice: small pages serve too
#endif
  return aligned;
}

}  // namespace

DeviceInfo describe(const std::string& isa, int num_threads) {
  DeviceInfo info;
  info.kind = "cpu";
  info.name = cpu_name();
  info.total_bytes = total_memory();
  info.free_bytes = available_memory();
  info.detail = concat(isa, ", ", num_threads, num_threads == 1 ? " thread" : " threads");
  return info;
}

CpuDevice::CpuDevice(std::string isa, int num_threads)
    : isa_(std::move(isa)), num_threads_(num_threads) {}

CpuDevice::~CpuDevice() {
  for (auto& [p, bytes] : mapped_) munmap(p, bytes);
}

DeviceInfo CpuDevice::info() const { return describe(isa_, num_threads_); }

void* CpuDevice::allocate(size_t bytes, bool zeroed) {
  bytes = std::max<size_t>(bytes, 1);
  if (bytes < 2 * kHugePage) {
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* p = std::aligned_alloc(kAlignment, rounded);
    if (!p) out_of_memory(bytes, available_memory());
    if (zeroed) std::memset(p, 0, rounded);
    return p;
  }
  // The kernel hands out more than there is and kills whoever touches it: refuse here instead.
  const int64_t available = available_memory();
  if (bytes > static_cast<uint64_t>(available)) out_of_memory(bytes, available);
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* p = map_huge(rounded);
  if (!p) out_of_memory(bytes, available);
  std::lock_guard lock(mutex_);
  mapped_[p] = rounded;
  return p;
}

void CpuDevice::free(void* p) {
  if (!p) return;
  {
    std::lock_guard lock(mutex_);
    if (auto it = mapped_.find(p); it != mapped_.end()) {
      munmap(p, it->second);
      mapped_.erase(it);
      return;
    }
  }
  std::free(p);
}

void CpuDevice::copy_in(void* dst, const void* host, size_t bytes) {
  if (bytes) std::memcpy(dst, host, bytes);
}

void CpuDevice::copy_out(void* host, const void* src, size_t bytes) {
  if (bytes) std::memcpy(host, src, bytes);
}

}  // namespace hotpath::cpu

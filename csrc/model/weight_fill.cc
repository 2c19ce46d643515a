// How the bytes of a WeightPlan get onto the device: from files by several readers, or random.
//
// Reading uses pread and not mmap: the weights are fused into one allocation anyway, a file that
// shrinks while it is read is then an error and not a SIGBUS, and the copy lands in huge pages.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "core/error.h"
#include "model/weights.h"

namespace hotpath {
namespace {

constexpr uint64_t kChunk = 8 << 20;  // bytes of one read; also the unit of progress

class File {
 public:
  explicit File(const std::string& path) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0)
      fail("checkpoint_invalid", "cannot open ", path, ": ", std::strerror(errno),
           "; expected a readable safetensors file");
    struct stat info {};
    if (::fstat(fd_, &info) == 0) size_ = static_cast<uint64_t>(info.st_size);
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t size() const { return size_; }
  void read(void* dst, uint64_t bytes, uint64_t offset) const {
    char* out = static_cast<char*>(dst);
    while (bytes) {
      ssize_t n = ::pread(fd_, out, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("checkpoint_invalid", "reading ", path_, ": ", std::strerror(errno));
      if (n == 0)
        fail("checkpoint_invalid", path_, " ended at byte ", offset, ": expected ", bytes,
             " more; the file was truncated, fetch it again");
      out += n, bytes -= static_cast<uint64_t>(n), offset += static_cast<uint64_t>(n);
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Runs work(i) for i in [0, count) on `threads` threads; the caller reports progress meanwhile. The
// first exception of a worker stops the rest and is rethrown here.
void run_with_progress(size_t count, int threads, uint64_t total_bytes,
                       const std::atomic<uint64_t>& done, const LoadProgress& progress,
                       const std::function<void(size_t)>& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::condition_variable finished;
  int running = std::max(1, threads);
  std::exception_ptr error;
  // Joins on every way out: progress may throw to stop the load, and a thread may not start.
  struct Pool {
    std::vector<std::thread> threads;
    std::atomic<size_t>& next;
    size_t count;
    ~Pool() {
      next = count;
      for (std::thread& thread : threads)
        if (thread.joinable()) thread.join();
    }
  } pool{{}, next, count};
  for (int t = running; t > 0; --t) {
    pool.threads.emplace_back([&] {
      try {
        for (size_t i; (i = next.fetch_add(1)) < count;) work(i);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next = count;
      }
      std::lock_guard lock(mutex);
      if (--running == 0) finished.notify_one();
    });
  }
  {
    std::unique_lock lock(mutex);
    while (!finished.wait_for(lock, std::chrono::milliseconds(50), [&] { return running == 0; })) {
      lock.unlock();
      if (progress) progress(done, total_bytes);
      lock.lock();
    }
  }
  for (std::thread& thread : pool.threads) thread.join();
  if (error) std::rethrow_exception(error);
  if (progress) progress(total_bytes, total_bytes);
}

// A counter-based generator: element i of a tensor depends on (seed, i) only, so any split gives
// the same.
uint32_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return static_cast<uint32_t>(x >> 32);
}

uint16_t to_bf16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// For normal magnitudes only (2^-14 .. 65504), which is all that random weights have; smaller
// becomes 0.
uint16_t to_f16(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  uint32_t sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude < 0x38800000) return static_cast<uint16_t>(sign);
  magnitude += 0xfff + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000) >> 13));
}

void random_values(void* out, DType dtype, WeightPlan::Kind kind, uint64_t seed, uint64_t first,
                   uint64_t count) {
  // Uniform with the standard deviation 0.02 of the usual initialisation; norms around 1.
  constexpr float kSpan = 0.02f * 3.4641016f;
  const float base = kind == WeightPlan::Kind::kNorm ? 1.0f : 0.0f;
  for (uint64_t i = 0; i < count; ++i) {
    float u = static_cast<float>(mix(seed + (first + i) * 0x9e3779b97f4a7c15ULL) >> 8) * 0x1p-24f;
    float value = base + (u - 0.5f) * kSpan;
    if (dtype == DType::kF32)
      static_cast<float*>(out)[i] = value;
    else
      static_cast<uint16_t*>(out)[i] = dtype == DType::kBF16 ? to_bf16(value) : to_f16(value);
  }
}

struct Chunk {
  size_t copy;
  uint64_t begin, bytes;  // within the copy
};

template <typename Copies>
std::vector<Chunk> split(const Copies& copies) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < copies.size(); ++i)
    for (uint64_t at = 0; at < copies[i].bytes; at += kChunk)
      chunks.push_back({i, at, std::min(kChunk, copies[i].bytes - at)});
  return chunks;
}

// The readers' uploaders: as many as there are readers at a time.
class Uploaders {
 public:
  explicit Uploaders(Device& device) : device_(device) {}
  // Fills `bytes` through fill(staging) and sends them to dst.
  void send(void* dst, uint64_t bytes, const std::function<void(char*)>& fill) {
    std::unique_ptr<Uploader> uploader = take();
    fill(uploader->stage(bytes));
    uploader->send(dst, bytes);
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(uploader));
  }
  void finish() {
    for (auto& uploader : idle_) uploader->finish();
  }

 private:
  std::unique_ptr<Uploader> take() {
    {
      std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Uploader> uploader = std::move(idle_.back());
        idle_.pop_back();
        return uploader;
      }
    }
    return device_.uploader();
  }
  Device& device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Uploader>> idle_;
};

// Frees the allocation unless release() was called: a failed load leaves nothing behind.
struct Guard {
  Device& device;
  void* base;
  ~Guard() {
    if (base) device.free(base);
  }
  void* release() { return std::exchange(base, nullptr); }
};

}  // namespace

void* WeightPlan::read(Device& device, const LoadProgress& progress) {
  std::unordered_map<std::string, std::unique_ptr<File>> files;
  for (const Copy& copy : copies_) {
    std::unique_ptr<File>& file = files[copy.ref->file];
    if (!file) file = std::make_unique<File>(copy.ref->file);
    if (copy.ref->offset > file->size() || copy.bytes > file->size() - copy.ref->offset)
      fail("checkpoint_invalid", "tensor ", copy.ref->name, " lies outside ", copy.ref->file,
           ": expected bytes [", copy.ref->offset, ", ", copy.ref->offset + copy.bytes,
           "), the file has ", file->size());
  }
  Guard guard{device, allocate(device)};
  char* base = static_cast<char*>(guard.base);
  std::vector<Chunk> chunks = split(copies_);
  std::atomic<uint64_t> done{0};
  Uploaders uploaders(device);
  run_with_progress(chunks.size(), device.num_threads(), total_bytes_, done, progress,
                    [&](size_t i) {
                      const Chunk& chunk = chunks[i];
                      const Copy& copy = copies_[chunk.copy];
                      const File& file = *files.at(copy.ref->file);
                      char* dst = base + copy.offset + chunk.begin;
                      if (device.host_visible()) {
                        file.read(dst, chunk.bytes, copy.ref->offset + chunk.begin);
                      } else {
                        uploaders.send(dst, chunk.bytes, [&](char* staging) {
                          file.read(staging, chunk.bytes, copy.ref->offset + chunk.begin);
                        });
                      }
                      done += chunk.bytes;
                    });
  uploaders.finish();
  return guard.release();
}

void* WeightPlan::fill_random(Device& device, uint64_t seed, const LoadProgress& progress) {
  Guard guard{device, allocate(device)};
  char* base = static_cast<char*>(guard.base);
  std::vector<Chunk> chunks = split(copies_);
  std::atomic<uint64_t> done{0};
  Uploaders uploaders(device);
  run_with_progress(
      chunks.size(), device.num_threads(), total_bytes_, done, progress, [&](size_t i) {
        const Chunk& chunk = chunks[i];
        const Copy& copy = copies_[chunk.copy];
        const uint64_t size = dtype_size(copy.dtype);
        const uint64_t tensor_seed = (seed << 20) + chunk.copy * 0x632be59bd9b4e019ULL;
        char* dst = base + copy.offset + chunk.begin;
        if (device.host_visible()) {
          random_values(dst, copy.dtype, copy.kind, tensor_seed, chunk.begin / size,
                        chunk.bytes / size);
        } else {
          uploaders.send(dst, chunk.bytes, [&](char* staging) {
            random_values(staging, copy.dtype, copy.kind, tensor_seed, chunk.begin / size,
                          chunk.bytes / size);
          });
        }
        done += chunk.bytes;
      });
  uploaders.finish();
  return guard.release();
}

}  // namespace hotpath

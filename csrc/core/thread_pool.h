#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace hotpath {

// A fixed set of threads for data-parallel loops. The calling thread takes part, so that n threads
// means n - 1 workers. Idle workers spin for about 50 us (the gap between two ops of a step), then
// sleep. One caller at a time; loops do not nest.
class ThreadPool {
 public:
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(begin, end, thread) for consecutive pieces of [0, n), at most `chunk` long, handed out
  // to whoever is free; thread is in [0, num_threads()). Returns when all are done. The first
  // exception thrown by fn is thrown again here, after every running piece has ended; pieces not
  // yet begun are dropped then. A single piece runs on the caller alone. Allocates nothing.
  template <typename Fn>
  void parallel_for(int64_t n, int64_t chunk, Fn&& fn) {
    using F = std::remove_reference_t<Fn>;
    run(
        n, chunk,
        [](void* f, int64_t begin, int64_t end, int thread) {
          (*static_cast<F*>(f))(begin, end, thread);
        },
        const_cast<void*>(static_cast<const void*>(&fn)));
  }

 private:
  using Call = void (*)(void* fn, int64_t begin, int64_t end, int thread);

  void run(int64_t n, int64_t chunk, Call call, void* fn);
  void work(int thread);
  void worker(int thread);

  // The loop in progress. Written by the caller while open_ is false and active_ is 0.
  Call call_ = nullptr;
  void* fn_ = nullptr;
  int64_t n_ = 0, chunk_ = 1;
  std::exception_ptr error_;
  std::mutex error_mutex_;

  alignas(64) std::atomic<int64_t> next_{0};  // first index not handed out yet
  alignas(64) std::atomic<uint32_t> epoch_{
      0};  // rises with every loop and at the end; workers wait on it
  alignas(64) std::atomic<uint32_t> active_{0};  // workers that may be looking at the loop
  std::atomic<bool> open_{false};                // workers may join the loop
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace hotpath

#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace hotpath {
namespace {

void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until value differs from old: spins first, since the next op usually follows at once, then
// sleeps in the kernel.
void wait_while(std::atomic<uint32_t>& value, uint32_t old) {
  using Clock = std::chrono::steady_clock;
  const auto until = Clock::now() + std::chrono::microseconds(50);
  do {
    for (int i = 0; i < 64; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause_cpu();
    }
  } while (Clock::now() < until);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  check(num_threads >= 1, "thread pool: expected at least 1 thread, received ", num_threads);
  workers_.reserve(num_threads - 1);
  try {
    for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this, i] { worker(i); });
  } catch (...) {  // the system refused a thread: those that run must end before they are destroyed
    stop_ = true;
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (auto& t : workers_) t.join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (auto& t : workers_) t.join();
}

void ThreadPool::run(int64_t n, int64_t chunk, Call call, void* fn) {
  if (n <= 0) return;
  chunk = std::max<int64_t>(chunk, 1);
  if (workers_.empty() || n <= chunk) {
    for (int64_t begin = 0; begin < n; begin += chunk)
      call(fn, begin, std::min(n, begin + chunk), 0);
    return;
  }
  call_ = call, fn_ = fn, n_ = n, chunk_ = chunk;
  next_.store(0, std::memory_order_relaxed);
  open_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  work(0);
  // From here no worker can join; those inside are waited for. A worker that was asleep all along
  // costs nothing. (Sequentially consistent: a worker raises active_ and then reads open_.)
  open_.store(false);
  for (uint32_t a = active_.load(); a != 0; a = active_.load()) wait_while(active_, a);
  if (error_) {
    std::exception_ptr error = error_;
    error_ = nullptr;
    std::rethrow_exception(error);
  }
}

void ThreadPool::work(int thread) {
  for (;;) {
    const int64_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
    if (begin >= n_) return;
    try {
      call_(fn_, begin, std::min(n_, begin + chunk_), thread);
    } catch (...) {
      std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
      next_.store(n_, std::memory_order_relaxed);
    }
  }
}

void ThreadPool::worker(int thread) {
  uint32_t seen = 0;
  while (true) {
    wait_while(epoch_, seen);
    seen = epoch_.load();
    if (stop_) return;
    active_.fetch_add(1);
    if (open_.load()) work(thread);
    active_.fetch_sub(1);
    active_.notify_all();
  }
}

}  // namespace hotpath

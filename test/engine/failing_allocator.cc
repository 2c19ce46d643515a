#include "failing_allocator.h"

#include <cstdlib>
#include <new>

namespace hotpath::test {
thread_local int64_t allocations_until_failure = -1;
}

namespace {

// Not inlined, or GCC takes free() for the wrong partner of the new that it sees beside it.
[[gnu::noinline]] void release(void* p) { std::free(p); }

void* allocate_or_fail(std::size_t size) {
  using hotpath::test::allocations_until_failure;
  if (allocations_until_failure >= 0 && allocations_until_failure-- == 0) throw std::bad_alloc();
  if (void* p = std::malloc(size ? size : 1)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_fail(size); }
void* operator new[](std::size_t size) { return allocate_or_fail(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size ? size : 1);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size ? size : 1);
}
void operator delete(void* p) noexcept { release(p); }
void operator delete[](void* p) noexcept { release(p); }
void operator delete(void* p, std::size_t) noexcept { release(p); }
void operator delete[](void* p, std::size_t) noexcept { release(p); }

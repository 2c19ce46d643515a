#pragma once

#include <cstdint>

namespace hotpath::test {

// Counts down allocations of one thread, in the whole test program; the one at zero throws
// std::bad_alloc, once. Negative: off.
extern thread_local int64_t allocations_until_failure;

}  // namespace hotpath::test

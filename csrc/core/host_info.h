#pragma once

#include <cstdint>
#include <string>

namespace hotpath {

// What this process may use of the machine, containers' limits included.

int usable_cpus();           // affinity mask and cgroup CPU quota, whichever is less; at least 1
int64_t total_memory();      // bytes: physical memory or the cgroup's limit, whichever is less
int64_t available_memory();  // bytes that can be taken without swapping or being killed
std::string cpu_name();      // as the system reports it, "CPU" if it does not

}  // namespace hotpath

#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"

namespace hotpath::cpu {

// The instruction sets that this binary has kernels for and this machine can run, best first.
std::vector<const Kernels*> usable_kernels();

// "" picks the best; a name that is unknown or that this machine lacks throws
// Error("device_unavailable") naming those that would do.
const Kernels& pick_kernels(const std::string& isa);

}  // namespace hotpath::cpu

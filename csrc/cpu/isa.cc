#include "cpu/isa.h"

#include "core/error.h"

namespace hotpath::cpu {

std::vector<const Kernels*> usable_kernels() {
  std::vector<const Kernels*> usable;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bf16");
  if (avx512) usable.push_back(&kAvx512);
  if (avx2) usable.push_back(&kAvx2);
#elif defined(__aarch64__)
  usable.push_back(&kNeon);
#endif
  usable.push_back(&kBaseline);
  return usable;
}

const Kernels& pick_kernels(const std::string& isa) {
  const auto usable = usable_kernels();
  if (isa.empty()) return *usable.front();
  std::string names;
  for (const Kernels* k : usable) {
    if (isa == k->name) return *k;
    names += names.empty() ? k->name : concat(", ", k->name);
  }
  fail("device_unavailable", "instruction set: expected one that this machine has (", names,
       "), received '", isa, "'");
}

}  // namespace hotpath::cpu

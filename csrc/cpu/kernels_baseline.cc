#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"

// Everything below is static and inside this namespace, so that no other file can be handed code
// that was compiled for this instruction set. The order is that of use.
// clang-format off
namespace hotpath::cpu {
namespace baseline {
#include "cpu/simd_generic.h"
#include "cpu/kernels_math.h"
#include "cpu/kernels_gemm.h"
#include "cpu/kernels_attention.h"
#include "cpu/kernels_table.h"
}  // namespace baseline
// clang-format on

const Kernels kBaseline = baseline::make_kernels("baseline");

}  // namespace hotpath::cpu

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"

// Everything below is static and inside this namespace, so that no other file can be handed code
// that was compiled for this instruction set. The order is that of use.
// clang-format off
namespace hotpath::cpu {
namespace avx2 {
#include "cpu/simd_avx2.h"
#include "cpu/kernels_math.h"
#include "cpu/kernels_gemm.h"
#include "cpu/kernels_attention.h"
#include "cpu/kernels_table.h"
}  // namespace avx2
// clang-format on

const Kernels kAvx2 = avx2::make_kernels("avx2");

}  // namespace hotpath::cpu

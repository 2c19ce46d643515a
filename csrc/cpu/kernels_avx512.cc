// GCC 12's own AVX-512 intrinsics set this off (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"

// Everything below is static and inside this namespace, so that no other file can be handed code
// that was compiled for this instruction set. The order is that of use.
// clang-format off
namespace hotpath::cpu {
namespace avx512 {
#include "cpu/simd_avx512.h"
#include "cpu/kernels_math.h"
#include "cpu/kernels_gemm.h"
#include "cpu/kernels_attention.h"
#include "cpu/kernels_table.h"
}  // namespace avx512
// clang-format on

const Kernels kAvx512 = avx512::make_kernels("avx512");

}  // namespace hotpath::cpu

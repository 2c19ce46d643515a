#pragma once

// wgmma.mma_async m64nNk16 with float accumulators and the cluster and store pieces that the wgmma
// kernels share. Included by *_sm90.cu files only.

#include "cuda/device/hopper.cuh"

namespace hotpath::cuda {

// True in one lane of the (converged) warp.
__device__ __forceinline__ bool elect_one() {
  uint32_t chosen;
  asm volatile(
      "{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.b32 %0, 1, 0, p;\n}\n"
      : "=r"(chosen));
  return chosen != 0;
}
// All threads of all blocks of the cluster; what each did before is visible to the others after.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// The address, for mbarrier_arrive_remote, of `smem` in block `block` of the cluster.
__device__ __forceinline__ uint32_t cluster_address(uint32_t smem, uint32_t block) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(smem), "r"(block));
  return remote;
}
// For a stage that was only read: with .release.cluster it would wait for a memory barrier, some
// 0.7 us each time.
__device__ __forceinline__ void mbarrier_arrive_remote(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory");
}
// Until every bulk store of this thread is complete in global memory.
__device__ __forceinline__ void bulk_wait_all() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
// Four 8x8 matrices of 16-bit elements; lane 8 i + r gives the address of row r of matrix i.
__device__ __forceinline__ void stmatrix_x4(uint32_t smem, uint32_t a, uint32_t b, uint32_t c,
                                            uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(smem),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// d[N / 2] (+)= A[64, 16] B[N, 16]^T, both in shared memory, K-major (swizzle128_descriptor),
// asynchronous, by one warpgroup. Lane 4 g + t of warp w holds
// d[4 i + {0, 1, 2, 3}] = (row 16 w + g, columns 8 i + 2 t, + 1), (row 16 w + g + 8, same).
// add = 0: the old d is not read.
template <typename T, int N>
struct Wgmma;

// d[N / 2] += A[64, 16] B[16, N], A in registers: a as mma_16816 has it, per warp, which is how the
// lane holds columns 16 j .. 16 j + 15 of a Wgmma's d. B MN-major (swizzle128_mn_descriptor).
template <typename T, int N>
struct WgmmaRegisters;

// The register list of d is put together from pieces of eight.

#define HP_D0 "%0,%1,%2,%3,%4,%5,%6,%7"
#define HP_D1 "%8,%9,%10,%11,%12,%13,%14,%15"
#define HP_D2 "%16,%17,%18,%19,%20,%21,%22,%23"
#define HP_D3 "%24,%25,%26,%27,%28,%29,%30,%31"
#define HP_D4 "%32,%33,%34,%35,%36,%37,%38,%39"
#define HP_D5 "%40,%41,%42,%43,%44,%45,%46,%47"
#define HP_D6 "%48,%49,%50,%51,%52,%53,%54,%55"
#define HP_D7 "%56,%57,%58,%59,%60,%61,%62,%63"
#define HP_D8 "%64,%65,%66,%67,%68,%69,%70,%71"
#define HP_D9 "%72,%73,%74,%75,%76,%77,%78,%79"
#define HP_D10 "%80,%81,%82,%83,%84,%85,%86,%87"
#define HP_D11 "%88,%89,%90,%91,%92,%93,%94,%95"
#define HP_D12 "%96,%97,%98,%99,%100,%101,%102,%103"
#define HP_D13 "%104,%105,%106,%107,%108,%109,%110,%111"
#define HP_D14 "%112,%113,%114,%115,%116,%117,%118,%119"
#define HP_D15 "%120,%121,%122,%123,%124,%125,%126,%127"
#define HP_F8(b)                                                                              \
  "+f"(d[b]), "+f"(d[b + 1]), "+f"(d[b + 2]), "+f"(d[b + 3]), "+f"(d[b + 4]), "+f"(d[b + 5]), \
      "+f"(d[b + 6]), "+f"(d[b + 7])
// Operands after the N / 2 accumulators: SS: A, B, add; RS: a[0..3], B.
#define HP_SS(T, TYPE, N, REGS, A, B, P, ...)                                                     \
  template <>                                                                                     \
  struct Wgmma<T, N> {                                                                            \
    static __device__ __forceinline__ void mma(float* d, uint64_t a, uint64_t b, int add) {       \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                          \
                   ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGS \
                   "}, " A ", " B ", p, 1, 1, 0, 0;\n}\n"                                         \
                   : __VA_ARGS__                                                                  \
                   : "l"(a), "l"(b), "r"(add));                                                   \
    }                                                                                             \
  };
#define HP_RS(T, TYPE, N, REGS, A, B, ...)                                                        \
  template <>                                                                                     \
  struct WgmmaRegisters<T, N> {                                                                   \
    static __device__ __forceinline__ void mma(float* d, const uint32_t (&a)[4], uint64_t b) {    \
      asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" REGS      \
                   "}, {" A "}, " B ", p, 1, 1, 1;\n}\n"                                          \
                   : __VA_ARGS__                                                                  \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                         \
    }                                                                                             \
  };
#define HP_SS_BOTH(N, ...) HP_SS(bf16, "bf16", N, __VA_ARGS__) HP_SS(f16, "f16", N, __VA_ARGS__)
#define HP_RS_BOTH(N, ...) HP_RS(bf16, "bf16", N, __VA_ARGS__) HP_RS(f16, "f16", N, __VA_ARGS__)

HP_SS_BOTH(32, HP_D0 "," HP_D1, "%16", "%17", "%18", HP_F8(0), HP_F8(8))
HP_SS_BOTH(64, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3, "%32", "%33", "%34", HP_F8(0), HP_F8(8),
           HP_F8(16), HP_F8(24))
HP_SS_BOTH(80, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4, "%40", "%41", "%42", HP_F8(0),
           HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32))
HP_SS_BOTH(96, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5, "%48", "%49", "%50",
           HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40))
HP_SS_BOTH(112, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6, "%56", "%57",
           "%58", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48))
HP_SS_BOTH(128, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7, "%64",
           "%65", "%66", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48),
           HP_F8(56))
HP_SS_BOTH(144, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8, "%72", "%73", "%74", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32),
           HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64))
HP_SS_BOTH(160, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9, "%80", "%81", "%82", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24),
           HP_F8(32), HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72))
HP_SS_BOTH(176, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10, "%88", "%89", "%90", HP_F8(0), HP_F8(8), HP_F8(16),
           HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72), HP_F8(80))
HP_SS_BOTH(192, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10 "," HP_D11, "%96", "%97", "%98", HP_F8(0), HP_F8(8),
           HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72),
           HP_F8(80), HP_F8(88))
HP_SS_BOTH(224, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10 "," HP_D11 "," HP_D12 "," HP_D13, "%112", "%113", "%114",
           HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48), HP_F8(56),
           HP_F8(64), HP_F8(72), HP_F8(80), HP_F8(88), HP_F8(96), HP_F8(104))
HP_SS_BOTH(256, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10 "," HP_D11 "," HP_D12 "," HP_D13 "," HP_D14 "," HP_D15,
           "%128", "%129", "%130", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40),
           HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72), HP_F8(80), HP_F8(88), HP_F8(96), HP_F8(104),
           HP_F8(112), HP_F8(120))
HP_RS_BOTH(32, HP_D0 "," HP_D1, "%16,%17,%18,%19", "%20", HP_F8(0), HP_F8(8))
HP_RS_BOTH(64, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3, "%32,%33,%34,%35", "%36", HP_F8(0), HP_F8(8),
           HP_F8(16), HP_F8(24))
HP_RS_BOTH(128, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7,
           "%64,%65,%66,%67", "%68", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40),
           HP_F8(48), HP_F8(56))
HP_RS_BOTH(192, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10 "," HP_D11, "%96,%97,%98,%99", "%100", HP_F8(0), HP_F8(8),
           HP_F8(16), HP_F8(24), HP_F8(32), HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72),
           HP_F8(80), HP_F8(88))
HP_RS_BOTH(256, HP_D0 "," HP_D1 "," HP_D2 "," HP_D3 "," HP_D4 "," HP_D5 "," HP_D6 "," HP_D7 ","
           HP_D8 "," HP_D9 "," HP_D10 "," HP_D11 "," HP_D12 "," HP_D13 "," HP_D14 "," HP_D15,
           "%128,%129,%130,%131", "%132", HP_F8(0), HP_F8(8), HP_F8(16), HP_F8(24), HP_F8(32),
           HP_F8(40), HP_F8(48), HP_F8(56), HP_F8(64), HP_F8(72), HP_F8(80), HP_F8(88), HP_F8(96),
           HP_F8(104), HP_F8(112), HP_F8(120))

#undef HP_D0
#undef HP_D1
#undef HP_D2
#undef HP_D3
#undef HP_D4
#undef HP_D5
#undef HP_D6
#undef HP_D7
#undef HP_D8
#undef HP_D9
#undef HP_D10
#undef HP_D11
#undef HP_D12
#undef HP_D13
#undef HP_D14
#undef HP_D15
#undef HP_F8
#undef HP_SS
#undef HP_RS
#undef HP_SS_BOTH
#undef HP_RS_BOTH

}  // namespace hotpath::cuda

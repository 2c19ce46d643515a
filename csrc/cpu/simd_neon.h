// Included inside an ISA namespace, after <arm_neon.h>. 4 floats, arm64.

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
using Vec = float32x4_t;
constexpr int kLanes = 4;
constexpr int kTileX = 5;  // 20 sums + 5 x + 1 w of 32 registers

static inline Vec zero() { return vdupq_n_f32(0); }
static inline Vec set1(float a) { return vdupq_n_f32(a); }
static inline Vec load(const float* p) { return vld1q_f32(p); }
static inline Vec load(const BF16* p) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)), 16));
}
static inline Vec load(const F16* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
}
static inline void store(float* p, Vec v) { vst1q_f32(p, v); }
static inline void store(F16* p, Vec v) {
  vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v)));
}
static inline void store(BF16* p, Vec v) {
  const uint32x4_t u = vreinterpretq_u32_f32(v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
  const uint32x4_t number = vceqq_f32(v, v);
  vst1_u16(reinterpret_cast<uint16_t*>(p), vshrn_n_u32(vbslq_u32(number, rounded, quiet), 16));
}
static inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
static inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
static inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
static inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
static inline Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }
static inline Vec max(Vec a, Vec b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline Vec min(Vec a, Vec b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline Vec select_ge(Vec a, Vec b, Vec x, Vec y) { return vbslq_f32(vcgeq_f32(a, b), x, y); }
static inline Vec round_nearest(Vec a) { return vrndnq_f32(a); }
static inline Vec scale2(Vec x, Vec n) {
  const int32x4_t e = vshlq_n_s32(vcvtnq_s32_f32(n), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), e));
}
static inline float reduce_add(Vec a) {  // (0 + 1) + (2 + 3)
  const float32x2_t s = vpadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpadd_f32(s, s), 0);
}
static inline void reduce_add4(float* out, Vec a, Vec b, Vec c, Vec d) {
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}
static inline float reduce_max(Vec a) {
  const float32x2_t s = vpmax_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpmax_f32(s, s), 0);
}
static inline void prefetch(const void* p) { __builtin_prefetch(p); }
static inline void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

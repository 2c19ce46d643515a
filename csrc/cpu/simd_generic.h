// Included inside an ISA namespace. 4 floats in the compiler's own vector type: SSE2 on x86-64,
// plain code elsewhere. Multiplies and adds round separately.

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};
typedef float Vec __attribute__((vector_size(16)));
typedef int32_t IVec __attribute__((vector_size(16)));
constexpr int kLanes = 4;
constexpr int kTileX = 2;  // 8 sums + 2 x + 1 w + temporaries of 16 registers

static inline Vec zero() { return Vec{}; }
static inline Vec set1(float a) { return Vec{a, a, a, a}; }
static inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline Vec load(const BF16* p) {
  uint16_t h[4];
  __builtin_memcpy(h, p, sizeof h);
  return (Vec)(IVec{h[0], h[1], h[2], h[3]} << 16);
}
static inline Vec load(const F16* p) {
  // Sign and magnitude apart. A normal half becomes a float by moving its exponent; a subnormal is
  // a multiple of 2^-24; infinity and NaN take the largest exponent.
  uint16_t h[4];
  __builtin_memcpy(h, p, sizeof h);
  const IVec u = IVec{h[0], h[1], h[2], h[3]};
  const IVec rest = u & 0x7fff, sign = (u & 0x8000) << 16;
  const IVec normal = (rest << 13) + 0x38000000;
  const IVec small = (IVec)(__builtin_convertvector(rest, Vec) * 0x1p-24f);
  const IVec special = (rest << 13) | 0x7f800000 | ((rest > 0x7c00) & 0x400000);
  const IVec is_small = rest < 0x0400, is_special = rest >= 0x7c00;
  return (Vec)(sign | (is_small & small) | (is_special & special) |
               (~(is_small | is_special) & normal));
}
static inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void store(F16* p, Vec v) {
  const IVec u = (IVec)v;
  const IVec rest = u & 0x7fffffff, sign = (u >> 16) & 0x8000;
  const IVec normal = (rest - 0x38000000 + 0x0fff + ((rest >> 13) & 1)) >> 13;
  const IVec small = (IVec)((Vec)rest + 0.5f) - 0x3f000000;
  const IVec nan = 0x7e00 | ((rest >> 13) & 0x3ff);
  const IVec is_nan = rest > 0x7f800000, is_inf = (rest >= 0x477ff000) & ~is_nan;
  const IVec is_small = rest < 0x38800000;
  const IVec half = (is_nan & nan) | (is_inf & 0x7c00) | (is_small & small) |
                    (~(is_nan | is_inf | is_small) & normal) | sign;
  for (int i = 0; i < 4; ++i) p[i].bits = static_cast<uint16_t>(half[i]);
}
static inline void store(BF16* p, Vec v) {
  const IVec u = (IVec)v;
  const IVec rounded = u + 0x7fff + ((u >> 16) & 1);
  const IVec is_nan = (u & 0x7fffffff) > 0x7f800000;
  const IVec top = ((is_nan & (u | 0x400000)) | (~is_nan & rounded)) >> 16;
  for (int i = 0; i < 4; ++i) p[i].bits = static_cast<uint16_t>(top[i]);
}
static inline Vec add(Vec a, Vec b) { return a + b; }
static inline Vec sub(Vec a, Vec b) { return a - b; }
static inline Vec mul(Vec a, Vec b) { return a * b; }
static inline Vec div(Vec a, Vec b) { return a / b; }
static inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
static inline Vec blend(IVec mask, Vec x, Vec y) {
  return (Vec)((mask & (IVec)x) | (~mask & (IVec)y));
}
static inline Vec max(Vec a, Vec b) { return blend(a > b, a, b); }
static inline Vec min(Vec a, Vec b) { return blend(a < b, a, b); }
static inline Vec select_ge(Vec a, Vec b, Vec x, Vec y) { return blend(a >= b, x, y); }
static inline Vec round_nearest(Vec a) {  // |a| < 2^22: adding 1.5 * 2^23 leaves no fraction bits
  return (a + 12582912.0f) - 12582912.0f;
}
static inline Vec scale2(Vec x, Vec n) {
  return (Vec)((IVec)x + (__builtin_convertvector(n, IVec) << 23));
}
static inline float reduce_add(Vec a) { return (a[0] + a[1]) + (a[2] + a[3]); }
static inline void reduce_add4(float* out, Vec a, Vec b, Vec c, Vec d) {
  out[0] = reduce_add(a), out[1] = reduce_add(b), out[2] = reduce_add(c), out[3] = reduce_add(d);
}
static inline float reduce_max(Vec a) {
  const float x = a[0] > a[1] ? a[0] : a[1], y = a[2] > a[3] ? a[2] : a[3];
  return x > y ? x : y;
}
static inline void prefetch(const void* p) { __builtin_prefetch(p); }
static inline void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }

// Included inside an ISA namespace, after that ISA's simd_*.h. Element-wise and row-wise kernels.

template <typename T>
static inline Vec load_partial(const T* p, int64_t n) {  // lanes n.. are 0
  T buffer[kLanes] = {};
  __builtin_memcpy(buffer, p, static_cast<size_t>(n) * sizeof(T));
  return load(buffer);
}
template <typename T>
static inline void store_partial(T* p, Vec v, int64_t n) {
  T buffer[kLanes];
  store(buffer, v);
  __builtin_memcpy(p, buffer, static_cast<size_t>(n) * sizeof(T));
}

// e^x within 1.3e-7 relative (under 2 ulp) on [-87.3, 88.7]; exp(0) is exactly 1; below -87.3 and
// for NaN 0. Cephes' expf: x = n ln 2 + r, a polynomial of degree 6 on |r| <= ln(2) / 2, times 2^n.
static inline Vec exp(Vec x) {
  const Vec n = round_nearest(mul(min(max(x, set1(-88.0f)), set1(88.7f)), set1(1.44269504f)));
  Vec r = fnma(n, set1(0.693359375f), min(x, set1(88.7f)));
  r = fnma(n, set1(-2.12194440e-4f), r);
  Vec p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set1(1.0f)));
  return select_ge(x, set1(-87.3f), scale2(p, n), zero());
}

template <typename T>
static void widen(float* out, const void* x, int64_t n) {
  const T* in = static_cast<const T*>(x);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(in + i));
  if (i < n) store_partial(out + i, load_partial(in + i, n - i), n - i);
}

template <typename T>
static void narrow(void* out, const float* x, int64_t n) {
  T* to = static_cast<T*>(out);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(to + i, load(x + i));
  if (i < n) store_partial(to + i, load_partial(x + i, n - i), n - i);
}

template <typename T>
static void rmsnorm(float* out, const float* x, float* residual, const void* w, int64_t n,
                    float eps) {
  const T* weight = static_cast<const T*>(w);
  Vec squares = zero();
  int64_t i = 0;
  if (residual) {
    for (; i + kLanes <= n; i += kLanes) {
      const Vec v = add(load(residual + i), load(x + i));
      store(residual + i, v);
      squares = fma(v, v, squares);
    }
    if (i < n) {
      const Vec v = add(load_partial(residual + i, n - i), load_partial(x + i, n - i));
      store_partial(residual + i, v, n - i);
      squares = fma(v, v, squares);
    }
    x = residual;
  } else {
    for (; i + kLanes <= n; i += kLanes) {
      const Vec v = load(x + i);
      squares = fma(v, v, squares);
    }
    if (i < n) {
      const Vec v = load_partial(x + i, n - i);
      squares = fma(v, v, squares);
    }
  }
  const float mean = reduce_add(squares) / static_cast<float>(n);
  const Vec inverse = set1(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i + kLanes <= n; i += kLanes)
    store(out + i, mul(mul(load(x + i), inverse), load(weight + i)));
  if (i < n) {
    const Vec v = mul(load_partial(x + i, n - i), inverse);
    store_partial(out + i, mul(v, load_partial(weight + i, n - i)), n - i);
  }
}

static void rope(float* x, const float* cos_sin, int64_t rotary_dim) {
  const int64_t half = rotary_dim / 2;
  float* y = x + half;
  const float* sin = cos_sin + half;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Vec a = load(x + i), b = load(y + i), c = load(cos_sin + i), s = load(sin + i);
    store(x + i, fnma(b, s, mul(a, c)));
    store(y + i, fma(a, s, mul(b, c)));
  }
  if (i < half) {
    const int64_t n = half - i;
    const Vec a = load_partial(x + i, n), b = load_partial(y + i, n);
    const Vec c = load_partial(cos_sin + i, n), s = load_partial(sin + i, n);
    store_partial(x + i, fnma(b, s, mul(a, c)), n);
    store_partial(y + i, fma(a, s, mul(b, c)), n);
  }
}

static inline Vec silu(Vec x) { return div(x, add(set1(1.0f), exp(sub(zero(), x)))); }

static void silu_mul(float* out, const float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, mul(silu(load(gate + i)), load(up + i)));
  if (i < n) {
    const Vec g = load_partial(gate + i, n - i), u = load_partial(up + i, n - i);
    store_partial(out + i, mul(silu(g), u), n - i);
  }
}

static void scale(float* out, const float* x, float a, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, mul(set1(a), load(x + i)));
  if (i < n) store_partial(out + i, mul(set1(a), load_partial(x + i, n - i)), n - i);
}

static void axpy(float* out, const float* x, float a, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, fma(set1(a), load(x + i), load(out + i)));
  if (i < n) {
    const Vec y = load_partial(out + i, n - i);
    store_partial(out + i, fma(set1(a), load_partial(x + i, n - i), y), n - i);
  }
}

static void block_max(float* maxima, const float* x, int64_t n) {
  const Vec lowest = set1(-__builtin_inff());
  for (int64_t b = 0; b < n; b += kSampleBlock) {
    const int64_t end = b + kSampleBlock < n ? b + kSampleBlock : n;
    Vec m = lowest;
    int64_t i = b;
    for (; i + kLanes <= end; i += kLanes) m = max(load(x + i), m);  // NaN: m stays
    float best = reduce_max(m);
    for (; i < end; ++i) best = x[i] > best ? x[i] : best;
    *maxima++ = best;
  }
}

static inline Vec tempered(Vec x, Vec maximum, Vec inverse) {
  const Vec highest = set1(__FLT_MAX__);
  return exp(mul(sub(select_ge(x, highest, highest, x), maximum), inverse));
}

static void block_exp(float* e, float* sums, const float* x, int64_t n, float maximum,
                      float inv_temperature) {
  const Vec m = set1(maximum), inverse = set1(inv_temperature);
  for (int64_t b = 0; b < n; b += kSampleBlock) {
    const int64_t end = b + kSampleBlock < n ? b + kSampleBlock : n;
    Vec sum = zero();
    int64_t i = b;
    for (; i + kLanes <= end; i += kLanes) {
      const Vec v = tempered(load(x + i), m, inverse);
      if (e) store(e + i, v);
      sum = add(sum, v);
    }
    float total = reduce_add(sum);
    if (i < end) {
      float rest[kLanes];
      store(rest, tempered(load_partial(x + i, end - i), m, inverse));
      for (int64_t j = i; j < end; ++j) {
        total += rest[j - i];
        if (e) e[j] = rest[j - i];
      }
    }
    *sums++ = total;
  }
}

// Four streams a quarter of the range apart, as the GEMM reads: one stream alone leaves bandwidth
// unused (Zen 3, 2 threads, medians: 22 GB/s against 25).
static float sum_read(const float* x, int64_t n) {
  const int64_t quarter = n / 4;
  Vec s[8];
  for (Vec& v : s) v = zero();
  for (int64_t i = 0; i + 2 * kLanes <= quarter; i += 2 * kLanes)
    for (int j = 0; j < 4; ++j) {
      s[2 * j] = add(s[2 * j], load(x + j * quarter + i));
      s[2 * j + 1] = add(s[2 * j + 1], load(x + j * quarter + i + kLanes));
    }
  for (int j = 1; j < 8; ++j) s[0] = add(s[0], s[j]);
  return reduce_add(s[0]);
}

static double fma_probe(int64_t iterations) {
  Vec s[12];
  for (int j = 0; j < 12; ++j) s[j] = set1(static_cast<float>(j));
  Vec a = set1(0.999f), b = set1(1e-3f);
  for (int64_t i = 0; i < iterations; ++i) {
    asm volatile("" : "+m"(a), "+m"(b));
    const Vec c = a, d = b;
    for (int u = 0; u < 8; ++u)
      for (int j = 0; j < 12; ++j) s[j] = fma(s[j], c, d);
  }
  for (int j = 1; j < 12; ++j) s[0] = add(s[0], s[j]);
  float keep = reduce_add(s[0]);
  asm volatile("" : "+m"(keep));
  return static_cast<double>(iterations) * 8 * 12 * kLanes * 2;
}

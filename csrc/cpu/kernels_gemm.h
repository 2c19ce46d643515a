// Included inside an ISA namespace, after kernels_math.h. y = x w^T with vectors along K.
//
// Every output, whatever the tile that computes it, is the same sum: K is cut into blocks whose
// length depends on K alone; within a block lane j of one vector adds up the products of columns
// j, j + kLanes, ... in order; the lanes are added in reduce_add's order; the block sums are added
// to the output in order, which starts as bias, or y + bias, or 0. So a row's result depends on
// neither its neighbours nor on which path was taken.

// dot products of R w rows and C x rows over k columns: out[c][r].
template <typename T, int R, int C>
static inline __attribute__((always_inline)) void dot_tile(float (*out)[4], const T* const* w,
                                                           const float* const* x, int64_t k) {
  Vec sums[C][R];
  for (int c = 0; c < C; ++c)
    for (int r = 0; r < R; ++r) sums[c][r] = zero();
  const T* wp[R];
  const float* xp[C];
  for (int r = 0; r < R; ++r) wp[r] = w[r];
  for (int c = 0; c < C; ++c) xp[c] = x[c];
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    Vec xs[C];
    for (int c = 0; c < C; ++c) xs[c] = load(xp[c] + i);
    for (int r = 0; r < R; ++r) {
      const Vec ws = load(wp[r] + i);
      for (int c = 0; c < C; ++c) sums[c][r] = fma(ws, xs[c], sums[c][r]);
    }
  }
  if (i < k) {
    Vec xs[C];
    for (int c = 0; c < C; ++c) xs[c] = load_partial(xp[c] + i, k - i);
    for (int r = 0; r < R; ++r) {
      const Vec ws = load_partial(wp[r] + i, k - i);
      for (int c = 0; c < C; ++c) sums[c][r] = fma(ws, xs[c], sums[c][r]);
    }
  }
  for (int c = 0; c < C; ++c) {
    if constexpr (R == 4)
      reduce_add4(out[c], sums[c][0], sums[c][1], sums[c][2], sums[c][3]);
    else
      for (int r = 0; r < R; ++r) out[c][r] = reduce_add(sums[c][r]);
  }
}

// The same for `rows` (1 to 4) w rows and `columns` (1 to kTileX) x rows.
template <typename T, int C = kTileX>
static inline void dot_tile_any(float (*out)[4], const T* const* w, int rows, const float* const* x,
                                int columns, int64_t k) {
  if constexpr (C > 1) {
    if (columns < C) return dot_tile_any<T, C - 1>(out, w, rows, x, columns, k);
  }
  if (rows == 4) return dot_tile<T, 4, C>(out, w, x, k);
  for (int r = 0; r < rows; ++r) {
    float one[C][4];
    dot_tile<T, 1, C>(one, w + r, x, k);
    for (int c = 0; c < C; ++c) out[c][r] = one[c][0];
  }
}

struct KBlocks {
  int64_t count, length;  // all but the last have this length, a multiple of 16 (any ISA's lanes)
};
static inline KBlocks k_blocks(int64_t k) {
  const int64_t count = k <= 512 ? 1 : (k + 511) / 512;
  return {count, ((k + count - 1) / count + 15) / 16 * 16};
}

// What y starts as, for w rows [n, n + rows).
static inline void start_outputs(const GemmTask& t, int64_t n, int rows) {
  for (int64_t i = 0; i < t.m; ++i)
    for (int r = 0; r < rows; ++r) {
      const float old = t.accumulate ? t.y[i][n + r] : 0.0f;
      t.y[i][n + r] = t.bias ? old + t.bias[n + r] : old;
    }
}

static inline void add_tile(const GemmTask& t, int64_t i, int columns, int64_t n, int rows,
                            const float (*tile)[4]) {
  for (int c = 0; c < columns; ++c)
    for (int r = 0; r < rows; ++r) t.y[i + c][n + r] += tile[c][r];
}

// One column block of `rows` w rows (as T) against all x rows.
template <typename T>
static inline void gemm_rows(const GemmTask& t, const T* const* w, int64_t n, int rows, int64_t k0,
                             int64_t length) {
  for (int64_t i = 0; i < t.m; i += kTileX) {
    const int columns = static_cast<int>(t.m - i < kTileX ? t.m - i : kTileX);
    const float* x[kTileX];
    for (int c = 0; c < columns; ++c) x[c] = t.x[i + c] + k0;
    float tile[kTileX][4];
    dot_tile_any<T>(tile, w, rows, x, columns, length);
    add_tile(t, i, columns, n, rows, tile);
  }
}

template <typename T>
static void gemm(const GemmTask& t) {
  const KBlocks blocks = k_blocks(t.k);
  const T* weights = static_cast<const T*>(t.w);
  for (int64_t n = t.n_begin; n < t.n_end; n += 4) {
    const int rows = static_cast<int>(t.n_end - n < 4 ? t.n_end - n : 4);
    start_outputs(t, n, rows);
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t k0 = b * blocks.length;
      const int64_t length = t.k - k0 < blocks.length ? t.k - k0 : blocks.length;
      const T* w[4];
      for (int r = 0; r < rows; ++r) w[r] = weights + (n + r) * t.w_stride + k0;
      if constexpr (sizeof(T) == 2) {
        if (t.m > kTileX) {  // widen once, use for every tile of x
          const float* wide[4];
          for (int r = 0; r < rows; ++r) {
            float* to = t.scratch + r * blocks.length;
            widen<T>(to, w[r], length);
            wide[r] = to;
          }
          gemm_rows<float>(t, wide, n, rows, k0, length);
          continue;
        }
      }
      gemm_rows<T>(t, w, n, rows, k0, length);
    }
  }
}

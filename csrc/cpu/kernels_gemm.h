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
  auto step = [&](int64_t i) __attribute__((always_inline)) {
    Vec xs[C];
    for (int c = 0; c < C; ++c) xs[c] = load(xp[c] + i);
    for (int r = 0; r < R; ++r) {
      const Vec ws = load(wp[r] + i);
      for (int c = 0; c < C; ++c) sums[c][r] = fma(ws, xs[c], sums[c][r]);
    }
  };
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) step(i);
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

// With more x rows than this, w is widened into scratch once per kWideX rows of x, which then stay
// in the second-level cache (kWideX * 512 columns: 128 KiB), as the kWideW rows of w stay in the
// first.
constexpr int64_t kDirectX = 16, kWideX = 64;
constexpr int kWideW = 8;
static_assert(kWideW * 512 <= kGemmScratch);

struct KBlocks {
  int64_t count, length;  // all but the last have this length, a multiple of 16 (any ISA's lanes)
  int64_t end(int64_t k, int64_t b) const { return (b + 1) * length < k ? (b + 1) * length : k; }
};
static inline KBlocks k_blocks(int64_t k) {
  const int64_t count = k <= 512 ? 1 : (k + 511) / 512;
  return {count, ((k + count - 1) / count + 15) / 16 * 16};
}

// The w rows of a tile: first, first + step, ...
struct TileRows {
  int64_t first, step;
  int count;
};

// What y[i0, i1) starts as.
static inline void start_outputs(const GemmTask& t, const TileRows& rows, int64_t i0, int64_t i1) {
  for (int64_t i = i0; i < i1; ++i)
    for (int r = 0; r < rows.count; ++r) {
      const int64_t n = rows.first + r * rows.step;
      const float old = t.accumulate ? t.y[i][n] : 0.0f;
      t.y[i][n] = t.bias ? old + t.bias[n] : old;
    }
}

// Adds one column block of up to 4 w rows to y[i, i + columns).
template <typename T>
static inline void add_tile(const GemmTask& t, const T* const* w, const TileRows& rows, int64_t i,
                            int columns, int64_t k0, int64_t length) {
  const float* x[kTileX];
  for (int c = 0; c < columns; ++c) x[c] = t.x[i + c] + k0;
  float tile[kTileX][4];
  dot_tile_any<T>(tile, w, rows.count, x, columns, length);
  for (int c = 0; c < columns; ++c)
    for (int r = 0; r < rows.count; ++r) t.y[i + c][rows.first + r * rows.step] += tile[c][r];
}

// x rows are cut into tiles of equal size, as nearly as can be: 8 rows are 3 + 3 + 2.
struct XTiles {
  int64_t count, rows;
  int64_t begin(int64_t tile) const { return tile * rows / count; }
};
static inline XTiles x_tiles(int64_t rows) { return {(rows + kTileX - 1) / kTileX, rows}; }

// Few rows of x: w straight from memory, widened in registers. A tile's four rows are far apart,
// not neighbours: four streams on pages of their own keep the hardware's prefetcher going, where
// short neighbouring rows share a page and stop it (Zen 3, M = 1, K = 896: 10.7 GB/s against 21.5).
template <typename T>
static inline void gemm_direct(const GemmTask& t, const TileRows& rows) {
  const KBlocks blocks = k_blocks(t.k);
  const XTiles tiles = x_tiles(t.m);
  start_outputs(t, rows, 0, t.m);
  for (int64_t b = 0; b < blocks.count; ++b) {
    const int64_t k0 = b * blocks.length, length = blocks.end(t.k, b) - k0;
    const T* w[4];
    for (int r = 0; r < rows.count; ++r)
      w[r] = static_cast<const T*>(t.w) + (rows.first + r * rows.step) * t.w_stride + k0;
    for (int64_t i = 0; i < tiles.count; ++i)
      add_tile<T>(t, w, rows, tiles.begin(i), static_cast<int>(tiles.begin(i + 1) - tiles.begin(i)),
                  k0, length);
  }
}

// kWideW rows of w from n, widened, against x rows [i0, i1), one column block. While it computes it
// fetches the rows that come next.
template <typename T>
static inline void gemm_panel(const GemmTask& t, int64_t n, int64_t i0, int64_t i1, int64_t k0,
                              int64_t length) {
  const int rows = static_cast<int>(t.n_end - n < kWideW ? t.n_end - n : kWideW);
  const T* weights = static_cast<const T*>(t.w) + n * t.w_stride + k0;
  const float* wide[kWideW];
  for (int r = 0; r < rows; ++r) {
    float* to = t.scratch + r * 512;
    widen<T>(to, weights + r * t.w_stride, length);
    wide[r] = to;
  }
  const XTiles tiles = x_tiles(i1 - i0);
  constexpr int64_t kLine = 64 / sizeof(T);
  const int64_t lines = (length + kLine - 1) / kLine;
  const int64_t wanted = n + 2 * kWideW <= t.n_end ? kWideW * lines : 0;
  const int64_t per_tile = (wanted + tiles.count - 1) / tiles.count;
  int64_t fetched = 0;
  for (int64_t i = 0; i < tiles.count; ++i) {
    for (const int64_t end = fetched + per_tile; fetched < end && fetched < wanted; ++fetched)
      prefetch(weights + (kWideW + fetched / lines) * t.w_stride + fetched % lines * kLine);
    const int columns = static_cast<int>(tiles.begin(i + 1) - tiles.begin(i));
    for (int r = 0; r < rows; r += 4)
      add_tile<float>(t, wide + r, {n + r, 1, rows - r < 4 ? rows - r : 4}, i0 + tiles.begin(i),
                      columns, k0, length);
  }
}

template <typename T>
static void gemm(const GemmTask& t) {
  if (t.m <= kDirectX) {
    const int64_t quarter = (t.n_end - t.n_begin) / 4;
    for (int64_t i = 0; i < quarter; ++i) gemm_direct<T>(t, {t.n_begin + i, quarter, 4});
    for (int64_t n = t.n_begin + 4 * quarter; n < t.n_end; ++n) gemm_direct<T>(t, {n, 1, 1});
    return;
  }
  const KBlocks blocks = k_blocks(t.k);
  for (int64_t i0 = 0; i0 < t.m; i0 += kWideX) {
    const int64_t i1 = i0 + kWideX < t.m ? i0 + kWideX : t.m;
    for (int64_t n = t.n_begin; n < t.n_end; n += 4)
      start_outputs(t, {n, 1, static_cast<int>(t.n_end - n < 4 ? t.n_end - n : 4)}, i0, i1);
    for (int64_t b = 0; b < blocks.count; ++b) {
      const int64_t k0 = b * blocks.length, length = blocks.end(t.k, b) - k0;
      for (int64_t n = t.n_begin; n < t.n_end; n += kWideW) gemm_panel<T>(t, n, i0, i1, k0, length);
    }
  }
}

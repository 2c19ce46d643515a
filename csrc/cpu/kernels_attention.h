// Included inside an ISA namespace, after kernels_gemm.h. Online softmax over chunks of keys.
//
// Chunks begin at multiples of the chunk length, counted from position 0, whoever asks: so a
// token's result is the same in a prefill, a chunk of one, and a decode. Keys that a row may not
// see get weight 0 (exactly nothing), and a chunk of which a row sees nothing leaves that row
// untouched.

// acc[r][d] += sum over keys j in [begin, end) of p[r][j] * v[j][d], key by key, for R rows and D
// vectors of columns. next: rows of the next chunk, to be fetched meanwhile, or null.
template <typename T, int R, int D>
static inline __attribute__((always_inline)) void value_tile(float* const* acc,
                                                             const float* const* p,
                                                             const T* const* v, int64_t column,
                                                             int begin, int end,
                                                             const T* const* next) {
  Vec sums[R][D];
  for (int r = 0; r < R; ++r)
    for (int d = 0; d < D; ++d) sums[r][d] = load(acc[r] + column + d * kLanes);
  for (int j = begin; j < end; ++j) {
    if (next)
      for (int64_t line = 0; line < D * kLanes; line += static_cast<int64_t>(64 / sizeof(T)))
        prefetch_far(next[j] + column + line);
    Vec vs[D];
    for (int d = 0; d < D; ++d) vs[d] = load(v[j] + column + d * kLanes);
    for (int r = 0; r < R; ++r) {
      const Vec weight = set1(p[r][j]);
      for (int d = 0; d < D; ++d) sums[r][d] = fma(weight, vs[d], sums[r][d]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int d = 0; d < D; ++d) store(acc[r] + column + d * kLanes, sums[r][d]);
}

// All columns, D vectors at a time: enough independent sums to keep the multipliers busy.
template <typename T, int R, int D>
static inline void value_rows(float* const* acc, const float* const* p, const T* const* v,
                              int head_dim, int begin, int end, const T* const* next) {
  int64_t column = 0;
  for (; column + D * kLanes <= head_dim; column += D * kLanes)
    value_tile<T, R, D>(acc, p, v, column, begin, end, next);
  for (; column + kLanes <= head_dim; column += kLanes)
    value_tile<T, R, 1>(acc, p, v, column, begin, end, next);
  for (int j = begin; column < head_dim && j < end; ++j) {
    const int64_t n = head_dim - column;
    const Vec vs = load_partial(v[j] + column, n);
    for (int r = 0; r < R; ++r)
      store_partial(acc[r] + column, fma(set1(p[r][j]), vs, load_partial(acc[r] + column, n)), n);
  }
}

// Keys and values of one chunk, as float or as they lie in the cache; entries [begin, end) are set.
template <typename T>
struct KvChunk {
  const T* k[kAttentionChunk];
  const T* v[kAttentionChunk];
  int begin, end;
};

struct AttentionRows {  // one row per (query token, head of the group)
  int count;
  const float* q[kAttentionRows];
  int32_t first[kAttentionRows], last[kAttentionRows];  // keys [first, last] are seen
  float maximum[kAttentionRows], sum[kAttentionRows];
  float* acc[kAttentionRows];     // [head_dim] weighted values, not yet divided by sum
  float* scores[kAttentionRows];  // [kAttentionChunk] scores, then weights
};

template <typename T>
static inline void attend_chunk(const AttentionTask& t, AttentionRows& rows, const KvChunk<T>& kv,
                                int32_t chunk_start, const KvChunk<T>* next) {
  const XTiles tiles = x_tiles(rows.count);
  for (int j = kv.begin; j < kv.end; j += 4) {
    const int keys = kv.end - j < 4 ? kv.end - j : 4;
    for (int r = 0; next && r < keys; ++r)
      for (int64_t d = 0; d < t.head_dim; d += static_cast<int64_t>(64 / sizeof(T)))
        prefetch_far(next->k[j + r] + d);
    for (int64_t tile_index = 0; tile_index < tiles.count; ++tile_index) {
      const int i = static_cast<int>(tiles.begin(tile_index));
      const int columns = static_cast<int>(tiles.begin(tile_index + 1)) - i;
      float tile[kTileX][4];
      dot_tile_any<T>(tile, kv.k + j, keys, rows.q + i, columns, t.head_dim);
      for (int c = 0; c < columns; ++c)
        for (int r = 0; r < keys; ++r) rows.scores[i + c][j + r] = tile[c][r] * t.scale;
    }
  }
  const float nothing = -__builtin_inff();
  for (int i = 0; i < rows.count; ++i) {
    float* s = rows.scores[i];
    int begin = rows.first[i] - chunk_start, end = rows.last[i] + 1 - chunk_start;
    begin = begin < kv.begin ? kv.begin : begin;
    end = end > kv.end ? kv.end : end;
    if (begin >= end) {
      for (int j = 0; j < kAttentionChunk; ++j) s[j] = 0;
      continue;
    }
    for (int j = 0; j < begin; ++j) s[j] = nothing;
    for (int j = end; j < kAttentionChunk; ++j) s[j] = nothing;
    Vec m = set1(nothing);
    for (int j = 0; j < kAttentionChunk; j += kLanes) m = max(load(s + j), m);
    const float chunk_maximum = reduce_max(m);
    const float maximum = chunk_maximum > rows.maximum[i] ? chunk_maximum : rows.maximum[i];
    Vec sum = zero();
    for (int j = 0; j < kAttentionChunk; j += kLanes) {
      const Vec e = exp(sub(load(s + j), set1(maximum)));
      store(s + j, e);
      sum = add(sum, e);
    }
    if (maximum != rows.maximum[i]) {
      float shrink[kLanes];
      store(shrink, exp(set1(rows.maximum[i] - maximum)));
      rows.sum[i] *= shrink[0];
      scale(rows.acc[i], rows.acc[i], shrink[0], t.head_dim);
      rows.maximum[i] = maximum;
    }
    rows.sum[i] += reduce_add(sum);
  }
  float* const* acc = rows.acc;
  float* const* p = rows.scores;
  int left = rows.count;
  const T* const* fetch = next ? next->v : nullptr;
  for (; left >= 4; left -= 4, acc += 4, p += 4, fetch = nullptr)
    value_rows<T, 4, 2>(acc, p, kv.v, t.head_dim, kv.begin, kv.end, fetch);
  if (left == 3) value_rows<T, 3, 4>(acc, p, kv.v, t.head_dim, kv.begin, kv.end, fetch);
  if (left == 2) value_rows<T, 2, 4>(acc, p, kv.v, t.head_dim, kv.begin, kv.end, fetch);
  if (left == 1) value_rows<T, 1, 8>(acc, p, kv.v, t.head_dim, kv.begin, kv.end, fetch);
}

// Where the chunk's keys [begin, end) lie, block by block.
template <typename T>
static inline void locate_chunk(const AttentionTask& t, KvChunk<T>& kv, int32_t start, int begin,
                                int end) {
  kv.begin = begin, kv.end = end;
  const int64_t head_stride = static_cast<int64_t>(t.block_size) * t.head_dim;
  int32_t index = (start + begin) / t.block_size, offset = (start + begin) % t.block_size;
  for (int j = begin; j < end; ++index, offset = 0) {
    const int64_t block = t.block_table[index];
    const int64_t at = (block * t.num_kv_heads + t.kv_head) * head_stride;
    for (; offset < t.block_size && j < end; ++offset, ++j) {
      kv.k[j] = static_cast<const T*>(t.k_cache) + at + static_cast<int64_t>(offset) * t.head_dim;
      kv.v[j] = static_cast<const T*>(t.v_cache) + at + static_cast<int64_t>(offset) * t.head_dim;
    }
  }
}

template <typename T>
static void attend_rows(const AttentionTask& t, int row_begin, int row_end) {
  AttentionRows rows;
  rows.count = row_end - row_begin;
  float* scratch = t.scratch;
  int32_t tile_first = INT32_MAX, tile_last = -1;
  for (int i = 0; i < rows.count; ++i) {
    const int token = (row_begin + i) / t.group, head = (row_begin + i) % t.group;
    const int32_t p = t.positions[token];
    rows.q[i] = t.q + token * t.q_stride + static_cast<int64_t>(head) * t.head_dim;
    rows.first[i] = t.window > 0 && p >= t.window ? p - t.window + 1 : 0;
    rows.last[i] = p;
    tile_first = rows.first[i] < tile_first ? rows.first[i] : tile_first;
    tile_last = p > tile_last ? p : tile_last;
    rows.maximum[i] = -__builtin_inff();
    rows.sum[i] = 0;
    rows.scores[i] = scratch, scratch += kAttentionChunk;
    rows.acc[i] = scratch, scratch += (t.head_dim + 15) / 16 * 16;
    for (int d = 0; d < t.head_dim; ++d) rows.acc[i][d] = 0;
  }
  const int32_t first_start = tile_first / kAttentionChunk * kAttentionChunk;
  auto locate = [&](KvChunk<T>& kv, int32_t start) {
    locate_chunk(t, kv, start, tile_first > start ? tile_first - start : 0,
                 tile_last + 1 - start < kAttentionChunk ? tile_last + 1 - start : kAttentionChunk);
  };
  KvChunk<T> chunks[2] = {};
  locate(chunks[0], first_start);
  for (int32_t start = first_start, turn = 0; start <= tile_last;
       start += kAttentionChunk, turn ^= 1) {
    const KvChunk<T>& kv = chunks[turn];
    const bool more = start + kAttentionChunk <= tile_last;
    if (more) locate(chunks[turn ^ 1], start + kAttentionChunk);
    if constexpr (sizeof(T) == 2) {
      if (rows.count > kDirectX) {  // widen once for all rows
        KvChunk<float> wide;
        wide.begin = kv.begin, wide.end = kv.end;
        const int64_t stride = (t.head_dim + 7) / 8 * 8;
        for (int j = kv.begin; j < kv.end; ++j) {
          float* k = scratch + 2 * j * stride;
          float* v = k + stride;
          widen<T>(k, kv.k[j], t.head_dim);
          widen<T>(v, kv.v[j], t.head_dim);
          wide.k[j] = k, wide.v[j] = v;
        }
        attend_chunk<float>(t, rows, wide, start, nullptr);
        continue;
      }
    }
    attend_chunk<T>(t, rows, kv, start, more ? &chunks[turn ^ 1] : nullptr);
  }
  for (int i = 0; i < rows.count; ++i) {
    const int token = (row_begin + i) / t.group, head = (row_begin + i) % t.group;
    float* out = t.out + token * t.out_stride + static_cast<int64_t>(head) * t.head_dim;
    scale(out, rows.acc[i], 1.0f / rows.sum[i], t.head_dim);
  }
}

template <typename T>
static void attention(const AttentionTask& t) {
  const int rows = t.num_tokens * t.group;
  for (int begin = 0; begin < rows; begin += kAttentionRows)
    attend_rows<T>(t, begin, begin + kAttentionRows < rows ? begin + kAttentionRows : rows);
}

// The host's part of sampling: packs rows for the kernels of sample.cu and unpacks what they give.

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "cuda/device/sample_row.cuh"
#include "cuda/sample.h"

namespace hotpath::cuda {

using sampling::ChunkStat;
using sampling::Launch;
using sampling::Outcome;
using sampling::Row;
using sampling::RowTable;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr size_t kAlign = 16;

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Memory of one ring entry that grows when a launch needs more. Whoever uses the entry has waited
// for its last use.
class Buffer {
 public:
  explicit Buffer(bool on_host) : on_host_(on_host) {}
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  char* get(size_t bytes) {
    if (bytes > size_) {
      release();
      const size_t size = std::max(bytes + bytes / 2, size_t{64} << 10);
      if (on_host_)
        check_cuda(cudaHostAlloc(&data_, size, cudaHostAllocMapped), "pinned sampling buffer");
      else
        check_cuda(cudaMalloc(&data_, size), "sampling buffer");
      size_ = size;
    }
    return static_cast<char*>(data_);
  }
  char* data() const { return static_cast<char*>(data_); }

 private:
  void release() {
    if (data_) on_host_ ? cudaFreeHost(data_) : cudaFree(data_);
    data_ = nullptr, size_ = 0;
  }
  bool on_host_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

struct Ring {
  Buffer up{true}, up_device{false}, down{true};
  // What collect needs of each row.
  struct Kept {
    int32_t num_logprobs;
    float inverse_temperature;
    const char* top;       // in `down`: ids and logprobs, or the row's logits
    const uint32_t* mask;  // in `up`
  };
  std::vector<Kept> rows;
  int64_t vocab = 0;
};

bool penalised(const SampleRow& row) {
  return row.frequency_penalty != 0 || row.presence_penalty != 0 || row.repetition_penalty != 1;
}

void check_tokens(std::span<const int32_t> tokens, int64_t n, const char* what) {
  for (int32_t token : tokens)
    check(token >= 0 && token < n, what, ": expected a token in [0, ", n, "), received ", token);
}

void check_row(const SampleRow& row, int64_t n) {
  check(row.num_logprobs <= n, "top logprobs: expected at most the vocabulary's ", n,
        ", received ", row.num_logprobs);
  if (row.score_token >= 0) {
    check(row.score_token < n, "scored token: expected a token in [0, ", n, "), received ",
          row.score_token);
    return;
  }
  check(row.greedy || row.temperature > 0, "temperature: expected more than 0, received ",
        row.temperature);
  check(row.seen_tokens.size() == row.seen_counts.size() &&
            row.bias_tokens.size() == row.bias_values.size(),
        "sample: expected as many counts as seen tokens and as many values as biased tokens");
  check_tokens(row.seen_tokens, n, "seen token");
  check_tokens(row.bias_tokens, n, "biased token");
  check_tokens(row.suppressed, n, "suppressed token");
}

bool applies_rules(const SampleRow& row) { return row.score_token < 0; }

size_t num_seen(const SampleRow& row) {
  return applies_rules(row) && penalised(row) ? row.seen_tokens.size() : 0;
}

size_t edit_words(const SampleRow& row) {
  if (!applies_rules(row)) return 0;
  return 2 * num_seen(row) + row.suppressed.size() + 2 * row.bias_tokens.size();
}

template <typename T>
char* put(char* to, std::span<const T> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size_bytes());
  return to + from.size_bytes();
}

// Biased tokens must rise; several biases of one token keep their order.
char* put_bias(char* to, const SampleRow& row) {
  const auto tokens = row.bias_tokens;
  if (std::is_sorted(tokens.begin(), tokens.end()))
    return put(put(to, tokens), row.bias_values);
  std::vector<int32_t> order(tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return tokens[a] < tokens[b]; });
  auto* sorted = reinterpret_cast<int32_t*>(to);
  auto* values = reinterpret_cast<float*>(sorted + order.size());
  for (size_t i = 0; i < order.size(); ++i)
    sorted[i] = tokens[order[i]], values[i] = row.bias_values[order[i]];
  return reinterpret_cast<char*>(values + order.size());
}

Row device_row(const SampleRow& row, int64_t n) {
  const bool score = row.score_token >= 0, draws = !score && !row.greedy;
  Row out{};
  out.inverse_temperature = draws ? std::min(1.0f / row.temperature, 1e30f) : 1.0f;
  out.top_p = draws ? row.top_p : 1.0f;
  out.min_p = draws ? row.min_p : 0.0f;
  out.top_k = draws && row.top_k > 0 && row.top_k < n ? row.top_k : 0;
  out.frequency = row.frequency_penalty, out.presence = row.presence_penalty;
  out.repetition = row.repetition_penalty;
  out.num_seen = static_cast<int32_t>(num_seen(row));
  if (!score) {
    out.num_suppressed = static_cast<int32_t>(row.suppressed.size());
    out.num_bias = static_cast<int32_t>(row.bias_tokens.size());
    out.pending = row.pending && row.slot >= 0 && penalised(row);
  }
  out.score_token = row.score_token, out.num_logprobs = row.num_logprobs, out.slot = row.slot;
  out.greedy = row.greedy && !score;
  out.needs_sum = row.num_logprobs >= 0 ||
                  (draws && out.top_k == 0 && (out.top_p < 1 || out.min_p <= 0));
  out.seed = row.seed, out.position = row.position;
  return out;
}

// Whether the select kernel may have to leave the row to the wide one.
bool may_be_wide(const Row& row, int64_t n) {
  if (n <= sampling::kListCapacity) return false;
  return row.top_k > 0 ? row.top_k > sampling::kMaxNeed : row.top_p < 1 || row.min_p > 0;
}

// The longest lists of logprobs are sorted here, from the row's logits after the rules but before
// the mask.
void sort_logprobs(const Ring::Kept& kept, int64_t n, SampleResult& result) {
  std::vector<float> x(n);
  std::memcpy(x.data(), kept.top, n * sizeof(float));
  float maximum = -kInf;
  for (int64_t i = 0; i < n; ++i) {
    const bool masked = kept.mask && !(kept.mask[i / 32] >> (i % 32) & 1u);
    if (masked || !(x[i] > -kInf)) x[i] = -kInf;
    maximum = std::max(maximum, x[i]);
  }
  maximum = std::min(maximum, std::numeric_limits<float>::max());
  auto scaled = [&](float v) {
    return static_cast<double>(
        (std::min(v, std::numeric_limits<float>::max()) - maximum) * kept.inverse_temperature);
  };
  double total = 0;
  std::vector<int32_t> order;
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] == -kInf) continue;
    total += std::exp(scaled(x[i]));
    order.push_back(static_cast<int32_t>(i));
  }
  const double log_total = std::log(total);
  const size_t wanted = kept.num_logprobs, count = std::min(wanted, order.size());
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    return x[a] > x[b] || (x[a] == x[b] && a < b);
  });
  for (size_t i = 0; i < count; ++i) {
    result.top_ids[i] = order[i];
    result.top_logprobs[i] = static_cast<float>(std::max(
        scaled(x[order[i]]) - log_total, -double{std::numeric_limits<float>::max()}));
  }
  for (size_t i = count, token = 0; i < wanted; ++token)
    if (x[token] == -kInf) {
      result.top_ids[i] = static_cast<int32_t>(token);
      result.top_logprobs[i++] = -std::numeric_limits<float>::max();
    }
}

}  // namespace

struct SampleStage::State {
  State(const Context& context, const OpLimits& limits)
      : ctx(context), max_rows(limits.max_logits), max_vocab(limits.vocab_size) {
    const int64_t chunks = ceil_div(max_vocab, sampling::kChunk);
    const int64_t blocks = ceil_div(max_vocab, sampling::kBlock);
    const size_t chunk_bytes = aligned(max_rows * chunks * sizeof(ChunkStat));
    const size_t block_bytes = aligned(max_rows * blocks * sizeof(float));
    char* p = scratch.get(chunk_bytes + block_bytes + max_rows * sizeof(int32_t));
    chunk_stats = reinterpret_cast<ChunkStat*>(p);
    block_maxima = reinterpret_cast<float*>(p + chunk_bytes);
    resolved = reinterpret_cast<int32_t*>(p + chunk_bytes + block_bytes);
    for (Ring& ring : rings) {
      ring.rows.reserve(max_rows);
      ring.up.get(1), ring.up_device.get(1), ring.down.get(1);
    }
  }

  const Context& ctx;
  int64_t max_rows, max_vocab;
  Buffer scratch{false};
  ChunkStat* chunk_stats;
  float* block_maxima;
  int32_t* resolved;
  Ring rings[kRing];
};

SampleStage::SampleStage(const Context& ctx, const OpLimits& limits)
    : state_(std::make_unique<State>(ctx, limits)) {}
SampleStage::~SampleStage() = default;

void SampleStage::launch(const Tensor& logits, std::span<const SampleRow> rows,
                         int32_t* last_tokens, int ring_index) {
  State& state = *state_;
  const int64_t count = static_cast<int64_t>(rows.size());
  Ring& ring = state.rings[ring_index];
  ring.rows.clear();
  if (count == 0) return;
  check(logits.dtype == DType::kF32 && logits.ndim == 2 && logits.dim(0) == count &&
            logits.dim(1) > 0 && logits.contiguous(),
        "sample: expected f32 logits [", count, ", vocab_size], received ", logits.to_string());
  const int64_t n = logits.dim(1);
  check(count <= state.max_rows && count <= 65535 && n <= state.max_vocab && n < int64_t{1} << 21,
        "sample: expected at most ", state.max_rows, " rows of ", state.max_vocab, ", received ",
        logits.to_string());

  const size_t mask_bytes = (n + 31) / 32 * sizeof(uint32_t);
  const bool inlined = count <= sampling::kInlineRows;
  size_t up_bytes = inlined ? 0 : aligned(count * sizeof(Row));
  size_t down_bytes = aligned(count * sizeof(Outcome));
  const uint32_t* last_mask = nullptr;
  for (const SampleRow& row : rows) {
    check_row(row, n);
    up_bytes += aligned(edit_words(row) * sizeof(int32_t));
    if (applies_rules(row) && row.bitmask && row.bitmask != last_mask)
      up_bytes += aligned(mask_bytes), last_mask = row.bitmask;
    if (row.num_logprobs > sampling::kMaxNeed)
      down_bytes += aligned(n * sizeof(float));
    else if (row.num_logprobs > 0)
      down_bytes += aligned(row.num_logprobs * 2 * sizeof(int32_t));
  }
  char* const up = ring.up.get(up_bytes);
  char* const down = ring.down.get(down_bytes);
  // Where the prepare kernel puts its copies of rows and masks: as far from the start as in `up`.
  char* const copy = ring.up_device.get(up_bytes);

  RowTable table{};
  if (!inlined) {
    table.rows = reinterpret_cast<const Row*>(copy);
    table.source = reinterpret_cast<const Row*>(up);
  }
  Row* const out = inlined ? table.inlined : reinterpret_cast<Row*>(up);
  Launch launch{};
  launch.logits = logits.as<float>();
  launch.vocab = n, launch.rows = static_cast<int>(count);
  launch.aligned = n % 4 == 0 && reinterpret_cast<uintptr_t>(logits.data) % 16 == 0;
  launch.chunks = state.chunk_stats, launch.block_maxima = state.block_maxima;
  launch.resolved = state.resolved, launch.last_tokens = last_tokens;
  launch.outcomes = reinterpret_cast<Outcome*>(down);
  launch.prepare = !inlined;

  char* at = up + (inlined ? 0 : aligned(count * sizeof(Row)));
  char* result = down + aligned(count * sizeof(Outcome));
  const uint32_t* mask_copy = nullptr;
  last_mask = nullptr;
  for (int64_t r = 0; r < count; ++r) {
    const SampleRow& row = rows[r];
    Row d = device_row(row, n);
    check(row.slot < 0 || last_tokens, "sample: expected last_tokens for a row with a slot");
    Ring::Kept kept{row.num_logprobs, d.inverse_temperature, result, nullptr};
    if (const size_t words = edit_words(row); words > 0) {
      d.edits = reinterpret_cast<const int32_t*>(at);
      char* p = put(at, row.seen_tokens.first(d.num_seen));
      p = put(p, row.seen_counts.first(d.num_seen));
      put_bias(put(p, row.suppressed), row);
      at += aligned(words * sizeof(int32_t));
    }
    if (applies_rules(row) && row.bitmask) {
      if (row.bitmask != last_mask) {
        std::memcpy(at, row.bitmask, mask_bytes);
        last_mask = row.bitmask, mask_copy = reinterpret_cast<const uint32_t*>(at);
        d.mask_source = mask_copy;
        at += aligned(mask_bytes);
      }
      kept.mask = mask_copy;
      d.mask = reinterpret_cast<const uint32_t*>(
          copy + (reinterpret_cast<const char*>(mask_copy) - up));
    }
    launch.prepare |= d.pending || d.edits || d.mask;
    if (row.num_logprobs > sampling::kMaxNeed) {
      result += aligned(n * sizeof(float));
    } else if (row.num_logprobs > 0) {
      d.top_ids = reinterpret_cast<int32_t*>(result);
      result += aligned(row.num_logprobs * 2 * sizeof(int32_t));
    }
    launch.any_wide |= may_be_wide(d, n);
    ring.rows.push_back(kept);
    std::memcpy(&out[r], &d, sizeof d);
  }
  ring.vocab = n;

  sampling::enqueue(state.ctx, launch, table);
  for (int64_t r = 0; r < count; ++r)
    if (rows[r].num_logprobs > sampling::kMaxNeed)
      check_cuda(cudaMemcpyAsync(const_cast<char*>(ring.rows[r].top), logits.row<float>(r),
                                 n * sizeof(float), cudaMemcpyDeviceToHost, state.ctx.stream),
                 "logits of a row with many logprobs");
}

void SampleStage::collect(int ring_index, std::span<SampleResult> results) {
  const Ring& ring = state_->rings[ring_index];
  check(results.size() == ring.rows.size(), "sample: expected ", ring.rows.size(),
        " results, received ", results.size());
  const auto* outcomes = reinterpret_cast<const Outcome*>(ring.down.data());
  for (size_t r = 0; r < results.size(); ++r) {
    SampleResult& result = results[r];
    const Ring::Kept& kept = ring.rows[r];
    result.token = outcomes[r].token;
    if (kept.num_logprobs < 0 && result.token >= 0) continue;
    result.logprob = outcomes[r].logprob;
    if (kept.num_logprobs <= 0 || result.token < 0) continue;
    if (kept.num_logprobs > sampling::kMaxNeed) {
      sort_logprobs(kept, ring.vocab, result);
      continue;
    }
    const size_t bytes = kept.num_logprobs * sizeof(int32_t);
    std::memcpy(result.top_ids, kept.top, bytes);
    std::memcpy(result.top_logprobs, kept.top + bytes, bytes);
  }
}

}  // namespace hotpath::cuda

#include "fake_backend.h"

#include <cstdlib>
#include <unordered_map>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "core/error.h"

namespace hotpath::test {

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int kHeadDim = 2;  // the token id, then its position

uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// The state of a history: a hash of all of its tokens, in order.
struct History {
  uint64_t hash = 1;
  int32_t first = -1, length = 0;
  void append(int32_t token) {
    if (length++ == 0) first = token;
    hash = mix(hash ^ static_cast<uint64_t>(token));
  }
};

void fill_logits(const History& h, float* row) {
  for (int v = 0; v < kVocab; ++v)
    row[v] = static_cast<float>(mix(h.hash + static_cast<uint64_t>(v)) % 8192) / 1024.0f - 4.0f;
  if (h.first == kPoison && h.length >= kPoisonLength)
    row[h.hash % kVocab] = std::numeric_limits<float>::quiet_NaN();
}

void fill_experts(const History& h, int32_t* row) {  // [kLayers, kTopK]; layer 0 stays as it is
  row[kTopK] = static_cast<int32_t>(h.hash % kExperts);
  row[kTopK + 1] = static_cast<int32_t>((h.hash >> 8) % kExperts);
}

}  // namespace

void* FakeDevice::allocate(size_t bytes, bool zeroed) {
  if (fail_after >= 0 && fail_after-- == 0)
    fail("out_of_memory", "fake device: needed ", bytes, " bytes, 0 free");
  void* p = zeroed ? std::calloc(1, bytes) : std::malloc(bytes);
  live_.insert(p);
  return p;
}

void FakeDevice::free(void* p) {
  check(live_.erase(p) == 1, "fake device: free of unknown memory");
  std::free(p);
}

void FakeDevice::copy_in(void* dst, const void* host, size_t bytes) {
  std::memcpy(dst, host, bytes);
}
void FakeDevice::copy_out(void* host, const void* src, size_t bytes) {
  std::memcpy(host, src, bytes);
}

FakeOps::~FakeOps() {
  if (device_.num_allocations() != 0) std::abort();  // somebody leaks device memory
}

void FakeOps::unused() { fail("internal_error", "fake ops: only sample is expected"); }

SampleResult sample_row(const float* logits, const SampleRow& row, std::vector<int32_t>& top_ids,
                        std::vector<float>& top_logprobs) {
  std::vector<double> x(logits, logits + kVocab);
  top_ids.assign(std::max(row.num_logprobs, 0), -1);
  top_logprobs.assign(std::max(row.num_logprobs, 0), 0);
  SampleResult result{-1, 0, top_ids.data(), top_logprobs.data()};
  for (double v : x)
    if (!std::isfinite(v)) return result;
  const bool score = row.score_token >= 0;
  if (!score) {
    for (size_t i = 0; i < row.seen_tokens.size(); ++i) {
      double& v = x[row.seen_tokens[i]];
      v -= row.frequency_penalty * row.seen_counts[i] + row.presence_penalty;
      v = v < 0 ? v * row.repetition_penalty : v / row.repetition_penalty;
    }
    for (int32_t t : row.suppressed) x[t] = -kInf;
    for (int32_t t = 0; t < kVocab && row.bitmask; ++t)
      if (!(row.bitmask[t / 32] >> (t % 32) & 1u)) x[t] = -kInf;
    for (size_t i = 0; i < row.bias_tokens.size(); ++i) x[row.bias_tokens[i]] += row.bias_values[i];
    if (!row.greedy)
      for (double& v : x) v /= row.temperature;
  }
  double sum = 0;
  for (double v : x) sum += std::exp(v);
  const double log_sum = std::log(sum);
  std::vector<int32_t> order(kVocab);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return x[a] > x[b]; });
  if (score) {
    result.token = row.score_token;
  } else if (row.greedy) {
    result.token = order[0];
  } else {
    // Gumbel-max over the top_k likeliest: depends on (seed, position, token) only.
    double best = -kInf;
    for (int i = 0; i < (row.top_k > 0 ? row.top_k : kVocab); ++i) {
      const uint64_t bits = mix(mix(row.seed) ^ mix(row.position * 977 + order[i]));
      const double u = (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
      const double g = x[order[i]] - std::log(-std::log(u));
      if (g > best) best = g, result.token = order[i];
    }
  }
  if (row.num_logprobs >= 0) {
    result.logprob = static_cast<float>(x[result.token] - log_sum);
    for (int i = 0; i < row.num_logprobs; ++i) {
      top_ids[i] = order[i];
      top_logprobs[i] = static_cast<float>(x[order[i]] - log_sum);
    }
  }
  return result;
}

namespace {
// By slot. The forward and the draws of an engine are made by its one thread.
thread_local std::unordered_map<int32_t, int32_t> last_tokens;
}  // namespace

bool FakeOps::asynchronous() const { return std::getenv("HOTPATH_FAKE_OVERLAP") != nullptr; }

uint64_t FakeOps::ticket() { return next_ticket_++; }

void FakeOps::wait(uint64_t ticket) {
  for (Drawn& d : drawn_) {
    if (d.ticket > ticket) continue;
    size_t top = 0;
    for (size_t i = 0; i < d.results.size(); ++i) {
      const size_t n = d.top_counts[i];
      d.out[i].token = d.results[i].token;
      d.out[i].logprob = d.results[i].logprob;
      std::copy_n(d.top_ids.begin() + top, n, d.out[i].top_ids);
      std::copy_n(d.top_logprobs.begin() + top, n, d.out[i].top_logprobs);
      top += n;
    }
  }
  std::erase_if(drawn_, [&](const Drawn& d) { return d.ticket <= ticket; });
}

void FakeOps::sample(const Tensor& logits, std::span<const SampleRow> rows,
                     std::span<SampleResult> results) {
  check(!rows.empty() && rows.size() == results.size(), "sample: ", rows.size(), " rows, ",
        results.size(), " results");
  check(logits.dim(0) == static_cast<int64_t>(rows.size()), "sample: ", logits.to_string(), " for ",
        rows.size(), " rows");
  Drawn drawn;
  drawn.ticket = next_ticket_;
  drawn.out = results;
  for (size_t i = 0; i < rows.size(); ++i) {
    SampleRow row = rows[i];
    std::vector<int32_t> seen(row.seen_tokens.begin(), row.seen_tokens.end());
    std::vector<int32_t> counts(row.seen_counts.begin(), row.seen_counts.end());
    if (row.pending) {
      const int32_t token = last_tokens.at(row.slot);
      const auto at = std::ranges::find(seen, token);
      if (at == seen.end())
        seen.push_back(token), counts.push_back(1);
      else
        ++counts[at - seen.begin()];
      row.seen_tokens = seen, row.seen_counts = counts;
    }
    std::vector<int32_t> top_ids;
    std::vector<float> top_logprobs;
    SampleResult r =
        sample_row(logits.row<float>(static_cast<int64_t>(i)), row, top_ids, top_logprobs);
    if (row.slot >= 0) last_tokens[row.slot] = std::max(r.token, 0);
    if (row.num_logprobs < 0) r.logprob = 0;
    drawn.results.push_back(r);
    drawn.top_counts.push_back(top_ids.size());
    drawn.top_ids.insert(drawn.top_ids.end(), top_ids.begin(), top_ids.end());
    drawn.top_logprobs.insert(drawn.top_logprobs.end(), top_logprobs.begin(), top_logprobs.end());
  }
  drawn_.push_back(std::move(drawn));
  if (!asynchronous()) wait(next_ticket_);
}

ModelSpec fake_spec() {
  ModelSpec spec;
  spec.family = "fake";
  spec.hidden_size = 8;
  spec.vocab_size = kVocab;
  spec.max_position = 1 << 20;
  spec.layers.resize(kLayers);
  for (LayerSpec& layer : spec.layers) {
    layer.mixer.num_heads = layer.mixer.num_kv_heads = 1;
    layer.mixer.head_dim = kHeadDim;
    layer.ffn.kind = "dense";
  }
  spec.layers[1].ffn.kind = "moe";
  spec.layers[1].ffn.num_experts = kExperts;
  spec.layers[1].ffn.top_k = kTopK;
  return spec;
}

void FakeModel::reserve(int64_t max_tokens, int64_t max_seqs, int64_t max_seqlen,
                        int64_t max_logits) {
  check(max_tokens_ == 0, "fake model: reserved twice");
  max_tokens_ = max_tokens;
  max_seqs_ = max_seqs;
  max_seqlen_ = max_seqlen;
  max_logits_ = max_logits;
  logits_.resize(max_logits * kVocab);
}

void FakeModel::check_batch(const Batch& b, const KvTensors& kv) const {
  const auto size = [](auto span) { return static_cast<int64_t>(span.size()); };
  check(b.num_seqs > 0 && b.num_seqs <= max_seqs_, "batch: num_seqs ", b.num_seqs);
  check(b.num_tokens > 0 && b.num_tokens <= max_tokens_, "batch: num_tokens ", b.num_tokens);
  check(size(b.logits_indices) <= max_logits_, "batch: rows ", b.logits_indices.size());
  check(size(b.input_ids) == b.num_tokens && size(b.positions) == b.num_tokens &&
            size(b.slot_mapping) == b.num_tokens,
        "batch: token arrays");
  check(size(b.cu_seqlens_q) == b.num_seqs + 1 && size(b.seqlens_k) == b.num_seqs &&
            size(b.block_table) == int64_t{b.num_seqs} * b.max_blocks,
        "batch: sequence arrays");
  check(b.cu_seqlens_q[0] == 0 && b.cu_seqlens_q[b.num_seqs] == b.num_tokens, "batch: cu_seqlens");
  check(kv.k.size() == kLayers && kv.v.size() == kLayers && kv.k[0].dim(2) == b.block_size,
        "batch: KV tensors");
  int max_q = 0, max_k = 0;
  std::set<int32_t> slots;
  for (int i = 0; i < b.num_seqs; ++i) {
    const int32_t begin = b.cu_seqlens_q[i], end = b.cu_seqlens_q[i + 1];
    check(end > begin, "batch: sequence ", i, " has no tokens");
    max_q = std::max(max_q, end - begin);
    max_k = std::max(max_k, b.seqlens_k[i]);
    check(b.seqlens_k[i] <= max_seqlen_, "batch: seqlen ", b.seqlens_k[i]);
    for (int32_t t = begin; t < end; ++t) {
      const int32_t p = b.positions[t];
      check(p == b.seqlens_k[i] - (end - t), "batch: position ", p, " of token ", t);
      const int32_t block = b.block_table[i * b.max_blocks + p / b.block_size];
      check(block >= 0 && block < kv.k[0].dim(0), "batch: block ", block);
      check(b.slot_mapping[t] == block * b.block_size + p % b.block_size, "batch: slot of token ",
            t);
      check(slots.insert(b.slot_mapping[t]).second, "batch: slot ", b.slot_mapping[t],
            " is written twice");
    }
  }
  check(b.max_seqlen_q == max_q && b.max_seqlen_k == max_k, "batch: longest");
  check(std::ranges::is_sorted(b.logits_indices), "batch: logits_indices");
}

Tensor FakeModel::forward(const Batch& b, const KvTensors& kv, int32_t* routed_experts) {
  check_batch(b, kv);
  ++probe_->steps;
  probe_->tokens += b.num_tokens;
  const auto raise = [](std::atomic<int64_t>& a, int64_t v) { a = std::max(a.load(), v); };
  raise(probe_->max_tokens, b.num_tokens);
  raise(probe_->max_seqs, b.num_seqs);
  raise(probe_->max_rows, static_cast<int64_t>(b.logits_indices.size()));
  if (probe_->on_forward) probe_->on_forward(b);

  const int64_t block_floats = int64_t{b.block_size} * kHeadDim;
  for (int t = 0; t < b.num_tokens; ++t)
    for (int layer = 0; layer < kLayers; ++layer)
      for (const Tensor* cache : {&kv.k[layer], &kv.v[layer]}) {
        float* cell = cache->as<float>() + int64_t{b.slot_mapping[t]} * kHeadDim;
        cell[0] = static_cast<float>(b.input_ids[t] >= 0 ? b.input_ids[t]
                                                            : last_tokens.at(-1 - b.input_ids[t]));
        cell[1] = static_cast<float>(b.positions[t]);
      }

  size_t row = 0;
  for (int i = 0; i < b.num_seqs; ++i) {
    History history;
    for (int32_t p = 0; p < b.seqlens_k[i]; ++p) {
      const int64_t block = b.block_table[i * b.max_blocks + p / b.block_size];
      const int64_t offset = block * block_floats + int64_t{p % b.block_size} * kHeadDim;
      const float* cell = kv.k[0].as<float>() + offset;
      check(cell[1] == static_cast<float>(p), "stale block: position ", cell[1], " read at ", p);
      for (const Tensor* other : {&kv.k[1], &kv.v[0], &kv.v[1]})
        check(std::memcmp(other->as<float>() + offset, cell, kHeadDim * sizeof(float)) == 0,
              "layers disagree at position ", p);
      history.append(static_cast<int32_t>(cell[0]));
      const int32_t t = b.cu_seqlens_q[i + 1] - (b.seqlens_k[i] - p);
      if (t < b.cu_seqlens_q[i]) continue;
      if (routed_experts) fill_experts(history, routed_experts + int64_t{t} * kLayers * kTopK);
      if (row < b.logits_indices.size() && b.logits_indices[row] == t)
        fill_logits(history, logits_.data() + static_cast<int64_t>(row++) * kVocab);
    }
  }
  check(row == b.logits_indices.size(), "batch: a row of logits belongs to no token");
  return Tensor(logits_.data(), DType::kF32, {static_cast<int64_t>(row), kVocab});
}

Expected expected(const std::vector<int32_t>& prompt, const SamplingParams& params,
                  int max_model_len) {
  Expected e;
  History history;
  std::vector<float> logits(kVocab);
  std::vector<int32_t> top_ids;
  std::vector<float> top_logprobs;
  const auto feed = [&](int32_t token) {
    history.append(token);
    e.experts.resize(e.experts.size() + kLayers * kTopK, 0);
    fill_experts(history, &*e.experts.end() - kLayers * kTopK);
    fill_logits(history, logits.data());
  };
  for (size_t p = 0; p < prompt.size(); ++p) {
    feed(prompt[p]);
    if (params.num_prompt_logprobs < 0 || p + 1 == prompt.size()) continue;
    SampleRow row;
    row.score_token = prompt[p + 1];
    row.num_logprobs = params.num_prompt_logprobs;
    const SampleResult r = sample_row(logits.data(), row, top_ids, top_logprobs);
    if (r.token < 0) {
      e.finish = 4;
      return e;
    }
    e.prompt_logprobs.push_back(r.logprob);
    e.prompt_top_ids.insert(e.prompt_top_ids.end(), top_ids.begin(), top_ids.end());
  }
  std::map<int32_t, int32_t> counts;
  while (e.finish == 0) {
    const auto n = static_cast<int>(e.tokens.size());
    if (n >= params.max_tokens) {
      e.finish = 2;
      break;
    }
    std::vector<int32_t> seen, seen_counts, bias_tokens;
    std::vector<float> bias_values;
    for (auto [token, count] : counts) seen.push_back(token), seen_counts.push_back(count);
    for (TokenBias b : params.logit_bias)
      bias_tokens.push_back(b.token), bias_values.push_back(b.bias);
    SampleRow row;
    row.greedy = params.temperature == 0;
    row.temperature = params.temperature;
    row.top_k = params.top_k;
    row.frequency_penalty = params.frequency_penalty;
    row.presence_penalty = params.presence_penalty;
    row.repetition_penalty = params.repetition_penalty;
    row.seen_tokens = seen;
    row.seen_counts = seen_counts;
    row.bias_tokens = bias_tokens;
    row.bias_values = bias_values;
    if (n < params.min_tokens && !params.ignore_eos) row.suppressed = params.stop_token_ids;
    row.seed = params.seed;
    row.position = static_cast<uint64_t>(n);
    row.num_logprobs = params.num_logprobs;
    const SampleResult r = sample_row(logits.data(), row, top_ids, top_logprobs);
    if (r.token < 0) {
      e.finish = 4;
      break;
    }
    e.tokens.push_back(r.token);
    ++counts[r.token];
    if (params.num_logprobs >= 0) {
      e.logprobs.push_back(r.logprob);
      e.top_ids.insert(e.top_ids.end(), top_ids.begin(), top_ids.end());
    }
    const auto& stops = params.stop_token_ids;
    if (n + 1 == params.max_tokens) {
      e.finish = 2;
    } else if (!params.ignore_eos && std::ranges::find(stops, r.token) != stops.end()) {
      e.finish = 1;
      e.matched = r.token;
    } else if (static_cast<int>(prompt.size()) + n + 1 == max_model_len) {
      e.finish = 2;
    } else {
      feed(r.token);
    }
  }
  // The newest position has none: a generated token is not fed, and without one the last prompt
  // position counts as that.
  e.experts.resize((prompt.size() + e.tokens.size() - 1) * kLayers * kTopK);
  return e;
}

}  // namespace hotpath::test

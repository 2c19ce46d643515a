#include "cpu/sampler.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <limits>

#include "core/error.h"

// Probabilities are kept as e = exp((x - max) / T), so that the likeliest token has exactly 1; what
// they are divided by matters to nobody but the logprobs. NaN logits count as -inf, +inf as the
// largest float. Where nothing but NaN and -inf is left there is no answer (-1): the model is
// broken. Where all is -inf, it is the lowest token that the mask allows and that is not suppressed
// (failing that, that the mask allows; failing that, 0).

namespace hotpath::cpu {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

bool allowed(const SampleRow& row, int64_t token) {
  return !row.bitmask || (row.bitmask[token / 32] >> (token % 32) & 1u);
}

void check_token(int32_t token, int64_t n, const char* what) {
  check(token >= 0 && token < n, what, ": expected a token in [0, ", n, "), received ", token);
}

void apply_mask(float* x, int64_t n, const uint32_t* bitmask) {
  for (int64_t begin = 0; begin < n; begin += 32) {
    const uint32_t word = bitmask[begin / 32];
    if (word == ~0u) continue;
    const int64_t end = std::min(n, begin + 32);
    if (word == 0)
      std::fill(x + begin, x + end, -kInf);
    else
      for (int64_t i = begin; i < end; ++i)
        if (!(word >> (i - begin) & 1u)) x[i] = -kInf;
  }
}

// Steps 1 to 4 of Ops::sample.
void apply_rules(float* x, int64_t n, const SampleRow& row) {
  check(row.seen_tokens.size() == row.seen_counts.size() &&
            row.bias_tokens.size() == row.bias_values.size(),
        "sample: expected as many counts as seen tokens and as many values as biased tokens");
  for (size_t i = 0; i < row.seen_tokens.size(); ++i) {
    const int32_t token = row.seen_tokens[i], count = row.seen_counts[i];
    check_token(token, n, "seen token");
    if (count <= 0) continue;
    float& v = x[token];
    v -= row.frequency_penalty * static_cast<float>(count) + row.presence_penalty;
    v = v < 0 ? v * row.repetition_penalty : v / row.repetition_penalty;
  }
  for (int32_t token : row.suppressed) {
    check_token(token, n, "suppressed token");
    x[token] = -kInf;
  }
  if (row.bitmask) apply_mask(x, n, row.bitmask);
  for (size_t i = 0; i < row.bias_tokens.size(); ++i) {
    check_token(row.bias_tokens[i], n, "biased token");
    x[row.bias_tokens[i]] += row.bias_values[i];
  }
}

int32_t lowest_allowed(int64_t n, const SampleRow& row) {
  int32_t masked = -1;
  for (int64_t i = 0; i < n; ++i) {
    if (!allowed(row, i)) continue;
    const int32_t token = static_cast<int32_t>(i);
    if (masked < 0) masked = token;
    if (std::find(row.suppressed.begin(), row.suppressed.end(), token) == row.suppressed.end())
      return token;
  }
  return std::max(masked, 0);
}

bool has_nan(const float* x, int64_t n) {
  return std::any_of(x, x + n, [](float v) { return std::isnan(v); });
}

class RowSampler {
 public:
  RowSampler(const Kernels& kernels, const SampleScratch& scratch, const float* x, int64_t n)
      : kernels_(kernels), s_(scratch), x_(x), n_(n), blocks_(sample_blocks(n)) {
    kernels.block_max(s_.block_maxima, x, n);
    raw_maximum_ = *std::max_element(s_.block_maxima, s_.block_maxima + blocks_);
    maximum_ = std::min(raw_maximum_, FLT_MAX);
  }

  bool nothing_left() const { return raw_maximum_ == -kInf; }

  int32_t argmax() const {
    const int64_t block =
        std::find(s_.block_maxima, s_.block_maxima + blocks_, raw_maximum_) - s_.block_maxima;
    int64_t i = block * kSampleBlock;
    while (x_[i] != raw_maximum_) ++i;
    return static_cast<int32_t>(i);
  }

  // Fills block sums and, unless only sums are wanted, probabilities.
  void softmax(float temperature, bool sums_only) {
    inverse_ = 1.0f / temperature;
    total_ = 0;
    if (nothing_left()) return;
    kernels_.block_exp(sums_only ? nullptr : s_.probabilities, s_.block_sums, x_, n_, maximum_,
                       inverse_);
    for (int64_t b = 0; b < blocks_; ++b) total_ += s_.block_sums[b];
    log_total_ = std::log(total_);
  }

  float logprob(int32_t token) const {
    if (nothing_left() || !(x_[token] > -kInf)) return -FLT_MAX;
    const float z = (std::min(x_[token], FLT_MAX) - maximum_) * inverse_;
    return static_cast<float>(std::max(static_cast<double>(z) - log_total_, -double{FLT_MAX}));
  }

  void top_logprobs(const SampleResult& result, int wanted) {
    check(wanted <= n_, "top logprobs: expected at most the vocabulary's ", n_, ", received ",
          wanted);
    if (wanted <= 0) return;
    int64_t count = nothing_left() ? 0 : collect_top(wanted);
    count = keep_largest(count, wanted);
    std::sort(s_.candidates, s_.candidates + count, order());
    for (int64_t i = 0; i < count; ++i) result.top_ids[i] = s_.candidates[i];
    // Fewer finite logits than wanted: the rest is equally impossible, the lowest ids first.
    for (int32_t token = 0; count < wanted; ++token)
      if (!(x_[token] > -kInf)) result.top_ids[count++] = token;
    for (int i = 0; i < wanted; ++i) result.top_logprobs[i] = logprob(result.top_ids[i]);
  }

  int32_t draw(const SampleRow& row, double u) {
    const bool top_k = row.top_k > 0 && row.top_k < n_, top_p = row.top_p < 1.0f;
    if (!top_k && !top_p && row.min_p <= 0) return draw_from_all(u);
    int64_t count;
    if (top_k) {
      count = keep_largest(collect_top(row.top_k), row.top_k);
      if (top_p) {
        double mass = 0;
        std::sort(s_.candidates, s_.candidates + count, order());
        for (int64_t i = 0; i < count; ++i) mass += s_.probabilities[s_.candidates[i]];
        count = prefix(count, 0, row.top_p * mass);
      }
      std::sort(s_.candidates, s_.candidates + count);
    } else if (top_p) {
      count = nucleus(row.top_p * total_);
    } else {
      return draw_from_kept(collect_above(row.min_p), u);
    }
    if (row.min_p > 0) {
      auto impossible = [&](int32_t token) { return s_.probabilities[token] < row.min_p; };
      count = std::remove_if(s_.candidates, s_.candidates + count, impossible) - s_.candidates;
    }
    return draw_from_kept(count, u);
  }

 private:
  struct Order {  // by falling logit, ties by rising id
    const float* x;
    bool operator()(int32_t a, int32_t b) const { return x[a] > x[b] || (x[a] == x[b] && a < b); }
  };
  Order order() const { return {x_}; }

  // Candidates: a set that contains the k likeliest (fewer if fewer are possible) and that is
  // itself the c likeliest for its size c. At least k blocks have a maximum >= the k-th largest
  // maximum, so at least k logits are: most blocks need not be looked at.
  int64_t collect_top(int64_t k) {
    float threshold = -FLT_MAX;
    if (k < blocks_) {
      std::copy(s_.block_maxima, s_.block_maxima + blocks_, s_.block_work);
      std::nth_element(s_.block_work, s_.block_work + k - 1, s_.block_work + blocks_,
                       std::greater<>());
      threshold = std::max(threshold, s_.block_work[k - 1]);
    }
    int64_t count = 0;
    for (int64_t b = 0; b < blocks_; ++b) {
      if (s_.block_maxima[b] < threshold) continue;
      const int64_t end = std::min(n_, (b + 1) * kSampleBlock);
      for (int64_t i = b * kSampleBlock; i < end; ++i)
        if (x_[i] >= threshold) s_.candidates[count++] = static_cast<int32_t>(i);
    }
    return count;
  }

  int64_t keep_largest(int64_t count, int64_t k) {
    if (count <= k) return count;
    std::nth_element(s_.candidates, s_.candidates + k - 1, s_.candidates + count, order());
    return k;
  }

  // Candidates with e >= floor, ids rising. A block's sum is at least its largest entry.
  int64_t collect_above(float floor) {
    int64_t count = 0;
    for (int64_t b = 0; b < blocks_; ++b) {
      if (s_.block_sums[b] < floor) continue;
      const int64_t end = std::min(n_, (b + 1) * kSampleBlock);
      for (int64_t i = b * kSampleBlock; i < end; ++i)
        if (s_.probabilities[i] >= floor) s_.candidates[count++] = static_cast<int32_t>(i);
    }
    return count;
  }

  // How many of the sorted candidates it takes to lift `mass` to the target; at least one.
  int64_t prefix(int64_t count, double mass, double target) const {
    for (int64_t i = 0; i < count; ++i) {
      mass += s_.probabilities[s_.candidates[i]];
      if (mass >= target) return i + 1;
    }
    return count;
  }

  // Candidates, ids rising: the shortest run of the likeliest whose mass reaches the target. Peaked
  // distributions end within the few hundred likeliest; for flat ones the mass is counted in bins
  // of nearly equal logits, and only the bin where it reaches the target is sorted.
  int64_t nucleus(double target) {
    constexpr int64_t kFirst = 256;
    int64_t count = collect_top(std::min(kFirst, n_));
    if (count < 16 * kFirst) {
      std::sort(s_.candidates, s_.candidates + count, order());
      double mass = 0;
      for (int64_t i = 0; i < count; ++i) mass += s_.probabilities[s_.candidates[i]];
      if (mass >= target) {
        count = prefix(count, 0, target);
        std::sort(s_.candidates, s_.candidates + count);
        return count;
      }
    }
    std::array<double, kBins> masses{};
    for (int64_t i = 0; i < n_; ++i) masses[bin(i)] += s_.probabilities[i];
    double mass = 0;
    int last_bin = 0;
    while (last_bin < kBins - 1 && mass + masses[last_bin] < target) mass += masses[last_bin++];
    count = 0;
    for (int64_t i = 0; i < n_; ++i)
      if (bin(i) == last_bin && s_.probabilities[i] > 0)
        s_.candidates[count++] = static_cast<int32_t>(i);
    if (count == 0) return collect_above(FLT_MIN);  // rounding left the target out of reach
    std::sort(s_.candidates, s_.candidates + count, order());
    const int32_t last = s_.candidates[prefix(count, mass, target) - 1];
    count = 0;
    for (int64_t i = 0; i < n_; ++i)
      if (x_[i] > x_[last] || (x_[i] == x_[last] && i <= last))
        s_.candidates[count++] = static_cast<int32_t>(i);
    return count;
  }

  // Rises as the logit falls, by 1/23 of a unit: e > 0 means a distance below 88. NaN: the last.
  static constexpr int kBins = 2048;
  int bin(int64_t i) const {
    const float scaled = (maximum_ - std::min(x_[i], FLT_MAX)) * inverse_ * 23.0f;
    return scaled < kBins - 1 ? static_cast<int>(scaled) : kBins - 1;
  }

  // The candidate, ids rising, at which the running sum passes u of the whole.
  int32_t draw_from_kept(int64_t count, double u) const {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) total += s_.probabilities[s_.candidates[i]];
    const double target = u * total;
    double sum = 0;
    int32_t token = s_.candidates[0];
    for (int64_t i = 0; i < count; ++i) {
      const float e = s_.probabilities[s_.candidates[i]];
      if (e <= 0) continue;
      token = s_.candidates[i];
      sum += e;
      if (sum > target) break;
    }
    return token;
  }

  // The same over the whole vocabulary, by block sums first.
  int32_t draw_from_all(double u) const {
    const double target = u * total_;
    double sum = 0;
    int64_t block = 0;
    for (int64_t b = 0; b < blocks_; ++b) {
      if (s_.block_sums[b] <= 0) continue;
      block = b;
      if (sum + s_.block_sums[b] > target) break;
      sum += s_.block_sums[b];
    }
    const int64_t begin = block * kSampleBlock, end = std::min(n_, begin + kSampleBlock);
    int32_t token = static_cast<int32_t>(begin);
    for (int64_t i = begin; i < end; ++i) {
      if (s_.probabilities[i] <= 0) continue;
      token = static_cast<int32_t>(i);
      sum += s_.probabilities[i];
      if (sum > target) break;
    }
    return token;
  }

  const Kernels& kernels_;
  const SampleScratch& s_;
  const float* x_;
  int64_t n_, blocks_;
  float raw_maximum_, maximum_, inverse_ = 1;
  double total_ = 0, log_total_ = 0;
};

}  // namespace

double uniform(uint64_t seed, uint64_t position) {
  uint32_t c[4] = {static_cast<uint32_t>(position), static_cast<uint32_t>(position >> 32), 0, 0};
  uint32_t key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * c[0], b = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {
        static_cast<uint32_t>(b >> 32) ^ c[1] ^ key[0], static_cast<uint32_t>(b),
        static_cast<uint32_t>(a >> 32) ^ c[3] ^ key[1], static_cast<uint32_t>(a)};
    std::copy(next, next + 4, c);
    key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
  }
  const uint64_t bits = uint64_t{c[1]} << 32 | c[0];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

void sample_row(const Kernels& kernels, const SampleScratch& scratch, float* logits, int64_t n,
                const SampleRow& row, SampleResult& result) {
  const bool score = row.score_token >= 0;
  if (score)
    check_token(row.score_token, n, "scored token");
  else
    apply_rules(logits, n, row);
  RowSampler sampler(kernels, scratch, logits, n);
  if (sampler.nothing_left() && has_nan(logits, n)) {
    result.token = -1;
    result.logprob = -FLT_MAX;
    return;
  }
  const bool draws = !score && !row.greedy && !sampler.nothing_left();
  const float temperature = score || row.greedy ? 1.0f : row.temperature;
  check(temperature > 0, "temperature: expected more than 0, received ", temperature);
  if (draws || row.num_logprobs >= 0) sampler.softmax(temperature, /*sums_only=*/!draws);
  if (score)
    result.token = row.score_token;
  else if (sampler.nothing_left())
    result.token = lowest_allowed(n, row);
  else if (row.greedy)
    result.token = sampler.argmax();
  else
    result.token = sampler.draw(row, uniform(row.seed, row.position));
  if (row.num_logprobs >= 0) {
    result.logprob = sampler.logprob(result.token);
    sampler.top_logprobs(result, row.num_logprobs);
  }
}

}  // namespace hotpath::cpu

#include "sample_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hotpath::test {
namespace {

constexpr double kInf = INFINITY;

std::vector<double> log_softmax(const std::vector<double>& x, double temperature) {
  const double largest = *std::max_element(x.begin(), x.end());
  std::vector<double> out(x.size(), -kInf);
  if (largest == -kInf) return out;
  double total = 0;
  for (double v : x) total += std::exp((v - largest) / temperature);
  for (size_t i = 0; i < x.size(); ++i) out[i] = (x[i] - largest) / temperature - std::log(total);
  return out;
}

}  // namespace

std::vector<int> by_logprob(const std::vector<double>& logprobs) {
  std::vector<int> order(logprobs.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return logprobs[a] > logprobs[b]; });
  return order;
}

Sampled sample_reference(const std::vector<float>& logits, const SampleRow& row) {
  Sampled s;
  for (float v : logits) s.logits.push_back(std::isnan(v) ? -kInf : std::min<double>(v, 3.4e38));
  std::vector<double>& x = s.logits;
  const size_t n = x.size();
  s.kept.assign(n, false);
  if (row.score_token >= 0) {
    s.logprobs = log_softmax(x, 1);
    return s;
  }
  for (size_t i = 0; i < row.seen_tokens.size(); ++i)
    if (row.seen_counts[i] > 0)
      x[row.seen_tokens[i]] -=
          double{row.frequency_penalty} * row.seen_counts[i] + row.presence_penalty;
  for (size_t i = 0; i < row.seen_tokens.size(); ++i) {
    double& v = x[row.seen_tokens[i]];
    if (row.seen_counts[i] > 0) v = v < 0 ? v * row.repetition_penalty : v / row.repetition_penalty;
  }
  for (int token : row.suppressed) x[token] = -kInf;
  for (size_t i = 0; i < n && row.bitmask; ++i)
    if (!(row.bitmask[i / 32] >> (i % 32) & 1)) x[i] = -kInf;
  for (size_t i = 0; i < row.bias_tokens.size(); ++i) x[row.bias_tokens[i]] += row.bias_values[i];

  s.logprobs = log_softmax(x, row.greedy ? 1.0 : row.temperature);
  std::vector<int> order = by_logprob(s.logprobs);
  if (s.logprobs[order[0]] == -kInf) {  // nothing left: the lowest token that may be said
    for (int pass = 0; pass < 2; ++pass)
      for (size_t i = 0; i < n; ++i) {
        const bool masked = row.bitmask && !(row.bitmask[i / 32] >> (i % 32) & 1);
        const bool held = std::count(row.suppressed.begin(), row.suppressed.end(), i) > 0;
        if (masked || (held && pass == 0)) continue;
        s.kept[i] = true;
        return s;
      }
    s.kept[0] = true;
    return s;
  }
  if (row.greedy) {
    s.kept[order[0]] = true;
    return s;
  }
  while (s.logprobs[order.back()] == -kInf) order.pop_back();
  if (row.top_k > 0 && order.size() > static_cast<size_t>(row.top_k)) order.resize(row.top_k);
  double total = 0;
  for (int i : order) total += std::exp(s.logprobs[i]);
  double mass = 0;
  size_t count = 0;
  while (count < order.size()) {
    mass += std::exp(s.logprobs[order[count++]]) / total;
    if (row.top_p < 1 && mass >= row.top_p) break;
  }
  order.resize(count);
  for (int i : order) s.kept[i] = std::exp(s.logprobs[i] - s.logprobs[order[0]]) >= row.min_p;
  return s;
}

}  // namespace hotpath::test

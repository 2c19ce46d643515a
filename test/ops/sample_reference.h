#pragma once

#include <vector>

#include "ops/ops.h"

namespace hotpath::test {

// Ops::sample's rules done the obvious way, in double.
struct Sampled {
  std::vector<double> logits;    // after penalties, mask, bias
  std::vector<double> logprobs;  // after temperature, before truncation; -inf where impossible
  std::vector<bool> kept;        // tokens that may be drawn; for greedy just the one
};
Sampled sample_reference(const std::vector<float>& logits, const SampleRow& row);
// Ids by falling logprob, ties by rising id.
std::vector<int> by_logprob(const std::vector<double>& logprobs);

}  // namespace hotpath::test

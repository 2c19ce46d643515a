#pragma once

#include <cstdint>

#include "cpu/kernels.h"
#include "ops/ops.h"

namespace hotpath::cpu {

// Scratch of one thread for rows of vocab_size logits.
struct SampleScratch {
  float* probabilities;  // [vocab_size]
  float* block_maxima;   // [sample_blocks(vocab_size)]
  float* block_sums;     // same
  float* block_work;     // same
  int32_t* candidates;   // [vocab_size]
};

constexpr int64_t sample_blocks(int64_t vocab_size) {
  return (vocab_size + kSampleBlock - 1) / kSampleBlock;
}

// One row, start to finish, as Ops::sample says. logits: [n], overwritten.
void sample_row(const Kernels& kernels, const SampleScratch& scratch, float* logits, int64_t n,
                const SampleRow& row, SampleResult& result);

// Uniform in [0, 1) with 53 bits: the first two words of Philox4x32-10 under key `seed` and counter
// `position`.
double uniform(uint64_t seed, uint64_t position);

}  // namespace hotpath::cpu

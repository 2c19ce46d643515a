#pragma once

#include <memory>
#include <span>

#include "cuda/context.h"
#include "ops/ops.h"

namespace hotpath::cuda {

// Ops::sample on the device: rows are packed into pinned memory, go up in one copy, and what was
// drawn comes back in one copy. `ring` (0 .. kRing - 1) names the buffers of one step in flight.
class SampleStage {
 public:
  static constexpr int kRing = 3;
  SampleStage(const Context& ctx, const OpLimits& limits);
  ~SampleStage();

  // Enqueues all of it and returns; the rows' arrays are read before that. last_tokens: device
  // [slots]; row.slot >= 0 gets the drawn token there, and row.pending reads it first.
  void launch(const Tensor& logits, std::span<const SampleRow> rows, int32_t* last_tokens,
              int ring);
  // After the stream has passed the launch (the caller waited): fills the results.
  void collect(int ring, std::span<SampleResult> results);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hotpath::cuda

#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_ops.h"

namespace hotpath::cpu {
namespace {

SampleScratch carve(float* p, int64_t n) {
  const int64_t blocks = sample_blocks(n);
  return {p, p + n, p + n + blocks, p + n + 2 * blocks,
          reinterpret_cast<int32_t*>(p + n + 3 * blocks)};
}

// A row whose newest token the host did not know: the same row with that token counted.
class PendingRow {
 public:
  PendingRow(const SampleRow& row, int32_t token)
      : row_(row),
        tokens_(row.seen_tokens.begin(), row.seen_tokens.end()),
        counts_(row.seen_counts.begin(), row.seen_counts.end()) {
    const auto at = std::find(tokens_.begin(), tokens_.end(), token);
    if (at == tokens_.end()) {
      tokens_.push_back(token);
      counts_.push_back(1);
    } else {
      ++counts_[at - tokens_.begin()];
    }
    row_.seen_tokens = tokens_;
    row_.seen_counts = counts_;
  }
  const SampleRow& row() const { return row_; }

 private:
  SampleRow row_;
  std::vector<int32_t> tokens_, counts_;
};

}  // namespace

void CpuOps::reserve_sample(int64_t n) {
  for (auto& s : thread_sample_) s.get<float>(2 * n + 3 * sample_blocks(n));
}

void CpuOps::sample(const Tensor& logits, std::span<const SampleRow> rows,
                    std::span<SampleResult> results) {
  const int64_t count = static_cast<int64_t>(rows.size()), n = logits.dim(1);
  check(logits.dtype == DType::kF32 && logits.ndim == 2 && logits.dim(0) == count && n > 0 &&
            results.size() == rows.size(),
        "sample: expected f32 logits [", count, ", vocab_size] and as many results, received ",
        logits.to_string(), " and ", results.size());
  for (const SampleRow& row : rows)
    check(row.slot < static_cast<int64_t>(last_tokens_.size()), "sample: expected a slot below ",
          last_tokens_.size(), ", received ", row.slot);
  pool_.parallel_for(count, 1, [&](int64_t begin, int64_t end, int thread) {
    const SampleScratch scratch =
        carve(thread_sample_[thread].get<float>(2 * n + 3 * sample_blocks(n)), n);
    for (int64_t r = begin; r < end; ++r) {
      if (rows[r].pending)
        sample_row(kernels_, scratch, logits.row<float>(r), n,
                   PendingRow(rows[r], last_tokens_[rows[r].slot]).row(), results[r]);
      else
        sample_row(kernels_, scratch, logits.row<float>(r), n, rows[r], results[r]);
      if (rows[r].slot >= 0) last_tokens_[rows[r].slot] = std::max(results[r].token, 0);
    }
  });
}

}  // namespace hotpath::cpu

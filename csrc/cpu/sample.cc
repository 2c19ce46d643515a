#include "core/error.h"
#include "cpu/cpu_ops.h"

namespace hotpath::cpu {
namespace {

SampleScratch carve(float* p, int64_t n) {
  const int64_t blocks = sample_blocks(n);
  return {p, p + n, p + n + blocks, p + n + 2 * blocks,
          reinterpret_cast<int32_t*>(p + n + 3 * blocks)};
}

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
  pool_.parallel_for(count, 1, [&](int64_t begin, int64_t end, int thread) {
    const SampleScratch scratch =
        carve(thread_sample_[thread].get<float>(2 * n + 3 * sample_blocks(n)), n);
    for (int64_t r = begin; r < end; ++r)
      sample_row(kernels_, scratch, logits.row<float>(r), n, rows[r], results[r]);
  });
}

}  // namespace hotpath::cpu

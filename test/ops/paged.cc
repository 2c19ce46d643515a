#include "paged.h"

#include <algorithm>

namespace hotpath::test {

PagedBatch::PagedBatch(std::vector<SequenceShape> sequences, int block_size_, Rng& rng)
    : block_size(block_size_), shapes(std::move(sequences)) {
  for (const auto& s : shapes)
    max_blocks = std::max(max_blocks, (s.past + s.q_len + block_size - 1) / block_size);
  num_blocks = static_cast<int>(shapes.size()) * max_blocks + 1;
  std::vector<int32_t> order(num_blocks);
  for (int i = 0; i < num_blocks; ++i) order[i] = i;
  for (int i = num_blocks - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
  block_table.assign(order.begin(), order.begin() + shapes.size() * max_blocks);
  index();
}

void PagedBatch::index() {
  cu_seqlens_q = {0};
  for (size_t s = 0; s < shapes.size(); ++s) {
    for (int t = 0; t < shapes[s].q_len; ++t) {
      positions.push_back(shapes[s].past + t);
      input_ids.push_back(0);
      slot_mapping.push_back(static_cast<int32_t>(slot(static_cast<int>(s), shapes[s].past + t)));
    }
    cu_seqlens_q.push_back(num_tokens());
    seqlens_k.push_back(shapes[s].past + shapes[s].q_len);
    prefill_lens.push_back(shapes[s].prefill_len());
  }
}

PagedBatch PagedBatch::slice(int first, int last) const {
  PagedBatch part;
  part.block_size = block_size, part.num_blocks = num_blocks, part.max_blocks = max_blocks;
  part.shapes = {shapes.begin() + first, shapes.begin() + last};
  part.block_table = {block_table.begin() + first * max_blocks,
                      block_table.begin() + last * max_blocks};
  part.index();
  return part;
}

PagedBatch PagedBatch::chunk(int first, int n) const {
  PagedBatch part;
  part.block_size = block_size, part.num_blocks = num_blocks, part.max_blocks = max_blocks;
  part.block_table = block_table;
  part.shapes = {{shapes[0].past + first, n, std::clamp(shapes[0].prefill_len() - first, 0, n)}};
  part.index();
  return part;
}

int64_t PagedBatch::slot(int sequence, int position) const {
  return int64_t{block_table[sequence * max_blocks + position / block_size]} * block_size +
         position % block_size;
}

Batch PagedBatch::view() const {
  Batch b;
  b.num_seqs = static_cast<int>(shapes.size());
  b.num_tokens = num_tokens();
  for (const auto& s : shapes) {
    b.max_seqlen_q = std::max(b.max_seqlen_q, s.q_len);
    b.max_seqlen_k = std::max(b.max_seqlen_k, s.past + s.q_len);
  }
  b.block_size = block_size, b.max_blocks = max_blocks;
  b.input_ids = input_ids, b.positions = positions, b.slot_mapping = slot_mapping;
  b.cu_seqlens_q = cu_seqlens_q, b.seqlens_k = seqlens_k, b.block_table = block_table;
  b.prefill_lens = prefill_lens;
  b.logits_indices = logits_indices;
  return b;
}

}  // namespace hotpath::test

#pragma once

#include <vector>

#include "grammar/chart.h"
#include "grammar/mask_cache.h"
#include "grammar/vocabulary.h"

namespace hotpath::grammar {

// Tokens by what became of them; ranges of ranks, in rising order, neighbours joined.
struct WalkResult {
  std::vector<RankRange> accepted;
  std::vector<RankRange> open;  // ran past the bottom of the stack with bytes left
  uint64_t num_tried = 0;       // nodes of the trie, or ranks
};

// Appends to ranges that lie before; joins neighbours.
void append_range(std::vector<RankRange>& ranges, uint32_t begin, uint32_t end);

// Tries every token in `set`.
WalkResult walk_all(Chart& chart, uint32_t set, const Vocabulary& vocabulary);

// Tries the tokens of these ranges (rising, disjoint) that are longer than min_length bytes. keep:
// steps may be kept in the chart.
WalkResult walk_ranges(Chart& chart, uint32_t set, const Vocabulary& vocabulary,
                       const std::vector<RankRange>& ranges, uint32_t min_length, bool keep);

}  // namespace hotpath::grammar

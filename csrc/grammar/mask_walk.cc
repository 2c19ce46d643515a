#include "grammar/mask_walk.h"

#include <algorithm>

namespace hotpath::grammar {

namespace {

constexpr uint16_t kLoopAfter = 32;  // visits of a set before it is worth looking for loops

}  // namespace

void append_range(std::vector<RankRange>& ranges, uint32_t begin, uint32_t end) {
  if (begin == end) return;
  if (!ranges.empty() && ranges.back().second == begin)
    ranges.back().second = end;
  else
    ranges.push_back({begin, end});
}

WalkResult walk_all(Chart& chart, uint32_t set, const Vocabulary& vocabulary) {
  WalkResult result;
  const auto nodes = vocabulary.nodes();
  const auto n = static_cast<uint32_t>(nodes.size());
  std::vector<uint32_t> path(vocabulary.longest() + 1);
  // bottom[d]: a beginning of 1..d bytes of the path can end the rule, its caller being unknown.
  std::vector<uint8_t> bottom(path.size());
  path[0] = set;
  uint32_t last = Chart::kDead;
  uint64_t last_loops = 0;
  uint16_t visits = 0;
  for (uint32_t i = 0; i < n;) {
    const Vocabulary::Node& node = nodes[i];
    ++result.num_tried;
    const uint32_t d = node.depth;
    const uint32_t to = chart.step_kept(path[d - 1], node.byte);
    if (to == Chart::kDead) {
      if (bottom[d - 1])
        append_range(result.open, node.first_rank, vocabulary.first_rank(node.end));
      i = node.end;
      continue;
    }
    // Where everything below leads back to the set, all of it is accepted.
    if (to != last) {
      last = to, last_loops = 0, visits = 0;
    } else if (visits < kLoopAfter && ++visits == kLoopAfter) {
      last_loops = chart.loop_classes(to);
    }
    if (last_loops != 0 && (node.classes & ~last_loops) == 0) {
      append_range(result.accepted, node.first_rank, vocabulary.first_rank(node.end));
      i = node.end;
      continue;
    }
    append_range(result.accepted, node.first_rank, vocabulary.first_rank(i + 1));
    path[d] = to;
    bottom[d] = bottom[d - 1] || chart.reached_bottom(to);
    ++i;
  }
  return result;
}

WalkResult walk_ranges(Chart& chart, uint32_t set, const Vocabulary& vocabulary,
                       const std::vector<RankRange>& ranges, uint32_t min_length, bool keep) {
  WalkResult result;
  std::vector<uint32_t> path(vocabulary.longest() + 1);
  std::vector<uint8_t> bottom(path.size());
  path[0] = set;
  std::string_view last;
  size_t reached = 0;  // bytes of `last` that led to a set
  for (const auto& [begin, end] : ranges) {
    for (uint32_t rank = begin; rank < end; ++rank) {
      ++result.num_tried;
      if (vocabulary.length_at(rank) <= min_length) continue;
      const std::string_view token = vocabulary.bytes_at(rank);
      size_t common = 0;
      const size_t limit = std::min(std::min(last.size(), token.size()), reached + 1);
      while (common < limit && last[common] == token[common]) ++common;
      last = token;
      if (common <= reached) {  // else it shares the byte at which the last one died
        reached = common;
        for (; reached < token.size(); ++reached) {
          const auto byte = static_cast<uint8_t>(token[reached]);
          const uint32_t to =
              keep ? chart.step_kept(path[reached], byte) : chart.step(path[reached], byte);
          if (to == Chart::kDead) break;
          path[reached + 1] = to;
          bottom[reached + 1] = bottom[reached] || chart.reached_bottom(to);
        }
      }
      if (reached == token.size())
        append_range(result.accepted, rank, rank + 1);
      else if (bottom[reached])
        append_range(result.open, rank, rank + 1);
    }
  }
  return result;
}

}  // namespace hotpath::grammar

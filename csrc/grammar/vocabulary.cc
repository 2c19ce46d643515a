#include "grammar/vocabulary.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "grammar/mask_cache.h"

namespace hotpath::grammar {

namespace {

constexpr uint32_t kLongestToken = 0xffff;  // depth of a node is 16 bits

std::array<uint8_t, 256> make_byte_classes() {
  std::array<uint8_t, 256> classes{};
  const auto set = [&](int lo, int hi, int c) {
    for (int b = lo; b <= hi; ++b) classes[b] = static_cast<uint8_t>(c);
  };
  set(0x00, 0x7f, 7);  // control characters that are not set below
  set('a', 'z', 0);
  set('A', 'Z', 1);
  set('0', '9', 2);
  set(' ', ' ', 3);
  set('\t', '\t', 4);
  set('\n', '\n', 5);
  set('\r', '\r', 6);
  int next = 8;  // each punctuation mark by itself: they are what grammars tell apart
  for (int b = 33; b < 127; ++b)
    if (classes[b] == 7) set(b, b, next++);
  // As UTF-8 tells bytes apart.
  for (const auto& [lo, hi] : {std::pair{0x80, 0x8f}, {0x90, 0x9f}, {0xa0, 0xbf}, {0xc0, 0xc1},
                              {0xc2, 0xdf}, {0xe0, 0xe0}, {0xe1, 0xec}, {0xed, 0xed}, {0xee, 0xef},
                              {0xf0, 0xf0}, {0xf1, 0xf3}, {0xf4, 0xf4}, {0xf5, 0xff}})
    set(lo, hi, next++);
  check(next == Vocabulary::kNumClasses, "byte classes: ", next);
  return classes;
}

}  // namespace

const std::array<uint8_t, 256>& Vocabulary::byte_classes() {
  static const std::array<uint8_t, 256> classes = make_byte_classes();
  return classes;
}

Vocabulary::Vocabulary(std::string bytes, std::vector<uint32_t> offsets,
                       std::vector<uint8_t> special, std::vector<int32_t> stop_ids)
    : bytes_(std::move(bytes)),
      offsets_(std::move(offsets)),
      stop_ids_(std::move(stop_ids)),
      shared_(std::make_unique<SharedMasks>()) {
  if (offsets_.empty() || offsets_.front() != 0 || offsets_.back() != bytes_.size() ||
      !std::ranges::is_sorted(offsets_))
    fail("invalid_request", "vocabulary: expected rising offsets from 0 to ", bytes_.size(),
         " bytes, received ", offsets_.size(), " of them",
         offsets_.empty() ? "" : concat(", the last ", offsets_.back()));
  const auto n = static_cast<size_t>(size());
  if (!special.empty() && special.size() != n)
    fail("invalid_request", "vocabulary: expected a special flag for each of ", n,
         " tokens, received ", special.size());
  by_bytes_.resize(n);
  is_stop_.resize(n);
  for (int32_t id : stop_ids_) {
    if (id < 0 || static_cast<size_t>(id) >= n)
      fail("invalid_request", "vocabulary: stop token ", id, " of ", n, " tokens");
    is_stop_[id] = 1;
  }
  for (size_t id = 0; id < n; ++id) {
    const size_t length = offsets_[id + 1] - offsets_[id];
    by_bytes_[id] = length > 0 && !is_stop_[id] && (special.empty() || !special[id]);
    if (!by_bytes_[id]) continue;
    if (length > kLongestToken)
      fail("invalid_request", "vocabulary: token ", id, " has ", length, " bytes; at most ",
           kLongestToken, " are supported");
    longest_ = std::max(longest_, static_cast<uint32_t>(length));
    by_rank_.push_back(static_cast<int32_t>(id));
  }
  build_trie();
}

Vocabulary::~Vocabulary() = default;

int32_t Vocabulary::longest_prefix_of(std::string_view text) const {
  for (size_t length = std::min<size_t>(text.size(), longest_); length > 0; --length) {
    const std::string_view wanted = text.substr(0, length);
    const auto at = std::ranges::lower_bound(by_rank_, wanted, {},
                                             [this](int32_t id) { return bytes(id); });
    if (at != by_rank_.end() && bytes(*at) == wanted) return *at;
  }
  return -1;
}

void Vocabulary::build_trie() {
  std::ranges::sort(by_rank_, [&](int32_t a, int32_t b) {
    const int order = this->bytes(a).compare(this->bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  const auto& classes = byte_classes();
  std::vector<uint32_t> path;  // the open node of each depth
  const auto close = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      Node& node = nodes_[path.back()];
      node.end = static_cast<uint32_t>(nodes_.size());
      if (path.size() > 1)
        nodes_[path[path.size() - 2]].classes |= node.classes | uint64_t{1} << classes[node.byte];
    }
  };
  for (uint32_t rank = 0; rank < by_rank_.size(); ++rank) {
    const std::string_view token = bytes(by_rank_[rank]);
    length_by_rank_.push_back(static_cast<uint16_t>(token.size()));
    sorted_offsets_.push_back(static_cast<uint32_t>(sorted_bytes_.size()));
    sorted_bytes_ += token;
    size_t shared = 0;
    while (shared < path.size() && shared < token.size() &&
           nodes_[path[shared]].byte == static_cast<uint8_t>(token[shared]))
      ++shared;
    close(shared);
    for (size_t d = shared; d < token.size(); ++d) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.classes = 0,
                        .end = 0,
                        .first_rank = rank,
                        .depth = static_cast<uint16_t>(d + 1),
                        .byte = static_cast<uint8_t>(token[d])});
    }
  }
  close(0);
  nodes_.push_back({.classes = 0,
                    .end = static_cast<uint32_t>(nodes_.size()),
                    .first_rank = static_cast<uint32_t>(by_rank_.size()),
                    .depth = 0,
                    .byte = 0});
}

}  // namespace hotpath::grammar

#include "grammar/mask_cache.h"

#include <algorithm>
#include <array>

#include "grammar/mask_walk.h"

namespace hotpath::grammar {

namespace {

constexpr int kMaxPaths = 96;        // entries looked at for one mask
constexpr size_t kMaxDepth = 24;     // callers in a row
constexpr uint64_t kFillWork = 8'000'000;  // items of sets made for one mask: about 0.2 s
constexpr uint64_t kLeastWork = kFillWork / 2;  // below this, tokens are tried at the place
constexpr uint64_t kVisitWork = 32;  // of an entry that is there already, and a part for its bits
constexpr uint64_t kTriedPerWork = 8;  // tokens tried by steps that are known
constexpr uint32_t kFewLeft = 10;  // elements; most tokens are too long then to reuse a mask
constexpr size_t kMaxScratch = 2;    // charts kept
constexpr size_t kMaxScratchBytes = 2 << 20;
constexpr size_t kSlotBytes = 96;    // of the table, about

void set_tokens(const Vocabulary& vocabulary, const std::vector<RankRange>& ranges,
                std::span<uint32_t> words) {
  for (const auto& [begin, end] : ranges)
    for (uint32_t rank = begin; rank < end; ++rank) {
      const auto id = static_cast<uint32_t>(vocabulary.token_at(rank));
      words[id / 32] |= 1u << (id % 32);
    }
}

size_t num_tokens(const std::vector<RankRange>& ranges) {
  size_t count = 0;
  for (const auto& [begin, end] : ranges) count += end - begin;
  return count;
}

}  // namespace

std::shared_ptr<const MaskEntry> SharedMasks::find(const std::string& key) const {
  const std::shared_lock lock(mutex_);
  const auto at = entries_.find(key);
  return at == entries_.end() ? nullptr : at->second;
}

void SharedMasks::add(const std::string& key, std::shared_ptr<const MaskEntry> entry) {
  const std::unique_lock lock(mutex_);
  const size_t bytes = entry->num_bytes() + key.size() + kSlotBytes;
  if (num_bytes_ + bytes > kMaxBytes) {
    entries_.clear();
    num_bytes_ = 0;
  }
  if (entries_.try_emplace(key, std::move(entry)).second) num_bytes_ += bytes;
}

size_t MaskCache::KeyHash::operator()(const Key& key) const {
  uint64_t h = (key.parent ^ (uint64_t{key.state} << 32 | key.count)) * 0x9e3779b97f4a7c15ull;
  h = (h ^ (h >> 29) ^ key.parent) * 0xbf58476d1ce4e5b9ull;
  return h ^ (h >> 32);
}

MaskCache::MaskCache(const Automaton& automaton, const Vocabulary& vocabulary, size_t max_bytes)
    : automaton_(automaton), vocabulary_(vocabulary), max_bytes_(max_bytes) {}

// One call of fill.
struct MaskCache::Filling {
  Chart& chart;
  uint32_t set;
  std::span<uint32_t> words;
  std::vector<Frame> frames;  // the state, then its callers
  std::vector<RankRange> rest;  // open when paths or depth ran out
  int paths_left = kMaxPaths;
  uint64_t work_left = kFillWork;

  void spend(uint64_t work) { work_left -= std::min(work, work_left); }
};

void MaskCache::fill(Chart& chart, uint32_t set, std::span<uint32_t> words) {
  check(words.size() == vocabulary_.mask_words(), "mask: expected ", vocabulary_.mask_words(),
        " words, received ", words.size());
  std::ranges::fill(words, 0u);
  Filling filling{.chart = chart, .set = set, .words = words, .frames = {}, .rest = {}};
  bool all_directly = false;
  for (const Chart::Item& item : chart.scans(set)) {
    for (const auto& edge : automaton_.tokens_of(item.state))
      if (edge.id < static_cast<uint32_t>(vocabulary_.size()))
        words[edge.id / 32] |= 1u << (edge.id % 32);
    filling.spend(1 + automaton_.tokens_of(item.state).size() / 8);
    if (automaton_.bytes_of(item.state).empty() || all_directly) continue;
    if (filling.work_left < kLeastWork) {  // one walk for all items instead of one for each
      all_directly = true;
      continue;
    }
    filling.frames.assign(1, {item.state, 0, item.origin, automaton_.states[item.state].rule});
    visit(filling, 0, nullptr);
  }
  if (all_directly) filling.rest.assign(1, {0, vocabulary_.num_ranks()});
  if (!filling.rest.empty()) check_directly(filling, std::move(filling.rest));
}

void MaskCache::visit(Filling& filling, uint64_t parent, const MaskEntry* parent_entry) {
  --filling.paths_left;
  filling.spend(kVisitWork + vocabulary_.mask_words() / 256);
  const Slot slot = get(filling, parent, parent_entry);
  const MaskEntry& entry = *slot.entry;
  if (!entry.bits.empty())
    for (size_t w = 0; w < entry.bits.size(); ++w) filling.words[w] |= entry.bits[w];
  for (const int32_t id : entry.tokens) filling.words[id / 32] |= 1u << (id % 32);
  if (entry.open.empty()) return;
  const Frame frame = filling.frames.back();
  // Nothing is added to the chart meanwhile, so that the span stays.
  for (const Chart::Call& call : filling.chart.calls(frame.origin, frame.rule)) {
    if (call.state == Chart::kAccept) continue;  // nothing may follow the end
    if (filling.paths_left <= 0 || filling.frames.size() > kMaxDepth ||
        filling.work_left < kLeastWork) {
      filling.rest.insert(filling.rest.end(), entry.open.begin(), entry.open.end());
      return;
    }
    filling.frames.push_back(canonical(call));
    visit(filling, slot.id, &entry);
    filling.frames.pop_back();
  }
}

namespace {

// How many elements a counted rule still needs, and how many it can still take.
uint32_t needed(const Automaton::Rule& rule, uint32_t count) {
  return rule.endless ? kUnbounded : rule.min - std::min(count, rule.min);
}
uint32_t left(const Automaton::Rule& rule, uint32_t count) {
  return rule.max == kUnbounded ? kUnbounded : rule.max - count;
}

}  // namespace

// No token reaches further than its length in bytes, and an element takes at least one: counts
// that are further than that from minimum and maximum all say the same.
MaskCache::Frame MaskCache::canonical(const Chart::Call& call) const {
  const uint32_t rule_id = automaton_.states[call.state].rule;
  Frame frame{.state = call.state, .count = call.count, .origin = call.origin, .rule = rule_id};
  const Automaton::Rule& rule = automaton_.rules[rule_id];
  if (!rule.counted) return frame;
  const uint32_t need = needed(rule, call.count);
  if (need > vocabulary_.longest() ||
      (need == 0 && left(rule, call.count) > vocabulary_.longest())) {
    frame.state = automaton_.rules[need > 0 ? rule.endless_rule : rule.free_rule].start;
    frame.count = 0;
  }
  return frame;
}

// Whether an entry is the same in all grammars where its rule is the same, and under which key.
bool MaskCache::shared_key(const std::vector<Frame>& frames, std::string& key) const {
  if (frames.size() > 2) return false;
  const uint32_t rule_id = automaton_.states[frames[0].state].rule;
  const Automaton::Rule& rule = automaton_.rules[rule_id];
  if (!rule.shared) return false;
  std::array<uint32_t, 3> numbers{frames[0].state - rule.start, 0, 0};
  if (frames.size() == 2) {
    const Automaton::Rule& outer = automaton_.rules[automaton_.states[frames[1].state].rule];
    if (!outer.counted || outer.element != rule_id) return false;
    const uint32_t far = vocabulary_.longest() + 1;
    numbers[1] = std::min(needed(outer, frames[1].count), far);
    numbers[2] = std::min(left(outer, frames[1].count), far);
  }
  key.assign(reinterpret_cast<const char*>(numbers.data()), sizeof(numbers));
  key += frames.size() == 2 ? 'n' : '-';
  key += rule.content;
  return true;
}

MaskCache::Slot MaskCache::get(Filling& filling, uint64_t parent, const MaskEntry* parent_entry) {
  const Key key{parent, filling.frames.back().state, filling.frames.back().count};
  {
    const std::shared_lock lock(mutex_);
    if (const auto at = slots_.find(key); at != slots_.end()) return at->second;
  }
  std::string shared;
  const bool is_shared = shared_key(filling.frames, shared);
  std::shared_ptr<const MaskEntry> entry;
  if (is_shared) entry = vocabulary_.shared_masks().find(shared);
  if (!entry) {
    entry = make(filling, parent, parent_entry);
    if (is_shared) vocabulary_.shared_masks().add(shared, entry);
  }
  const std::unique_lock lock(mutex_);
  const size_t bytes = entry->num_bytes() + kSlotBytes;
  if (num_bytes() + bytes > max_bytes_) {
    slots_.clear();
    num_bytes_ = 0;
  }
  const auto [at, is_new] = slots_.try_emplace(key, Slot{next_id_, std::move(entry)});
  if (is_new) {
    ++next_id_;
    num_bytes_ += bytes;
  }
  return at->second;
}

std::shared_ptr<const MaskEntry> MaskCache::make(Filling& filling, uint64_t parent,
                                                 const MaskEntry* parent_entry) {
  std::unique_ptr<Chart> chart = take_scratch();
  chart->reset();
  chart->allow_work(filling.work_left);
  const auto& frames = filling.frames;
  const auto rule_of = [&](size_t i) { return automaton_.states[frames[i].state].rule; };
  const size_t last = frames.size() - 1;
  uint32_t origin = chart->add_frame(rule_of(last), {Chart::kBottom, 0, 0});
  for (size_t i = last; i > 0; --i)
    origin = chart->add_frame(rule_of(i - 1), {frames[i].state, origin, frames[i].count});
  const uint32_t set = chart->add_bare({frames[0].state, origin});
  const Automaton::Rule& outermost = automaton_.rules[rule_of(last)];
  uint64_t num_tried = 0;
  const auto made_of = [&](const WalkResult& result) {
    num_tried += result.num_tried;
    return entry_of(result);
  };
  std::shared_ptr<const MaskEntry> entry;
  if (last > 0 && outermost.counted && rule_of(last) != outermost.free_rule &&
      left(outermost, frames[last].count) > kFewLeft)
    entry = from_free(filling, *chart, set, parent, *parent_entry, num_tried);
  else if (!parent_entry || num_tokens(parent_entry->open) > vocabulary_.num_ranks() / 4)
    entry = made_of(walk_all(*chart, set, vocabulary_));  // leaves subtrees and loops at once
  else
    entry = made_of(walk_ranges(*chart, set, vocabulary_, parent_entry->open, 0, true));
  filling.work_left = std::min(filling.work_left, chart->work_left());
  filling.spend(num_tried / kTriedPerWork);
  give_scratch(std::move(chart));
  return entry;
}

// The outermost caller known repeats with limits. From what would be without them: tokens that stay
// inside are the same unless they are longer than the elements left; those that run past it are
// the same unless more elements are needed first. Only the others have to be tried.
std::shared_ptr<const MaskEntry> MaskCache::from_free(Filling& filling, Chart& chart, uint32_t set,
                                                      uint64_t parent,
                                                      const MaskEntry& parent_entry,
                                                      uint64_t& num_tried) {
  const Frame frame = filling.frames.back();
  const Automaton::Rule& rule = automaton_.rules[automaton_.states[frame.state].rule];
  const uint32_t same_up_to = left(rule, frame.count), need = needed(rule, frame.count);
  filling.frames.back().state = automaton_.rules[rule.free_rule].start;
  filling.frames.back().count = 0;
  const Slot free = get(filling, parent, &parent_entry);
  filling.frames.back() = frame;
  chart.allow_work(filling.work_left);
  WalkResult longer, shorter;
  if (same_up_to < vocabulary_.longest())
    longer = walk_ranges(chart, set, vocabulary_, parent_entry.open, same_up_to, true);
  if (need == 0)
    shorter.open = free.entry->open;
  else if (need <= vocabulary_.longest())
    shorter = walk_ranges(chart, set, vocabulary_, free.entry->open, 0, true);
  num_tried += longer.num_tried + shorter.num_tried;

  auto entry = std::make_shared<MaskEntry>();
  if (free.entry->bits.empty() && num_tokens(longer.accepted) <= vocabulary_.mask_words()) {
    entry->tokens = tokens_of(longer.accepted);
    for (const int32_t id : free.entry->tokens)
      if (vocabulary_.bytes(id).size() <= same_up_to) entry->tokens.push_back(id);
  } else {
    entry->bits = free.entry->bits;
    entry->bits.resize(vocabulary_.mask_words(), 0);
    for (const int32_t id : free.entry->tokens) entry->bits[id / 32] |= 1u << (id % 32);
    if (same_up_to < vocabulary_.longest())
      clear_longer(parent_entry.open, same_up_to, entry->bits);
    set_tokens(vocabulary_, longer.accepted, entry->bits);
  }
  // Two lists of ranks, of tokens up to a length and of longer ones, become one.
  size_t next = 0;
  const auto add_longer = [&](uint32_t before) {
    for (; next < longer.open.size() && longer.open[next].first < before; ++next)
      append_range(entry->open, longer.open[next].first, longer.open[next].second);
  };
  for (const auto& [begin, end] : shorter.open)
    for (uint32_t rank = begin; rank < end; ++rank) {
      if (vocabulary_.length_at(rank) > same_up_to) continue;
      add_longer(rank);
      append_range(entry->open, rank, rank + 1);
    }
  add_longer(kUnbounded);
  entry->open.shrink_to_fit();
  return entry;
}

std::vector<int32_t> MaskCache::tokens_of(const std::vector<RankRange>& ranges) const {
  std::vector<int32_t> tokens;
  tokens.reserve(num_tokens(ranges));
  for (const auto& [begin, end] : ranges)
    for (uint32_t rank = begin; rank < end; ++rank) tokens.push_back(vocabulary_.token_at(rank));
  return tokens;
}

void MaskCache::clear_longer(const std::vector<RankRange>& ranges, uint32_t length,
                             std::span<uint32_t> words) const {
  for (const auto& [begin, end] : ranges)
    for (uint32_t rank = begin; rank < end; ++rank) {
      if (vocabulary_.length_at(rank) <= length) continue;
      const auto id = static_cast<uint32_t>(vocabulary_.token_at(rank));
      words[id / 32] &= ~(1u << (id % 32));
    }
}

std::shared_ptr<const MaskEntry> MaskCache::entry_of(const WalkResult& result) const {
  auto entry = std::make_shared<MaskEntry>();
  const size_t count = num_tokens(result.accepted);
  if (count > vocabulary_.mask_words()) {
    entry->bits.assign(vocabulary_.mask_words(), 0);
    set_tokens(vocabulary_, result.accepted, entry->bits);
  } else {
    entry->tokens = tokens_of(result.accepted);
  }
  entry->open.assign(result.open.begin(), result.open.end());
  return entry;
}

// The tokens of these ranges, tried at the place itself.
void MaskCache::check_directly(Filling& filling, std::vector<RankRange> ranges) {
  std::ranges::sort(ranges);
  std::vector<RankRange> joined;
  for (const auto& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().second)
      joined.back().second = std::max(joined.back().second, range.second);
    else
      joined.push_back(range);
  }
  Chart& chart = filling.chart;
  const uint32_t num_sets = chart.num_sets();
  chart.allow_work(filling.work_left);
  try {
    const WalkResult result = walk_ranges(chart, filling.set, vocabulary_, joined, 0, false);
    chart.truncate(num_sets);
    set_tokens(vocabulary_, result.accepted, filling.words);
  } catch (...) {
    chart.truncate(num_sets);
    throw;
  }
}

std::unique_ptr<Chart> MaskCache::take_scratch() {
  {
    const std::lock_guard lock(scratch_mutex_);
    if (!scratch_.empty()) {
      std::unique_ptr<Chart> chart = std::move(scratch_.back());
      scratch_.pop_back();
      return chart;
    }
  }
  return std::make_unique<Chart>(automaton_);
}

void MaskCache::give_scratch(std::unique_ptr<Chart> chart) {
  if (chart->capacity_bytes() > kMaxScratchBytes) return;
  const std::lock_guard lock(scratch_mutex_);
  if (scratch_.size() < kMaxScratch) scratch_.push_back(std::move(chart));
}

}  // namespace hotpath::grammar

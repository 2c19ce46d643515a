#include <algorithm>
#include <bit>

#include "grammar/grammar.h"

namespace hotpath::grammar {

namespace {

constexpr uint64_t kStepWork = 1'000'000;     // items and calls for one token: about 20 ms
constexpr size_t kCollectBytes = 2 << 20;     // a chart is cleaned up above this
constexpr size_t kMaxChartBytes = 64 << 20;   // of one sequence
constexpr size_t kMaxLiveBytes = 48 << 20;    // of what it can come back to, when that is passed

// Gives back what a call has made the chart allocate, however the call ends.
struct Shrinking {
  Chart& chart;
  ~Shrinking() { chart.shrink(); }
};

}  // namespace

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary,
                                 size_t mask_bytes)
    : vocabulary_(std::move(vocabulary)),
      automaton_(std::move(automaton)),
      masks_(automaton_, *vocabulary_, mask_bytes) {}

std::shared_ptr<const CompiledGrammar> CompiledGrammar::compile(
    std::string_view source, std::shared_ptr<const Vocabulary> vocabulary,
    const CompileLimits& limits, size_t mask_bytes) {
  check(vocabulary != nullptr, "grammar: no vocabulary");
  Automaton automaton =
      build_automaton(source, static_cast<uint32_t>(vocabulary->size()), limits);
  return std::shared_ptr<const CompiledGrammar>(
      new CompiledGrammar(std::move(automaton), std::move(vocabulary), mask_bytes));
}

Matcher::Matcher(std::shared_ptr<const CompiledGrammar> grammar, int max_rollback)
    : grammar_(std::move(grammar)),
      chart_(grammar_->automaton()),
      max_rollback_(max_rollback),
      collect_at_(kCollectBytes) {
  check(max_rollback >= 0, "matcher: max_rollback is ", max_rollback);
  chart_.allow_work(kStepWork);
  set_ = chart_.start();
}

void Matcher::push(uint32_t set, bool terminated) {
  if (max_rollback_ > 0) {
    const auto max = static_cast<size_t>(max_rollback_);
    if (history_.size() >= 2 * max)
      history_.erase(history_.begin(), history_.end() - static_cast<std::ptrdiff_t>(max));
    history_.push_back({set_, terminated_});
  }
  set_ = set;
  terminated_ = terminated;
  if (chart_.num_bytes() > collect_at_) collect();
}

// Forgets the places that the sequence cannot come back to. *also: a set to keep; its new id.
void Matcher::collect(uint32_t* also) {
  std::vector<uint32_t> sets;
  for (const Step& step : history_) sets.push_back(step.set);
  sets.push_back(set_);
  if (also) sets.push_back(*also);
  chart_.keep_only(sets);
  for (size_t i = 0; i < history_.size(); ++i) history_[i].set = sets[i];
  set_ = sets[history_.size()];
  if (also) *also = sets.back();
  collect_at_ = std::max(kCollectBytes, 2 * chart_.num_bytes());
}

// Called with the set that is about to be the place. True: ids have changed, `set` with them. What
// can be forgotten is no reason to fail; enough is left free that this is not soon needed again.
bool Matcher::bound_memory(uint32_t& set) {
  if (chart_.num_bytes() <= kMaxChartBytes) return false;
  collect(&set);
  if (chart_.num_bytes() > kMaxLiveBytes)
    throw GrammarError(GrammarError::Kind::kTooAmbiguous, 0,
                       "the grammar has too many readings of this text to remember them all; make "
                       "it less ambiguous");
  return true;
}

bool Matcher::accept_token(int32_t id) {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  if (terminated_ || id < 0 || id >= vocabulary.size()) return false;
  if (vocabulary.is_stop(id) && chart_.complete(set_)) {
    push(set_, true);
    return true;
  }
  const Shrinking shrinking{chart_};
  chart_.allow_work(kStepWork);
  const uint32_t num_sets = chart_.num_sets();
  std::vector<Chart::Item> kernel;
  if (vocabulary.matched_by_bytes(id)) {
    const std::string_view bytes = vocabulary.bytes(id);
    uint32_t set = set_;
    for (size_t i = 0; i + 1 < bytes.size() && set != Chart::kDead; ++i)
      set = chart_.step(set, static_cast<uint8_t>(bytes[i]));
    if (set != Chart::kDead) chart_.scan_byte(set, static_cast<uint8_t>(bytes.back()), kernel);
  }
  chart_.scan_token(set_, static_cast<uint32_t>(id), kernel);
  uint32_t set = chart_.intern(kernel);
  if (set == Chart::kDead) {
    chart_.truncate(num_sets);
    return false;
  }
  bound_memory(set);
  push(set, false);
  return true;
}

bool Matcher::accept_bytes(std::string_view bytes) {
  if (terminated_) return false;
  const Shrinking shrinking{chart_};
  uint32_t num_sets = chart_.num_sets();
  uint32_t set = set_;
  for (const char byte : bytes) {
    chart_.allow_work(kStepWork);
    set = chart_.step(set, static_cast<uint8_t>(byte));
    if (set == Chart::kDead) break;
    if (bound_memory(set)) num_sets = chart_.num_sets();
  }
  if (set == Chart::kDead) {
    chart_.truncate(num_sets);
    return false;
  }
  push(set, false);
  return true;
}

void Matcher::fill_mask(std::span<uint32_t> words) {
  const Vocabulary& vocabulary = grammar_->vocabulary();
  if (terminated_) {
    check(words.size() == vocabulary.mask_words(), "mask: expected ", vocabulary.mask_words(),
          " words, received ", words.size());
    std::ranges::fill(words, 0u);
    return;
  }
  const Shrinking shrinking{chart_};
  grammar_->masks().fill(chart_, set_, words);
  if (!chart_.complete(set_)) return;
  for (const int32_t id : vocabulary.stop_ids()) words[id / 32] |= 1u << (id % 32);
}

void Matcher::rollback(int steps) {
  const int possible = std::min(num_steps_kept(), max_rollback_);
  check(steps >= 0 && steps <= possible, "matcher: rollback of ", steps, " steps; ", possible,
        " can be taken back");
  if (steps == 0) return;
  const Step step = history_[history_.size() - static_cast<size_t>(steps)];
  history_.resize(history_.size() - static_cast<size_t>(steps));
  set_ = step.set;
  terminated_ = step.terminated;
}

std::string Matcher::forced_bytes(size_t max_bytes) {
  std::string forced;
  if (terminated_) return forced;
  const Shrinking shrinking{chart_};
  const Automaton& automaton = grammar_->automaton();
  const uint32_t num_sets = chart_.num_sets();
  chart_.allow_work(kStepWork);
  for (uint32_t set = set_; forced.size() < max_bytes && !chart_.complete(set);) {
    int only = -1;
    bool several = false;
    for (const Chart::Item& item : chart_.scans(set)) {
      if (!automaton.tokens_of(item.state).empty()) several = true;
      for (const auto& edge : automaton.bytes_of(item.state)) {
        if (edge.lo != edge.hi || (only >= 0 && only != edge.lo)) several = true;
        only = edge.lo;
      }
    }
    if (several || only < 0) break;
    try {
      set = chart_.step(set, static_cast<uint8_t>(only));
    } catch (const GrammarError&) {  // what is known so far is forced all the same
      break;
    }
    forced.push_back(static_cast<char>(only));
  }
  chart_.truncate(num_sets);
  return forced;
}

int32_t Matcher::forced_token() const {
  if (is_complete()) return -1;
  int64_t only = -1;
  for (const Chart::Item& item : chart_.scans(set_)) {
    if (!grammar_->automaton().bytes_of(item.state).empty()) return -1;
    for (const auto& edge : grammar_->automaton().tokens_of(item.state)) {
      if (only >= 0 && only != edge.id) return -1;
      only = edge.id;
    }
  }
  return static_cast<int32_t>(only);
}

}  // namespace hotpath::grammar

#include <algorithm>
#include <map>

#include "grammar/grammar.h"
#include "grammar/syntax.h"
#include "grammar/utf8.h"

namespace hotpath::grammar {

namespace {

constexpr uint64_t kTextWork = 20'000'000;  // items and calls for the whole text: about 0.5 s
constexpr uint64_t kByteWork = 64;           // and for each byte of it
constexpr size_t kCollectBytes = 32 << 20;
constexpr size_t kMaxBytes = 256 << 20;
constexpr size_t kMaxExpected = 16;
constexpr size_t kMaxLooked = 1000;  // items looked at for what is expected, and edges of each
constexpr size_t kMaxLiteral = 40;  // bytes

// One member of a class as it would be written there.
std::string class_member(uint8_t byte) {
  const char c = static_cast<char>(byte);
  if (c == '"') return c + std::string();
  if (c == ']' || c == '-' || c == '^' || c == '\\') return std::string("\\") + c;
  const std::string in_quotes = quote_bytes({&c, 1});
  return in_quotes.substr(1, in_quotes.size() - 2);
}

std::string class_text(std::span<const Automaton::ByteEdge> edges) {
  std::string text;
  bool beyond = false;
  for (const auto& edge : edges) {
    if (edge.lo >= 0x80) {
      beyond = true;
      continue;
    }
    const auto hi = std::min<uint8_t>(edge.hi, 0x7f);
    text += class_member(edge.lo);
    if (hi > edge.lo) text += (hi > edge.lo + 1 ? "-" : "") + class_member(hi);
    beyond |= edge.hi >= 0x80;
  }
  if (beyond) text += "\\u0080-\\u{10ffff}";
  return '[' + text + ']';
}

// The literal that begins in this state, while there is only one way to go on.
std::string literal_from(const Automaton& automaton, uint32_t state) {
  std::string literal;
  while (literal.size() < kMaxLiteral) {
    const auto edges = automaton.bytes_of(state);
    if (edges.size() != 1 || edges[0].lo != edges[0].hi) break;
    if (!automaton.calls_of(state).empty() || !automaton.tokens_of(state).empty()) break;
    if (automaton.states[state].final && !literal.empty()) break;
    literal.push_back(static_cast<char>(edges[0].lo));
    state = edges[0].target;
  }
  return literal;
}

std::vector<std::string> expected_in(const Automaton& automaton, const Chart& chart,
                                     uint32_t set) {
  std::vector<std::string> expected;
  const auto add = [&](std::string text) {
    if (expected.size() < kMaxExpected && std::ranges::find(expected, text) == expected.end())
      expected.push_back(std::move(text));
  };
  const auto items = chart.scans(set);
  for (const Chart::Item& item : items.first(std::min(items.size(), kMaxLooked))) {
    if (expected.size() == kMaxExpected) break;
    const auto tokens = automaton.tokens_of(item.state);
    for (const auto& edge : tokens.first(std::min(tokens.size(), kMaxExpected)))
      add(concat("token(", edge.id, ")"));
    auto edges = automaton.bytes_of(item.state);
    edges = edges.first(std::min(edges.size(), kMaxLooked));
    if (edges.empty()) continue;
    if (std::string literal = literal_from(automaton, item.state); !literal.empty()) {
      add(quote_bytes(literal));
      continue;
    }
    // A few single bytes: what begins with each. Otherwise all of them as a class.
    if (edges.size() <= 8 &&
        std::ranges::all_of(edges, [](const auto& e) { return e.lo == e.hi && e.lo < 0x80; })) {
      for (const auto& edge : edges)
        add(quote_bytes(static_cast<char>(edge.lo) + literal_from(automaton, edge.target)));
    } else {
      add(class_text(edges));
    }
  }
  if (chart.complete(set)) add("end of text");
  return expected;
}

}  // namespace

CheckResult check_text(const CompiledGrammar& grammar, std::string_view text) {
  const Automaton& automaton = grammar.automaton();
  const Vocabulary& vocabulary = grammar.vocabulary();
  Chart chart(automaton);
  chart.allow_work(kTextWork + kByteWork * text.size());
  size_t collect_at = kCollectBytes;
  uint32_t set = chart.start();
  // Special tokens that were found in the text: what stands behind them, by where they end.
  std::map<size_t, std::vector<Chart::Item>> behind;
  std::vector<Chart::Item> kernel;
  uint32_t last = set;    // the last set that something could follow, and where
  size_t reached = 0;
  for (size_t at = 0;; ++at) {
    if (const auto found = behind.find(at); found != behind.end()) {
      kernel.insert(kernel.end(), found->second.begin(), found->second.end());
      behind.erase(found);
    }
    if (at > 0) set = chart.intern(kernel);
    if (set != Chart::kDead) last = set, reached = at;
    if (at == text.size() || (set == Chart::kDead && behind.empty())) break;
    kernel.clear();
    if (set == Chart::kDead) continue;
    chart.scan_byte(set, static_cast<uint8_t>(text[at]), kernel);
    for (const Chart::Item& item : chart.scans(set)) {
      const auto tokens = automaton.tokens_of(item.state);
      chart.spend(tokens.size());
      for (const auto& edge : tokens) {
        if (edge.id >= static_cast<uint32_t>(vocabulary.size())) continue;
        const std::string_view bytes = vocabulary.bytes(static_cast<int32_t>(edge.id));
        if (!bytes.empty() && text.substr(at).starts_with(bytes))
          behind[at + bytes.size()].push_back({edge.target, item.origin});
      }
    }
    if (chart.num_bytes() <= collect_at) continue;
    std::vector<uint32_t> keep{set, last};
    for (const Chart::Item& item : kernel) keep.push_back(item.origin);
    for (const auto& [end, items] : behind)
      for (const Chart::Item& item : items) keep.push_back(item.origin);
    chart.keep_only(keep);
    set = keep[0], last = keep[1];
    size_t next = 2;
    for (Chart::Item& item : kernel) item.origin = keep[next++];
    for (auto& [end, items] : behind)
      for (Chart::Item& item : items) item.origin = keep[next++];
    collect_at = std::max(kCollectBytes, 2 * chart.num_bytes());
    if (chart.num_bytes() > kMaxBytes)
      throw GrammarError(GrammarError::Kind::kTooAmbiguous, 0,
                         "the grammar has too many readings of this text; make it less ambiguous");
  }
  const bool accepted = set != Chart::kDead && reached == text.size();
  return {.accepted = accepted,
          .complete = accepted && chart.complete(set),
          .failed_at = accepted ? text.size() : reached,
          .expected = expected_in(automaton, chart, last)};
}

}  // namespace hotpath::grammar

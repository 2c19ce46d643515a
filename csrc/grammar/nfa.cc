#include "grammar/nfa.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "grammar/scc.h"

namespace hotpath::grammar {

namespace {

constexpr size_t kMaxSetElements = 16'000'000;  // of all subsets of one rule: 64 MB

// One rule's automaton while it is built. A state's edges are consecutive; states come in order.
struct Draft {
  struct State {
    uint32_t bytes = 0, calls = 0, tokens = 0;  // where its edges begin
    bool final = false;
  };
  std::vector<State> states;
  std::vector<Automaton::ByteEdge> bytes;
  std::vector<Automaton::CallEdge> calls;
  std::vector<Automaton::TokenEdge> tokens;

  void begin_state(bool final) {
    states.push_back({static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(calls.size()),
                      static_cast<uint32_t>(tokens.size()), final});
  }
  void clear() {
    states.clear(), bytes.clear(), calls.clear(), tokens.clear();
  }
};

class Builder {
 public:
  Builder(const Nfa& nfa, size_t position, size_t max_states, size_t max_edges, Deadline& deadline)
      : nfa_(nfa),
        position_(position),
        max_states_(max_states),
        max_edges_(max_edges),
        deadline_(deadline),
        mark_(nfa.num_states(), 0) {}

  Draft build() {
    if (!determinise()) keep_nondeterministic();
    draft_.begin_state(false);
    return std::move(draft_);
  }

 private:
  [[noreturn]] void too_large(const char* what, size_t limit) const {
    throw GrammarError(
        GrammarError::Kind::kTooLarge, position_,
        concat("the rule at byte ", position_, " takes the grammar above ", limit, " ", what,
               "; use fewer or smaller repetitions and alternatives"));
  }

  // Sorted states reachable from `targets` without input that have input edges or are final.
  void close(const std::vector<uint32_t>& targets, std::vector<uint32_t>& out) {
    out.clear();
    ++generation_;
    stack_.clear();
    const auto visit = [&](uint32_t s) {
      if (mark_[s] == generation_) return;
      mark_[s] = generation_;
      stack_.push_back(s);
    };
    for (uint32_t t : targets) visit(t);
    while (!stack_.empty()) {
      deadline_.check();
      const uint32_t s = stack_.back();
      stack_.pop_back();
      bool matters = s == Nfa::kFinal;
      for (uint32_t e = nfa_.first_edge(s); e != Nfa::kNone; e = nfa_.edge(e).next) {
        if (nfa_.edge(e).kind == Nfa::Kind::kEmpty)
          visit(nfa_.edge(e).target);
        else
          matters = true;
      }
      if (matters) out.push_back(s);
    }
    std::ranges::sort(out);
  }

  static uint64_t hash(const std::vector<uint32_t>& set) {
    uint64_t h = set.size();
    for (uint32_t s : set) h = (h ^ s) * 0x9e3779b97f4a7c15ull, h ^= h >> 29;
    return h;
  }

  // The state for what `targets` closes to; a new one if need be.
  uint32_t state_of(const std::vector<uint32_t>& targets) {
    close(targets, closed_);
    const uint64_t h = hash(closed_);
    for (auto [at, end] = ids_.equal_range(h); at != end; ++at) {
      const uint32_t id = at->second;
      if (std::ranges::equal(set(id), closed_)) return id;
    }
    const auto id = static_cast<uint32_t>(set_begin_.size());
    set_begin_.push_back(static_cast<uint32_t>(sets_.size()));
    sets_.insert(sets_.end(), closed_.begin(), closed_.end());
    ids_.emplace(h, id);
    return id;
  }

  std::span<const uint32_t> set(uint32_t id) const {
    const size_t end = id + 1 < set_begin_.size() ? set_begin_[id + 1] : sets_.size();
    return {sets_.data() + set_begin_[id], end - set_begin_[id]};
  }

  bool determinise() {
    const size_t limit = std::max<size_t>(2000, 8 * nfa_.num_states());
    state_of({Nfa::kStart});
    for (uint32_t id = 0; id < set_begin_.size(); ++id) {
      if (set_begin_.size() > limit || sets_.size() > kMaxSetElements) return false;
      check_size();
      const std::vector<uint32_t> members(set(id).begin(), set(id).end());
      draft_.begin_state(std::ranges::binary_search(members, Nfa::kFinal));
      add_symbols(members);
      add_bytes(members);
    }
    return true;
  }

  void check_size() const {
    if (set_begin_.size() > max_states_ || draft_.states.size() > max_states_)
      too_large("states", max_states_);
    if (draft_.bytes.size() + draft_.calls.size() + draft_.tokens.size() > max_edges_)
      too_large("edges", max_edges_);
  }

  void add_symbols(const std::vector<uint32_t>& members) {
    for (const Nfa::Kind kind : {Nfa::Kind::kCall, Nfa::Kind::kToken}) {
      std::vector<std::pair<uint32_t, uint32_t>> found;  // symbol, target
      for (uint32_t s : members)
        for (uint32_t e = nfa_.first_edge(s); e != Nfa::kNone; e = nfa_.edge(e).next)
          if (nfa_.edge(e).kind == kind)
            found.push_back({nfa_.edge(e).symbol, nfa_.edge(e).target});
      std::ranges::sort(found);
      for (size_t i = 0; i < found.size();) {
        const uint32_t symbol = found[i].first;
        targets_.clear();
        for (; i < found.size() && found[i].first == symbol; ++i)
          targets_.push_back(found[i].second);
        const uint32_t to = state_of(targets_);
        if (kind == Nfa::Kind::kCall)
          draft_.calls.push_back({symbol, to});
        else
          draft_.tokens.push_back({symbol, to});
      }
    }
  }

  void add_bytes(const std::vector<uint32_t>& members) {
    std::array<bool, 257> starts{};
    bool any = false;
    const auto each = [&](auto&& fn) {
      for (uint32_t s : members)
        for (uint32_t e = nfa_.first_edge(s); e != Nfa::kNone; e = nfa_.edge(e).next)
          if (nfa_.edge(e).kind == Nfa::Kind::kBytes) fn(nfa_.edge(e));
    };
    each([&](const Nfa::Edge& e) { starts[e.lo] = starts[e.hi + 1] = any = true; });
    if (!any) return;
    std::array<uint16_t, 257> piece_of{};  // pieces: the longest runs of bytes that no edge cuts
    std::vector<uint16_t> piece_start;
    for (int b = 0; b < 257; ++b) {
      if (starts[b]) piece_start.push_back(static_cast<uint16_t>(b));
      piece_of[b] = static_cast<uint16_t>(piece_start.size());
    }
    if (pieces_.size() < piece_start.size()) pieces_.resize(piece_start.size());
    for (size_t p = 0; p < piece_start.size(); ++p) pieces_[p].clear();
    each([&](const Nfa::Edge& e) {
      for (int p = piece_of[e.lo] - 1; p < piece_of[e.hi + 1] - 1; ++p)
        pieces_[p].push_back(e.target);
    });
    const size_t first = draft_.bytes.size();
    for (size_t p = 0; p + 1 < piece_start.size(); ++p) {
      if (pieces_[p].empty()) continue;
      const uint32_t to = state_of(pieces_[p]);
      const auto lo = static_cast<uint8_t>(piece_start[p]);
      const auto hi = static_cast<uint8_t>(piece_start[p + 1] - 1);
      if (draft_.bytes.size() > first && draft_.bytes.back().target == to &&
          draft_.bytes.back().hi + 1 == lo)
        draft_.bytes.back().hi = hi;
      else
        draft_.bytes.push_back({lo, hi, to});
    }
  }

  // A state for the start and for each target of an input edge, with all edges of its closure.
  void keep_nondeterministic() {
    draft_.clear();
    std::vector<uint32_t> id_of(nfa_.num_states(), Nfa::kNone), order{Nfa::kStart};
    id_of[Nfa::kStart] = 0;
    const auto id = [&](uint32_t s) {
      if (id_of[s] == Nfa::kNone) {
        id_of[s] = static_cast<uint32_t>(order.size());
        order.push_back(s);
      }
      return id_of[s];
    };
    std::vector<uint32_t> members;
    for (size_t i = 0; i < order.size(); ++i) {
      close({order[i]}, members);
      draft_.begin_state(std::ranges::binary_search(members, Nfa::kFinal));
      for (uint32_t s : members) {
        for (uint32_t e = nfa_.first_edge(s); e != Nfa::kNone; e = nfa_.edge(e).next) {
          const Nfa::Edge& edge = nfa_.edge(e);
          if (edge.kind == Nfa::Kind::kBytes)
            draft_.bytes.push_back({edge.lo, edge.hi, id(edge.target)});
          else if (edge.kind == Nfa::Kind::kCall)
            draft_.calls.push_back({edge.symbol, id(edge.target)});
          else if (edge.kind == Nfa::Kind::kToken)
            draft_.tokens.push_back({edge.symbol, id(edge.target)});
        }
        deadline_.check();
      }
      std::sort(draft_.bytes.begin() + draft_.states.back().bytes, draft_.bytes.end(),
                [](const auto& a, const auto& b) { return a.lo < b.lo; });
      if (draft_.states.size() > max_states_) too_large("states", max_states_);
      check_size();
    }
  }

  const Nfa& nfa_;
  const size_t position_, max_states_, max_edges_;
  Deadline& deadline_;
  Draft draft_;
  std::vector<uint32_t> mark_, stack_, closed_, targets_;
  uint32_t generation_ = 0;
  std::vector<uint32_t> sets_, set_begin_;
  std::unordered_multimap<uint64_t, uint32_t> ids_;
  std::vector<std::vector<uint32_t>> pieces_;
};

// For each state the state that stands for it: states outside of cycles (other than a loop on
// itself) with the same edges are one. Cycles stay as they are.
std::vector<uint32_t> merge_equal(const Draft& draft) {
  const auto n = static_cast<uint32_t>(draft.states.size() - 1);
  std::vector<uint32_t> next, next_begin(n + 1, 0);
  for (uint32_t s = 0; s < n; ++s) {
    const Draft::State &a = draft.states[s], &b = draft.states[s + 1];
    for (uint32_t e = a.bytes; e < b.bytes; ++e) next.push_back(draft.bytes[e].target);
    for (uint32_t e = a.calls; e < b.calls; ++e) next.push_back(draft.calls[e].target);
    for (uint32_t e = a.tokens; e < b.tokens; ++e) next.push_back(draft.tokens[e].target);
    next_begin[s + 1] = static_cast<uint32_t>(next.size());
  }
  const auto component = components(n, [&](uint32_t s) {
    return std::span<const uint32_t>(next.data() + next_begin[s],
                                     next_begin[s + 1] - next_begin[s]);
  });
  std::vector<uint32_t> order(n), size(n, 0), stands(n);
  for (uint32_t s = 0; s < n; ++s) order[s] = s, stands[s] = s, ++size[component[s]];
  std::ranges::stable_sort(order, {}, [&](uint32_t s) { return component[s]; });
  std::unordered_map<std::string, uint32_t> known;
  std::string key;
  for (uint32_t s : order) {
    if (size[component[s]] > 1) continue;
    const auto put = [&](uint32_t value) { key.append(reinterpret_cast<char*>(&value), 4); };
    const auto put_target = [&](uint32_t t) { put(t == s ? Nfa::kNone : stands[t]); };
    const Draft::State &a = draft.states[s], &b = draft.states[s + 1];
    key.assign(1, a.final ? 'f' : '-');
    uint32_t last = Nfa::kNone;  // adjacent ranges may have become one
    for (uint32_t e = a.bytes; e < b.bytes; ++e) {
      const auto& edge = draft.bytes[e];
      const uint32_t target = edge.target == s ? Nfa::kNone : stands[edge.target];
      if (e > a.bytes && target == last && draft.bytes[e - 1].hi + 1 == edge.lo) {
        key[key.size() - 5] = static_cast<char>(edge.hi);
        continue;
      }
      key += 'b', key += static_cast<char>(edge.lo), key += static_cast<char>(edge.hi);
      put(last = target);
    }
    for (uint32_t e = a.calls; e < b.calls; ++e)
      key += 'c', put(draft.calls[e].rule), put_target(draft.calls[e].target);
    for (uint32_t e = a.tokens; e < b.tokens; ++e)
      key += 't', put(draft.tokens[e].id), put_target(draft.tokens[e].target);
    stands[s] = known.try_emplace(key, s).first->second;
  }
  return stands;
}

}  // namespace

uint32_t append_rule(Automaton& automaton, const Nfa& nfa, uint32_t rule, size_t position,
                     const CompileLimits& limits, Deadline& deadline) {
  const size_t edges = automaton.byte_edges.size() + automaton.call_edges.size() +
                       automaton.token_edges.size();
  const size_t max_states =
      limits.max_states - std::min(limits.max_states, automaton.states.size());
  const size_t max_edges = limits.max_edges - std::min(limits.max_edges, edges);
  const Draft draft = Builder(nfa, position, max_states, max_edges, deadline).build();
  const std::vector<uint32_t> stands = merge_equal(draft);
  const auto base = static_cast<uint32_t>(automaton.states.size());
  std::vector<uint32_t> id_of(stands.size(), Nfa::kNone), order;
  const auto id = [&](uint32_t s) {
    s = stands[s];
    if (id_of[s] == Nfa::kNone) {
      id_of[s] = base + static_cast<uint32_t>(order.size());
      order.push_back(s);
    }
    return id_of[s];
  };
  id(0);
  for (size_t i = 0; i < order.size(); ++i) {
    const Draft::State &a = draft.states[order[i]], &b = draft.states[order[i] + 1];
    const bool leaves = a.bytes < b.bytes || a.calls < b.calls || a.tokens < b.tokens;
    automaton.states.push_back({.byte_begin = static_cast<uint32_t>(automaton.byte_edges.size()),
                                .call_begin = static_cast<uint32_t>(automaton.call_edges.size()),
                                .token_begin = static_cast<uint32_t>(automaton.token_edges.size()),
                                .rule = rule,
                                .final = a.final,
                                .tail = a.final && !leaves});
    const size_t first = automaton.byte_edges.size();
    for (uint32_t e = a.bytes; e < b.bytes; ++e) {
      const auto& edge = draft.bytes[e];
      const uint32_t target = id(edge.target);
      auto& list = automaton.byte_edges;
      if (list.size() > first && list.back().target == target && list.back().hi + 1 == edge.lo)
        list.back().hi = edge.hi;
      else
        list.push_back({edge.lo, edge.hi, target});
    }
    for (size_t e = first; e + 1 < automaton.byte_edges.size(); ++e)
      if (automaton.byte_edges[e].hi >= automaton.byte_edges[e + 1].lo)
        automaton.states.back().disjoint = false;
    for (uint32_t e = a.calls; e < b.calls; ++e)
      automaton.call_edges.push_back({draft.calls[e].rule, id(draft.calls[e].target)});
    for (uint32_t e = a.tokens; e < b.tokens; ++e)
      automaton.token_edges.push_back({draft.tokens[e].id, id(draft.tokens[e].target)});
  }
  return base;
}

}  // namespace hotpath::grammar

#pragma once

#include <cstdint>
#include <vector>

#include "grammar/automaton.h"

namespace hotpath::grammar {

// A rule's expression as a nondeterministic automaton; state 0 starts, state 1 is final.
class Nfa {
 public:
  enum class Kind : uint8_t { kEmpty, kBytes, kCall, kToken };
  struct Edge {
    uint32_t target;
    uint32_t next;    // the next edge of the same state
    uint32_t symbol;  // kCall: rule; kToken: id
    Kind kind;
    uint8_t lo, hi;  // kBytes
  };
  static constexpr uint32_t kNone = 0xffffffff;
  static constexpr uint32_t kStart = 0, kFinal = 1;

  Nfa() : first_(2, kNone) {}
  void clear() {
    first_.assign(2, kNone);
    edges_.clear();
  }
  uint32_t add_state() {
    first_.push_back(kNone);
    return static_cast<uint32_t>(first_.size() - 1);
  }
  void add_empty(uint32_t from, uint32_t to) { add(from, {to, 0, 0, Kind::kEmpty, 0, 0}); }
  void add_bytes(uint32_t from, uint8_t lo, uint8_t hi, uint32_t to) {
    add(from, {to, 0, 0, Kind::kBytes, lo, hi});
  }
  void add_call(uint32_t from, uint32_t rule, uint32_t to) {
    add(from, {to, 0, rule, Kind::kCall, 0, 0});
  }
  void add_token(uint32_t from, uint32_t id, uint32_t to) {
    add(from, {to, 0, id, Kind::kToken, 0, 0});
  }

  size_t num_states() const { return first_.size(); }
  size_t num_edges() const { return edges_.size(); }
  uint32_t first_edge(uint32_t state) const { return first_[state]; }
  const Edge& edge(uint32_t i) const { return edges_[i]; }

 private:
  void add(uint32_t from, Edge edge) {
    edge.next = first_[from];
    first_[from] = static_cast<uint32_t>(edges_.size());
    edges_.push_back(edge);
  }

  std::vector<uint32_t> first_;
  std::vector<Edge> edges_;
};

// Appends the states of `nfa`, made deterministic where that stays small, and with equal states
// merged, as those of rule `rule`; returns its start state. Throws GrammarError(kTooLarge) with
// `position` when `limits` are passed.
uint32_t append_rule(Automaton& automaton, const Nfa& nfa, uint32_t rule, size_t position,
                     const CompileLimits& limits, Deadline& deadline);

}  // namespace hotpath::grammar

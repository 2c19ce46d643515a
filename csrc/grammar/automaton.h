#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/error.h"
#include "grammar/syntax.h"

namespace hotpath::grammar {

struct CompileLimits {
  size_t max_source_bytes = 4 << 20;
  size_t max_states = 400'000;    // of all rules' automata together
  size_t max_edges = 4'000'000;   // likewise
  std::chrono::milliseconds max_time{3000};
};

// One automaton per rule, over bytes, calls of other rules, and special tokens. States of all rules
// are numbered through. An automaton is deterministic unless that made it too large; the chart
// (chart.h) does not need it to be.
struct Automaton {
  struct State {
    uint32_t byte_begin = 0, call_begin = 0, token_begin = 0;  // ends: those of the next state
    uint32_t rule = 0;
    bool final = false;
    bool tail = false;  // final, and nothing leaves it: reaching it ends the rule
    bool disjoint = true;  // no byte has two edges
  };
  struct ByteEdge {
    uint8_t lo, hi;
    uint32_t target;
  };
  struct CallEdge {
    uint32_t rule, target;
  };
  struct TokenEdge {
    uint32_t id, target;
  };
  // A counted rule repeats `element`, a rule, min to max times (max may be kUnbounded). It has one
  // state, without edges: the count is part of the chart's items.
  struct Rule {
    uint32_t start = 0;
    bool nullable = false;
    bool counted = false;
    bool shared = false;  // its states' masks may be shared between grammars: `content` says it all
    uint32_t element = 0, min = 0, max = 0;
    bool endless = false;  // counted, and never ends
    // Of a counted rule: rules that repeat the same element as often as one likes, and without end.
    // Far from both limits, a token cannot tell the difference.
    uint32_t free_rule = 0, endless_rule = 0;
    std::string content;
  };

  std::vector<State> states;  // and a last one that closes the ranges
  std::vector<ByteEdge> byte_edges;
  std::vector<CallEdge> call_edges;
  std::vector<TokenEdge> token_edges;
  std::vector<Rule> rules;
  uint32_t root = 0;

  std::span<const ByteEdge> bytes_of(uint32_t state) const {
    return {byte_edges.data() + states[state].byte_begin,
            states[state + 1].byte_begin - states[state].byte_begin};
  }
  std::span<const CallEdge> calls_of(uint32_t state) const {
    return {call_edges.data() + states[state].call_begin,
            states[state + 1].call_begin - states[state].call_begin};
  }
  std::span<const TokenEdge> tokens_of(uint32_t state) const {
    return {token_edges.data() + states[state].token_begin,
            states[state + 1].token_begin - states[state].token_begin};
  }
  size_t num_bytes() const;  // memory
};

// Parses and compiles. Throws GrammarError. num_tokens bounds token(ID); 0: any id.
Automaton build_automaton(std::string_view source, uint32_t num_tokens,
                          const CompileLimits& limits);

// A clock that is asked often and looks seldom.
class Deadline {
 public:
  explicit Deadline(std::chrono::milliseconds time)
      : end_(std::chrono::steady_clock::now() + time), time_(time) {}
  void check() {
    if ((++asked_ & 1023) == 0 && std::chrono::steady_clock::now() > end_)
      throw GrammarError(GrammarError::Kind::kTooLarge, 0,
                         concat("the grammar takes longer than ", time_.count(),
                                " ms to compile; make it smaller or less ambiguous"));
  }

 private:
  std::chrono::steady_clock::time_point end_;
  std::chrono::milliseconds time_;
  uint32_t asked_ = 0;
};

}  // namespace hotpath::grammar

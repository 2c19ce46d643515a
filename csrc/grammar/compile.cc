#include <algorithm>
#include <map>
#include <unordered_map>

#include "grammar/automaton.h"
#include "grammar/nfa.h"
#include "grammar/scc.h"
#include "grammar/utf8.h"

namespace hotpath::grammar {

namespace {

// How much of an expression is written out in one automaton. Weight: about one per automaton state.
constexpr uint64_t kSmallRule = 48;         // rules up to this weight are part of their callers
constexpr uint64_t kSingleRule = 2000;      // likewise, of rules with one caller
constexpr uint64_t kInlinedTotal = 20'000;  // of all copies of one rule
constexpr uint64_t kExpanded = 256;         // a repetition is written out up to this weight
constexpr uint64_t kKeyed = 512;            // equal repetitions up to this written size are found
constexpr size_t kKeyedTotal = 32 << 20;    // bytes of what is written to find them
constexpr uint64_t kSaturated = uint64_t{1} << 40;
constexpr uint32_t kMaxHeight = 1200;       // of an expression with what is inlined in it
constexpr uint32_t kWideClass = 100;        // code points
constexpr size_t kMaxNfaEdges = 6'000'000;
constexpr size_t kMaxContent = 8192;

enum class Plan : uint8_t {
  kExpand,  // part of the automaton
  kLoop,    // X* or X+ as a rule of its own: its masks are worth sharing
  kCounted  // a counted rule
};

uint64_t times(uint64_t a, uint64_t b) {
  return a != 0 && b > kSaturated / a ? kSaturated : std::min(a * b, kSaturated);
}

class Compiler {
 public:
  Compiler(std::string_view source, uint32_t num_tokens, const CompileLimits& limits)
      : limits_(limits), deadline_(limits.max_time), in_(parse(source, num_tokens)) {}

  Automaton compile() {
    find_reachable();
    productive_ = propagate([](const Node& n) {
      return n.op == Op::kBytes || n.op == Op::kToken || (n.op == Op::kRepeat && n.min == 0);
    });
    if (!productive_[in_.rules[in_.root].root])
      throw GrammarError(GrammarError::Kind::kUnsatisfiable, in_.rules[in_.root].position,
                         "the grammar is unsatisfiable: no text can match its root");
    nullable_ = propagate([](const Node& n) {
      return (n.op == Op::kBytes && n.count == 0) || (n.op == Op::kRepeat && n.min == 0);
    });
    weigh();
    out_.root = rule_of(in_.root);
    for (uint32_t rule = 0; rule < jobs_.size(); ++rule) build(rule);
    finish();
    return std::move(out_);
  }

 private:
  // What a rule of the automaton is made of.
  struct Job {
    uint32_t node;
    enum Kind : uint8_t { kPlain, kStar, kPlus, kCounted } kind;
    bool shared;
  };

  void find_reachable() {
    reachable_.assign(in_.rules.size(), false);
    std::vector<uint32_t> stack{in_.root};
    reachable_[in_.root] = true;
    callers_.resize(in_.rules.size());
    parent_.assign(in_.nodes.size(), kNoRule);
    while (!stack.empty()) {
      const uint32_t r = stack.back();
      stack.pop_back();
      for (uint32_t i = in_.rules[r].begin; i < in_.rules[r].end; ++i) {
        deadline_.check();
        const Node& n = in_.nodes[i];
        if (n.op == Op::kRepeat) parent_[n.a] = i;
        if (n.op == Op::kSequence || n.op == Op::kChoice)
          for (uint32_t c = 0; c < n.count; ++c) parent_[in_.children[n.begin + c]] = i;
        if (n.op != Op::kCall) continue;
        callers_[n.a].push_back(i);
        if (!reachable_[n.a]) {
          reachable_[n.a] = true;
          stack.push_back(n.a);
        }
      }
    }
    rule_at_root_.assign(in_.nodes.size(), kNoRule);
    for (uint32_t r = 0; r < in_.rules.size(); ++r)
      if (reachable_[r]) rule_at_root_[in_.rules[r].root] = r;
  }

  // The least set of nodes that holds the leaves and repetitions that `initially` says; a sequence
  // when it holds all of its parts, a choice when it holds one, a call when it holds the rule, a
  // repetition when it holds what is repeated. Classes are in it unless they are empty.
  template <typename F>
  std::vector<bool> propagate(F&& initially) {
    std::vector<bool> holds(in_.nodes.size(), false);
    std::vector<uint32_t> missing(in_.nodes.size(), 0), stack;
    const bool classes = productive_.empty();
    const auto add = [&](uint32_t node) {
      if (!holds[node]) holds[node] = true, stack.push_back(node);
    };
    for (uint32_t r = 0; r < in_.rules.size(); ++r) {
      if (!reachable_[r]) continue;
      for (uint32_t i = in_.rules[r].begin; i < in_.rules[r].end; ++i) {
        const Node& n = in_.nodes[i];
        missing[i] = n.op == Op::kSequence ? n.count : 1;
        if (initially(n) || (classes && n.op == Op::kClass && !in_.classes[n.a].empty())) add(i);
      }
    }
    while (!stack.empty()) {
      deadline_.check();
      const uint32_t i = stack.back();
      stack.pop_back();
      if (parent_[i] != kNoRule && --missing[parent_[i]] == 0) add(parent_[i]);
      if (rule_at_root_[i] != kNoRule)
        for (uint32_t call : callers_[rule_at_root_[i]]) add(call);
    }
    return holds;
  }

  // Weights, plans for repetitions, and which rules are inlined; callees first.
  void weigh() {
    const auto n = static_cast<uint32_t>(in_.rules.size());
    std::vector<std::vector<uint32_t>> callees(n);
    std::vector<bool> calls_itself(n, false);
    for (uint32_t r = 0; r < n; ++r) {
      if (!reachable_[r]) continue;
      for (uint32_t i = in_.rules[r].begin; i < in_.rules[r].end; ++i) {
        if (in_.nodes[i].op != Op::kCall || !productive_[i]) continue;
        callees[r].push_back(in_.nodes[i].a);
        if (in_.nodes[i].a == r) calls_itself[r] = true;
      }
    }
    const auto component =
        components(n, [&](uint32_t r) -> const std::vector<uint32_t>& { return callees[r]; });
    std::vector<uint32_t> order(n), size(n, 0);
    for (uint32_t r = 0; r < n; ++r) order[r] = r, ++size[component[r]];
    std::ranges::stable_sort(order, {}, [&](uint32_t r) { return component[r]; });
    weight_.assign(in_.nodes.size(), 0);
    written_.assign(in_.nodes.size(), 1);
    height_.assign(in_.nodes.size(), 1);
    wide_.assign(in_.nodes.size(), false);
    plan_.assign(in_.nodes.size(), Plan::kExpand);
    inlined_.assign(n, false);
    class_runs_.resize(in_.classes.size());
    for (uint32_t r : order) {
      if (!reachable_[r]) continue;
      for (uint32_t i = in_.rules[r].begin; i < in_.rules[r].end; ++i)
        if (productive_[i]) weigh(i);
      const uint32_t root = in_.rules[r].root;
      const uint64_t w = weight_[root], calls = callers_[r].size();
      inlined_[r] = r != in_.root && productive_[root] && size[component[r]] == 1 &&
                    !calls_itself[r] && height_[root] < kMaxHeight &&
                    (w <= 4 || (w <= kSmallRule && times(w, calls) <= kInlinedTotal) ||
                     (w <= kSingleRule && calls == 1));
    }
  }

  void weigh(uint32_t i) {
    deadline_.check();
    const Node& n = in_.nodes[i];
    switch (n.op) {
      case Op::kBytes: written_[i] = weight_[i] = std::max(n.count, 1u); break;
      case Op::kToken: weight_[i] = 1; break;
      case Op::kClass: {
        uint64_t points = 0;
        for (const auto& [lo, hi] : in_.classes[n.a]) points += hi - lo + 1;
        wide_[i] = points >= kWideClass;
        weight_[i] = runs(n.a).size();
        break;
      }
      case Op::kSequence:
      case Op::kChoice:
        for (uint32_t c = 0; c < n.count; ++c) {
          const uint32_t child = in_.children[n.begin + c];
          weight_[i] = std::min(weight_[i] + weight_[child], kSaturated);
          written_[i] = std::min(written_[i] + written_[child], kSaturated);
          height_[i] = std::max(height_[i], height_[child] + 1);
          if (wide_[child]) wide_[i] = true;
        }
        break;
      case Op::kCall:
        weight_[i] = inlined_[n.a] ? weight_[in_.rules[n.a].root] : 1;
        if (inlined_[n.a])
          written_[i] = std::min(written_[in_.rules[n.a].root] + 1, kSaturated);
        height_[i] = inlined_[n.a] ? height_[in_.rules[n.a].root] + 1 : 1;
        wide_[i] = inlined_[n.a] && wide_[in_.rules[n.a].root];
        break;
      case Op::kRepeat: {
        written_[i] = std::min(written_[n.a] + 1, kSaturated);
        weight_[i] = 1;
        if (n.max == 0 || !productive_[n.a]) break;
        const uint64_t w = std::max<uint64_t>(weight_[n.a], 1);
        const uint64_t copies = n.max == kUnbounded ? std::max(n.min, 1u) : n.max;
        const bool few = copies == 1 || times(copies, w) <= kExpanded;
        if (!wide_[n.a])
          plan_[i] = few ? Plan::kExpand : Plan::kCounted;
        else if (n.max == kUnbounded)
          plan_[i] = n.min <= 1 ? Plan::kLoop : Plan::kCounted;
        else
          plan_[i] = n.max == 1 || (n.max <= 3 && few) ? Plan::kExpand : Plan::kCounted;
        if (plan_[i] == Plan::kExpand) {
          weight_[i] = times(copies, w);
          wide_[i] = wide_[n.a];
          height_[i] = height_[n.a] + 1;
        }
        break;
      }
    }
  }

  const std::vector<ByteRanges>& runs(uint32_t class_id) {
    auto& list = class_runs_[class_id];
    if (list.empty())
      for (const auto& [lo, hi] : in_.classes[class_id]) utf8_ranges(lo, hi, list);
    return list;
  }

  uint32_t add_job(Job job) {
    jobs_.push_back(job);
    out_.rules.emplace_back();
    return static_cast<uint32_t>(jobs_.size() - 1);
  }

  uint32_t rule_of(uint32_t source_rule) {
    const auto [at, is_new] = rule_ids_.try_emplace(source_rule, 0);
    if (is_new) {
      const uint32_t node = in_.rules[source_rule].root;
      at->second = add_job({node, Job::kPlain, false});
      out_.rules[at->second].nullable = nullable_[node];
    }
    return at->second;
  }

  // The rule that a kLoop or kCounted node calls. Nodes that say the same share one.
  uint32_t rule_of_repeat(uint32_t i) {
    const auto [at, is_new] = rules_of_repeats_.try_emplace(i, 0);
    if (is_new) at->second = find_rule_of_repeat(i);
    return at->second;
  }

  uint32_t find_rule_of_repeat(uint32_t i) {
    const Node& n = in_.nodes[i];
    std::string key;
    if (written_[n.a] <= kKeyed && keyed_ < kKeyedTotal)
      append_key(n.a, key);
    else
      append_number(key += '#', n.a);
    keyed_ += key.size();
    if (plan_[i] == Plan::kLoop) {
      const auto kind = n.min == 0 ? Job::kStar : Job::kPlus;
      const auto [at, is_new] = repeat_ids_.try_emplace((kind == Job::kStar ? '*' : '+') + key, 0);
      if (is_new) {
        at->second = add_job({n.a, kind, true});
        out_.rules[at->second].nullable = n.min == 0 || nullable_[n.a];
      }
      return at->second;
    }
    const auto [element, is_new_element] = repeat_ids_.try_emplace('.' + key, 0);
    if (is_new_element) {
      element->second = add_job({n.a, Job::kPlain, true});
      out_.rules[element->second].nullable = nullable_[n.a];
    }
    // What may be empty can fill up to any minimum.
    const uint32_t min = nullable_[n.a] ? 0 : n.min;
    const uint32_t rule = counted_rule(n.a, element->second, min, n.max, false);
    const uint32_t free_rule = counted_rule(n.a, element->second, 0, kUnbounded, false);
    const uint32_t endless_rule = counted_rule(n.a, element->second, 0, kUnbounded, true);
    for (const uint32_t r : {rule, free_rule, endless_rule}) {
      out_.rules[r].free_rule = free_rule;
      out_.rules[r].endless_rule = endless_rule;
    }
    return rule;
  }

  uint32_t counted_rule(uint32_t node, uint32_t element, uint32_t min, uint32_t max, bool endless) {
    std::string key(1, endless ? '~' : '{');
    append_number(key, element);
    append_number(key, min);
    append_number(key, max);
    const auto [at, is_new] = repeat_ids_.try_emplace(key, 0);
    if (is_new) {
      at->second = add_job({node, Job::kCounted, false});
      Automaton::Rule& rule = out_.rules[at->second];
      rule.nullable = min == 0;
      rule.counted = true;
      rule.element = element;
      rule.min = min;
      rule.max = max;
      rule.endless = endless;
    }
    return at->second;
  }

  static void append_number(std::string& key, uint32_t value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }

  // What node i says, inlined rules written out. Its written size bounds how deep this goes.
  void append_key(uint32_t i, std::string& key) {
    deadline_.check();
    const Node& n = in_.nodes[i];
    if (!productive_[i]) {
      key += '!';
      return;
    }
    switch (n.op) {
      case Op::kBytes:
        append_number(key += 'b', n.count);
        key.append(in_.bytes, n.begin, n.count);
        break;
      case Op::kToken: append_number(key += 't', n.a); break;
      case Op::kClass: append_number(key += 'c', n.a); break;
      case Op::kSequence:
      case Op::kChoice:
        append_number(key += n.op == Op::kChoice ? '|' : ',', n.count);
        for (uint32_t c = 0; c < n.count; ++c) append_key(in_.children[n.begin + c], key);
        break;
      case Op::kCall:
        if (inlined_[n.a])
          append_key(in_.rules[n.a].root, key);
        else
          append_number(key += 'r', n.a);
        break;
      case Op::kRepeat:
        append_number(key += 'x', n.min);
        append_number(key, n.max);
        append_key(n.a, key);
        break;
    }
  }

  void build(uint32_t rule) {
    const Job job = jobs_[rule];
    const uint32_t position = in_.nodes[job.node].position;
    if (job.kind == Job::kCounted) {
      out_.rules[rule].start = static_cast<uint32_t>(out_.states.size());
      out_.states.push_back({.byte_begin = static_cast<uint32_t>(out_.byte_edges.size()),
                             .call_begin = static_cast<uint32_t>(out_.call_edges.size()),
                             .token_begin = static_cast<uint32_t>(out_.token_edges.size()),
                             .rule = rule});
      return;
    }
    nfa_.clear();
    if (job.kind == Job::kPlain)
      emit(job.node, Nfa::kStart, Nfa::kFinal);
    else
      emit_unbounded(job.node, Nfa::kStart, Nfa::kFinal, job.kind == Job::kStar);
    out_.rules[rule].start = append_rule(out_, nfa_, rule, position, limits_, deadline_);
    out_.rules[rule].shared = job.shared;
  }

  // Adds what node i matches between two states. Nothing leads back into `from` or out of `to`.
  void emit(uint32_t i, uint32_t from, uint32_t to) {
    deadline_.check();
    const Node& n = in_.nodes[i];
    if (!productive_[i]) return;
    if (nfa_.num_edges() > kMaxNfaEdges)
      throw GrammarError(GrammarError::Kind::kTooLarge, n.position,
                         concat("the grammar grows too large at byte ", n.position,
                                "; use fewer or smaller repetitions and alternatives"));
    switch (n.op) {
      case Op::kBytes:
        if (n.count == 0) nfa_.add_empty(from, to);
        for (uint32_t k = 0; k < n.count; ++k) {
          const auto byte = static_cast<uint8_t>(in_.bytes[n.begin + k]);
          const uint32_t next = k + 1 == n.count ? to : nfa_.add_state();
          nfa_.add_bytes(from, byte, byte, next);
          from = next;
        }
        break;
      case Op::kToken: nfa_.add_token(from, n.a, to); break;
      case Op::kClass:
        for (const ByteRanges& run : runs(n.a)) {
          uint32_t at = from;
          for (int k = 0; k < run.length; ++k) {
            const uint32_t next = k + 1 == run.length ? to : nfa_.add_state();
            nfa_.add_bytes(at, run.ranges[k].lo, run.ranges[k].hi, next);
            at = next;
          }
        }
        break;
      case Op::kSequence:
        for (uint32_t c = 0; c < n.count; ++c) {
          const uint32_t next = c + 1 == n.count ? to : nfa_.add_state();
          emit(in_.children[n.begin + c], from, next);
          from = next;
        }
        break;
      case Op::kChoice:
        for (uint32_t c = 0; c < n.count; ++c) emit(in_.children[n.begin + c], from, to);
        break;
      case Op::kCall:
        if (inlined_[n.a])
          emit(in_.rules[n.a].root, from, to);
        else
          nfa_.add_call(from, rule_of(n.a), to);
        break;
      case Op::kRepeat: emit_repeat(i, from, to); break;
    }
  }

  void emit_repeat(uint32_t i, uint32_t from, uint32_t to) {
    const Node& n = in_.nodes[i];
    if (n.max == 0 || !productive_[n.a]) return nfa_.add_empty(from, to);
    if (plan_[i] != Plan::kExpand) return nfa_.add_call(from, rule_of_repeat(i), to);
    const uint32_t fixed = n.max == kUnbounded && n.min > 0 ? n.min - 1 : n.min;
    for (uint32_t k = 0; k < fixed; ++k) {
      const uint32_t next = nfa_.add_state();
      emit(n.a, from, next);
      from = next;
    }
    if (n.max == kUnbounded) return emit_unbounded(n.a, from, to, n.min == 0);
    nfa_.add_empty(from, to);
    for (uint32_t k = n.min; k < n.max; ++k) {
      const uint32_t next = nfa_.add_state();
      emit(n.a, from, next);
      nfa_.add_empty(next, to);
      from = next;
    }
  }

  void emit_unbounded(uint32_t child, uint32_t from, uint32_t to, bool may_be_none) {
    const uint32_t begin = nfa_.add_state(), end = nfa_.add_state();
    nfa_.add_empty(from, begin);
    emit(child, begin, end);
    nfa_.add_empty(end, begin);
    nfa_.add_empty(end, to);
    if (may_be_none) nfa_.add_empty(begin, to);
  }

  // The last state closes the ranges; the contents of rules whose masks grammars may share.
  void finish() {
    out_.states.push_back({.byte_begin = static_cast<uint32_t>(out_.byte_edges.size()),
                           .call_begin = static_cast<uint32_t>(out_.call_edges.size()),
                           .token_begin = static_cast<uint32_t>(out_.token_edges.size())});
    const auto num_states = static_cast<uint32_t>(out_.states.size() - 1);
    for (uint32_t r = 0; r < out_.rules.size(); ++r) {
      Automaton::Rule& rule = out_.rules[r];
      if (!rule.shared) continue;
      for (uint32_t s = rule.start; s < num_states && out_.states[s].rule == r; ++s) {
        if (!out_.calls_of(s).empty() || !out_.tokens_of(s).empty()) rule.shared = false;
        if (!rule.shared || rule.content.size() > kMaxContent) break;
        rule.content += out_.states[s].final ? 'f' : '-';
        for (const auto& edge : out_.bytes_of(s)) {
          rule.content += 'b';
          rule.content += static_cast<char>(edge.lo);
          rule.content += static_cast<char>(edge.hi);
          append_number(rule.content, edge.target - rule.start);
        }
      }
      if (!rule.shared || rule.content.size() > kMaxContent)
        rule.shared = false, rule.content.clear();
    }
  }

  const CompileLimits limits_;
  Deadline deadline_;
  Syntax in_;
  Automaton out_;
  Nfa nfa_;
  std::vector<bool> reachable_;                 // by source rule
  std::vector<std::vector<uint32_t>> callers_;  // by source rule: call nodes
  std::vector<uint32_t> parent_, rule_at_root_;  // by node
  std::vector<bool> productive_, nullable_, wide_;
  std::vector<uint64_t> weight_;
  // Nodes and bytes with all that is below, whatever the plan of repetitions: for append_key.
  std::vector<uint64_t> written_;
  std::vector<uint32_t> height_;
  std::vector<Plan> plan_;
  std::vector<bool> inlined_;
  std::vector<std::vector<ByteRanges>> class_runs_;
  std::vector<Job> jobs_;  // by rule of the automaton
  std::unordered_map<uint32_t, uint32_t> rule_ids_;
  std::map<std::string, uint32_t> repeat_ids_;
  std::unordered_map<uint32_t, uint32_t> rules_of_repeats_;  // by node
  size_t keyed_ = 0;                                         // bytes of keys written
};

}  // namespace

size_t Automaton::num_bytes() const {
  size_t bytes = states.capacity() * sizeof(State) + byte_edges.capacity() * sizeof(ByteEdge) +
                 call_edges.capacity() * sizeof(CallEdge) +
                 token_edges.capacity() * sizeof(TokenEdge) + rules.capacity() * sizeof(Rule);
  for (const Rule& rule : rules) bytes += rule.content.capacity();
  return bytes;
}

Automaton build_automaton(std::string_view source, uint32_t num_tokens,
                          const CompileLimits& limits) {
  if (source.size() > limits.max_source_bytes)
    throw GrammarError(GrammarError::Kind::kTooLarge, limits.max_source_bytes,
                       concat("the grammar has ", source.size(), " bytes; at most ",
                              limits.max_source_bytes, " are compiled"));
  return Compiler(source, num_tokens, limits).compile();
}

}  // namespace hotpath::grammar

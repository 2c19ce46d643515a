#pragma once

// Constrained generation: which tokens may come next, by a grammar.
//
//   auto vocabulary = std::make_shared<Vocabulary>(bytes, offsets, special, stop);  // per model
//   GrammarCache cache(vocabulary);                                                 // per model
//   auto grammar = cache.get(source);        // any thread; milliseconds; throws GrammarError
//   Matcher matcher(grammar);                // per sequence
//   matcher.fill_mask(words);                // a worker thread, while the device computes
//   matcher.accept_token(id);                // after the draw
//
// The language
// ------------
// UTF-8 text: rules `name ::= expression`, names of [A-Za-z_][A-Za-z0-9_.-]*; a rule ends where the
// next one begins. `root` is where a text starts. # begins a comment.
//   a | b            alternatives; an empty one is written ""
//   a b              sequence;  ( a )  group
//   a? a* a+ a{2} a{2,} a{2,5}
//   "text"           the bytes of its UTF-8; escapes \" \\ \/ \n \r \t \b \f \uHHHH (pairs of
//                    surrogates are one character) \u{H...}, and \xHH for a byte of any value
//   [a-z_] [^"\\]    one code point; escapes as in strings, \] \- \^ \[, and \d \w \s (ASCII)
//   .                any code point but \n
//   name             another rule; every kind of recursion is fine
//   token(ID)        the token of this id, as a token: special tokens have no bytes here
// Code points are matched as their UTF-8: text that is not valid UTF-8 is matched by \xHH only.
//
// Everything is bounded: what cannot be compiled within CompileLimits, and sequences that have too
// many readings to follow, get a GrammarError.

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/chart.h"
#include "grammar/error.h"
#include "grammar/mask_cache.h"
#include "grammar/vocabulary.h"

namespace hotpath::grammar {

// A compiled grammar for one vocabulary. Immutable but for its cache of masks; any number of
// sequences, on any threads, may share one.
class CompiledGrammar {
 public:
  static constexpr size_t kMaskBytes = 64 << 20;

  // Throws GrammarError. mask_bytes bounds the memory of the cached masks.
  static std::shared_ptr<const CompiledGrammar> compile(
      std::string_view source, std::shared_ptr<const Vocabulary> vocabulary,
      const CompileLimits& limits = {}, size_t mask_bytes = kMaskBytes);

  const Automaton& automaton() const { return automaton_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  MaskCache& masks() const { return masks_; }
  // Memory: the automaton, and the masks cached so far.
  size_t num_bytes() const { return automaton_.num_bytes() + masks_.num_bytes(); }

 private:
  CompiledGrammar(Automaton automaton, std::shared_ptr<const Vocabulary> vocabulary,
                  size_t mask_bytes);

  const std::shared_ptr<const Vocabulary> vocabulary_;
  const Automaton automaton_;
  mutable MaskCache masks_;
};

// One sequence's place in its grammar. Not thread-safe, but it may move from thread to thread.
// Copies are independent: fork() for several continuations of one text. An exception leaves the
// matcher where it was.
class Matcher {
 public:
  static constexpr int kDefaultRollback = 64;

  // max_rollback: how many of the last steps can be taken back.
  explicit Matcher(std::shared_ptr<const CompiledGrammar> grammar,
                   int max_rollback = kDefaultRollback);

  // Goes on by one token. False, and nothing changes: the grammar does not allow it here, or the
  // text has ended. A stop token ends the text where it may end. Throws
  // GrammarError(kTooAmbiguous).
  bool accept_token(int32_t id);
  // Goes on by bytes, all or (false) none of them: one step for rollback.
  bool accept_bytes(std::string_view bytes);

  // Sets the bits of the tokens that accept_token would accept now, and clears the others. words:
  // grammar().vocabulary().mask_words() of them. All clear once the text has ended; also where it
  // may end and nothing else may follow but the vocabulary has no stop tokens. Throws
  // GrammarError(kTooAmbiguous).
  void fill_mask(std::span<uint32_t> words);

  bool is_complete() const { return terminated_ || chart_.complete(set_); }  // it may end here
  bool is_terminated() const { return terminated_; }  // a stop token has been accepted
  bool can_continue() const { return !terminated_ && !chart_.scans(set_).empty(); }

  // Takes the last `steps` accepted steps back. Throws Error("internal_error") when that is more
  // than there are or max_rollback.
  void rollback(int steps);
  int num_steps_kept() const { return static_cast<int>(history_.size()); }
  Matcher fork() const { return *this; }

  // The bytes that have to come next whatever is drawn, up to max_bytes: they may be appended
  // without a model step. Stops where the text may end, and at token(ID). The matcher stays where
  // it is.
  std::string forced_bytes(size_t max_bytes = 256);
  // The token that has to come next because the grammar allows one token(ID) and nothing else; -1
  // where there is none.
  int32_t forced_token() const;

  const CompiledGrammar& grammar() const { return *grammar_; }
  size_t num_bytes() const { return chart_.capacity_bytes() + history_.capacity() * sizeof(Step); }

 private:
  struct Step {
    uint32_t set;
    bool terminated;
  };

  void push(uint32_t set, bool terminated);
  void collect(uint32_t* also = nullptr);
  bool bound_memory(uint32_t& set);

  std::shared_ptr<const CompiledGrammar> grammar_;
  Chart chart_;
  uint32_t set_;
  bool terminated_ = false;
  int max_rollback_;
  std::vector<Step> history_;  // the places before the last steps, oldest first
  size_t collect_at_;          // bytes of the chart
};

struct CheckResult {
  bool accepted;     // the whole text is the beginning of something that the grammar allows
  bool complete;     // and may end there
  size_t failed_at;  // byte offset of the first byte that is not allowed; the text's length if none
  // What could have come there: strings in quotes, classes in brackets, token(ID), "end of text".
  std::vector<std::string> expected;
};

// Runs a text through a grammar, without tokens. Special tokens count as their bytes here.
// Throws GrammarError(kTooAmbiguous), also when all of it takes more work than a text of its length
// may.
CheckResult check_text(const CompiledGrammar& grammar, std::string_view text);

// Compiled grammars by their text, the least recently used dropped when max_bytes are exceeded.
// Thread-safe: a text that several threads ask for at once is compiled once.
class GrammarCache {
 public:
  static constexpr size_t kDefaultBytes = 256 << 20;

  explicit GrammarCache(std::shared_ptr<const Vocabulary> vocabulary,
                        size_t max_bytes = kDefaultBytes, const CompileLimits& limits = {});

  // Compiles on the calling thread, or waits for the thread that does. Throws GrammarError; a
  // failure is not remembered.
  std::shared_ptr<const CompiledGrammar> get(const std::string& source);

  size_t size() const;
  size_t num_bytes() const;
  int64_t num_compiled() const;

 private:
  struct Entry {
    std::shared_ptr<const CompiledGrammar> grammar;  // null while it is compiled
    std::exception_ptr error;                        // for those who wait
    std::list<std::string>::iterator recent;
  };

  void drop_old();
  static size_t bytes_of(const std::string& source, const Entry& entry);

  const std::shared_ptr<const Vocabulary> vocabulary_;
  const size_t max_bytes_;
  const CompileLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable compiled_;
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;
  std::list<std::string> recent_;  // most recent first; of compiled ones
  int64_t num_compiled_ = 0;
};

}  // namespace hotpath::grammar

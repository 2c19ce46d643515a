#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "grammar/grammar.h"

namespace hotpath {

// One sequence's place in its grammar, and the mask of the tokens that may be drawn next. The
// engine's thread and a thread of MaskFiller take turns: from MaskFiller::request until the mask is
// there it is the filler's.
class Constraint {
 public:
  // start: the grammar governs what comes after the first occurrence of this text among the
  // generated tokens (the end of reasoning); empty: everything. jump_forward: text that the grammar
  // leaves no choice about is not drawn; see forced().
  Constraint(std::shared_ptr<const grammar::CompiledGrammar> grammar, std::string start,
             bool jump_forward);

  // A token was generated. Throws Error: it is none that the grammar allows, which no draw under
  // the mask is.
  void append(int32_t token);
  // The text is complete and nothing can follow it.
  bool is_finished() const;
  // What may end a text of the vocabulary.
  std::span<const int32_t> stop_ids() const { return grammar_->vocabulary().stop_ids(); }
  // The grammar governs the next token.
  bool is_active() const { return active_; }

  // The last mask took long, or none was ever filled: nobody should wait for the next.
  bool is_slow() const { return slow_; }

  enum class Mask { kStale, kFilling, kReady, kForced, kFailed };
  Mask mask_state() const { return state_.load(std::memory_order_acquire); }
  const uint32_t* mask() const { return words_.data(); }  // while kReady
  const std::string& failure() const { return failure_; }  // while kFailed
  // While kForced: tokens that come next whatever the logits say. Of forced text the last token is
  // not among them: a longer one that goes on behind it may be what the model would have written.
  std::span<const int32_t> forced() const { return forced_; }

 private:
  friend class MaskFiller;
  void fill() noexcept;
  bool find_forced();
  void follow(char byte);

  // Made by the first fill or append, not where requests are submitted: it may take a while.
  grammar::Matcher& matcher();

  const std::shared_ptr<const grammar::CompiledGrammar> grammar_;
  std::optional<grammar::Matcher> matcher_;
  const std::string start_;
  std::vector<uint32_t> longest_border_;  // of start_, for matching it (Knuth, Morris, Pratt)
  uint32_t matched_ = 0;                  // bytes of start_ that the text so far ends with
  bool active_;
  const bool jump_forward_;
  std::vector<int32_t> forced_;
  std::vector<uint32_t> words_;
  std::string failure_;
  std::atomic<bool> slow_{true};
  std::atomic<Mask> state_{Mask::kStale};
};

// Threads that fill masks while the device computes the step.
class MaskFiller {
 public:
  explicit MaskFiller(int num_threads);
  ~MaskFiller();
  MaskFiller(const MaskFiller&) = delete;
  MaskFiller& operator=(const MaskFiller&) = delete;

  // Starts filling a mask that is stale; otherwise nothing.
  void request(const std::shared_ptr<Constraint>& constraint);
  // Until some mask has been filled or the time is up.
  void wait_any(std::chrono::microseconds at_most);
  // Until none of these is being filled or the time is up. The caller helps with what is quick.
  void wait(const std::vector<std::shared_ptr<Constraint>>& constraints,
            std::chrono::microseconds at_most);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_, filled_;
  std::deque<std::shared_ptr<Constraint>> queue_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hotpath

#include "engine/constraint.h"

#include <algorithm>
#include <exception>

#include "core/error.h"

namespace hotpath {

Constraint::Constraint(std::shared_ptr<const grammar::CompiledGrammar> grammar, std::string start,
                       bool jump_forward)
    : grammar_(std::move(grammar)),
      start_(std::move(start)),
      longest_border_(start_.size(), 0),
      active_(start_.empty()),
      jump_forward_(jump_forward),
      words_(grammar_->vocabulary().mask_words()) {
  for (uint32_t i = 1, k = 0; i < start_.size(); ++i) {
    while (k > 0 && start_[i] != start_[k]) k = longest_border_[k - 1];
    if (start_[i] == start_[k]) ++k;
    longest_border_[i] = k;
  }
}

grammar::Matcher& Constraint::matcher() {
  if (!matcher_) matcher_.emplace(grammar_, 0);
  return *matcher_;
}

void Constraint::follow(char byte) {
  while (matched_ > 0 && byte != start_[matched_]) matched_ = longest_border_[matched_ - 1];
  if (byte == start_[matched_]) ++matched_;
}

void Constraint::append(int32_t token) {
  state_.store(Mask::kStale, std::memory_order_relaxed);
  if (active_) {
    if (!matcher().accept_token(token))
      fail("internal_error", "constraint: token ", token, " was drawn, which the grammar excludes");
    return;
  }
  const std::string_view bytes = grammar_->vocabulary().bytes(token);
  for (size_t i = 0; i < bytes.size(); ++i) {
    follow(bytes[i]);
    if (matched_ < start_.size()) continue;
    active_ = true;
    // The same token may go on behind the start. Blanks there belong to neither side.
    const std::string_view rest = bytes.substr(i + 1);
    const size_t text = std::min(rest.find_first_not_of(" \t\r\n"), rest.size());
    if (!matcher().accept_bytes(rest) && !matcher().accept_bytes(rest.substr(text)))
      fail("invalid_request",
           "the answer begins inside the token that ends the reasoning, and the constraint does "
           "not allow it: ask again, or without reasoning");
    return;
  }
}

bool Constraint::is_finished() const {
  return active_ && matcher_ &&
         (matcher_->is_terminated() || (matcher_->is_complete() && !matcher_->can_continue()));
}

bool Constraint::find_forced() {
  forced_.clear();
  if (const int32_t token = matcher().forced_token(); token >= 0) {
    forced_.push_back(token);
    return true;
  }
  const std::string bytes = matcher().forced_bytes();
  const grammar::Vocabulary& vocabulary = grammar_->vocabulary();
  for (std::string_view rest = bytes; !rest.empty();) {
    const int32_t token = vocabulary.longest_prefix_of(rest);
    if (token < 0) break;
    forced_.push_back(token);
    rest.remove_prefix(vocabulary.bytes(token).size());
  }
  if (!forced_.empty()) forced_.pop_back();
  return !forced_.empty();
}

void Constraint::fill() noexcept {
  constexpr std::chrono::microseconds kSlow{500};
  const auto begin = std::chrono::steady_clock::now();
  Mask state = Mask::kReady;
  try {
    if (jump_forward_ && find_forced())
      state = Mask::kForced;
    else
      matcher().fill_mask(words_);
    const bool none = std::ranges::all_of(words_, [](uint32_t word) { return word == 0; });
    if (state == Mask::kReady && none) {
      failure_ = "the constraint cannot be met: no token of the vocabulary can come next";
      state = Mask::kFailed;
    }
  } catch (const std::exception& error) {
    failure_ = error.what();
    state = Mask::kFailed;
  }
  slow_.store(std::chrono::steady_clock::now() - begin > kSlow, std::memory_order_relaxed);
  state_.store(state, std::memory_order_release);
}

MaskFiller::MaskFiller(int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

MaskFiller::~MaskFiller() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void MaskFiller::request(const std::shared_ptr<Constraint>& constraint) {
  if (constraint->mask_state() != Constraint::Mask::kStale) return;
  constraint->state_.store(Constraint::Mask::kFilling, std::memory_order_relaxed);
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(constraint);
  }
  wake_.notify_one();
}

void MaskFiller::wait(const std::vector<std::shared_ptr<Constraint>>& constraints,
                      std::chrono::microseconds at_most) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  std::unique_lock lock(mutex_);
  // Rather than sleep, the caller fills what nobody has begun and what went quickly before.
  while (std::chrono::steady_clock::now() < until) {
    const auto quick = std::ranges::find_if(queue_, [](const auto& c) { return !c->is_slow(); });
    if (quick == queue_.end()) break;
    const std::shared_ptr<Constraint> next = std::move(*quick);
    queue_.erase(quick);
    lock.unlock();
    next->fill();
    lock.lock();
  }
  filled_.wait_until(lock, until, [&] {
    return std::ranges::none_of(constraints, [](const auto& constraint) {
      return constraint->mask_state() == Constraint::Mask::kFilling;
    });
  });
}

void MaskFiller::wait_any(std::chrono::microseconds at_most) {
  std::unique_lock lock(mutex_);
  filled_.wait_for(lock, at_most);
}

void MaskFiller::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    const std::shared_ptr<Constraint> next = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    if (next.use_count() > 1) next->fill();  // else its request is gone
    lock.lock();
    filled_.notify_all();
  }
}

}  // namespace hotpath

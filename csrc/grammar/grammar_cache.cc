#include <exception>

#include "grammar/grammar.h"

namespace hotpath::grammar {

GrammarCache::GrammarCache(std::shared_ptr<const Vocabulary> vocabulary, size_t max_bytes,
                           const CompileLimits& limits)
    : vocabulary_(std::move(vocabulary)), max_bytes_(max_bytes), limits_(limits) {
  check(vocabulary_ != nullptr, "grammar cache: no vocabulary");
}

std::shared_ptr<const CompiledGrammar> GrammarCache::get(const std::string& source) {
  std::unique_lock lock(mutex_);
  if (const auto found = entries_.find(source); found != entries_.end()) {
    const std::shared_ptr<Entry> entry = found->second;
    compiled_.wait(lock, [&] { return entry->grammar || entry->error; });
    if (entry->error) std::rethrow_exception(entry->error);
    // It may have been dropped while this thread waited.
    if (const auto at = entries_.find(source); at != entries_.end() && at->second == entry)
      recent_.splice(recent_.begin(), recent_, entry->recent);
    return entry->grammar;
  }
  const auto entry = std::make_shared<Entry>();
  entries_.emplace(source, entry);
  lock.unlock();
  std::shared_ptr<const CompiledGrammar> grammar;
  std::exception_ptr error;
  std::list<std::string> recent;  // made here: nothing below fails, so that who waits is told
  try {
    recent.push_front(source);
    grammar = CompiledGrammar::compile(source, vocabulary_, limits_);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  ++num_compiled_;
  entry->grammar = grammar;
  entry->error = error;
  if (error) {
    entries_.erase(source);
  } else {
    recent_.splice(recent_.begin(), recent);
    entry->recent = recent_.begin();
    drop_old();
  }
  lock.unlock();
  compiled_.notify_all();
  if (error) std::rethrow_exception(error);
  return grammar;
}

size_t GrammarCache::bytes_of(const std::string& source, const Entry& entry) {
  return 2 * source.size() + sizeof(Entry) + (entry.grammar ? entry.grammar->num_bytes() : 0);
}

// Masks grow while a grammar is used, so all are counted anew. The newest stays in any case.
void GrammarCache::drop_old() {
  size_t total = 0;
  for (const auto& [source, entry] : entries_) total += bytes_of(source, *entry);
  while (total > max_bytes_ && recent_.size() > 1) {
    const auto oldest = entries_.find(recent_.back());
    total -= bytes_of(oldest->first, *oldest->second);
    entries_.erase(oldest);
    recent_.pop_back();
  }
}

size_t GrammarCache::size() const {
  const std::lock_guard lock(mutex_);
  return recent_.size();
}

size_t GrammarCache::num_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const auto& [source, entry] : entries_) total += bytes_of(source, *entry);
  return total;
}

int64_t GrammarCache::num_compiled() const {
  const std::lock_guard lock(mutex_);
  return num_compiled_;
}

}  // namespace hotpath::grammar

#include "engine/mailbox.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/error.h"

namespace hotpath {

void Inbox::submit(std::unique_ptr<Sequence> seq) {
  const int64_t id = seq->id;
  {
    std::lock_guard lock(mutex_);
    if (failed_)
      fail("engine_failed", "the engine has failed and takes no more requests: ", failure_);
    if (closed_) fail("engine_closed", "the engine is closed and takes no more requests");
    if (!live_.insert(id).second)
      fail("invalid_request", "id: request ", id, " is still in flight");
    try {
      commands_.push_back({.add = std::move(seq)});
    } catch (...) {
      live_.erase(id);
      throw;
    }
  }
  ready_.notify_one();
}

void Inbox::abort(int64_t id) {
  {
    std::lock_guard lock(mutex_);
    if (failed_ || closed_ || !live_.contains(id)) return;
    commands_.push_back({.add = nullptr, .abort_id = id});
  }
  ready_.notify_one();
}

bool Inbox::receive(std::vector<Command>& out, bool block) {
  out.clear();
  std::unique_lock lock(mutex_);
  if (block) ready_.wait(lock, [&] { return closed_ || !commands_.empty(); });
  std::swap(out, commands_);
  return !closed_;
}

void Inbox::forget(std::span<const int64_t> ids) {
  if (ids.empty()) return;
  std::lock_guard lock(mutex_);
  for (int64_t id : ids) live_.erase(id);
}

void Inbox::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  ready_.notify_one();
}

void Inbox::mark_failed(const std::string& message) {
  std::lock_guard lock(mutex_);
  if (failed_) return;
  failed_ = true;
  failure_ = message;
}

int64_t Inbox::num_live() {
  std::lock_guard lock(mutex_);
  return static_cast<int64_t>(live_.size());
}

std::string Inbox::failure() {
  std::lock_guard lock(mutex_);
  return failure_;
}

bool Outbox::publish(Delivery& delivery, const EngineStats& stats) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    stats_ = stats;
    if (delivery.empty()) return false;
    wake = delivery_.empty();
    if (wake) {
      std::swap(delivery_, delivery);
    } else {
      append(delivery);
    }
  }
  delivery.clear();
  return wake;
}

// All or nothing: half a delivery would garble every record behind it.
void Outbox::append(const Delivery& more) {
  const size_t ints = delivery_.ints.size(), floats = delivery_.floats.size();
  try {
    delivery_.floats.insert(delivery_.floats.end(), more.floats.begin(), more.floats.end());
    delivery_.ints.insert(delivery_.ints.end(), more.ints.begin(), more.ints.end());
    delivery_.failures.insert(delivery_.failures.end(), more.failures.begin(), more.failures.end());
  } catch (...) {
    delivery_.floats.resize(floats);
    delivery_.ints.resize(ints);
    throw;
  }
}

bool Outbox::take(Delivery& out) {
  out.clear();
  std::lock_guard lock(mutex_);
  std::swap(out, delivery_);
  return !out.empty();
}

EngineStats Outbox::stats() {
  std::lock_guard lock(mutex_);
  return stats_;
}

int32_t* append_record(Delivery& delivery, const Record& r) {
  constexpr size_t kHeader = 8;
  const size_t n = r.tokens.size();
  const bool scored = !r.logprobs.empty();
  const size_t top = scored ? r.num_top : 0;
  const size_t ints_before = delivery.ints.size(), floats_before = delivery.floats.size();
  if (scored) delivery.floats.resize(floats_before + n * (1 + top));
  try {
    delivery.ints.resize(ints_before + kHeader + n * (1 + top) + r.num_experts);
  } catch (...) {
    delivery.floats.resize(floats_before);
    throw;
  }

  int32_t* out = delivery.ints.data() + ints_before;
  *out++ = static_cast<int32_t>(r.id);
  *out++ = (scored ? 1 : 0) | (r.is_prompt ? 2 : 0);
  *out++ = static_cast<int32_t>(r.finish);
  *out++ = static_cast<int32_t>(n);
  *out++ = static_cast<int32_t>(top);
  *out++ = r.matched_stop_id;
  *out++ = r.prefix_len;
  *out++ = r.num_experts;
  out = std::ranges::copy(r.tokens, out).out;
  if (!scored) return out;

  float* logprob = delivery.floats.data() + floats_before;
  float* top_logprob = logprob + n;
  for (const SampleResult& result : r.logprobs) {
    *logprob++ = result.logprob;
    out = std::copy_n(result.top_ids, top, out);
    top_logprob = std::copy_n(result.top_logprobs, top, top_logprob);
  }
  return out;
}

}  // namespace hotpath

#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/engine.h"
#include "engine/sequence.h"

namespace hotpath {

// What callers ask of the engine thread: a sequence to add, or an id to abort.
struct Command {
  std::unique_ptr<Sequence> add;
  int64_t abort_id = 0;
};

// Callers' side of the engine: any thread puts commands in, the engine thread swaps them out.
// Also knows which ids are in use, so that a duplicate is refused at submit.
class Inbox {
 public:
  // Throws engine_closed, engine_failed, or invalid_request for an id in use.
  void submit(std::unique_ptr<Sequence> seq);
  void abort(int64_t id);

  // Engine thread. Swaps the commands out; when there are none and block, waits for some or for
  // stop. False when no more will come.
  bool receive(std::vector<Command>& out, bool block);
  // Engine thread: these requests have ended; their ids may be used again.
  void forget(std::span<const int64_t> ids);

  // No more submits: they throw engine_closed. Wakes the engine thread.
  void close();
  // Engine thread: submits throw engine_failed with this message from now on (the first one stays).
  void mark_failed(const std::string& message);

  // Requests that were submitted and have not ended.
  int64_t num_live();
  std::string failure();

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<Command> commands_;
  std::unordered_set<int64_t> live_;
  bool closed_ = false, failed_ = false;
  std::string failure_;
};

// The engine's side of its callers: the engine thread puts deliveries in, any thread swaps them
// out. When nobody does, they add up in one.
class Outbox {
 public:
  // Engine thread. Leaves delivery empty. True when the outbox was empty and is not any more.
  bool publish(Delivery& delivery, const EngineStats& stats);
  bool take(Delivery& out);
  // As of the last publish.
  EngineStats stats();

 private:
  void append(const Delivery& delivery);

  std::mutex mutex_;
  Delivery delivery_;
  EngineStats stats_;
};

// One record of a Delivery; lib/native.d.ts, NativeDelivery, has the layout.
struct Record {
  int64_t id = 0;
  bool is_prompt = false;
  Finish finish = Finish::kNone;
  int32_t matched_stop_id = -1;
  int32_t prefix_len = 0;
  std::span<const int32_t> tokens = {};
  std::span<const SampleResult> logprobs = {};  // parallel to tokens; empty: none
  int32_t num_top = 0;                          // per token, with logprobs
  int32_t num_experts = 0;                      // ints to leave room for
};

// Appends the record; all or nothing. Returns where its num_experts ints are to be written.
int32_t* append_record(Delivery& delivery, const Record& record);

}  // namespace hotpath

#pragma once

// What lib/mailbox.ts does, in C++: takes deliveries, checks every record against the layout of
// lib/native.d.ts, and keeps what each request got.

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "fake_backend.h"

namespace hotpath::test {

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::vector<int32_t> top_ids;
  std::vector<int32_t> prompt_tokens;  // of prompt-logprobs records: positions 1..
  std::vector<float> prompt_logprobs;
  std::vector<int32_t> prompt_top_ids;
  std::vector<int32_t> experts;
  int finish = 0, matched = -1, cached = -1;
  int num_records = 0;
  std::string failure_code, failure;
};

// An engine on the fake back end, and its one receiver.
class Client {
 public:
  explicit Client(const EngineOptions& options);
  ~Client();

  Engine& engine() { return *engine_; }
  Probe& probe() { return *probe_; }
  int64_t num_wakes();

  // Submits under the next id, which it returns.
  int64_t submit(std::vector<int32_t> prompt, const SamplingParams& params,
                 const std::function<void(Request&)>& more = {});
  // Receives until the request has ended.
  Outcome wait(int64_t id);
  // Receives once, if there is something.
  bool receive();
  // What came so far.
  Outcome& outcome(int64_t id) { return outcomes_[id]; }
  // Receives until everything submitted has ended; then checks the books through stats().
  void drain();
  void check_books();

 private:
  void wait_for_wake();
  void parse(const Delivery& delivery);

  std::shared_ptr<Probe> probe_ = std::make_shared<Probe>();
  std::mutex mutex_;
  std::condition_variable woken_;
  bool pending_ = false;
  int64_t num_wakes_ = 0;
  int64_t next_id_ = 1;
  std::map<int64_t, Outcome> outcomes_;
  Delivery delivery_;
  std::unique_ptr<Engine> engine_;
};

// Small blocks and a pool of num_blocks of them.
EngineOptions small_engine(int num_blocks, int block_size = 4);
int64_t block_bytes(int block_size);
SamplingParams greedy(int max_tokens);
std::vector<int32_t> make_prompt(int len, uint64_t seed);
// Tokens, logprobs, experts and finish equal to those of the request alone.
void expect_equal(const Outcome& outcome, const Expected& expected, const SamplingParams& params,
                  const std::string& what);

}  // namespace hotpath::test

// What one request, or a few, get from the whole engine.

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "client.h"
#include "harness.h"

namespace hotpath::test {
namespace {

TEST(engine_streams_what_the_model_says) {
  Client client(small_engine(40));
  for (const float temperature : {0.0f, 0.8f}) {
    SamplingParams p = greedy(9);
    p.temperature = temperature;
    p.seed = 42;
    const std::vector<int32_t> prompt = make_prompt(10, 1);
    const Outcome o = client.wait(client.submit(prompt, p));
    expect_equal(o, expected(prompt, p, 160), p, concat("temperature ", temperature));
    EXPECT_EQ(o.num_records, 9);
  }
  client.drain();
}

TEST(engine_draws_by_seed_and_position) {
  Client client(small_engine(40));
  SamplingParams p = greedy(12);
  p.temperature = 1;
  const std::vector<int32_t> prompt = make_prompt(6, 1);
  p.seed = 1;
  const Outcome a = client.wait(client.submit(prompt, p));
  const Outcome again = client.wait(client.submit(prompt, p));
  p.seed = 2;
  const Outcome b = client.wait(client.submit(prompt, p));
  EXPECT(a.tokens == again.tokens, "the same seed gave other tokens");
  EXPECT(a.tokens != b.tokens, "another seed gave the same tokens");
}

TEST(engine_penalties_bias_and_top_k_reach_the_draw) {
  Client client(small_engine(60));
  const std::vector<int32_t> prompt = make_prompt(6, 1);
  for (int i = 0; i < 5; ++i) {
    SamplingParams p = greedy(40);
    p.temperature = 1.3f;
    p.seed = 5;
    if (i == 0) p.frequency_penalty = 1.5f;
    if (i == 1) p.presence_penalty = 2;
    if (i == 2) p.repetition_penalty = 3;
    if (i == 3) p.logit_bias = {{7, 6.0f}, {8, -50.0f}};
    if (i == 4) p.top_k = 3;
    SamplingParams plain = greedy(40);
    plain.temperature = p.temperature;
    plain.seed = p.seed;
    const Outcome o = client.wait(client.submit(prompt, p));
    expect_equal(o, expected(prompt, p, 240), p, concat("case ", i));
    EXPECT(o.tokens != expected(prompt, plain, 240).tokens, "case ", i, " changes nothing");
  }
}

TEST(engine_counts_the_end_of_a_prompt_as_generated_where_told) {
  Client client(small_engine(60));
  SamplingParams p = greedy(30);
  p.presence_penalty = 2;
  p.frequency_penalty = 1;
  const std::vector<int32_t> prompt = make_prompt(6, 1);
  const std::vector<int32_t> whole = client.wait(client.submit(prompt, p)).tokens;
  std::vector<int32_t> longer = prompt;
  longer.insert(longer.end(), whole.begin(), whole.begin() + 12);
  p.max_tokens = 18;
  const auto counting = [&](int32_t n) {
    return client.wait(client.submit(longer, p, [&](Request& r) { r.num_counted = n; })).tokens;
  };
  EXPECT(counting(12) == std::vector<int32_t>(whole.begin() + 12, whole.end()),
         "expected the same tokens as without the cut");
  EXPECT(counting(0) != counting(12), "counting changes nothing");
  EXPECT_ERROR("invalid_request", "num_counted", counting(19));
}

// The id that is generated at index n, and nowhere before it.
int32_t stop_at(const std::vector<int32_t>& tokens, int n) {
  EXPECT(std::find(tokens.begin(), tokens.begin() + n, tokens[n]) == tokens.begin() + n,
         "choose another prompt");
  return tokens[n];
}

TEST(engine_finish_rules) {
  Client client(small_engine(40));
  const std::vector<int32_t> prompt = make_prompt(7, 3);
  const std::vector<int32_t> tokens = expected(prompt, greedy(30), 160).tokens;
  SamplingParams p = greedy(30);
  p.stop_token_ids = {59, stop_at(tokens, 4)};

  Outcome o = client.wait(client.submit(prompt, p));
  EXPECT_EQ(o.finish, 1);
  EXPECT_EQ(o.matched, tokens[4]);
  EXPECT_EQ(o.tokens.size(), 5u);  // the stop token is among them

  p.max_tokens = 5;  // the stop token is the last one allowed: length comes first
  o = client.wait(client.submit(prompt, p));
  EXPECT_EQ(o.finish, 2);
  EXPECT_EQ(o.matched, -1);
  EXPECT_EQ(o.tokens.size(), 5u);

  p.max_tokens = 30;
  p.ignore_eos = true;
  o = client.wait(client.submit(prompt, p));
  EXPECT_EQ(o.finish, 2);
  EXPECT(o.tokens == tokens, "ignore_eos changes the tokens");

  p.ignore_eos = false;
  p.min_tokens = 12;
  o = client.wait(client.submit(prompt, p));
  expect_equal(o, expected(prompt, p, 160), p, "min_tokens");
  EXPECT(o.tokens.size() >= 12 && o.tokens[4] != tokens[4], "the stop id was not suppressed");
  client.drain();
}

TEST(engine_ends_at_max_model_len) {
  EngineOptions options = small_engine(40);
  options.max_model_len = 19;
  Client client(options);
  const std::vector<int32_t> prompt = make_prompt(7, 3);
  const Outcome o = client.wait(client.submit(prompt, greedy(1 << 30)));
  EXPECT_EQ(o.finish, 2);
  EXPECT_EQ(o.tokens.size(), 12u);
  const Outcome one = client.wait(client.submit(make_prompt(18, 1), greedy(9)));
  EXPECT_EQ(one.tokens.size(), 1u);
  client.drain();
}

TEST(engine_logprobs_ride_on_each_token) {
  Client client(small_engine(40));
  const std::vector<int32_t> prompt = make_prompt(9, 4);
  for (int n : {0, 1, 5, kVocab}) {
    SamplingParams p = greedy(6);
    p.temperature = 0.9f;
    p.num_logprobs = n;
    const Outcome o = client.wait(client.submit(prompt, p));
    expect_equal(o, expected(prompt, p, 160), p, concat(n, " logprobs"));
    EXPECT_EQ(o.logprobs.size(), 6u);
    EXPECT_EQ(o.top_ids.size(), static_cast<size_t>(6 * n));
  }
}

TEST(engine_prompt_logprobs_come_in_order_whatever_the_chunks) {
  for (int chunk : {1, 2, 3, 5, 8, 13, 64}) {
    EngineOptions options = small_engine(60);
    options.max_batch_tokens = chunk;
    Client client(options);
    const std::vector<int32_t> prompt = make_prompt(29, 4);
    for (int max_tokens : {0, 1, 4}) {
      SamplingParams p = greedy(max_tokens);
      p.num_prompt_logprobs = 2;
      p.num_logprobs = 1;
      const Outcome o = client.wait(client.submit(prompt, p));
      const std::string what = concat("chunks of ", chunk, ", max_tokens ", max_tokens);
      expect_equal(o, expected(prompt, p, 240), p, what);
      EXPECT(std::ranges::equal(o.prompt_tokens, std::span(prompt).subspan(1)), what);
      EXPECT_EQ(o.finish, 2);
      EXPECT_EQ(o.cached, 0);  // it needs every logit, so nothing may come from the cache
    }
    EXPECT(client.probe().max_tokens <= chunk && client.probe().max_rows <= chunk, "limits");
    // A request that needs no prompt logits does find what the others left.
    EXPECT_EQ(client.wait(client.submit(prompt, greedy(1))).cached, 28);
    client.drain();
  }
}

TEST(engine_prompt_logprobs_of_a_single_token_are_none) {
  Client client(small_engine(10));
  SamplingParams p = greedy(0);
  p.num_prompt_logprobs = 3;
  const Outcome o = client.wait(client.submit({5}, p));
  EXPECT(o.finish == 2 && o.prompt_tokens.empty() && o.tokens.empty() && o.num_records == 1,
         "records");
  client.drain();
}

TEST(engine_rows_of_logits_stay_bounded) {
  EngineOptions options = small_engine(200);
  options.max_batch_tokens = 700;
  Client client(options);
  SamplingParams p = greedy(2);
  p.num_prompt_logprobs = 0;
  for (uint64_t i = 0; i < 3; ++i) {
    const std::vector<int32_t> prompt = make_prompt(600, i);
    expect_equal(client.wait(client.submit(prompt, p)), expected(prompt, p, 800), p, "long");
  }
  EXPECT_EQ(client.probe().max_rows.load(), 256);
}

TEST(engine_reports_cached_prompt_tokens) {
  Client client(small_engine(40));
  const std::vector<int32_t> prompt = make_prompt(13, 1);
  EXPECT_EQ(client.wait(client.submit(prompt, greedy(3))).cached, 0);
  EXPECT_EQ(client.wait(client.submit(prompt, greedy(3))).cached, 12);
  // Generated tokens are cached too: a follow-up turn finds the first answer.
  std::vector<int32_t> longer = prompt;
  for (int32_t t : expected(prompt, greedy(3), 160).tokens) longer.push_back(t);
  const int64_t before = client.probe().tokens;
  longer.push_back(1);
  const Outcome o = client.wait(client.submit(longer, greedy(1)));
  EXPECT_EQ(o.cached, 12);  // 15 of the 17 positions have KV, in 3 full blocks
  EXPECT_EQ(client.probe().tokens - before, 5);
  const auto salted = [](Request& r) { r.cache_salt = 77; };
  EXPECT_EQ(client.wait(client.submit(prompt, greedy(3), salted)).cached, 0);
  EXPECT_EQ(client.wait(client.submit(prompt, greedy(3), salted)).cached, 12);
  const EngineStats s = client.engine().stats();
  EXPECT_EQ(s.prompt_tokens, 4 * 13 + 17);
  EXPECT_EQ(s.cached_prompt_tokens, 3 * 12);
  EXPECT_EQ(s.generated_tokens, 4 * 3 + 1);
  EXPECT_EQ(s.requests_finished, 5);
  EXPECT_EQ(s.weight_bytes, 1234);
  EXPECT_EQ(s.kv_cache_bytes, 40 * block_bytes(4));
  client.drain();
}

TEST(engine_share_group_computes_the_prompt_once) {
  EngineOptions options = small_engine(100);
  options.max_batch_tokens = 16;
  Client client(options);
  const std::vector<int32_t> prompt = make_prompt(50, 1);
  std::vector<int64_t> ids;
  SamplingParams p = greedy(3);
  p.temperature = 1;
  for (uint64_t i = 0; i < 6; ++i) {
    p.seed = i;
    ids.push_back(client.submit(prompt, p, [](Request& r) { r.share_group = 9; }));
  }
  for (uint64_t i = 0; i < 6; ++i) {
    p.seed = i;
    const Outcome o = client.wait(ids[i]);
    expect_equal(o, expected(prompt, p, 400), p, concat("member ", i));
    EXPECT_EQ(o.cached, i == 0 ? 0 : 48);
  }
  // The whole prompt once, the two tokens behind its full blocks by the others, two decodes each.
  EXPECT_EQ(client.probe().tokens.load(), 50 + 5 * 2 + 6 * 2);
  client.drain();
}

TEST(engine_routed_experts_cover_cached_positions_too) {
  EngineOptions options = small_engine(40);
  options.capture_routed_experts = true;
  options.max_batch_tokens = 5;
  Client client(options);
  const std::vector<int32_t> prompt = make_prompt(15, 1);
  SamplingParams p = greedy(4);
  p.return_routed_experts = true;
  for (int cached : {0, 12}) {
    const Outcome o = client.wait(client.submit(prompt, p));
    EXPECT_EQ(o.cached, cached);
    EXPECT_EQ(o.experts.size(), static_cast<size_t>((15 + 4 - 1) * kLayers * kTopK));
    expect_equal(o, expected(prompt, p, 160), p, concat(cached, " cached"));
  }
  EXPECT(client.wait(client.submit(prompt, greedy(4))).experts.empty(), "nobody asked for them");
  p.max_tokens = 0;
  p.num_prompt_logprobs = 0;
  expect_equal(client.wait(client.submit(prompt, p)), expected(prompt, p, 160), p, "prompt only");
  client.drain();
}

TEST(engine_refuses_requests_that_cannot_run) {
  EngineOptions options = small_engine(10);
  options.max_model_len = 100;
  Client client(options);
  const auto refuse = [&](const char* text, std::vector<int32_t> prompt, SamplingParams p,
                          std::function<void(Request&)> more = {}) {
    EXPECT_ERROR("invalid_request", text, client.submit(std::move(prompt), p, more));
  };
  refuse("the prompt is empty", {}, greedy(1));
  refuse("[0, 61), received 61 at index 2", {1, 2, kVocab}, greedy(1));
  refuse("received -1 at index 0", {-1}, greedy(1));
  refuse("the prompt has 100 tokens, but max_model_len is 100", make_prompt(100, 1), greedy(1));
  refuse("but max_model_len is 100", make_prompt(101, 1), greedy(0));
  refuse("may need 11 KV blocks (30 prompt tokens + max_tokens 12)", make_prompt(30, 1),
         greedy(12));
  refuse("but the cache has 10 blocks of 4", make_prompt(30, 1), greedy(1 << 30));
  refuse("capture_routed_experts", {1}, [] {
    SamplingParams p = greedy(1);
    p.return_routed_experts = true;
    return p;
  }());
  refuse("temperature", {1}, [] {
    SamplingParams p = greedy(1);
    p.temperature = -1;
    return p;
  }());
  for (int64_t id : {int64_t{0}, int64_t{-4}, int64_t{1} << 31})
    refuse("[1, 2^31)", {1}, greedy(1), [id](Request& r) { r.id = id; });
  // What is refused leaves no trace, and the largest request that fits runs.
  const std::vector<int32_t> prompt = make_prompt(30, 1);
  const Outcome o = client.wait(client.submit(prompt, greedy(11)));
  EXPECT_EQ(o.tokens.size(), 11u);
  client.drain();
}

TEST(engine_refuses_options_that_cannot_work) {
  const auto refuse = [](const char* code, const char* text, auto change) {
    EngineOptions o = small_engine(10);
    change(o);
    EXPECT_ERROR(code, text, Client client(o));
  };
  refuse("invalid_request", "max_running_seqs", [](auto& o) { o.max_running_seqs = 0; });
  refuse("invalid_request", "max_batch_tokens", [](auto& o) { o.max_batch_tokens = -1; });
  refuse("invalid_request", "max_model_len", [](auto& o) { o.max_model_len = 0; });
  refuse("invalid_request", "block_size", [](auto& o) { o.block_size = 0; });
  refuse("invalid_request", "kv_cache_bytes", [](auto& o) { o.kv_cache_bytes = 0; });
  refuse("invalid_request", "kv_cache_dtype", [](auto& o) { o.kv_cache_dtype = "int8"; });
  refuse("out_of_memory", "one block", [](auto& o) { o.kv_cache_bytes = 10; });
}

// Holds the engine inside a forward pass until told to go on.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_ || allowed_ > 0; });
    if (!open_) --allowed_;
  }
  void wait_until_arrived(int n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return arrived_ >= n; });
  }
  void allow(int n) {
    std::lock_guard lock(mutex_);
    allowed_ += n;
    changed_.notify_all();
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Declared behind the Client, whose destructor waits for the engine: a failed test must not hang.
  struct OpenAtEnd {
    Gate& gate;
    ~OpenAtEnd() { gate.open(); }
  };

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0, allowed_ = 0;
  bool open_ = false;
};

TEST(engine_merges_steps_in_one_delivery_when_nobody_takes) {
  Gate gate;
  Client client(small_engine(40));
  const Gate::OpenAtEnd open_at_end{gate};
  client.probe().on_forward = [&](const Batch&) { gate.pass(); };
  const int64_t a = client.submit(make_prompt(3, 1), greedy(20));
  gate.allow(10);
  gate.wait_until_arrived(11);  // ten steps are done, and published but for one in flight
  EXPECT_EQ(client.num_wakes(), 1);
  EXPECT(client.receive(), "nothing to take");
  EXPECT_EQ(client.outcome(a).tokens.size(), FakeOps().asynchronous() ? 9u : 10u);
  EXPECT(!client.receive(), "taken twice");
  gate.allow(2);
  gate.wait_until_arrived(13);
  EXPECT_EQ(client.num_wakes(), 2);
  gate.open();
  expect_equal(client.wait(a), expected(make_prompt(3, 1), greedy(20), 160), greedy(20), "merged");
  client.drain();
}

TEST(engine_aborts_in_every_state_with_one_record) {
  Gate gate;
  EngineOptions options = small_engine(12);
  options.max_batch_tokens = 8;
  Client client(options);
  const Gate::OpenAtEnd open_at_end{gate};
  client.probe().on_forward = [&](const Batch&) { gate.pass(); };
  const int64_t decoding = client.submit(make_prompt(3, 1), greedy(20));
  gate.allow(3);
  gate.wait_until_arrived(4);
  const int64_t prefilling = client.submit(make_prompt(30, 2), greedy(3));
  const int64_t waiting = client.submit(make_prompt(30, 3), greedy(3));
  gate.allow(2);
  gate.wait_until_arrived(6);  // the second prompt's first chunk is computed, the second is not
  EXPECT_EQ(client.engine().stats().waiting, 1);
  EXPECT_EQ(client.engine().stats().running, 2);
  const int64_t queued = client.submit(make_prompt(5, 4), greedy(3));
  for (int64_t id : {waiting, prefilling, decoding, queued, decoding, int64_t{999}})
    client.engine().abort(id);
  gate.open();
  for (int64_t id : {decoding, prefilling, waiting, queued}) {
    const Outcome o = client.wait(id);
    EXPECT_EQ(o.finish, 3);
  }
  EXPECT(client.outcome(decoding).tokens.size() >= 4, "tokens of before the abort are lost");
  EXPECT(client.outcome(waiting).tokens.empty(), "it never ran");
  client.engine().abort(decoding);  // ended already
  const Outcome after = client.wait(client.submit(make_prompt(30, 2), greedy(3)));
  expect_equal(after, expected(make_prompt(30, 2), greedy(3), 48), greedy(3), "after the aborts");
  EXPECT(after.cached >= 4, "what the aborted request computed is cached");
  client.drain();
  EXPECT_EQ(client.engine().stats().requests_aborted, 4);
}

TEST(engine_ids_are_unique_while_in_flight) {
  Gate gate;
  Client client(small_engine(40));
  const Gate::OpenAtEnd open_at_end{gate};
  client.probe().on_forward = [&](const Batch&) { gate.pass(); };
  const int64_t id = client.submit(make_prompt(3, 1), greedy(4));
  const auto same = [id](Request& r) { r.id = id; };
  EXPECT_ERROR("invalid_request", "still in flight",
               client.submit(make_prompt(3, 2), greedy(4), same));
  gate.wait_until_arrived(1);
  EXPECT_ERROR("invalid_request", "still in flight",
               client.submit(make_prompt(3, 2), greedy(4), same));
  gate.open();
  EXPECT_EQ(client.wait(id).finish, 2);
  client.outcome(id) = {};
  client.submit(make_prompt(3, 2), greedy(4), same);
  expect_equal(client.wait(id), expected(make_prompt(3, 2), greedy(4), 160), greedy(4), "reused");
}

TEST(engine_not_finite_logits_end_that_sequence_only) {
  Client client(small_engine(60));
  std::vector<int32_t> poisoned = make_prompt(5, 1);
  poisoned[0] = kPoison;
  const std::vector<int32_t> healthy = make_prompt(5, 2);
  SamplingParams scored = greedy(10);
  scored.num_prompt_logprobs = scored.num_logprobs = 1;
  std::vector<int32_t> long_poisoned = make_prompt(20, 3);
  long_poisoned[0] = kPoison;
  for (int round = 0; round < 2; ++round) {  // the second finds the first one's blocks
    const int64_t a = client.submit(poisoned, greedy(10));
    const int64_t b = client.submit(healthy, greedy(10));
    const int64_t c = client.submit(long_poisoned, scored);
    const Outcome o = client.wait(a);
    expect_equal(o, expected(poisoned, greedy(10), 240), greedy(10), "poisoned");
    EXPECT_EQ(o.finish, 4);
    EXPECT_EQ(o.tokens.size(), static_cast<size_t>(kPoisonLength - 5));
    EXPECT(o.failure.find("not finite") != std::string::npos, o.failure);
    expect_equal(client.wait(b), expected(healthy, greedy(10), 240), greedy(10), "healthy");
    EXPECT_EQ(client.wait(c).finish, 4);
  }
  client.drain();
}

}  // namespace
}  // namespace hotpath::test

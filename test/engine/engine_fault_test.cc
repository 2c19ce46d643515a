// What happens when something breaks or everything ends at once.

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "client.h"
#include "engine/mailbox.h"
#include "failing_allocator.h"
#include "harness.h"

namespace hotpath::test {
namespace {

// Until the engine is in its n-th step.
void wait_for_step(Client& client, int n) {
  while (client.probe().steps < n) {
    const EngineStats s = client.engine().stats();
    EXPECT(!s.failed, s.failure);
    std::this_thread::yield();
  }
}

// Receives until all of ids have ended, without the checks of a healthy engine.
void expect_all_failed(Client& client, const std::vector<int64_t>& ids, const char* text) {
  for (int64_t id : ids) {
    const Outcome o = client.wait(id);
    EXPECT_EQ(o.finish, 4);
    EXPECT_EQ(o.failure_code, std::string("engine_failed"));
    EXPECT(o.failure.find(text) != std::string::npos, o.failure);
  }
  EXPECT_ERROR("engine_failed", text, client.submit({1}, greedy(1)));
  const EngineStats s = client.engine().stats();
  EXPECT(s.failed && s.failure.find(text) != std::string::npos, s.failure);
  EXPECT_EQ(s.running, 0);
  EXPECT_EQ(s.waiting, 0);
  client.engine().abort(ids[0]);
  client.engine().close();
  client.engine().close();
  EXPECT_ERROR("engine_failed", text, client.submit({1}, greedy(1)));
}

TEST(engine_failing_forward_ends_everything_with_an_error) {
  for (int kind = 0; kind < 3; ++kind) {
    for (int at : {1, 2, 5}) {
      EngineOptions options = small_engine(20);
      options.max_running_seqs = 2;  // so that some wait
      Client client(options);
      client.probe().on_forward = [&, n = 0](const Batch&) mutable {
        if (++n != at) return;
        if (kind == 0) fail("device_unavailable", "the device fell off the bus");
        if (kind == 1) throw std::runtime_error("the device fell off the bus");
        throw 5;
      };
      std::vector<int64_t> ids;
      try {
        for (uint64_t i = 0; i < 6; ++i) ids.push_back(client.submit(make_prompt(9, i), greedy(9)));
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), std::string("engine_failed"));  // it may fail before the last submit
      }
      if (ids.empty()) continue;
      expect_all_failed(client, ids, kind == 2 ? "unknown exception" : "fell off the bus");
    }
  }
}

// The allocation number `after` behind the third forward pass fails: while results are counted,
// records written, new requests taken in, aborts answered, or the next batch built.
TEST(engine_out_of_memory_in_a_step_ends_everything_with_an_error) {
  int failed = 0;
  for (int64_t after = 0; after < 80; ++after) {
    EngineOptions options = small_engine(20);
    options.max_running_seqs = 3;
    Client client(options);
    std::atomic<bool> submitted{false};
    client.probe().on_forward = [&, n = 0](const Batch&) mutable {
      if (++n != 3) return;
      while (!submitted) std::this_thread::yield();
      allocations_until_failure = after;
    };
    std::vector<int64_t> ids;
    SamplingParams p = greedy(12);
    p.presence_penalty = 1;
    p.num_logprobs = 2;
    const auto submit = [&](uint64_t i) {
      std::vector<int32_t> prompt = make_prompt(6, i);
      if (i % 4 == 3) prompt[0] = kPoison;
      ids.push_back(client.submit(prompt, p));
    };
    for (uint64_t i = 0; i < 5; ++i) submit(i);
    wait_for_step(client, 3);
    for (uint64_t i = 5; i < 12; ++i) submit(i);
    for (size_t i : {0, 4, 8}) client.engine().abort(ids[i]);
    submitted = true;
    for (int64_t id : ids) {
      const Outcome o = client.wait(id);  // each ends exactly once: parse checks that
      EXPECT((o.finish == 4) == !o.failure_code.empty(), "request ", id, " finish ", o.finish,
             " failure ", o.failure_code);
    }
    const EngineStats s = client.engine().stats();
    EXPECT_EQ(s.requests_finished + s.requests_aborted, static_cast<int64_t>(ids.size()));
    failed += s.failed;
  }
  EXPECT(failed > 50, "only ", failed, " runs failed");
}

TEST(engine_out_of_memory_at_submit_harms_nobody) {
  Client client(small_engine(40));
  const int64_t neighbour = client.submit(make_prompt(9, 99), greedy(60));
  int refused = 0;
  for (int64_t after = 0; after < 30; ++after) {
    const std::vector<int32_t> prompt = make_prompt(9, static_cast<uint64_t>(after));
    SamplingParams p = greedy(2);
    p.stop_token_ids = {1, 2};
    p.logit_bias = {{3, 1.0f}};
    Request request;
    request.id = 1000 + after;
    request.prompt = prompt;
    request.params = p;
    bool thrown = false;
    allocations_until_failure = after;
    try {
      client.engine().submit(std::move(request));
    } catch (const Error& e) {
      allocations_until_failure = -1;
      EXPECT_EQ(e.code(), std::string("out_of_memory"));
      thrown = true;
    }
    allocations_until_failure = -1;
    if (thrown) {
      ++refused;
      // The id was not taken by the attempt.
      client.submit(prompt, p, [&](Request& r) { r.id = 1000 + after; });
    }
    expect_equal(client.wait(1000 + after), expected(prompt, p, 160), p, concat("after ", after));
  }
  EXPECT(refused >= 5, "only ", refused, " submits ran out of memory");
  expect_equal(client.wait(neighbour), expected(make_prompt(9, 99), greedy(60), 160), greedy(60),
               "neighbour");
  client.drain();
}

TEST(inbox_out_of_memory_takes_nothing_in) {
  int refused = 0;
  for (int64_t after = 0; after < 4; ++after) {
    Inbox inbox;
    const auto make = [] {
      Request r;
      r.id = 7;
      r.prompt = {1};
      r.params = greedy(1);
      return std::make_unique<Sequence>(
          std::move(r),
          Sequence::Limits{
              .vocab_size = kVocab, .max_model_len = 8, .block_size = 4, .num_blocks = 2});
    };
    auto seq = make();
    allocations_until_failure = after;
    try {
      inbox.submit(std::move(seq));
    } catch (const std::bad_alloc&) {
      ++refused;
      EXPECT_EQ(inbox.num_live(), 0);
      inbox.submit(make());  // the id is not in use
    }
    allocations_until_failure = -1;
    EXPECT_EQ(inbox.num_live(), 1);
    EXPECT_ERROR("invalid_request", "still in flight", inbox.submit(make()));
  }
  EXPECT(refused >= 2, refused, " refused");
}

TEST(engine_wake_that_throws_fails_the_engine_but_loses_no_record) {
  std::atomic<int> wakes{0};
  auto engine =
      Engine::create(std::make_unique<FakeOps>(),
                     std::make_unique<FakeModel>(std::make_shared<Probe>()), small_engine(20), [&] {
                       if (++wakes == 1) throw std::runtime_error("no receiver");
                     });
  Request r;
  r.id = 3;
  r.prompt = {1, 2, 3};
  r.params = greedy(50);
  engine->submit(std::move(r));
  while (!engine->stats().failed) std::this_thread::yield();
  engine->close();
  Delivery d;
  EXPECT(engine->take(d), "nothing to take");
  EXPECT_EQ(d.failures.size(), 1u);
  EXPECT_EQ(d.ints[d.ints.size() - 8], 3);
  EXPECT_EQ(d.ints[d.ints.size() - 6], 4);
}

TEST(engine_close_aborts_what_runs_and_what_waits) {
  for (int at : {1, 2, 3, 20}) {
    EngineOptions options = small_engine(20);
    options.max_running_seqs = 2;
    Client client(options);
    // Stays in this step until close was called: a duplicate id is refused in another way before.
    client.probe().on_forward = [&, n = 0](const Batch&) mutable {
      if (++n != at) return;
      for (bool closed = false; !closed; std::this_thread::yield()) {
        Request duplicate;
        duplicate.id = 1;
        duplicate.prompt = {1};
        duplicate.params = greedy(1);
        try {
          client.engine().submit(std::move(duplicate));
        } catch (const Error& e) {
          closed = e.code() == "engine_closed";
        }
      }
    };
    std::vector<int64_t> ids;
    for (uint64_t i = 0; i < 6; ++i) ids.push_back(client.submit(make_prompt(9, i), greedy(60)));
    wait_for_step(client, at);
    client.engine().close();
    for (int64_t id : ids) EXPECT_EQ(client.wait(id).finish, 3);
    EXPECT_ERROR("engine_closed", "closed", client.submit({1}, greedy(1)));
    client.engine().close();
    client.check_books();
    EXPECT_EQ(client.engine().stats().requests_aborted, 6);
  }
}

TEST(engine_may_be_destroyed_at_any_moment) {
  for (int delay = 0; delay < 20; ++delay) {
    Client client(small_engine(20));
    for (uint64_t i = 0; i < 4; ++i) client.submit(make_prompt(9, i), greedy(60));
    wait_for_step(client, delay);
  }
  Client idle(small_engine(20));
}

TEST(engine_close_races_with_submit_abort_and_close) {
  for (int round = 0; round < 30; ++round) {
    auto engine = Engine::create(std::make_unique<FakeOps>(),
                                 std::make_unique<FakeModel>(std::make_shared<Probe>()),
                                 small_engine(20), [] {});
    std::atomic<int> accepted{0}, wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          Request r;
          r.id = 1 + t * 50 + i;
          r.prompt = make_prompt(5, static_cast<uint64_t>(i));
          r.params = greedy(5);
          try {
            engine->submit(std::move(r));
          } catch (const Error& e) {
            wrong += e.code() != "engine_closed";
            return;
          }
          ++accepted;
          engine->abort(1 + t * 50 + i / 2);
        }
      });
    for (int t = 0; t < 2; ++t)
      threads.emplace_back([&] {
        while (accepted < 10 && wrong == 0) std::this_thread::yield();
        engine->close();
      });
    for (std::thread& t : threads) t.join();
    Delivery d;
    engine->take(d);
    int ended = 0;
    for (size_t i = 0; i < d.ints.size(); i += 8 + d.ints[i + 3] + d.ints[i + 7])
      ended += d.ints[i + 2] != 0;
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_EQ(ended, accepted.load());
    EXPECT(!engine->stats().failed, engine->stats().failure);
  }
}

}  // namespace
}  // namespace hotpath::test

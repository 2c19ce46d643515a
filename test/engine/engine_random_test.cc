// Random workloads on tiny pools: constant preemption, eviction and sharing. Every request must get
// what it would get alone, exactly one last record, and the books must balance.

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "client.h"
#include "harness.h"

namespace hotpath::test {
namespace {

struct Workload {
  EngineOptions options;
  std::vector<Request> requests;  // ids are their indices + 1
  std::vector<bool> aborted;
};

Workload make_workload(uint64_t seed) {
  std::mt19937_64 rng(seed);
  const auto below = [&](int n) { return static_cast<int>(rng() % static_cast<uint64_t>(n)); };
  const auto chance = [&](int percent) { return below(100) < percent; };
  Workload w;
  const int block_size = 1 + below(6), num_blocks = 5 + below(30);
  w.options = small_engine(num_blocks, block_size);
  w.options.max_running_seqs = 1 + below(12);
  w.options.max_batch_tokens = chance(30) ? 1 + below(4) : 1 + below(60);
  w.options.prefix_caching = !chance(20);
  w.options.capture_routed_experts = chance(50);
  const int capacity = num_blocks * block_size;
  const bool salted = chance(30);
  const std::vector<int32_t> common = make_prompt(capacity, seed);
  std::vector<int32_t> group_prompt;

  const int n = 5 + below(30);
  for (int i = 0; i < n; ++i) {
    Request r;
    r.id = i + 1;
    if (group_prompt.empty() || chance(60)) {
      const int len = 1 + below(std::max(1, capacity * 2 / 3));
      const int shared = chance(60) ? below(len + 1) : 0;
      r.prompt = make_prompt(len, rng());
      std::copy_n(common.begin(), shared, r.prompt.begin());
      if (chance(5)) r.prompt[0] = kPoison;
      group_prompt = r.prompt;
    } else {
      r.prompt = group_prompt;
      r.share_group = chance(80) ? 5 : 6;
    }
    r.share_group = chance(40) ? 5 : 0;
    const int room = capacity - static_cast<int>(r.prompt.size());
    SamplingParams& p = r.params;
    p.max_tokens = 1 + below(std::max(1, room));
    p.temperature = chance(50) ? 0.0f : 0.9f;
    p.seed = rng();
    if (chance(20)) p.presence_penalty = 1.5f;
    if (chance(20)) p.frequency_penalty = 0.5f;
    if (chance(20)) p.repetition_penalty = 1.2f;
    if (chance(40)) p.stop_token_ids = {below(kVocab), below(kVocab)};
    if (chance(20)) p.min_tokens = below(p.max_tokens + 1);
    p.ignore_eos = chance(20);
    if (chance(20)) p.num_logprobs = below(4);
    if (chance(20)) p.num_prompt_logprobs = below(3);
    if (p.num_prompt_logprobs >= 0 && chance(30)) p.max_tokens = 0;
    p.return_routed_experts = w.options.capture_routed_experts && chance(40);
    r.priority = chance(30) ? below(3) : 0;
    r.cache_salt = salted ? static_cast<uint64_t>(below(2)) : 0;
    w.requests.push_back(r);
    w.aborted.push_back(chance(15));
  }
  return w;
}

template <typename T>
bool starts_with(const std::vector<T>& whole, const std::vector<T>& part) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

void check_outcome(const Request& r, const Outcome& o, bool aborted, int max_model_len) {
  const std::string what = concat("request ", r.id);
  const Expected e = expected(r.prompt, r.params, max_model_len);
  if (o.finish != 3) {
    expect_equal(o, e, r.params, what);
  } else {
    EXPECT(aborted, what, " was not aborted");
    EXPECT(starts_with(e.tokens, o.tokens) && starts_with(e.logprobs, o.logprobs) &&
               starts_with(e.prompt_logprobs, o.prompt_logprobs),
           what, ": what came before the abort differs");
  }
  EXPECT(o.cached < static_cast<int>(r.prompt.size()), what, ": the whole prompt was cached");
  EXPECT(r.params.num_prompt_logprobs < 0 || o.cached <= 0, what, ": cached ", o.cached);
}

struct Totals {
  int64_t preemptions = 0, cached = 0, aborted = 0, finished = 0;
};

void run_workload(uint64_t seed, Totals& totals) {
  const Workload w = make_workload(seed);
  Client client(w.options);
  // Some steps last a little longer, so that submits and aborts meet the engine in any state.
  client.probe().on_forward = [n = 0](const Batch&) mutable {
    if (++n % 7 == 0) std::this_thread::yield();
  };
  std::mt19937_64 rng(seed * 31);
  for (size_t i = 0; i < w.requests.size(); ++i) {
    client.submit(w.requests[i].prompt, w.requests[i].params,
                  [&](Request& r) { r = w.requests[i]; });
    while (rng() % 3 == 0) client.receive();
    if (rng() % 4 == 0) std::this_thread::yield();
    const size_t victim = rng() % (i + 1);
    if (w.aborted[victim]) client.engine().abort(static_cast<int64_t>(victim) + 1);
  }
  for (size_t i = 0; i < w.requests.size(); ++i)
    if (w.aborted[i]) client.engine().abort(static_cast<int64_t>(i) + 1);
  client.drain();
  for (size_t i = 0; i < w.requests.size(); ++i)
    check_outcome(w.requests[i], client.outcome(static_cast<int64_t>(i) + 1), w.aborted[i],
                  w.options.max_model_len);
  EXPECT(client.probe().max_tokens <= w.options.max_batch_tokens &&
             client.probe().max_seqs <= w.options.max_running_seqs,
         "a step over its limits");
  client.engine().close();
  const EngineStats s = client.engine().stats();
  EXPECT(!s.failed, s.failure);
  totals.preemptions += s.preemptions;
  totals.cached += s.cached_prompt_tokens;
  totals.aborted += s.requests_aborted;
  totals.finished += s.requests_finished;
}

TEST(engine_random_workloads_give_each_request_what_it_gets_alone) {
  Totals totals;
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    try {
      run_workload(seed, totals);
    } catch (const std::exception& e) {
      fail_at(__FILE__, __LINE__, "seed ", seed, ": ", e.what());
    }
  }
  // The workloads must be what the test is about.
  EXPECT(totals.preemptions > 100, totals.preemptions, " preemptions");
  EXPECT(totals.cached > 1000, totals.cached, " cached tokens");
  EXPECT(totals.finished > 1000, totals.finished, " finished");
}

TEST(engine_64_mixed_requests_at_once_equal_each_alone) {
  for (const int num_blocks : {24, 400}) {
    EngineOptions options = small_engine(num_blocks, 4);
    options.max_running_seqs = 64;
    options.max_batch_tokens = 96;
    options.max_model_len = 80;
    Client client(options);
    std::vector<std::vector<int32_t>> prompts;
    std::vector<SamplingParams> params;
    std::vector<int64_t> ids;
    for (int i = 0; i < 64; ++i) {
      prompts.push_back(make_prompt(1 + i * 7 % 53, static_cast<uint64_t>(i)));
      SamplingParams p = greedy(3 + i % 20);
      p.temperature = i % 2 ? 0.0f : 0.8f;
      p.seed = static_cast<uint64_t>(i);
      params.push_back(p);
      ids.push_back(client.submit(prompts.back(), p));
    }
    client.drain();
    for (size_t i = 0; i < ids.size(); ++i)
      expect_equal(client.outcome(ids[i]), expected(prompts[i], params[i], 80), params[i],
                   concat("request ", i, " of ", num_blocks, " blocks"));
    const EngineStats s = client.engine().stats();
    EXPECT_EQ(s.requests_finished, 64);
    EXPECT_EQ(s.preemptions > 0, num_blocks == 24);
  }
}

TEST(engine_takes_submits_and_aborts_from_many_threads) {
  EngineOptions options = small_engine(20, 4);
  auto probe = std::make_shared<Probe>();
  std::atomic<int> wakes{0};
  auto engine = Engine::create(std::make_unique<FakeOps>(), std::make_unique<FakeModel>(probe),
                               options, [&] { ++wakes; });
  constexpr int kThreads = 4, kEach = 40;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(static_cast<uint64_t>(t));
      for (int i = 0; i < kEach; ++i) {
        Request r;
        r.id = 1 + t * kEach + i;
        r.prompt = make_prompt(1 + static_cast<int>(rng() % 40), rng());
        r.params = greedy(1 + static_cast<int>(rng() % 20));
        const int64_t id = r.id;
        engine->submit(std::move(r));
        if (rng() % 3 == 0) engine->abort(id);
        if (rng() % 5 == 0) (void)engine->stats();
      }
    });
  std::vector<int> last(1 + kThreads * kEach, 0);
  int ended = 0;
  Delivery d;
  const auto take = [&] {
    if (!engine->take(d)) return false;
    for (size_t i = 0; i < d.ints.size();) {
      const int32_t* h = d.ints.data() + i;
      if (h[2] != 0) ++last[h[0]], ++ended;
      i += 8 + h[3] + h[7];
    }
    return true;
  };
  while (ended < kThreads * kEach)
    if (!take()) std::this_thread::yield();
  for (std::thread& t : threads) t.join();
  for (int id = 1; id <= kThreads * kEach; ++id) EXPECT_EQ(last[id], 1);
  engine->close();
  const EngineStats s = engine->stats();
  EXPECT(!s.failed, s.failure);
  EXPECT_EQ(s.blocks_free + s.blocks_cached, s.blocks_total);
  EXPECT(wakes > 0, "never woken");
}

}  // namespace
}  // namespace hotpath::test

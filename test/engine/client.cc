#include "client.h"

#include <algorithm>
#include <chrono>

#include "harness.h"

namespace hotpath::test {

namespace {
// A hang must fail rather than block the run; nothing here takes anywhere near this long.
constexpr auto kHang = std::chrono::seconds(20);
}  // namespace

Client::Client(const EngineOptions& options)
    : engine_(Engine::create(std::make_unique<FakeOps>(), std::make_unique<FakeModel>(probe_),
                             options, [this] {
                               {
                                 std::lock_guard lock(mutex_);
                                 EXPECT(!pending_, "woken twice without a take between");
                                 pending_ = true;
                                 ++num_wakes_;
                               }
                               woken_.notify_one();
                             })) {}

Client::~Client() { engine_.reset(); }

int64_t Client::num_wakes() {
  std::lock_guard lock(mutex_);
  return num_wakes_;
}

int64_t Client::submit(std::vector<int32_t> prompt, const SamplingParams& params,
                       const std::function<void(Request&)>& more) {
  Request request;
  request.id = next_id_;
  request.prompt = std::move(prompt);
  request.params = params;
  if (more) more(request);
  const int64_t id = request.id;
  engine_->submit(std::move(request));
  next_id_ = std::max(next_id_, id + 1);
  outcomes_[id];
  return id;
}

void Client::wait_for_wake() {
  std::unique_lock lock(mutex_);
  EXPECT(woken_.wait_for(lock, kHang, [&] { return pending_; }), "no wake came");
}

bool Client::receive() {
  {
    // Before take, as a publish after it must find pending_ down; and never without a wake, which
    // would then come too late and be counted with the next.
    std::lock_guard lock(mutex_);
    if (!pending_) return false;
    pending_ = false;
  }
  if (!engine_->take(delivery_)) return false;
  parse(delivery_);
  return true;
}

Outcome Client::wait(int64_t id) {
  while (outcomes_[id].finish == 0) {
    wait_for_wake();
    receive();
  }
  return outcomes_[id];
}

void Client::drain() {
  for (auto& [id, outcome] : outcomes_) wait(id);
  check_books();
}

void Client::check_books() {
  const EngineStats s = engine_->stats();
  EXPECT(!s.failed, s.failure);
  EXPECT_EQ(s.running, 0);
  EXPECT_EQ(s.waiting, 0);
  EXPECT_EQ(s.blocks_free + s.blocks_cached, s.blocks_total);
  EXPECT_EQ(s.requests_finished + s.requests_aborted, static_cast<int64_t>(outcomes_.size()));
}

void Client::parse(const Delivery& d) {
  size_t i = 0, f = 0;
  const auto take = [&](const auto& from, size_t& at, size_t n, auto& to) {
    EXPECT(at + n <= from.size(), "a record is cut off");
    to.insert(to.end(), from.begin() + at, from.begin() + at + n);
    at += n;
  };
  std::vector<int64_t> errors;
  while (i < d.ints.size()) {
    EXPECT(i + 8 <= d.ints.size(), "a header is cut off");
    const int32_t* h = d.ints.data() + i;
    i += 8;
    EXPECT(outcomes_.contains(h[0]), "a record of unknown request ", h[0]);
    Outcome& o = outcomes_[h[0]];
    const bool scored = h[1] & 1, prompt = h[1] & 2;
    EXPECT(h[1] >= 0 && h[1] <= 3 && h[2] >= 0 && h[2] <= 4, "flags ", h[1], " finish ", h[2]);
    EXPECT(o.finish == 0, "a record of request ", h[0], " after its last");
    EXPECT(o.cached == -1 || o.cached == h[6] || h[2] == 4, "cached tokens changed from ", o.cached,
           " to ", h[6]);
    EXPECT(scored || h[4] == 0, "top logprobs without logprobs");
    EXPECT(h[7] == 0 || h[2] == 1 || h[2] == 2, "experts with finish ", h[2]);
    EXPECT((h[2] == 1) == (h[5] != -1), "matched stop ", h[5], " with finish ", h[2]);
    ++o.num_records;
    o.finish = h[2];
    o.matched = h[5];
    o.cached = h[6];
    if (h[2] == 4) errors.push_back(h[0]);
    take(d.ints, i, h[3], prompt ? o.prompt_tokens : o.tokens);
    if (scored) {
      take(d.ints, i, static_cast<size_t>(h[3]) * h[4], prompt ? o.prompt_top_ids : o.top_ids);
      take(d.floats, f, h[3], prompt ? o.prompt_logprobs : o.logprobs);
      std::vector<float> tops;
      take(d.floats, f, static_cast<size_t>(h[3]) * h[4], tops);
      for (size_t t = 0; t + 1 < tops.size(); ++t)
        EXPECT((t + 1) % h[4] == 0 || tops[t] >= tops[t + 1], "top logprobs are not sorted");
    }
    take(d.ints, i, h[7], o.experts);
  }
  EXPECT(f == d.floats.size(), "floats are left over");
  EXPECT_EQ(d.failures.size(), errors.size());
  for (const Delivery::Failure& failure : d.failures) {
    EXPECT(std::ranges::find(errors, failure.id) != errors.end(), "failure of ", failure.id);
    outcomes_[failure.id].failure_code = failure.code;
    outcomes_[failure.id].failure = failure.message;
  }
}

int64_t block_bytes(int block_size) {
  return int64_t{kLayers} * 2 * 2 * block_size * static_cast<int64_t>(sizeof(float));
}

EngineOptions small_engine(int num_blocks, int block_size) {
  EngineOptions o;
  o.max_running_seqs = 8;
  o.max_batch_tokens = 32;
  o.max_model_len = num_blocks * block_size;
  o.block_size = block_size;
  o.kv_cache_bytes = num_blocks * block_bytes(block_size) + 7;  // rounded down
  return o;
}

SamplingParams greedy(int max_tokens) {
  SamplingParams p;
  p.temperature = 0;
  p.max_tokens = max_tokens;
  return p;
}

std::vector<int32_t> make_prompt(int len, uint64_t seed) {
  std::vector<int32_t> ids(len);
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (int32_t& id : ids) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    id = static_cast<int32_t>((x >> 33) % kPoison);
  }
  return ids;
}

namespace {

template <typename T>
std::string show(const std::vector<T>& v) {
  std::string s = "[";
  for (const T& x : v) s += std::to_string(x) + " ";
  return s + "]";
}

}  // namespace

void expect_equal(const Outcome& o, const Expected& e, const SamplingParams& params,
                  const std::string& what) {
  EXPECT(o.tokens == e.tokens, what, ": expected ", show(e.tokens), ", received ", show(o.tokens));
  EXPECT(o.finish == e.finish, what, ": finish ", o.finish, ", expected ", e.finish);
  EXPECT(o.matched == e.matched, what, ": matched ", o.matched, ", expected ", e.matched);
  EXPECT(o.logprobs == e.logprobs && o.top_ids == e.top_ids, what, ": logprobs differ");
  if (e.finish == 4) {
    EXPECT(o.failure_code == "internal_error", what, ": ", o.failure_code, " ", o.failure);
    return;  // prompt rows come by chunk: how many came before the failure depends on its size
  }
  EXPECT(o.prompt_logprobs == e.prompt_logprobs && o.prompt_top_ids == e.prompt_top_ids, what,
         ": prompt logprobs differ");
  EXPECT(o.experts == (params.return_routed_experts ? e.experts : std::vector<int32_t>()), what,
         ": experts differ");
}

}  // namespace hotpath::test

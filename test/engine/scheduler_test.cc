// The scheduler alone, step by step on one thread: what is in each step, and in which order.

#include "engine/scheduler.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "client.h"
#include "harness.h"

namespace hotpath::test {
namespace {

constexpr int kBlock = 4;

struct Ask {
  int max_tokens = 4;
  int32_t priority = 0;
  uint64_t salt = 0;
  int64_t group = 0;
  int prompt_logprobs = -1;
};

// A scheduler whose "model" draws token 1, always; ends sequences by length.
class Bench {
 public:
  explicit Bench(SchedulerOptions options) : options_(options), scheduler(options) {}

  Sequence& add(int64_t id, std::vector<int32_t> prompt, const Ask& ask = {}) {
    Request r;
    r.id = id;
    r.prompt = std::move(prompt);
    r.params = greedy(ask.max_tokens);
    r.params.num_prompt_logprobs = ask.prompt_logprobs;
    r.priority = ask.priority;
    r.cache_salt = ask.salt;
    r.share_group = ask.group;
    auto seq = std::make_unique<Sequence>(std::move(r),
                                          Sequence::Limits{.vocab_size = kVocab,
                                                           .max_model_len = 1 << 20,
                                                           .block_size = options_.block_size,
                                                           .num_blocks = options_.num_blocks});
    Sequence& ref = *seq;
    scheduler.add(std::move(seq));
    return ref;
  }

  // One step; returns the tokens computed, by id. Sequences that end are in `ended`.
  std::vector<std::pair<int64_t, int>> step() {
    std::vector<std::pair<int64_t, int>> computed;
    const Step* s = scheduler.schedule();
    EXPECT(s, "no work is left");
    int tokens = 0, rows = 0;
    for (const Chunk& c : s->chunks) {
      tokens += c.len;
      rows += c.num_rows();
      computed.emplace_back(c.seq->id, c.len);
      EXPECT_EQ(c.begin, c.seq->cached_len);
      EXPECT(c.len >= 1 && c.begin + c.len <= c.seq->len(), "chunk of ", c.seq->id);
      EXPECT_EQ(c.samples, c.begin + c.len == c.seq->len() && c.seq->params.max_tokens > 0);
    }
    EXPECT_EQ(s->num_tokens, tokens);
    EXPECT_EQ(s->num_rows, rows);
    EXPECT(tokens <= options_.max_batch_tokens && rows <= options_.max_logits,
           "over the limits: ", tokens, " tokens, ", rows, " rows");
    scheduler.check_integrity();
    const std::vector<Chunk> chunks = s->chunks;
    for (const Chunk& c : chunks) {
      scheduler.advance(c);
      if (c.samples) c.seq->tokens.push_back(1);
      if (c.seq->num_generated() >= c.seq->params.max_tokens && c.seq->owes_scores() == false &&
          c.begin + c.len >= c.seq->prompt_len) {
        ended.push_back(c.seq->id);
        scheduler.remove(*c.seq);
      }
    }
    scheduler.check_integrity();
    return computed;
  }

  std::vector<int64_t> run_all(int most = 100000) {
    while (scheduler.has_work()) {
      step();
      EXPECT(--most > 0, "no end");
    }
    return ended;
  }

 private:
  SchedulerOptions options_;

 public:
  Scheduler scheduler;
  std::vector<int64_t> ended;
};

SchedulerOptions options(int num_blocks) {
  return {.max_running_seqs = 4,
          .max_batch_tokens = 16,
          .max_logits = 16,
          .block_size = kBlock,
          .num_blocks = num_blocks};
}

using Computed = std::vector<std::pair<int64_t, int>>;
#define EXPECT_STEP(bench, ...)                               \
  do {                                                        \
    const Computed got = (bench).step(), want = __VA_ARGS__;  \
    std::string text;                                         \
    for (auto [id, n] : got) text += concat(id, ":", n, " "); \
    EXPECT(got == want, "received ", text);                   \
  } while (0)

TEST(scheduler_takes_decodes_first_then_prefill_chunks_in_order) {
  Bench b(options(100));
  b.add(1, make_prompt(5, 1));
  EXPECT_STEP(b, {{1, 5}});
  b.add(2, make_prompt(20, 2));
  b.add(3, make_prompt(3, 3));
  EXPECT_STEP(b, {{1, 1}, {2, 15}});
  EXPECT_STEP(b, {{1, 1}, {2, 5}, {3, 3}});
  EXPECT_STEP(b, {{1, 1}, {2, 1}, {3, 1}});
}

TEST(scheduler_prefers_priority_then_arrival) {
  SchedulerOptions o = options(100);
  o.max_running_seqs = 1;
  Bench b(o);
  b.add(1, make_prompt(4, 1), {.max_tokens = 1, .priority = 0});
  b.add(2, make_prompt(4, 2), {.max_tokens = 1, .priority = 5});
  b.add(3, make_prompt(4, 3), {.max_tokens = 1, .priority = -1});
  b.add(4, make_prompt(4, 4), {.max_tokens = 1, .priority = 5});
  b.add(5, make_prompt(4, 5), {.max_tokens = 1, .priority = 0});
  EXPECT((b.run_all() == std::vector<int64_t>{2, 4, 1, 5, 3}), "another order");
}

TEST(scheduler_does_not_starve_a_long_prompt_behind_short_ones) {
  Bench b(options(10));
  b.add(1, make_prompt(4, 1), {.max_tokens = 9});
  b.add(2, make_prompt(4, 2), {.max_tokens = 5});
  b.step();
  b.add(100, make_prompt(36, 3), {.max_tokens = 2});  // 9 of the 10 blocks
  int64_t next = 200;
  std::set<int64_t> overtook;
  for (int i = 0; std::ranges::find(b.ended, 100) == b.ended.end(); ++i) {
    EXPECT(i < 40, "the long prompt is starved");
    // A stream of short ones that would always fit.
    b.add(next, make_prompt(3, next), {.max_tokens = 2});
    ++next;
    b.step();
    if (!b.scheduler.find(100) || b.scheduler.find(100)->was_admitted) continue;
    for (int64_t id = 200; id < next; ++id)
      if (!b.scheduler.find(id) || b.scheduler.find(id)->was_admitted) overtook.insert(id);
  }
  EXPECT_EQ(overtook.size(), 0u);
}

TEST(scheduler_preempts_the_last_in_order_and_keeps_what_it_generated) {
  Bench b(options(6));
  Sequence& first = b.add(1, make_prompt(7, 1), {.max_tokens = 12});
  Sequence& second = b.add(2, make_prompt(7, 2), {.max_tokens = 12});
  b.step();
  EXPECT_EQ(b.scheduler.num_running(), 2);
  std::vector<int32_t> before;
  while (b.scheduler.counts().preemptions == 0) {
    before = second.tokens;
    b.step();
  }
  EXPECT(first.running && !second.running, "the wrong one was preempted");
  EXPECT(second.tokens == before && second.num_generated() > 0, "generated tokens were lost");
  EXPECT(second.block_table.empty() && second.cached_len == 0, "it still holds blocks");
  // Whatever comes later stands behind it.
  b.add(3, make_prompt(1, 3), {.max_tokens = 1});
  while (!second.running) {
    b.step();
    const Sequence* third = b.scheduler.find(3);
    EXPECT(second.running || (third && !third->was_admitted), "a later one overtook it");
  }
  b.run_all();
}

TEST(scheduler_preempts_low_priority_before_late_arrival) {
  Bench b(options(6));
  Sequence& low = b.add(1, make_prompt(7, 1), {.max_tokens = 12, .priority = 0});
  Sequence& high = b.add(2, make_prompt(7, 2), {.max_tokens = 12, .priority = 1});
  while (b.scheduler.counts().preemptions == 0) b.step();
  EXPECT(high.running && !low.running, "the wrong one was preempted");
  EXPECT((b.run_all() == std::vector<int64_t>{2, 1}), "another order");
}

TEST(scheduler_readmits_from_the_prefix_tree) {
  Bench b(options(7));
  b.add(1, make_prompt(7, 1), {.max_tokens = 13});
  Sequence& second = b.add(2, make_prompt(9, 2), {.max_tokens = 13});
  while (b.scheduler.counts().preemptions == 0) b.step();
  EXPECT(second.prefix_len == 0 && second.was_admitted,
         "prefix_len is that of the first admission");
  while (!second.running) b.step();
  EXPECT(second.num_tree_blocks > 0, "its own blocks were not found again");
  EXPECT_EQ(second.prefix_len, 0);
}

TEST(scheduler_reuses_prefixes_and_computes_the_last_prompt_token) {
  Bench b(options(100));
  const std::vector<int32_t> prompt = make_prompt(12, 1);
  b.add(1, prompt, {.max_tokens = 1});
  EXPECT_STEP(b, {{1, 12}});
  Sequence& again = b.add(2, prompt, {.max_tokens = 1});
  EXPECT_STEP(b, {{2, 4}});  // three full blocks match, but the last token's logits are needed
  (void)again;
  std::vector<int32_t> longer = prompt;
  longer.push_back(9);
  b.add(3, longer, {.max_tokens = 2});
  const Step* step = b.scheduler.schedule();
  EXPECT_EQ(step->num_tokens, 1);
  EXPECT_EQ(step->chunks[0].seq->prefix_len, 12);
  const Chunk chunk = step->chunks[0];
  b.scheduler.advance(chunk);
  chunk.seq->tokens.push_back(1);
  b.add(4, longer, {.max_tokens = 1, .salt = 1});
  EXPECT_STEP(b, {{3, 1}, {4, 13}});
  EXPECT_EQ(b.scheduler.counts().prompt_tokens, 12 + 12 + 13 + 13);
  EXPECT_EQ(b.scheduler.counts().cached_prompt_tokens, 8 + 12);
}

TEST(scheduler_without_prefix_caching_caches_nothing) {
  SchedulerOptions o = options(100);
  o.prefix_caching = false;
  Bench b(o);
  const std::vector<int32_t> prompt = make_prompt(12, 1);
  b.add(1, prompt, {.max_tokens = 1, .group = 3});
  b.add(2, prompt, {.max_tokens = 1, .group = 3});  // nothing to wait for
  EXPECT_STEP(b, {{1, 12}, {2, 4}});
  b.run_all();
  EXPECT_EQ(b.scheduler.tree().num_cached(), 0);
  EXPECT_EQ(b.scheduler.pool().num_free(), 100);
}

TEST(scheduler_merges_equal_blocks_that_were_computed_side_by_side) {
  Bench b(options(100));
  const std::vector<int32_t> prompt = make_prompt(8, 1);
  Sequence& first = b.add(1, prompt, {.max_tokens = 3});
  Sequence& second = b.add(2, prompt, {.max_tokens = 3});
  EXPECT_STEP(b, {{1, 8}, {2, 8}});
  EXPECT(first.block_table == second.block_table, "two copies of one prompt");
  EXPECT_EQ(b.scheduler.pool().num_free(), 98);
  b.run_all();
}

TEST(scheduler_computes_the_prompt_of_a_share_group_once) {
  SchedulerOptions o = options(100);
  o.max_running_seqs = 8;
  Bench b(o);
  const std::vector<int32_t> prompt = make_prompt(21, 1), other = make_prompt(21, 2);
  for (int64_t id : {1, 2, 3}) b.add(id, prompt, {.max_tokens = 2, .group = 7});
  b.add(4, other, {.max_tokens = 2, .group = 7});  // another prompt: does not wait
  EXPECT_STEP(b, {{1, 16}});
  EXPECT_STEP(b, {{1, 5}, {4, 11}});
  EXPECT_STEP(b, {{1, 1}, {4, 10}, {2, 1}, {3, 1}});
  b.run_all();
}

TEST(scheduler_share_group_goes_on_when_its_first_member_ends) {
  Bench b(options(100));
  const std::vector<int32_t> prompt = make_prompt(40, 1);
  for (int64_t id : {1, 2, 3}) b.add(id, prompt, {.max_tokens = 1, .group = 7});
  EXPECT_STEP(b, {{1, 16}});
  b.scheduler.remove(*b.scheduler.find(1));
  EXPECT_STEP(b, {{2, 16}});  // the first 16 are cached; the third waits again
  EXPECT_STEP(b, {{2, 8}});
  EXPECT_STEP(b, {{3, 4}});
  EXPECT(!b.scheduler.has_work(), "work is left");
}

TEST(scheduler_share_group_ignores_other_salts_and_prompt_logprobs) {
  Bench b(options(100));
  const std::vector<int32_t> prompt = make_prompt(5, 1);
  b.add(1, prompt, {.max_tokens = 1, .group = 7});
  b.add(2, prompt, {.max_tokens = 1, .salt = 9, .group = 7});
  b.add(3, prompt, {.max_tokens = 1, .group = 7, .prompt_logprobs = 0});
  EXPECT_STEP(b, {{1, 5}, {2, 5}, {3, 5}});
}

TEST(scheduler_bounds_the_rows_of_prompt_logprobs) {
  SchedulerOptions o = options(100);
  o.max_logits = 5;
  o.max_batch_tokens = 40;
  Bench b(o);
  Sequence& a = b.add(1, make_prompt(12, 1), {.max_tokens = 3, .prompt_logprobs = 2});
  b.add(2, make_prompt(12, 2), {.max_tokens = 3});
  // 5 rows score positions 1..5; the plain prompt computes all but its last token beside it.
  EXPECT_STEP(b, {{1, 5}, {2, 11}});
  EXPECT_EQ(a.next_score, 6);
  EXPECT_STEP(b, {{2, 1}, {1, 4}});
  EXPECT_EQ(a.next_score, 10);
  EXPECT_STEP(b, {{2, 1}, {1, 3}});  // scores 10 and 11, draws the first token
  EXPECT_EQ(a.num_generated(), 1);
  b.run_all();
}

TEST(scheduler_reuses_only_what_is_scored_already) {
  Bench b(options(100));
  const std::vector<int32_t> prompt = make_prompt(12, 1);
  b.add(1, prompt, {.max_tokens = 1});
  b.run_all();
  Sequence& scored = b.add(2, prompt, {.max_tokens = 1, .prompt_logprobs = 0});
  EXPECT_STEP(b, {{2, 12}});
  (void)scored;
  EXPECT_EQ(b.scheduler.counts().cached_prompt_tokens, 0);
  // It found its blocks in the tree when it came to insert them.
  EXPECT_EQ(b.scheduler.tree().num_cached(), 3);
}

TEST(scheduler_frees_everything_of_a_removed_sequence_in_any_state) {
  Bench b(options(8));
  b.add(1, make_prompt(20, 1));
  b.add(2, make_prompt(20, 2));
  b.step();  // 1 is being prefilled, 2 waits
  EXPECT(b.scheduler.find(1)->running && !b.scheduler.find(2)->running, "states");
  b.scheduler.remove(*b.scheduler.find(2));
  b.scheduler.check_integrity();
  b.scheduler.remove(*b.scheduler.find(1));
  b.scheduler.check_integrity();
  EXPECT(!b.scheduler.has_work() && !b.scheduler.find(1), "something is left");
  EXPECT_EQ(b.scheduler.tree().num_evictable(), 4);  // its 16 computed tokens
  EXPECT_EQ(b.scheduler.pool().num_free(), 4);
}

TEST(scheduler_never_runs_more_sequences_than_a_step_has_tokens) {
  SchedulerOptions o = options(100);
  o.max_running_seqs = 16;
  o.max_batch_tokens = 3;
  Bench b(o);
  for (int64_t id = 1; id <= 9; ++id) b.add(id, make_prompt(2, id), {.max_tokens = 6});
  int most = 0;
  while (b.scheduler.has_work()) {
    b.step();
    most = std::max(most, static_cast<int>(b.scheduler.num_running()));
  }
  EXPECT_EQ(most, 3);
  EXPECT_EQ(b.ended.size(), 9u);
}

}  // namespace
}  // namespace hotpath::test

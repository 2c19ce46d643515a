// Requests whose draws a grammar governs: alone, in company, preempted, with masks that come late,
// and after a text that ends their reasoning. The vocabulary: letters, pairs of them, digits.

#include <algorithm>
#include <chrono>
#include <memory>

#include "client.h"
#include "harness.h"

namespace hotpath::test {
namespace {

constexpr int32_t kEnd = 59;  // the stop token
constexpr int32_t kMark = 58;  // "</t>"; special, as the end of reasoning often is

std::string text_of(int32_t id) {
  if (id < 26) return std::string(1, static_cast<char>('a' + id));
  if (id < 36) return std::string(1, static_cast<char>('0' + id - 26));
  if (id < 58) return {static_cast<char>('a' + id % 5), static_cast<char>('a' + id / 7)};
  if (id == kMark) return "</t>";
  return id == kEnd ? "<end>" : "";
}

std::shared_ptr<grammar::GrammarCache> make_cache() {
  std::string bytes;
  std::vector<uint32_t> offsets{0};
  std::vector<uint8_t> special(kVocab, 0);
  for (int32_t id = 0; id < kVocab; ++id) {
    bytes += text_of(id);
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  special[kMark] = special[kEnd] = 1;
  return std::make_shared<grammar::GrammarCache>(
      std::make_shared<grammar::Vocabulary>(bytes, offsets, special, std::vector<int32_t>{kEnd}));
}

std::string text_of(const Outcome& outcome) {
  std::string text;
  for (const int32_t id : outcome.tokens)
    if (id != kEnd) text += text_of(id);
  return text;
}

SamplingParams free_draws(uint64_t seed, int max_tokens) {
  SamplingParams p = greedy(max_tokens);
  p.temperature = 1.5f;
  p.seed = seed;
  p.stop_token_ids = {kEnd};
  return p;
}

void expect_matches(const Outcome& o, const grammar::CompiledGrammar& grammar,
                    const std::string& text, const std::string& what) {
  const grammar::CheckResult result = grammar::check_text(grammar, text);
  EXPECT(result.accepted, what, ": '", text, "' fails at ", result.failed_at);
  EXPECT(o.failure.empty(), what, ": ", o.failure);
  if (o.finish == 1) EXPECT(result.complete, what, ": '", text, "' ended too early");
}

const char* const kWords = R"(root ::= word (sep word){2,7}
word ::= [a-f]{1,4} | "xyz" | [0-9]{2}
sep ::= "q" | "zz" sep?)";

TEST(constraint_every_draw_obeys_in_company_and_alone) {
  const auto cache = make_cache();
  const auto grammar = cache->get(kWords);
  Client client(small_engine(200));
  std::vector<int64_t> ids, others;
  const SamplingParams plain = free_draws(3, 25);
  for (uint64_t seed = 0; seed < 12; ++seed) {
    ids.push_back(client.submit(make_prompt(5 + static_cast<int>(seed) % 4, seed),
                                free_draws(seed, 60), [&](Request& r) { r.grammar = grammar; }));
    others.push_back(client.submit(make_prompt(9, 100 + seed), plain));
  }
  std::vector<Outcome> together;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    together.push_back(client.wait(ids[seed]));
    expect_matches(together.back(), *grammar, text_of(together.back()), concat("seed ", seed));
    EXPECT_EQ(together.back().finish, 1);
    expect_equal(client.wait(others[seed]), expected(make_prompt(9, 100 + seed), plain, 800), plain,
                 "beside constrained ones");
  }
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const Outcome alone = client.wait(
        client.submit(make_prompt(5 + static_cast<int>(seed) % 4, seed), free_draws(seed, 60),
                      [&](Request& r) { r.grammar = grammar; }));
    EXPECT(alone.tokens == together[seed].tokens, "seed ", seed, ": company changes the tokens");
  }
  client.drain();
}

// What can only end ends without another step, and says stop; what is cut says length.
TEST(constraint_ends_with_its_text) {
  const auto cache = make_cache();
  Client client(small_engine(60));
  auto run = [&](const char* source, int max_tokens) {
    return client.wait(client.submit(make_prompt(6, 1), free_draws(1, max_tokens),
                                     [&](Request& r) { r.grammar = cache->get(source); }));
  };
  Outcome o = run("root ::= \"abc\"", 30);
  EXPECT_EQ(text_of(o), "abc");
  EXPECT_EQ(o.finish, 1);
  EXPECT_EQ(o.matched, o.tokens.back());
  EXPECT(o.tokens.back() != kEnd, "expected no step for the end alone");

  o = run("root ::= [a-z]{40}", 5);
  EXPECT_EQ(o.finish, 2);
  EXPECT_EQ(o.tokens.size(), 5u);

  o = run("root ::= [a-z]{3} \"7\"?", 30);  // may end after three, which takes a stop token
  EXPECT_EQ(o.finish, 1);
  client.drain();
}

TEST(constraint_survives_preemption) {
  const auto cache = make_cache();
  const auto grammar = cache->get("root ::= ([a-e]{2} [0-9]){10,20}");
  std::vector<std::vector<int32_t>> whole;
  for (const int blocks : {400, 26}) {
    Client client(small_engine(blocks));
    std::vector<int64_t> ids;
    for (uint64_t seed = 0; seed < 6; ++seed)
      ids.push_back(client.submit(make_prompt(11, seed), free_draws(seed, 70),
                                  [&](Request& r) { r.grammar = grammar; }));
    for (uint64_t seed = 0; seed < 6; ++seed) {
      const Outcome o = client.wait(ids[seed]);
      expect_matches(o, *grammar, text_of(o), concat(blocks, " blocks"));
      if (blocks == 400)
        whole.push_back(o.tokens);
      else
        EXPECT(o.tokens == whole[seed], "preemption changed the tokens of seed ", seed);
    }
    if (blocks == 26) EXPECT(client.engine().stats().preemptions > 0, "expected preemptions");
    client.drain();
  }
}

// With no patience at all most masks are late: sequences come later, with the same tokens.
TEST(constraint_late_masks_delay_and_change_nothing) {
  const auto cache = make_cache();
  const auto grammar = cache->get(kWords);
  std::vector<std::vector<int32_t>> patient;
  for (const int patience : {1'000'000, 0}) {
    EngineOptions options = small_engine(200);
    options.mask_patience_us = patience;
    Client client(options);
    std::vector<int64_t> ids;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      SamplingParams p = free_draws(seed, 50);
      p.num_logprobs = 2;
      ids.push_back(client.submit(make_prompt(9, seed), p,
                                  [&](Request& r) { r.grammar = grammar; }));
    }
    const SamplingParams plain = free_draws(77, 30);
    const int64_t other = client.submit(make_prompt(9, 55), plain);
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const Outcome o = client.wait(ids[seed]);
      expect_matches(o, *grammar, text_of(o), concat("patience ", patience));
      EXPECT_EQ(o.logprobs.size(), o.tokens.size());
      if (patience > 0)
        patient.push_back(o.tokens);
      else
        EXPECT(o.tokens == patient[seed], "late masks changed the tokens of seed ", seed);
    }
    expect_equal(client.wait(other), expected(make_prompt(9, 55), plain, 800), plain, "the other");
    client.drain();
  }
}

TEST(constraint_begins_after_its_start) {
  const auto cache = make_cache();
  const auto grammar = cache->get("root ::= [0-9]{4}");
  Client client(small_engine(300));
  int begun = 0;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SamplingParams p = free_draws(seed, 120);
    p.logit_bias = {{kMark, 3.0f}, {kEnd, -100.0f}};
    const Outcome o =
        client.wait(client.submit(make_prompt(6, seed), p, [&](Request& r) {
          r.grammar = grammar, r.grammar_start = "</t>";
        }));
    const auto mark = std::ranges::find(o.tokens, kMark);
    if (mark == o.tokens.end()) {
      EXPECT_EQ(o.finish, 2);
      continue;
    }
    ++begun;
    Outcome rest = o;
    rest.tokens.assign(mark + 1, o.tokens.end());
    expect_matches(o, *grammar, text_of(rest), concat("seed ", seed));
  }
  EXPECT(begun > 5, "expected the mark in most answers, had it in ", begun);

  // Spelled by several tokens, the last of which goes on behind it.
  SamplingParams p = greedy(30);
  p.stop_token_ids = {kEnd};
  p.logit_bias = {{0, 100.0f}};  // 'a' for ever
  const Outcome o = client.wait(client.submit(make_prompt(6, 1), p, [&](Request& r) {
    r.grammar = cache->get("root ::= \"bc\""), r.grammar_start = "aaa";
  }));
  EXPECT_EQ(text_of(o), "aaabc");
  client.drain();
}

// Forced text takes no draws and fewer steps; what is free is drawn as ever, also with little room
// and late masks.
TEST(constraint_jumps_forward_over_forced_text) {
  const auto cache = make_cache();
  const auto grammar =
      cache->get("root ::= (\"abcdefghijklmnop\" [0-9] \"qrstuvwxyzabcdef\" [a-c]){3}");
  int64_t usual = 0;
  for (const bool jump : {false, true})
    for (const int blocks : {200, 60})
      for (const int patience : {1'000'000, 0}) {
        EngineOptions options = small_engine(blocks);
        options.jump_forward = jump;
        options.mask_patience_us = patience;
        Client client(options);
        std::vector<int64_t> ids;
        for (uint64_t seed = 0; seed < 5; ++seed)
          ids.push_back(client.submit(make_prompt(9, seed), free_draws(seed, 130),
                                      [&](Request& r) { r.grammar = grammar; }));
        const SamplingParams plain = free_draws(31, 40);
        const int64_t other = client.submit(make_prompt(7, 33), plain);
        for (const int64_t id : ids) {
          const Outcome o = client.wait(id);
          expect_matches(o, *grammar, text_of(o), concat("jump ", jump, " blocks ", blocks));
          EXPECT_EQ(o.finish, 1);
          EXPECT_EQ(text_of(o).size(), 102u);
        }
        expect_equal(client.wait(other), expected(make_prompt(7, 33), plain, 800), plain, "other");
        const int64_t steps = client.engine().stats().steps;
        if (!jump && blocks == 200 && patience > 0) usual = steps;
        if (jump && blocks == 200 && patience > 0)
          EXPECT(steps * 2 < usual, "expected far fewer steps than ", usual, ", took ", steps);
        client.drain();
      }
  // A jump that reaches max_tokens ends there; logprobs are of draws, so with them nothing jumps.
  EngineOptions options = small_engine(60);
  options.jump_forward = true;
  Client client(options);
  Outcome o = client.wait(client.submit(make_prompt(9, 1), free_draws(1, 5),
                                        [&](Request& r) { r.grammar = grammar; }));
  EXPECT_EQ(o.finish, 2);
  EXPECT_EQ(o.tokens.size(), 5u);
  SamplingParams scored = free_draws(1, 30);
  scored.num_logprobs = 0;
  o = client.wait(client.submit(make_prompt(9, 1), scored,
                                [&](Request& r) { r.grammar = grammar; }));
  EXPECT_EQ(o.logprobs.size(), o.tokens.size());
  client.drain();
}

TEST(constraint_that_no_token_can_meet_ends_that_request_only) {
  const auto cache = make_cache();
  Client client(small_engine(60));
  const SamplingParams plain = free_draws(2, 20);
  const int64_t other = client.submit(make_prompt(8, 4), plain);
  const SamplingParams draws = free_draws(1, 30);
  const Outcome o = client.wait(client.submit(make_prompt(6, 1), draws, [&](Request& r) {
    r.grammar = cache->get("root ::= \"ab\" \"{\"");  // no token has a brace
  }));
  EXPECT_EQ(o.finish, 4);
  EXPECT_EQ(o.failure_code, "invalid_request");
  EXPECT(o.failure.find("no token") != std::string::npos, "received: ", o.failure);
  expect_equal(client.wait(other), expected(make_prompt(8, 4), plain, 240), plain, "the other");
  client.drain();
}

TEST(constraint_aborts_and_closes_while_masks_are_filled) {
  const auto cache = make_cache();
  for (int round = 0; round < 20; ++round) {
    EngineOptions options = small_engine(200);
    options.mask_patience_us = 0;
    Client client(options);
    std::vector<int64_t> ids;
    for (uint64_t seed = 0; seed < 4; ++seed)
      ids.push_back(client.submit(make_prompt(7, seed), free_draws(seed, 100), [&](Request& r) {
        r.grammar = cache->get("root ::= ([a-e] [0-9])+");
      }));
    for (int i = 0; i < round % 5; ++i) client.receive();
    client.engine().abort(ids[0]);
    if (round % 2) {
      client.engine().close();
    } else {
      for (const int64_t id : ids) client.engine().abort(id);
      client.drain();
    }
  }
}

TEST(constraint_needs_a_grammar_for_its_vocabulary) {
  auto other = std::make_shared<grammar::GrammarCache>(std::make_shared<grammar::Vocabulary>(
      "ab", std::vector<uint32_t>{0, 1, 2}, std::vector<uint8_t>{}, std::vector<int32_t>{}));
  Client client(small_engine(20));
  EXPECT_ERROR("invalid_request", "vocabulary of 61 tokens",
               client.submit(make_prompt(4, 1), greedy(4),
                             [&](Request& r) { r.grammar = other->get("root ::= \"a\""); }));
}

}  // namespace
}  // namespace hotpath::test

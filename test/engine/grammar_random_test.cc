#include <algorithm>
#include <random>

#include "grammar/grammar.h"
#include "grammar_reference.h"
#include "harness.h"

namespace hotpath::test {
namespace {

using grammar::CompiledGrammar;
using grammar::GrammarError;
using grammar::Matcher;
using grammar::Vocabulary;
using Text = ReferenceGrammar::Text;

constexpr int kNumSpecial = 2;  // tokens 0 and 1 are special, 2 is the stop token

// Merged quotes, braces and spaces, parts of characters, duplicates, an empty token.
const std::vector<std::string>& pieces() {
  static const std::vector<std::string> list = {
      "<s0>", "<s1>", "</s>", "a", "b", "ab", "ba", "aa", "aaaa", "aab", "bb", "\"", "\"a", "a\"",
      "  ", " ", "\" \"", "{\"", "}", "\"}", "\"}}", "a\" b", "\xc3\xa9", "\xc3", "\xa9",
      "a\xc3", "\xa9" "b", "\xc3\xa9\xc3", "\xe2\x82\xac", "\xe2", "\x82\xac", "\xe2\x82", "", "ab",
      "\xff", "\xed\xa0\x80", "\n", "\\", "a\n", "\" }", "aaaaaaaaaaaaaaaa", "<s0>"};
  return list;
}

std::shared_ptr<const Vocabulary> make_vocabulary() {
  std::string bytes;
  std::vector<uint32_t> offsets{0};
  for (const std::string& piece : pieces()) {
    bytes += piece;
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  std::vector<uint8_t> special(pieces().size(), 0);
  std::fill_n(special.begin(), kNumSpecial, 1);
  return std::make_shared<Vocabulary>(bytes, offsets, special, std::vector<int32_t>{2});
}

bool bit(const std::vector<uint32_t>& words, int id) { return words[id / 32] >> (id % 32) & 1; }

Text with_token(Text text, int id) {
  if (id < kNumSpecial) {
    text.push_back(256 + id);
  } else {
    for (const char c : pieces()[id]) text.push_back(static_cast<uint8_t>(c));
  }
  return text;
}

// The mask must be what the reference says of every token.
void compare_mask(const ReferenceGrammar& reference, const Text& text, Matcher& matcher,
                  std::vector<uint32_t>& words, const std::string& source) {
  const std::string so_far(text.begin(), text.end());
  const auto [viable, complete] = reference.recognise(text);
  EXPECT(viable, "a text that the reference refuses: '", so_far, "' of\n", source);
  EXPECT(matcher.is_complete() == complete, "complete is ", matcher.is_complete(), " behind '",
         so_far, "' of\n", source);
  matcher.fill_mask(words);
  bool any = false;
  for (int id = 0; id < static_cast<int>(pieces().size()); ++id) {
    bool expected;
    if (id == 2)
      expected = complete;
    else if (pieces()[id].empty())
      expected = false;
    else
      expected = reference.recognise(with_token(text, id)).viable;
    any |= expected && id != 2;
    EXPECT(bit(words, id) == expected, "token ", id, " '", pieces()[id], "' is ",
           expected ? "missing" : "allowed", " behind '", so_far, "' of\n", source);
    if (!expected) EXPECT(!matcher.accept_token(id), "accepted token ", id);
  }
  if (any) EXPECT(matcher.can_continue(), "nothing can follow '", so_far, "' of\n", source);
}

void run_random_grammar(uint64_t seed, const std::shared_ptr<const Vocabulary>& vocabulary) {
  std::mt19937_64 rng(seed);
  const ReferenceGrammar reference = ReferenceGrammar::random(rng);
  const std::string source = reference.source();
  if (!reference.satisfiable()) {
    EXPECT_ERROR("invalid_request", "unsatisfiable", CompiledGrammar::compile(source, vocabulary));
    return;
  }
  const auto grammar = CompiledGrammar::compile(source, vocabulary);
  std::vector<uint32_t> words(vocabulary->mask_words()), again(words.size());
  for (int walk = 0; walk < 3; ++walk) {
    Matcher matcher(grammar, 8);
    std::vector<Text> texts{{}};  // before each step
    for (int step = 0; step < 7 && texts.back().size() < 14; ++step) {
      compare_mask(reference, texts.back(), matcher, words, source);
      std::vector<int> allowed;
      for (int id = 0; id < static_cast<int>(pieces().size()); ++id)
        if (bit(words, id)) allowed.push_back(id);
      // Back and forth again, in a copy: the same places must be found.
      const int back = static_cast<int>(rng() % texts.size());
      Matcher other = matcher.fork();
      other.rollback(back);
      compare_mask(reference, texts[texts.size() - 1 - back], other, again, source);
      std::erase(allowed, 2);
      if (allowed.empty()) break;
      const int id = allowed[rng() % allowed.size()];
      EXPECT(matcher.accept_token(id), "token ", id, " is in the mask but refused");
      texts.push_back(with_token(texts.back(), id));
    }
    if (matcher.is_complete()) {
      EXPECT(matcher.accept_token(2), "stop token refused at the end");
      EXPECT(matcher.is_terminated() && !matcher.accept_token(3), "goes on behind the end");
      matcher.rollback(1);
      compare_mask(reference, texts.back(), matcher, words, source);
    }
  }
}

TEST(grammar_masks_are_those_of_a_reference) {
  const auto vocabulary = make_vocabulary();
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    try {
      run_random_grammar(seed, vocabulary);
    } catch (const std::exception& e) {
      throw Failure(concat("seed ", seed, ": ", e.what()));
    }
  }
}

// What check_text says of a text's beginning is what the reference says.
TEST(grammar_check_is_that_of_a_reference) {
  const auto vocabulary = make_vocabulary();
  for (uint64_t seed = 1000; seed < 1300; ++seed) {
    std::mt19937_64 rng(seed);
    const ReferenceGrammar reference = ReferenceGrammar::random(rng);
    if (!reference.satisfiable()) continue;
    const std::string source = reference.source();
    if (source.find("token(") != source.npos) continue;  // there they count as their bytes
    const auto grammar = CompiledGrammar::compile(source, vocabulary);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      for (int n = static_cast<int>(rng() % 5); n > 0; --n)
        text += pieces()[3 + rng() % (pieces().size() - 3)];
      const auto result = check_text(*grammar, text);
      size_t good = 0;
      bool complete = false;
      for (size_t n = 0; n <= text.size(); ++n) {
        const auto answer = reference.recognise(Text(
            reinterpret_cast<const uint8_t*>(text.data()),
            reinterpret_cast<const uint8_t*>(text.data()) + n));
        if (!answer.viable) break;
        good = n;
        complete = answer.complete;
      }
      const bool accepted = good == text.size();
      EXPECT(result.accepted == accepted && result.failed_at == good &&
                 result.complete == (accepted && complete),
             "seed ", seed, ": '", text, "' fails at ", result.failed_at, ", expected ", good,
             " of\n", source);
      EXPECT(!result.expected.empty(), "nothing expected in '", text, "' of\n", source);
    }
  }
}

}  // namespace
}  // namespace hotpath::test

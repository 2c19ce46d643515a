// Grammars and texts made to be dear: each must end soon, in a result or in a GrammarError, within
// the stack of a thread and within bounded memory.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <new>

#include "grammar/grammar.h"
#include "failing_allocator.h"
#include "harness.h"

namespace hotpath::test {
namespace {

using grammar::check_text;
using grammar::CompiledGrammar;
using grammar::GrammarCache;
using grammar::GrammarError;
using grammar::Matcher;
using grammar::Vocabulary;

// Tokens 0: special, 1: stops, 2 + b: byte b, then the pieces.
std::shared_ptr<const Vocabulary> vocabulary_of(const std::vector<std::string>& pieces) {
  std::string bytes = "<call></s>";
  std::vector<uint32_t> offsets{0, 6, 10};
  const auto add = [&](const std::string& piece) {
    bytes += piece;
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  };
  for (int b = 0; b < 256; ++b) add(std::string(1, static_cast<char>(b)));
  for (const std::string& piece : pieces) add(piece);
  std::vector<uint8_t> special(offsets.size() - 1, 0);
  special[0] = 1;
  return std::make_shared<Vocabulary>(bytes, offsets, special, std::vector<int32_t>{1});
}

std::shared_ptr<const CompiledGrammar> compiled(const std::string& source) {
  static const auto vocabulary = vocabulary_of({"ab", "aaaa", "zz"});
  return CompiledGrammar::compile(source, vocabulary);
}

// What takes longer than this may as well never end: what is tested ends in a second or two.
constexpr double kHang = 60;

// Seconds of this thread's CPU time: the machine may be busy with other things.
double cpu_seconds() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

template <typename F>
double seconds_of(F&& f) {
  const double start = cpu_seconds();
  f();
  return cpu_seconds() - start;
}

// Whether f ended; false: it threw this kind of GrammarError. Anything else fails the test.
template <typename F>
bool ended(GrammarError::Kind kind, F&& f) {
  try {
    f();
    return true;
  } catch (const GrammarError& e) {
    EXPECT(e.kind() == kind, e.what());
    return false;
  }
}

bool has(const std::vector<uint32_t>& words, int id) { return words[id / 32] >> (id % 32) & 1; }

// Each level repeats the one below. Written out, these are as many levels deep as there are rules.
TEST(grammar_deep_repetitions_compile_in_a_small_stack) {
  std::string source = "root ::= t14000 t0 ::= \"b\"\n";
  for (int k = 1; k <= 14'000; ++k)
    source += concat("t", k, " ::= ((((((((((t", k - 1, " \"a\") \"a\") \"a\") \"a\") \"a\")",
                     " \"a\") \"a\") \"a\") \"a\") \"a\"){99}\n");
  std::shared_ptr<const CompiledGrammar> grammar;
  const double seconds = seconds_of([&] { grammar = compiled(source); });
  EXPECT(seconds < kHang, seconds, " s");
  Matcher matcher(grammar);
  EXPECT(matcher.accept_bytes("baaaaaaaaaa"));
  EXPECT(!matcher.accept_bytes("aaaaaaaaaaa"), "at most ten between two b");
}

TEST(grammar_wide_repetitions_are_not_written_out) {
  for (const char* count : {"{99}", "{3000}", "{200,}", ""}) {
    for (const char* leaf : {"\"a\"", "[^b]", "\"\""}) {
      std::string source = concat("root ::= t30 t0 ::= ", leaf, "\n");
      for (int k = 1; k <= 30; ++k)
        source += concat("t", k, " ::= (t", k - 1, " t", k - 1, " t", k - 1, " t", k - 1, ")",
                         count, "\n");
      const double seconds = seconds_of([&] { compiled(source); });
      EXPECT(seconds < kHang, seconds, " s: ", leaf, count);
    }
  }
}

// Equal repetitions are found as before, and those too large to compare still work.
TEST(grammar_repetitions_share_rules_up_to_a_size) {
  const auto num_rules = [](const std::string& source) {
    return compiled(source)->automaton().rules.size();
  };
  const std::string counted = "([^b] \"b\"){50}";
  EXPECT_EQ(num_rules("root ::= " + counted + " \"x\" " + counted),
            num_rules("root ::= " + counted));
  const std::string large = "([^b] \"" + std::string(600, 'b') + "\"){50}";
  const auto grammar = compiled("root ::= " + large + " \"x\" " + large);
  std::string text;
  for (int i = 0; i < 50; ++i) text += "a" + std::string(600, 'b');
  EXPECT(check_text(*grammar, text + "x" + text).complete);
}

// 40,000 rules called in one set, each known only when the next one is.
TEST(grammar_chains_of_calls_are_followed_once) {
  for (const bool rising : {false, true}) {
    const int n = 40'000;
    std::string all, rules;
    for (int i = 1; i <= n; ++i) {
      all += concat(i > 1 ? " | " : "", "r", rising ? i : n + 1 - i);
      rules += i == n ? concat("r", i, " ::= \"a\" r0\n")
                      : concat("r", i, " ::= r", i + 1, " \"y\" | \"x\"\n");
    }
    const auto grammar = compiled("root ::= \"z\" (" + all + ") | r0\nr0 ::= r1 | \"q\"\n" + rules);
    Matcher matcher(grammar);
    const double seconds = seconds_of([&] {
      ended(GrammarError::Kind::kTooAmbiguous, [&] {
        EXPECT(matcher.accept_bytes("z"));
        EXPECT(matcher.accept_bytes("a"));
        EXPECT(matcher.accept_bytes("x"));
      });
    });
    EXPECT(seconds < kHang, seconds, " s");
  }
}

// Many groups in one set while the table of groups is still small: it must grow at once.
TEST(grammar_table_of_callers_grows_by_any_factor) {
  for (const int n : {100, 600, 1100, 3000, 5000, 6000, 7000, 8000}) {
    std::string root = "root ::= ";
    std::string rules;
    for (int i = 0; i < n; ++i) {
      root += concat(i > 0 ? " | " : "", "r", i, " \"", i, "\"");
      rules += concat("r", i, " ::= \"a\" r", i, " \"b\" | \"a\" r", (i + 1) % n,
                      " \"c\" | \"d\"\n");
    }
    const auto grammar = compiled(root + "\n" + rules);
    Matcher matcher(grammar);
    EXPECT(matcher.accept_bytes(concat("adb", n - 1)), n);
    EXPECT(matcher.is_complete());
  }
}

// Tails are looked through: m has thousands of callers that only return, each in a rule of its own.
TEST(grammar_tails_are_looked_through_in_linear_time) {
  const int n = 25'000, num_tails = 8;
  std::string source = "root ::= \"a\" (";
  for (int i = 0; i < n; ++i) source += concat(i > 0 ? " | " : "", "r", i);
  source += ") \"!\"\nm ::= \"b\" (";
  for (int j = 0; j < num_tails; ++j) source += concat(j > 0 ? " | " : "", "t", j);
  source += ") | \"m\" m \"m\"\n";
  for (int i = 0; i < n; ++i) source += concat("r", i, " ::= m | \"q\" r", i, " \"q\"\n");
  for (int j = 0; j < num_tails; ++j)
    source += concat("t", j, " ::= \"t\" t", j, " \"u\" | \"", j, "\"\n");
  Matcher matcher(compiled(source));
  EXPECT(matcher.accept_bytes("a"));
  bool fits = false;
  const double seconds = seconds_of([&] {
    fits = ended(GrammarError::Kind::kTooAmbiguous, [&] { EXPECT(matcher.accept_bytes("b")); });
  });
  EXPECT(seconds < kHang, seconds, " s");
  EXPECT(fits, "nothing here is ambiguous");
  EXPECT(matcher.accept_bytes("tt7uu!"));
  EXPECT(matcher.is_complete());
}

// Thousands of items in the set that a mask is for.
TEST(grammar_mask_of_thousands_of_items_is_bounded) {
  std::vector<std::string> pieces;
  for (char a = 'a'; a <= 'z'; ++a)
    for (char b = 'a'; b <= 'z'; ++b)
      for (char c = 'a'; c <= 'z'; ++c)
        pieces.push_back({a, b, c}), pieces.push_back({a, b, c, a, b});
  const auto vocabulary = vocabulary_of(pieces);
  for (const int n : {100, 6'000}) {
    std::string all, rules;
    for (int i = 0; i < n; ++i) {
      all += concat(i > 0 ? " | " : "", "r", i, " \"x\" | r", i, " \"y\"");
      rules += concat("r", i, " ::= [a-z]{60} \"", i, "\"\n");
    }
    const auto grammar = CompiledGrammar::compile("root ::= " + all + "\n" + rules, vocabulary);
    Matcher matcher(grammar);
    std::vector<uint32_t> words(vocabulary->mask_words());
    for (int time = 0; time < 3; ++time) {
      bool filled = false;
      const double seconds = seconds_of([&] {
        filled = ended(GrammarError::Kind::kTooAmbiguous, [&] { matcher.fill_mask(words); });
      });
      EXPECT(seconds < kHang, n, ": ", seconds, " s");
      EXPECT(filled || n > 100, "a hundred are few");
      EXPECT(!filled || (has(words, 2 + 'a') && !has(words, 2 + '0') && has(words, 258)), n);
      EXPECT(matcher.num_bytes() < 24 << 20, n, ": ", matcher.num_bytes(), " bytes");
    }
    EXPECT(matcher.accept_bytes("a"), "the matcher stays where it was");
  }
}

// Many items before every byte, few behind it.
TEST(grammar_scans_count_as_work) {
  std::string all, rules;
  for (int i = 0; i < 5'000; ++i) {
    all += concat(i > 0 ? " | " : "", "r", i, " \"x\" | r", i, " \"y\"");
    rules += concat("r", i, " ::= [a-z]{60} \"", i, "\"\n");
  }
  const auto grammar = compiled("root ::= " + all + "\n" + rules);
  grammar::Chart chart(grammar->automaton());
  chart.allow_work(1'000'000);
  const uint32_t set = chart.start();
  const uint64_t before = chart.work_left();
  EXPECT_EQ(chart.step(set, '!'), grammar::Chart::kDead);
  EXPECT(before - chart.work_left() >= 5'000 / 8, before - chart.work_left());
  chart.allow_work(100);
  EXPECT_ERROR("invalid_request", "too many readings", chart.step(set, '!'));
}

TEST(grammar_check_of_a_text_is_bounded_as_a_whole) {
  const auto grammar = compiled("root ::= root root | \"a\" | \"a\" \"a\"");
  const double seconds = seconds_of([&] {
    EXPECT(!ended(GrammarError::Kind::kTooAmbiguous,
                  [&] { check_text(*grammar, std::string(100'000, 'a')); }));
  });
  EXPECT(seconds < kHang, seconds, " s");
  // No byte alone is dear, all of them are.
  std::string all, rules;
  for (int i = 0; i < 10'000; ++i) {
    all += concat(i > 0 ? " | " : "", "r", i);
    rules += concat("r", i, " ::= [a-z]* \"", i, "\" | \"(\" r", i, " \")\"\n");
  }
  const auto many = compiled("root ::= " + all + "\n" + rules);
  const double seconds_of_many = seconds_of([&] {
    EXPECT(!ended(GrammarError::Kind::kTooAmbiguous,
                  [&] { check_text(*many, std::string(100'000, 'a')); }));
  });
  EXPECT(seconds_of_many < kHang, seconds_of_many, " s");
  // Long texts that are easy are read to the end; special tokens among them too.
  const auto easy = compiled("root ::= (\"a\" | token(0) | \"(\" root \")\")*");
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += i % 7 == 0 ? "<call>" : "(a)";
  EXPECT(check_text(*easy, text).complete);
  EXPECT(check_text(*easy, std::string(50'000, '(') + std::string(50'000, ')')).complete);
}

// Special tokens that are open at every byte keep nothing from being forgotten.
TEST(grammar_check_forgets_while_special_tokens_are_open) {
  const auto grammar = compiled("root ::= (\"<\" | \"c\" | \"a\" | \"l\" | \">\" | "
                                "\"(\" root \")\" | token(0))*");
  std::string text;
  for (int i = 0; i < 30'000; ++i) text += "(<call>)(((";
  const auto result = check_text(*grammar, text);
  EXPECT(result.accepted && !result.complete, result.failed_at);
}

// Memory is what a sequence can come back to, not what it has passed.
TEST(grammar_garbage_is_no_ambiguity) {
  const auto grammar = compiled("root ::= x* x ::= \"(\" x* \")\" | \"a\"");
  Matcher matcher(grammar, 4);
  // Ever new stacks, in one call.
  std::string text;
  for (int depth = 1; depth < 2'000; ++depth)
    text += std::string(depth, '(') + std::string(depth, ')');
  EXPECT(matcher.accept_bytes(text.substr(0, 1'000'000)));
  EXPECT(matcher.num_bytes() < 100 << 20, matcher.num_bytes(), " bytes");
  const std::string open(700'000, '(');
  bool accepted = false;
  const bool fits = ended(GrammarError::Kind::kTooAmbiguous, [&] {
    accepted = matcher.accept_bytes(open);
  });
  EXPECT(!fits || accepted);
  EXPECT(matcher.accept_bytes("(a)"), "it goes on");
}

// A call that died after ids had changed leaves the matcher where it was.
TEST(grammar_a_refused_text_after_a_collection_changes_nothing) {
  std::string all, rules;
  for (int i = 0; i < 300; ++i) {
    all += concat(i > 0 ? " | " : "", "r", i);
    rules += concat("r", i, " ::= \"a\" r", i, " \"", i, "\" | \"a\" r", (i + 1) % 300,
                    " \"b\" | \"d\"\n");
  }
  Matcher matcher(compiled("root ::= (" + all + ") \"!\" root | \"e\"\n" + rules), 8);
  for (int i = 0; i < 8; ++i) EXPECT(matcher.accept_bytes("d!"));
  std::string text;
  for (int i = 0; i < 400; ++i)
    text += std::string(1 + i, 'a') + "d" + std::string(1 + i, 'b') + "!";
  bool accepted = true;
  const bool fits = ended(GrammarError::Kind::kTooAmbiguous,
                          [&] { accepted = matcher.accept_bytes(text + "?"); });
  EXPECT(!fits || !accepted);
  EXPECT(matcher.accept_bytes("adb!"));
  matcher.rollback(3);
  EXPECT(matcher.accept_bytes("e"));
  EXPECT(matcher.is_complete());
}

// Whichever allocation fails, those who ask later are answered.
TEST(grammar_cache_survives_any_failed_allocation) {
  const auto vocabulary = vocabulary_of({});
  const std::string source = "root ::= [a-z]{60} \"a long enough literal to be on the heap\"";
  int failures = 0;
  for (int n = 1;; ++n) {
    GrammarCache cache(vocabulary);
    bool failed = false;
    allocations_until_failure = n - 1;
    try {
      cache.get(source);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool reached = allocations_until_failure < 0;  // a sort's buffer may fail without harm
    allocations_until_failure = -1;
    EXPECT(cache.get(source) != nullptr);  // would wait for ever for one that never comes
    EXPECT_EQ(cache.size(), 1u);
    if (!reached) break;
    failures += failed;
  }
  EXPECT(failures > 20, failures);
}

// And a set that could not be made is not found again.
TEST(grammar_matcher_survives_any_failed_allocation) {
  const auto grammar = compiled("root ::= x (\",\" x)* "
                                "x ::= \"(\" root \")\" | [a-z]+ | root \";\"");
  const std::string text = "((a),b;,(c,(d;)))";
  for (int n = 1;; ++n) {
    Matcher matcher(grammar);
    bool failed = false;
    allocations_until_failure = n - 1;
    try {
      EXPECT(matcher.accept_bytes(text));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    const bool reached = allocations_until_failure < 0;  // a sort's buffer may fail without harm
    allocations_until_failure = -1;
    if (failed) EXPECT(matcher.accept_bytes(text), n);
    EXPECT(matcher.is_complete(), n);
    if (!reached) break;
  }
}

}  // namespace
}  // namespace hotpath::test

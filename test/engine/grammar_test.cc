#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "grammar/grammar.h"
#include "harness.h"

namespace hotpath::test {
namespace {

using grammar::check_text;
using grammar::CheckResult;
using grammar::CompiledGrammar;
using grammar::CompileLimits;
using grammar::GrammarCache;
using grammar::GrammarError;
using grammar::Matcher;
using grammar::Vocabulary;

// Token i has pieces[i]; 0 is special, 1 the stop token.
std::shared_ptr<const Vocabulary> vocabulary_of(const std::vector<std::string>& pieces) {
  std::string bytes;
  std::vector<uint32_t> offsets{0};
  for (const std::string& piece : pieces) {
    bytes += piece;
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  std::vector<uint8_t> special(pieces.size(), 0);
  special[0] = 1;
  return std::make_shared<Vocabulary>(bytes, offsets, special, std::vector<int32_t>{1});
}

// Every byte, and what a tokenizer might merge.
const std::vector<std::string>& json_pieces() {
  static const std::vector<std::string> list = [] {
    std::vector<std::string> pieces{"<call>", "</s>"};
    for (int b = 0; b < 256; ++b) pieces.push_back(std::string(1, static_cast<char>(b)));
    for (const char* piece : {"{\"", "\"}", "\": ", "\", \"", "\":", "}}", "]}", "[[", "  ", "true",
                              "false", "null", "name", "hello", " world", "\\\"", "\\n", "aa",
                              "aaaa", "aaaaaaaaaaaa", "aaaaaaaaaaaaa\"", "a\"", "aaaa\"}", "12",
                              "\xc3\xa9", "\xe4\xbd\xa0\xe5", "\xa5\xbd"})
      pieces.push_back(piece);
    return pieces;
  }();
  return list;
}

std::shared_ptr<const CompiledGrammar> compiled(const std::string& source) {
  static const auto vocabulary = vocabulary_of(json_pieces());
  return CompiledGrammar::compile(source, vocabulary);
}

CheckResult checked(const std::string& source, const std::string& text) {
  return check_text(*compiled(source), text);
}

bool matches(const std::string& source, const std::string& text) {
  return checked(source, text).complete;
}

std::set<int> allowed(Matcher& matcher) {
  std::vector<uint32_t> words(matcher.grammar().vocabulary().mask_words());
  matcher.fill_mask(words);
  std::set<int> ids;
  for (int id = 0; id < matcher.grammar().vocabulary().size(); ++id)
    if (words[id / 32] >> (id % 32) & 1) ids.insert(id);
  return ids;
}

// The mask, token by token, without any of what makes it quick.
std::set<int> allowed_slowly(const Matcher& matcher) {
  std::set<int> ids;
  for (int id = 0; id < matcher.grammar().vocabulary().size(); ++id)
    if (matcher.fork().accept_token(id)) ids.insert(id);
  return ids;
}

constexpr char kJson[] = R"(
root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ws ":" ws value (ws "," ws string ws ":" ws value)*)? ws "}"
array ::= "[" ws (value (ws "," ws value)*)? ws "]"
string ::= "\"" ([^"\\\u0000-\u001f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [+\-]? [0-9]+)?
ws ::= [ \t\n\r]*
)";

TEST(grammar_every_construct_matches_what_it_says) {
  const std::string name = "root ::= ";
  EXPECT(matches("root::=a-b.c_1 a-b.c_1 ::= \"x\" # the end", "x"));
  EXPECT(matches(name + "\"\\\"\\\\\\/\\n\\r\\t\\b\\f\"", "\"\\/\n\r\t\b\f"));
  EXPECT(matches(name + "\"\\u00e9\\u{20ac}\\ud83d\\ude00\\xff\"",
                 "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff"));
  EXPECT(matches(name + "[a-c\\]\\-\\^\\x41]{5}", "b]-^A"));
  EXPECT(matches(name + "[\\d]+ [\\w]+ [\\s]+", "12a_B \t"));
  EXPECT(matches(name + "[-a] [a-]", "--"));
  EXPECT(matches(name + "[^a-z\\n] . .", "\xf0\x9f\x98\x80\xc3\xa9."));
  EXPECT(!checked(name + ".", "\n").accepted);
  EXPECT(!checked(name + "[^a]", "\xed\xa0\x80").accepted, "a surrogate");
  EXPECT(!checked(name + "[^a]", "\xc0\x80").accepted, "an overlong form");
  EXPECT(!checked(name + "[^a]", "\xf4\x90\x80\x80").accepted, "above U+10FFFF");
  EXPECT(matches(name + "(\"a\" | \"\") \"b\"? (\"c\" \"d\")* | \"e\"+", "abcdcd"));
  EXPECT(matches(name + "(\"a\" | \"\") \"b\"? (\"c\" \"d\")* | \"e\"+", ""));
  EXPECT(matches(name + "\"a\" {2} \"b\"{ 1 , } \"c\"{0,2}", "aabbb"));
  EXPECT(!checked(name + "\"a\"{2}", "aaa").accepted);
  EXPECT(matches(name + "\"a\"{0}", ""));
  EXPECT(matches(name + "\"a\"***", "aaa"));
  EXPECT(matches("root ::= token(0) \"x\"", "<call>x"), "special tokens count as their bytes");
}

TEST(grammar_errors_say_where) {
  const auto expect = [](const std::string& source, size_t position, const std::string& text) {
    try {
      compiled(source);
    } catch (const GrammarError& e) {
      EXPECT(e.kind() == GrammarError::Kind::kSyntax, e.what());
      EXPECT_EQ(e.position(), position);
      EXPECT(std::string(e.what()).find(text) != std::string::npos, "expected '", text,
             "', received: ", e.what());
      return;
    }
    fail_at(__FILE__, __LINE__, "no error for ", source);
  };
  expect("", 0, "empty");
  expect("# nothing", 0, "empty");
  expect("root \"a\"", 5, "expected ::=");
  expect("start ::= \"a\"", 0, "no rule 'root'");
  expect("root ::= a\nb ::= \"x\"", 9, "'a' is used but not defined");
  expect("root ::= \"a\" root ::= \"b\"", 13, "defined twice");
  expect("root ::= \"a", 9, "does not end");
  expect("root ::= \"a\nb\"", 11, "line break");
  expect("root ::= [a", 9, "does not end");
  expect("root ::= [b-a]", 10, "comes before its start");
  expect("root ::= (\"a\"", 13, "expected )");
  expect("root ::= \"a\")", 12, "expected an expression or the next rule");
  expect("root ::= \"a\" |", 14, "an empty alternative is written");
  expect("root ::= \"a\"{3,2}", 12, "the second is the smaller");
  expect("root ::= \"a\"{9999999999}", 13, "above");
  expect("root ::= \"\\q\"", 10, "unknown escape");
  expect("root ::= \"\\ud800\"", 10, "surrogate");
  expect("root ::= [\\xff]", 10, "raw byte");
  expect("root ::= token(99999)", 9, "the vocabulary has");
  expect("root ::= \"\xff\"", 10, "not valid UTF-8");
  expect("root ::=\n  ?", 11, "line 2, column 3");
}

TEST(grammar_unsatisfiable_is_an_error) {
  for (const char* source : {"root ::= root", "root ::= \"a\" b b ::= \"c\" b", "root ::= []",
                             "root ::= [\\u{0}-\\u{10ffff}] []", "root ::= [^\\u{0}-\\u{10ffff}]"})
    EXPECT_ERROR("invalid_request", "unsatisfiable", compiled(source));
  // What cannot be finished is left out; the rest stays.
  EXPECT_EQ(checked("root ::= \"a\" b | \"c\" b ::= \"x\" b", "a").failed_at, 0u);
  EXPECT(matches("root ::= ([] \"x\")* \"c\"", "c"));
}

TEST(grammar_recursion_and_ambiguity) {
  EXPECT(matches("root ::= root \"+\" root | \"(\" root \")\" | [0-9]+", "1+(2+3)+45"));
  EXPECT(matches("root ::= a a ::= b \"x\" | \"y\" b ::= a \"z\" | a", "yxzxx"));
  EXPECT(matches("root ::= (\"\"* \"\"+){3,9} (\"a\"?)* (\"a\"*)* | root root", "aaaa"));
  EXPECT(matches("root ::= \"a\" root \"b\" | \"\"", "aaabbb"));
  EXPECT(!matches("root ::= \"a\" root \"b\" | \"\"", "aaabb"));
  // a^n b^n c^n is not context-free, a^n b^n c^m is; both halves must be followed at once.
  const std::string two = "root ::= ab \"c\"* | \"a\"* bc ab ::= \"a\" ab \"b\" | \"\" "
                          "bc ::= \"b\" bc \"c\" | \"\"";
  EXPECT(matches(two, "aabbccc") && matches(two, "aaabbcc") && !matches(two, "aaabbccc"));
}

TEST(grammar_long_recursions_stay_small) {
  // A right recursion, a loop through calls and a string: the same place again and again.
  for (const char* source :
       {"root ::= \"a\" root | \"b\"", "root ::= x root | \"b\" x ::= \"a\" y y ::= \"\" | \"c\" x",
        "root ::= (x)* x ::= \"a\" | \"(\" x \")\"", "root ::= root \"a\" | \"a\""}) {
    Matcher matcher(compiled(source));
    for (int i = 0; i < 50'000; ++i) EXPECT(matcher.accept_token(2 + 'a'), source, " at ", i);
    EXPECT(matcher.num_bytes() < 3 << 20, source, ": ", matcher.num_bytes(), " bytes");
    EXPECT_EQ(matcher.num_steps_kept() <= 2 * Matcher::kDefaultRollback, true);
  }
}

TEST(grammar_json_masks_are_exact) {
  const std::string text =
      "{\"name\": [true, {\"a\": -12.5e3, \"\xe4\xbd\xa0\xe5\xa5\xbd\": null}, "
      "[[\"aaaaaaaaaaaa\\n\"]]], "
      "\"b\":  \"aa\"}";
  for (int walk = 0; walk < 2; ++walk) {  // the second finds all masks made
    static const auto grammar = compiled(kJson);
    Matcher matcher(grammar);
    for (size_t at = 0; at < text.size();) {
      EXPECT(allowed(matcher) == allowed_slowly(matcher), "behind ", text.substr(0, at));
      size_t length = 1;
      int token = 2 + static_cast<uint8_t>(text[at]);
      for (size_t id = 2; id < json_pieces().size(); ++id) {
        const std::string& piece = json_pieces()[id];
        if (piece.size() > length && text.compare(at, piece.size(), piece) == 0)
          token = static_cast<int>(id), length = piece.size();
      }
      EXPECT(matcher.accept_token(token), "token ", token, " behind ", text.substr(0, at));
      at += length;
    }
    EXPECT(matcher.is_complete() && !matcher.is_terminated());
    EXPECT(allowed(matcher).contains(1), "the stop token");
    EXPECT(matcher.accept_token(1) && matcher.is_terminated());
    EXPECT(allowed(matcher).empty(), "something follows the end");
  }
}

// At every distance from both limits of a count, with elements of one and of several bytes.
TEST(grammar_counts_are_exact) {
  for (const char* count : {"{0,40}", "{3,24}", "{20,24}", "{30,}", "{7}", "{19,40}", "{1,13}"}) {
    const std::string source =
        "root ::= \"{\\\"\" ([^\"\\\\\\n] | \"\\\\\" [\"n]){COUNT} \"\\\"}\" \"}\"*";
    std::string with_count = source;
    with_count.replace(with_count.find("{COUNT}"), 7, count);
    Matcher matcher(compiled(with_count));
    EXPECT(matcher.accept_bytes("{\""));
    for (int i = 0; i < 45; ++i) {
      EXPECT(allowed(matcher) == allowed_slowly(matcher), count, " behind ", i);
      if (!matcher.accept_bytes(i % 7 == 3 ? "\xc3\xa9" : i % 7 == 5 ? "\\n" : "a")) break;
    }
  }
  // Counted elements that call rules.
  const std::string list =
      "root ::= \"[\" (item \",\"){2,20} item \"]\" item ::= root | [0-9]{1,3}";
  Matcher matcher(compiled(list));
  for (const char* piece : {"[", "1", "2", ",", "[", "[", "3", ",", "4", ",", "5", "]", ","}) {
    EXPECT(matcher.accept_bytes(piece), "before ", piece);
    EXPECT(allowed(matcher) == allowed_slowly(matcher), "behind ", piece);
  }
}

TEST(grammar_special_and_stop_tokens) {
  Matcher matcher(compiled("root ::= \"a\"+ (token(0) \"b\" | \"\")"));
  EXPECT(!matcher.accept_token(1) && !matcher.accept_token(0) && !matcher.accept_token(-1) &&
         !matcher.accept_token(100'000));
  EXPECT(matcher.accept_token(2 + 'a'));
  EXPECT(allowed(matcher).contains(0) && allowed(matcher).contains(1));
  EXPECT(!matcher.fork().accept_bytes("<call>"), "a special token by its bytes");
  EXPECT(matcher.accept_token(0));
  EXPECT(allowed(matcher) == std::set<int>{2 + 'b'});
  EXPECT(matcher.accept_token(2 + 'b'));
  EXPECT(matcher.is_complete() && !matcher.can_continue());
  EXPECT(allowed(matcher) == std::set<int>{1});
  // A stop token that the grammar asks for by name, in the middle of a text.
  Matcher named(compiled("root ::= \"a\" token(1) \"b\""));
  EXPECT(named.accept_bytes("a"));
  EXPECT_EQ(named.forced_token(), 1);
  EXPECT(named.accept_token(1) && !named.is_terminated() && named.accept_bytes("b"));
}

TEST(grammar_rollback_and_fork) {
  Matcher matcher(compiled(kJson), 4);
  std::vector<std::set<int>> masks;
  for (const char c : std::string("{\"a\": [1, 2")) {
    masks.push_back(allowed(matcher));
    EXPECT(matcher.accept_token(2 + static_cast<uint8_t>(c)));
  }
  Matcher other = matcher.fork();
  matcher.rollback(3);
  EXPECT(allowed(matcher) == masks[masks.size() - 3]);
  EXPECT(matcher.accept_token(2 + ']'), "behind [1");
  EXPECT(other.accept_bytes("3, 4]}") && other.is_complete());
  other.rollback(1);
  EXPECT(other.accept_bytes("]}") && other.is_complete());
  EXPECT_ERROR("internal_error", "can be taken back", other.rollback(5));
  EXPECT_ERROR("internal_error", "can be taken back", Matcher(compiled(kJson)).rollback(1));
}

TEST(grammar_forced_bytes) {
  Matcher matcher(
      compiled("root ::= \"{\\\"name\\\": \" (\"\\\"ab\\\"\" | \"\\\"ac\\\"\") \"}\"?"));
  EXPECT_EQ(matcher.forced_bytes(), "{\"name\": \"a");
  EXPECT_EQ(matcher.forced_bytes(3), "{\"n");
  EXPECT(matcher.accept_bytes("{\"name\": \"ac"));
  EXPECT_EQ(matcher.forced_bytes(), "\"");
  EXPECT(matcher.accept_bytes("\""));
  EXPECT_EQ(matcher.forced_bytes(), "");
  Matcher endless(compiled("root ::= \"a\" root | \"a\" root \"b\" | \"c\""));
  EXPECT_EQ(endless.forced_bytes(), "");
}

TEST(grammar_check_says_what_could_come) {
  const std::string source =
      "root ::= \"{\\\"age\\\": \" ([1-9] [0-9]{0,2} | \"null\") \"}\" token(0)?";
  const CheckResult result = checked(source, "{\"age\": x");
  EXPECT(!result.accepted && !result.complete);
  EXPECT_EQ(result.failed_at, 8u);
  const std::set<std::string> expected(result.expected.begin(), result.expected.end());
  EXPECT(expected.size() == 1 && expected.contains("[1-9n]"), *expected.begin());
  EXPECT_EQ(checked(source, "{\"a").expected.at(0), "\"ge\\\": \"");
  const CheckResult end = checked(source, "{\"age\": null}");
  EXPECT(end.accepted && end.complete);
  EXPECT(std::ranges::count(end.expected, "token(0)") &&
         std::ranges::count(end.expected, "end of text"));
  EXPECT_EQ(checked("root ::= [^a]", "a").expected.at(0).substr(0, 4), "[\\x0");
}

double milliseconds(auto&& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  return time.count();
}

// Each compiles, or is refused, in bounded time; and so is each step of what compiles.
TEST(grammar_hostile_input_is_bounded) {
  std::vector<std::string> sources;
  const auto times = [](const std::string& s, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += s;
    return out;
  };
  sources.push_back("root ::= " + times("(", 200'000) + "\"a\"" + times(")", 200'000));
  sources.push_back("root ::= " + times("(", 500) + "\"a\"" + times(")*", 500));
  sources.push_back("root ::= \"a\"" + times("*", 1'000'000));
  sources.push_back("root ::= \"a\"{0,1000000}");
  sources.push_back("root ::= [^\"]{1000000,1000000000}");
  sources.push_back("root ::= ((((\"a\"{0,1000}){0,1000}){0,1000}){0,1000}){0,1000}");
  sources.push_back("root ::= (\"a\"|\"b\")* \"a\" (\"a\"|\"b\"){200}");  // 2^200 as one automaton
  sources.push_back(
      "root ::= (\"a\"|\"b\")* \"a\" (\"a\"|\"b\"){0,100000} (\"a\"|\"c\"){0,100000}");
  sources.push_back("root ::= root root | \"a\" | \"\" | root \"a\" root");
  sources.push_back("root ::= (root | \"a\" root)* | (\"a\"* \"a\"*)*");
  sources.push_back("root ::= \"a\" root \"a\" | \"b\" root \"b\" | \"\" | \"a\" | \"b\"");
  std::string chain = "root ::= r0 ";
  for (int i = 0; i < 60'000; ++i) chain += concat("r", i, " ::= r", i + 1, " ");
  sources.push_back(chain + "r60000 ::= \"a\"");
  std::string doubling = "root ::= r0 ";
  for (int i = 0; i < 60; ++i) doubling += concat("r", i, " ::= r", i + 1, " r", i + 1, " ");
  sources.push_back(doubling + "r60 ::= \"a\"");
  std::string literals = "root ::= \"x\"";
  for (int i = 0; i < 40'000; ++i) literals += concat(" | \"value", i * 7919, "\"");
  sources.push_back(literals);
  sources.push_back("root ::= \"" + times("a", 3'000'000) + "\"");
  for (const std::string& source : sources) {
    const std::string shown = source.substr(0, 60);
    std::shared_ptr<const CompiledGrammar> grammar;
    const double compile_ms = milliseconds([&] {
      try {
        grammar = compiled(source);
      } catch (const GrammarError& e) {
        EXPECT(e.kind() == GrammarError::Kind::kTooLarge || e.kind() == GrammarError::Kind::kSyntax,
               e.what());
      }
    });
    EXPECT(compile_ms < 20'000, shown, ": ", compile_ms, " ms");
    if (!grammar) continue;
    double slowest = 0;
    bool failed = false;
    Matcher matcher(grammar);
    for (int i = 0; i < 300 && !failed; ++i) {
      slowest = std::max(slowest, milliseconds([&] {
        try {
          if (i % 32 == 0) allowed(matcher);
          failed = !matcher.accept_token(2 + (i % 5 == 4 ? 'b' : 'a')) &&
                   !matcher.accept_token(2 + 'a');
        } catch (const GrammarError& e) {
          EXPECT(e.kind() == GrammarError::Kind::kTooAmbiguous, e.what());
          failed = true;
        }
      }));
    }
    EXPECT(slowest < 10'000, shown, ": a step of ", slowest, " ms");
    EXPECT(matcher.num_bytes() < 100 << 20, shown, ": ", matcher.num_bytes(), " bytes");
  }
}

TEST(grammar_limits_are_errors) {
  const auto vocabulary = vocabulary_of(json_pieces());
  const auto expect = [&](const std::string& source, const CompileLimits& limits) {
    try {
      CompiledGrammar::compile(source, vocabulary, limits);
    } catch (const GrammarError& e) {
      EXPECT(e.kind() == GrammarError::Kind::kTooLarge, e.what());
      return;
    }
    fail_at(__FILE__, __LINE__, "no error");
  };
  expect("root ::= \"a\"", {.max_source_bytes = 5});
  expect("root ::= \"abcdefghijkl\"", {.max_states = 4});
  expect("root ::= [abd-fh-jln] [ace]", {.max_edges = 3});
  expect("root ::= \"" + std::string(1'000'000, 'a') + "\"",
         {.max_time = std::chrono::milliseconds(0)});
  // More readings than can be followed: the sequence fails, and says so.
  Matcher matcher(compiled("root ::= root root | \"a\" | \"a\" \"a\""));
  try {
    for (int i = 0; i < 100'000; ++i) matcher.accept_token(2 + 'a');
    fail_at(__FILE__, __LINE__, "no error");
  } catch (const GrammarError& e) {
    EXPECT(e.kind() == GrammarError::Kind::kTooAmbiguous, e.what());
  }
}

TEST(grammar_cache_compiles_once_and_forgets_the_oldest) {
  const auto vocabulary = vocabulary_of(json_pieces());
  GrammarCache cache(vocabulary, 1 << 20);
  std::vector<std::thread> threads;
  std::vector<const CompiledGrammar*> got(8);
  for (size_t t = 0; t < got.size(); ++t)
    threads.emplace_back([&, t] { got[t] = cache.get(kJson).get(); });
  for (auto& thread : threads) thread.join();
  for (const CompiledGrammar* g : got) EXPECT(g == got[0], "two grammars of one text");
  EXPECT_EQ(cache.num_compiled(), 1);
  EXPECT_ERROR("invalid_request", "no rule 'root'", cache.get("a ::= \"b\""));
  EXPECT_ERROR("invalid_request", "no rule 'root'", cache.get("a ::= \"b\""));
  EXPECT_EQ(cache.size(), 1u);
  for (int i = 0; i < 200; ++i) {
    cache.get(concat("root ::= \"", std::string(2000, 'a'), i, "\""));
    EXPECT(cache.num_bytes() <= 1 << 20, cache.num_bytes(), " bytes");
  }
  EXPECT(cache.size() > 1 && cache.size() < 200, cache.size());
}

// Masks of one grammar, from several threads at once, with a cache too small for them.
TEST(grammar_masks_from_many_threads) {
  const auto vocabulary = vocabulary_of(json_pieces());
  const auto grammar = CompiledGrammar::compile(kJson, vocabulary, {}, 2000);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      Matcher matcher(grammar);
      for (const char c : std::string("{\"a\": [1, {\"aaaa\": \"\\n\"}, true]}")) {
        if (allowed(matcher) != allowed_slowly(matcher)) ++wrong;
        if (!matcher.accept_token(2 + static_cast<uint8_t>(c))) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(grammar_vocabulary_is_checked) {
  const auto make = [](std::string bytes, std::vector<uint32_t> offsets,
                       std::vector<uint8_t> special, std::vector<int32_t> stop) {
    Vocabulary(std::move(bytes), std::move(offsets), std::move(special), std::move(stop));
  };
  EXPECT_ERROR("invalid_request", "offsets", make("abc", {}, {}, {}));
  EXPECT_ERROR("invalid_request", "offsets", make("abc", {0, 2}, {}, {}));
  EXPECT_ERROR("invalid_request", "offsets", make("abc", {0, 2, 1, 3}, {}, {}));
  EXPECT_ERROR("invalid_request", "special flag", make("abc", {0, 3}, {0, 0}, {}));
  EXPECT_ERROR("invalid_request", "stop token 1 of 1", make("abc", {0, 3}, {}, {1}));
  const auto empty = std::make_shared<Vocabulary>("", std::vector<uint32_t>{0},
                                                  std::vector<uint8_t>{}, std::vector<int32_t>{});
  const auto grammar = CompiledGrammar::compile("root ::= token(7) | \"a\"", empty);
  EXPECT(check_text(*grammar, "a").complete);
}

}  // namespace
}  // namespace hotpath::test

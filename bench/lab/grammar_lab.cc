// How long grammars take to compile and masks to fill, over a real vocabulary, in CPU time.
//   node bench/lab/grammar_vocabulary.mjs tokenizer.json 151936 > vocabulary.bin
//   g++ -std=c++20 -O3 -pthread -Icsrc bench/lab/grammar_lab.cc csrc/grammar/*.cc -o grammar_lab
//   ./grammar_lab vocabulary.bin [number of grammars] [seed]
//
// The grammars are what schemas of tools and records lower to: objects in a fixed order with
// optional members, strings with lengths and patterns, numbers, enumerations, arrays, nesting,
// recursion. Each comes with a text that it allows, cut into the longest tokens, and the mask is
// filled before every token. Every token of the text must be in the mask. With GRAMMAR_LAB_VERIFY
// set, one mask in 512 is compared with what becomes of every token.
//
//   ./grammar_lab vocabulary.bin --cases cases.bin > results.jsonl
//
// Grammars and texts from a file, for bench/grammar.ts, in time by the wall. Little-endian: u32
// number of grammars; per grammar u32 length, source, u32 number of texts; per text u32
// number of tokens, a u32 for each. A line of JSON per grammar; see run_cases.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <random>
#include <unordered_map>

#include "grammar/grammar.h"

using namespace hotpath;
using namespace hotpath::grammar;

namespace {

// Of this thread: the machine may be busy with other things.
struct Clock {
  static double now() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
  }
};

double microseconds_since(double start) { return Clock::now() - start; }

// Little-endian numbers and texts of a file; read past its end, they are an error.
class Reader {
 public:
  explicit Reader(const char* path) : path_(path), file_(path, std::ios::binary) {}

  uint8_t byte() {
    const int value = file_.get();
    if (!file_) fail("invalid_request", path_, " ends too early, or cannot be read");
    return static_cast<uint8_t>(value);
  }
  uint32_t number() {
    uint32_t value = 0;
    for (int shift = 0; shift < 32; shift += 8) value |= uint32_t{byte()} << shift;
    return value;
  }
  std::string text() {
    std::string text(number(), '\0');
    file_.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file_) fail("invalid_request", path_, " ends too early");
    return text;
  }

 private:
  std::string path_;
  std::ifstream file_;
};

std::shared_ptr<const Vocabulary> load(const char* path) {
  Reader file(path);
  const uint32_t count = file.number();
  std::string bytes;
  std::vector<uint32_t> offsets{0};
  std::vector<uint8_t> special;
  std::vector<int32_t> stop;
  for (uint32_t id = 0; id < count; ++id) {
    const uint8_t flags = file.byte();  // 1: special, 2: ends a text
    const std::string token = file.text();
    special.push_back(flags & 1);
    if ((flags & 2) != 0 || token == "<|im_end|>" || token == "<|endoftext|>")
      stop.push_back(static_cast<int32_t>(id));
    bytes += token;
    offsets.push_back(static_cast<uint32_t>(bytes.size()));
  }
  return std::make_shared<Vocabulary>(bytes, offsets, special, stop);
}

bool has(const std::vector<uint32_t>& words, int32_t id) { return words[id / 32] >> (id % 32) & 1; }

std::string json(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<uint8_t>(c) < 0x20 ? ' ' : c;
  }
  return out + '"';
}

struct Walk {
  bool accepted = true;  // every token, and then a stop token
  size_t refused_at = 0;
  size_t num_disagreed = 0;  // tokens that the mask and accept_token tell otherwise of
  std::vector<int64_t> mask_ns{}, accept_ns{};
};

template <typename F>
int64_t nanoseconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count();
}

Walk walk(const std::shared_ptr<const CompiledGrammar>& grammar, const std::vector<int32_t>& tokens,
          std::vector<uint32_t>& words) {
  const Vocabulary& vocabulary = grammar->vocabulary();
  Matcher matcher(grammar);
  Walk walk;
  for (; walk.refused_at < tokens.size(); ++walk.refused_at) {
    const int32_t id = tokens[walk.refused_at];
    bool taken = false;
    walk.mask_ns.push_back(nanoseconds([&] { matcher.fill_mask(words); }));
    walk.accept_ns.push_back(nanoseconds([&] { taken = matcher.accept_token(id); }));
    if (taken != has(words, id)) ++walk.num_disagreed;
    if (!taken) {
      walk.accepted = false;
      return walk;
    }
  }
  walk.mask_ns.push_back(nanoseconds([&] { matcher.fill_mask(words); }));
  const auto ends = [&](int32_t id) { return has(words, id); };
  walk.accepted = std::ranges::any_of(vocabulary.stop_ids(), ends);
  if (walk.accepted != matcher.is_complete()) ++walk.num_disagreed;
  return walk;
}

std::string list(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (const int64_t value : values) out += (out.size() > 1 ? "," : "") + std::to_string(value);
  return out + "]";
}

// Prints for each grammar {"compile_ns", "bytes", "walks": [{"accepted", "refused_at", "disagreed",
// "mask_ns": [...], "accept_ns": [...]}, ...]} or {"error"}. One thread. A mask is filled before
// each token and at the end.
void run_cases(const char* path, const std::shared_ptr<const Vocabulary>& vocabulary) {
  Reader file(path);
  std::vector<uint32_t> words(vocabulary->mask_words());
  for (uint32_t left = file.number(); left > 0; --left) {
    const std::string source = file.text();
    std::vector<std::vector<int32_t>> texts(file.number());
    for (std::vector<int32_t>& tokens : texts) {
      tokens.resize(file.number());
      for (int32_t& id : tokens) {
        id = static_cast<int32_t>(file.number());
        if (id < 0 || id >= vocabulary->size())
          fail("invalid_request", path, " has token ", id, " of ", vocabulary->size());
      }
    }
    std::string line;
    try {
      std::shared_ptr<const CompiledGrammar> grammar;
      const auto compile = [&] { grammar = CompiledGrammar::compile(source, vocabulary); };
      line = concat("{\"compile_ns\":", nanoseconds(compile), ",\"walks\":[");
      for (size_t i = 0; i < texts.size(); ++i) {
        const Walk walked = walk(grammar, texts[i], words);
        line += concat(i > 0 ? "," : "", "{\"accepted\":", walked.accepted ? "true" : "false",
                       ",\"refused_at\":", walked.refused_at, ",\"disagreed\":",
                       walked.num_disagreed, ",\"mask_ns\":", list(walked.mask_ns),
                       ",\"accept_ns\":", list(walked.accept_ns), "}");
      }
      line += concat("],\"bytes\":", grammar->num_bytes(), "}");
    } catch (const GrammarError& error) {
      line = concat("{\"error\":", json(error.what()), "}");
    }
    std::printf("%s\n", line.c_str());
  }
}

// A grammar in the making: each value adds rules and says how to write an example.
struct Schema {
  std::mt19937_64& rng;
  std::string rules{};
  int num_rules = 0;

  using Example = std::function<std::string()>;
  struct Value {
    std::string rule;
    Example example;
  };

  int below(int n) { return static_cast<int>(rng() % n); }
  std::string word() {
    static const char* kWords[] = {"name",  "user",   "street", "created", "price",  "items",
                                   "status", "id",    "value",  "address", "total",  "query",
                                   "city",  "weight", "parent", "label",   "limit",  "unit"};
    return kWords[below(std::size(kWords))];
  }
  std::string prose(int words, bool plain = false) {
    std::string s = word();
    for (int i = 1; i < words; ++i) s += (below(6) == 0 ? ", " : " ") + word();
    if (!plain && below(4) == 0) s += " \xe4\xbd\xa0\xe5\xa5\xbd \xc3\xa9t\xc3\xa9 \\\"x\\\" \\n";
    return s;
  }
  std::string add(const std::string& body) {
    const std::string name = concat("r", num_rules++);
    rules += name + " ::= " + body + "\n";
    return name;
  }

  Value value(int depth) {
    switch (below(depth > 0 ? 14 : 9)) {
      case 0:
      case 1: return {"string", [this] { return '"' + prose(1 + below(12)) + '"'; }};
      case 2: return {"integer", [this] { return std::to_string(below(100000)); }};
      case 3: return {"number", [this] { return std::to_string(below(1000)) + ".25"; }};
      case 4: return {"boolean", [this] { return below(2) ? "true" : "false"; }};
      case 5: {  // enum
        std::vector<std::string> values;
        for (int n = 2 + below(12); n > 0; --n) values.push_back(word() + std::to_string(n));
        std::string body;
        for (const auto& v : values)
          body += concat(body.empty() ? "" : " | ", "\"\\\"", v, "\\\"\"");
        return {add(body), [this, values] { return '"' + values[below(values.size())] + '"'; }};
      }
      case 6: {  // minLength, maxLength
        const int min = below(4), max = 10 + below(300);
        return {add(concat("\"\\\"\" char{", min, ",", max, "} \"\\\"\"")), [this, max] {
                  return '"' + prose(12, true).substr(0, std::min(max - 1, 40)) + "x\"";
                }};
      }
      case 7:  // a date
        return {add("\"\\\"\" [0-9]{4} \"-\" (\"0\" [1-9] | \"1\" [0-2]) \"-\" "
                    "([0-2] [0-9] | \"3\" [01]) \"\\\"\""),
                [] { return "\"2024-05-17\""; }};
      case 8:  // pattern ^[A-Z]{2,4}-\d+$
        return {add("\"\\\"\" [A-Z]{2,4} \"-\" [0-9]+ \"\\\"\""),
                [this] { return "\"ABC-" + std::to_string(below(10000)) + "\""; }};
      case 9:
      case 10: {  // array
        const Value item = value(depth - 1);
        const int max = 2 + below(20);
        const std::string rule = add("\"[\" ws (" + item.rule + " (ws \",\" ws " + item.rule +
                                     "){0," + std::to_string(max - 1) + "})? ws \"]\"");
        return {rule, [this, item, max] {
                  std::string s = "[";
                  for (int n = below(std::min(max, 5)); n >= 0; --n)
                    s += item.example() + (n ? ", " : "");
                  return s + "]";
                }};
      }
      case 11: return {"json", [this] {
                         return "{\"" + word() + "\": [1, \"" + prose(3) + "\", null], \"b\": {}}";
                       }};
      default: return object(depth);
    }
  }

  Value object(int depth) {
    struct Member {
      std::string name, rule;
      bool required;
      Example example;
    };
    std::vector<Member> members;
    for (int n = 2 + below(8); n > 0; --n) {
      const Value v = value(depth - 1);
      const std::string name = word() + "_" + std::to_string(n);
      members.push_back({name, add("\"\\\"" + name + "\\\"\" ws \":\" ws " + v.rule),
                         members.empty() || below(3) > 0, v.example});
    }
    std::string body = "\"{\" ws " + members[0].rule;
    for (size_t i = 1; i < members.size(); ++i) {
      const std::string m = " ws \",\" ws " + members[i].rule;
      body += members[i].required ? m : " (" + m + ")?";
    }
    return {add(body + " ws \"}\""), [this, members] {
              std::string s = "{";
              for (size_t i = 0; i < members.size(); ++i)
                if (members[i].required || below(2))
                  s += (i ? ", \"" : "\"") + members[i].name + "\": " + members[i].example();
              return s + "}";
            }};
  }
};

constexpr char kCommon[] = R"(
ws ::= [ \n\t]{0,8}
hex ::= [0-9a-fA-F]
char ::= [^"\\\u0000-\u001f] | "\\" (["\\/bfnrt] | "u" hex{4})
string ::= "\"" char* "\""
integer ::= "-"? ("0" | [1-9] [0-9]*)
number ::= integer ("." [0-9]+)? ([eE] [+\-]? [0-9]+)?
boolean ::= "true" | "false"
json ::= object | array | string | number | boolean | "null"
object ::= "{" ws (string ws ":" ws json (ws "," ws string ws ":" ws json)*)? ws "}"
array ::= "[" ws (json (ws "," ws json)*)? ws "]"
)";

void print(const char* what, std::vector<double> values, const char* unit) {
  if (values.empty()) return;
  std::ranges::sort(values);
  const auto at = [&](double q) {
    return values[std::min(values.size() - 1, static_cast<size_t>(q * values.size()))];
  };
  double sum = 0;
  for (double v : values) sum += v;
  std::printf("%-18s %7zu mean %8.2f  p50 %8.2f  p90 %8.2f  p99 %8.2f  p99.9 %8.2f  max %8.2f %s\n",
              what, values.size(), sum / static_cast<double>(values.size()), at(0.5), at(0.9),
              at(0.99), at(0.999), values.back(), unit);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: grammar_lab vocabulary.bin [number of grammars] [seed]\n"
                         "       grammar_lab vocabulary.bin --cases cases.bin\n");
    return 2;
  }
  if (argc == 4 && std::string_view(argv[2]) == "--cases") {
    try {
      run_cases(argv[3], load(argv[1]));
      return 0;
    } catch (const Error& error) {
      std::fprintf(stderr, "grammar_lab: %s\n", error.what());
      return 1;
    }
  }
  const int count = argc > 2 ? std::atoi(argv[2]) : 300;
  std::mt19937_64 rng(argc > 3 ? std::atoi(argv[3]) : 1);
  auto start = Clock::now();
  const auto vocabulary = load(argv[1]);
  std::printf("vocabulary: %d tokens, %zu trie nodes, longest %u bytes, %.0f ms\n",
              vocabulary->size(), vocabulary->nodes().size(), vocabulary->longest(),
              microseconds_since(start) / 1000);
  std::unordered_map<std::string, int32_t> ids;
  for (int32_t id = 0; id < vocabulary->size(); ++id)
    if (vocabulary->matched_by_bytes(id)) ids.emplace(vocabulary->bytes(id), id);

  const bool verify = std::getenv("GRAMMAR_LAB_VERIFY") != nullptr;
  int num_verified = 0;
  std::vector<double> compile, first, again, accept, bytes;
  std::vector<uint32_t> words(vocabulary->mask_words());
  for (int g = 0; g < count; ++g) {
    Schema schema{.rng = rng};
    const auto root = schema.object(3);
    const std::string source = "root ::= " + root.rule + "\n" + schema.rules + kCommon;
    start = Clock::now();
    const auto grammar = CompiledGrammar::compile(source, vocabulary);
    compile.push_back(microseconds_since(start) / 1000);
    for (int text_index = 0; text_index < 3; ++text_index) {
      const std::string text = root.example();
      Matcher matcher(grammar);
      for (size_t at = 0; at < text.size();) {
        start = Clock::now();
        matcher.fill_mask(words);
        const double us = microseconds_since(start);
        (text_index == 0 ? first : again).push_back(us);
        if (verify && rng() % 512 == 0) {  // against every token tried
          Matcher tried = matcher.fork();
          for (int32_t t = 0; t < vocabulary->size(); ++t) {
            const bool allowed = tried.accept_token(t);
            if (allowed) tried.rollback(1);
            if (allowed != (words[t / 32] >> (t % 32) & 1)) {
              std::printf("token %d is wrong at %zu of %s\n%s", t, at, text.c_str(),
                          source.c_str());
              return 1;
            }
          }
          ++num_verified;
        }
        size_t length = std::min<size_t>(text.size() - at, 24);
        while (length > 0 && !ids.contains(text.substr(at, length))) --length;
        const auto found = ids.find(text.substr(at, length));
        // Past a length limit of a rule the longest token may not fit: the longest that does.
        int32_t id = found->second;
        while (!(words[id / 32] >> (id % 32) & 1)) {
          if (--length == 0) break;
          const auto shorter = ids.find(text.substr(at, length));
          if (shorter != ids.end()) id = shorter->second;
        }
        start = Clock::now();
        if (length == 0 || !matcher.accept_token(id)) {
          std::printf("refused at %zu of %s\n%s", at, text.c_str(), source.c_str());
          return 1;
        }
        accept.push_back(microseconds_since(start));
        at += vocabulary->bytes(id).size();
      }
      if (!matcher.is_complete()) {
        std::printf("not complete: %s\n%s", text.c_str(), source.c_str());
        return 1;
      }
    }
    bytes.push_back(static_cast<double>(grammar->num_bytes()) / 1024);
  }
  if (verify) std::printf("verified: %d masks\n", num_verified);
  print("compile", compile, "ms");
  print("mask, first text", first, "us");
  print("mask, later texts", again, "us");
  first.insert(first.end(), again.begin(), again.end());
  print("mask, all", first, "us");
  print("accept", accept, "us");
  print("memory of a grammar", bytes, "KB");
}

#include "grammar/syntax.h"

#include <algorithm>
#include <unordered_map>

#include "grammar/error.h"
#include "grammar/utf8.h"

namespace hotpath::grammar {

namespace {

constexpr uint16_t kMaxHeight = 512;  // later passes recurse over expressions
constexpr uint32_t kMaxCount = 1'000'000'000;

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c) || c == '.' || c == '-'; }

CodePoints normalised(CodePoints set) {
  std::ranges::sort(set);
  CodePoints out;
  for (const auto& [lo, hi] : set) {
    if (!out.empty() && lo <= out.back().second + 1)
      out.back().second = std::max(out.back().second, hi);
    else
      out.push_back({lo, hi});
  }
  return out;
}

CodePoints complement(const CodePoints& set) {
  CodePoints out;
  uint32_t next = 0;
  for (const auto& [lo, hi] : set) {
    if (lo > next) out.push_back({next, lo - 1});
    next = hi + 1;
  }
  if (next <= 0x10ffff) out.push_back({next, 0x10ffff});
  return out;
}

class Parser {
 public:
  Parser(std::string_view source, uint32_t num_tokens) : text_(source), num_tokens_(num_tokens) {}

  Syntax parse() {
    skip_blank();
    if (at_end())
      error(0, "the grammar is empty; expected rules such as root ::= \"yes\" | \"no\"");
    while (!at_end()) rule();
    for (const SyntaxRule& r : out_.rules)
      if (r.root == kNoRule)
        error(r.position, "rule '", r.name, "' is used but not defined");
    const auto root = by_name_.find("root");
    if (root == by_name_.end()) error(0, "no rule 'root'; it is where a grammar starts");
    out_.root = root->second;
    return std::move(out_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void error(size_t position, const Args&... args) const {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < position && i < text_.size(); ++i) {
      ++column;
      if (text_[i] == '\n') ++line, column = 1;
    }
    throw GrammarError(GrammarError::Kind::kSyntax, position,
                       concat("grammar, line ", line, ", column ", column, ": ", args...));
  }

  bool at_end() const { return at_ >= text_.size(); }
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  std::string found() const {
    return at_end() ? "the end" : quote_bytes(text_.substr(at_, 1));
  }

  void skip_blank() {
    while (!at_end()) {
      const char c = text_[at_];
      if (c == '#') {
        while (!at_end() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view name() {
    const size_t begin = at_;
    while (!at_end() && is_name_part(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  // Whether a name and ::= stand here: the start of a rule.
  bool at_definition() {
    if (!is_name_start(peek())) return false;
    const size_t begin = at_;
    name();
    skip_blank();
    const bool yes = text_.substr(at_, 3) == "::=";
    at_ = begin;
    return yes;
  }

  uint32_t rule_id(std::string_view name, size_t position) {
    const auto [found, is_new] =
        by_name_.try_emplace(std::string(name), static_cast<uint32_t>(out_.rules.size()));
    if (is_new)
      out_.rules.push_back(
          {.name = std::string(name), .position = static_cast<uint32_t>(position)});
    return found->second;
  }

  void rule() {
    if (!is_name_start(peek()))
      error(at_, "expected a rule (name ::= ...), received ", found());
    const size_t position = at_;
    const std::string_view text = name();
    skip_blank();
    if (text_.substr(at_, 3) != "::=")
      error(at_, "expected ::= behind the rule name '", text, "', received ", found());
    at_ += 3;
    const uint32_t id = rule_id(text, position);
    if (out_.rules[id].root != kNoRule) error(position, "rule '", text, "' is defined twice");
    const auto begin = static_cast<uint32_t>(out_.nodes.size());
    const uint32_t root = choice(0);
    SyntaxRule& rule = out_.rules[id];
    rule.root = root;
    rule.begin = begin;
    rule.end = static_cast<uint32_t>(out_.nodes.size());
    rule.position = static_cast<uint32_t>(position);
    if (!at_end() && !at_definition())
      error(at_, "expected an expression or the next rule, received ", found());
  }

  uint32_t add(Node node) {
    out_.nodes.push_back(node);
    return static_cast<uint32_t>(out_.nodes.size() - 1);
  }

  uint32_t add_list(Op op, const std::vector<uint32_t>& items, size_t position) {
    uint16_t height = 0;
    for (uint32_t item : items) height = std::max(height, out_.nodes[item].height);
    Node node{.op = op, .position = static_cast<uint32_t>(position)};
    node.height = raise(height, position);
    node.begin = static_cast<uint32_t>(out_.children.size());
    node.count = static_cast<uint32_t>(items.size());
    out_.children.insert(out_.children.end(), items.begin(), items.end());
    return add(node);
  }

  uint16_t raise(uint16_t height, size_t position) const {
    if (height >= kMaxHeight)
      error(position, "nested deeper than ", kMaxHeight, " levels; give parts rules of their own");
    return height + 1;
  }

  uint32_t choice(int depth) {
    if (depth > kMaxHeight)
      error(at_, "nested deeper than ", kMaxHeight, " levels; give parts rules of their own");
    skip_blank();
    const size_t position = at_;
    std::vector<uint32_t> items{sequence(depth)};
    for (skip_blank(); peek() == '|'; skip_blank()) {
      ++at_;
      items.push_back(sequence(depth));
    }
    return items.size() == 1 ? items[0] : add_list(Op::kChoice, items, position);
  }

  uint32_t sequence(int depth) {
    skip_blank();
    const size_t position = at_;
    std::vector<uint32_t> items;
    for (; begins_atom(); skip_blank()) items.push_back(repeated(depth));
    if (items.empty())
      error(at_, "expected an expression, received ", at_end() ? "the end" : found(),
            "; an empty alternative is written \"\"");
    return items.size() == 1 ? items[0] : add_list(Op::kSequence, items, position);
  }

  bool begins_atom() {
    const char c = peek();
    if (c == '"' || c == '[' || c == '(' || c == '.') return true;
    return is_name_start(c) && !at_definition();
  }

  uint32_t repeated(int depth) {
    const size_t position = at_;
    uint32_t node = atom(depth);
    for (;;) {
      skip_blank();
      const char c = peek();
      uint32_t min, max;
      if (c == '?') {
        min = 0, max = 1, ++at_;
      } else if (c == '*') {
        min = 0, max = kUnbounded, ++at_;
      } else if (c == '+') {
        min = 1, max = kUnbounded, ++at_;
      } else if (c == '{') {
        counts(min, max);
      } else {
        return node;
      }
      const Node& child = out_.nodes[node];
      Node repeat{.op = Op::kRepeat, .position = static_cast<uint32_t>(position)};
      repeat.height = raise(child.height, position);
      repeat.a = node;
      repeat.min = min;
      repeat.max = max;
      node = add(repeat);
    }
  }

  uint32_t number() {
    skip_blank();
    if (!is_digit(peek()))
      error(at_, "expected a number in {n}, {n,} or {n,m}, received ", found());
    const size_t position = at_;
    uint64_t value = 0;
    for (; is_digit(peek()); ++at_) {
      value = value * 10 + (peek() - '0');
      if (value > kMaxCount) error(position, "a repetition count above ", kMaxCount);
    }
    return static_cast<uint32_t>(value);
  }

  void counts(uint32_t& min, uint32_t& max) {
    const size_t position = at_++;
    min = max = number();
    skip_blank();
    if (peek() == ',') {
      ++at_;
      skip_blank();
      max = peek() == '}' ? kUnbounded : number();
      skip_blank();
    }
    if (peek() != '}') error(at_, "expected } behind a repetition count, received ", found());
    ++at_;
    if (max < min) error(position, "repetition {", min, ",", max, "}: the second is the smaller");
  }

  uint32_t atom(int depth) {
    const size_t position = at_;
    const char c = peek();
    if (c == '"') return literal();
    if (c == '[') return char_class();
    if (c == '(') {
      ++at_;
      const uint32_t node = choice(depth + 1);
      skip_blank();
      if (peek() != ')')
        error(at_, "expected ) for the ( at byte ", position, ", received ", found());
      ++at_;
      return node;
    }
    if (c == '.') {
      ++at_;
      return add_class({{0, 9}, {11, 0x10ffff}}, position);
    }
    const std::string_view text = name();
    if (text == "token" && peek() == '(') return token(position);
    Node node{.op = Op::kCall, .position = static_cast<uint32_t>(position)};
    node.a = rule_id(text, position);
    return add(node);
  }

  uint32_t token(size_t position) {
    ++at_;
    const uint32_t id = number();
    skip_blank();
    if (peek() != ')') error(at_, "expected token(ID), received ", found(), " behind the id");
    ++at_;
    if (num_tokens_ > 0 && id >= num_tokens_)
      error(position, "token(", id, "): the vocabulary has ", num_tokens_, " tokens");
    Node node{.op = Op::kToken, .position = static_cast<uint32_t>(position)};
    node.a = id;
    return add(node);
  }

  uint32_t add_class(CodePoints set, size_t position) {
    // Surrogates have no UTF-8.
    CodePoints valid;
    for (auto [lo, hi] : set) {
      if (lo < 0xd800) valid.push_back({lo, std::min(hi, 0xd7ffu)});
      if (hi > 0xdfff) valid.push_back({std::max(lo, 0xe000u), hi});
    }
    Node node{.op = Op::kClass, .position = static_cast<uint32_t>(position)};
    std::string key(reinterpret_cast<const char*>(valid.data()),
                    valid.size() * sizeof(valid[0]));
    const auto [found, is_new] =
        class_ids_.try_emplace(std::move(key), static_cast<uint32_t>(out_.classes.size()));
    if (is_new) out_.classes.push_back(std::move(valid));
    node.a = found->second;
    return add(node);
  }

  uint32_t hex_digits(int min, int max) {
    uint32_t value = 0;
    int n = 0;
    for (; n < max; ++n, ++at_) {
      const char c = peek();
      if (is_digit(c)) {
        value = value * 16 + (c - '0');
      } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
        value = value * 16 + ((c | 32) - 'a' + 10);
      } else {
        break;
      }
    }
    if (n < min) error(at_, "expected ", min, " hexadecimal digits, received ", found());
    return value;
  }

  // Behind \u: four hexadecimal digits, or some in braces; a surrogate pair written as two escapes
  // is one code point.
  uint32_t unicode_escape(size_t position) {
    uint32_t value;
    if (peek() == '{') {
      ++at_;
      value = hex_digits(1, 6);
      if (peek() != '}') error(at_, "expected } behind \\u{, received ", found());
      ++at_;
    } else {
      value = hex_digits(4, 4);
      if (value >= 0xd800 && value <= 0xdbff && peek() == '\\' && peek(1) == 'u') {
        const size_t behind = at_;
        at_ += 2;
        const uint32_t low = peek() == '{' ? 0 : hex_digits(4, 4);
        if (low >= 0xdc00 && low <= 0xdfff)
          return 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        at_ = behind;
      }
    }
    if (value > 0x10ffff) error(position, "no code point is that large");
    if (value >= 0xd800 && value <= 0xdfff)
      error(position, "a surrogate alone is not a code point");
    return value;
  }

  // Behind a backslash. True: `value` is a raw byte (\xHH), not a code point.
  bool escape(uint32_t& value, std::string_view more, const char* where) {
    const size_t position = at_ - 1;
    if (at_end()) error(position, "an escape at the end of the grammar");
    const char c = text_[at_++];
    static constexpr std::pair<char, char> kSimple[] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'},
                                                        {'b', '\b'}, {'f', '\f'}, {'"', '"'},
                                                        {'\\', '\\'}, {'/', '/'}};
    for (const auto& [letter, meaning] : kSimple)
      if (c == letter) return value = static_cast<uint8_t>(meaning), false;
    if (more.find(c) != more.npos) return value = static_cast<uint8_t>(c), false;
    if (c == 'u') return value = unicode_escape(position), false;
    if (c == 'x') return value = hex_digits(2, 2), true;
    error(position, "unknown escape \\", quote_bytes({&c, 1}), " in ", where);
  }

  uint32_t literal() {
    const size_t position = at_++;
    const auto begin = static_cast<uint32_t>(out_.bytes.size());
    for (;;) {
      if (at_end()) error(position, "a string that does not end");
      const char c = text_[at_];
      if (c == '"') break;
      uint32_t value;
      if (c == '\\') {
        ++at_;
        if (escape(value, "", "a string"))
          out_.bytes.push_back(static_cast<char>(value));
        else
          append_utf8(out_.bytes, value);
        continue;
      }
      if (c == '\n' || c == '\r')
        error(at_, "a line break inside the string at byte ", position, "; write \\n");
      append_utf8(out_.bytes, code_point());
    }
    ++at_;
    Node node{.op = Op::kBytes, .position = static_cast<uint32_t>(position)};
    node.begin = begin;
    node.count = static_cast<uint32_t>(out_.bytes.size()) - begin;
    return add(node);
  }

  uint32_t code_point() {
    uint32_t value;
    if (!read_utf8(text_, at_, value)) error(at_, "the grammar is not valid UTF-8");
    return value;
  }

  // One character of a class. True: it is a set (\d and friends), added to `set`.
  bool class_item(uint32_t& value, CodePoints& set) {
    if (peek() != '\\') return value = code_point(), false;
    const size_t position = at_++;
    const char c = peek();
    static const CodePoints kDigit{{'0', '9'}};
    static const CodePoints kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const CodePoints kSpace{{'\t', '\r'}, {' ', ' '}};
    const CodePoints* known = c == 'd' ? &kDigit : c == 'w' ? &kWord : c == 's' ? &kSpace : nullptr;
    if (known) {
      ++at_;
      set.insert(set.end(), known->begin(), known->end());
      return true;
    }
    if (escape(value, "]-^[", "a class") && value > 0x7f)
      error(position, "a raw byte above 0x7f in a class, which is of code points; use \\u00HH");
    return false;
  }

  uint32_t char_class() {
    const size_t position = at_++;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    CodePoints set;
    while (peek() != ']') {
      if (at_end()) error(position, "a class [ that does not end");
      const size_t item_position = at_;
      uint32_t lo;
      const bool is_set = class_item(lo, set);
      if (is_set) {
        if (peek() == '-' && peek(1) != ']')
          error(at_, "a range that begins with a set of characters");
        continue;
      }
      uint32_t hi = lo;
      if (peek() == '-' && peek(1) != ']' && peek(1) != '\0') {
        ++at_;
        if (class_item(hi, set)) error(item_position, "a range that ends with a set of characters");
        if (hi < lo) error(item_position, "a range whose end comes before its start");
      }
      set.push_back({lo, hi});
    }
    ++at_;
    set = normalised(std::move(set));
    return add_class(negated ? complement(set) : std::move(set), position);
  }

  std::string_view text_;
  uint32_t num_tokens_;
  size_t at_ = 0;
  Syntax out_;
  std::unordered_map<std::string, uint32_t> by_name_;
  std::unordered_map<std::string, uint32_t> class_ids_;
};

}  // namespace

std::string quote_bytes(std::string_view bytes) {
  std::string out = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    static constexpr char kHex[] = "0123456789abcdef";
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += "\\x", out += kHex[byte >> 4], out += kHex[byte & 15];
    }
  }
  return out += '"';
}

Syntax parse(std::string_view source, uint32_t num_tokens) {
  return Parser(source, num_tokens).parse();
}

}  // namespace hotpath::grammar

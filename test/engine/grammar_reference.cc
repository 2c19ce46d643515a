#include "grammar_reference.h"

#include <algorithm>

#include "core/error.h"

namespace hotpath::test {

namespace {

using Text = ReferenceGrammar::Text;
using Expr = ReferenceGrammar::Expr;
using Kind = ReferenceGrammar::Kind;

std::string encode(uint32_t c) {
  std::string s;
  if (c < 0x80) return s += static_cast<char>(c);
  if (c < 0x800) {
    s += static_cast<char>(0xc0 | (c >> 6));
  } else if (c < 0x10000) {
    s += static_cast<char>(0xe0 | (c >> 12));
    s += static_cast<char>(0x80 | ((c >> 6) & 63));
  } else {
    s += static_cast<char>(0xf0 | (c >> 18));
    s += static_cast<char>(0x80 | ((c >> 12) & 63));
    s += static_cast<char>(0x80 | ((c >> 6) & 63));
  }
  return s += static_cast<char>(0x80 | (c & 63));
}

// All characters of a class, and their proper beginnings, as byte strings.
struct Characters {
  std::set<std::string> whole, begun;
};

const Characters& characters_of(const Expr& e) {
  static std::map<std::pair<std::vector<uint32_t>, bool>, Characters> known;
  auto [at, is_new] = known.try_emplace({e.points, e.negated});
  if (!is_new) return at->second;
  const auto add = [&](uint32_t c) {
    const std::string s = encode(c);
    at->second.whole.insert(s);
    for (size_t n = 1; n < s.size(); ++n) at->second.begun.insert(s.substr(0, n));
  };
  if (!e.negated) {
    for (uint32_t c : e.points) add(c);
  } else {
    // Texts of these tests hold nothing above U+FFFF; of the beginnings all are needed.
    for (uint32_t c = 0; c <= 0x10ffff; c += c < 0x10000 ? 1 : 64)
      if ((c < 0xd800 || c > 0xdfff) && std::ranges::find(e.points, c) == e.points.end()) add(c);
  }
  return at->second;
}

struct Table {
  std::vector<std::set<int>> ends;   // [expr * (n + 1) + i]: where a match from i can end
  std::vector<bool> viable;          // text[i..] begins something that the expression matches
};

class Recogniser {
 public:
  Recogniser(const ReferenceGrammar& grammar, const Text& text)
      : g_(grammar), text_(text), n_(static_cast<int>(text.size())) {
    table_.ends.resize(g_.exprs.size() * (n_ + 1));
    table_.viable.resize(g_.exprs.size() * (n_ + 1));
  }

  ReferenceGrammar::Answer run() {
    do {
      changed_ = false;
      for (size_t e = 0; e < g_.exprs.size(); ++e)
        for (int i = 0; i <= n_; ++i) update(static_cast<int>(e), i);
    } while (changed_);
    const int root = g_.rules[0];
    return {viable(root, 0), ends(root, 0).contains(n_)};
  }

 private:
  const std::set<int>& ends(int e, int i) const { return table_.ends[e * (n_ + 1) + i]; }
  bool viable(int e, int i) const { return table_.viable[e * (n_ + 1) + i]; }
  void set_end(int e, int i, int j) {
    changed_ |= table_.ends[e * (n_ + 1) + i].insert(j).second;
  }
  void set_viable(int e, int i) {
    if (viable(e, i)) return;
    table_.viable[e * (n_ + 1) + i] = true;
    changed_ = true;
  }
  bool productive(int e) const { return viable(e, n_); }

  void update(int e, int i) {
    const Expr& x = g_.exprs[e];
    switch (x.kind) {
      case Kind::kSymbols: {
        const int length = static_cast<int>(x.symbols.size());
        int k = 0;
        while (k < length && i + k < n_ && text_[i + k] == x.symbols[k]) ++k;
        if (k == length) set_end(e, i, i + k);
        if (i + k == n_) set_viable(e, i);
        break;
      }
      case Kind::kClass: {
        const Characters& c = characters_of(x);
        if (i == n_ && !c.whole.empty()) set_viable(e, i);
        std::string s;
        for (int j = i; j < n_ && text_[j] < 256; ++j) {
          s += static_cast<char>(text_[j]);
          if (c.whole.contains(s)) set_end(e, i, j + 1);
          if (j + 1 == n_ && (c.whole.contains(s) || c.begun.contains(s))) set_viable(e, i);
        }
        break;
      }
      case Kind::kSequence: update_sequence(e, i, x.parts); break;
      case Kind::kChoice:
        for (int part : x.parts) copy(e, part, i);
        break;
      case Kind::kRule: copy(e, g_.rules[x.rule], i); break;
      case Kind::kRepeat: {
        const int most = x.max < 0 ? x.min + n_ + 1 : x.max;
        const bool wanted = productive(x.parts[0]);
        if (x.min == 0) {
          set_end(e, i, i);
          if (i == n_) set_viable(e, i);
        }
        std::set<int> at{i};
        for (int k = 1; k <= most && !at.empty(); ++k) {
          std::set<int> next;
          for (int j : at) {
            if (viable(x.parts[0], j) && wanted) set_viable(e, i);
            next.insert(ends(x.parts[0], j).begin(), ends(x.parts[0], j).end());
          }
          const bool same = next == at;
          at = next;
          if (k >= x.min)
            for (int j : at) set_end(e, i, j);
          if (at.contains(n_) && (k >= x.min || wanted)) set_viable(e, i);
          if (same && k >= x.min) break;  // more of it would change nothing
        }
        break;
      }
    }
  }

  void copy(int e, int from, int i) {
    for (int j : std::set<int>(ends(from, i))) set_end(e, i, j);
    if (viable(from, i)) set_viable(e, i);
  }

  void update_sequence(int e, int i, const std::vector<int>& parts) {
    std::set<int> at{i};
    for (size_t k = 0; k < parts.size(); ++k) {
      const bool rest = std::all_of(parts.begin() + static_cast<std::ptrdiff_t>(k) + 1,
                                    parts.end(), [&](int p) { return productive(p); });
      std::set<int> next;
      for (int j : at) {
        if (rest && viable(parts[k], j)) set_viable(e, i);
        next.insert(ends(parts[k], j).begin(), ends(parts[k], j).end());
      }
      at = next;
    }
    for (int j : at) set_end(e, i, j);
    if (parts.empty() && i == n_) set_viable(e, i);
  }

  const ReferenceGrammar& g_;
  const Text& text_;
  const int n_;
  Table table_;
  bool changed_ = false;
};

int random_expr(ReferenceGrammar& g, std::mt19937_64& rng, int depth, int num_rules) {
  const auto below = [&](int n) { return static_cast<int>(rng() % n); };
  const int what = below(depth == 0 ? 5 : 12);
  Expr e{};
  if (what < 2) {
    static const std::vector<std::string> kLiterals = {
        "a", "b", "ab", "\"", "{\"", " ", "}", "\xc3\xa9", "aab", "\" ", "\xe2\x82\xac", ""};
    e.kind = Kind::kSymbols;
    for (const char c : kLiterals[below(static_cast<int>(kLiterals.size()))])
      e.symbols.push_back(static_cast<uint8_t>(c));
  } else if (what == 2) {
    e.kind = Kind::kClass;
    static const std::vector<std::pair<std::vector<uint32_t>, bool>> kClasses = {
        {{'a', 'b'}, false}, {{'a', 0xe9}, false}, {{'"', '\\'}, true}, {{'\n'}, true},
        {{0x20ac, ' ', '}'}, false}, {{}, false}, {{'a', 0xe9}, true}};
    std::tie(e.points, e.negated) = kClasses[below(static_cast<int>(kClasses.size()))];
  } else if (what == 3) {
    e.kind = Kind::kRule;
    e.rule = below(num_rules);
  } else if (what == 4) {
    e.kind = Kind::kSymbols;
    e.symbols = below(4) == 0 ? Text{256 + below(2)} : Text{'a' + below(2)};
  } else if (what < 8) {
    e.kind = Kind::kSequence;
    for (int n = 2 + below(2); n > 0; --n)
      e.parts.push_back(random_expr(g, rng, depth - 1, num_rules));
  } else if (what < 10) {
    e.kind = Kind::kChoice;
    for (int n = 2 + below(2); n > 0; --n)
      e.parts.push_back(random_expr(g, rng, depth - 1, num_rules));
  } else {
    e.kind = Kind::kRepeat;
    static const std::vector<std::pair<int, int>> kCounts = {
        {0, 1}, {0, -1}, {1, -1}, {2, 2}, {0, 5}, {2, 7}, {3, -1}, {0, 0}, {1, 400}, {300, -1}};
    std::tie(e.min, e.max) = kCounts[below(static_cast<int>(kCounts.size()))];
    e.parts.push_back(random_expr(g, rng, depth - 1, num_rules));
  }
  return g.add(std::move(e));
}

}  // namespace

ReferenceGrammar ReferenceGrammar::random(std::mt19937_64& rng) {
  ReferenceGrammar g;
  const int num_rules = 1 + static_cast<int>(rng() % 4);
  for (int r = 0; r < num_rules; ++r) {
    const int expr = random_expr(g, rng, 3, num_rules);
    g.rules.push_back(expr);
  }
  return g;
}

std::string ReferenceGrammar::source_of(int index) const {
  const Expr& e = exprs[index];
  const auto list = [&](const char* between) {
    std::string s = "(";
    for (size_t i = 0; i < e.parts.size(); ++i)
      s += (i ? between : "") + source_of(e.parts[i]);
    return s + ")";
  };
  switch (e.kind) {
    case Kind::kSymbols: {
      if (!e.symbols.empty() && e.symbols[0] >= 256)
        return concat("token(", e.symbols[0] - 256, ")");
      std::string s = "\"";
      for (const int c : e.symbols) {
        if (c == '"' || c == '\\') s += '\\';
        s += static_cast<char>(c);
      }
      return s + "\"";
    }
    case Kind::kClass: {
      std::string s = e.negated ? "[^" : "[";
      for (const uint32_t c : e.points) {
        if (c == '\n') {
          s += "\\n";
          continue;
        }
        if (c == '\\') s += '\\';
        s += encode(c);
      }
      return s + "]";
    }
    case Kind::kSequence: return list(" ");
    case Kind::kChoice: return list(" | ");
    case Kind::kRule: return e.rule == 0 ? "root" : concat("r", e.rule);
    case Kind::kRepeat: {
      const std::string what = "(" + source_of(e.parts[0]) + ")";
      if (e.min == 0 && e.max == 1) return what + "?";
      if (e.max < 0 && e.min < 2) return what + (e.min == 0 ? "*" : "+");
      return concat(what, "{", e.min, ",", e.max < 0 ? "" : std::to_string(e.max), "}");
    }
  }
  return "";
}

std::string ReferenceGrammar::source() const {
  std::string s;
  for (size_t r = 0; r < rules.size(); ++r)
    s += (r == 0 ? std::string("root") : concat("r", r)) + " ::= " + source_of(rules[r]) + "\n";
  return s;
}

ReferenceGrammar::Answer ReferenceGrammar::recognise(const Text& text) const {
  return Recogniser(*this, text).run();
}

}  // namespace hotpath::test

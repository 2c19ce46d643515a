#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace hotpath::test {

// A grammar as one would recognise it without thinking of speed: tables of which part of a text
// every expression matches, filled until nothing changes. Knows nothing of automata.
class ReferenceGrammar {
 public:
  // A text is of bytes, and of special tokens as 256 + id.
  using Text = std::vector<int>;

  enum class Kind { kSymbols, kClass, kSequence, kChoice, kRepeat, kRule };
  struct Expr {
    Kind kind;
    Text symbols;                    // kSymbols
    std::vector<uint32_t> points;    // kClass: the listed code points
    bool negated = false;            // kClass
    std::vector<int> parts;          // kSequence, kChoice; kRepeat: one
    int min = 0, max = 0;            // kRepeat; max -1: unbounded
    int rule = 0;                    // kRule
  };

  int add(Expr expr) {
    exprs.push_back(std::move(expr));
    return static_cast<int>(exprs.size() - 1);
  }

  // Some grammar over a few letters, quotes, braces, spaces, two-byte and three-byte characters.
  static ReferenceGrammar random(std::mt19937_64& rng);

  // As text for the compiler.
  std::string source() const;

  struct Answer {
    bool viable;    // the text begins something in the language
    bool complete;  // the text is in the language
  };
  Answer recognise(const Text& text) const;
  bool satisfiable() const { return recognise({}).viable; }

  std::vector<Expr> exprs;
  std::vector<int> rules;  // the expression of each; rule 0 is root

 private:
  std::string source_of(int expr) const;
};

}  // namespace hotpath::test

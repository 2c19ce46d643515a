#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hotpath::grammar {

using CodePoints = std::vector<std::pair<uint32_t, uint32_t>>;  // sorted, disjoint, inclusive

constexpr uint32_t kUnbounded = 0xffffffff;
constexpr uint32_t kNoRule = 0xffffffff;

enum class Op : uint8_t { kBytes, kClass, kSequence, kChoice, kRepeat, kCall, kToken };

// One node of a rule's expression.
struct Node {
  Op op;
  uint16_t height = 1;    // 1 for a leaf
  uint32_t position = 0;  // in the source, bytes
  uint32_t a = 0;         // kClass: class; kRepeat: child; kCall: rule; kToken: token id
  uint32_t begin = 0, count = 0;  // kBytes: in Syntax::bytes; kSequence, kChoice: in ::children
  uint32_t min = 0, max = 0;      // kRepeat; max may be kUnbounded
};

struct SyntaxRule {
  std::string name;
  uint32_t root = kNoRule;              // a node; kNoRule until it is defined
  uint32_t begin = 0, end = 0;          // its nodes are consecutive
  uint32_t position = 0;                // where it is defined, or first used
};

// A parsed grammar. Every rule that is called is defined, and there is a `root`.
struct Syntax {
  std::vector<Node> nodes;
  std::vector<uint32_t> children;
  std::string bytes;
  std::vector<CodePoints> classes;
  std::vector<SyntaxRule> rules;
  uint32_t root = kNoRule;  // a rule
};

// Throws GrammarError with the position of what is wrong. num_tokens bounds token(ID); 0: any id.
Syntax parse(std::string_view source, uint32_t num_tokens);

// Quotes text for a message: printable ASCII as it is, the rest as escapes.
std::string quote_bytes(std::string_view bytes);

}  // namespace hotpath::grammar

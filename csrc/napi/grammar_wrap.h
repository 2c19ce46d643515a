#pragma once

#include <node_api.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "grammar/grammar.h"

namespace hotpath {

class Field;

using GrammarPointer = std::shared_ptr<const grammar::CompiledGrammar>;

// An engine's grammars. The trie over its vocabulary (0.1 s for 150,000 tokens) is built with the
// first one, on the thread that compiles it: most engines never have any.
class Grammars {
 public:
  struct Tokens {
    std::string bytes;              // of all tokens, one after another
    std::vector<uint32_t> offsets;  // [tokens + 1]
    std::vector<uint8_t> special;
    std::vector<int32_t> stop_ids;
  };
  explicit Grammars(Tokens tokens) : tokens_(std::move(tokens)) {}

  // Any thread. Throws GrammarError, or Error where the tokens make no vocabulary.
  GrammarPointer compile(const std::string& source);
  // Whether it was compiled here.
  bool owns(const grammar::CompiledGrammar& grammar) const;

 private:
  mutable std::mutex mutex_;
  Tokens tokens_;  // until the vocabulary is built
  std::shared_ptr<const grammar::Vocabulary> vocabulary_;
  std::unique_ptr<grammar::GrammarCache> cache_;
};

// Compiles on a libuv thread. Returns the promise of a NativeGrammar, the JavaScript object that
// keeps a compiled grammar alive.
napi_value compile_grammar(napi_env env, std::shared_ptr<Grammars> grammars, std::string source);

// The grammar of such an object, or null for JavaScript's null; throws Error("invalid_request") for
// anything else.
GrammarPointer read_grammar(const Field& field);

}  // namespace hotpath

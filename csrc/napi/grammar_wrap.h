#pragma once

#include <node_api.h>

#include <memory>

#include "grammar/grammar.h"
#include "napi/spec_reader.h"

namespace hotpath {

using GrammarPointer = std::shared_ptr<const grammar::CompiledGrammar>;

// Compiles on a libuv thread. Returns the promise of a NativeGrammar, the JavaScript object that
// keeps a compiled grammar alive.
napi_value compile_grammar(napi_env env, std::shared_ptr<grammar::GrammarCache> cache,
                           std::string source);

// The grammar of such an object, or null for JavaScript's null; throws Error("invalid_request") for
// anything else.
GrammarPointer read_grammar(const Field& field);

}  // namespace hotpath

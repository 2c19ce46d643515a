#pragma once

#include <cstddef>
#include <string>

#include "core/error.h"

namespace hotpath::grammar {

// What is wrong with a grammar, or with running it. The code is "invalid_request".
class GrammarError : public Error {
 public:
  enum class Kind {
    kSyntax,         // the text is not a grammar; see position()
    kTooLarge,       // a limit of CompileLimits; see position()
    kUnsatisfiable,  // no text can ever match
    kTooAmbiguous,   // while matching: more readings of one text than a sequence may hold
  };

  GrammarError(Kind kind, size_t position, const std::string& message)
      : Error("invalid_request", message), kind_(kind), position_(position) {}

  Kind kind() const { return kind_; }
  // Byte offset in the grammar's text; 0 where no place is to blame.
  size_t position() const { return position_; }

 private:
  Kind kind_;
  size_t position_;
};

}  // namespace hotpath::grammar

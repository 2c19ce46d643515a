#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace hotpath {

// What native code throws. `code` is one of the stable codes that lib/errors.ts maps to an
// EngineError: "checkpoint_invalid", "config_unsupported", "out_of_memory", "device_unavailable",
// "invalid_request", "engine_closed", "engine_failed", "internal_error".
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

template <typename... Args>
std::string concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

template <typename... Args>
[[noreturn]] void fail(const char* code, const Args&... args) {
  throw Error(code, concat(args...));
}

// An invariant or a precondition: on violation throws Error("internal_error") with the parts
// joined. Messages say what was expected and what was found.
template <typename... Args>
void check(bool condition, const Args&... message) {
  if (!condition) [[unlikely]]
    fail("internal_error", message...);
}

}  // namespace hotpath

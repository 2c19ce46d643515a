#pragma once

#include <node_api.h>

#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace hotpath::js {

// Raw N-API with C++ exceptions on our side only. node-addon-api is not used: its Error type calls
// into JavaScript while it is constructed, which aborts the process when a worker is being
// terminated.

// Thrown when a JavaScript exception is already pending; guard() lets it through.
struct Pending {};

// Throws Pending or Error("internal_error") unless status is napi_ok.
void ok(napi_env env, napi_status status);

napi_value undefined(napi_env env);
napi_value null(napi_env env);
napi_value boolean(napi_env env, bool value);
napi_value number(napi_env env, double value);
napi_value string(napi_env env, std::string_view value);
napi_value object(napi_env env);
void set(napi_env env, napi_value object, const char* key, napi_value value);
napi_value function(napi_env env, const char* name, napi_callback callback, void* data);

// A JavaScript Error with the property `code`.
napi_value error(napi_env env, const Error& error);

// The exception in flight as an Error; for use inside a catch (...) block.
Error current_error();

// The same as a JavaScript value; a pending exception is taken over.
napi_value current_exception(napi_env env);

// Makes a pending exception an uncaught one: there is no JavaScript frame above to catch it.
void report_pending(napi_env env);

// The one catch of every N-API entry: runs body, turns a C++ exception into a JavaScript one.
template <typename Body>
napi_value guard(napi_env env, Body&& body) {
  try {
    return body();
  } catch (const Pending&) {
  } catch (...) {
    const Error failure = current_error();
    try {
      napi_throw(env, error(env, failure));
    } catch (...) {
      // The environment is being torn down: nobody is left to tell.
    }
  }
  return nullptr;
}

// As guard, for entries that JavaScript did not call.
template <typename Body>
void report(napi_env env, Body&& body) {
  guard(env, [&]() -> napi_value {
    body();
    return nullptr;
  });
  report_pending(env);
}

class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { ok(env, napi_open_handle_scope(env, &scope_)); }
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;

 private:
  napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

// A strong reference; reset on the JS thread before the environment ends.
class Reference {
 public:
  Reference() = default;
  Reference(napi_env env, napi_value value) : env_(env) {
    ok(env, napi_create_reference(env, value, 1, &ref_));
  }
  Reference(Reference&& other) noexcept { *this = std::move(other); }
  Reference& operator=(Reference&& other) noexcept {
    std::swap(env_, other.env_);
    std::swap(ref_, other.ref_);
    return *this;
  }
  ~Reference() = default;  // may run on any thread: reset() is explicit

  void reset() {
    if (ref_ != nullptr) napi_delete_reference(env_, std::exchange(ref_, nullptr));
  }
  explicit operator bool() const { return ref_ != nullptr; }
  napi_value get() const {
    napi_value value;
    ok(env_, napi_get_reference_value(env_, ref_, &value));
    return value;
  }

 private:
  napi_env env_ = nullptr;
  napi_ref ref_ = nullptr;
};

}  // namespace hotpath::js

#include "napi/js.h"

namespace hotpath::js {

void ok(napi_env env, napi_status status) {
  if (status == napi_ok) [[likely]]
    return;
  // Read before any other call: the next one overwrites it.
  const napi_extended_error_info* info = nullptr;
  napi_get_last_error_info(env, &info);
  const char* text = info != nullptr ? info->error_message : nullptr;
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) throw Pending{};
  fail("internal_error", "N-API: ", text != nullptr ? text : "status ",
       text != nullptr ? std::string() : std::to_string(status));
}

napi_value undefined(napi_env env) {
  napi_value v;
  ok(env, napi_get_undefined(env, &v));
  return v;
}

napi_value null(napi_env env) {
  napi_value v;
  ok(env, napi_get_null(env, &v));
  return v;
}

napi_value boolean(napi_env env, bool value) {
  napi_value v;
  ok(env, napi_get_boolean(env, value, &v));
  return v;
}

napi_value number(napi_env env, double value) {
  napi_value v;
  ok(env, napi_create_double(env, value, &v));
  return v;
}

napi_value string(napi_env env, std::string_view value) {
  napi_value v;
  ok(env, napi_create_string_utf8(env, value.data(), value.size(), &v));
  return v;
}

napi_value object(napi_env env) {
  napi_value v;
  ok(env, napi_create_object(env, &v));
  return v;
}

void set(napi_env env, napi_value object, const char* key, napi_value value) {
  ok(env, napi_set_named_property(env, object, key, value));
}

napi_value function(napi_env env, const char* name, napi_callback callback, void* data) {
  napi_value v;
  ok(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &v));
  return v;
}

napi_value error(napi_env env, const Error& error) {
  napi_value v;
  ok(env, napi_create_error(env, string(env, error.code()), string(env, error.what()), &v));
  return v;
}

Error current_error() {
  try {
    throw;
  } catch (const Error& e) {
    return e;
  } catch (const std::bad_alloc&) {
    return Error("out_of_memory", "the process ran out of memory (std::bad_alloc)");
  } catch (const std::exception& e) {
    return Error("internal_error", e.what());
  } catch (...) {
    return Error("internal_error", "an exception of unknown type");
  }
}

napi_value current_exception(napi_env env) {
  try {
    throw;
  } catch (const Pending&) {
    napi_value exception = nullptr;
    ok(env, napi_get_and_clear_last_exception(env, &exception));
    return exception;
  } catch (...) {
    return error(env, current_error());
  }
}

void report_pending(napi_env env) {
  bool pending = false;
  napi_value exception = nullptr;
  // Calls fail while the environment is stopping; then nobody is left to tell.
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &exception) == napi_ok)
    napi_fatal_exception(env, exception);
}

}  // namespace hotpath::js

#include "napi/delivery.h"

#include <cstring>
#include <vector>

#include "napi/js.h"

namespace hotpath {

namespace {

template <typename T>
napi_value typed_array(napi_env env, napi_typedarray_type type, const std::vector<T>& values) {
  void* data = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  const size_t bytes = values.size() * sizeof(T);
  js::ok(env, napi_create_arraybuffer(env, bytes, &data, &buffer));
  if (bytes > 0) std::memcpy(data, values.data(), bytes);
  js::ok(env, napi_create_typedarray(env, type, values.size(), buffer, 0, &array));
  return array;
}

}  // namespace

void for_each_finished(const Delivery& delivery, const std::function<void(int32_t)>& fn) {
  constexpr size_t kHeader = 8;  // fields: lib/native.d.ts, NativeDelivery
  const std::vector<int32_t>& ints = delivery.ints;
  size_t at = 0;
  while (at + kHeader <= ints.size()) {
    const int32_t* header = &ints[at];
    const auto num_tokens = static_cast<size_t>(header[3]);
    const bool scored = (header[1] & 1) != 0;
    if (header[2] != static_cast<int32_t>(Finish::kNone)) fn(header[0]);
    at += kHeader + num_tokens + (scored ? num_tokens * static_cast<size_t>(header[4]) : 0) +
          static_cast<size_t>(header[7]);
  }
  check(at == ints.size(), "delivery: records take ", at, " ints, received ", ints.size());
}

napi_value delivery_object(napi_env env, const Delivery& delivery) {
  napi_value object = js::object(env);
  js::set(env, object, "ints", typed_array(env, napi_int32_array, delivery.ints));
  js::set(env, object, "floats",
          delivery.floats.empty() ? js::null(env)
                                  : typed_array(env, napi_float32_array, delivery.floats));
  napi_value failures = js::null(env);
  if (!delivery.failures.empty()) {
    js::ok(env, napi_create_array_with_length(env, delivery.failures.size(), &failures));
    uint32_t index = 0;
    for (const auto& [id, code, message] : delivery.failures) {
      napi_value failure = js::object(env);
      js::set(env, failure, "id", js::number(env, static_cast<double>(id)));
      js::set(env, failure, "code", js::string(env, code));
      js::set(env, failure, "message", js::string(env, message));
      js::ok(env, napi_set_element(env, failures, index++, failure));
    }
  }
  js::set(env, object, "failures", failures);
  return object;
}

napi_value stats_object(napi_env env, const EngineStats& stats) {
  napi_value object = js::object(env);
  const auto set = [&](const char* key, double value) {
    js::set(env, object, key, js::number(env, value));
  };
  const auto count = [&](const char* key, int64_t value) { set(key, static_cast<double>(value)); };
  count("running", stats.running);
  count("waiting", stats.waiting);
  count("blocksTotal", stats.blocks_total);
  count("blocksFree", stats.blocks_free);
  count("blocksCached", stats.blocks_cached);
  count("steps", stats.steps);
  count("promptTokens", stats.prompt_tokens);
  count("cachedPromptTokens", stats.cached_prompt_tokens);
  count("generatedTokens", stats.generated_tokens);
  count("requestsFinished", stats.requests_finished);
  count("requestsAborted", stats.requests_aborted);
  count("preemptions", stats.preemptions);
  count("weightBytes", stats.weight_bytes);
  count("kvCacheBytes", stats.kv_cache_bytes);
  set("stepSeconds", stats.step_seconds);
  js::set(env, object, "failure", stats.failed ? js::string(env, stats.failure) : js::null(env));
  return object;
}

}  // namespace hotpath

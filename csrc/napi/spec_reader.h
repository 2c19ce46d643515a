#pragma once

#include <node_api.h>

#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/spec.h"
#include "napi/grammar_wrap.h"

namespace hotpath {

// Reads what lib/native.d.ts describes out of JavaScript values. Every function throws
// Error("invalid_request") that names the path of the field at fault
// ("spec.layers[3].mixer.numHeads"), what was expected and what was received.

// A value and how it was reached; fields keep a pointer to their parent, so a parent must outlive
// them.
class Field {
 public:
  Field(napi_env env, napi_value value, const char* name) : env_(env), value_(value), name_(name) {}

  napi_env env() const { return env_; }
  napi_value value() const { return value_; }
  std::string path() const;
  [[noreturn]] void mismatch(const std::string& expected) const;

  Field at(const char* key) const;  // of an object
  Field at(uint32_t index) const;   // of an array
  uint32_t length() const;          // of an array
  bool is_null() const;
  bool is_undefined() const;

  double finite() const;
  float real(double min, double max) const;
  int64_t integer(int64_t min, int64_t max) const;
  int32_t int32(int32_t min) const { return static_cast<int32_t>(integer(min, INT32_MAX)); }
  uint64_t bits64() const;  // a BigInt in [0, 2^64)
  bool boolean() const;
  std::string string() const;
  std::string one_of(std::initializer_list<const char*> choices) const;
  napi_value callable() const;
  std::vector<int32_t> int32_array() const;
  std::vector<uint32_t> uint32_array() const;
  std::vector<float> float32_array() const;
  std::vector<uint8_t> bytes() const;  // of a Uint8Array

 private:
  napi_valuetype type() const;
  std::string describe() const;
  template <typename T>
  std::vector<T> typed_array(napi_typedarray_type type, const char* name) const;

  napi_env env_;
  napi_value value_;
  const Field* parent_ = nullptr;
  const char* name_ = nullptr;  // null: an element, see index_
  uint32_t index_ = 0;
};

// NativeEngineOptions: what EngineOptions does not hold is about where the weights come from.
struct LoadOptions {
  std::string device;
  int num_threads = 0;
  std::string activation_dtype = "auto";  // CUDA; "auto": the weights'
  EngineOptions engine;
  bool dummy = false;
  std::string dummy_dtype;
  uint64_t dummy_seed = 0;
  Grammars::Tokens vocabulary;  // for grammars; no offsets: there are none
};

ModelSpec read_spec(const Field& spec);
std::vector<TensorRef> read_tensors(const Field& tensors);
LoadOptions read_options(const Field& options);
// Ids are checked against the vocabulary, the prompt's length against max_model_len.
Request read_request(const Field& id, const Field& prompt, const Field& params, int vocab_size,
                     int max_model_len);

}  // namespace hotpath

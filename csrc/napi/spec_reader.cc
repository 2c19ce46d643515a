#include "napi/spec_reader.h"

#include <cmath>
#include <limits>

#include "napi/js.h"

namespace hotpath {

namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;
constexpr double kFloatMax = std::numeric_limits<float>::max();

}  // namespace

std::string Field::path() const {
  std::string prefix = parent_ != nullptr ? parent_->path() : "";
  if (name_ == nullptr) return prefix + "[" + std::to_string(index_) + "]";
  return prefix.empty() ? name_ : prefix + "." + name_;
}

napi_valuetype Field::type() const {
  napi_valuetype type;
  js::ok(env_, napi_typeof(env_, value_, &type));
  return type;
}

std::string Field::describe() const {
  switch (type()) {
    case napi_undefined:
      return "nothing";
    case napi_null:
      return "null";
    case napi_boolean:
      return boolean() ? "true" : "false";
    case napi_string: {
      const std::string text = string();
      return "\"" + (text.size() > 80 ? text.substr(0, 80) + "..." : text) + "\"";
    }
    case napi_number:
    case napi_bigint: {
      Field digits = *this;  // as JavaScript prints them
      js::ok(env_, napi_coerce_to_string(env_, value_, &digits.value_));
      return digits.string() + (type() == napi_bigint ? "n" : "");
    }
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    default:
      break;
  }
  bool is_array = false, is_typed = false;
  js::ok(env_, napi_is_array(env_, value_, &is_array));
  js::ok(env_, napi_is_typedarray(env_, value_, &is_typed));
  return is_array ? "an array" : is_typed ? "a typed array of another type" : "an object";
}

void Field::mismatch(const std::string& expected) const {
  fail("invalid_request", path(), ": expected ", expected, ", received ", describe());
}

Field Field::at(const char* key) const {
  if (type() != napi_object) mismatch("an object");
  napi_value value;
  js::ok(env_, napi_get_named_property(env_, value_, key, &value));
  Field field(env_, value, key);
  field.parent_ = this;
  return field;
}

Field Field::at(uint32_t index) const {
  napi_value value;
  js::ok(env_, napi_get_element(env_, value_, index, &value));
  Field field(env_, value, nullptr);
  field.parent_ = this;
  field.index_ = index;
  return field;
}

uint32_t Field::length() const {
  bool is_array = false;
  js::ok(env_, napi_is_array(env_, value_, &is_array));
  if (!is_array) mismatch("an array");
  uint32_t length = 0;
  js::ok(env_, napi_get_array_length(env_, value_, &length));
  return length;
}

bool Field::is_null() const { return type() == napi_null; }
bool Field::is_undefined() const { return type() == napi_undefined; }

double Field::finite() const {
  if (type() != napi_number) mismatch("a number");
  double number = 0;
  js::ok(env_, napi_get_value_double(env_, value_, &number));
  if (!std::isfinite(number)) mismatch("a finite number");
  return number;
}

float Field::real(double min, double max) const {
  const double number = finite();
  if (number < min || number > max) mismatch(concat("a number in [", min, ", ", max, "]"));
  return static_cast<float>(number);
}

int64_t Field::integer(int64_t min, int64_t max) const {
  const double number = finite();
  if (number != std::floor(number) || number < static_cast<double>(min) ||
      number > static_cast<double>(max))
    mismatch(concat("an integer in [", min, ", ", max, "]"));
  return static_cast<int64_t>(number);
}

uint64_t Field::bits64() const {
  if (type() != napi_bigint) mismatch("a BigInt");
  uint64_t bits = 0;
  bool lossless = false;
  js::ok(env_, napi_get_value_bigint_uint64(env_, value_, &bits, &lossless));
  if (!lossless) mismatch("a BigInt in [0, 2^64)");
  return bits;
}

bool Field::boolean() const {
  if (type() != napi_boolean) mismatch("a boolean");
  bool value = false;
  js::ok(env_, napi_get_value_bool(env_, value_, &value));
  return value;
}

std::string Field::string() const {
  if (type() != napi_string) mismatch("a string");
  size_t length = 0;
  js::ok(env_, napi_get_value_string_utf8(env_, value_, nullptr, 0, &length));
  std::string text(length, '\0');  // data()[length] is writable: N-API puts its terminator there
  js::ok(env_, napi_get_value_string_utf8(env_, value_, text.data(), length + 1, &length));
  return text;
}

std::string Field::one_of(std::initializer_list<const char*> choices) const {
  std::string list;
  for (const char* choice : choices) list += concat(list.empty() ? "" : " or ", '"', choice, '"');
  if (type() != napi_string) mismatch(list);
  const std::string text = string();
  for (const char* choice : choices)
    if (text == choice) return text;
  mismatch(list);
}

napi_value Field::callable() const {
  if (type() != napi_function) mismatch("a function");
  return value_;
}

template <typename T>
std::vector<T> Field::typed_array(napi_typedarray_type expected, const char* name) const {
  bool is_typed = false;
  js::ok(env_, napi_is_typedarray(env_, value_, &is_typed));
  napi_typedarray_type actual = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (is_typed)
    js::ok(env_, napi_get_typedarray_info(env_, value_, &actual, &length, &data, nullptr, nullptr));
  if (!is_typed || actual != expected) mismatch(name);
  const T* first = static_cast<const T*>(data);  // null when the buffer is empty or detached
  return first == nullptr ? std::vector<T>() : std::vector<T>(first, first + length);
}

std::vector<int32_t> Field::int32_array() const {
  return typed_array<int32_t>(napi_int32_array, "an Int32Array");
}

std::vector<uint32_t> Field::uint32_array() const {
  return typed_array<uint32_t>(napi_uint32_array, "a Uint32Array");
}

std::vector<float> Field::float32_array() const {
  return typed_array<float>(napi_float32_array, "a Float32Array");
}

std::vector<uint8_t> Field::bytes() const {
  return typed_array<uint8_t>(napi_uint8_array, "a Uint8Array");
}

namespace {

RopeSpec read_rope(const Field& rope) {
  RopeSpec spec;
  spec.theta = rope.at("theta").real(0, kFloatMax);
  spec.rotary_dim = rope.at("rotaryDim").int32(0);
  spec.scaling = rope.at("scaling").one_of({"none", "linear", "llama3"});
  if (spec.scaling != "none") spec.factor = rope.at("factor").real(0, kFloatMax);
  if (spec.scaling == "llama3") {
    spec.low_freq_factor = rope.at("lowFreqFactor").real(0, kFloatMax);
    spec.high_freq_factor = rope.at("highFreqFactor").real(0, kFloatMax);
    spec.original_max_position = rope.at("originalMaxPosition").int32(1);
  }
  return spec;
}

MixerSpec read_mixer(const Field& mixer) {
  MixerSpec spec;
  mixer.at("kind").one_of({"gqa"});
  spec.num_heads = mixer.at("numHeads").int32(1);
  spec.num_kv_heads = mixer.at("numKvHeads").int32(1);
  spec.head_dim = mixer.at("headDim").int32(1);
  spec.qkv_bias = mixer.at("qkvBias").boolean();
  spec.out_bias = mixer.at("outBias").boolean();
  spec.qk_norm = mixer.at("qkNorm").boolean();
  spec.window = mixer.at("window").int32(0);
  spec.rope = read_rope(mixer.at("rope"));
  return spec;
}

FfnSpec read_ffn(const Field& ffn) {
  FfnSpec spec;
  spec.kind = ffn.at("kind").one_of({"dense", "moe"});
  spec.intermediate_size = ffn.at("intermediateSize").int32(1);
  if (spec.kind == "dense") {
    spec.bias = ffn.at("bias").boolean();
  } else {
    spec.num_experts = ffn.at("numExperts").int32(1);
    spec.top_k = ffn.at("topK").int32(1);
    spec.renormalize = ffn.at("renormalize").boolean();
  }
  return spec;
}

void check_ids(const std::vector<int32_t>& ids, const Field& field, int vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= vocab_size) [[unlikely]]
      fail("invalid_request", field.path(), "[", i, "]: expected a token id in [0, ", vocab_size,
           "), received ", ids[i]);
}

}  // namespace

ModelSpec read_spec(const Field& field) {
  ModelSpec spec;
  spec.family = field.at("family").string();
  spec.hidden_size = field.at("hiddenSize").int32(1);
  spec.vocab_size = field.at("vocabSize").int32(1);
  spec.max_position = field.at("maxPosition").int32(1);
  spec.norm_eps = field.at("normEps").real(0, 1);
  spec.tie_embeddings = field.at("tieEmbeddings").boolean();
  const Field layers = field.at("layers");
  const uint32_t count = layers.length();
  if (count == 0) fail("invalid_request", layers.path(), ": expected at least one layer");
  for (uint32_t i = 0; i < count; ++i) {
    js::HandleScope scope(field.env());
    const Field layer = layers.at(i);
    const Field mixer = layer.at("mixer"), ffn = layer.at("ffn");
    spec.layers.push_back({read_mixer(mixer), read_ffn(ffn)});
  }
  return spec;
}

std::vector<TensorRef> read_tensors(const Field& tensors) {
  const uint32_t count = tensors.length();
  std::vector<TensorRef> refs;
  for (uint32_t i = 0; i < count; ++i) {
    js::HandleScope scope(tensors.env());
    const Field tensor = tensors.at(i);
    TensorRef ref;
    ref.role = tensor.at("role").string();
    ref.name = tensor.at("name").string();
    ref.file = tensor.at("file").string();
    ref.offset = static_cast<uint64_t>(tensor.at("offset").integer(0, kMaxSafeInteger));
    ref.bytes = static_cast<uint64_t>(tensor.at("bytes").integer(0, kMaxSafeInteger));
    ref.dtype = tensor.at("dtype").one_of({"F32", "F16", "BF16"});
    const Field shape = tensor.at("shape");
    const uint32_t ndim = shape.length();
    if (ndim > 4) fail("invalid_request", shape.path(), ": expected at most 4, received ", ndim);
    for (uint32_t d = 0; d < ndim; ++d)
      ref.shape.push_back(shape.at(d).integer(0, kMaxSafeInteger));
    refs.push_back(std::move(ref));
  }
  return refs;
}

LoadOptions read_options(const Field& field) {
  LoadOptions options;
  EngineOptions& engine = options.engine;
  options.device = field.at("device").string();
  options.num_threads = static_cast<int>(field.at("numThreads").integer(0, 4096));
  engine.max_running_seqs = static_cast<int>(field.at("maxRunningSeqs").integer(1, 1 << 20));
  engine.max_batch_tokens = static_cast<int>(field.at("maxBatchTokens").integer(1, 1 << 24));
  engine.max_model_len = field.at("maxModelLen").int32(1);
  engine.block_size = static_cast<int>(field.at("blockSize").integer(1, 1 << 16));
  engine.kv_cache_bytes = field.at("kvCacheBytes").integer(0, kMaxSafeInteger);
  if (const Field share = field.at("memoryShare"); !share.is_undefined())
    engine.memory_share = share.real(0, 1);
  if (const Field dtype = field.at("activationDtype"); !dtype.is_undefined())
    options.activation_dtype = dtype.one_of({"auto", "f32", "f16", "bf16"});
  engine.kv_cache_dtype = field.at("kvCacheDtype").one_of({"f32", "f16", "bf16"});
  engine.prefix_caching = field.at("prefixCaching").boolean();
  engine.capture_routed_experts = field.at("captureRoutedExperts").boolean();
  if (const Field jump = field.at("jumpForward"); !jump.is_undefined())
    engine.jump_forward = jump.boolean();
  const Field dummy = field.at("dummyWeights");
  if (dummy.is_undefined()) dummy.mismatch("null or { dtype, seed }");
  if (!dummy.is_null()) {
    options.dummy = true;
    options.dummy_dtype = dummy.at("dtype").one_of({"bf16", "f16", "f32"});
    options.dummy_seed = static_cast<uint64_t>(dummy.at("seed").integer(0, kMaxSafeInteger));
  }
  if (const Field vocabulary = field.at("vocabulary");
      !vocabulary.is_undefined() && !vocabulary.is_null()) {
    const std::vector<uint8_t> bytes = vocabulary.at("bytes").bytes();
    options.vocabulary.bytes.assign(bytes.begin(), bytes.end());
    options.vocabulary.offsets = vocabulary.at("offsets").uint32_array();
    options.vocabulary.special = vocabulary.at("special").bytes();
    options.vocabulary.stop_ids = vocabulary.at("stopIds").int32_array();
    if (options.vocabulary.offsets.empty())
      vocabulary.at("offsets").mismatch("one offset more than tokens");
  }
  return options;
}

Request read_request(const Field& id, const Field& prompt, const Field& params, int vocab_size,
                     int max_model_len) {
  Request request;
  request.id = id.int32(1);
  request.prompt = prompt.int32_array();
  if (request.prompt.empty() || request.prompt.size() > static_cast<size_t>(max_model_len))
    fail("invalid_request", prompt.path(), ": expected 1 to ", max_model_len,
         " token ids (maxModelLen), received ", request.prompt.size());
  check_ids(request.prompt, prompt, vocab_size);

  SamplingParams& p = request.params;
  p.temperature = params.at("temperature").real(0, kFloatMax);
  p.top_p = params.at("topP").real(0, 1);
  p.min_p = params.at("minP").real(0, 1);
  p.top_k = params.at("topK").int32(-1);
  p.frequency_penalty = params.at("frequencyPenalty").real(-kFloatMax, kFloatMax);
  p.presence_penalty = params.at("presencePenalty").real(-kFloatMax, kFloatMax);
  p.repetition_penalty = params.at("repetitionPenalty").real(0, kFloatMax);
  if (p.top_p == 0) params.at("topP").mismatch("a number in (0, 1]");
  if (p.top_k == 0) params.at("topK").mismatch("-1 (off) or at least 1");
  if (p.repetition_penalty == 0) params.at("repetitionPenalty").mismatch("a number above 0");
  p.seed = params.at("seed").bits64();
  p.max_tokens = params.at("maxTokens").int32(0);
  p.min_tokens = params.at("minTokens").int32(0);
  p.ignore_eos = params.at("ignoreEos").boolean();
  p.num_logprobs = static_cast<int32_t>(params.at("numLogprobs").integer(-1, vocab_size));
  p.num_prompt_logprobs =
      static_cast<int32_t>(params.at("numPromptLogprobs").integer(-1, vocab_size));
  p.return_routed_experts = params.at("returnRoutedExperts").boolean();

  const Field stops = params.at("stopTokenIds");
  p.stop_token_ids = stops.int32_array();
  check_ids(p.stop_token_ids, stops, vocab_size);

  const Field tokens = params.at("logitBiasTokens"), values = params.at("logitBiasValues");
  if (tokens.is_null() != values.is_null())
    values.mismatch(tokens.is_null() ? "null, as logitBiasTokens" : "a Float32Array");
  if (!tokens.is_null()) {
    const std::vector<int32_t> ids = tokens.int32_array();
    const std::vector<float> biases = values.float32_array();
    check_ids(ids, tokens, vocab_size);
    if (ids.size() != biases.size())
      fail("invalid_request", values.path(), ": expected ", ids.size(), " values, received ",
           biases.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!std::isfinite(biases[i]))
        fail("invalid_request", values.path(), "[", i, "]: expected a finite number, received ",
             biases[i]);
      p.logit_bias.push_back({ids[i], biases[i]});
    }
  }

  request.priority = static_cast<int32_t>(params.at("priority").integer(INT32_MIN, INT32_MAX));
  request.cache_salt = params.at("cacheSalt").bits64();
  request.share_group = params.at("shareGroup").integer(0, kMaxSafeInteger);
  if (const Field counted = params.at("countedTokens"); !counted.is_undefined())
    request.num_counted = counted.int32(0);
  if (const Field grammar = params.at("grammar"); !grammar.is_undefined()) {
    request.grammar = read_grammar(grammar);
    if (request.grammar) request.grammar_start = params.at("grammarStart").string();
  }
  return request;
}

}  // namespace hotpath

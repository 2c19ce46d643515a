#include "napi/engine_wrap.h"

#include <chrono>
#include <initializer_list>

#include "napi/delivery.h"
#include "napi/grammar_wrap.h"

namespace hotpath {

namespace {

constexpr napi_type_tag kEngineTag = {0x6f1b5c0a93d24e71, 0x8a4d7e2f50c6b913};

// Every wrap of the process whose threads may still run. process.exit() runs no environment
// cleanup on the main thread, only static destructors; this one stops the engines, so that no
// native thread outlives what it uses. Also at dlclose, when the last worker that loaded the addon
// ends.
class Registry {
 public:
  void add(std::weak_ptr<EngineWrap> wrap) {
    std::lock_guard lock(mutex_);
    std::erase_if(wraps_, [](const auto& w) { return w.expired(); });
    wraps_.push_back(std::move(wrap));
  }
  ~Registry() {
    for (auto& weak : wraps_)
      if (auto wrap = weak.lock()) wrap->stop();
  }

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<EngineWrap>> wraps_;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

// That of the embedding, for checkpoints whose tensors differ: "f32", "f16" or "bf16".
std::string weight_dtype(const std::vector<TensorRef>& tensors, const LoadOptions& options) {
  if (options.dummy) return options.dummy_dtype;
  for (const TensorRef& tensor : tensors)
    if (tensor.role == "embed")
      return tensor.dtype == "F32" ? "f32" : tensor.dtype == "F16" ? "f16" : "bf16";
  return "bf16";  // the load refuses a checkpoint without one
}

struct Call {
  napi_value self = nullptr;
  napi_value args[3] = {};
};

Call read_call(napi_env env, napi_callback_info info) {
  Call call;
  size_t count = 3;  // missing ones are filled with undefined
  js::ok(env, napi_get_cb_info(env, info, &count, call.args, &call.self, nullptr));
  return call;
}

void call(napi_env env, const js::Reference& fn, std::initializer_list<napi_value> args) {
  js::ok(env,
         napi_call_function(env, js::undefined(env), fn.get(), args.size(), args.begin(), nullptr));
}

}  // namespace

napi_value EngineWrap::create(napi_env env, const std::vector<napi_value>& args,
                              napi_value set_immediate) {
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  js::ok(env, napi_create_promise(env, &deferred, &promise));
  try {
    auto wrap = std::make_shared<EngineWrap>();
    ModelSpec spec = read_spec(Field(env, args[0], "spec"));
    std::vector<TensorRef> tensors = read_tensors(Field(env, args[1], "tensors"));
    LoadOptions options = read_options(Field(env, args[2], "options"));
    wrap->vocab_size_ = spec.vocab_size;
    wrap->max_model_len_ = options.engine.max_model_len;
    wrap->on_delivery_ = js::Reference(env, Field(env, args[3], "onDelivery").callable());
    const Field on_progress(env, args[4], "onProgress");
    if (!on_progress.is_undefined())
      wrap->on_progress_ = js::Reference(env, on_progress.callable());

    wrap->loading_ = deferred;
    try {
      wrap->start(env, set_immediate);
      wrap->worker_ =
          std::thread([raw = wrap.get(), spec = std::move(spec), tensors = std::move(tensors),
                       options = std::move(options)]() mutable {
            raw->load(spec, tensors, options);
          });
    } catch (...) {
      wrap->release();
      throw;
    }
  } catch (...) {
    js::ok(env, napi_reject_deferred(env, deferred, js::current_exception(env)));
  }
  return promise;
}

// Opens the mailbox, then adds the cleanup hook: hooks run last in, first out, so ours still finds
// the thread-safe function alive.
void EngineWrap::start(napi_env env, napi_value set_immediate) {
  env_ = env;
  mailbox_.open(env, shared_from_this(), set_immediate);
  js::ok(env, napi_add_env_cleanup_hook(env, on_env_cleanup, this));
  registry().add(weak_from_this());
}

EngineWrap::~EngineWrap() { stop(); }

// ---- the loading thread ----

void EngineWrap::load(const ModelSpec& spec, const std::vector<TensorRef>& tensors,
                      LoadOptions& options) {
  using Clock = std::chrono::steady_clock;
  Clock::time_point reported{};
  const auto progress = [&](uint64_t done, uint64_t total) {
    if (cancelled_) fail("engine_closed", "loading was stopped: the environment ended");
    bytes_done_ = done;
    bytes_total_ = total;
    const auto now = Clock::now();
    if (done != total && now - reported < std::chrono::milliseconds(20)) return;
    reported = now;
    mailbox_.notify();
  };
  try {
    BackendOptions backend;
    backend.num_threads = options.num_threads;
    backend.activation_dtype = options.activation_dtype == "auto" ? weight_dtype(tensors, options)
                                                                  : options.activation_dtype;
    std::shared_ptr<Grammars> grammars;
    if (auto& v = options.vocabulary; !v.offsets.empty()) {
      if (v.offsets.size() != static_cast<size_t>(spec.vocab_size) + 1)
        fail("invalid_request", "options.vocabulary: expected ", spec.vocab_size,
             " tokens, as the model has, received ", v.offsets.size() - 1);
      grammars = std::make_shared<Grammars>(std::move(v));
    }
    auto ops = create_ops(options.device, backend);
    auto model = options.dummy
                     ? Model::dummy(spec, options.dummy_dtype, options.dummy_seed, *ops, progress)
                     : Model::load(spec, tensors, *ops, progress);
    std::shared_ptr<Engine> engine = Engine::create(std::move(ops), std::move(model),
                                                    options.engine, [this] { mailbox_.notify(); });
    std::lock_guard lock(mutex_);
    engine_ = std::move(engine);
    grammars_ = std::move(grammars);
  } catch (...) {
    worker_error_ = js::current_error();
  }
  worker_done_ = true;
  mailbox_.notify();
}

// ---- mail, on the JS thread ----

void EngineWrap::on_mail(napi_env env) {
  if (state_ == State::kLoading) {
    report_progress(env);
    if (worker_done_) finish_loading(env);
  }
  if (state_ == State::kRunning || state_ == State::kClosing) {
    // Before worker_done_ is read: what close() leaves behind comes after what is taken here.
    const bool closed = state_ == State::kClosing && worker_done_;
    if (auto engine = this->engine(); engine && engine->take(delivery_)) deliver(env, delivery_);
    if (closed) finish_closing(env);
  }
}

void EngineWrap::report_progress(napi_env env) {
  const uint64_t total = bytes_total_, done = bytes_done_;
  if (!on_progress_ || done == reported_bytes_) return;
  reported_bytes_ = done;
  js::report(env, [&] {
    call(env, on_progress_,
         {js::number(env, static_cast<double>(done)), js::number(env, static_cast<double>(total))});
  });
}

void EngineWrap::finish_loading(napi_env env) {
  worker_.join();
  worker_done_ = false;
  on_progress_.reset();
  napi_deferred deferred = std::exchange(loading_, nullptr);
  try {
    if (worker_error_) throw Error(*worker_error_);
    napi_value object = make_object(env);
    state_ = State::kRunning;
    update_keep_alive();
    js::ok(env, napi_resolve_deferred(env, deferred, object));
  } catch (...) {
    napi_value exception = js::current_exception(env);
    release();
    js::ok(env, napi_reject_deferred(env, deferred, exception));
  }
}

void EngineWrap::deliver(napi_env env, const Delivery& delivery) {
  if (delivery.empty()) return;
  js::report(env, [&] {
    js::HandleScope scope(env);
    // First: the callback may submit an id again.
    for_each_finished(delivery, [this](int32_t id) { live_.erase(id); });
    call(env, on_delivery_, {delivery_object(env, delivery)});
  });
  if (live_.empty() && collected_) begin_close();
  update_keep_alive();
}

// Requests in flight, loading and a close() that someone awaits keep the process alive.
void EngineWrap::update_keep_alive() {
  mailbox_.keep_alive(state_ == State::kLoading || !live_.empty() || !closing_.empty());
}

// ---- closing ----

void EngineWrap::begin_close() {
  if (state_ != State::kRunning) return;
  worker_ = std::thread([this] {
    auto engine = this->engine();
    try {
      engine->close();
    } catch (...) {
      worker_error_ = js::current_error();
    }
    engine->take(last_delivery_);
    {
      std::lock_guard lock(mutex_);
      closed_stats_ = engine->stats();
      engine_.reset();
    }
    engine.reset();  // gives the weights and the cache back, off the JS thread
    worker_done_ = true;
    mailbox_.notify();
  });
  state_ = State::kClosing;
}

void EngineWrap::finish_closing(napi_env env) {
  worker_.join();
  deliver(env, last_delivery_);
  last_delivery_ = {};
  std::vector<napi_deferred> waiting = std::move(closing_);
  napi_value value = worker_error_ ? js::error(env, *worker_error_) : js::undefined(env);
  const bool failed = worker_error_.has_value();
  release();
  for (napi_deferred deferred : waiting)
    js::ok(env, failed ? napi_reject_deferred(env, deferred, value)
                       : napi_resolve_deferred(env, deferred, value));
}

// The end of the normal life: nothing runs any more and nothing will be delivered.
void EngineWrap::release() {
  state_ = State::kClosed;
  live_.clear();
  delivery_ = {};
  grammars_.reset();
  napi_remove_env_cleanup_hook(env_, on_env_cleanup, this);
  on_delivery_.reset();
  on_progress_.reset();
  mailbox_.release();
}

// The environment ends first: a worker is terminated or the process exits by itself.
void EngineWrap::on_env_cleanup(void* data) {
  auto& wrap = *static_cast<EngineWrap*>(data);
  wrap.state_ = State::kClosed;
  wrap.mailbox_.shut();
  wrap.stop();
  wrap.on_delivery_.reset();
  wrap.on_progress_.reset();
  wrap.mailbox_.release();
  wrap.grammars_.reset();
}

void EngineWrap::stop() {
  cancelled_ = true;
  mailbox_.shut();
  if (worker_.joinable()) worker_.join();
  std::shared_ptr<Engine> engine;
  {
    std::lock_guard lock(mutex_);
    engine = std::move(engine_);
  }
  try {
    if (engine) engine->close();
  } catch (...) {
    // Nobody is left to tell; the threads are joined all the same.
  }
}

// ---- the JavaScript object ----

std::shared_ptr<Engine> EngineWrap::engine() {
  std::lock_guard lock(mutex_);
  return engine_;
}

napi_value EngineWrap::make_object(napi_env env) {
  napi_value object = js::object(env);
  const std::pair<const char*, napi_callback> methods[] = {
      {"submit", submit},
      {"abort", abort},
      {"compileGrammar", compile_grammar},
      {"stats", stats},
      {"close", close}};
  for (const auto& [name, method] : methods)
    js::set(env, object, name, js::function(env, name, method, nullptr));
  auto holder = std::make_unique<std::shared_ptr<EngineWrap>>(shared_from_this());
  js::ok(env, napi_wrap(env, object, holder.get(), on_collected, nullptr, nullptr));
  holder.release();
  js::ok(env, napi_type_tag_object(env, object, &kEngineTag));
  return object;
}

EngineWrap& EngineWrap::unwrap(napi_env env, napi_value self) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* data = nullptr;
  if (napi_typeof(env, self, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, self, &kEngineTag, &tagged) != napi_ok || !tagged)
    fail("invalid_request", "this: expected the engine that createEngine returned");
  js::ok(env, napi_unwrap(env, self, &data));
  return **static_cast<std::shared_ptr<EngineWrap>*>(data);
}

void EngineWrap::on_collected(napi_env, void* data, void*) {
  std::unique_ptr<std::shared_ptr<EngineWrap>> holder(
      static_cast<std::shared_ptr<EngineWrap>*>(data));
  EngineWrap& wrap = **holder;
  wrap.collected_ = true;
  try {
    if (wrap.live_.empty()) wrap.begin_close();
  } catch (...) {
    // No thread could be started; the environment's end closes the engine.
  }
}

napi_value EngineWrap::submit(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    const Call call = read_call(env, info);
    EngineWrap& wrap = unwrap(env, call.self);
    Request request =
        read_request(Field(env, call.args[0], "id"), Field(env, call.args[1], "promptIds"),
                     Field(env, call.args[2], "params"), wrap.vocab_size_, wrap.max_model_len_);
    if (wrap.state_ != State::kRunning)
      fail("engine_closed", "the engine is closed: it takes no more requests");
    if (request.grammar && !(wrap.grammars_ && wrap.grammars_->owns(*request.grammar)))
      fail("invalid_request", "params.grammar: expected one that this engine compiled");
    const auto id = static_cast<int32_t>(request.id);
    if (!wrap.live_.insert(id).second)
      fail("invalid_request", "id: expected one that is not in use, received ", id);
    try {
      wrap.engine()->submit(std::move(request));
    } catch (...) {
      wrap.live_.erase(id);
      throw;
    }
    wrap.update_keep_alive();
    return js::undefined(env);
  });
}

napi_value EngineWrap::abort(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    const Call call = read_call(env, info);
    EngineWrap& wrap = unwrap(env, call.self);
    const int64_t id = Field(env, call.args[0], "id").int32(1);
    if (auto engine = wrap.engine()) engine->abort(id);
    return js::undefined(env);
  });
}

napi_value EngineWrap::compile_grammar(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    const Call call = read_call(env, info);
    EngineWrap& wrap = unwrap(env, call.self);
    std::string source = Field(env, call.args[0], "source").string();
    if (wrap.state_ != State::kRunning)
      fail("engine_closed", "the engine is closed: it compiles no grammars");
    if (!wrap.grammars_)
      fail("invalid_request",
           "grammar: this engine was created without a vocabulary, which grammars need");
    return hotpath::compile_grammar(env, wrap.grammars_, std::move(source));
  });
}

napi_value EngineWrap::stats(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    EngineWrap& wrap = unwrap(env, read_call(env, info).self);
    if (auto engine = wrap.engine()) return stats_object(env, engine->stats());
    std::lock_guard lock(wrap.mutex_);
    return stats_object(env, wrap.closed_stats_);
  });
}

napi_value EngineWrap::close(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    EngineWrap& wrap = unwrap(env, read_call(env, info).self);
    wrap.begin_close();
    napi_deferred deferred = nullptr;
    napi_value promise = nullptr;
    js::ok(env, napi_create_promise(env, &deferred, &promise));
    if (wrap.state_ == State::kClosed) {
      js::ok(env, napi_resolve_deferred(env, deferred, js::undefined(env)));
    } else {
      wrap.closing_.push_back(deferred);
      wrap.update_keep_alive();
    }
    return promise;
  });
}

}  // namespace hotpath

#pragma once

#include <node_api.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>
#include <vector>

#include "engine/engine.h"
#include "napi/mailbox.h"
#include "napi/spec_reader.h"

namespace hotpath {

// One engine as JavaScript sees it. The wrap is kept alive by its mailbox's thread-safe function
// and by the JavaScript object. Its states, all changed on the JS thread:
//   loading -> running -> closing -> closed, or loading -> closed when loading fails.
// What the loading or closing thread leaves behind is read after it is joined.
class EngineWrap : public JsMailbox::Owner, public std::enable_shared_from_this<EngineWrap> {
 public:
  // createEngine's body: reads the arguments, starts the loading thread, returns the promise.
  static napi_value create(napi_env env, const std::vector<napi_value>& args,
                           napi_value set_immediate);
  ~EngineWrap() override;

  // Process exit: stops every native thread without touching JavaScript.
  void stop();

 private:
  enum class State { kLoading, kRunning, kClosing, kClosed };

  void start(napi_env env, napi_value set_immediate);
  void load(const ModelSpec& spec, const std::vector<TensorRef>& tensors,
            LoadOptions& options);
  void on_mail(napi_env env) override;
  void report_progress(napi_env env);
  void finish_loading(napi_env env);
  void deliver(napi_env env, const Delivery& delivery);
  void begin_close();
  void finish_closing(napi_env env);
  void release();
  void update_keep_alive();
  std::shared_ptr<Engine> engine();
  napi_value make_object(napi_env env);

  static EngineWrap& unwrap(napi_env env, napi_value self);
  static napi_value submit(napi_env env, napi_callback_info info);
  static napi_value abort(napi_env env, napi_callback_info info);
  static napi_value compile_grammar(napi_env env, napi_callback_info info);
  static napi_value stats(napi_env env, napi_callback_info info);
  static napi_value close(napi_env env, napi_callback_info info);
  static void on_collected(napi_env env, void* data, void* hint);
  static void on_env_cleanup(void* data);

  // JS thread only.
  napi_env env_ = nullptr;
  State state_ = State::kLoading;
  napi_deferred loading_ = nullptr;
  std::vector<napi_deferred> closing_;
  js::Reference on_delivery_, on_progress_;
  std::unordered_set<int32_t> live_;  // submitted, last record not yet delivered
  Delivery delivery_;
  uint64_t reported_bytes_ = 0;
  bool collected_ = false;  // the JavaScript object is gone: close when idle
  int vocab_size_ = 0, max_model_len_ = 0;

  // Shared with the loading or closing thread.
  JsMailbox mailbox_;
  std::thread worker_;
  std::atomic<bool> worker_done_{false};
  std::atomic<bool> cancelled_{false};
  std::atomic<uint64_t> bytes_done_{0}, bytes_total_{0};
  std::mutex mutex_;                // guards engine_ and closed_stats_
  std::shared_ptr<Engine> engine_;  // null while loading and once closed
  EngineStats closed_stats_;
  std::shared_ptr<Grammars> grammars_;  // null while loading, or without a vocabulary
  Delivery last_delivery_;  // what close() left; read after the join
  std::optional<Error> worker_error_;
};

}  // namespace hotpath

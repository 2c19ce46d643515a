#pragma once

#include <node_api.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "napi/js.h"

namespace hotpath {

// Brings the JS thread to its mail: notify() on any thread leads to one on_mail() on the JS thread,
// however many notifies came before it. At most one thread-safe call is pending, and between two
// on_mail() the event loop gets to its timers and I/O: without that a fast engine would keep
// Node's thread-safe function busy for up to 1000 calls in a row.
class JsMailbox {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_mail(napi_env env) = 0;
  };

  // owner lives until the thread-safe function and the re-arm callback are gone; it contains this
  // mailbox. set_immediate: Node's, taken before anyone could replace it.
  void open(napi_env env, std::shared_ptr<Owner> owner, napi_value set_immediate);

  void notify();  // any thread

  // JS thread: whether the event loop stays alive for this mailbox.
  void keep_alive(bool alive);
  // Any thread. Once it returns no thread is inside notify()'s call or gets there again.
  void shut();
  // JS thread: shuts and lets go of the thread-safe function. Idempotent.
  void release();

 private:
  static void on_call(napi_env env, napi_value, void* context, void*);
  static napi_value on_immediate(napi_env env, napi_callback_info info);
  void turn(napi_env env);
  void call_thread_safe();

  napi_env env_ = nullptr;
  Owner* owner_ = nullptr;
  napi_threadsafe_function tsfn_ = nullptr;
  js::Reference set_immediate_, rearm_;
  bool alive_ = true;

  std::atomic<bool> dirty_{false};  // mail came since the last on_mail() began
  std::atomic<bool> armed_{false};  // a call or an immediate is on its way
  std::mutex mutex_;                // held around the thread-safe call, so that shut() can wait
  bool shut_ = false;
};

}  // namespace hotpath

#include "napi/mailbox.h"

namespace hotpath {

namespace {

using Holder = std::shared_ptr<JsMailbox::Owner>;

void drop_holder(napi_env, void* holder, void*) { delete static_cast<Holder*>(holder); }

}  // namespace

void JsMailbox::open(napi_env env, std::shared_ptr<Owner> owner, napi_value set_immediate) {
  env_ = env;
  owner_ = owner.get();
  napi_value rearm = js::function(env, "rearm", on_immediate, this);
  auto holder = std::make_unique<Holder>(owner);
  js::ok(env, napi_add_finalizer(env, rearm, holder.get(), drop_holder, nullptr, nullptr));
  holder.release();
  rearm_ = js::Reference(env, rearm);
  set_immediate_ = js::Reference(env, set_immediate);

  holder = std::make_unique<Holder>(std::move(owner));
  js::ok(env, napi_create_threadsafe_function(
                  env, nullptr, nullptr, js::string(env, "hotpath.mailbox"), /*max_queue_size=*/0,
                  /*initial_thread_count=*/1, holder.get(), drop_holder, this, on_call, &tsfn_));
  holder.release();
}

void JsMailbox::notify() {
  dirty_ = true;
  if (!armed_.exchange(true)) call_thread_safe();
}

void JsMailbox::call_thread_safe() {
  std::lock_guard lock(mutex_);
  // Unbounded queue with at most one entry: the only other status is napi_closing, at the end of
  // the environment.
  if (!shut_) napi_call_threadsafe_function(tsfn_, nullptr, napi_tsfn_nonblocking);
}

void JsMailbox::keep_alive(bool alive) {
  if (tsfn_ == nullptr || alive == alive_) return;
  alive_ = alive;
  js::ok(env_, alive ? napi_ref_threadsafe_function(env_, tsfn_)
                     : napi_unref_threadsafe_function(env_, tsfn_));
}

void JsMailbox::shut() {
  std::lock_guard lock(mutex_);
  shut_ = true;
}

void JsMailbox::release() {
  shut();
  if (tsfn_ == nullptr) return;
  rearm_.reset();
  set_immediate_.reset();
  napi_release_threadsafe_function(std::exchange(tsfn_, nullptr), napi_tsfn_abort);
}

void JsMailbox::on_call(napi_env env, napi_value, void* context, void*) {
  // env is null when the environment ends with the call still queued.
  if (env != nullptr) static_cast<JsMailbox*>(context)->turn(env);
}

napi_value JsMailbox::on_immediate(napi_env env, napi_callback_info info) {
  return js::guard(env, [&]() -> napi_value {
    void* data = nullptr;
    js::ok(env, napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data));
    auto* mailbox = static_cast<JsMailbox*>(data);
    mailbox->armed_ = false;
    if (mailbox->dirty_ && !mailbox->armed_.exchange(true)) mailbox->turn(env);
    return nullptr;
  });
}

void JsMailbox::turn(napi_env env) {
  dirty_ = false;
  js::report(env, [&] { owner_->on_mail(env); });
  if (tsfn_ == nullptr) return;  // released in on_mail
  // armed_ stays set until the immediate: mail that comes before it is taken there.
  js::report(env, [&] {
    napi_value args[] = {rearm_.get()};
    js::ok(env,
           napi_call_function(env, js::undefined(env), set_immediate_.get(), 1, args, nullptr));
  });
}

}  // namespace hotpath

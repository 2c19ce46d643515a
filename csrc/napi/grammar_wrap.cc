#include "napi/grammar_wrap.h"

#include <optional>
#include <string>
#include <utility>

#include "napi/js.h"
#include "napi/spec_reader.h"

namespace hotpath {

namespace {

constexpr napi_type_tag kGrammarTag = {0x2c9d41f7b85e4a60, 0x91e3705dfa624c8b};

GrammarPointer unwrap(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* data = nullptr;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object ||
      napi_check_object_type_tag(env, value, &kGrammarTag, &tagged) != napi_ok || !tagged)
    return nullptr;
  js::ok(env, napi_unwrap(env, value, &data));
  return *static_cast<GrammarPointer*>(data);
}

// grammar.check(text): what lib/native.d.ts calls NativeCheck.
napi_value check(napi_env env, napi_callback_info info) {
  return js::guard(env, [&] {
    size_t count = 1;
    napi_value text = nullptr, self = nullptr;
    js::ok(env, napi_get_cb_info(env, info, &count, &text, &self, nullptr));
    const GrammarPointer grammar = unwrap(env, self);
    if (!grammar) fail("invalid_request", "this: expected what compileGrammar resolved to");
    const grammar::CheckResult result =
        grammar::check_text(*grammar, Field(env, text, "text").string());
    napi_value object = js::object(env), expected = nullptr;
    js::set(env, object, "accepted", js::boolean(env, result.accepted));
    js::set(env, object, "complete", js::boolean(env, result.complete));
    js::set(env, object, "failedAt", js::number(env, static_cast<double>(result.failed_at)));
    js::ok(env, napi_create_array_with_length(env, result.expected.size(), &expected));
    for (uint32_t i = 0; i < result.expected.size(); ++i)
      js::ok(env, napi_set_element(env, expected, i, js::string(env, result.expected[i])));
    js::set(env, object, "expected", expected);
    return object;
  });
}

napi_value make_object(napi_env env, GrammarPointer grammar) {
  napi_value object = js::object(env);
  js::set(env, object, "check", js::function(env, "check", check, nullptr));
  auto holder = std::make_unique<GrammarPointer>(std::move(grammar));
  js::ok(env, napi_wrap(env, object, holder.get(),
                        [](napi_env, void* data, void*) {
                          delete static_cast<GrammarPointer*>(data);
                        },
                        nullptr, nullptr));
  holder.release();
  js::ok(env, napi_type_tag_object(env, object, &kGrammarTag));
  return object;
}

struct Compilation {
  std::shared_ptr<Grammars> grammars;
  std::string source;
  napi_deferred deferred = nullptr;
  napi_async_work work = nullptr;
  GrammarPointer grammar;
  std::optional<Error> error;
  std::optional<size_t> position;  // of the error, in the source
};

void compile(napi_env, void* data) {
  auto& job = *static_cast<Compilation*>(data);
  try {
    job.grammar = job.grammars->compile(job.source);
  } catch (const grammar::GrammarError& error) {
    job.error = error;
    job.position = error.position();
  } catch (...) {
    job.error = js::current_error();
  }
}

void settle(napi_env env, napi_status status, void* data) {
  const std::unique_ptr<Compilation> job(static_cast<Compilation*>(data));
  napi_delete_async_work(env, job->work);
  if (status == napi_cancelled) return;  // the environment ends: nobody awaits it
  js::report(env, [&] {
    js::HandleScope scope(env);
    if (job->grammar) {
      try {
        napi_value object = make_object(env, job->grammar);
        js::ok(env, napi_resolve_deferred(env, job->deferred, object));
      } catch (...) {
        js::ok(env, napi_reject_deferred(env, job->deferred, js::current_exception(env)));
      }
      return;
    }
    napi_value error = js::error(env, *job->error);
    if (job->position)
      js::set(env, error, "position", js::number(env, static_cast<double>(*job->position)));
    js::ok(env, napi_reject_deferred(env, job->deferred, error));
  });
}

}  // namespace

GrammarPointer Grammars::compile(const std::string& source) {
  grammar::GrammarCache* cache = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!cache_) {
      if (!vocabulary_)
        vocabulary_ = std::make_shared<const grammar::Vocabulary>(
            std::move(tokens_.bytes), std::move(tokens_.offsets), std::move(tokens_.special),
            std::move(tokens_.stop_ids));
      cache_ = std::make_unique<grammar::GrammarCache>(vocabulary_);
    }
    cache = cache_.get();
  }
  return cache->get(source);
}

bool Grammars::owns(const grammar::CompiledGrammar& grammar) const {
  std::lock_guard lock(mutex_);
  return vocabulary_.get() == &grammar.vocabulary();
}

napi_value compile_grammar(napi_env env, std::shared_ptr<Grammars> grammars, std::string source) {
  auto job = std::make_unique<Compilation>();
  job->grammars = std::move(grammars);
  job->source = std::move(source);
  napi_value promise = nullptr;
  js::ok(env, napi_create_promise(env, &job->deferred, &promise));
  js::ok(env, napi_create_async_work(env, nullptr, js::string(env, "hotpath.compileGrammar"),
                                     compile, settle, job.get(), &job->work));
  js::ok(env, napi_queue_async_work(env, job->work));
  job.release();
  return promise;
}

GrammarPointer read_grammar(const Field& field) {
  if (field.is_null()) return nullptr;
  GrammarPointer grammar = unwrap(field.env(), field.value());
  if (!grammar) field.mismatch("null or what compileGrammar resolved to");
  return grammar;
}

}  // namespace hotpath

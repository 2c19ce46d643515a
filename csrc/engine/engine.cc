#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "cache/kv_cache.h"
#include "core/error.h"
#include "engine/batch_builder.h"
#include "engine/mailbox.h"
#include "engine/scheduler.h"

namespace hotpath {

namespace {

// Rows of logits in a step are f32 [rows, vocab_size]; prompts whose logprobs are asked for are
// chunked so that no step needs more than this (or than one per running sequence).
constexpr int32_t kMaxScoredRows = 256;

void check_options(const EngineOptions& o) {
  const auto positive = [](const char* name, int64_t value) {
    if (value <= 0)
      fail("invalid_request", name, ": expected a positive integer, received ", value);
  };
  positive("max_running_seqs", o.max_running_seqs);
  positive("max_batch_tokens", o.max_batch_tokens);
  positive("max_model_len", o.max_model_len);
  positive("block_size", o.block_size);
  positive("kv_cache_bytes", o.kv_cache_bytes);
}

class EngineThread final : public Engine {
 public:
  EngineThread(std::unique_ptr<Ops> ops, std::unique_ptr<Model> model, const EngineOptions& options,
               std::function<void()> wake)
      : ops_(std::move(ops)),
        model_(std::move(model)),
        wake_(std::move(wake)),
        max_seqs_(std::min(options.max_running_seqs, options.max_batch_tokens)),
        max_logits_(std::max(max_seqs_, std::min(kMaxScoredRows, options.max_batch_tokens))),
        vocab_size_(model_->spec().vocab_size),
        kv_(ops_->device(), model_->spec(),
            {.block_size = options.block_size,
             .bytes = options.kv_cache_bytes,
             .dtype = parse_kv_dtype(options.kv_cache_dtype),
             .capture_routed_experts = options.capture_routed_experts}),
        scheduler_({.max_running_seqs = max_seqs_,
                    .max_batch_tokens = options.max_batch_tokens,
                    .max_logits = max_logits_,
                    .block_size = options.block_size,
                    .num_blocks = kv_.num_blocks(),
                    .prefix_caching = options.prefix_caching}),
        builder_({.max_tokens = options.max_batch_tokens,
                  .max_seqs = max_seqs_,
                  .max_logits = max_logits_,
                  .max_model_len = options.max_model_len,
                  .block_size = options.block_size}),
        limits_{.vocab_size = vocab_size_,
                .max_model_len = options.max_model_len,
                .block_size = options.block_size,
                .num_blocks = kv_.num_blocks(),
                .experts_captured = kv_.experts_per_token() > 0},
        experts_(static_cast<size_t>(options.max_batch_tokens) * kv_.experts_per_token()) {
    model_->reserve(options.max_batch_tokens, max_seqs_, options.max_model_len, max_logits_);
    finished_.reserve(max_seqs_);
    stats_.blocks_total = kv_.num_blocks();
    stats_.weight_bytes = static_cast<int64_t>(model_->weight_bytes());
    stats_.kv_cache_bytes = kv_.bytes();
    publish();
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error& e) {
      fail("internal_error", "the engine's thread could not be started: ", e.what());
    }
  }

  ~EngineThread() override { close(); }

  void submit(Request request) override {
    try {
      inbox_.submit(std::make_unique<Sequence>(std::move(request), limits_));
    } catch (const std::bad_alloc&) {
      fail("out_of_memory", "no memory to queue the request; wait for others to end");
    }
  }
  void abort(int64_t id) override { inbox_.abort(id); }
  bool take(Delivery& out) override { return outbox_.take(out); }

  EngineStats stats() override {
    EngineStats s = outbox_.stats();
    s.waiting = std::max<int64_t>(0, inbox_.num_live() - s.running);
    s.failure = inbox_.failure();
    s.failed = !s.failure.empty();
    return s;
  }

  void close() override {
    inbox_.close();
    std::call_once(joined_, [this] { thread_.join(); });
  }

 private:
  // ---- the engine thread ----

  void run() noexcept {
    try {
      while (receive(/*block=*/!scheduler_.has_work())) {
        if (const Step* step = scheduler_.schedule()) {
          launch(*step);
          complete(*step);
        }
        publish();
        if (!scheduler_.has_work()) scheduler_.check_books();
      }
      for (Sequence* seq : scheduler_.all()) abort_now(*seq);
      publish();
      scheduler_.check_integrity();
    } catch (const std::bad_alloc&) {
      fail_all("out of memory in a step");
    } catch (const std::exception& e) {
      fail_all(e.what());
    } catch (...) {
      fail_all("unknown exception in a step");
    }
  }

  // False once the engine is to stop; what had been submitted until then is in the scheduler.
  bool receive(bool block) {
    const bool open = inbox_.receive(commands_, block);
    for (Command& c : commands_) {
      if (c.add)
        scheduler_.add(std::move(c.add));
      else if (Sequence* seq = scheduler_.find(c.abort_id))
        abort_now(*seq);
    }
    return open;
  }

  // The forward pass and the draws. Both are done on return: Ops::sample hands back host memory.
  void launch(const Step& step) {
    const auto begin = std::chrono::steady_clock::now();
    builder_.build(step);
    const Tensor logits = model_->forward(builder_.batch(), kv_.tensors(),
                                          experts_.empty() ? nullptr : experts_.data());
    if (!builder_.rows().empty()) ops_->sample(logits, builder_.rows(), builder_.results());
    ++stats_.steps;
    stats_.step_seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  void complete(const Step& step) {
    int32_t token = 0, row = 0;  // the chunk's first
    for (const Chunk& chunk : step.chunks) {
      complete(chunk, token, builder_.results().subspan(row, chunk.num_rows()));
      token += chunk.len;
      row += chunk.num_rows();
    }
  }

  void complete(const Chunk& chunk, int32_t first_token, std::span<SampleResult> results) {
    Sequence& seq = *chunk.seq;
    if (!all_finite(chunk, results)) {
      // Its blocks of this step do not go to the prefix tree.
      end_with_error(seq, "internal_error",
                     "the model computed logits that are not finite (NaN or infinity) for this "
                     "request; the weights may be damaged or overflow in this dtype");
      return;
    }
    if (!experts_.empty())
      for (int32_t t = first_token; t < first_token + chunk.len; ++t)
        kv_.store_experts(builder_.slot(t), experts_.data() + int64_t{t} * kv_.experts_per_token());
    const int32_t first_score = seq.next_score;
    scheduler_.advance(chunk);

    if (chunk.num_scores > 0)
      append_record(
          out_, {.id = seq.id,
                 .is_prompt = true,
                 .prefix_len = seq.prefix_len,
                 .tokens = {seq.tokens.data() + first_score, static_cast<size_t>(chunk.num_scores)},
                 .logprobs = results.first(chunk.num_scores),
                 .num_top = seq.params.num_prompt_logprobs});
    if (chunk.samples)
      complete_draw(seq, results.last(1));
    else if (seq.remaining() == 0)  // max_tokens 0: only the prompt was asked for
      end(seq, Finish::kLength, {}, {});
  }

  void complete_draw(Sequence& seq, std::span<const SampleResult> drawn) {
    seq.tokens.push_back(drawn[0].token);
    seq.sampler.append(drawn[0].token);
    ++stats_.generated_tokens;
    const std::span<const int32_t> token(&seq.tokens.back(), 1);
    if (seq.params.num_logprobs < 0) drawn = {};
    const Finish finish = seq.finish();
    if (finish != Finish::kNone)
      end(seq, finish, token, drawn);
    else
      append_record(out_, {.id = seq.id,
                           .prefix_len = seq.prefix_len,
                           .tokens = token,
                           .logprobs = drawn,
                           .num_top = seq.params.num_logprobs});
  }

  bool all_finite(const Chunk& chunk, std::span<const SampleResult> results) const {
    for (size_t i = 0; i < results.size(); ++i) {
      const bool scored = i < static_cast<size_t>(chunk.num_scores);
      if (results[i].token < 0 || results[i].token >= vocab_size_) return false;
      if ((scored || chunk.seq->params.num_logprobs >= 0) && !std::isfinite(results[i].logprob))
        return false;
    }
    return true;
  }

  // The last record of a sequence, and the end of it.
  void end(Sequence& seq, Finish finish, std::span<const int32_t> tokens,
           std::span<const SampleResult> logprobs) {
    const bool complete = finish == Finish::kStop || finish == Finish::kLength;
    const int32_t num_rows =
        complete && seq.params.return_routed_experts ? seq.len() - 1 : 0;  // KV of all but the last
    // The id first: what is in finished_ has had its last record and never gets another.
    finished_.push_back(seq.id);
    int32_t* experts = nullptr;
    try {
      experts =
          append_record(out_, {.id = seq.id,
                               .finish = finish,
                               .matched_stop_id = finish == Finish::kStop ? seq.tokens.back() : -1,
                               .prefix_len = seq.prefix_len,
                               .tokens = tokens,
                               .logprobs = logprobs,
                               .num_top = seq.params.num_logprobs,
                               .num_experts = num_rows * kv_.experts_per_token()});
    } catch (...) {
      finished_.pop_back();
      throw;
    }
    const int32_t block_size = kv_.block_size();
    for (int32_t p = 0; p < num_rows; ++p, experts += kv_.experts_per_token())
      kv_.load_experts(int64_t{seq.block_table[p / block_size]} * block_size + p % block_size,
                       experts);
    ++(finish == Finish::kAbort ? stats_.requests_aborted : stats_.requests_finished);
    scheduler_.remove(seq);
  }

  void abort_now(Sequence& seq) { end(seq, Finish::kAbort, {}, {}); }

  void end_with_error(Sequence& seq, const char* code, const std::string& message) {
    const int64_t id = seq.id;
    out_.failures.push_back({id, code, message});
    try {
      end(seq, Finish::kError, {}, {});
    } catch (...) {
      if (finished_.empty() || finished_.back() != id) out_.failures.pop_back();
      throw;
    }
  }

  void publish() {
    stats_.running = scheduler_.num_running();
    stats_.blocks_free = scheduler_.pool().num_free();
    stats_.blocks_cached = scheduler_.tree().num_evictable();
    stats_.prompt_tokens = scheduler_.counts().prompt_tokens;
    stats_.cached_prompt_tokens = scheduler_.counts().cached_prompt_tokens;
    stats_.preemptions = scheduler_.counts().preemptions;
    // Before their last records can be read, so that an id is free once its end was seen.
    inbox_.forget(finished_);
    finished_.clear();
    if (outbox_.publish(out_, stats_)) wake_();
  }

  // Nothing is known about the device or the books any more: every sequence that has not ended
  // gets an error record, and the thread ends. No memory is the one thing that can stop that.
  void fail_all(const std::string& message) noexcept {
    try {
      inbox_.mark_failed(message);
      const std::string text = concat("the engine has failed: ", message);
      std::vector<int64_t> ids;
      for (const Sequence* seq : scheduler_.all()) ids.push_back(seq->id);
      for (const Command& c : commands_)
        if (c.add) ids.push_back(c.add->id);
      inbox_.receive(commands_, /*block=*/false);
      for (const Command& c : commands_)
        if (c.add) ids.push_back(c.add->id);
      for (int64_t id : ids) {
        if (std::ranges::find(finished_, id) != finished_.end()) continue;
        out_.failures.push_back({id, "engine_failed", text});
        append_record(out_, {.id = id, .finish = Finish::kError});
        finished_.push_back(id);
        ++stats_.requests_finished;
      }
      commands_.clear();
      for (Sequence* seq : scheduler_.all()) scheduler_.remove(*seq);
    } catch (...) {
    }
    try {
      publish();
    } catch (...) {
    }
  }

  std::unique_ptr<Ops> ops_;
  std::unique_ptr<Model> model_;
  std::function<void()> wake_;
  const int32_t max_seqs_, max_logits_, vocab_size_;
  KvCache kv_;
  Scheduler scheduler_;
  BatchBuilder builder_;
  const Sequence::Limits limits_;
  std::vector<int32_t> experts_;  // of this step: [max_batch_tokens, num_layers, max_top_k]
  std::vector<Command> commands_;
  Delivery out_;                   // of this step
  std::vector<int64_t> finished_;  // ids whose last record is in out_
  EngineStats stats_;

  Inbox inbox_;
  Outbox outbox_;
  std::once_flag joined_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Engine> Engine::create(std::unique_ptr<Ops> ops, std::unique_ptr<Model> model,
                                       const EngineOptions& options, std::function<void()> wake) {
  check(ops && model && wake, "engine: expected ops, a model and a wake function");
  check_options(options);
  return std::make_unique<EngineThread>(std::move(ops), std::move(model), options, std::move(wake));
}

}  // namespace hotpath

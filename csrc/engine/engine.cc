#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <new>
#include <numeric>
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

constexpr int kMaskThreads = 2;

void check_options(const EngineOptions& o) {
  const auto positive = [](const char* name, int64_t value) {
    if (value <= 0)
      fail("invalid_request", name, ": expected a positive integer, received ", value);
  };
  positive("max_running_seqs", o.max_running_seqs);
  positive("max_batch_tokens", o.max_batch_tokens);
  positive("max_model_len", o.max_model_len);
  positive("block_size", o.block_size);
  const bool shares = o.memory_share > 0 && o.memory_share <= 1;
  if (o.kv_cache_bytes < 0 || (o.kv_cache_bytes == 0 && !shares))
    fail("invalid_request",
         "kv_cache_bytes: expected a positive integer, or 0 with memory_share in (0, 1], received ",
         o.kv_cache_bytes, " and ", o.memory_share);
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
             .bytes = reserve(options),
             .dtype = parse_kv_dtype(options.kv_cache_dtype),
             .capture_routed_experts = options.capture_routed_experts}),
        scheduler_({.max_running_seqs = max_seqs_,
                    .max_batch_tokens = options.max_batch_tokens,
                    .max_logits = max_logits_,
                    .block_size = options.block_size,
                    .num_blocks = kv_.num_blocks(),
                    .prefix_caching = options.prefix_caching}),
        limits_{.vocab_size = vocab_size_,
                .max_model_len = options.max_model_len,
                .block_size = options.block_size,
                .num_blocks = kv_.num_blocks(),
                .experts_captured = kv_.experts_per_token() > 0,
                .jump_forward = options.jump_forward},
        mask_patience_(options.mask_patience_us) {
    if (options.kv_cache_bytes == 0) check_fits(options);
    for (int i = 0; i < (ops_->asynchronous() ? 2 : 1); ++i) {
      flights_.emplace_back(BatchBuilder::Limits{.max_tokens = options.max_batch_tokens,
                                                 .max_seqs = max_seqs_,
                                                 .max_logits = max_logits_,
                                                 .max_model_len = options.max_model_len,
                                                 .block_size = options.block_size});
      flights_.back().experts.resize(static_cast<size_t>(options.max_batch_tokens) *
                                     kv_.experts_per_token());
    }
    record_steps();
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
  // ---- before the thread ----

  // Sets aside what steps need and says how large the cache may be: what was asked for, or the
  // share of what is free once the largest step has run.
  int64_t reserve(const EngineOptions& options) {
    model_->reserve(options.max_batch_tokens, max_seqs_, options.max_model_len, max_logits_);
    if (options.kv_cache_bytes > 0) return options.kv_cache_bytes;
    warm_up(options);
    const int64_t free_bytes = ops_->device().info().free_bytes;
    return static_cast<int64_t>(static_cast<double>(free_bytes) * options.memory_share);
  }

  // One step of as many prompt tokens as a step may have, in a cache of its own.
  void warm_up(const EngineOptions& options) {
    const int32_t tokens = std::min(options.max_batch_tokens, options.max_model_len);
    const int32_t blocks = (tokens + options.block_size - 1) / options.block_size;
    const KvCacheOptions one_block{.block_size = options.block_size,
                                   .bytes = std::numeric_limits<int64_t>::max() / 2,
                                   .dtype = parse_kv_dtype(options.kv_cache_dtype),
                                   .num_blocks = blocks};
    const KvCache cache(ops_->device(), model_->spec(), one_block);
    std::vector<int32_t> ids(tokens, 0), positions(tokens), table(blocks);
    std::iota(positions.begin(), positions.end(), 0);
    std::iota(table.begin(), table.end(), 0);
    const std::vector<int32_t> cu_seqlens{0, tokens}, seqlens{tokens}, last{tokens - 1};
    Batch batch;
    batch.num_seqs = 1;
    batch.num_tokens = batch.max_seqlen_q = batch.max_seqlen_k = tokens;
    batch.block_size = options.block_size;
    batch.max_blocks = blocks;
    batch.input_ids = ids, batch.positions = batch.slot_mapping = positions;
    batch.cu_seqlens_q = cu_seqlens, batch.seqlens_k = batch.prefill_lens = seqlens;
    batch.block_table = table, batch.logits_indices = last;
    model_->forward(batch, cache.tensors(), nullptr);
    ops_->wait(ops_->ticket());
  }

  void check_fits(const EngineOptions& options) const {
    const int64_t tokens = int64_t{kv_.num_blocks()} * options.block_size;
    if (tokens < options.max_model_len)
      fail("out_of_memory", "one request of max_model_len ", options.max_model_len,
           " tokens needs a KV cache of ", kv_.bytes() / tokens * options.max_model_len,
           " bytes, but ", kv_.bytes(), " are free beside the weights (", model_->weight_bytes(),
           " bytes): lower max_model_len, or free device memory");
  }

  // Decode steps of the sizes that the device records, so that no request waits for a recording.
  void record_steps() {
    for (const int size : ops_->recorded_sizes(max_seqs_)) {
      const std::vector<int32_t> zeros(size, 0), ones(size, 1), nowhere(size, -1);
      std::vector<int32_t> rows(size + 1);
      std::iota(rows.begin(), rows.end(), 0);
      Batch batch;
      batch.num_seqs = batch.num_tokens = size;
      batch.max_seqlen_q = batch.max_seqlen_k = batch.max_blocks = 1;
      batch.block_size = kv_.block_size();
      batch.input_ids = batch.positions = batch.prefill_lens = batch.block_table = zeros;
      batch.slot_mapping = nowhere, batch.seqlens_k = ones, batch.cu_seqlens_q = rows;
      batch.logits_indices = std::span(rows).first(size);
      model_->forward(batch, kv_.tensors(), nullptr);
      ops_->wait(ops_->ticket());
    }
  }

  // ---- the engine thread ----

  // A step between its launch and its completion.
  struct Flight {
    explicit Flight(const BatchBuilder::Limits& limits) : builder(limits) {}
    const Step* step = nullptr;
    BatchBuilder builder;
    std::vector<char> late;  // per chunk: its mask was not there in time, it draws nothing
    std::vector<int32_t> experts;  // [max_batch_tokens, num_layers, max_top_k], or empty
    uint64_t ticket = 0;
  };

  void run() noexcept {
    try {
      Flight* inflight = nullptr;
      while (receive(/*block=*/!scheduler_.has_work() && !inflight)) {
        const auto begin = std::chrono::steady_clock::now();
        Flight* next = nullptr;
        if (const Step* step = scheduler_.schedule()) {
          next = inflight == &flights_.front() ? &flights_.back() : &flights_.front();
          launch(*next, *step, inflight);
        }
        if (!next && !inflight && scheduler_.has_work())
          masks_.wait_any(mask_patience_ + std::chrono::milliseconds(1));
        // Where launching only enqueues, the step before is completed while this one is computed.
        if (inflight) complete(*inflight);
        inflight = next;
        if (inflight && !ops_->asynchronous()) complete(*std::exchange(inflight, nullptr));
        stats_.step_seconds +=
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        publish();
        if (!scheduler_.has_work() && !inflight) scheduler_.check_books();
      }
      for (Sequence* seq : scheduler_.all()) abort_now(*seq);
      publish();
      if (inflight) complete(*inflight);
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

  // The forward pass and the draws: enqueued, or done on a device that is not asynchronous. A draw
  // under a grammar needs the tokens before it: then the step in flight is completed (and inflight
  // null) between the two, and masks are filled while the device computes.
  void launch(Flight& flight, const Step& step, Flight*& inflight) {
    flight.step = &step;
    flight.builder.build(step);
    request_masks(step);
    const Tensor logits =
        model_->forward(flight.builder.batch(), kv_.tensors(),
                        flight.experts.empty() ? nullptr : flight.experts.data());
    for (const Chunk& chunk : step.chunks) {
      scheduler_.launched(chunk);
      if (chunk.samples) chunk.seq->tokens.push_back(Sequence::kUnknown);
    }
    flight.late.assign(step.chunks.size(), 0);
    if (std::ranges::any_of(step.chunks, draws_constrained)) {
      if (inflight) complete(*std::exchange(inflight, nullptr));
      request_masks(step);
      await_masks(flight, step);
    }
    flight.builder.build_rows(step, flight.late);
    if (!flight.builder.rows().empty())
      ops_->sample(logits, flight.builder.rows(), flight.builder.results());
    flight.ticket = ops_->ticket();
    ++stats_.steps;
  }

  static bool draws_constrained(const Chunk& chunk) {
    return chunk.samples && chunk.seq->constraint && !chunk.seq->ended;
  }

  // Of the sequences whose tokens so far are known.
  void request_masks(const Step& step) {
    for (const Chunk& chunk : step.chunks) {
      if (!draws_constrained(chunk) || !chunk.seq->constraint->is_active()) continue;
      if (chunk.seq->tokens[chunk.drawn_index - 1] != Sequence::kUnknown)
        masks_.request(chunk.seq->constraint);
    }
  }

  void await_masks(Flight& flight, const Step& step) {
    awaited_.clear();
    for (const Chunk& chunk : step.chunks)
      if (draws_constrained(chunk) && chunk.seq->constraint->is_active())
        awaited_.push_back(chunk.seq->constraint);
    masks_.wait(awaited_, mask_patience_);
    awaited_.clear();
    for (size_t i = 0; i < step.chunks.size(); ++i) {
      const Chunk& chunk = step.chunks[i];
      if (!draws_constrained(chunk) || !chunk.seq->constraint->is_active()) continue;
      Sequence& seq = *chunk.seq;
      switch (seq.constraint->mask_state()) {
        case Constraint::Mask::kReady:
          break;
        case Constraint::Mask::kForced:
          flight.late[i] = 1;
          seq.tokens.pop_back();
          append_forced(seq);
          break;
        case Constraint::Mask::kFailed:
          end_with_error(seq, "invalid_request", seq.constraint->failure());
          break;
        default:
          // Its newest token is computed once more, for the logits.
          flight.late[i] = 1;
          seq.tokens.pop_back();
          --seq.cached_len;
      }
    }
  }

  // Tokens that need no draw; the next step computes them, several at once.
  void append_forced(Sequence& seq) {
    const std::vector<int32_t> forced(seq.constraint->forced().begin(),
                                      seq.constraint->forced().end());
    for (const int32_t token : forced) {
      seq.tokens.push_back(token);
      complete_token(seq, seq.len() - 1, {});
      if (seq.ended) return;
    }
  }

  void complete(Flight& flight) {
    ops_->wait(flight.ticket);
    int32_t token = 0, row = 0;  // the chunk's first
    for (size_t i = 0; i < flight.step->chunks.size(); ++i) {
      const Chunk& chunk = flight.step->chunks[i];
      const bool draws = chunk.samples && !flight.late[i];
      complete(flight, chunk, token, draws,
               flight.builder.results().subspan(row, chunk.num_scores + (draws ? 1 : 0)));
      token += chunk.len;
      row += chunk.num_rows();
    }
  }

  // results: the scores, and the draw if there is one.
  void complete(Flight& flight, const Chunk& chunk, int32_t first_token, bool draws,
                std::span<SampleResult> results) {
    Sequence& seq = *chunk.seq;
    if (seq.ended) {
      scheduler_.stored(chunk);
      return;
    }
    if (!all_finite(chunk, results)) {
      // Its blocks of this step do not go to the prefix tree.
      end_with_error(seq, "internal_error",
                     "the model computed logits that are not finite (NaN or infinity) for this "
                     "request; the weights may be damaged or overflow in this dtype");
      scheduler_.stored(chunk);
      return;
    }
    if (!flight.experts.empty())
      for (int32_t t = first_token; t < first_token + chunk.len; ++t)
        kv_.store_experts(flight.builder.slot(t),
                          flight.experts.data() + int64_t{t} * kv_.experts_per_token());
    if (draws) seq.tokens[chunk.drawn_index] = results.back().token;
    scheduler_.stored(chunk);

    if (chunk.num_scores > 0)
      append_record(
          out_,
          {.id = seq.id,
           .is_prompt = true,
           .prefix_len = seq.prefix_len,
           .tokens = {seq.tokens.data() + chunk.first_score, static_cast<size_t>(chunk.num_scores)},
           .logprobs = results.first(chunk.num_scores),
           .num_top = seq.params.num_prompt_logprobs});
    if (draws)
      complete_token(seq, chunk.drawn_index, results.last(1));
    // Only the prompt was asked for.
    else if (seq.params.max_tokens == 0 && chunk.begin + chunk.len == seq.len())
      end(seq, Finish::kLength, {}, {});
  }

  // The generated token at tokens[index] is known. drawn: with its logprobs, or empty.
  void complete_token(Sequence& seq, int32_t index, std::span<const SampleResult> drawn) {
    const std::span<const int32_t> token(&seq.tokens[index], 1);
    seq.sampler.append(token[0]);
    ++stats_.generated_tokens;
    if (seq.params.num_logprobs < 0) drawn = {};
    Finish finish = seq.finish_at(index);
    if (seq.constraint) {
      try {
        seq.constraint->append(token[0]);
      } catch (const Error& error) {
        return end_with_error(seq, error.code().c_str(), error.what());
      }
      if (seq.constraint->is_finished()) finish = Finish::kStop;
    }
    if (finish != Finish::kNone) {
      // What a step in flight draws beyond the end is nobody's.
      seq.tokens.resize(index + 1);
      end(seq, finish, token, drawn);
    } else {
      append_record(out_, {.id = seq.id,
                           .prefix_len = seq.prefix_len,
                           .tokens = token,
                           .logprobs = drawn,
                           .num_top = seq.params.num_logprobs});
    }
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
    const auto& blocks = seq.running ? seq.block_table : seq.last_blocks;
    for (int32_t p = 0; p < num_rows; ++p, experts += kv_.experts_per_token())
      kv_.load_experts(int64_t{blocks[p / block_size]} * block_size + p % block_size, experts);
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
  std::vector<Flight> flights_;
  const Sequence::Limits limits_;
  const std::chrono::microseconds mask_patience_;
  MaskFiller masks_{kMaskThreads};
  std::vector<std::shared_ptr<Constraint>> awaited_;  // scratch
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

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grammar/grammar.h"
#include "model/model.h"
#include "sample/params.h"

namespace hotpath {

struct EngineOptions {
  int max_running_seqs = 64;           // sequences that take part in steps at a time
  int max_batch_tokens = 512;          // tokens of one step; longer prompts are chunked
  int max_model_len = 0;               // prompt + generated tokens of one request; > 0
  int block_size = 16;                 // tokens of a KV block
  int64_t kv_cache_bytes = 0;          // rounded down to whole blocks; 0: memory_share decides
  double memory_share = 0;  // (0, 1] of the device memory that is free once all else is in place
  std::string kv_cache_dtype = "f32";  // "f32" | "f16" | "bf16"
  bool prefix_caching = true;
  bool capture_routed_experts = false;  // keep the experts of every cached position
  // Text that a grammar leaves no choice about is put into the answer without drawing it, cut into
  // the longest tokens; not where logprobs, experts or min_tokens are asked for.
  bool jump_forward = false;
  // How long a step's draws wait for a mask, in microseconds: a sequence whose mask takes longer is
  // drawn in a later step, and the others are not kept.
  int mask_patience_us = 1000;
};

struct Request {
  int64_t id = 0;
  std::vector<int32_t> prompt;  // at least one id
  SamplingParams params;
  int32_t priority = 0;     // larger first; equal: first come, first served
  uint64_t cache_salt = 0;  // prefixes are shared between equal salts only
  int64_t share_group = 0;  // nonzero: members with equal prompts wait for the first one's prefill
  // How many of the prompt's last tokens count as generated ones for the penalties.
  int32_t num_counted = 0;
  // Null: none. Its vocabulary has as many tokens as the model's logits.
  std::shared_ptr<const grammar::CompiledGrammar> grammar;
  // The grammar governs what is generated after this text; empty: all of it.
  std::string grammar_start;
};

// Finish codes as they cross the boundary (lib/native.d.ts, FinishCode).
enum class Finish : int32_t { kNone = 0, kStop = 1, kLength = 2, kAbort = 3, kError = 4 };

// What one step (or several, merged) has to say, flat. lib/native.d.ts documents the record layout.
struct Delivery {
  std::vector<int32_t> ints;
  std::vector<float> floats;
  struct Failure {
    int64_t id;
    std::string code, message;
  };
  std::vector<Failure> failures;
  bool empty() const { return ints.empty() && failures.empty(); }
  void clear() { ints.clear(), floats.clear(), failures.clear(); }
};

struct EngineStats {
  int64_t running = 0, waiting = 0;
  int64_t blocks_total = 0, blocks_free = 0,
          blocks_cached = 0;  // cached: in the prefix tree, evictable
  int64_t steps = 0, prompt_tokens = 0, cached_prompt_tokens = 0, generated_tokens = 0;
  int64_t requests_finished = 0, requests_aborted = 0, preemptions = 0;
  int64_t weight_bytes = 0, kv_cache_bytes = 0;
  double step_seconds = 0;  // spent in steps, all of them
  bool failed = false;
  std::string failure;
};

// Owns the model, the cache, the scheduler and the one thread that runs them. submit, abort, take,
// stats and close may be called from any thread.
class Engine {
 public:
  // wake is called from the engine thread whenever the outbox turns from empty to not empty; the
  // receiver then calls take. It must not block and must not call back into the engine.
  static std::unique_ptr<Engine> create(std::unique_ptr<Ops> ops, std::unique_ptr<Model> model,
                                        const EngineOptions& options, std::function<void()> wake);
  virtual ~Engine() = default;  // as close()

  // Never blocks. Throws engine_closed, engine_failed, out_of_memory, or invalid_request for what
  // could never run: an empty prompt, ids outside the vocabulary, a prompt that max_model_len or
  // the KV cache cannot hold together with max_tokens, parameters out of range, an id in flight.
  virtual void submit(Request request) = 0;
  virtual void abort(int64_t id) = 0;  // idempotent; unknown ids are ignored
  // Swaps the outbox into out (cleared first). False when there was nothing.
  virtual bool take(Delivery& out) = 0;
  virtual EngineStats stats() = 0;
  // Ends all requests with kAbort, stops and joins the thread, checks the cache's books: were they
  // wrong, stats().failure says so. Does not throw. Idempotent.
  virtual void close() = 0;
};

}  // namespace hotpath

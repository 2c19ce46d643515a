#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "cache/block_pool.h"
#include "cache/prefix_tree.h"
#include "engine/sequence.h"

namespace hotpath {

struct SchedulerOptions {
  int32_t max_running_seqs = 64;
  int32_t max_batch_tokens = 512;
  int32_t max_logits = 256;  // rows of logits in one step; at least max_running_seqs
  int32_t block_size = 16;
  int32_t num_blocks = 0;
  bool prefix_caching = true;
};

// Decides what each step computes, and owns the sequences and the books of the KV blocks.
//
//  - Order everywhere: larger priority first, then first come. A preempted sequence keeps its
//    arrival, so it stands in front of its class again.
//  - A step takes every decode first, then prefill in order, in chunks that fit what is left of
//    max_batch_tokens and max_logits.
//  - Admission is strict: when the first waiting sequence does not fit, no later one overtakes it,
//    so a long prompt is never starved by short ones. Exception: a member of a share group stands
//    aside while another member computes the same prompt.
//  - Out of blocks: the last sequence in order gives its blocks back and is computed again later;
//    its full blocks stay in the prefix tree as long as there is room. The first in order is
//    preempted only if it is alone, and alone it always fits (Sequence checks that), so there is
//    always progress.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Takes the sequence, whose id must be new; when it throws, the caller still has it.
  void add(std::unique_ptr<Sequence>&& seq);
  // Null when there is none; valid until remove.
  Sequence* find(int64_t id);
  bool has_work() const { return !sequences_.empty(); }

  // The next step; null without work, or while all that is left to do waits for steps in flight or
  // for masks: a sequence whose mask was late is not scheduled before it is there.
  // Valid until the call after the next one: two steps may be in flight. Every chunk of it must be
  // answered by launched, then stored.
  const Step* schedule();

  // The chunk is on its way: the next step is planned as if it were done.
  void launched(const Chunk& chunk);
  // The chunk's KV is stored and its tokens are known: gives the blocks that are full now to the
  // prefix tree. chunk.seq is gone afterwards if it was removed meanwhile (false).
  bool stored(const Chunk& chunk);
  // Both at once.
  void advance(const Chunk& chunk) {
    launched(chunk);
    stored(chunk);
  }

  // Ends a sequence, in whatever state it is, and frees what it holds. Blocks that a step in flight
  // still writes may go to others at once: what they do with them comes later on the device.
  void remove(Sequence& seq);
  bool has_in_flight() const { return num_in_flight_ > 0; }

  // Every sequence, waiting or running, in order of arrival. For ending them all.
  std::vector<Sequence*> all();

  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  // Since the start; a prompt counts once, when it is first admitted.
  struct Counts {
    int64_t prompt_tokens = 0, cached_prompt_tokens = 0, preemptions = 0;
  };
  const Counts& counts() const { return counts_; }
  const BlockPool& pool() const { return pool_; }
  const PrefixTree& tree() const { return tree_; }

  // free + cached + in use == total, and nothing locked without a reader. Costs nothing, so the
  // engine does it whenever it is idle. Throws Error("internal_error") with the figures.
  void check_books() const;
  // The same block by block: each has one owner, each lock a reader, each list its links. 10 ms
  // with 100,000 blocks.
  void check_integrity() const;

 private:
  struct Before {
    bool operator()(const Sequence* a, const Sequence* b) const {
      return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
    }
  };

  int32_t blocks_for(int32_t tokens) const {
    return (tokens + options_.block_size - 1) / options_.block_size;
  }
  int32_t num_available() const { return pool_.num_free() + tree_.num_evictable(); }
  int32_t take_block();
  bool grow(Sequence& seq);
  bool try_admit(Sequence& seq);
  bool waits_for_group(const Sequence& seq) const;
  void preempt(Sequence& seq);
  void release_blocks(Sequence& seq);
  void schedule_decodes();
  void schedule_prefills();
  void admit_waiting();
  void add_chunk(Sequence& seq);

  SchedulerOptions options_;
  BlockPool pool_;
  PrefixTree tree_;
  std::unordered_map<int64_t, std::unique_ptr<Sequence>> sequences_;
  std::set<Sequence*, Before> waiting_;
  std::vector<Sequence*> running_;  // sorted by Before
  Step steps_[2];
  Step* current_ = &steps_[0];  // the one being scheduled
  int32_t num_in_flight_ = 0;   // chunks
  int32_t num_late_ = 0;        // sequences left out of the step being scheduled
  std::vector<std::unique_ptr<Sequence>> ended_;  // removed while in flight
  std::vector<int32_t> free_slots_;
  uint64_t num_arrivals_ = 0;
  Counts counts_;
};

}  // namespace hotpath

#include "engine/scheduler.h"

#include <algorithm>

#include "core/error.h"

namespace hotpath {

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(options), pool_(options.num_blocks), tree_(pool_, options.block_size) {
  // A running sequence takes a token and a row of a step each, so that no decode ever waits.
  options_.max_running_seqs = std::min(options_.max_running_seqs, options_.max_batch_tokens);
  check(options_.max_running_seqs > 0 && options_.max_logits >= options_.max_running_seqs,
        "scheduler: expected 0 < max_running_seqs <= max_logits, received ",
        options_.max_running_seqs, " and ", options_.max_logits);
  running_.reserve(options_.max_running_seqs);
  for (Step& step : steps_) step.chunks.reserve(options_.max_running_seqs);
  for (int32_t slot = options_.max_running_seqs; slot > 0; --slot) free_slots_.push_back(slot - 1);
}

void Scheduler::add(std::unique_ptr<Sequence>&& seq) {
  const auto [entry, is_new] = sequences_.try_emplace(seq->id, nullptr);
  check(is_new, "scheduler: request ", seq->id, " is there already");
  seq->arrival = num_arrivals_++;
  try {
    waiting_.insert(seq.get());
  } catch (...) {
    sequences_.erase(entry);
    throw;
  }
  entry->second = std::move(seq);
}

Sequence* Scheduler::find(int64_t id) {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

std::vector<Sequence*> Scheduler::all() {
  std::vector<Sequence*> list;
  list.reserve(sequences_.size());
  for (auto& [id, seq] : sequences_) list.push_back(seq.get());
  std::ranges::sort(list, {}, &Sequence::arrival);
  return list;
}

const Step* Scheduler::schedule() {
  current_ = current_ == &steps_[0] ? &steps_[1] : &steps_[0];
  current_->clear();
  if (!has_work()) return nullptr;
  schedule_decodes();
  schedule_prefills();
  admit_waiting();
  if (current_->num_tokens == 0 && (num_in_flight_ > 0 || num_late_ > 0)) return nullptr;
  check(current_->num_tokens > 0, "scheduler: nothing fits in a step, with ", num_running(),
        " sequences running, ", num_waiting(), " waiting, ", num_available(), " of ",
        pool_.num_blocks(), " blocks available");
  return current_;
}

// Victims come from the end of running_, so never one that is in the step already. Sequences with
// several tokens to compute only get their blocks here: those have them that were just admitted,
// not those that jumped forward.
void Scheduler::schedule_decodes() {
  num_late_ = 0;
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& seq = *running_[i];
    if (seq.constraint && seq.constraint->mask_state() == Constraint::Mask::kFilling) {
      ++num_late_;
      continue;
    }
    if (seq.remaining() < 1 || seq.is_full()) continue;
    while (seq.running && !grow(seq)) preempt(*running_.back());
    if (seq.running && seq.remaining() == 1) add_chunk(seq);
  }
}

void Scheduler::schedule_prefills() {
  for (Sequence* seq : running_)
    if (seq->remaining() > 1) add_chunk(*seq);
}

void Scheduler::admit_waiting() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (num_running() == options_.max_running_seqs ||
        current_->num_tokens == options_.max_batch_tokens)
      return;
    Sequence& seq = **it;
    if (waits_for_group(seq)) {
      ++it;
      continue;
    }
    if (!try_admit(seq)) return;
    it = waiting_.erase(it);
    add_chunk(seq);
  }
}

// As many of the sequence's tokens as the step has room for, in tokens and in rows of logits.
void Scheduler::add_chunk(Sequence& seq) {
  const int32_t rows_left = options_.max_logits - current_->num_rows;
  int32_t len = std::min(seq.remaining(), options_.max_batch_tokens - current_->num_tokens);
  // A position that is scored, like the one that is sampled from, takes a row.
  if (seq.owes_scores()) len = std::min(len, seq.next_score - 1 + rows_left - seq.cached_len);
  bool samples = len == seq.remaining() && seq.params.max_tokens > 0;
  if (samples && rows_left == 0) --len, samples = false;
  if (len <= 0) return;

  const int32_t end = seq.cached_len + len;
  const int32_t last_score = std::min(end, seq.prompt_len - 1);
  const Chunk chunk{.seq = &seq,
                    .begin = seq.cached_len,
                    .len = len,
                    .num_scores = std::max(0, last_score - seq.next_score + 1),
                    .samples = samples,
                    .first_score = seq.next_score,
                    .drawn_index = seq.len(),
                    .epoch = seq.epoch};
  current_->chunks.push_back(chunk);
  current_->num_tokens += len;
  current_->num_rows += chunk.num_rows();
}

bool Scheduler::waits_for_group(const Sequence& seq) const {
  // The part of the prompt that full blocks can hold and that need not be computed again.
  const int32_t shareable =
      std::min(seq.reusable_len(), seq.prompt_len) / options_.block_size * options_.block_size;
  if (seq.share_group == 0 || !options_.prefix_caching || shareable == 0) return false;
  return std::ranges::any_of(running_, [&](const Sequence* other) {
    return other->share_group == seq.share_group && other->cache_salt == seq.cache_salt &&
           other->stored_len < shareable && std::ranges::equal(other->prompt(), seq.prompt());
  });
}

// Takes the blocks of all tokens that are known, reusing what the tree has, and room for one more
// block per running sequence: otherwise the next decode would push the newcomer out again, and what
// was just preempted would come straight back.
bool Scheduler::try_admit(Sequence& seq) {
  if (seq.newest_unknown()) return false;  // preempted while its draw is in flight
  const int32_t num_blocks = blocks_for(seq.len());
  PrefixTree::Match match;
  if (options_.prefix_caching)
    match = tree_.match(seq.cache_salt, seq.tokens, seq.reusable_len() / options_.block_size);
  tree_.lock(match.node);  // what it matches no longer counts as available
  if (num_available() < num_blocks - match.num_blocks + num_running()) {
    tree_.unlock(match.node);
    return false;
  }
  seq.block_table.reserve(blocks_for(seq.max_len));
  seq.block_table.resize(match.num_blocks);
  tree_.path(match.node, seq.block_table);
  seq.tree_node = match.node;
  seq.num_tree_blocks = match.num_blocks;
  seq.cached_len = seq.stored_len = match.num_blocks * options_.block_size;
  seq.slot = free_slots_.back();
  free_slots_.pop_back();
  ++seq.epoch;
  while (static_cast<int32_t>(seq.block_table.size()) < num_blocks)
    seq.block_table.push_back(take_block());
  if (!seq.was_admitted) {
    seq.was_admitted = true;
    seq.prefix_len = seq.cached_len;
    counts_.prompt_tokens += seq.prompt_len;
    counts_.cached_prompt_tokens += seq.prefix_len;
  }
  seq.running = true;
  running_.insert(std::ranges::upper_bound(running_, &seq, Before{}), &seq);
  return true;
}

// The blocks of the newest tokens. False when there are none to be had.
bool Scheduler::grow(Sequence& seq) {
  while (static_cast<int32_t>(seq.block_table.size()) < blocks_for(seq.len())) {
    if (num_available() == 0) return false;
    seq.block_table.push_back(take_block());
  }
  return true;
}

int32_t Scheduler::take_block() {
  if (pool_.num_free() == 0) tree_.evict(1);
  return pool_.allocate();
}

void Scheduler::launched(const Chunk& chunk) {
  Sequence& seq = *chunk.seq;
  seq.cached_len += chunk.len;
  seq.next_score += chunk.num_scores;
  ++seq.num_in_flight;
  ++num_in_flight_;
}

bool Scheduler::stored(const Chunk& chunk) {
  Sequence& seq = *chunk.seq;
  --num_in_flight_;
  --seq.num_in_flight;
  if (seq.ended) {
    if (seq.num_in_flight == 0)
      std::erase_if(ended_, [&](const auto& other) { return other.get() == &seq; });
    return false;
  }
  if (!seq.running || seq.epoch != chunk.epoch) return true;  // preempted meanwhile
  seq.stored_len = chunk.begin + chunk.len;
  if (!options_.prefix_caching) return true;
  const std::span<const int32_t> tokens(seq.tokens);
  while ((seq.num_tree_blocks + 1) * options_.block_size <= seq.stored_len) {
    int32_t& block = seq.block_table[seq.num_tree_blocks];
    const auto offset = static_cast<size_t>(seq.num_tree_blocks) * options_.block_size;
    const int32_t own = block;
    block = tree_.insert(seq.cache_salt, seq.tree_node, tokens.subspan(offset, options_.block_size),
                         own);
    // Somebody else computed the same block meanwhile: both are equal, one is enough.
    if (block != own) pool_.release(own);
    seq.tree_node = block;
    ++seq.num_tree_blocks;
  }
  return true;
}

void Scheduler::preempt(Sequence& seq) {
  release_blocks(seq);
  waiting_.insert(&seq);
  ++counts_.preemptions;
}

void Scheduler::remove(Sequence& seq) {
  if (seq.running)
    release_blocks(seq);
  else
    waiting_.erase(&seq);
  const auto it = sequences_.find(seq.id);
  if (seq.num_in_flight > 0) {
    ended_.push_back(std::move(it->second));
    seq.ended = true;
  }
  sequences_.erase(it);
}

// The tree's blocks stay there, unlocked; the sequence's own are free again.
void Scheduler::release_blocks(Sequence& seq) {
  std::erase(running_, &seq);
  seq.running = false;
  free_slots_.push_back(seq.slot);
  seq.slot = -1;
  for (size_t i = seq.num_tree_blocks; i < seq.block_table.size(); ++i)
    pool_.release(seq.block_table[i]);
  tree_.unlock(seq.tree_node);
  seq.last_blocks.swap(seq.block_table);
  seq.block_table.clear();
  seq.tree_node = PrefixTree::kRoot;
  seq.num_tree_blocks = 0;
  seq.cached_len = seq.stored_len = 0;
}

void Scheduler::check_books() const {
  int32_t in_use = 0;
  for (const Sequence* seq : running_)
    in_use += static_cast<int32_t>(seq->block_table.size()) - seq->num_tree_blocks;
  check(pool_.num_free() + tree_.num_cached() + in_use == pool_.num_blocks(),
        "scheduler: ", pool_.num_free(), " blocks free + ", tree_.num_cached(), " cached + ",
        in_use, " in use, expected ", pool_.num_blocks(), " in all");
  check(!running_.empty() || tree_.num_evictable() == tree_.num_cached(),
        "scheduler: ", tree_.num_cached() - tree_.num_evictable(),
        " cached blocks are locked by nobody");
}

void Scheduler::check_integrity() const {
  check_books();
  pool_.check_integrity();
  tree_.check_integrity();
  check(running_.size() + waiting_.size() == sequences_.size(), "scheduler: ", running_.size(),
        " running and ", waiting_.size(), " waiting sequences, but ", sequences_.size(), " in all");
  std::vector<int32_t> locks(pool_.num_blocks(), 0);
  std::vector<bool> owned(pool_.num_blocks(), false);
  for (const Sequence* seq : running_) {
    const auto tree_blocks = static_cast<size_t>(seq->num_tree_blocks);
    for (size_t i = 0; i < seq->block_table.size(); ++i) {
      const int32_t block = seq->block_table[i];
      if (i < tree_blocks) {
        check(tree_.contains(block), "scheduler: request ", seq->id, " reads block ", block,
              " that is not in the tree");
        ++locks[block];
        continue;
      }
      check(!pool_.is_free(block) && !tree_.contains(block) && !owned[block], "scheduler: block ",
            block, " of request ", seq->id, " has another owner");
      owned[block] = true;
    }
  }
  for (int32_t b = 0; b < pool_.num_blocks(); ++b)
    if (tree_.contains(b))
      check(tree_.num_locks(b) == locks[b], "scheduler: block ", b, " has ", tree_.num_locks(b),
            " locks, but ", locks[b], " readers");
}

}  // namespace hotpath

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "grammar/automaton.h"
#include "grammar/chart.h"
#include "grammar/vocabulary.h"

namespace hotpath::grammar {

using RankRange = std::pair<uint32_t, uint32_t>;  // [first, second)
struct WalkResult;

// What a state, and the callers known so far, say of the tokens. Either bits or tokens is used.
struct MaskEntry {
  std::vector<uint32_t> bits;    // allowed, as a mask; empty when `tokens` has them
  std::vector<int32_t> tokens;   // allowed
  std::vector<RankRange> open;   // they run past the known callers: more must be known
  size_t num_bytes() const {
    return sizeof(*this) + bits.capacity() * 4 + tokens.capacity() * 4 +
           open.capacity() * sizeof(RankRange);
  }
};

// Entries of states that are the same in many grammars (string bodies, above all). Thread-safe.
class SharedMasks {
 public:
  std::shared_ptr<const MaskEntry> find(const std::string& key) const;
  void add(const std::string& key, std::shared_ptr<const MaskEntry> entry);

 private:
  static constexpr size_t kMaxBytes = 128 << 20;  // when full, all are dropped

  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const MaskEntry>> entries_;
  size_t num_bytes_ = 0;
};

// Masks of one grammar's states, made when first needed. Thread-safe.
//
// A place in a text is a state and the stack of its callers. Whether a token may come next depends
// on as many of the callers as the token runs past: for most, on none. So entries form a tree: by
// state, then by the caller it returns to, then by that one's caller; each says which tokens it
// decides, and one goes deeper only while tokens are open. That is exact, and one or two levels
// deep in practice.
class MaskCache {
 public:
  // max_bytes: of the entries; when full, all are dropped. Both referred objects must outlive this.
  MaskCache(const Automaton& automaton, const Vocabulary& vocabulary, size_t max_bytes);

  // Sets the bits of the tokens that may follow in `set`, and clears all others; words has
  // vocabulary.mask_words() of them. Says nothing of stop tokens. The chart is left as it was.
  // Throws GrammarError(kTooAmbiguous).
  void fill(Chart& chart, uint32_t set, std::span<uint32_t> words);

  size_t num_bytes() const { return num_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Key {
    uint64_t parent;  // 0: none, a state without callers
    uint32_t state, count;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Slot {
    uint64_t id;
    std::shared_ptr<const MaskEntry> entry;
  };
  struct Frame {
    uint32_t state, count;  // as masks see it: canonical()
    uint32_t origin, rule;  // in the chart
  };
  struct Filling;

  void visit(Filling& filling, uint64_t parent, const MaskEntry* parent_entry);
  Slot get(Filling& filling, uint64_t parent, const MaskEntry* parent_entry);
  std::shared_ptr<const MaskEntry> make(Filling& filling, uint64_t parent,
                                        const MaskEntry* parent_entry);
  std::shared_ptr<const MaskEntry> from_free(Filling& filling, Chart& chart, uint32_t set,
                                             uint64_t parent, const MaskEntry& parent_entry,
                                             uint64_t& num_tried);
  std::shared_ptr<const MaskEntry> entry_of(const WalkResult& result) const;
  std::vector<int32_t> tokens_of(const std::vector<RankRange>& ranges) const;
  void clear_longer(const std::vector<RankRange>& ranges, uint32_t length,
                    std::span<uint32_t> words) const;
  void check_directly(Filling& filling, std::vector<RankRange> ranges);
  Frame canonical(const Chart::Call& call) const;
  bool shared_key(const std::vector<Frame>& frames, std::string& key) const;
  std::unique_ptr<Chart> take_scratch();
  void give_scratch(std::unique_ptr<Chart> chart);

  const Automaton& automaton_;
  const Vocabulary& vocabulary_;
  const size_t max_bytes_;
  std::shared_mutex mutex_;  // slots_, next_id_
  std::unordered_map<Key, Slot, KeyHash> slots_;
  uint64_t next_id_ = 1;
  std::atomic<size_t> num_bytes_{0};
  std::mutex scratch_mutex_;
  std::vector<std::unique_ptr<Chart>> scratch_;
};

}  // namespace hotpath::grammar

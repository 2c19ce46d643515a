#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "grammar/automaton.h"

namespace hotpath::grammar {

// The places a text can be in, as Earley's sets, made as they are needed and made once.
//
// A set says which automaton states the text may stand at, each with its origin: the set in which
// that state's rule was begun. Sets with the same kernel (what stands behind the last byte) are
// one, whatever text led there: a set's id says all about its future, loops come back to the set
// that they left, and an id compares a whole stack. All that an origin is asked is who called the
// rule there, so that the first set with the same callers stands for all. Left recursion and
// ambiguity need no special care; right recursion does not pile up (see add_call).
//
// Not thread-safe: one chart per sequence, and one per thread that fills masks.
class Chart {
 public:
  static constexpr uint32_t kDead = 0;  // the set that nothing leads out of

  // Pseudo-states in Call::state: what is returned to is not a state of the automaton.
  static constexpr uint32_t kAccept = 0xffffffff;  // the text may end
  static constexpr uint32_t kBottom = 0xfffffffe;  // unknown: the caller's caller (masks)

  struct Item {
    uint32_t state, origin;
    auto operator<=>(const Item&) const = default;
  };
  // Somebody who called a rule: where it goes on when the rule ends. count: how often a counted
  // rule's element has been matched before this call.
  struct Call {
    uint32_t state, origin, count;
    bool operator==(const Call&) const = default;
  };

  explicit Chart(const Automaton& automaton);

  // Forgets all sets. The capacity stays.
  void reset();
  void reset(const Automaton& automaton);

  // The set at the start of a text.
  uint32_t start();

  // A set in which `rule` was called by `call` alone: for a stack given frame by frame.
  uint32_t add_frame(uint32_t rule, Call call);
  // A set that holds one item and has not looked at rules that it calls or that end there.
  uint32_t add_bare(Item item);

  // The set behind one more byte, or kDead. Throws GrammarError(kTooAmbiguous) when a set takes
  // more than the work allowed, which leaves the chart as it was.
  uint32_t step(uint32_t set, uint8_t byte);
  // step, with the result kept: for walks that come by often.
  uint32_t step_kept(uint32_t set, uint8_t byte) {
    const uint32_t row = sets_[set].row;
    if (row != kNone) {
      const uint32_t to = rows_[row][byte];
      if (to != kNone) return to;
    }
    return step_and_keep(set, byte);
  }
  // The set behind token(id), or kDead.
  uint32_t step_token(uint32_t set, uint32_t id);

  // In two parts: what stands behind a byte or token is appended to `kernel`; then the set of it.
  void scan_byte(uint32_t set, uint8_t byte, std::vector<Item>& kernel);
  void scan_token(uint32_t set, uint32_t id, std::vector<Item>& kernel);
  uint32_t intern(std::vector<Item>& kernel);

  bool complete(uint32_t set) const { return sets_[set].complete; }
  bool reached_bottom(uint32_t set) const { return sets_[set].bottom; }
  // Items with edges for bytes or tokens.
  std::span<const Item> scans(uint32_t set) const {
    const Set& s = sets_[set];
    return {scans_.data() + s.scan_begin, s.scan_end - s.scan_begin};
  }
  // Who called `rule` in this set.
  std::span<const Call> calls(uint32_t set, uint32_t rule) const;

  // The byte classes (Vocabulary::byte_classes) all of whose bytes lead from the set to itself.
  uint64_t loop_classes(uint32_t set);

  // Work: items and calls looked at. Each call that scans or makes sets takes from it.
  void allow_work(uint64_t work) { work_left_ = work; }
  uint64_t work_left() const { return work_left_; }
  // Takes work; throws GrammarError(kTooAmbiguous) when too little is left.
  void spend(uint64_t work);

  uint32_t num_sets() const { return static_cast<uint32_t>(sets_.size()); }
  size_t num_bytes() const;       // in use
  size_t capacity_bytes() const;  // allocated
  // Gives memory back where far more is allocated than in use.
  void shrink();

  // Forgets the sets made since num_sets() was `count`. No rows may have been kept.
  void truncate(uint32_t count);
  // Keeps the given sets and what they refer to, and forgets all others; the ids are replaced.
  void keep_only(std::span<uint32_t> sets);

 private:
  static constexpr uint32_t kNone = 0xffffffff;
  static constexpr uint32_t kSelf = 0xfffffffd;  // an origin: the set that is being made
  static constexpr size_t kMaxRows = 4096;       // 1 KB each

  struct Set {
    uint32_t kernel_begin, kernel_end;
    uint32_t scan_begin, scan_end;
    uint32_t group_begin, group_end;
    uint32_t next_in_bucket = kNone;
    uint32_t row = kNone;
    uint64_t loops = 0;
    bool complete = false, bottom = false, loops_known = false;
  };
  struct Group {  // the calls of one rule in one set
    uint32_t rule, begin, end, set;
    uint32_t next_in_bucket = kNone;
    bool listed = false;  // in group_buckets_
  };
  struct Pending {  // an item, or a call of `rule` (an item then has kNone)
    uint32_t state, origin, count, rule;
    bool operator==(const Pending&) const = default;
  };

  uint32_t open_set();
  void close_set(Set& set);
  void share_groups(uint32_t id, uint32_t begin, uint32_t end);
  void share_group(uint32_t id, uint32_t index);
  uint32_t find_group(uint32_t id, uint32_t rule) const;
  uint32_t origin_in(uint32_t id, uint32_t rule) const;
  uint64_t hash_group(const Group& group) const;
  void list_group(uint32_t index);
  void link_group(uint32_t index);
  void rehash_groups(size_t num_buckets);
  void unlist_group(uint32_t index);
  void complete_kernel(Set& set);
  void predict(uint32_t rule);
  void add_item(uint32_t state, uint32_t origin, uint32_t count);
  void add_call(uint32_t rule, Call call);
  void return_to(Set& set, uint32_t origin, uint32_t rule);
  bool insert(const Pending& pending);
  void grow_seen();
  uint32_t step_and_keep(uint32_t set, uint8_t byte);
  static uint64_t hash(std::span<const Item> kernel);
  void link(uint32_t set);
  void rehash(size_t num_buckets);

  const Automaton* automaton_;
  std::vector<Set> sets_;
  std::vector<Item> kernels_, scans_;
  std::vector<Call> calls_;
  std::vector<Group> groups_;
  std::vector<uint32_t> buckets_, group_buckets_;
  std::vector<std::array<uint32_t, 256>> rows_;
  size_t num_rows_ = 0;
  uint64_t work_left_ = 0;

  // Of the set that is being made.
  std::vector<Pending> agenda_;  // items in order of arrival; never shrinks while a set is made
  std::vector<std::pair<uint32_t, Call>> new_calls_;
  std::vector<uint32_t> predicted_;  // by rule: generation_ when it was
  std::vector<std::pair<Pending, uint32_t>> seen_;  // open addressing; second: generation
  size_t num_seen_ = 0;
  uint32_t generation_ = 0;
  std::vector<std::pair<uint32_t, uint32_t>> resolving_;  // set, rule
  std::vector<uint32_t> shared_;  // by group of the set: where items of its rule begin, or kNone
  // By group of the set: calls whose rule is not yet known; the first of the calls waiting for it.
  std::vector<uint32_t> num_open_, first_waiting_;
  std::vector<std::pair<uint32_t, uint32_t>> waiting_;  // a group; the next that waits for the same
  std::vector<uint32_t> known_;                         // groups, in the order they became known
  std::vector<Item> scratch_;
};

}  // namespace hotpath::grammar

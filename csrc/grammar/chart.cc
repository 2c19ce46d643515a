#include "grammar/chart.h"

#include <algorithm>
#include <bit>

#include "grammar/vocabulary.h"

namespace hotpath::grammar {

namespace {

constexpr size_t kSpareBytes = 4 << 20;  // allocated and not in use that is not worth giving back

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9e3779b97f4a7c15ull;
  return h ^ (h >> 29);
}

}  // namespace

Chart::Chart(const Automaton& automaton) : automaton_(&automaton) { reset(automaton); }

void Chart::reset(const Automaton& automaton) {
  automaton_ = &automaton;
  predicted_.assign(automaton.rules.size(), 0);
  generation_ = 0;
  for (auto& slot : seen_) slot.second = 0;
  reset();
}

void Chart::reset() {
  sets_.clear(), kernels_.clear(), scans_.clear(), calls_.clear(), groups_.clear();
  num_rows_ = 0;
  for (auto* buckets : {&buckets_, &group_buckets_})
    buckets->assign(buckets->size() > 4096 ? 64 : std::max<size_t>(buckets->size(), 64), kNone);
  open_set();  // kDead
}

uint32_t Chart::open_set() {
  const auto kernel = static_cast<uint32_t>(kernels_.size());
  const auto scan = static_cast<uint32_t>(scans_.size());
  const auto group = static_cast<uint32_t>(groups_.size());
  sets_.push_back({.kernel_begin = kernel,
                   .kernel_end = kernel,
                   .scan_begin = scan,
                   .scan_end = scan,
                   .group_begin = group,
                   .group_end = group});
  return static_cast<uint32_t>(sets_.size() - 1);
}

uint32_t Chart::start() {
  const uint32_t root = automaton_->root;
  scratch_.assign(1, {automaton_->rules[root].start, add_frame(root, {kAccept, kDead, 0})});
  return intern(scratch_);
}

uint32_t Chart::add_frame(uint32_t rule, Call call) {
  const uint32_t id = open_set();
  const auto at = static_cast<uint32_t>(calls_.size());
  calls_.push_back(call);
  groups_.push_back({.rule = rule, .begin = at, .end = at + 1, .set = id});
  ++sets_[id].group_end;
  return id;
}

uint32_t Chart::add_bare(Item item) {
  const uint32_t id = open_set();
  scans_.push_back(item);
  ++sets_[id].scan_end;
  return id;
}

std::span<const Chart::Call> Chart::calls(uint32_t set, uint32_t rule) const {
  const uint32_t group = find_group(set, rule);
  if (group == kNone) return {};
  return {calls_.data() + groups_[group].begin, groups_[group].end - groups_[group].begin};
}

void Chart::scan_byte(uint32_t set, uint8_t byte, std::vector<Item>& kernel) {
  spend(1 + scans(set).size() / 8);
  for (const Item& item : scans(set)) {
    const auto edges = automaton_->bytes_of(item.state);
    // Ranges are sorted by lo; only in a nondeterministic state can several hold the byte.
    auto at = edges.begin();
    if (edges.size() > 8) {
      if (automaton_->states[item.state].disjoint)
        at = std::partition_point(edges.begin(), edges.end(),
                                  [&](const auto& e) { return e.hi < byte; });
      else
        spend(edges.size() / 8);
    }
    for (; at != edges.end() && at->lo <= byte; ++at)
      if (byte <= at->hi) kernel.push_back({at->target, item.origin});
  }
}

void Chart::scan_token(uint32_t set, uint32_t id, std::vector<Item>& kernel) {
  spend(1 + scans(set).size() / 8);
  for (const Item& item : scans(set)) {
    const auto edges = automaton_->tokens_of(item.state);
    spend(edges.size() / 8);
    for (const auto& edge : edges)
      if (edge.id == id) kernel.push_back({edge.target, item.origin});
  }
}

uint32_t Chart::step(uint32_t set, uint8_t byte) {
  scratch_.clear();
  scan_byte(set, byte, scratch_);
  return intern(scratch_);
}

uint32_t Chart::step_token(uint32_t set, uint32_t id) {
  scratch_.clear();
  scan_token(set, id, scratch_);
  return intern(scratch_);
}

uint32_t Chart::step_and_keep(uint32_t set, uint8_t byte) {
  if (sets_[set].row == kNone) {
    if (num_rows_ == kMaxRows) return step(set, byte);
    if (num_rows_ == rows_.size()) rows_.emplace_back();
    sets_[set].row = static_cast<uint32_t>(num_rows_);
    auto& row = rows_[num_rows_++];
    row.fill(kDead);
    for (const Item& item : scans(set))
      for (const auto& edge : automaton_->bytes_of(item.state))
        std::fill(row.begin() + edge.lo, row.begin() + edge.hi + 1, kNone);
    if (row[byte] == kDead) return kDead;
  }
  const uint32_t to = step(set, byte);
  rows_[sets_[set].row][byte] = to;
  return to;
}

uint64_t Chart::loop_classes(uint32_t set) {
  if (!sets_[set].loops_known) {
    const auto& class_of = Vocabulary::byte_classes();
    uint64_t leaves = 0;
    for (int b = 0; b < 256; ++b) {
      const uint64_t bit = uint64_t{1} << class_of[b];
      if (!(leaves & bit) && step_kept(set, static_cast<uint8_t>(b)) != set) leaves |= bit;
    }
    sets_[set].loops = ~leaves;
    sets_[set].loops_known = true;
  }
  return sets_[set].loops;
}

uint64_t Chart::hash(std::span<const Item> kernel) {
  uint64_t h = kernel.size();
  for (const Item& item : kernel) h = mix(h, uint64_t{item.state} << 32 | item.origin);
  return h;
}

void Chart::link(uint32_t set) {
  const Set& s = sets_[set];
  if (s.kernel_begin == s.kernel_end) return;
  const uint64_t h =
      hash({kernels_.data() + s.kernel_begin, size_t{s.kernel_end} - s.kernel_begin});
  uint32_t& bucket = buckets_[h & (buckets_.size() - 1)];
  sets_[set].next_in_bucket = bucket;
  bucket = set;
}

void Chart::rehash(size_t num_buckets) {
  buckets_.assign(num_buckets, kNone);
  for (uint32_t set = 0; set < sets_.size(); ++set) link(set);  // newest first, as truncate needs
}

uint32_t Chart::intern(std::vector<Item>& kernel) {
  if (kernel.empty()) return kDead;
  if (kernel.size() > 1) {
    std::ranges::sort(kernel);
    kernel.erase(std::ranges::unique(kernel).begin(), kernel.end());
  }
  spend(kernel.size());
  const uint64_t h = hash(kernel);
  for (uint32_t s = buckets_[h & (buckets_.size() - 1)]; s != kNone; s = sets_[s].next_in_bucket) {
    const std::span<const Item> other{kernels_.data() + sets_[s].kernel_begin,
                                      size_t{sets_[s].kernel_end} - sets_[s].kernel_begin};
    if (std::ranges::equal(other, kernel)) return s;
  }
  const uint32_t id = open_set();
  Set set = sets_[id];
  const size_t num_calls = calls_.size();
  try {
    kernels_.insert(kernels_.end(), kernel.begin(), kernel.end());
    set.kernel_end = static_cast<uint32_t>(kernels_.size());
    complete_kernel(set);
    close_set(set);
  } catch (...) {  // half a set must not be found again
    for (size_t g = set.group_begin; g < groups_.size(); ++g)
      if (groups_[g].listed) unlist_group(static_cast<uint32_t>(g));
    kernels_.resize(set.kernel_begin);
    scans_.resize(set.scan_begin);
    calls_.resize(num_calls);
    groups_.resize(set.group_begin);
    sets_.pop_back();
    throw;
  }
  sets_[id] = set;
  if (sets_.size() > buckets_.size())
    rehash(buckets_.size() * 4);
  else
    link(id);
  return id;
}

void Chart::spend(uint64_t work) {
  if (work > work_left_) {
    work_left_ = 0;
    throw GrammarError(GrammarError::Kind::kTooAmbiguous, 0,
                       "the grammar has too many readings of this text to follow them all; make it "
                       "less ambiguous");
  }
  work_left_ -= work;
}

bool Chart::insert(const Pending& pending) {
  spend(1);
  if (seen_.size() < 2 * (num_seen_ + 1)) grow_seen();
  const size_t mask = seen_.size() - 1;
  uint64_t h = mix(uint64_t{pending.state} << 32 | pending.origin,
                   uint64_t{pending.count} << 32 | pending.rule);
  for (size_t at = h & mask;; at = (at + 1) & mask) {
    if (seen_[at].second != generation_) {
      seen_[at] = {pending, generation_};
      ++num_seen_;
      return true;
    }
    if (seen_[at].first == pending) return false;
  }
}

void Chart::grow_seen() {
  std::vector<std::pair<Pending, uint32_t>> old(std::max<size_t>(64, 2 * seen_.size()));
  old.swap(seen_);
  const size_t mask = seen_.size() - 1;
  for (const auto& [pending, generation] : old) {
    if (generation != generation_ || generation == 0) continue;
    uint64_t h = mix(uint64_t{pending.state} << 32 | pending.origin,
                     uint64_t{pending.count} << 32 | pending.rule);
    size_t at = h & mask;
    while (seen_[at].second == generation_) at = (at + 1) & mask;
    seen_[at] = {pending, generation};
  }
}

void Chart::add_item(uint32_t state, uint32_t origin, uint32_t count) {
  const Pending item{state, origin, count, kNone};
  if (insert(item)) agenda_.push_back(item);
}

// Notes that `call` waits for `rule`. When it has nothing left to do but to return, those who wait
// for it are noted in its place: a right recursion then is a loop, not an ever deeper stack.
void Chart::add_call(uint32_t rule, Call call) {
  if (call.state < kBottom && call.origin != kSelf && automaton_->states[call.state].tail) {
    // Looked through once for each rule that is called: what that finds, it finds every time. In
    // seen_ these have a count that no call has.
    const auto look_through = [&](const Call& at) {
      const uint32_t through = automaton_->states[at.state].rule;
      if (insert({through, at.origin, kNone, rule})) resolving_.push_back({at.origin, through});
    };
    resolving_.clear();
    look_through(call);
    for (size_t i = 0; i < resolving_.size(); ++i) {
      const auto [origin, through] = resolving_[i];
      for (const Call& outer : calls(origin, through)) {
        spend(1);
        // Callers within the set that they call in could not be looked through there.
        if (outer.state < kBottom && automaton_->states[outer.state].tail) {
          look_through(outer);
        } else if (insert({outer.state, outer.origin, outer.count, rule})) {
          new_calls_.push_back({rule, outer});
        }
      }
    }
  } else if (insert({call.state, call.origin, call.count, rule})) {
    new_calls_.push_back({rule, call});
  }
}

void Chart::predict(uint32_t rule) {
  if (predicted_[rule] == generation_) return;
  predicted_[rule] = generation_;
  add_item(automaton_->rules[rule].start, kSelf, 0);
}

// `rule`, begun in the set `origin`, ends here.
void Chart::return_to(Set& set, uint32_t origin, uint32_t rule) {
  for (const Call& call : calls(origin, rule)) {
    spend(1);
    if (call.state == kAccept) {
      set.complete = true;
    } else if (call.state == kBottom) {
      set.bottom = true;
    } else {
      const Automaton::Rule& r = automaton_->rules[automaton_->states[call.state].rule];
      uint32_t count = 0;  // without a maximum, what counts is whether the minimum is reached
      if (r.counted) count = r.max == kUnbounded ? std::min(call.count + 1, r.min) : call.count + 1;
      add_item(call.state, call.origin, count);
    }
  }
}

void Chart::complete_kernel(Set& set) {
  if (++generation_ == 0) {  // wrapped
    generation_ = 1;
    std::ranges::fill(predicted_, 0);
    for (auto& slot : seen_) slot.second = 0;
  }
  num_seen_ = 0;
  agenda_.clear();
  new_calls_.clear();
  for (uint32_t i = set.kernel_begin; i < set.kernel_end; ++i)
    add_item(kernels_[i].state, kernels_[i].origin, 0);
  for (size_t i = 0; i < agenda_.size(); ++i) {
    const auto [state, origin, count, unused] = agenda_[i];
    const Automaton::State& s = automaton_->states[state];
    const Automaton::Rule& rule = automaton_->rules[s.rule];
    // An item that begins here and ends here has matched nothing; whoever called its rule has been
    // moved past it when it was called.
    const bool moved = origin != kSelf;
    if (rule.counted) {
      if (count < rule.max) {
        add_call(rule.element, {state, origin, count});
        predict(rule.element);
      }
      if (moved && count >= rule.min && !rule.endless) return_to(set, origin, s.rule);
      continue;
    }
    for (const auto& edge : automaton_->calls_of(state)) {
      add_call(edge.rule, {edge.target, origin, 0});
      predict(edge.rule);
      if (automaton_->rules[edge.rule].nullable) add_item(edge.target, origin, 0);
    }
    const Automaton::State& next = automaton_->states[state + 1];
    if (s.byte_begin != next.byte_begin || s.token_begin != next.token_begin)
      scans_.push_back({state, origin});
    if (s.final && moved) return_to(set, origin, s.rule);
  }
}

// Puts what complete_kernel found where it stays.
void Chart::close_set(Set& set) {
  const uint32_t id = static_cast<uint32_t>(sets_.size() - 1);
  std::ranges::stable_sort(new_calls_, {}, [](const auto& c) { return c.first; });
  for (const auto& [rule, call] : new_calls_) {
    const auto at = static_cast<uint32_t>(calls_.size());
    if (groups_.size() == set.group_begin || groups_.back().rule != rule)
      groups_.push_back({.rule = rule, .begin = at, .end = at, .set = id});
    calls_.push_back(call);
    ++groups_.back().end;
  }
  set.group_end = static_cast<uint32_t>(groups_.size());
  sets_[id].group_end = set.group_end;
  share_groups(id, set.group_begin, set.group_end);
  set.scan_end = static_cast<uint32_t>(scans_.size());
  for (uint32_t i = set.scan_begin; i < set.scan_end; ++i)
    if (scans_[i].origin == kSelf)
      scans_[i].origin = origin_in(id, automaton_->states[scans_[i].state].rule);
}

// Finds for each rule called in set `id` the first set that it was called in by the same callers.
// Callers that are in this very set are known once their own rules are; where that goes round in
// circles (left recursion), the set stands for itself.
void Chart::share_groups(uint32_t id, uint32_t begin, uint32_t end) {
  const uint32_t num = end - begin;
  shared_.assign(num, kNone);
  num_open_.assign(num, 0);
  first_waiting_.assign(num, kNone);
  waiting_.clear();
  known_.clear();
  for (uint32_t g = 0; g < num; ++g) {
    for (uint32_t c = groups_[begin + g].begin; c < groups_[begin + g].end; ++c) {
      if (calls_[c].origin != kSelf) continue;
      const uint32_t caller = find_group(id, automaton_->states[calls_[c].state].rule);
      if (caller == kNone) continue;
      waiting_.push_back({g, first_waiting_[caller - begin]});
      first_waiting_[caller - begin] = static_cast<uint32_t>(waiting_.size() - 1);
      ++num_open_[g];
    }
    if (num_open_[g] == 0) known_.push_back(g);
  }
  for (size_t k = 0; k < known_.size(); ++k) {
    share_group(id, begin + known_[k]);
    for (uint32_t w = first_waiting_[known_[k]]; w != kNone; w = waiting_[w].second)
      if (--num_open_[waiting_[w].first] == 0) known_.push_back(waiting_[w].first);
  }
  if (known_.size() == num) return;
  for (uint32_t g = 0; g < num; ++g)
    if (shared_[g] == kNone) share_group(id, begin + g);
}

// Callers that are still open now go round in circles.
void Chart::share_group(uint32_t id, uint32_t index) {
  const Group& group = groups_[index];
  bool circular = false;
  for (uint32_t c = group.begin; c < group.end; ++c) {
    if (calls_[c].origin != kSelf) continue;
    const uint32_t origin = origin_in(id, automaton_->states[calls_[c].state].rule);
    circular |= origin == kNone;
    calls_[c].origin = origin == kNone ? id : origin;
  }
  uint32_t& shared = shared_[index - sets_[id].group_begin];
  if (circular) {
    shared = id;
    return;
  }
  const std::span<const Call> own{calls_.data() + group.begin, size_t{group.end} - group.begin};
  for (uint32_t g = group_buckets_[hash_group(group) & (group_buckets_.size() - 1)]; g != kNone;
       g = groups_[g].next_in_bucket) {
    const Group& other = groups_[g];
    if (other.rule == group.rule && other.end - other.begin == own.size() &&
        std::equal(own.begin(), own.end(), calls_.begin() + other.begin)) {
      shared = other.set;
      return;
    }
  }
  shared = id;
  list_group(index);
}

// The group of the calls of `rule` in the set, or kNone.
uint32_t Chart::find_group(uint32_t id, uint32_t rule) const {
  const auto begin = groups_.begin() + sets_[id].group_begin;
  const auto end = groups_.begin() + sets_[id].group_end;
  const auto at = std::lower_bound(begin, end, rule,
                                   [](const Group& g, uint32_t r) { return g.rule < r; });
  return at == end || at->rule != rule ? kNone : static_cast<uint32_t>(at - groups_.begin());
}

// Where items of `rule` that begin in the newest set, `id`, have their origin; kNone: still open.
uint32_t Chart::origin_in(uint32_t id, uint32_t rule) const {
  const uint32_t group = find_group(id, rule);
  return group == kNone ? id : shared_[group - sets_[id].group_begin];
}

uint64_t Chart::hash_group(const Group& group) const {
  uint64_t h = group.rule;
  for (uint32_t c = group.begin; c < group.end; ++c)
    h = mix(mix(h, uint64_t{calls_[c].state} << 32 | calls_[c].origin), calls_[c].count);
  return h;
}

void Chart::list_group(uint32_t index) {
  if (groups_.size() > 2 * group_buckets_.size()) rehash_groups(std::bit_ceil(2 * groups_.size()));
  link_group(index);
  groups_[index].listed = true;
}

void Chart::link_group(uint32_t index) {
  uint32_t& bucket = group_buckets_[hash_group(groups_[index]) & (group_buckets_.size() - 1)];
  groups_[index].next_in_bucket = bucket;
  bucket = index;
}

void Chart::rehash_groups(size_t num_buckets) {
  group_buckets_.assign(num_buckets, kNone);
  for (uint32_t g = 0; g < groups_.size(); ++g)
    if (groups_[g].listed) link_group(g);
}

void Chart::unlist_group(uint32_t index) {
  uint32_t* at = &group_buckets_[hash_group(groups_[index]) & (group_buckets_.size() - 1)];
  while (*at != index) at = &groups_[*at].next_in_bucket;
  *at = groups_[index].next_in_bucket;
}

size_t Chart::num_bytes() const {
  return sets_.size() * sizeof(Set) + (kernels_.size() + scans_.size()) * sizeof(Item) +
         calls_.size() * sizeof(Call) + groups_.size() * sizeof(Group) +
         (buckets_.size() + group_buckets_.size()) * sizeof(uint32_t) +
         num_rows_ * sizeof(rows_[0]);
}

size_t Chart::capacity_bytes() const {
  return sets_.capacity() * sizeof(Set) +
         (kernels_.capacity() + scans_.capacity()) * sizeof(Item) +
         calls_.capacity() * sizeof(Call) + groups_.capacity() * sizeof(Group) +
         (buckets_.capacity() + group_buckets_.capacity()) * sizeof(uint32_t) +
         rows_.capacity() * sizeof(rows_[0]) +
         agenda_.capacity() * sizeof(Pending) + new_calls_.capacity() * sizeof(new_calls_[0]) +
         seen_.capacity() * sizeof(seen_[0]) + scratch_.capacity() * sizeof(Item) +
         (resolving_.capacity() + waiting_.capacity()) * sizeof(waiting_[0]) +
         (predicted_.capacity() + shared_.capacity() + num_open_.capacity() +
          first_waiting_.capacity() + known_.capacity()) * sizeof(uint32_t);
}

void Chart::shrink() {
  if (capacity_bytes() < kSpareBytes + 2 * num_bytes()) return;
  agenda_ = {}, new_calls_ = {}, seen_ = {}, resolving_ = {}, scratch_ = {};
  shared_ = {}, num_open_ = {}, first_waiting_ = {}, waiting_ = {}, known_ = {};
  num_seen_ = 0;
  rows_.resize(num_rows_);
  const size_t num_buckets = std::bit_ceil(std::max<size_t>(64, sets_.size()));
  if (num_buckets < buckets_.size()) rehash(num_buckets);
  const size_t num_group_buckets = std::bit_ceil(std::max<size_t>(64, groups_.size()));
  if (num_group_buckets < group_buckets_.size()) rehash_groups(num_group_buckets);
  sets_.shrink_to_fit(), kernels_.shrink_to_fit(), scans_.shrink_to_fit();
  calls_.shrink_to_fit(), groups_.shrink_to_fit(), rows_.shrink_to_fit();
  buckets_.shrink_to_fit(), group_buckets_.shrink_to_fit();
}

void Chart::truncate(uint32_t count) {
  if (count >= sets_.size()) return;
  for (uint32_t set = num_sets(); set-- > count;) {
    const Set& s = sets_[set];
    if (s.kernel_begin == s.kernel_end) continue;
    const uint64_t h =
        hash({kernels_.data() + s.kernel_begin, size_t{s.kernel_end} - s.kernel_begin});
    buckets_[h & (buckets_.size() - 1)] = s.next_in_bucket;  // the newest comes first
  }
  const Set& first = sets_[count];
  for (size_t g = first.group_begin; g < groups_.size(); ++g)
    if (groups_[g].listed) unlist_group(static_cast<uint32_t>(g));
  kernels_.resize(first.kernel_begin);
  scans_.resize(first.scan_begin);
  calls_.resize(first.group_begin < groups_.size() ? groups_[first.group_begin].begin
                                                   : calls_.size());
  groups_.resize(first.group_begin);
  sets_.resize(count);
}

void Chart::keep_only(std::span<uint32_t> sets) {
  std::vector<bool> keep(sets_.size(), false);
  keep[kDead] = true;
  for (uint32_t set : sets) keep[set] = true;
  // What a set refers to is older than itself.
  for (uint32_t set = num_sets(); set-- > 0;) {
    if (!keep[set]) continue;
    const Set& s = sets_[set];
    for (uint32_t i = s.kernel_begin; i < s.kernel_end; ++i) keep[kernels_[i].origin] = true;
    for (uint32_t i = s.scan_begin; i < s.scan_end; ++i) keep[scans_[i].origin] = true;
    for (uint32_t g = s.group_begin; g < s.group_end; ++g)
      for (uint32_t c = groups_[g].begin; c < groups_[g].end; ++c) keep[calls_[c].origin] = true;
  }
  // Moved down in place; the order, and with it that of kernels, stays.
  std::vector<uint32_t> id_of(sets_.size(), kNone);
  uint32_t num_kept = 0, kernels = 0, scans = 0, calls = 0, groups = 0;
  for (uint32_t set = 0; set < num_sets(); ++set) {
    if (!keep[set]) continue;
    id_of[set] = num_kept;
    Set s = sets_[set];
    const Set old = s;
    s.kernel_begin = kernels, s.scan_begin = scans, s.group_begin = groups;
    for (uint32_t i = old.kernel_begin; i < old.kernel_end; ++i)
      kernels_[kernels++] = {kernels_[i].state, id_of[kernels_[i].origin]};
    for (uint32_t i = old.scan_begin; i < old.scan_end; ++i)
      scans_[scans++] = {scans_[i].state, id_of[scans_[i].origin]};
    for (uint32_t g = old.group_begin; g < old.group_end; ++g) {
      const Group group = groups_[g];
      const uint32_t begin = calls;
      for (uint32_t c = group.begin; c < group.end; ++c) {
        Call call = calls_[c];
        call.origin = id_of[call.origin];
        calls_[calls++] = call;
      }
      groups_[groups] = group;
      groups_[groups].begin = begin;
      groups_[groups].end = calls;
      groups_[groups++].set = num_kept;
    }
    s.kernel_end = kernels, s.scan_end = scans, s.group_end = groups;
    s.row = kNone;
    s.loops_known = false;
    sets_[num_kept++] = s;
  }
  sets_.resize(num_kept), kernels_.resize(kernels), scans_.resize(scans);
  calls_.resize(calls), groups_.resize(groups);
  num_rows_ = 0;
  rehash(std::bit_ceil(std::max<size_t>(64, sets_.size())));
  rehash_groups(std::bit_ceil(std::max<size_t>(64, groups_.size())));
  for (uint32_t& set : sets) set = id_of[set];
}

}  // namespace hotpath::grammar

#include "cache/prefix_tree.h"

#include <algorithm>
#include <bit>

#include "core/error.h"

namespace hotpath {

namespace {

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0x9e3779b97f4a7c15ull;
  return h ^ (h >> 29);
}

// A block is identified by its parent's id; below the root, by the salt.
uint64_t hash_block(uint64_t salt, int32_t parent, std::span<const int32_t> tokens) {
  uint64_t h = mix(parent == PrefixTree::kRoot ? salt : 0, static_cast<uint32_t>(parent));
  for (int32_t t : tokens) h = mix(h, static_cast<uint32_t>(t));
  return h;
}

}  // namespace

PrefixTree::PrefixTree(BlockPool& pool, int32_t block_size)
    : pool_(pool),
      block_size_(block_size),
      nodes_(pool.num_blocks()),
      tokens_(static_cast<size_t>(pool.num_blocks()) * block_size),
      buckets_(std::bit_ceil(static_cast<size_t>(pool.num_blocks())), kNone) {}

int32_t PrefixTree::find(uint64_t hash, uint64_t salt, int32_t parent,
                         std::span<const int32_t> tokens) const {
  for (int32_t n = buckets_[hash & (buckets_.size() - 1)]; n != kNone;
       n = nodes_[n].next_in_bucket) {
    const Node& node = nodes_[n];
    if (node.hash == hash && node.parent == parent && (parent != kRoot || node.salt == salt) &&
        std::ranges::equal(tokens_of(n), tokens))
      return n;
  }
  return kNone;
}

PrefixTree::Match PrefixTree::match(uint64_t salt, std::span<const int32_t> tokens,
                                    int32_t max_blocks) const {
  Match m;
  const auto full = static_cast<int32_t>(tokens.size() / block_size_);
  for (const int32_t limit = std::min(max_blocks, full); m.num_blocks < limit; ++m.num_blocks) {
    const auto block = tokens.subspan(static_cast<size_t>(m.num_blocks) * block_size_, block_size_);
    const int32_t child = find(hash_block(salt, m.node, block), salt, m.node, block);
    if (child == kNone) break;
    m.node = child;
  }
  return m;
}

void PrefixTree::path(int32_t node, std::span<int32_t> blocks) const {
  for (size_t i = blocks.size(); i-- > 0; node = nodes_[node].parent) {
    check(node != kRoot, "prefix tree: path of ", blocks.size(), " blocks, but the node is at ",
          blocks.size() - 1 - i);
    blocks[i] = node;
  }
  check(node == kRoot, "prefix tree: the node is deeper than ", blocks.size(), " blocks");
}

int32_t PrefixTree::insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens,
                           int32_t block) {
  check(static_cast<int32_t>(tokens.size()) == block_size_, "prefix tree: expected ", block_size_,
        " tokens, received ", tokens.size());
  check(parent == kRoot || nodes_[parent].locks > 0, "prefix tree: insert below node ", parent,
        ", which is not locked");
  const uint64_t hash = hash_block(salt, parent, tokens);
  int32_t n = find(hash, salt, parent, tokens);
  if (n == kNone) {
    check(!nodes_[block].cached && !pool_.is_free(block), "prefix tree: insert of block ", block,
          ", which is ", nodes_[block].cached ? "in the tree" : "free");
    n = block;
    int32_t& bucket = buckets_[hash & (buckets_.size() - 1)];
    nodes_[n] = {
        .hash = hash, .salt = salt, .parent = parent, .next_in_bucket = bucket, .cached = true};
    bucket = n;
    std::ranges::copy(tokens, tokens_.begin() + static_cast<int64_t>(n) * block_size_);
    if (parent != kRoot) ++nodes_[parent].num_children;
    ++num_cached_;
  } else if (nodes_[n].locks == 0) {
    list_remove(n);
  }
  ++nodes_[n].locks;
  return n;
}

void PrefixTree::lock(int32_t node) {
  for (; node != kRoot; node = nodes_[node].parent)
    if (nodes_[node].locks++ == 0) list_remove(node);
}

void PrefixTree::unlock(int32_t node) {
  for (; node != kRoot; node = nodes_[node].parent) {
    check(nodes_[node].locks > 0, "prefix tree: unlock of node ", node, ", which is not locked");
    if (--nodes_[node].locks == 0) list_append(node);
  }
}

int32_t PrefixTree::evict(int32_t num_blocks) {
  int32_t evicted = 0;
  for (; evicted < num_blocks && oldest_ != kNone; ++evicted) {
    const int32_t n = oldest_;
    Node& node = nodes_[n];
    check(node.num_children == 0, "prefix tree: node ", n, " is next to go but has ",
          node.num_children, " children");
    list_remove(n);
    int32_t* link = &buckets_[node.hash & (buckets_.size() - 1)];
    while (*link != n) link = &nodes_[*link].next_in_bucket;
    *link = node.next_in_bucket;
    if (node.parent != kRoot) --nodes_[node.parent].num_children;
    node.cached = false;
    --num_cached_;
    pool_.release(n);
  }
  return evicted;
}

void PrefixTree::list_append(int32_t node) {
  nodes_[node].older = newest_;
  nodes_[node].newer = kNone;
  (newest_ == kNone ? oldest_ : nodes_[newest_].newer) = node;
  newest_ = node;
  ++num_evictable_;
}

void PrefixTree::list_remove(int32_t node) {
  const Node& n = nodes_[node];
  (n.older == kNone ? oldest_ : nodes_[n.older].newer) = n.newer;
  (n.newer == kNone ? newest_ : nodes_[n.newer].older) = n.older;
  --num_evictable_;
}

void PrefixTree::check_integrity() const {
  const auto size = static_cast<int32_t>(nodes_.size());
  std::vector<int32_t> children(size, 0);
  std::vector<int64_t> child_locks(size, 0);
  int32_t cached = 0;
  for (int32_t n = 0; n < size; ++n) {
    const Node& node = nodes_[n];
    if (!node.cached) continue;
    ++cached;
    check(!pool_.is_free(n), "prefix tree: block ", n, " is cached and free");
    check(find(node.hash, node.salt, node.parent, tokens_of(n)) == n, "prefix tree: node ", n,
          " is not found under its own key");
    if (node.parent == kRoot) continue;
    check(nodes_[node.parent].cached, "prefix tree: the parent of node ", n, " is gone");
    ++children[node.parent];
    child_locks[node.parent] += node.locks;
  }
  check(cached == num_cached_, "prefix tree: counted ", cached, " nodes, expected ", num_cached_);
  std::vector<bool> listed(size, false);
  int32_t evictable = 0;
  int32_t previous = kNone;
  for (int32_t n = oldest_; n != kNone; previous = n, n = nodes_[n].newer) {
    check(nodes_[n].cached && nodes_[n].locks == 0 && !listed[n] && nodes_[n].older == previous,
          "prefix tree: node ", n, " is wrongly in the list of unlocked nodes");
    listed[n] = true;
    ++evictable;
    if (nodes_[n].parent != kRoot)
      check(!listed[nodes_[n].parent], "prefix tree: node ", n, " is listed behind its parent");
  }
  check(evictable == num_evictable_ && previous == newest_, "prefix tree: counted ", evictable,
        " unlocked nodes, expected ", num_evictable_);
  for (int32_t n = 0; n < size; ++n) {
    const Node& node = nodes_[n];
    if (!node.cached) continue;
    check(listed[n] == (node.locks == 0), "prefix tree: node ", n, " with ", node.locks,
          " locks is ", listed[n] ? "" : "not ", "in the list of unlocked nodes");
    check(children[n] == node.num_children, "prefix tree: node ", n, " has ", children[n],
          " children, expected ", node.num_children);
    check(child_locks[n] <= node.locks, "prefix tree: node ", n, " has ", node.locks,
          " locks, its children ", child_locks[n]);
  }
}

}  // namespace hotpath

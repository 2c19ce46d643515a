#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cache/block_pool.h"

namespace hotpath {

// Which full KV blocks are known for which token prefixes. One node per block, and a node's id is
// its block's id: the tree is a few arrays of num_blocks entries and never allocates. A child is
// found by hash of (parent, its block_size tokens) and compared exactly. Prefixes of different
// salts never meet.
//
// The tree owns the blocks of its nodes. A lock on a node covers all of its ancestors, so the
// descendants of an unlocked node are unlocked too. Unlocked nodes form one list, least recently
// unlocked first, in which every node stands behind its children: its head is always a leaf, and
// eviction takes the head.
class PrefixTree {
 public:
  static constexpr int32_t kRoot = -1;

  struct Match {
    int32_t node = kRoot;    // the deepest node found
    int32_t num_blocks = 0;  // its depth
  };

  PrefixTree(BlockPool& pool, int32_t block_size);

  // The longest chain of full blocks that `tokens` begins with, at most max_blocks. Does not
  // modify the tree (not even recency); valid until the next evict unless locked.
  Match match(uint64_t salt, std::span<const int32_t> tokens, int32_t max_blocks) const;

  // Writes the blocks from the root down to node. blocks.size() is the node's depth. Does not
  // modify the tree; valid as long as the node is locked.
  void path(int32_t node, std::span<int32_t> blocks) const;

  // Modifies the tree. The caller holds a lock on parent (or it is kRoot), and that lock moves down
  // to the node that is returned: the child of parent with these tokens. When that is `block`, the
  // tree owns the block from now on. Otherwise the child was there already with the same contents,
  // and `block` stays the caller's, who reads the returned one in its place.
  [[nodiscard]] int32_t insert(uint64_t salt, int32_t parent, std::span<const int32_t> tokens,
                               int32_t block);

  // Modify the tree: node and its ancestors cannot be evicted between lock and unlock. kRoot: no
  // effect.
  void lock(int32_t node);
  void unlock(int32_t node);

  // Modifies the tree and the pool: gives the least recently used unlocked leaves back, up to
  // num_blocks of them. Returns how many.
  int32_t evict(int32_t num_blocks);

  int32_t num_cached() const { return num_cached_; }
  int32_t num_evictable() const { return num_evictable_; }
  bool contains(int32_t block) const { return nodes_[block].cached; }
  int32_t num_locks(int32_t node) const { return nodes_[node].locks; }
  int32_t parent(int32_t node) const { return nodes_[node].parent; }

  // Throws Error("internal_error") with what is wrong. Does not modify the tree.
  void check_integrity() const;

 private:
  static constexpr int32_t kNone = -1;

  struct Node {
    uint64_t hash = 0;
    uint64_t salt = 0;
    int32_t parent = kRoot;
    int32_t num_children = 0;
    int32_t locks = 0;
    int32_t next_in_bucket = kNone;
    int32_t older = kNone, newer = kNone;  // the list of unlocked nodes
    bool cached = false;
  };

  std::span<const int32_t> tokens_of(int32_t node) const {
    return {tokens_.data() + static_cast<int64_t>(node) * block_size_,
            static_cast<size_t>(block_size_)};
  }
  int32_t find(uint64_t hash, uint64_t salt, int32_t parent, std::span<const int32_t> tokens) const;
  void list_append(int32_t node);
  void list_remove(int32_t node);

  BlockPool& pool_;
  int32_t block_size_;
  std::vector<Node> nodes_;       // [num_blocks]
  std::vector<int32_t> tokens_;   // [num_blocks, block_size]
  std::vector<int32_t> buckets_;  // a power of two, at least num_blocks
  int32_t oldest_ = kNone, newest_ = kNone;
  int32_t num_cached_ = 0, num_evictable_ = 0;
};

}  // namespace hotpath

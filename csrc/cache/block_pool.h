#pragma once

#include <cstdint>
#include <vector>

namespace hotpath {

// The free list of KV blocks. A block has exactly one owner at a time: the pool (free), one
// sequence, or the prefix tree, which counts the sequences that read it (its locks). Single owner
// plus locks says everything that per-block reference counts would, and the books are a sum:
// free + in the tree + owned by sequences == total.
class BlockPool {
 public:
  explicit BlockPool(int32_t num_blocks);

  int32_t num_blocks() const { return static_cast<int32_t>(is_free_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  bool is_free(int32_t block) const { return is_free_[block]; }

  // Modifies the pool: the caller owns the block until release. There must be a free one.
  int32_t allocate();
  // Modifies the pool: the block must not be free already.
  void release(int32_t block);
  // Throws unless the list and the flags agree. Does not modify.
  void check_integrity() const;

 private:
  std::vector<int32_t> free_;  // a stack; capacity for all blocks, so release never allocates
  std::vector<bool> is_free_;
};

}  // namespace hotpath

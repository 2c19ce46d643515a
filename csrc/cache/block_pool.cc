#include "cache/block_pool.h"

#include "core/error.h"

namespace hotpath {

BlockPool::BlockPool(int32_t num_blocks) {
  check(num_blocks > 0, "block pool: expected at least 1 block, received ", num_blocks);
  is_free_.assign(num_blocks, true);
  free_.reserve(num_blocks);
  for (int32_t b = num_blocks - 1; b >= 0; --b) free_.push_back(b);
}

int32_t BlockPool::allocate() {
  check(!free_.empty(), "block pool: allocate with none of ", num_blocks(), " blocks free");
  const int32_t block = free_.back();
  free_.pop_back();
  is_free_[block] = false;
  return block;
}

void BlockPool::release(int32_t block) {
  check(block >= 0 && block < num_blocks(), "block pool: release of block ", block, " of ",
        num_blocks());
  check(!is_free_[block], "block pool: block ", block, " released twice");
  is_free_[block] = true;
  free_.push_back(block);
}

void BlockPool::check_integrity() const {
  std::vector<bool> listed(is_free_.size(), false);
  for (int32_t b : free_) {
    check(is_free_[b] && !listed[b], "block pool: block ", b, " is listed as free ",
          listed[b] ? "twice" : "but marked as used");
    listed[b] = true;
  }
  check(listed == is_free_, "block pool: a block is marked as free but not listed");
}

}  // namespace hotpath

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "cache/block_pool.h"
#include "cache/kv_cache.h"
#include "cache/prefix_tree.h"
#include "fake_backend.h"
#include "harness.h"

namespace hotpath::test {
namespace {

TEST(block_pool_gives_each_block_once) {
  BlockPool pool(5);
  std::set<int32_t> blocks;
  for (int i = 0; i < 5; ++i) blocks.insert(pool.allocate());
  EXPECT_EQ(blocks.size(), 5u);
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_ERROR("internal_error", "none of 5 blocks", pool.allocate());
  pool.release(3);
  EXPECT_ERROR("internal_error", "released twice", pool.release(3));
  EXPECT_ERROR("internal_error", "block 5 of 5", pool.release(5));
  EXPECT_EQ(pool.allocate(), 3);
  pool.check_integrity();
}

// A prefix tree as one would write it without thinking of speed.
struct NaiveTree {
  using Path = std::vector<int32_t>;  // the salt, then all tokens from the root
  struct Node {
    int32_t block;
    int locks = 0;
    int64_t unlocked_at = 0;
  };
  std::map<Path, Node> nodes;
  int block_size;
  int64_t clock = 0;

  Path parent(const Path& p) const { return {p.begin(), p.end() - block_size}; }
  bool is_leaf(const Path& p) const {
    const auto next = std::next(nodes.find(p));
    return next == nodes.end() || next->first.size() <= p.size() ||
           !std::equal(p.begin(), p.end(), next->first.begin());
  }
  void lock(Path p, int by) {
    for (; p.size() > 1; p = parent(p)) {
      Node& n = nodes.at(p);
      n.locks += by;
      if (n.locks == 0) n.unlocked_at = ++clock;
    }
  }
  // The block that has to go next, or -1.
  int32_t evict() {
    const Path* oldest = nullptr;
    for (const auto& [path, node] : nodes)
      if (node.locks == 0 && is_leaf(path) &&
          (!oldest || node.unlocked_at < nodes.at(*oldest).unlocked_at))
        oldest = &path;
    if (!oldest) return -1;
    const int32_t block = nodes.at(*oldest).block;
    nodes.erase(Path(*oldest));
    return block;
  }
};

// Random match, insert, lock, unlock and evict, as sequences do them, against the naive tree.
void run_random_tree(uint64_t seed) {
  std::mt19937_64 rng(seed);
  const auto below = [&](uint64_t n) { return static_cast<int>(rng() % n); };
  const int block_size = 1 + below(3), num_blocks = 4 + below(20);
  BlockPool pool(num_blocks);
  PrefixTree tree(pool, block_size);
  NaiveTree naive{.nodes = {}, .block_size = block_size};
  struct Reader {
    NaiveTree::Path path;
    int32_t node;
  };
  std::vector<Reader> readers;

  for (int step = 0; step < 400; ++step) {
    if (below(3) > 0) {
      // A reader: match, lock, then extend by what is new.
      const uint64_t salt = below(2);
      std::vector<int32_t> tokens(below(5 * block_size + 1));
      for (int32_t& t : tokens) t = below(2);
      const int limit = below(8);
      const PrefixTree::Match m = tree.match(salt, tokens, limit);
      NaiveTree::Path path = {static_cast<int32_t>(salt)};
      std::vector<int32_t> blocks;
      for (size_t at = 0;
           at + block_size <= tokens.size() && static_cast<int>(blocks.size()) < limit;
           at += block_size) {
        NaiveTree::Path longer = path;
        longer.insert(longer.end(), tokens.begin() + at, tokens.begin() + at + block_size);
        const auto it = naive.nodes.find(longer);
        if (it == naive.nodes.end()) break;
        blocks.push_back(it->second.block);
        path = longer;
      }
      EXPECT_EQ(m.num_blocks, static_cast<int32_t>(blocks.size()));
      std::vector<int32_t> found(m.num_blocks);
      tree.path(m.node, found);
      EXPECT(found == blocks, "another path at step ", step);
      tree.lock(m.node);
      naive.lock(path, 1);
      Reader reader{path, m.node};
      for (size_t at = (path.size() - 1); at + block_size <= tokens.size(); at += block_size) {
        if (pool.num_free() == 0 && tree.evict(1) == 0) break;
        EXPECT_EQ(tree.num_cached() + pool.num_free(), num_blocks);
        // What evict took must be what the naive tree would have taken.
        while (static_cast<int>(naive.nodes.size()) > tree.num_cached()) {
          const int32_t gone = naive.evict();
          EXPECT(gone >= 0 && !tree.contains(gone), "the wrong block was evicted");
        }
        const int32_t block = pool.allocate();
        const std::span<const int32_t> piece(tokens.data() + at, block_size);
        const int32_t node = tree.insert(salt, reader.node, piece, block);
        reader.path.insert(reader.path.end(), piece.begin(), piece.end());
        const auto [it, is_new] = naive.nodes.try_emplace(reader.path, NaiveTree::Node{block});
        ++it->second.locks;
        EXPECT_EQ(node, it->second.block);
        if (!is_new) pool.release(block);
        reader.node = node;
      }
      readers.push_back(reader);
    } else if (!readers.empty() && below(2)) {
      const size_t i = below(readers.size());
      tree.unlock(readers[i].node);
      naive.lock(readers[i].path, -1);
      readers.erase(readers.begin() + static_cast<int64_t>(i));
    } else {
      const int wanted = below(4);
      const int evicted = tree.evict(wanted);
      int expected = 0;
      for (; expected < wanted; ++expected) {
        const int32_t gone = naive.evict();
        if (gone < 0) break;
        EXPECT(!tree.contains(gone) && pool.is_free(gone), "the wrong block was evicted");
      }
      EXPECT_EQ(evicted, expected);
    }
    EXPECT_EQ(tree.num_cached(), static_cast<int32_t>(naive.nodes.size()));
    const auto unlocked = std::ranges::count_if(
        naive.nodes, [](const auto& entry) { return entry.second.locks == 0; });
    EXPECT_EQ(tree.num_evictable(), static_cast<int32_t>(unlocked));
    for (const auto& [path, node] : naive.nodes) EXPECT_EQ(tree.num_locks(node.block), node.locks);
    tree.check_integrity();
    pool.check_integrity();
  }
  for (const Reader& reader : readers) tree.unlock(reader.node);
  const int32_t cached = tree.num_cached();
  EXPECT_EQ(tree.evict(num_blocks), cached);
  EXPECT_EQ(pool.num_free(), num_blocks);
}

TEST(prefix_tree_does_what_a_naive_one_does) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    try {
      run_random_tree(seed);
    } catch (const std::exception& e) {
      fail_at(__FILE__, __LINE__, "seed ", seed, ": ", e.what());
    }
  }
}

TEST(prefix_tree_keeps_salts_apart) {
  BlockPool pool(4);
  PrefixTree tree(pool, 2);
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const std::span<const int32_t> all(tokens);
  int32_t node = tree.insert(7, PrefixTree::kRoot, all.first(2), pool.allocate());
  node = tree.insert(7, node, all.last(2), pool.allocate());
  EXPECT_EQ(tree.match(7, tokens, 9).num_blocks, 2);
  EXPECT_EQ(tree.match(8, tokens, 9).num_blocks, 0);
  const int32_t other = tree.insert(8, PrefixTree::kRoot, all.first(2), pool.allocate());
  EXPECT(other != tree.parent(node), "salt 8 was given salt 7's block");
  EXPECT_EQ(tree.match(8, tokens, 9).num_blocks, 1);
  tree.check_integrity();
}

TEST(prefix_tree_evicts_leaves_first_and_never_what_is_locked) {
  BlockPool pool(4);
  PrefixTree tree(pool, 1);
  const std::vector<int32_t> tokens = {5, 6, 7};
  const std::span<const int32_t> all(tokens);
  std::vector<int32_t> path;
  int32_t node = PrefixTree::kRoot;
  for (int i = 0; i < 3; ++i) {
    node = tree.insert(0, node, all.subspan(i, 1), pool.allocate());
    path.push_back(node);
  }
  tree.lock(path[0]);
  EXPECT_EQ(tree.evict(9), 0);
  tree.unlock(path[2]);
  EXPECT_EQ(tree.num_evictable(), 2);
  EXPECT_EQ(tree.evict(1), 1);
  EXPECT(tree.contains(path[1]) && !tree.contains(path[2]), "not the leaf went");
  EXPECT_EQ(tree.evict(9), 1);
  EXPECT(tree.contains(path[0]), "a locked node went");
  tree.unlock(path[0]);
  EXPECT_ERROR("internal_error", "not locked", tree.unlock(path[0]));
}

TEST(prefix_tree_refuses_what_would_break_it) {
  BlockPool pool(3);
  PrefixTree tree(pool, 2);
  const std::vector<int32_t> tokens = {1, 2};
  const int32_t block = pool.allocate();
  EXPECT_ERROR("internal_error", "expected 2 tokens",
               (void)tree.insert(0, PrefixTree::kRoot, std::span(tokens).first(1), block));
  EXPECT_ERROR("internal_error", "which is free",
               (void)tree.insert(0, PrefixTree::kRoot, tokens, block + 1));
  const int32_t node = tree.insert(0, PrefixTree::kRoot, tokens, block);
  tree.unlock(node);
  EXPECT_ERROR("internal_error", "not locked", (void)tree.insert(0, node, tokens, pool.allocate()));
  // Another owner frees a block of the tree: the books must not balance.
  pool.release(node);
  EXPECT_ERROR("internal_error", "cached and free", tree.check_integrity());
}

TEST(kv_cache_is_rounded_down_to_whole_blocks) {
  FakeDevice device;
  const ModelSpec spec = fake_spec();
  const int64_t block = 2 * 2 * 2 * 8 * 2;  // layers, k and v, head_dim, block_size, f16
  {
    KvCache kv(device, spec,
               {.block_size = 8, .bytes = 3 * block + block / 2, .dtype = DType::kF16});
    EXPECT_EQ(kv.num_blocks(), 3);
    EXPECT_EQ(kv.bytes(), 3 * block);
    EXPECT_EQ(kv.tensors().k.size(), static_cast<size_t>(kLayers));
    EXPECT_EQ(kv.tensors().v[1].to_string(), "f16[3, 1, 8, 2]");
    EXPECT_EQ(device.num_allocations(), static_cast<size_t>(2 * kLayers));
    EXPECT_EQ(kv.experts_per_token(), 0);
  }
  EXPECT_EQ(device.num_allocations(), 0u);
  EXPECT_ERROR("out_of_memory", "one block of 8 tokens takes 128 bytes",
               KvCache(device, spec, {.block_size = 8, .bytes = block - 1, .dtype = DType::kF16}));
}

TEST(kv_cache_gives_everything_back_when_the_device_is_full) {
  for (int after = 0; after < 2 * kLayers; ++after) {
    FakeDevice device;
    device.fail_after = after;
    EXPECT_ERROR("out_of_memory", "0 free",
                 KvCache(device, fake_spec(), {.block_size = 4, .bytes = 1 << 12}));
    EXPECT_EQ(device.num_allocations(), 0u);
  }
}

TEST(kv_cache_keeps_routed_experts_by_slot) {
  FakeDevice device;
  KvCache kv(device, fake_spec(),
             {.block_size = 4, .bytes = 1 << 12, .capture_routed_experts = true});
  EXPECT_EQ(kv.experts_per_token(), kLayers * kTopK);
  const int64_t last = int64_t{kv.num_blocks()} * 4 - 1;
  const int32_t row[] = {0, 0, 7, 3}, other[] = {0, 0, 1, 2};
  kv.store_experts(last, row);
  kv.store_experts(0, other);
  int32_t read[4];
  kv.load_experts(last, read);
  EXPECT(std::ranges::equal(read, row), "another row");
  ModelSpec dense = fake_spec();
  dense.layers.pop_back();
  EXPECT_ERROR(
      "config_unsupported", "none of this model's layers",
      KvCache(device, dense, {.block_size = 4, .bytes = 1 << 12, .capture_routed_experts = true}));
}

TEST(kv_cache_dtype_is_named) {
  EXPECT(parse_kv_dtype("f32") == DType::kF32 && parse_kv_dtype("f16") == DType::kF16 &&
             parse_kv_dtype("bf16") == DType::kBF16,
         "names");
  EXPECT_ERROR("invalid_request", "received 'fp8'", parse_kv_dtype("fp8"));
}

}  // namespace
}  // namespace hotpath::test

#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hotpath::grammar {

class SharedMasks;

// The tokens of a model as byte strings, and a trie over them. Built once per model, immutable,
// shared by all grammars.
//
// Tokens that are matched by their bytes are sorted; a token's place in that order is its rank. The
// trie lies flat in depth-first order, so that the tokens below a node are consecutive ranks and a
// subtree is left by jumping to its end.
class Vocabulary {
 public:
  // bytes: all tokens one after another; offsets[num_tokens + 1]. special[num_tokens]: not 0 for
  // tokens that are never matched by their bytes, only by token(ID); may be empty for none. Tokens
  // without bytes are never matched by bytes either. stop_ids: tokens that end a text; they are
  // never matched by bytes. Throws Error("invalid_request") if these do not fit together.
  Vocabulary(std::string bytes, std::vector<uint32_t> offsets, std::vector<uint8_t> special,
             std::vector<int32_t> stop_ids);
  ~Vocabulary();
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  // Length of a mask: one bit per token, token t in bit t % 32 of word t / 32.
  size_t mask_words() const { return (static_cast<size_t>(size()) + 31) / 32; }
  std::string_view bytes(int32_t id) const {
    return {bytes_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]};
  }
  // The longest token whose bytes a text begins with; -1: none.
  int32_t longest_prefix_of(std::string_view text) const;
  bool matched_by_bytes(int32_t id) const { return by_bytes_[id] != 0; }
  bool is_stop(int32_t id) const { return is_stop_[id] != 0; }
  std::span<const int32_t> stop_ids() const { return stop_ids_; }
  uint32_t longest() const { return longest_; }  // bytes, of the tokens matched by bytes

  // The order and the trie.
  uint32_t num_ranks() const { return static_cast<uint32_t>(by_rank_.size()); }
  int32_t token_at(uint32_t rank) const { return by_rank_[rank]; }
  uint32_t length_at(uint32_t rank) const { return length_by_rank_[rank]; }  // bytes
  std::string_view bytes_at(uint32_t rank) const {
    return {sorted_bytes_.data() + sorted_offsets_[rank], length_by_rank_[rank]};
  }

  struct Node {
    uint64_t classes;     // which byte classes occur strictly below
    uint32_t end;         // the node behind this subtree
    uint32_t first_rank;  // tokens that end here: [first_rank, node[1].first_rank)
    uint16_t depth;       // 1 for a first byte
    uint8_t byte;
  };
  // In depth-first order; a last entry closes the ranks.
  std::span<const Node> nodes() const { return {nodes_.data(), nodes_.size() - 1}; }
  uint32_t first_rank(uint32_t node) const { return nodes_[node].first_rank; }

  // Bytes are grouped in fewer than 64 classes, so that a set of them fits a word.
  static constexpr int kNumClasses = 53;
  static const std::array<uint8_t, 256>& byte_classes();

  // Masks of states that are the same in many grammars; thread-safe.
  SharedMasks& shared_masks() const { return *shared_; }

 private:
  void build_trie();

  std::string bytes_;
  std::vector<uint32_t> offsets_;
  std::vector<uint8_t> by_bytes_, is_stop_;
  std::vector<int32_t> stop_ids_;
  std::vector<int32_t> by_rank_;
  std::vector<uint16_t> length_by_rank_;
  std::string sorted_bytes_;  // in order of ranks: walks go through them from end to end
  std::vector<uint32_t> sorted_offsets_;
  std::vector<Node> nodes_;
  uint32_t longest_ = 0;
  std::unique_ptr<SharedMasks> shared_;
};

}  // namespace hotpath::grammar

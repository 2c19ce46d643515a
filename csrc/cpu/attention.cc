#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_ops.h"

namespace hotpath::cpu {
namespace {

void check_cache(const char* what, const Tensor& t, int num_kv_heads, int block_size,
                 int head_dim) {
  check(t.ndim == 4 && t.dim(1) == num_kv_heads && t.dim(2) == block_size && t.dim(3) == head_dim &&
            t.contiguous() &&
            (t.dtype == DType::kF32 || t.dtype == DType::kF16 || t.dtype == DType::kBF16),
        what, ": expected f32, f16 or bf16 [num_blocks, ", num_kv_heads, ", ", block_size, ", ",
        head_dim, "], received ", t.to_string());
}

}  // namespace

void CpuOps::reserve_attention(int head_dim) {
  for (auto& s : thread_attention_) s.get<float>(attention_scratch(kAttentionRows, head_dim));
}

void CpuOps::qk_norm_rope_store(const QkNormRopeStore& a) {
  const Batch& b = batch();
  const int64_t d = a.head_dim, heads = a.num_heads + 2 * a.num_kv_heads;
  const DType cache = a.k_cache.dtype;
  check(a.qkv.dtype == DType::kF32 && a.qkv.ndim == 2 && a.qkv.dim(0) == b.num_tokens &&
            a.qkv.dim(1) == heads * d,
        "qkv: expected f32 [", b.num_tokens, ", ", heads * d, "], received ", a.qkv.to_string());
  check_cache("k_cache", a.k_cache, a.num_kv_heads, b.block_size, a.head_dim);
  check_cache("v_cache", a.v_cache, a.num_kv_heads, b.block_size, a.head_dim);
  check(a.v_cache.dtype == cache, "v_cache: expected the dtype of k_cache");
  check(a.rope.rotary_dim >= 0 && a.rope.rotary_dim <= d && a.rope.rotary_dim % 2 == 0,
        "rotary_dim: expected an even number up to ", d, ", received ", a.rope.rotary_dim);
  const int64_t slots = a.k_cache.dim(0) * b.block_size, positions = a.rope.cos_sin.dim(0);
  for (int t = 0; t < b.num_tokens; ++t) {
    check(b.slot_mapping[t] >= 0 && b.slot_mapping[t] < slots, "slot: expected [0, ", slots,
          "), received ", b.slot_mapping[t]);
    check(a.rope.rotary_dim == 0 || (b.positions[t] >= 0 && b.positions[t] < positions),
          "position: expected [0, ", positions, "), received ", b.positions[t]);
  }
  const auto narrow = kernels_.narrow[static_cast<int>(cache)];
  const int64_t element = static_cast<int64_t>(dtype_size(cache));
  auto norm = [&](const Tensor& w, float* x) {
    if (w) kernels_.rmsnorm[static_cast<int>(w.dtype)](x, x, nullptr, w.data, d, a.eps);
  };
  pool_.parallel_for(b.num_tokens, rows_per_piece(heads * d), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* x = a.qkv.row<float>(t);
      const float* angles = a.rope.cos_sin.row<float>(a.rope.rotary_dim ? b.positions[t] : 0);
      const int64_t block = b.slot_mapping[t] / b.block_size,
                    offset = b.slot_mapping[t] % b.block_size;
      for (int h = 0; h < a.num_heads; ++h, x += d) {
        norm(a.q_norm, x);
        kernels_.rope(x, angles, a.rope.rotary_dim);
      }
      for (int h = 0; h < a.num_kv_heads; ++h, x += d) {
        norm(a.k_norm, x);
        kernels_.rope(x, angles, a.rope.rotary_dim);
        const int64_t at = ((block * a.num_kv_heads + h) * b.block_size + offset) * d * element;
        narrow(a.k_cache.as<char>() + at, x, d);
        narrow(a.v_cache.as<char>() + at, x + a.num_kv_heads * d, d);
      }
    }
  });
}

struct CpuOps::AttentionPiece {
  int32_t sequence, kv_head, token_begin, token_end;  // tokens of the step
};

void CpuOps::paged_attention(const PagedAttention& a) {
  const Batch& b = batch();
  const int64_t d = a.head_dim, columns = a.num_heads * d;
  check(a.q.dtype == DType::kF32 && a.q.ndim == 2 && a.q.dim(0) == b.num_tokens &&
            a.q.dim(1) == columns && a.out.dtype == DType::kF32 && a.out.ndim == 2 &&
            a.out.dim(0) == b.num_tokens && a.out.dim(1) == columns,
        "attention q and out: expected f32 [", b.num_tokens, ", ", columns, "], received ",
        a.q.to_string(), " and ", a.out.to_string());
  check_cache("k_cache", a.k_cache, a.num_kv_heads, b.block_size, a.head_dim);
  check_cache("v_cache", a.v_cache, a.num_kv_heads, b.block_size, a.head_dim);
  check(a.v_cache.dtype == a.k_cache.dtype, "v_cache: expected the dtype of k_cache");
  check(a.num_kv_heads > 0 && a.num_heads % a.num_kv_heads == 0,
        "num_heads: expected a multiple of num_kv_heads, received ", a.num_heads, " and ",
        a.num_kv_heads);
  const int group = a.num_heads / a.num_kv_heads;
  const int tile = std::max(1, kAttentionRows / group);

  auto* pieces = attention_pieces_.get<AttentionPiece>(int64_t{b.num_tokens} * a.num_kv_heads);
  int64_t count = 0;
  for (int s = 0; s < b.num_seqs; ++s) {
    const int32_t begin = b.cu_seqlens_q[s], end = b.cu_seqlens_q[s + 1];
    if (begin == end) continue;
    check(b.positions[end - 1] >= 0 && b.positions[end - 1] < b.max_blocks * b.block_size,
          "attention: expected positions below ", b.max_blocks * b.block_size, " (", b.max_blocks,
          " blocks), received ", b.positions[end - 1]);
    for (int32_t t = begin; t < end; t += tile)
      for (int h = 0; h < a.num_kv_heads; ++h) pieces[count++] = {s, h, t, std::min(end, t + tile)};
  }
  const auto attend = kernels_.attention[static_cast<int>(a.k_cache.dtype)];
  pool_.parallel_for(count, 1, [&](int64_t first, int64_t last, int thread) {
    for (int64_t i = first; i < last; ++i) {
      // The last tile of a prompt sees the most keys: handing out from the end evens the finish.
      const AttentionPiece& p = pieces[count - 1 - i];
      AttentionTask task;
      task.q = a.q.row<float>(p.token_begin) + p.kv_head * group * d;
      task.q_stride = a.q.row_stride;
      task.out = a.out.row<float>(p.token_begin) + p.kv_head * group * d;
      task.out_stride = a.out.row_stride;
      task.positions = b.positions.data() + p.token_begin;
      task.num_tokens = p.token_end - p.token_begin;
      task.group = group;
      task.k_cache = a.k_cache.data, task.v_cache = a.v_cache.data;
      task.block_table = b.block_table.data() + int64_t{p.sequence} * b.max_blocks;
      task.block_size = b.block_size, task.num_kv_heads = a.num_kv_heads;
      task.kv_head = p.kv_head, task.head_dim = a.head_dim;
      task.scale = a.scale, task.window = a.window;
      task.scratch = thread_attention_[thread].get<float>(
          attention_scratch(std::min(kAttentionRows, task.num_tokens * group), d));
      attend(task);
    }
  });
}

}  // namespace hotpath::cpu

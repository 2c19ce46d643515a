#include <algorithm>
#include <cfloat>
#include <cmath>

#include "core/error.h"
#include "cpu/cpu_ops.h"

namespace hotpath::cpu {
namespace {

void check_route(const Tensor& ids, const Tensor& weights, int64_t tokens) {
  check(ids.dtype == DType::kI32 && weights.dtype == DType::kF32 && ids.ndim == 2 &&
            weights.ndim == 2 && ids.dim(0) == tokens && weights.dim(0) == tokens &&
            ids.dim(1) == weights.dim(1),
        "topk_ids, topk_weights: expected i32 and f32 [", tokens, ", top_k], received ",
        ids.to_string(), " and ", weights.to_string());
}

// The top_k largest logits, ties to the lower id; NaN counts as -inf.
void choose_experts(int32_t* chosen, const float* logits, float* left, int64_t experts, int top_k) {
  for (int64_t e = 0; e < experts; ++e) left[e] = logits[e] > -FLT_MAX ? logits[e] : -FLT_MAX;
  for (int i = 0; i < top_k; ++i) {
    int64_t best = -1;
    for (int64_t e = 0; e < experts; ++e)
      if (best < 0 ? left[e] >= -FLT_MAX : left[e] > left[best]) best = e;
    chosen[i] = static_cast<int32_t>(best);
    left[best] = -HUGE_VALF;  // taken
  }
}

}  // namespace

void CpuOps::moe_route(const MoeRoute& a) {
  const int64_t tokens = a.router_logits.dim(0), experts = a.router_logits.dim(1);
  const int top_k = static_cast<int>(a.topk_ids.dim(1));
  check(a.router_logits.dtype == DType::kF32, "router_logits: expected f32, received ",
        a.router_logits.to_string());
  check_route(a.topk_ids, a.topk_weights, tokens);
  check(top_k >= 1 && top_k <= experts, "top_k: expected 1 to ", experts, ", received ", top_k);
  const int64_t blocks = divide_up(experts, kSampleBlock);
  pool_.parallel_for(tokens, rows_per_piece(experts * 4),
                     [&](int64_t begin, int64_t end, int thread) {
                       float* scores = thread_route_[thread].get<float>(experts + blocks);
                       float* sums = scores + experts;
                       for (int64_t t = begin; t < end; ++t) {
                         const float* logits = a.router_logits.row<float>(t);
                         int32_t* ids = a.topk_ids.row<int32_t>(t);
                         float* weights = a.topk_weights.row<float>(t);
                         choose_experts(ids, logits, scores, experts, top_k);
                         const float maximum = std::clamp(logits[ids[0]], -FLT_MAX, FLT_MAX);
                         kernels_.block_exp(scores, sums, logits, experts, maximum, 1.0f);
                         float total = 0;
                         if (a.renormalize)
                           for (int i = 0; i < top_k; ++i) total += scores[ids[i]];
                         else
                           for (int64_t i = 0; i < blocks; ++i) total += sums[i];
                         for (int i = 0; i < top_k; ++i)
                           weights[i] = total > 0 ? scores[ids[i]] / total : 0.0f;
                       }
                     });
}

void CpuOps::reserve_moe(int64_t pairs, int64_t experts, int64_t intermediate, int64_t hidden) {
  expert_lists_.get<int32_t>(experts + 1 + pairs);
  expert_tasks_.get<GemmTask>(std::min(experts, pairs));
  expert_gate_up_.get<float>(pairs * 2 * intermediate);
  expert_act_.get<float>(pairs * intermediate);
  expert_out_.get<float>(pairs * hidden);
}

void CpuOps::moe_experts(const MoeExperts& a) {
  const int64_t tokens = a.x.dim(0), hidden = a.x.dim(1), experts = a.gate_up.dim(0);
  const int64_t inter = a.down.dim(2), top_k = a.topk_ids.dim(1), pairs = tokens * top_k;
  check(a.x.dtype == DType::kF32 && a.out.dtype == DType::kF32 && a.out.dim(0) == tokens &&
            a.out.dim(1) == hidden,
        "moe x and out: expected f32 [tokens, hidden], received ", a.x.to_string(), " and ",
        a.out.to_string());
  check(a.gate_up.ndim == 3 && a.down.ndim == 3 && a.gate_up.dtype == a.down.dtype &&
            a.gate_up.dim(1) == 2 * inter && a.gate_up.dim(2) == hidden &&
            a.down.dim(0) == experts && a.down.dim(1) == hidden,
        "expert weights: expected [E, 2 I, ", hidden, "] and [E, ", hidden, ", I], received ",
        a.gate_up.to_string(), " and ", a.down.to_string());
  check_route(a.topk_ids, a.topk_weights, tokens);
  if (pairs == 0) return;

  // (token, slot) pairs sorted by expert, so that an expert's weights are read once. The results of
  // the pairs are kept apart and added per token in slot order at the end: the sorting leaves no
  // trace in a token's result.
  int32_t* starts = expert_lists_.get<int32_t>(experts + 1 + pairs);
  int32_t* sorted = starts + experts + 1;
  std::fill(starts, starts + experts + 1, 0);
  auto expert_of = [&](int64_t pair) {
    return a.topk_ids.row<int32_t>(pair / top_k)[pair % top_k];
  };
  for (int64_t p = 0; p < pairs; ++p) {
    const int32_t e = expert_of(p);
    check(e >= 0 && e < experts, "expert: expected [0, ", experts, "), received ", e);
    ++starts[e + 1];
  }
  for (int64_t e = 0; e < experts; ++e) starts[e + 1] += starts[e];
  for (int64_t p = 0; p < pairs; ++p) sorted[starts[expert_of(p)]++] = static_cast<int32_t>(p);
  for (int64_t e = experts; e > 0; --e) starts[e] = starts[e - 1];
  starts[0] = 0;

  const float** x_rows = x_rows_.get<const float*>(pairs);
  float** y_rows = y_rows_.get<float*>(pairs);
  GemmTask* tasks = expert_tasks_.get<GemmTask>(std::min(experts, pairs));
  float* gate_up = expert_gate_up_.get<float>(pairs * 2 * inter);
  float* act = expert_act_.get<float>(pairs * inter);
  float* outs = expert_out_.get<float>(pairs * hidden);
  auto run = [&](const Tensor& w, int64_t k, int64_t n) {
    const int64_t expert_bytes = n * k * static_cast<int64_t>(dtype_size(w.dtype));
    int64_t count = 0;
    for (int64_t e = 0; e < experts; ++e) {
      if (starts[e] == starts[e + 1]) continue;
      GemmTask& task = tasks[count++];
      task = {};
      task.x = x_rows + starts[e], task.y = y_rows + starts[e];
      task.m = starts[e + 1] - starts[e], task.k = k;
      task.w = w.as<const char>() + e * expert_bytes, task.w_stride = k;
    }
    gemm_pieces(static_cast<int>(w.dtype), tasks, count, n);
  };

  for (int64_t i = 0; i < pairs; ++i) {
    x_rows[i] = a.x.row<float>(sorted[i] / top_k);
    y_rows[i] = gate_up + i * 2 * inter;
  }
  run(a.gate_up, hidden, 2 * inter);
  silu_mul(Tensor(act, DType::kF32, {pairs, inter}),
           Tensor(gate_up, DType::kF32, {pairs, 2 * inter}));
  for (int64_t i = 0; i < pairs; ++i) {
    x_rows[i] = act + i * inter;
    y_rows[i] = outs + sorted[i] * hidden;
  }
  run(a.down, inter, hidden);
  pool_.parallel_for(tokens, rows_per_piece(hidden * top_k), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      const float* weights = a.topk_weights.row<float>(t);
      kernels_.scale(a.out.row<float>(t), outs + t * top_k * hidden, weights[0], hidden);
      for (int64_t s = 1; s < top_k; ++s)
        kernels_.axpy(a.out.row<float>(t), outs + (t * top_k + s) * hidden, weights[s], hidden);
    }
  });
}

}  // namespace hotpath::cpu

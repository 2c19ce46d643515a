#include <algorithm>
#include <numeric>

#include "harness.h"

namespace hotpath::test {
namespace {

struct MoeShape {
  int64_t tokens, experts, top_k, hidden, intermediate;
  DType dtype;
  bool aligned = false;  // weights; as unaligned as a checkpoint may have them otherwise
};

OpLimits limits_of(const MoeShape& s) {
  OpLimits l = kSmallLimits;
  l.max_tokens = std::max<int64_t>(1, s.tokens);
  l.max_columns = std::max(s.hidden, 2 * s.intermediate);
  l.num_experts = s.experts, l.top_k = s.top_k, l.moe_intermediate = s.intermediate;
  return l;
}

struct MoeData {
  std::vector<float> x, gate_up, down, weights;
  std::vector<int32_t> ids;
  Tensor tx, tg, td, tw, ti;

  MoeData(Run& run, const MoeShape& s) {
    Rng& rng = run.rng();
    const float h = 1 / std::sqrt(static_cast<float>(s.hidden));
    const float i = 1 / std::sqrt(static_cast<float>(s.intermediate));
    x = rng.normals(s.tokens * s.hidden);
    gate_up = rng.normals(s.experts * 2 * s.intermediate * s.hidden, h);
    down = rng.normals(s.experts * s.hidden * s.intermediate, i);
    for (int64_t t = 0; t < s.tokens; ++t) {
      std::vector<int32_t> all(s.experts);
      std::iota(all.begin(), all.end(), 0);
      for (int64_t k = 0; k < s.top_k; ++k) {
        std::swap(all[k], all[k + rng.below(static_cast<int>(s.experts - k))]);
        ids.push_back(all[k]);
        weights.push_back(rng.uniform());
      }
    }
    tx = run.upload(x, run.activation(), {s.tokens, s.hidden});
    const int skew = s.aligned ? 0 : static_cast<int>(dtype_size(s.dtype));
    tg = run.upload(gate_up, s.dtype, {s.experts, 2 * s.intermediate, s.hidden}, skew);
    td = run.upload(down, s.dtype, {s.experts, s.hidden, s.intermediate}, skew);
    tw = run.upload(weights, DType::kF32, {s.tokens, s.top_k});
    ti = run.upload_ints(ids, {s.tokens, s.top_k});
  }
};

std::string shape_name(const MoeShape& s) {
  return concat(dtype_name(s.dtype), " t=", s.tokens, " e=", s.experts, " k=", s.top_k,
                " h=", s.hidden, " i=", s.intermediate, s.aligned ? " aligned" : "");
}

// Roundings: the SwiGLU product, each expert's output, the sum; many small ones of a sum over the
// intermediate columns weigh as one.
constexpr int kExpertRoundings = 3;

Case experts_case(MoeShape s) {
  Case c;
  c.name = concat("moe_experts ", shape_name(s));
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    const MoeData m(run, s);
    const Tensor out = run.empty(run.activation(), {s.tokens, s.hidden});
    run.ops().moe_experts({out, m.tx, m.tg, m.td, m.ti, m.tw});
    // Every token where that is little work, some of them otherwise; all columns of those.
    const int every =
        static_cast<int>(1 + s.tokens * s.top_k * s.hidden * s.intermediate * 3 / 40000000);
    std::vector<int64_t> places;
    std::vector<double> expected;
    for (int64_t t = 0; t < s.tokens; ++t) {
      if (t != s.tokens - 1 && run.rng().below(every) != 0) continue;
      std::vector<double> y(s.hidden);
      for (int64_t k = 0; k < s.top_k; ++k) {
        const int64_t e = m.ids[t * s.top_k + k];
        const float* gu = &m.gate_up[e * 2 * s.intermediate * s.hidden];
        std::vector<double> act(s.intermediate);
        for (int64_t i = 0; i < s.intermediate; ++i) {
          double g = 0, u = 0;
          for (int64_t j = 0; j < s.hidden; ++j) {
            g += double{m.x[t * s.hidden + j]} * gu[i * s.hidden + j];
            u += double{m.x[t * s.hidden + j]} * gu[(s.intermediate + i) * s.hidden + j];
          }
          act[i] = g / (1 + std::exp(-g)) * u;
        }
        for (int64_t j = 0; j < s.hidden; ++j) {
          double sum = 0;
          for (int64_t i = 0; i < s.intermediate; ++i)
            sum += act[i] * m.down[(e * s.hidden + j) * s.intermediate + i];
          y[j] += m.weights[t * s.top_k + k] * sum;
        }
      }
      for (int64_t j = 0; j < s.hidden; ++j)
        places.push_back(t * s.hidden + j), expected.push_back(y[j]);
    }
    const auto actual = run.download(out);
    run.close_at(actual, places, expected, run.tolerance(2e-5, kExpertRoundings), "out");
    for (float v : actual) expect(std::isfinite(v), "expected finite, received ", v);
  };
  return c;
}

Case experts_invariance(MoeShape s) {
  Case c;
  c.name = concat("moe_experts batch invariance ", shape_name(s));
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    const MoeData m(run, s);
    const Tensor out = run.empty(run.activation(), {s.tokens, s.hidden});
    const MoeExperts whole_args{out, m.tx, m.tg, m.td, m.ti, m.tw};
    run.ops().moe_experts(whole_args);
    const auto whole = run.download(out);
    const auto others = run.other_threads();
    for (const auto& ops : others) {
      ops->moe_experts(whole_args);
      expect_same(run.download(out), whole, "another number of threads");
    }
    Ops& ops = others.empty() ? run.ops() : *others[0];
    for (int64_t size : {1, 2, 7, 16, 33})
      for (int64_t t = 0; t + size <= s.tokens; t += size) {
        const Tensor part = run.empty(run.activation(), {size, s.hidden});
        ops.moe_experts({part, slice_rows(m.tx, t, size), m.tg, m.td, slice_rows(m.ti, t, size),
                         slice_rows(m.tw, t, size)});
        expect_same(run.download(part), slice_rows(whole, s.hidden, t, size),
                    concat("tokens ", t, " to ", t + size).c_str());
      }
  };
  return c;
}

// Weights of experts that nobody chose are NaN: touching them shows.
Case experts_untouched() {
  Case c;
  c.name = "moe_experts leaves unchosen experts alone";
  const MoeShape s{3, 8, 2, 24, 16, DType::kBF16};
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    MoeData m(run, s);
    m.ids = {1, 6, 6, 3, 3, 1};
    m.ti = run.upload_ints(m.ids, {3, 2});
    for (int64_t e : {0, 2, 4, 5, 7}) {
      std::fill_n(m.gate_up.begin() + e * 32 * 24, 32 * 24, std::nanf(""));
      std::fill_n(m.down.begin() + e * 24 * 16, 24 * 16, std::nanf(""));
    }
    run.write(m.tg, m.gate_up);
    run.write(m.td, m.down);
    const Tensor out = run.empty(run.activation(), {3, 24});
    run.ops().moe_experts({out, m.tx, m.tg, m.td, m.ti, m.tw});
    for (float v : run.download(out)) expect(std::isfinite(v), "expected finite, received ", v);
    if (run.ops().asynchronous()) return;  // ids are read on the device, which cannot throw
    m.ids[0] = 8;
    bool threw = false;
    try {
      run.ops().moe_experts({out, m.tx, m.tg, m.td, run.upload_ints(m.ids, {3, 2}), m.tw});
    } catch (const Error&) {
      threw = true;
    }
    expect(threw, "an expert beyond the last: expected an error");
  };
  return c;
}

Case route_case(int64_t tokens, int64_t experts, int64_t top_k, bool renormalize) {
  Case c;
  c.name = concat("moe_route t=", tokens, " e=", experts, " k=", top_k,
                  renormalize ? " renormalize" : "");
  c.limits = limits_of({tokens, experts, top_k, 64, 64, DType::kF32});
  c.body = [=](Run& run) {
    auto logits = run.rng().normals(tokens * experts, 2);
    for (int64_t i = 0; i < tokens * experts; i += 3)  // many equal logits
      logits[i] = std::round(logits[i]);
    const Tensor tl = run.upload(logits, run.activation(), {tokens, experts});
    const Tensor ids = run.empty(DType::kI32, {tokens, top_k});
    const Tensor weights = run.empty(DType::kF32, {tokens, top_k});
    run.ops().moe_route({tl, ids, weights, renormalize});
    const auto got = run.download_ints(ids);
    std::vector<double> expected;
    for (int64_t t = 0; t < tokens; ++t) {
      const float* x = &logits[t * experts];
      std::vector<int32_t> order(experts);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
      double total = 0;
      for (int64_t e = 0; e < (renormalize ? top_k : experts); ++e)
        total += std::exp(double{x[order[e]]} - x[order[0]]);
      for (int64_t k = 0; k < top_k; ++k) {
        expect(got[t * top_k + k] == order[k], "token ", t, " choice ", k, ": expected expert ",
               order[k], ", received ", got[t * top_k + k]);
        expected.push_back(std::exp(double{x[order[k]]} - x[order[0]]) / total);
      }
    }
    run.close(run.download(weights), expected, run.tolerance(1e-6, 0), "weights");
  };
  return c;
}

Case experts_bench(const char* label, MoeShape s) {
  Case c;
  c.name = concat("moe_experts ", label, " ", shape_name(s));
  const double expert = 3.0 * static_cast<double>(s.hidden * s.intermediate);
  const double touched =
      std::min<double>(static_cast<double>(s.experts), static_cast<double>(s.tokens * s.top_k));
  c.bytes = expert * touched * static_cast<double>(dtype_size(s.dtype));
  c.flops = 2 * expert * static_cast<double>(s.tokens * s.top_k);
  c.mode = Mode::kBench;
  c.limits = limits_of(s);
  c.body = [=](Run& run) {
    const MoeData m(run, s);
    const Tensor out = run.empty(run.activation(), {s.tokens, s.hidden});
    run.op([&](int) { run.ops().moe_experts({out, m.tx, m.tg, m.td, m.ti, m.tw}); });
  };
  return c;
}

}  // namespace

void add_moe_cases(std::vector<Case>& cases) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    cases.push_back(experts_case({1, 4, 2, 32, 24, dtype}));
    cases.push_back(experts_case({37, 8, 2, 40, 36, dtype}));
    cases.push_back(experts_case({5, 3, 3, 17, 9, dtype}));
    cases.push_back(experts_invariance({21, 6, 3, 72, 40, dtype}));
  }
  for (DType dtype : {DType::kBF16, DType::kF16}) {
    cases.push_back(experts_case({1, 8, 2, 128, 64, dtype, true}));
    cases.push_back(experts_case({7, 16, 4, 128, 96, dtype, true}));
    cases.push_back(experts_case({33, 8, 2, 256, 128, dtype, true}));
    cases.push_back(experts_case({64, 16, 4, 512, 256, dtype, true}));
    cases.push_back(experts_case({4, 8, 4, 1024, 384, dtype, true}));
    cases.push_back(experts_case({300, 4, 2, 128, 64, dtype, true}));  // many rows of an expert
    cases.push_back(experts_invariance({70, 8, 2, 128, 64, dtype, true}));
    cases.push_back(experts_invariance({150, 4, 2, 576, 192, dtype, true}));
    cases.push_back(experts_invariance({40, 32, 8, 512, 128, dtype, true}));
  }
  cases.push_back(experts_case({0, 4, 2, 32, 24, DType::kBF16}));
  cases.push_back(experts_untouched());
  for (bool renormalize : {false, true}) {
    cases.push_back(route_case(1, 4, 2, renormalize));
    cases.push_back(route_case(9, 128, 8, renormalize));
    cases.push_back(route_case(3, 300, 8, renormalize));
    cases.push_back(route_case(2, 5, 5, renormalize));
    cases.push_back(route_case(130, 8, 2, renormalize));
    cases.push_back(route_case(70, 64, 6, renormalize));
  }
  // 32 of Qwen3-30B-A3B's 128 experts.
  cases.push_back(experts_bench("decode", {1, 32, 8, 2048, 768, DType::kBF16, true}));
  cases.push_back(experts_bench("batch", {16, 32, 8, 2048, 768, DType::kBF16, true}));
  cases.push_back(experts_bench("prefill", {128, 32, 8, 2048, 768, DType::kBF16, true}));
}

}  // namespace hotpath::test

// RoPE with the QK norms and the KV store: correctness against double, then timings.

#include "bench/lab/cuda/decode_lab.h"

using namespace lab;

namespace {

void check_rope(Context& ctx) {
  struct Case {
    int heads, kv_heads, d, rotary;
    bool q_norm, k_norm;
    DType t, c, w;
  };
  const DType f = DType::kF32, b = DType::kBF16, h = DType::kF16;
  double worst = 0;
  uint64_t seed = 5000;
  for (const Case& c : std::vector<Case>{{16, 8, 128, 128, true, true, b, b, b},
                                         {14, 2, 64, 64, false, false, b, b, b},
                                         {14, 2, 64, 64, false, false, h, h, h},
                                         {4, 1, 256, 64, true, true, b, b, f},
                                         {5, 5, 96, 96, true, false, h, h, h},
                                         {3, 1, 192, 32, false, true, b, b, b},
                                         {4, 2, 80, 20, true, true, b, b, b},
                                         {4, 2, 10, 6, true, true, f, f, f},
                                         {4, 2, 128, 128, true, true, f, b, b},
                                         {4, 2, 128, 128, false, false, f, f, f},
                                         {4, 2, 64, 0, false, false, b, h, f},
                                         {40, 2, 512, 512, true, true, h, f, h}})
    for (const int tokens : {1, 7, 700}) {
      Rng rng(++seed);
      std::vector<SeqSpec> seqs{{3, 0, 1}};
      if (tokens > 1) seqs = {{5, tokens - 2, 0}, {20, 0, 2}};
      Step step(seqs, 16, 2, rng);
      step.slots.back() = -1;
      step.prepare(33, workspace());
      const int d = c.d, all = c.heads + 2 * c.kv_heads;
      std::vector<float> x(size_t(tokens) * all * d), qw(d), kw(d);
      std::vector<float> angles(1024 * std::max(2, c.rotary));
      for (auto& v : x) v = rng.normal();
      for (auto& v : qw) v = 1 + 0.2f * rng.normal();
      for (auto& v : kw) v = 1 + 0.2f * rng.normal();
      for (auto& v : angles) v = rng.normal();
      QkNormRopeStore a{};
      a.qkv = lab::upload(x, c.t, {tokens, int64_t{all} * d});
      const Tensor q_norm = lab::upload(qw, c.w, {d}), k_norm = lab::upload(kw, c.w, {d});
      if (c.q_norm) a.q_norm = q_norm;
      if (c.k_norm) a.k_norm = k_norm;
      a.eps = 1e-6f;
      a.rope = {lab::upload(angles, DType::kF32, {1024, std::max(2, c.rotary)}), c.rotary};
      std::vector<float> none(size_t(step.num_blocks) * c.kv_heads * 16 * d, 12345.0f);
      a.k_cache = lab::upload(none, c.c, {step.num_blocks, c.kv_heads, 16, d});
      a.v_cache = lab::upload(none, c.c, {step.num_blocks, c.kv_heads, 16, d});
      a.num_heads = c.heads, a.num_kv_heads = c.kv_heads, a.head_dim = d;
      qk_norm_rope_store(ctx, a, step.how.batch);
      const auto got = lab::download(a.qkv);
      const auto k = lab::download(a.k_cache), v = lab::download(a.v_cache);
      std::vector<double> want(x.begin(), x.end());
      std::vector<double> want_k(none.begin(), none.end()), want_v = want_k;
      for (int t = 0; t < tokens; ++t)
        for (int head = 0; head < all; ++head) {
          double* at = &want[(size_t(t) * all + head) * d];
          const bool is_k = head >= c.heads, is_v = head >= c.heads + c.kv_heads;
          if (!is_v && (is_k ? c.k_norm : c.q_norm)) {
            double sum = 0;
            for (int i = 0; i < d; ++i) sum += at[i] * at[i];
            const double r = 1 / std::sqrt(sum / d + 1e-6);
            for (int i = 0; i < d; ++i) at[i] *= r * (is_k ? kw : qw)[i];
          }
          for (int i = 0; !is_v && i < c.rotary / 2; ++i) {
            const float* angle = &angles[size_t(step.positions[t]) * c.rotary];
            const double p = at[i], q = at[i + c.rotary / 2];
            const double co = angle[i], si = angle[i + c.rotary / 2];
            at[i] = p * co - q * si;
            at[i + c.rotary / 2] = q * co + p * si;
          }
          const int slot = step.slots[t];
          if (is_k && slot >= 0) {
            const int kv = head - c.heads - (is_v ? c.kv_heads : 0);
            double* to = &(is_v ? want_v : want_k)[((int64_t{slot} / 16 * c.kv_heads + kv) * 16 +
                                                    slot % 16) * d];
            std::copy(at, at + d, to);
          }
        }
      const auto tolerance = [](DType t) {
        return t == DType::kF32 ? 1e-5 : t == DType::kBF16 ? 4.1e-3 : 6e-4;
      };
      const double error = std::max({lab::worst_error(got, want) / tolerance(c.t),
                                     lab::worst_error(k, want_k) / tolerance(c.c),
                                     lab::worst_error(v, want_v) / tolerance(c.c)});
      worst = std::max(worst, error);
      char where[80];
      std::snprintf(where, sizeof where, "%d/%d d %d rotary %d T %d", c.heads, c.kv_heads, d,
                    c.rotary, tokens);
      report(error < 1, "rope", where, error);
      for (const void* p : {a.qkv.data, q_norm.data, k_norm.data, a.rope.cos_sin.data,
                            a.k_cache.data, a.v_cache.data})
        cudaFree(const_cast<void*>(p));
    }
  std::printf("rope: worst error %.2f of tolerance\n", worst);
}

void time_rope(Context& ctx, int heads, int kv_heads, int d, bool norm, int tokens) {
  Rng rng(4);
  Step step({{16, tokens, 0}}, 16, 1, rng);
  step.prepare(33, workspace());
  const int width = (heads + 2 * kv_heads) * d, copies = tokens > 4000 ? 2 : 16;
  const Tensor qkv = lab::random(DType::kBF16, {int64_t{copies} * tokens, width});
  const Tensor cache = lab::random(DType::kBF16, {2, step.num_blocks, int64_t{kv_heads} * 16 * d});
  const Tensor weight = lab::random(DType::kBF16, {d});
  std::vector<float> angles(size_t(tokens + 16) * d, 0.7f);
  const Tensor table = lab::upload(angles, DType::kF32, {tokens + 16, d});
  const double us = lab::time_us(ctx, copies, [&](int i) {
    QkNormRopeStore a{};
    a.qkv = Tensor(qkv.row<uint16_t>(int64_t{i} * tokens), DType::kBF16, {tokens, width});
    if (norm) a.q_norm = weight, a.k_norm = weight;
    a.eps = 1e-6f;
    a.rope = {table, d};
    a.k_cache = Tensor(cache.data, DType::kBF16, {step.num_blocks, kv_heads, 16, d});
    a.v_cache = Tensor(cache.row<uint16_t>(1), DType::kBF16, {step.num_blocks, kv_heads, 16, d});
    a.num_heads = heads, a.num_kv_heads = kv_heads, a.head_dim = d;
    qk_norm_rope_store(ctx, a, step.how.batch);
  });
  const double bytes = 2.0 * tokens * (width + (heads + 3 * kv_heads) * d);
  std::printf("rope %d/%d hd %d T %-5d %7.2f us %.2f TB/s\n", heads, kv_heads, d, tokens, us,
              bytes / us * 1e-6);
  for (const Tensor* t : {&qkv, &cache, &weight, &table}) cudaFree(t->data);
}

}  // namespace

int main() {
  Context ctx = lab::make_context();
  try {
    check_rope(ctx);
    std::printf("%s rope: %d failures\n", failures ? "FAIL" : "PASS", failures);
    for (const int tokens : {1, 64, 256, 2048, 16384}) time_rope(ctx, 32, 8, 128, false, tokens);
    for (const int tokens : {1, 256, 16384}) time_rope(ctx, 16, 8, 128, true, tokens);
    for (const int tokens : {1, 16384}) time_rope(ctx, 14, 2, 64, false, tokens);
  } catch (const Error& e) {
    std::printf("FAIL %s\n", e.what());
    return 1;
  }
  return failures != 0;
}

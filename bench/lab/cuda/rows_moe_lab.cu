// Lab of the row ops and the expert layers: checks against double, bit equality across batch sizes
// and plans, then times. Build: nvcc -std=c++20 -O3 -Icsrc -Ibench/lab/cuda rows_moe_lab.cu
// csrc/cuda/{context,row_ops,moe,moe_stream,moe_gemm,moe_gemm_plain,moe_wgmma_sm90}.cu

#include <cfloat>
#include <cstring>
#include <numeric>
#include <string>

#include "cuda/moe_gemm.h"
#include "cuda/row_ops.h"
#include "lab.h"

using namespace hotpath;
using namespace hotpath::cuda;
using lab::Rng;

namespace {

Context ctx;
int failures = 0, checks = 0;

void expect(bool ok, const std::string& what) {
  ++checks;
  if (ok) return;
  if (++failures <= 20) std::printf("FAIL %s\n", what.c_str());
}

template <typename... Parts>
std::string text(const Parts&... parts) {
  return concat(parts...);
}

double tolerance(DType t) {
  return t == DType::kF32 ? 2e-5 : t == DType::kF16 ? 1.2e-3 : 8e-3;
}

double rounded(double v, DType t) {
  const float f = static_cast<float>(v);
  return t == DType::kF16    ? f16_to_float(float_to_f16(f))
         : t == DType::kBF16 ? bf16_to_float(float_to_bf16(f))
                             : f;
}

std::vector<float> normals(Rng& rng, size_t n, float scale = 1) {
  std::vector<float> v(n);
  for (float& x : v) x = rng.normal() * scale;
  return v;
}

// A tensor of `rows` x `columns` at `offset` elements from an aligned address.
Tensor make(std::vector<float>& values, DType t, int64_t rows, int64_t columns, int64_t offset) {
  std::vector<float> padded(offset, 0.0f);
  padded.insert(padded.end(), values.begin(), values.end());
  Tensor all = lab::upload(padded, t, {static_cast<int64_t>(padded.size())});
  LAB_CHECK(cudaDeviceSynchronize());  // copies from pageable memory may still be on their way
  std::copy(padded.begin() + offset, padded.end(), values.begin());
  return Tensor(static_cast<char*>(all.data) + offset * dtype_size(t), t, {rows, columns});
}
Tensor empty(DType t, int64_t rows, int64_t columns) {
  Tensor out(nullptr, t, {rows, columns});
  out.data = lab::device_bytes(std::max<size_t>(out.bytes(), 16));
  LAB_CHECK(cudaDeviceSynchronize());
  return out;
}
int32_t* upload_ids(const std::vector<int32_t>& ids) {
  void* p = lab::device_bytes(ids.size() * 4 + 16);
  LAB_CHECK(cudaMemcpy(p, ids.data(), ids.size() * 4, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaDeviceSynchronize());
  return static_cast<int32_t*>(p);
}
std::vector<char> raw_bytes(const Tensor& t) {
  std::vector<char> raw(t.bytes());
  LAB_CHECK(cudaDeviceSynchronize());
  LAB_CHECK(cudaMemcpy(raw.data(), t.data, raw.size(), cudaMemcpyDeviceToHost));
  return raw;
}

const DType kTypes[] = {DType::kBF16, DType::kF16, DType::kF32};

// ---------------------------------------------------------------------------------- row op checks

void check_norms() {
  Rng rng(1);
  for (DType t : kTypes)
    for (int64_t columns : {1, 7, 192, 896, 2048, 4096, 5120, 8192, 16384, 20000, 40000})
      for (int variant = 0; variant < 4; ++variant) {  // 1: w f32/bf16, 2: w unaligned, 3: x too
        const int64_t rows = columns > 8192 ? 2 : 5;
        const DType w_type = variant != 1 ? t : t == DType::kF32 ? DType::kBF16 : DType::kF32;
        std::vector<float> x = normals(rng, rows * columns), r = normals(rng, rows * columns, 3);
        std::vector<float> w = normals(rng, columns);
        const Tensor dx = make(x, t, rows, columns, variant == 3);
        const Tensor dr = make(r, t, rows, columns, 0);
        Tensor dw = make(w, w_type, 1, columns, variant >= 2);
        dw.ndim = 1, dw.shape[0] = columns;
        const Tensor out = empty(t, rows, columns), out1 = empty(t, 1, columns);
        std::vector<double> plain(rows * columns), added(rows * columns), sums(rows * columns);
        for (int64_t i = 0; i < rows; ++i) {
          double square = 0, square_added = 0;
          for (int64_t c = 0; c < columns; ++c) {
            const double a = x[i * columns + c];
            const double s = sums[i * columns + c] =
                rounded(static_cast<float>(x[i * columns + c]) + r[i * columns + c], t);
            square += a * a, square_added += s * s;
          }
          for (int64_t c = 0; c < columns; ++c) {
            plain[i * columns + c] =
                x[i * columns + c] / std::sqrt(square / columns + 1e-6) * w[c];
            added[i * columns + c] =
                sums[i * columns + c] / std::sqrt(square_added / columns + 1e-6) * w[c];
          }
        }
        const std::string name = text(dtype_name(t), " columns ", columns, " variant ", variant);
        rmsnorm(ctx, out, dx, dw, 1e-6f);
        expect(lab::worst_error(lab::download(out), plain) < tolerance(t), "rmsnorm " + name);
        rmsnorm(ctx, out1, dx.rows(1), dw, 1e-6f);
        const auto many = raw_bytes(out), one = raw_bytes(out1);
        expect(!std::memcmp(many.data(), one.data(), one.size()), "rmsnorm bits " + name);
        add_rmsnorm(ctx, out, dr, dx, dw, 1e-6f);
        expect(lab::worst_error(lab::download(out), added) < tolerance(t), "add_rmsnorm " + name);
        expect(lab::worst_error(lab::download(dr), sums) == 0, "residual " + name);
        rmsnorm(ctx, out.rows(0), dx.rows(0), dw, 1e-6f);
        for (void* p : {dr.data, out.data, out1.data}) LAB_CHECK(cudaFree(p));
      }
  LAB_CHECK(cudaDeviceSynchronize());
}

void check_copies() {
  Rng rng(2);
  const std::vector<int32_t> ids = {3, -1, 0, 9, -3, 1000, 5}, last = {7, 2, 4};
  const std::vector<int32_t> wanted = {3, 7, 0, 9, 4, 9, 5};
  DeviceBatch batch{};
  batch.input_ids = upload_ids(ids), batch.last_tokens = upload_ids(last);
  for (DType t : kTypes)
    for (DType table_type : kTypes)
      for (int64_t columns : {1, 7, 192, 896, 16384})
        for (int offset : {0, 1}) {
          std::vector<float> table = normals(rng, 10 * columns);
          const Tensor dt = make(table, table_type, 10, columns, offset);
          const Tensor out = empty(t, 7, columns);
          std::vector<double> ref(7 * columns);
          for (int i = 0; i < 7; ++i)
            for (int64_t c = 0; c < columns; ++c)
              ref[i * columns + c] = rounded(table[wanted[i] * columns + c], t);
          embed(ctx, out, dt, batch);
          const std::string name = text(dtype_name(t), " from ", dt.to_string(), " +", offset);
          expect(lab::worst_error(lab::download(out), ref) == 0, "embed " + name);
          embed(ctx, out.rows(0), dt, batch);
          if (t != table_type) continue;
          const Tensor rows = out.rows(3);
          for (int i = 0; i < 3; ++i)
            for (int64_t c = 0; c < columns; ++c)
              ref[i * columns + c] = table[last[i] * columns + c];
          ref.resize(3 * columns);
          gather_rows(ctx, rows, dt, batch.last_tokens);
          expect(lab::worst_error(lab::download(rows), ref) == 0, "gather " + name);
        }
  for (DType t : kTypes)
    for (int64_t columns : {1, 7, 128, 768, 9728})
      for (int64_t rows : {0, 1, 5}) {
        std::vector<float> x = normals(rng, rows * 2 * columns, 4);
        const Tensor dx = make(x, t, rows, 2 * columns, 0), out = empty(t, rows, columns);
        std::vector<double> ref(rows * columns);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t c = 0; c < columns; ++c) {
            const double gate = x[i * 2 * columns + c];
            ref[i * columns + c] = gate / (1 + std::exp(-gate)) * x[(i * 2 + 1) * columns + c];
          }
        silu_mul(ctx, out, dx);
        expect(lab::worst_error(lab::download(out), ref) < tolerance(t),
               text("silu_mul ", dtype_name(t), " ", rows, " x ", columns));
      }
}

// ------------------------------------------------------------------------------------ MoE checks

void check_route() {
  Rng rng(3);
  for (DType t : kTypes)
    for (int experts : {4, 8, 12, 33, 128, 160, 512})
      for (int top_k : {1, 2, 4, 8, 32})
        for (bool renormalize : {true, false}) {
          if (top_k > experts) continue;
          const int tokens = 37, stride = top_k + 3;
          std::vector<float> logits = normals(rng, tokens * experts, 2);
          for (int i = 0; i < 8 * experts; ++i) logits[i] = std::round(logits[i]);  // ties
          logits[9 * experts] = NAN, logits[10 * experts + 1] = INFINITY;
          logits[11 * experts + 2] = -INFINITY;
          for (int e = 0; e < experts; ++e) logits[12 * experts + e] = e % 2 ? -0.0f : 0.0f;
          const Tensor dl = make(logits, t, tokens, experts, 0);
          Tensor ids = empty(DType::kI32, tokens, stride);
          Tensor weights = empty(DType::kF32, tokens, stride);
          ids.shape[1] = weights.shape[1] = top_k;
          moe_route(ctx, {dl, ids, weights, renormalize});
          std::vector<int32_t> got(tokens * stride);
          std::vector<float> got_weights(tokens * stride);
          LAB_CHECK(cudaDeviceSynchronize());
          LAB_CHECK(cudaMemcpy(got.data(), ids.data, got.size() * 4, cudaMemcpyDeviceToHost));
          LAB_CHECK(cudaMemcpy(got_weights.data(), weights.data, got.size() * 4,
                               cudaMemcpyDeviceToHost));
          bool same = true;
          double worst = 0;
          for (int i = 0; i < tokens; ++i) {
            std::vector<float> v(logits.begin() + i * experts, logits.begin() + (i + 1) * experts);
            for (float& x : v) x = x > -FLT_MAX ? std::min(x, FLT_MAX) : -FLT_MAX;
            std::vector<int> order(experts);
            std::iota(order.begin(), order.end(), 0);
            std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return v[a] > v[b]; });
            double total = 0;
            for (int j = 0; j < (renormalize ? top_k : experts); ++j)
              total += std::exp(double{v[order[j]]} - v[order[0]]);
            for (int j = 0; j < top_k; ++j) {
              same = same && got[i * stride + j] == order[j];
              const double w = std::exp(double{v[order[j]]} - v[order[0]]) / total;
              const double e = std::abs(w - got_weights[i * stride + j]);
              worst = e <= 1 ? std::max(worst, e) : 1;
            }
          }
          expect(same && worst < 1e-5, text("route ", dtype_name(t), " ", experts, " top ", top_k,
                                            same ? "" : " ids differ", " error ", worst));
          for (void* p : {ids.data, weights.data, dl.data}) LAB_CHECK(cudaFree(p));
        }
}

struct Layer {
  Tensor gate_up, down;  // [E, 2 I, H], [E, H, I]
};

Tensor as3d(Tensor t, int64_t a, int64_t b, int64_t c) {
  return Tensor(t.data, t.dtype, {a, b, c});
}

// One token in double: x [H], the experts' matrices as vectors, inner rounded to the dtype.
void reference_token(double* out, const float* x, const std::vector<std::vector<float>>& gate_up,
                     const std::vector<std::vector<float>>& down, const float* weights, int64_t h,
                     int64_t inter, DType t) {
  std::fill(out, out + h, 0.0);
  for (size_t s = 0; s < gate_up.size(); ++s) {
    std::vector<double> inner(inter);
    for (int64_t i = 0; i < inter; ++i) {
      double gate = 0, up = 0;
      for (int64_t k = 0; k < h; ++k) {
        gate += double{x[k]} * gate_up[s][i * h + k];
        up += double{x[k]} * gate_up[s][(inter + i) * h + k];
      }
      inner[i] = rounded(gate / (1 + std::exp(-gate)) * up, t);
    }
    for (int64_t n = 0; n < h; ++n) {
      double sum = 0;
      for (int64_t i = 0; i < inter; ++i) sum += inner[i] * down[s][n * inter + i];
      out[n] += weights[s] * sum;
    }
  }
}

const char* plan_name(MoePlan plan) {
  const char* names[] = {"stream", "tile32", "tile64", "tile128", "wgmma", "plain"};
  return names[static_cast<int>(plan)];
}

void check_experts() {
  struct Case {
    int experts, top_k;
    int64_t h, inter;
  };
  Rng rng(4);
  for (const Case& c : {Case{12, 2, 192, 128}, Case{5, 3, 72, 40}, Case{4, 1, 17, 13},
                        Case{64, 8, 256, 96}, Case{40, 12, 64, 200}, Case{3, 2, 8, 8},
                        Case{2, 1, 64, 16}})
    for (int kind = 0; kind < 4; ++kind) {  // 3: f32 activations, bf16 weights
      const DType t = kind < 3 ? kTypes[kind] : DType::kF32;
      const DType w_type = kind < 3 ? t : DType::kBF16;
      const int most = c.experts == 64 ? 150 : 300;
      std::vector<float> x = normals(rng, most * c.h);
      std::vector<float> gate_up =
          normals(rng, c.experts * 2 * c.inter * c.h, 1.0f / std::sqrt(float(c.h)));
      std::vector<float> down =
          normals(rng, c.experts * c.h * c.inter, 2.0f / std::sqrt(float(c.inter)));
      const Tensor dx = make(x, t, most, c.h, 0);
      const Tensor dg = as3d(make(gate_up, w_type, c.experts * 2 * c.inter, c.h, 0), c.experts,
                             2 * c.inter, c.h);
      const Tensor dd =
          as3d(make(down, w_type, c.experts * c.h, c.inter, 0), c.experts, c.h, c.inter);
      const int stride = c.top_k + 1;
      std::vector<int32_t> ids(most * stride);
      std::vector<float> weights(most * stride);
      for (int i = 0; i < most; ++i) {
        const int hot = i < most / 2 ? c.experts : std::max(c.top_k, 2);  // then few experts
        int first = rng.below(hot);
        for (int s = 0; s < c.top_k; ++s) {
          ids[i * stride + s] = (first + s) % hot;
          weights[i * stride + s] = rng.uniform();
        }
      }
      Tensor di(upload_ids(ids), DType::kI32, {most, stride});
      Tensor dw = make(weights, DType::kF32, most, stride, 0);
      di.shape[1] = dw.shape[1] = c.top_k;
      std::vector<double> ref(most * c.h);
      for (int i = 0; i < most; ++i) {
        std::vector<std::vector<float>> g, d;
        for (int s = 0; s < c.top_k; ++s) {
          const int64_t e = ids[i * stride + s], n = c.inter * c.h;
          g.emplace_back(gate_up.begin() + e * 2 * n, gate_up.begin() + (e + 1) * 2 * n);
          d.emplace_back(down.begin() + e * n, down.begin() + (e + 1) * n);
        }
        reference_token(&ref[i * c.h], &x[i * c.h], g, d, &weights[i * stride], c.h, c.inter, t);
      }
      OpLimits limits{};
      limits.max_tokens = most, limits.max_columns = c.h, limits.num_experts = c.experts;
      limits.top_k = c.top_k, limits.moe_intermediate = c.inter;
      const size_t bytes = moe_workspace(limits, dtype_size(t));
      char* workspace = static_cast<char*>(lab::device_bytes(bytes + 256));
      const Tensor out = empty(t, most, c.h);
      std::vector<char> bits[2];
      for (int tokens : {most, 65, 5, 1, 0})
        for (int p = 0; p < 7; ++p) {  // 6: the plan that moe_experts picks
          const MoeExperts args{out.rows(tokens), dx.rows(tokens), dg,
                                dd,               di.rows(tokens), dw.rows(tokens)};
          const MoePlan plan = static_cast<MoePlan>(p);
          if (p < 5 && !moe_fits_tensor_cores(args)) continue;
          if (plan == MoePlan::kWgmma && !moe_fits_wgmma(ctx, args)) continue;
          if (plan == MoePlan::kStream && c.top_k > kMoeStreamSlots) continue;
          LAB_CHECK(cudaMemset(out.data, 0xff, out.bytes()));
          LAB_CHECK(cudaMemset(workspace, 0xff, bytes));
          LAB_CHECK(cudaDeviceSynchronize());
          if (p == 6)
            moe_experts(ctx, args, workspace);
          else
            moe_experts(ctx, args, workspace, plan);
          const std::string name = text("experts ", c.experts, " top ", c.top_k, " ", c.h, " x ",
                                        c.inter, " ", dtype_name(t), " T ", tokens, " plan ",
                                        p == 6 ? "picked" : plan_name(plan));
          std::vector<double> part(ref.begin(), ref.begin() + tokens * c.h);
          const double error = lab::worst_error(lab::download(out.rows(tokens)), part);
          expect(error < tolerance(t) * 2, text(name, " error ", error));
          const auto raw = raw_bytes(out.rows(tokens));
          const bool tensor = moe_fits_tensor_cores(args) && plan != MoePlan::kPlain;
          if (bits[tensor].empty()) bits[tensor] = raw;
          expect(!std::memcmp(bits[tensor].data(), raw.data(), raw.size()), name + " bits");
        }
      expect(raw_bytes(Tensor(workspace + bytes, DType::kU8, {256})) == std::vector<char>(256, -1),
             text("workspace overrun ", c.experts, " ", c.h));
      for (void* p : {dx.data, dg.data, dd.data, di.data, dw.data, out.data, (void*)workspace})
        LAB_CHECK(cudaFree(p));
    }
}

// -------------------------------------------------------------------------------------- timings

void time_rows() {
  std::printf("rows, bf16: us at T = 1, 32, 256, 16384 (TB/s)\n");
  for (int64_t h : {896, 2048, 4096, 8192}) {
    const int64_t most = 16384;
    const Tensor x = lab::random(DType::kBF16, {most, h}), r = lab::random(DType::kBF16, {most, h});
    const Tensor out = empty(DType::kBF16, most, h);
    Tensor w = lab::random(DType::kBF16, {h});
    std::vector<int32_t> ids(most);
    for (int i = 0; i < most; ++i) ids[i] = (i * 37) % most;
    DeviceBatch batch{};
    batch.input_ids = upload_ids(ids), batch.last_tokens = batch.input_ids;
    const char* names[] = {"rmsnorm", "add_rmsnorm", "silu_mul", "embed"};
    for (int op = 0; op < 4; ++op) {
      std::printf("  %5ld %-11s", static_cast<long>(h), names[op]);
      for (int64_t t : {1, 32, 256, 16384}) {
        const Tensor o = out.rows(t), a = x.rows(t), b = r.rows(t);
        const double us = lab::time_us(ctx, t > 256 ? 4 : 40, [&](int) {
          if (op == 0) rmsnorm(ctx, o, a, w, 1e-6f);
          if (op == 1) add_rmsnorm(ctx, o, b, a, w, 1e-6f);
          if (op == 2) silu_mul(ctx, o.columns(0, h / 2), a);
          if (op == 3) embed(ctx, o, x, batch);
        });
        std::printf(" %7.2f", us);
        const double bytes = double(t) * h * 2 * (op == 1 ? 4 : op == 2 ? 1.5 : 2);
        if (t > 256) std::printf(" (%.2f)", bytes / us * 1e-6);
      }
      std::printf("\n");
    }
    for (void* p : {x.data, r.data, out.data, w.data}) LAB_CHECK(cudaFree(p));
  }
}

// Random distinct experts for every token.
std::vector<int32_t> random_choice(Rng& rng, int64_t tokens, int experts, int top_k) {
  std::vector<int32_t> ids;
  std::vector<int32_t> deck(experts);
  std::iota(deck.begin(), deck.end(), 0);
  for (int64_t t = 0; t < tokens; ++t)
    for (int s = 0; s < top_k; ++s) {
      std::swap(deck[s], deck[s + rng.below(experts - s)]);
      ids.push_back(deck[s]);
    }
  return ids;
}

void time_experts(const char* name, int experts, int top_k, int64_t h, int64_t inter,
                  std::initializer_list<int64_t> all_tokens, bool check_bits) {
  std::printf("%s, %d experts top %d, bf16: us of the layer (TB/s of distinct experts' weights | "
              "TFLOP/s); gemms: gate_up + down alone\n", name, experts, top_k);
  Rng rng(5);
  const int64_t most = *(all_tokens.end() - 1);
  const Tensor gate_up = lab::random(DType::kBF16, {experts, 2 * inter, h}, 0.03f, 7);
  const Tensor down = lab::random(DType::kBF16, {experts, h, inter}, 0.05f, 8);
  const Tensor x = lab::random(DType::kBF16, {most, h}, 1, 9), out = empty(DType::kBF16, most, h);
  std::vector<float> ones(most * top_k, 1.0f / top_k);
  const Tensor weights = make(ones, DType::kF32, most, top_k, 0);
  OpLimits limits{};
  limits.max_tokens = most, limits.max_columns = h, limits.num_experts = experts;
  limits.top_k = top_k, limits.moe_intermediate = inter;
  void* workspace = lab::device_bytes(moe_workspace(limits, 2));
  const Tensor logits = lab::random(DType::kBF16, {most, experts});
  const Tensor route_ids = empty(DType::kI32, most, top_k);

  for (int64_t tokens : all_tokens) {
    const int sets = tokens <= 64 ? 12 : tokens <= 1024 ? 4 : 2;  // rotated choices
    std::vector<Tensor> ids;
    double distinct = 0;
    std::vector<int32_t> choice;
    for (int i = 0; i < sets; ++i) {
      choice = random_choice(rng, tokens, experts, top_k);
      ids.push_back(Tensor(upload_ids(choice), DType::kI32, {tokens, top_k}));
      std::vector<bool> used(experts);
      for (int32_t e : choice) used[e] = true;
      distinct += static_cast<double>(std::count(used.begin(), used.end(), true)) / sets;
    }
    const double flops = 2.0 * tokens * top_k * 3 * inter * h;
    const double bytes = distinct * 3 * inter * h * 2;
    std::printf("  T %5ld", static_cast<long>(tokens));
    std::vector<char> bits;
    const int64_t of_expert = tokens * top_k / experts;
    for (int p = 0; p < 5; ++p) {
      const MoePlan plan = static_cast<MoePlan>(p);
      if (plan == MoePlan::kStream && (tokens * top_k > 64 || of_expert > 0)) continue;
      if (plan == MoePlan::kTile32 && of_expert > 32) continue;
      if (plan == MoePlan::kTile64 && (of_expert < 8 || of_expert > 128)) continue;
      if (plan == MoePlan::kTile128 && of_expert < 32) continue;
      if (plan == MoePlan::kWgmma && of_expert < 8) continue;
      const auto call = [&](int i) {
        moe_experts(ctx, {out.rows(tokens), x.rows(tokens), gate_up, down, ids[i % sets],
                          weights.rows(tokens)}, workspace, plan);
      };
      call(0);
      const auto raw = raw_bytes(out.rows(tokens));
      if (bits.empty()) bits = raw;
      expect(bits == raw, text(name, " T ", tokens, " bits of ", plan_name(plan)));
      const double us = lab::time_us(ctx, sets, call, tokens > 1024 ? 5 : 9);
      std::printf(" | %s %.1f", plan_name(plan), us);
      if (tokens <= 256) std::printf(" (%.2f)", bytes / us * 1e-6);
      else std::printf(" (%.0f TF)", flops / us * 1e-6);
      if (p == 0) continue;

      // The two products alone, over tiles made here.
      std::vector<std::vector<int32_t>> members(experts);
      for (size_t pair = 0; pair < choice.size(); ++pair)
        members[choice[pair]].push_back(static_cast<int32_t>(pair));
      std::vector<int32_t> tiles, pairs, rows;
      const int columns = moe_tile_columns(plan);
      for (int e = 0; e < experts; ++e)
        for (size_t i = 0; i < members[e].size(); ++i) {
          const int parts = ceil_div(members[e].size(), columns);
          const int share = ceil_div(members[e].size(), parts);
          if (i % share == 0) {
            const int left = static_cast<int>(members[e].size() - i);
            const int32_t begin = static_cast<int32_t>(pairs.size());
            tiles.insert(tiles.end(), {e, begin, std::min(share, left), 0});
          }
          pairs.push_back(members[e][i]);
          rows.push_back(members[e][i] / top_k);
        }
      if (tokens * top_k > (1 << 15)) continue;
      const int count = static_cast<int>(tiles.size() / 4);
      int32_t* device_count = upload_ids({count});
      const Tensor inner = lab::random(DType::kBF16, {tokens * top_k, inter});
      const Tensor outs = empty(DType::kF32, tokens * top_k, h);
      MoeGemm g{};
      g.tiles = reinterpret_cast<MoeTile*>(upload_ids(tiles)), g.num_tiles = device_count;
      g.max_tiles = count, g.dtype = g.w_dtype = DType::kBF16, g.experts = experts;
      g.w = gate_up.data, g.x = x.data, g.y = inner.data, g.x_rows = upload_ids(rows);
      g.x_stride = h, g.outputs = static_cast<int>(inter), g.k = static_cast<int>(h), g.gate = true;
      const auto product = [&](int) {
        plan == MoePlan::kWgmma ? moe_gemm_wgmma(ctx, g) : moe_gemm_mma(ctx, g, plan);
      };
      const double first = lab::time_us(ctx, 4, product, 5);
      g.w = down.data, g.x = inner.data, g.y = outs.data, g.x_rows = nullptr;
      g.y_rows = upload_ids(pairs), g.x_stride = inter;
      g.outputs = static_cast<int>(h), g.k = static_cast<int>(inter), g.gate = false;
      const double second = lab::time_us(ctx, 4, product, 5);
      std::printf(" gemms %.1f + %.1f", first, second);
      LAB_CHECK(cudaFree(inner.data));
      LAB_CHECK(cudaFree(outs.data));
    }
    const double route = lab::time_us(ctx, 10, [&](int) {
      moe_route(ctx, {logits.rows(tokens), route_ids.rows(tokens), weights.rows(tokens), true});
    }, 5);
    std::printf(" | route %.1f\n", route);
  }

  if (check_bits) {  // one real token against double, and its bits in a batch
    const int64_t tokens = 40;
    const std::vector<int32_t> choice = random_choice(rng, tokens, experts, top_k);
    const Tensor ids(upload_ids(choice), DType::kI32, {tokens, top_k});
    const auto call = [&](int64_t n, MoePlan plan) {
      moe_experts(ctx, {out.rows(n), x.rows(n), gate_up, down, ids.rows(n), weights.rows(n)},
                  workspace, plan);
      return raw_bytes(out.rows(1));
    };
    const auto one = call(1, MoePlan::kStream);
    const std::vector<float> got = lab::download(out.rows(1));
    expect(one == call(tokens, MoePlan::kTile32) && one == call(tokens, MoePlan::kTile128) &&
               one == call(tokens, MoePlan::kWgmma) &&
               one == call(3, MoePlan::kStream), text(name, " batch invariance"));
    std::vector<std::vector<float>> g, d;
    for (int s = 0; s < top_k; ++s) {
      const int64_t n = inter * h;
      const auto expert = [&](const Tensor& w, int64_t size) {
        return lab::download(Tensor(w.as<uint16_t>() + choice[s] * size, w.dtype, {size}));
      };
      g.push_back(expert(gate_up, 2 * n));
      d.push_back(expert(down, n));
    }
    const std::vector<float> first = lab::download(x.rows(1));
    std::vector<float> w(top_k);
    LAB_CHECK(cudaMemcpy(w.data(), weights.data, top_k * 4, cudaMemcpyDeviceToHost));
    std::vector<double> ref(h);
    reference_token(ref.data(), first.data(), g, d, w.data(), h, inter, DType::kBF16);
    const double error = lab::worst_error(got, ref);
    std::printf("  token 0 against double: %.2e\n", error);
    expect(error < 1e-2, text(name, " token 0 error ", error));
  }
  for (void* p : {gate_up.data, down.data, x.data, out.data, workspace}) LAB_CHECK(cudaFree(p));
}

// For ncu: the layer's kernels, each plan once after a warm-up.
void profile() {
  const int64_t h = 2048, inter = 768, most = 4096;
  Rng rng(5);
  const Tensor gate_up = lab::random(DType::kBF16, {128, 2 * inter, h}, 0.03f, 7);
  const Tensor down = lab::random(DType::kBF16, {128, h, inter}, 0.05f, 8);
  const Tensor x = lab::random(DType::kBF16, {most, h}, 1, 9), out = empty(DType::kBF16, most, h);
  const Tensor weights = empty(DType::kF32, most, 8);
  LAB_CHECK(cudaMemset(weights.data, 0, weights.bytes()));
  OpLimits limits{};
  limits.max_tokens = most, limits.max_columns = h, limits.num_experts = 128;
  limits.top_k = 8, limits.moe_intermediate = inter;
  void* workspace = lab::device_bytes(moe_workspace(limits, 2));
  const Tensor ids(upload_ids(random_choice(rng, most, 128, 8)), DType::kI32, {most, 8});
  for (auto [tokens, plan] : {std::pair<int64_t, MoePlan>{4096, MoePlan::kWgmma},
                              {4096, MoePlan::kTile128}, {256, MoePlan::kTile32},
                              {8, MoePlan::kTile32}, {1, MoePlan::kStream}}) {
    moe_experts(ctx, {out.rows(tokens), x.rows(tokens), gate_up, down, ids.rows(tokens),
                      weights.rows(tokens)}, workspace, plan);
    LAB_CHECK(cudaDeviceSynchronize());
  }
}

}  // namespace

int main(int argc, char**) {
  ctx = lab::make_context();
  if (argc > 1) return profile(), 0;
  check_norms();
  std::printf("norms: %d checks, %d failures\n", checks, failures), std::fflush(stdout);
  check_copies();
  std::printf("+ copies: %d checks, %d failures\n", checks, failures), std::fflush(stdout);
  check_route();
  std::printf("+ route: %d checks, %d failures\n", checks, failures), std::fflush(stdout);
  check_experts();
  std::printf("+ experts: %d checks, %d failures\n%s\n", checks, failures,
              failures ? "FAIL" : "PASS"), std::fflush(stdout);
  time_rows();
  time_experts("Qwen3-30B-A3B", 128, 8, 2048, 768, {1, 2, 4, 8, 32, 128, 256, 512, 1024, 4096},
               true);
  time_experts("Mixtral-8x7B", 8, 2, 4096, 14336, {1, 2, 8, 64, 256, 2048}, true);
  std::printf("%d checks, %s\n", checks, failures ? "FAIL" : "PASS");
  return failures != 0;
}

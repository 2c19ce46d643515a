// Paged decode attention and the generic attention kernel: correctness against double, bits that
// depend neither on the batch nor on how rows are cut, then timings. decode_lab [check|time|all]

#include <chrono>
#include <cstring>

#include "bench/lab/cuda/decode_lab.h"

using namespace lab;

namespace {

struct Layer {
  int heads, kv_heads, head_dim;
  DType dtype = DType::kBF16, cache_dtype = DType::kBF16;
  int window = 0;
  float softcap = 0;
  bool sinks = false;
};

using Attend = void (*)(const Context&, const PagedAttention&, const AttentionExtras&,
                        const AttentionLaunch&);
void generic(const Context& ctx, const PagedAttention& a, const AttentionExtras& e,
             const AttentionLaunch& how) {
  generic_attention(ctx, a, e, how, true, true);
}

// Contents of the sequences and what attention gives for every row of the step.
struct Problem {
  Layer layer;
  Tensor q, out, k, v, sinks;
  std::vector<float> host_q, host_sinks;
  PagedAttention args{};
  AttentionExtras extras;
  std::vector<double> want;

  Problem(const Layer& l, const Step& step, uint64_t seed) : layer(l) {
    Rng rng(seed);
    const Batch& b = step.batch;
    const int d = l.head_dim, width = (l.heads + 2 * l.kv_heads) * d;
    host_q.resize(size_t(b.num_tokens) * width);
    for (auto& x : host_q) x = rng.normal();
    q = lab::upload(host_q, l.dtype, {b.num_tokens, width});
    out = Tensor(nullptr, l.dtype, {b.num_tokens, l.heads * d});
    out.data = lab::device_bytes(out.bytes());
    // What no sequence has stored is NaN.
    std::vector<float> host_k(size_t(step.num_blocks) * l.kv_heads * b.block_size * d, NAN);
    std::vector<float> host_v = host_k;
    auto at = [&](int seq, int key, int h) {
      const int64_t block = step.table[size_t(seq) * b.max_blocks + key / b.block_size];
      return ((block * l.kv_heads + h) * b.block_size + key % b.block_size) * d;
    };
    for (int s = 0; s < b.num_seqs; ++s)
      for (int key = 0; key < step.seqlens[s]; ++key)
        for (int h = 0; h < l.kv_heads; ++h)
          for (int i = 0; i < d; ++i) {
            host_k[at(s, key, h) + i] = rng.normal() * (key % 97 == 5 ? 3 : 1);
            host_v[at(s, key, h) + i] = rng.normal() + 0.5f;
          }
    k = lab::upload(host_k, l.cache_dtype, {step.num_blocks, l.kv_heads, b.block_size, d});
    v = lab::upload(host_v, l.cache_dtype, {step.num_blocks, l.kv_heads, b.block_size, d});
    if (l.sinks) {
      host_sinks.resize(l.heads);
      for (auto& x : host_sinks) x = rng.normal() * 3;
      sinks = lab::upload(host_sinks, DType::kF32, {l.heads});
      extras.sinks = sinks.as<float>();
    }
    extras.softcap = l.softcap;
    args.out = out, args.q = q.columns(0, l.heads * d);
    args.k_cache = k, args.v_cache = v;
    args.num_heads = l.heads, args.num_kv_heads = l.kv_heads, args.head_dim = d;
    args.scale = 1.0f / std::sqrt(static_cast<float>(d));
    args.window = l.window;

    want.resize(size_t(b.num_tokens) * l.heads * d);
    std::vector<double> s;
    for (int seq = 0; seq < b.num_seqs; ++seq)
      for (int t = step.cu[seq]; t < step.cu[seq + 1]; ++t)
        for (int h = 0; h < l.heads; ++h) {
          const int end = step.positions[t] + 1;
          const int begin = l.window > 0 ? std::max(0, end - l.window) : 0;
          const int kv = h / (l.heads / l.kv_heads);
          const float* query = &host_q[size_t(t) * width + h * d];
          s.assign(end, 0);
          double top = l.sinks ? host_sinks[h] : -1e300, sum = 0;
          for (int key = begin; key < end; ++key) {
            const float* from = &host_k[at(seq, key, kv)];
            double dot = 0;
            for (int i = 0; i < d; ++i) dot += double(query[i]) * from[i];
            dot *= args.scale;
            if (l.softcap > 0) dot = l.softcap * std::tanh(dot / l.softcap);
            s[key] = dot;
            top = std::max(top, dot);
          }
          if (l.sinks) sum = std::exp(host_sinks[h] - top);
          double* to = &want[(size_t(t) * l.heads + h) * d];
          for (int key = begin; key < end; ++key) {
            const double w = std::exp(s[key] - top);
            sum += w;
            const float* from = &host_v[at(seq, key, kv)];
            for (int i = 0; i < d; ++i) to[i] += w * from[i];
          }
          for (int i = 0; i < d; ++i) to[i] /= sum;
        }
  }
  Problem(const Problem&) = delete;
  ~Problem() {
    for (const Tensor* t : {&q, &out, &k, &v, &sinks})
      if (t->data) cudaFree(t->data);
  }
  std::vector<float> run(const Context& ctx, Attend attend, const AttentionLaunch& how) {
    LAB_CHECK(cudaMemset(out.data, 0xff, out.bytes()));
    attend(ctx, args, extras, how);
    LAB_CHECK(cudaStreamSynchronize(ctx.stream));
    LAB_CHECK(cudaGetLastError());
    return lab::download(out);
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

std::string name_of(const Layer& l, int block_size, const char* more) {
  char text[160];
  std::snprintf(text, sizeof text, "%d/%d hd %d %s/%s block %d window %d cap %g%s %s", l.heads,
                l.kv_heads, l.head_dim, std::string(dtype_name(l.dtype)).c_str(),
                std::string(dtype_name(l.cache_dtype)).c_str(), block_size, l.window, l.softcap,
                l.sinks ? " sinks" : "", more);
  return text;
}

void check_decode(Context& ctx, const Layer& l, int block_size, const std::vector<SeqSpec>& seqs,
                  double& worst, int& count) {
  static uint64_t seed = 100;
  Rng rng(++seed);
  Step step(seqs, block_size, 3, rng);
  Problem problem(l, step, seed);
  const double tolerance = l.dtype == DType::kBF16 ? 1.2e-2 : 2e-3;
  std::vector<float> first;
  for (const int concurrent : {1, 8, 33, 132, 1 << 20}) {
    step.prepare(concurrent, workspace());
    for (const Attend attend : {decode_attention_sm90, decode_attention_mma}) {
      for (int again = 0; again < 2; ++again) {
        const auto got = problem.run(ctx, attend, step.how);
        ++count;
        const std::string where =
            name_of(l, block_size, attend == decode_attention_sm90 ? "sm90" : "mma") +
            " concurrent " + std::to_string(concurrent) + " items " +
            std::to_string(step.plan.decode.size());
        if (first.empty()) {
          first = got;
          const double error = lab::worst_error(got, problem.want);
          worst = std::max(worst, error / tolerance);
          report(error < tolerance, "values", where, error);
        } else {
          report(same_bits(got, first), "bits", where, lab::worst_error(got, problem.want));
        }
      }
    }
  }
  step.prepare(33, workspace());
  const auto got = problem.run(ctx, generic, step.how);
  const double error = lab::worst_error(got, problem.want);
  report(error < tolerance, "generic", name_of(l, block_size, ""), error);
}

void check_all_decode(Context& ctx) {
  double worst = 0;
  int count = 0;
  const std::vector<SeqSpec> ragged = {{0, 0, 1},   {14, 0, 1},  {15, 0, 1},  {16, 0, 1},
                                       {63, 0, 1},  {64, 0, 1},  {255, 0, 1}, {256, 0, 1},
                                       {300, 0, 1}, {511, 0, 1}, {700, 0, 3}, {1100, 0, 1},
                                       {37, 0, 1},  {129, 0, 2}};
  for (const DType t : {DType::kBF16, DType::kF16})
    for (const int d : {64, 96, 128, 192, 256})
      for (const auto& [heads, kv] : std::vector<std::pair<int, int>>{{8, 2}, {14, 2}, {12, 1}})
        check_decode(ctx, {heads, kv, d, t, t}, 16, ragged, worst, count);
  for (const int group : {1, 2, 3, 5, 7, 8, 9, 16, 17, 24})
    check_decode(ctx, {group * 2, 2, 128}, 32, {{900, 0, 1}, {40, 0, 1}}, worst, count);
  for (const int block_size : {16, 32, 64, 256})
    for (const int window : {0, 1, 17, 64, 100, 500}) {
      check_decode(ctx, {8, 2, 64, DType::kBF16, DType::kBF16, window}, block_size, ragged, worst,
                   count);
    }
  for (const int window : {0, 200}) {
    Layer l{16, 2, 128, DType::kBF16, DType::kBF16, window};
    l.sinks = true;
    check_decode(ctx, l, 16, ragged, worst, count);
    l.softcap = 5;
    check_decode(ctx, l, 16, ragged, worst, count);
  }
  for (const int window : {0, 4096})
    check_decode(ctx, {4, 1, 64, DType::kBF16, DType::kBF16, window}, 16,
                 {{8190, 0, 3}, {9000, 0, 1}, {20000, 0, 1}, {33333, 0, 1}, {100, 0, 1}}, worst,
                 count);
  std::printf("decode: %d launches checked, worst error %.2f of tolerance\n", count, worst);

  // A row alone gives what it gives in company.
  Rng rng(7);
  std::vector<SeqSpec> company;
  for (int i = 0; i < 40; ++i) company.push_back({1 + rng.below(1500), 0, 1});
  const Layer l{16, 8, 128};
  Rng blocks(9);
  Step step(company, 16, 3, blocks);
  Problem problem(l, step, 77);
  step.prepare(decode_concurrency(ctx, 8), workspace());
  const auto all = problem.run(ctx, decode_attention_sm90, step.how);
  report(lab::worst_error(all, problem.want) < 1.2e-2, "company", "");
  AttentionPlan whole = step.plan;
  const Batch together = step.batch;
  const size_t row_size = size_t(l.heads) * l.head_dim;
  for (int i = 0; i < 40; i += 3) {
    // Only sequence i of the same step: its token, its table row.
    std::vector<int32_t> cu{0}, lens{0}, seqlens{step.seqlens[i]};
    std::vector<int32_t> positions{step.positions[i]};
    cu.push_back(1);
    Batch alone = together;
    alone.num_seqs = alone.num_tokens = 1;
    alone.cu_seqlens_q = cu, alone.prefill_lens = lens, alone.seqlens_k = seqlens;
    alone.positions = positions;
    alone.block_table = {&step.table[size_t(i) * together.max_blocks], size_t(together.max_blocks)};
    plan_attention(alone, decode_concurrency(ctx, 8), step.plan);
    for (auto& item : step.plan.decode) item.row = i, item.seq = i;
    step.upload_to(step.memory);
    const auto got = problem.run(ctx, decode_attention_sm90, step.how);
    report(std::memcmp(&got[i * row_size], &all[i * row_size], row_size * 4) == 0, "alone",
           std::to_string(i) + " items " + std::to_string(step.plan.decode.size()));
  }
  // A captured launch, replayed with other contents at the same addresses.
  step.plan = whole;
  step.upload_to(step.memory);
  step.how.num_decode_items = step.how.num_prefill_items = -1;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  LAB_CHECK(cudaStreamBeginCapture(ctx.stream, cudaStreamCaptureModeThreadLocal));
  decode_attention_sm90(ctx, problem.args, problem.extras, step.how);
  decode_attention_sm90(ctx, problem.args, problem.extras, step.how);
  decode_attention_mma(ctx, problem.args, problem.extras, step.how);
  LAB_CHECK(cudaStreamEndCapture(ctx.stream, &graph));
  LAB_CHECK(cudaGraphInstantiate(&exec, graph, 0));
  for (const int concurrent : {33, 4, 0, 2000, 1 << 20, 33}) {
    if (concurrent == 0) {
      step.plan.decode.clear();
    } else {
      plan_attention(together, concurrent, step.plan);
    }
    step.upload_to(step.memory);
    LAB_CHECK(cudaMemset(problem.out.data, 0xff, problem.out.bytes()));
    for (int i = 0; i < 3; ++i) LAB_CHECK(cudaGraphLaunch(exec, ctx.stream));
    LAB_CHECK(cudaStreamSynchronize(ctx.stream));
    const auto got = lab::download(problem.out);
    if (concurrent == 0) continue;
    report(same_bits(got, all), "graph", std::to_string(concurrent));
  }
  LAB_CHECK(cudaGraphExecDestroy(exec));
  LAB_CHECK(cudaGraphDestroy(graph));
}

void check_generic(Context& ctx) {
  const std::vector<SeqSpec> seqs = {{0, 70, 0}, {100, 3, 2}, {40, 0, 1}, {0, 1, 0}, {300, 140, 0}};
  double worst = 0;
  uint64_t seed = 1000;
  for (const DType t : {DType::kF32, DType::kBF16, DType::kF16})
    for (const DType c : {DType::kF32, DType::kBF16, DType::kF16})
      for (const int d : {8, 20, 80, 128, 512})
        for (const int window : {0, 33}) {
          const int block_size = d == 80 ? 7 : 16;
          Layer l{6, 2, d, t, c, window};
          l.sinks = window > 0 && d == 80;
          Rng rng(++seed);
          Step step(seqs, block_size, 2, rng);
          Problem problem(l, step, seed);
          step.prepare(33, workspace());
          const auto got = problem.run(ctx, generic, step.how);
          const double tolerance = t == DType::kF32    ? 2e-5
                                   : t == DType::kBF16 ? 8e-3
                                                       : 1e-3;
          const double error = lab::worst_error(got, problem.want);
          worst = std::max(worst, error / tolerance);
          report(error < tolerance, "generic", name_of(l, block_size, ""), error);
        }
  std::printf("generic: worst error %.2f of tolerance\n", worst);
}

double copy_bandwidth(Context& ctx) {
  const size_t bytes = size_t{1} << 30;
  const Tensor a = lab::random(DType::kBF16, {int64_t(bytes / 2)});
  void* b = lab::device_bytes(bytes);
  const double us = lab::time_us(ctx, 3, [&](int) {
    LAB_CHECK(cudaMemcpyAsync(b, a.data, bytes, cudaMemcpyDeviceToDevice, ctx.stream));
  });
  cudaFree(a.data), cudaFree(b);
  return 2.0 * bytes / us * 1e-6;
}

// us (TB/s of K and V) as planned, by the portable kernel, after RoPE as in a model, and with other
// cuts: planned for so many times the workers that there are.
void time_decode(Context& ctx, const char* name, const Layer& l, const std::vector<int>& lengths,
                 bool short_form = false) {
  Rng rng(3);
  std::vector<SeqSpec> seqs;
  double keys = 0;
  for (const int n : lengths) {
    seqs.push_back({n - 1, 0, 1});
    keys += n;
  }
  Step step(seqs, 16, 1, rng);
  const double bytes = keys * l.kv_heads * l.head_dim * 4;
  const int64_t cache = int64_t{step.num_blocks} * l.kv_heads * 16 * l.head_dim;
  const int copies = static_cast<int>(std::clamp<int64_t>(260e6 / bytes, 1, 64));
  const Tensor k = lab::random(l.dtype, {cache * copies}, 1, 1);
  const Tensor v = lab::random(l.dtype, {cache * copies}, 1, 2);
  const int64_t tokens = step.batch.num_tokens;
  const Tensor q = lab::random(l.dtype, {tokens, (l.heads + 2 * l.kv_heads) * l.head_dim}, 1, 3);
  const Tensor out = lab::random(l.dtype, {tokens, l.heads * l.head_dim}, 1, 4);
  const Tensor angles = lab::random(DType::kBF16, {65536, l.head_dim * 2}, 0.1f, 5);
  auto call = [&](Attend attend, bool rope) {
    AttentionLaunch how = step.how;
    how.num_decode_items = how.num_prefill_items = -1;
    return lab::time_us(
        ctx, std::max(copies, 4),
        [&](int i) {
          PagedAttention a{};
          a.out = out, a.q = q.columns(0, l.heads * l.head_dim);
          a.k_cache = Tensor(k.as<uint16_t>() + i % copies * cache, l.dtype,
                             {step.num_blocks, l.kv_heads, 16, l.head_dim});
          a.v_cache = Tensor(v.as<uint16_t>() + i % copies * cache, l.dtype,
                             {step.num_blocks, l.kv_heads, 16, l.head_dim});
          a.num_heads = l.heads, a.num_kv_heads = l.kv_heads, a.head_dim = l.head_dim;
          a.scale = 0.09f;
          if (rope) {
            QkNormRopeStore r{};
            r.qkv = q;
            r.rope = {Tensor(angles.data, DType::kF32, {65536, l.head_dim}), l.head_dim};
            r.k_cache = a.k_cache, r.v_cache = a.v_cache;
            r.num_heads = l.heads, r.num_kv_heads = l.kv_heads, r.head_dim = l.head_dim;
            qk_norm_rope_store(ctx, r, how.batch);
          }
          if (attend) attend(ctx, a, {}, how);
        },
        9);
  };
  std::printf("%-21s", name);
  auto show = [&](const char* what, double us) {
    std::printf(" %s %.1f (%.2f)", what, us, bytes / us * 1e-6);
  };
  const int usual = decode_concurrency(ctx, l.kv_heads);
  step.prepare(usual, workspace());
  if (short_form) {
    show("", call(decode_attention_sm90, false));
    std::printf("\n");
  } else {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) plan_attention(step.batch, usual, step.plan);
    const auto end = std::chrono::steady_clock::now();
    std::printf(" plan %.1f us %zu items:",
                std::chrono::duration<double>(end - begin).count() * 5e4, step.plan.decode.size());
    show("", call(decode_attention_sm90, false));
    show("mma", call(decode_attention_mma, false));
    std::printf(" rope %.1f", call(nullptr, true));
    show("+ attention", call(decode_attention_sm90, true));
    std::printf("\n%-21s", "");
    for (const double times : {0.0, 0.25, 0.5, 2.0, 4.0, 8.0, 1e6}) {
      step.prepare(std::max(1, static_cast<int>(usual * times)), workspace());
      const std::string what =
          std::to_string(times).substr(0, 4) + "x:" + std::to_string(step.plan.decode.size());
      show(what.c_str(), call(decode_attention_sm90, false));
    }
    std::printf("\n");
  }
  for (const Tensor* t : {&k, &v, &q, &out, &angles}) cudaFree(t->data);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  Context ctx = lab::make_context();
  try {
    if (what != "time") {
      check_all_decode(ctx);
      check_generic(ctx);
      std::printf("%s: %d failures\n", failures ? "FAIL" : "PASS", failures);
    }
    if (what == "check") return failures != 0;
    std::printf("copy %.2f TB/s\n", copy_bandwidth(ctx));
    const Layer llama{32, 8, 128}, qwen{14, 2, 64}, qwen3{16, 8, 128};
    auto same = [](int n, int length) { return std::vector<int>(n, length); };
    Rng rng(1);
    std::vector<int> mixed;
    for (int i = 0; i < 256; ++i) mixed.push_back(100 + rng.below(1901));
    time_decode(ctx, "32/8 128 B=1 1k", llama, same(1, 1024));
    time_decode(ctx, "32/8 128 B=1 2k", llama, same(1, 2048));
    time_decode(ctx, "32/8 128 B=1 4k", llama, same(1, 4096));
    time_decode(ctx, "32/8 128 B=1 8k", llama, same(1, 8192));
    time_decode(ctx, "32/8 128 B=4 4k", llama, same(4, 4096));
    time_decode(ctx, "32/8 128 B=32 1k", llama, same(32, 1024));
    time_decode(ctx, "32/8 128 B=64 4k", llama, same(64, 4096));
    time_decode(ctx, "32/8 128 B=256 1k", llama, same(256, 1024));
    time_decode(ctx, "14/2 64 B=1 1k", qwen, same(1, 1024));
    time_decode(ctx, "14/2 64 B=1 4k", qwen, same(1, 4096));
    time_decode(ctx, "14/2 64 B=32 1k", qwen, same(32, 1024));
    time_decode(ctx, "14/2 64 B=64 4k", qwen, same(64, 4096));
    time_decode(ctx, "14/2 64 B=256 1k", qwen, same(256, 1024));
    time_decode(ctx, "16/8 128 B=1 1k", qwen3, same(1, 1024));
    time_decode(ctx, "16/8 128 B=256 mixed", qwen3, mixed);
  } catch (const Error& e) {
    std::printf("FAIL %s\n", e.what());
    return 1;
  }
  return failures != 0;
}

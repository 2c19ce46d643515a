#include <algorithm>

#include "harness.h"
#include "paged.h"

// Steps as an engine makes them: several ops of one batch through Ops::run, which a back end may
// record and replay, and tokens that stay on the device from one step to the next.

namespace hotpath::test {
namespace {

// Tokens drawn into slots are the next step's input, without the host in between.
Case slots_case(bool own_vocabulary) {
  Case c;
  c.name = concat("input ids from slots", own_vocabulary ? "" : ", scores and rows without a slot");
  c.body = [=](Run& run) {
    constexpr int kVocab = 200, kHidden = 32, kRows = 6, kRounds = 4;
    auto table = run.rng().normals(kVocab * kHidden);
    const Tensor tt = run.upload(table, DType::kBF16, {kVocab, kHidden});
    const Tensor out = run.empty(run.activation(), {run.limits().max_tokens, kHidden});
    const Tensor logits = run.empty(DType::kF32, {kRows, kVocab});
    const int slots[kRows] = {3, 0, 5, own_vocabulary ? 4 : -1, 1, 2};
    std::vector<int> kept(6, 0);  // what each slot holds
    for (int round = 0; round < kRounds; ++round) {
      std::vector<float> values = run.rng().normals(kRows * kVocab);
      std::vector<SampleRow> rows(kRows);
      std::vector<SampleResult> results(kRows);
      std::vector<int> drawn(kRows);
      for (int i = 0; i < kRows; ++i) {
        drawn[i] = run.rng().below(kVocab);
        values[i * kVocab + drawn[i]] = 30;
        rows[i].greedy = true, rows[i].slot = slots[i];
        if (!own_vocabulary && i == 4) rows[i].score_token = 7, rows[i].slot = -1;
        if (rows[i].slot >= 0) kept[rows[i].slot] = drawn[i];
      }
      run.write(logits, values);
      run.ops().sample(logits, rows, results);

      PagedBatch paged({{0, 3}, {3, 1}, {9, 1}, {4, 1}, {7, 1}, {8, 1}}, 4, run.rng());
      paged.input_ids = {11, -1 - slots[0], 12, -1 - 0, -1 - 5, 13, -1 - 3, -1 - 2};
      const StepShape shape = run.ops().begin_step(paged.view());
      run.ops().embed(out.rows(shape.tokens), tt);
      run.ops().end_step();
      run.wait();
      for (int i = 0; i < kRows; ++i)
        if (rows[i].score_token < 0)
          expect(results[i].token == drawn[i], "round ", round, " row ", i, ": expected token ",
                 drawn[i], ", received ", results[i].token);
      std::vector<double> expected;
      for (int id : paged.input_ids)
        for (int j = 0; j < kHidden; ++j)
          expected.push_back(
              rounded(table[(id >= 0 ? id : kept[-1 - id]) * kHidden + j], run.activation()));
      run.close(run.download(out.rows(8)), expected, 0, "embedded");
    }
  };
  return c;
}

// A layer of a small model over buffers that stay where they are.
class Layer {
 public:
  static constexpr int64_t kHeads = 4, kKvHeads = 2, kDim = 64, kHidden = 256, kInner = 320,
                           kExperts = 8, kTopK = 2, kMoeInner = 64, kVocab = 500, kBlocks = 200,
                           kBlock = 16, kPositions = 512;

  static OpLimits limits() {
    OpLimits l = kSmallLimits;
    l.max_tokens = 300, l.max_seqs = l.max_logits = 40, l.max_seqlen = kPositions;
    l.vocab_size = kVocab, l.max_columns = 2 * kInner, l.num_heads = kHeads, l.head_dim = kDim;
    l.num_experts = kExperts, l.top_k = kTopK, l.moe_intermediate = kMoeInner;
    return l;
  }

  explicit Layer(Run& run) : run_(run) {
    const DType act = run.activation();
    auto weight = [&](std::initializer_list<int64_t> dims, int64_t fan_in) {
      Tensor shape(nullptr, act, dims);
      auto values = run.rng().normals(shape.numel(), 1 / std::sqrt(static_cast<float>(fan_in)));
      return run.upload(values, act, dims);
    };
    embed_ = weight({kVocab, kHidden}, 1);
    norm_ = weight({kHidden}, 1);
    head_norm_ = weight({kDim}, 1);
    qkv_w_ = weight({(kHeads + 2 * kKvHeads) * kDim, kHidden}, kHidden);
    out_w_ = weight({kHidden, kHeads * kDim}, kHidden);
    gate_up_w_ = weight({2 * kInner, kHidden}, kHidden);
    down_w_ = weight({kHidden, kInner}, kInner);
    router_w_ = weight({kExperts, kHidden}, kHidden);
    experts_gate_up_ = weight({kExperts, 2 * kMoeInner, kHidden}, kHidden);
    experts_down_ = weight({kExperts, kHidden, kMoeInner}, kMoeInner);
    auto angles = run.rng().normals(kPositions * kDim);
    for (float& a : angles) a = std::sin(a);
    rope_ = run.upload(angles, DType::kF32, {kPositions, kDim});
    const int64_t rows = limits().max_tokens;
    hidden_ = run.empty(act, {rows, kHidden}), normed_ = run.empty(act, {rows, kHidden});
    block_out_ = run.empty(act, {rows, kHidden});
    qkv_ = run.empty(act, {rows, qkv_w_.dim(0)});
    attended_ = run.empty(act, {rows, kHeads * kDim});
    inner_ = run.empty(act, {rows, kInner});
    router_ = run.empty(act, {rows, kExperts});
    ids_ = run.empty(DType::kI32, {rows, kTopK});
    weights_ = run.empty(DType::kF32, {rows, kTopK});
    logits_rows_ = run.empty(act, {limits().max_logits, kHidden});
    logits_ = run.empty(DType::kF32, {limits().max_logits, kVocab});
    for (Tensor* t : {&k_, &v_}) {
      auto values = run.rng().normals(kBlocks * kKvHeads * kBlock * kDim);
      *t = run.upload(values, act == DType::kF32 ? DType::kF32 : act,
                      {kBlocks, kKvHeads, kBlock, kDim});
    }
  }

  struct Result {
    std::vector<float> logits;
    std::vector<int32_t> experts;
  };

  // through_run: by Ops::run, as the engine does; else op by op.
  Result step(const PagedBatch& paged, bool through_run) {
    Ops& ops = run_.ops();
    const StepShape shape = ops.begin_step(paged.view());
    auto body = [&] { enqueue(shape); };
    if (through_run)
      ops.run(body);
    else
      body();
    ops.end_step();
    Result r;
    r.experts.resize(paged.num_tokens() * kTopK);
    ops.read_back(r.experts.data(), ids_.rows(paged.num_tokens()));
    ops.wait(ops.ticket());
    r.logits = run_.download(logits_.rows(static_cast<int64_t>(paged.logits_indices.size())));
    return r;
  }

 private:
  void enqueue(const StepShape& shape) {
    Ops& ops = run_.ops();
    const int64_t t = shape.tokens;
    const Tensor hidden = hidden_.rows(t), normed = normed_.rows(t), out = block_out_.rows(t);
    const Tensor qkv = qkv_.rows(t), inner = inner_.rows(t);
    ops.embed(hidden, embed_);
    ops.rmsnorm(normed, hidden, norm_, 1e-6f);
    ops.gemm(qkv, normed, qkv_w_, nullptr, false);
    ops.qk_norm_rope_store(
        {qkv, head_norm_, head_norm_, 1e-6f, {rope_, kDim}, k_, v_, kHeads, kKvHeads, kDim});
    ops.paged_attention({attended_.rows(t), qkv.columns(0, kHeads * kDim), k_, v_, kHeads, kKvHeads,
                         kDim, 0.125f, 0});
    ops.gemm(out, attended_.rows(t), out_w_, nullptr, false);
    ops.add_rmsnorm(normed, hidden, out, norm_, 1e-6f);
    ops.gemm_silu_mul(inner, normed, gate_up_w_, nullptr);
    ops.gemm(out, inner, down_w_, nullptr, false);
    ops.add_rmsnorm(normed, hidden, out, norm_, 1e-6f);
    ops.gemm(router_.rows(t), normed, router_w_, nullptr, false);
    ops.moe_route({router_.rows(t), ids_.rows(t), weights_.rows(t), true});
    ops.moe_experts({out, normed, experts_gate_up_, experts_down_, ids_.rows(t), weights_.rows(t)});
    ops.add_rmsnorm(normed, hidden, out, norm_, 1e-6f);
    if (shape.logits == 0) return;
    ops.gather_logits_rows(logits_rows_.rows(shape.logits), normed);
    ops.gemm(logits_.rows(shape.logits), logits_rows_.rows(shape.logits), embed_, nullptr, false);
  }

  Run& run_;
  Tensor embed_, norm_, head_norm_, qkv_w_, out_w_, gate_up_w_, down_w_, router_w_,
      experts_gate_up_, experts_down_, rope_, k_, v_;
  Tensor hidden_, normed_, block_out_, qkv_, attended_, inner_, router_, ids_, weights_,
      logits_rows_, logits_;
};

// Batches of equal and of different shapes, more and fewer rows and keys than before: what run
// gives is what the ops alone give, again and again, and a sequence's logits are the same bits in
// company and alone. Every step writes the keys and values of its tokens to the cache before it
// reads them, so that it may be repeated.
Case replay_case() {
  Case c;
  c.name = "steps through run equal their ops, in any order, in company and alone";
  c.limits = Layer::limits();
  c.body = [](Run& run) {
    Layer layer(run);
    const std::vector<std::vector<SequenceShape>> kinds = {
        {{5, 1}},
        {{5, 1}, {17, 1}, {63, 1}},
        std::vector<SequenceShape>(8, {40, 1}),
        {{0, 30}, {100, 1}},
        {{300, 1}, {64, 1}, {1, 1}},
        {{0, 130}, {8, 12, 5}, {200, 1}},
        std::vector<SequenceShape>(33, {20, 1}),
        {{400, 1}, {3, 1}, {0, 1}},
    };
    std::vector<PagedBatch> batches;
    for (const auto& kind : kinds) {
      PagedBatch paged(kind, Layer::kBlock, run.rng());
      expect(paged.num_blocks <= Layer::kBlocks, "blocks: ", paged.num_blocks);
      for (int32_t& id : paged.input_ids) id = run.rng().below(Layer::kVocab);
      for (size_t i = 0; i < kind.size(); ++i)
        paged.logits_indices.push_back(paged.cu_seqlens_q[i + 1] - 1);
      batches.push_back(paged);
    }
    auto compare = [&](const Layer::Result& a, const Layer::Result& b, size_t batch) {
      expect_same(a.logits, b.logits, concat("logits of batch ", batch).c_str());
      expect(a.experts == b.experts, "experts of batch ", batch);
      for (float v : a.logits) expect(std::isfinite(v), "expected finite, received ", v);
    };
    // The cache is shared: what a batch reads of the past is what earlier batches left there. Once
    // all have run, it no longer changes, for each batch writes the same again.
    for (const PagedBatch& batch : batches) layer.step(batch, false);
    const std::vector<size_t> order = {0, 1, 2, 3, 4, 5, 6, 7, 0, 2, 1, 4, 3, 0, 6, 5, 7, 1};
    for (size_t b : order) {
      const Layer::Result alone = layer.step(batches[b], false);
      compare(layer.step(batches[b], true), alone, b);
      compare(layer.step(batches[b], true), alone, b);
    }
    for (size_t b = 0; b < batches.size(); ++b) {
      const Layer::Result whole = layer.step(batches[b], true);
      const PagedBatch& batch = batches[b];
      for (int i = 0; i < static_cast<int>(batch.shapes.size()); i += 3) {
        PagedBatch one = batch.slice(i, i + 1);
        const int begin = batch.cu_seqlens_q[i], end = batch.cu_seqlens_q[i + 1];
        one.input_ids.assign(batch.input_ids.begin() + begin, batch.input_ids.begin() + end);
        one.logits_indices = {end - begin - 1};
        expect_same(layer.step(one, true).logits, slice_rows(whole.logits, Layer::kVocab, i, 1),
                    concat("batch ", b, " sequence ", i, " alone").c_str());
      }
    }
  };
  return c;
}

}  // namespace

void add_step_cases(std::vector<Case>& cases) {
  cases.push_back(slots_case(true));
  cases.push_back(slots_case(false));
  cases.push_back(replay_case());
}

}  // namespace hotpath::test

#include "cuda/cuda_ops.h"

#include <algorithm>
#include <cstring>

#include "cuda/backend.h"
#include "cuda/gemm.h"
#include "cuda/row_ops.h"

namespace hotpath::cuda {
namespace {

constexpr size_t aligned(size_t n) { return (n + 255) / 256 * 256; }

// Decode steps are padded to 1, 2, 4 and multiples of 8 up to 256 (of 32 beyond): the streamed
// weights cost the same, and a padded row costs its share of the rest.
constexpr int64_t kMostRecorded = 512;
int64_t recorded_rows(int64_t rows) {
  if (rows > kMostRecorded) return 0;
  if (rows <= 2) return rows;
  if (rows <= 4) return 4;
  const int64_t step = rows <= 256 ? 8 : 32;
  return (rows + step - 1) / step * step;
}

DType parse_activation(const std::string& name) {
  if (name == "bf16") return DType::kBF16;
  if (name == "f16") return DType::kF16;
  if (name == "f32") return DType::kF32;
  fail("invalid_request", "activation_dtype: expected bf16, f16 or f32, received '", name, "'");
}

// Where each array of a step lies, for room of `rows` tokens.
struct Layout {
  size_t ids, positions, slots, logits, prefill, decode;
  explicit Layout(int64_t rows, int64_t prefill_items) {
    const size_t ints = aligned(static_cast<size_t>(rows) * sizeof(int32_t));
    ids = aligned(sizeof(StepHeader));
    positions = ids + ints;
    slots = positions + ints;
    logits = slots + ints;
    prefill = logits + ints;
    decode = prefill + aligned(static_cast<size_t>(prefill_items) * sizeof(PrefillItem));
  }
};

}  // namespace

std::unique_ptr<Ops> create_cuda_ops(int index, const BackendOptions& options) {
  const std::vector<DeviceInfo> devices = list_devices();
  for (const DeviceInfo& device : devices)
    if (device.index == index) {
      if (!device.unavailable.empty())
        fail("device_unavailable", "device 'cuda:", index, "': ", device.unavailable);
      return std::make_unique<CudaOps>(index, options);
    }
  fail("device_unavailable", "device 'cuda:", index, "': expected an index below ", devices.size());
}

CudaOps::CudaOps(int index, const BackendOptions& options)
    : device_(std::make_unique<CudaDevice>(index, ctx_)),
      activation_(parse_activation(options.activation_dtype)) {
  if (options.isa == "portable")
    ctx_.hopper = false;
  else if (!options.isa.empty())
    fail("invalid_request", "isa: expected 'portable' or nothing on CUDA, received '", options.isa,
         "'");
  check_cuda(cudaStreamCreateWithFlags(&ctx_.stream, cudaStreamNonBlocking), "stream");
  for (Slot& slot : ring_) {
    check_cuda(cudaEventCreateWithFlags(&slot.uploaded, cudaEventDisableTiming), "event");
    check_cuda(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "event");
  }
}

CudaOps::~CudaOps() {
  cudaSetDevice(ctx_.device);
  cudaStreamSynchronize(ctx_.stream);
  release();
  device_->free(block_table_);
  for (Slot& slot : ring_) {
    cudaEventDestroy(slot.uploaded);
    cudaEventDestroy(slot.done);
  }
  cudaStreamDestroy(ctx_.stream);
}

void CudaOps::drop_graphs() {
  for (auto& [rows, graph] : graphs_) cudaGraphExecDestroy(graph);
  graphs_.clear();
}

void CudaOps::release() {
  drop_graphs();
  sampler_.reset();
  for (void* p : {static_cast<void*>(arrays_), static_cast<void*>(last_tokens_),
                  attention_workspace_, moe_workspace_})
    device_->free(p);
  arrays_ = nullptr, last_tokens_ = nullptr;
  attention_workspace_ = moe_workspace_ = nullptr;
}

void CudaOps::reserve(const OpLimits& limits) {
  device_->make_current();
  check_cuda(cudaStreamSynchronize(ctx_.stream), "reserve");
  release();
  limits_ = limits;
  concurrent_items_ = decode_concurrency(ctx_, static_cast<int>(limits.num_kv_heads));
  // A recorded step may have more rows than the largest batch.
  const int64_t rows = std::max(limits.max_tokens, recorded_rows(limits.max_seqs));
  arrays_bytes_ = Layout(rows, max_prefill_items(limits)).decode +
                  static_cast<size_t>(max_decode_items(limits)) * sizeof(DecodeItem);
  arrays_ = static_cast<char*>(device_->allocate(arrays_bytes_, true));
  for (Slot& slot : ring_) slot.arrays = PinnedBuffer(arrays_bytes_);
  // Blocks of 8 tokens and more fit without growing.
  reserve_block_table(static_cast<size_t>(limits.max_seqs) *
                      static_cast<size_t>(limits.max_seqlen / 8 + 1));
  last_tokens_ = static_cast<int32_t*>(
      device_->allocate(static_cast<size_t>(std::max<int64_t>(limits.max_seqs, 1)) * 4, true));
  attention_workspace_ =
      device_->allocate(attention_workspace(limits, static_cast<int>(limits.num_heads),
                                            static_cast<int>(limits.head_dim)),
                        true);
  if (limits.num_experts > 0)
    moe_workspace_ = device_->allocate(moe_workspace(limits, dtype_size(activation_)), true);
  if (limits.vocab_size > 0) sampler_ = std::make_unique<SampleStage>(ctx_, limits);
}

void CudaOps::reserve_block_table(size_t ints) {
  if (ints <= block_table_ints_) return;
  check_cuda(cudaStreamSynchronize(ctx_.stream), "block table");
  drop_graphs();
  device_->free(block_table_);
  block_table_ = nullptr;
  block_table_ints_ = 0;
  block_table_ = static_cast<int32_t*>(device_->allocate(ints * sizeof(int32_t), true));
  block_table_ints_ = ints;
}

// Buffers never grow inside a step: recorded steps and work in flight hold their addresses.
void CudaOps::check_reserved(const OpLimits& needed) const {
  struct Field {
    const char* name;
    int64_t OpLimits::*value;
  };
  for (const Field& field : {Field{"max_tokens", &OpLimits::max_tokens},
                             {"max_seqs", &OpLimits::max_seqs},
                             {"max_seqlen", &OpLimits::max_seqlen},
                             {"max_logits", &OpLimits::max_logits},
                             {"vocab_size", &OpLimits::vocab_size},
                             {"max_columns", &OpLimits::max_columns},
                             {"num_experts", &OpLimits::num_experts},
                             {"top_k", &OpLimits::top_k},
                             {"moe_intermediate", &OpLimits::moe_intermediate},
                             {"num_heads", &OpLimits::num_heads},
                             {"head_dim", &OpLimits::head_dim}})
    check(needed.*field.value <= limits_.*field.value, field.name, ": expected at most ",
          limits_.*field.value, ", as reserved, received ", needed.*field.value);
}

OpLimits CudaOps::limits_of(const Batch& b) const {
  OpLimits l{};
  l.max_tokens = std::max(b.num_tokens, 1);
  l.max_seqs = std::max(b.num_seqs, 1);
  l.max_seqlen = std::max(b.max_seqlen_k, 1);
  l.max_logits = std::max<int64_t>(static_cast<int64_t>(b.logits_indices.size()), 1);
  return l;
}

void CudaOps::check_batch(const Batch& b) const {
  const auto tokens = static_cast<size_t>(b.num_tokens), seqs = static_cast<size_t>(b.num_seqs);
  check(b.block_size > 0 && b.input_ids.size() == tokens && b.positions.size() == tokens &&
            b.slot_mapping.size() == tokens && b.cu_seqlens_q.size() == seqs + 1 &&
            b.seqlens_k.size() == seqs && b.prefill_lens.size() == seqs &&
            b.block_table.size() == seqs * static_cast<size_t>(b.max_blocks),
        "batch: expected arrays for ", tokens, " tokens and ", seqs, " sequences");
}

StepShape CudaOps::begin_step(const Batch& batch) {
  device_->make_current();
  check_batch(batch);
  check_reserved(limits_of(batch));
  const bool decode =
      batch.num_tokens == batch.num_seqs && batch.num_tokens > 0 &&
      static_cast<int>(batch.logits_indices.size()) == batch.num_tokens &&
      std::all_of(batch.prefill_lens.begin(), batch.prefill_lens.end(),
                  [](int32_t n) { return n == 0; });
  replay_rows_ = decode ? recorded_rows(batch.num_tokens) : 0;
  if (replay_rows_ > limits_.max_tokens) replay_rows_ = 0;  // the model has no such rows
  const int64_t rows = replay_rows_ ? replay_rows_ : batch.num_tokens;
  upload(batch, rows);
  in_step_ = true;
  return {rows, replay_rows_ ? replay_rows_ : static_cast<int64_t>(batch.logits_indices.size())};
}

// Packs the step's arrays, padded to `rows`, and starts their copies.
void CudaOps::upload(const Batch& b, int64_t rows) {
  plan_attention(b, concurrent_items_, plan_);
  const Layout at(rows, replay_rows_ ? 0 : static_cast<int64_t>(plan_.prefill.size()));
  const size_t decode_bytes = plan_.decode.size() * sizeof(DecodeItem);
  check(at.decode + decode_bytes <= arrays_bytes_, "batch: expected at most ", arrays_bytes_,
        " bytes of arrays, received ", at.decode + decode_bytes);
  Slot& slot = ring_[current_];
  check_cuda(cudaEventSynchronize(slot.uploaded), "batch upload");
  char* host = slot.arrays.data();
  const StepHeader header{.num_seqs = b.num_seqs,
                          .num_tokens = b.num_tokens,
                          .num_logits = static_cast<int32_t>(b.logits_indices.size()),
                          .max_blocks = b.max_blocks,
                          .num_decode_items = static_cast<int32_t>(plan_.decode.size()),
                          .num_prefill_items = static_cast<int32_t>(plan_.prefill.size()),
                          .reserved = {}};
  std::memcpy(host, &header, sizeof(header));
  const auto put = [&](size_t offset, std::span<const int32_t> values, int32_t padding) {
    auto* out = reinterpret_cast<int32_t*>(host + offset);
    std::fill(std::copy(values.begin(), values.end(), out), out + rows, padding);
  };
  put(at.ids, b.input_ids, 0);
  put(at.positions, b.positions, 0);
  put(at.slots, b.slot_mapping, -1);
  put(at.logits, b.logits_indices, 0);
  if (!replay_rows_ && !plan_.prefill.empty())
    std::memcpy(host + at.prefill, plan_.prefill.data(),
                plan_.prefill.size() * sizeof(PrefillItem));
  if (decode_bytes) std::memcpy(host + at.decode, plan_.decode.data(), decode_bytes);
  check_cuda(cudaMemcpyAsync(arrays_, host, at.decode + decode_bytes, cudaMemcpyHostToDevice,
                             ctx_.stream),
             "batch upload");

  const size_t table_bytes = b.block_table.size() * sizeof(int32_t);
  reserve_block_table(b.block_table.size());
  if (table_bytes) {
    if (slot.block_table.size() < table_bytes) slot.block_table = PinnedBuffer(2 * table_bytes);
    std::memcpy(slot.block_table.data(), b.block_table.data(), table_bytes);
    check_cuda(cudaMemcpyAsync(block_table_, slot.block_table.data(), table_bytes,
                               cudaMemcpyHostToDevice, ctx_.stream),
               "batch upload");
  }
  check_cuda(cudaEventRecord(slot.uploaded, ctx_.stream), "batch upload");

  const auto ints = [&](size_t offset) { return reinterpret_cast<int32_t*>(arrays_ + offset); };
  batch_ = {.header = reinterpret_cast<StepHeader*>(arrays_),
            .input_ids = ints(at.ids),
            .positions = ints(at.positions),
            .slot_mapping = ints(at.slots),
            .block_table = block_table_,
            .logits_indices = ints(at.logits),
            .decode_items = reinterpret_cast<DecodeItem*>(arrays_ + at.decode),
            .prefill_items = reinterpret_cast<PrefillItem*>(arrays_ + at.prefill),
            .last_tokens = last_tokens_,
            .block_size = b.block_size};
}

void CudaOps::run(const std::function<void()>& body) {
  if (!replay_rows_) return body();
  cudaGraphExec_t& graph = graphs_[replay_rows_];
  if (!graph) {
    // Relaxed: other threads of the process may allocate meanwhile.
    check_cuda(cudaStreamBeginCapture(ctx_.stream, cudaStreamCaptureModeRelaxed), "capture");
    cudaGraph_t recorded = nullptr;
    try {
      body();
    } catch (...) {
      cudaStreamEndCapture(ctx_.stream, &recorded);
      if (recorded) cudaGraphDestroy(recorded);
      throw;
    }
    check_cuda(cudaStreamEndCapture(ctx_.stream, &recorded), "capture");
    const cudaError_t status = cudaGraphInstantiate(&graph, recorded, 0);
    cudaGraphDestroy(recorded);
    check_cuda(status, "cudaGraphInstantiate");
  }
  check_cuda(cudaGraphLaunch(graph, ctx_.stream), "cudaGraphLaunch");
}

void CudaOps::end_step() { in_step_ = false; }

std::vector<int> CudaOps::recorded_sizes(int max_seqs) const {
  std::vector<int> sizes;
  for (int64_t rows = 1; rows <= max_seqs && recorded_rows(rows) > 0; ++rows)
    if (const int64_t size = std::min<int64_t>(recorded_rows(rows), max_seqs);
        sizes.empty() || recorded_rows(size) != recorded_rows(sizes.back()))
      sizes.push_back(static_cast<int>(size));
  return sizes;
}

uint64_t CudaOps::ticket() {
  Slot& slot = ring_[current_];
  slot.ticket = next_ticket_++;
  check_cuda(cudaEventRecord(slot.done, ctx_.stream), "step");
  current_ = (current_ + 1) % kRing;
  return slot.ticket;
}

void CudaOps::wait(uint64_t ticket) {
  for (int i = 0; i < kRing; ++i) {
    Slot& slot = ring_[(current_ + i) % kRing];  // oldest first
    if (slot.ticket == 0 || slot.ticket > ticket) continue;
    check_cuda(cudaEventSynchronize(slot.done), "step");
    slot.ticket = 0;
    if (!slot.results.empty())
      sampler_->collect((current_ + i) % kRing, std::exchange(slot.results, {}));
  }
}

void CudaOps::read_back(void* host, const Tensor& t) {
  check(t.contiguous(), "read_back: expected contiguous rows, received ", t.to_string());
  check_cuda(cudaMemcpyAsync(host, t.data, t.bytes(), cudaMemcpyDeviceToHost, ctx_.stream),
             "read back");
}

const DeviceBatch& CudaOps::batch() const {
  check(in_step_, "op that reads the batch: expected between begin_step and end_step");
  return batch_;
}

void CudaOps::embed(const Tensor& out, const Tensor& table) {
  cuda::embed(ctx_, out, table, batch());
}

void CudaOps::gemm(const Tensor& y, const Tensor& x, const Tensor& w, const Tensor* bias,
                   bool accumulate) {
  cuda::gemm(ctx_, {.y = y, .x = x, .w = w, .bias = bias, .accumulate = accumulate});
}

void CudaOps::gemm_silu_mul(const Tensor& out, const Tensor& x, const Tensor& w,
                            const Tensor* bias) {
  cuda::gemm(ctx_, {.y = out, .x = x, .w = w, .bias = bias, .silu_mul = true});
}

void CudaOps::rmsnorm(const Tensor& out, const Tensor& x, const Tensor& w, float eps) {
  cuda::rmsnorm(ctx_, out, x, w, eps);
}

void CudaOps::add_rmsnorm(const Tensor& out, const Tensor& residual, const Tensor& x,
                          const Tensor& w, float eps) {
  cuda::add_rmsnorm(ctx_, out, residual, x, w, eps);
}

void CudaOps::qk_norm_rope_store(const QkNormRopeStore& args) {
  cuda::qk_norm_rope_store(ctx_, args, batch());
}

void CudaOps::paged_attention(const PagedAttention& args) {
  OpLimits needed{};
  needed.num_heads = args.num_heads, needed.head_dim = args.head_dim;
  check_reserved(needed);
  const bool known = !replay_rows_;
  cuda::paged_attention(
      ctx_, args,
      {.batch = batch(),
       .num_decode_items = known ? static_cast<int>(plan_.decode.size()) : -1,
       .num_prefill_items = known ? static_cast<int>(plan_.prefill.size()) : 0,
       .workspace = attention_workspace_});
}

void CudaOps::silu_mul(const Tensor& out, const Tensor& gate_up) {
  cuda::silu_mul(ctx_, out, gate_up);
}

void CudaOps::moe_route(const MoeRoute& args) { cuda::moe_route(ctx_, args); }

void CudaOps::moe_experts(const MoeExperts& a) {
  OpLimits needed{};
  needed.max_tokens = a.x.dim(0), needed.max_columns = a.x.dim(1);
  needed.num_experts = a.gate_up.dim(0), needed.top_k = a.topk_ids.dim(1);
  needed.moe_intermediate = a.down.dim(2);
  check_reserved(needed);
  cuda::moe_experts(ctx_, a, moe_workspace_);
}

void CudaOps::gather_logits_rows(const Tensor& out, const Tensor& x) {
  cuda::gather_rows(ctx_, out, x, batch().logits_indices);
}

void CudaOps::sample(const Tensor& logits, std::span<const SampleRow> rows,
                     std::span<SampleResult> results) {
  device_->make_current();
  check(logits.dtype == DType::kF32 && logits.ndim == 2 &&
            logits.dim(0) == static_cast<int64_t>(rows.size()) && results.size() == rows.size(),
        "sample: expected f32 logits [", rows.size(), ", vocab_size] and as many results, received ",
        logits.to_string(), " and ", results.size());
  if (rows.empty()) return;
  OpLimits needed{};
  needed.max_logits = logits.dim(0), needed.vocab_size = logits.dim(1);
  for (const SampleRow& row : rows)
    needed.max_seqs = std::max<int64_t>(needed.max_seqs, row.slot + 1);
  check_reserved(needed);
  Slot& slot = ring_[current_];
  check(slot.results.empty(), "sample: expected a ticket after every draw");
  sampler_->launch(logits, rows, last_tokens_, current_);
  slot.results = results;
}

}  // namespace hotpath::cuda

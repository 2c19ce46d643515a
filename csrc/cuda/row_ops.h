#pragma once

#include "core/tensor.h"
#include "cuda/context.h"
#include "cuda/device_batch.h"
#include "ops/ops.h"

namespace hotpath::cuda {

// row_ops.cu: ops.h says what each computes. Activations are f32, f16 or bf16 (all of one call the
// same); weights may be of any float dtype and alignment.
void embed(const Context& ctx, const Tensor& out, const Tensor& table, const DeviceBatch& batch);
void rmsnorm(const Context& ctx, const Tensor& out, const Tensor& x, const Tensor& w, float eps);
void add_rmsnorm(const Context& ctx, const Tensor& out, const Tensor& residual, const Tensor& x,
                 const Tensor& w, float eps);
void silu_mul(const Context& ctx, const Tensor& out, const Tensor& gate_up);
void gather_rows(const Context& ctx, const Tensor& out, const Tensor& x, const int32_t* indices);

// moe.cu
size_t moe_workspace(const OpLimits& limits, size_t activation_bytes);
void moe_route(const Context& ctx, const MoeRoute& args);
void moe_experts(const Context& ctx, const MoeExperts& args, void* workspace);

}  // namespace hotpath::cuda

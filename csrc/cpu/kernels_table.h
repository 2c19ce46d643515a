// Included last inside an ISA namespace: the kernels as a table.

static constexpr Kernels make_kernels(const char* name) {
  return {
      name,
      {gemm<float>, gemm<F16>, gemm<BF16>},
      {attention<float>, attention<F16>, attention<BF16>},
      {widen<float>, widen<F16>, widen<BF16>},
      {narrow<float>, narrow<F16>, narrow<BF16>},
      {rmsnorm<float>, rmsnorm<F16>, rmsnorm<BF16>},
      rope,
      silu_mul,
      scale,
      axpy,
      block_max,
      block_exp,
      sum_read,
      fma_probe,
  };
}

// Lab of gemm_stream, gemm_mma and gemm_simt: correctness against double and bit-equality with a
// one-warp reference, then timings over rotated weights.
// Usage: gemm_stream_lab [check] [shapes] [variants] [others] [wgmma] [crossover].

#include <cstring>
#include <string>

#include "bench/lab/cuda/lab.h"
#include "cuda/device/mma.cuh"
#include "cuda/gemm_stream.h"

namespace hotpath::cuda {
// Overridden where the real one is linked.
__attribute__((weak)) void gemm_wgmma(const Context&, const GemmArgs&) {
  fail("internal_error", "gemm_wgmma: not linked");
}
}  // namespace hotpath::cuda

namespace {

using namespace hotpath;
using namespace hotpath::cuda;

int failures = 0;
bool settle_uploads = true;

void expect(bool ok, const std::string& what) {
  if (ok) return;
  if (++failures <= 20) std::printf("FAIL %s\n", what.c_str());
}

// The order of gemm.h, spelled out: one warp per 16 x 8 block, operands straight from memory.
template <typename T>
__global__ void reference_kernel(float* y, const T* x, const T* w, int m, int n, int k,
                                 int x_stride, int segments, int segment) {
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  const int n0 = blockIdx.x * 16, m0 = blockIdx.y * 8;
  const auto pair = [&](const T* row, bool inside, int at) -> uint32_t {
    return inside && at < k ? *reinterpret_cast<const uint32_t*>(row + at) : 0;
  };
  float total[4];
  for (int s = 0; s < segments; ++s) {
    float sum[4] = {};
    for (int k0 = s * segment; k0 < min(k, (s + 1) * segment); k0 += 16) {
      const T* w0 = w + static_cast<int64_t>(n0 + g) * k;
      const T* w8 = w0 + static_cast<int64_t>(8) * k;
      const T* xr = x + static_cast<int64_t>(m0 + g) * x_stride;
      const int lo = k0 + 2 * t, hi = lo + 8;
      const uint32_t a[4] = {pair(w0, n0 + g < n, lo), pair(w8, n0 + g + 8 < n, lo),
                             pair(w0, n0 + g < n, hi), pair(w8, n0 + g + 8 < n, hi)};
      mma_16816<T>(sum, a, pair(xr, m0 + g < m, lo), pair(xr, m0 + g < m, hi));
    }
    for (int i = 0; i < 4; ++i) total[i] = s == 0 ? sum[i] : total[i] + sum[i];
  }
  for (int i = 0; i < 4; ++i) {
    const int row = m0 + 2 * t + i % 2, column = n0 + g + i / 2 * 8;
    if (row < m && column < n) y[static_cast<int64_t>(row) * n + column] = total[i];
  }
}

Tensor reference(const Context& ctx, const Tensor& x, const Tensor& w) {
  const int m = x.dim(0), n = w.dim(0), k = w.dim(1);
  Tensor y(nullptr, DType::kF32, {m, n});
  y.data = lab::device_bytes(y.bytes());
  const dim3 grid(ceil_div(n, 16), ceil_div(m, 8));
  if (x.dtype == DType::kF16)
    reference_kernel<f16><<<grid, 32, 0, ctx.stream>>>(
        y.as<float>(), x.as<f16>(), w.as<f16>(), m, n, k, x.row_stride, k_segments(n, k),
        segment_length(n, k));
  else
    reference_kernel<bf16><<<grid, 32, 0, ctx.stream>>>(
        y.as<float>(), x.as<bf16>(), w.as<bf16>(), m, n, k, x.row_stride, k_segments(n, k),
        segment_length(n, k));
  LAB_CHECK(cudaGetLastError());
  LAB_CHECK(cudaStreamSynchronize(ctx.stream));
  return y;
}

std::vector<float> normals(size_t n, uint64_t seed, float scale) {
  lab::Rng rng(seed);
  std::vector<float> v(n);
  for (float& f : v) f = rng.normal() * scale;
  return v;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

// Result [M, N] of one kernel with f32 or 16-bit output; y has guard columns that must not change.
struct Job {
  DType y_dtype = DType::kF32;
  const Tensor* bias = nullptr;
  bool accumulate = false, silu_mul = false;
  int y_pad = 2;
};
using KernelFunction = std::function<void(const Context&, const GemmArgs&)>;
using Kernel = void (*)(const Context&, const GemmArgs&);

std::vector<float> run(const Context& ctx, const KernelFunction& kernel, const Tensor& x,
                       const Tensor& w, const Job& job, const std::string& what) {
  const int64_t m = x.dim(0), n = job.silu_mul ? w.dim(0) / 2 : w.dim(0), width = n + job.y_pad;
  std::vector<float> before = normals((m + 1) * width, 99, 1);
  Tensor whole = lab::upload(before, job.y_dtype, {m + 1, width});
  // The upload may return before its last piece has landed, and ctx.stream does not wait for it.
  if (settle_uploads) LAB_CHECK(cudaDeviceSynchronize());
  GemmArgs args;
  args.y = whole.columns(0, n).rows(m);
  args.x = x;
  args.w = w;
  args.bias = job.bias;
  args.accumulate = job.accumulate;
  args.silu_mul = job.silu_mul;
  kernel(ctx, args);
  const cudaError_t status = cudaStreamSynchronize(ctx.stream);
  if (status != cudaSuccess) {
    std::printf("FAIL %s: %s\n", what.c_str(), cudaGetErrorString(status));
    std::exit(1);
  }
  const std::vector<float> after = lab::download(whole);
  std::vector<float> y(m * n);
  bool guards = true;
  for (int64_t i = 0; i < (m + 1) * width; ++i) {
    if (i / width < m && i % width < n)
      y[i / width * n + i % width] = after[i];
    else
      guards = guards && after[i] == before[i];
  }
  expect(guards, what + ": wrote outside y");
  LAB_CHECK(cudaFree(whole.data));
  return y;
}

std::vector<double> exact(const std::vector<float>& x, int64_t stride, int64_t m,
                          const std::vector<float>& w, int64_t n, int64_t k,
                          const std::vector<float>& bias, const Job& job) {
  std::vector<double> full(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double s = job.bias ? bias[j] : 0;
      for (int64_t q = 0; q < k; ++q) s += double{x[i * stride + q]} * w[j * k + q];
      full[i * n + j] = s;
    }
  const int64_t outputs = job.silu_mul ? n / 2 : n, width = outputs + job.y_pad;
  std::vector<float> before = normals((m + 1) * width, 99, 1);
  std::vector<double> y(m * outputs);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < outputs; ++j) {
      double v = full[i * n + j];
      if (job.silu_mul) v = v / (1 + std::exp(-v)) * full[i * n + j + n / 2];
      if (job.accumulate) {
        const float b = before[i * width + j];
        v += job.y_dtype == DType::kF32   ? b
             : job.y_dtype == DType::kF16 ? f16_to_float(float_to_f16(b))
                                          : bf16_to_float(float_to_bf16(b));
      }
      y[i * outputs + j] = v;
    }
  return y;
}

double tolerance(DType t) { return t == DType::kF32 ? 5e-5 : t == DType::kF16 ? 1e-3 : 5e-3; }

void check_kernels(Context& ctx, bool with_wgmma) {
  struct Shape {
    int n, k;
  };
  const Shape shapes[] = {{16, 64},   {2, 8},      {40, 72},    {130, 512},  {896, 896},
                          {1152, 640}, {100, 576}, {2048, 128}, {2064, 192}, {2056, 1024},
                          {6000, 64}, {1154, 4864}};
  const int counts[] = {1, 2, 7, 8, 9, 16, 17, 31, 33, 64};
  constexpr int kRows = 70;
  int bit_cases = 0, configured = 0;
  for (DType dtype : {DType::kBF16, DType::kF16})
    for (const Shape s : shapes) {
      if (dtype == DType::kF16 && s.n > 2048 && s.k > 64) continue;
      const int stride = s.k + 8;
      std::vector<float> xv = normals(size_t{kRows} * stride, 3, 1);
      std::vector<float> wv = normals(size_t(s.n) * s.k, 5, 1 / std::sqrt(float(s.k)));
      Tensor whole = lab::upload(xv, dtype, {kRows, stride});
      Tensor w = lab::upload(wv, dtype, {s.n, s.k});
      const Tensor x = whole.columns(0, s.k);
      const std::string name = std::string(dtype_name(dtype)) + " " + std::to_string(s.n) + "x" +
                               std::to_string(s.k);
      const Tensor ref_tensor = reference(ctx, x, w);
      const std::vector<float> ref = lab::download(ref_tensor);
      if (int64_t{s.n} * s.k < 1200000)
        expect(lab::worst_error(ref, exact(xv, stride, kRows, wv, s.n, s.k, {}, Job{})) < 5e-5,
               name + ": reference against double");
      const auto compare = [&](const KernelFunction& kernel, const std::string& which, int first,
                               int m) {
        Tensor part = x;
        part.data = x.row<uint16_t>(first);
        part.shape[0] = m;
        const std::string what =
            name + " " + which + " rows " + std::to_string(first) + "+" + std::to_string(m);
        const std::vector<float> y = run(ctx, kernel, part, w, Job{}, what);
        const std::vector<float> want(ref.begin() + size_t(first) * s.n,
                                      ref.begin() + size_t(first + m) * s.n);
        ++bit_cases;
        if (same_bits(y, want)) return;
        const std::vector<float> before = normals(size_t(m + 1) * (s.n + 2), 99, 1);
        int wrong = 0, stale = 0, at = -1;
        for (int i = 0; i < m * s.n; ++i) {
          if (y[i] == want[i]) continue;
          if (at < 0) at = i;
          ++wrong;
          stale += y[i] == before[i / s.n * (s.n + 2) + i % s.n];
        }
        expect(false, what + ": bits, " + std::to_string(wrong) + " differ, " +
                          std::to_string(stale) + " of them as before; first row " +
                          std::to_string(at / s.n) + " column " + std::to_string(at % s.n) + ": " +
                          std::to_string(y[at]) + ", expected " + std::to_string(want[at]));
      };
      if (with_wgmma) {
        for (int m : {1, 8, 33, 64, 70}) compare(gemm_wgmma, "wgmma", 0, m);
        continue;
      }
      for (int m : counts) compare(gemm_stream, "stream", 0, m);
      compare(gemm_stream, "stream", 5, 3);
      compare(gemm_stream, "stream", 37, 20);
      compare(gemm_stream, "stream", 0, kRows);
      for (int repeat = 0; repeat < 3; ++repeat)
        for (int m : {1, 16, 20, 64, 70}) compare(gemm_mma, "mma", 0, m);
      if (s.k % 64 == 0)
        for (int chunks : {1, 2, 3, 8})
          for (int groups : {1, 2, 4})
            for (int m : {3, 27, 61}) {
              StreamConfig c;
              c.row_groups = groups;
              c.stage_chunks = chunks;
              c.most_warps = 1 + groups;
              c.thin = chunks == 1 && s.n < 2048;
              c.blocks_per_sm = chunks;
              bool ran = true;
              const auto kernel = [&](const Context& ctx, const GemmArgs& args) {
                ran = gemm_stream_sm90(ctx, args, c);
                if (!ran) gemm_mma(ctx, args);
              };
              compare(kernel, "chunks " + std::to_string(chunks) + " groups " +
                                  std::to_string(groups), 0, m);
              configured += ran;
            }
      LAB_CHECK(cudaFree(whole.data));
      LAB_CHECK(cudaFree(w.data));
      LAB_CHECK(cudaFree(ref_tensor.data));
    }
  std::printf("%s bit-equality, %d cases, %d of them configured\n", failures ? "FAIL" : "PASS",
              bit_cases, configured);
}

// Every epilogue, every kernel, against double; the 16-bit kernels also against each other.
void check_epilogues(Context& ctx, bool with_wgmma) {
  struct Shape {
    int n, k, m;
  };
  const Shape shapes[] = {{96, 192, 1},    {96, 192, 13},   {1000, 512, 5},
                          {1000, 576, 40}, {2056, 64, 9},
                          {2304, 256, 64}, {2304, 136, 30}, {320, 512, 64}, {640, 1024, 150}};
  const int before = failures;
  int cases = 0;
  double worst[3] = {};
  for (const Shape s : shapes)
    for (DType dtype : {DType::kBF16, DType::kF16, DType::kF32})
      for (int mask = 0; mask < 16; ++mask) {
        if (dtype == DType::kF16 && mask % 3 != 0) continue;
        std::vector<float> xv = normals(size_t(s.m) * (s.k + 8), 3, 1);
        std::vector<float> wv = normals(size_t(s.n) * s.k, 5, 1 / std::sqrt(float(s.k)));
        std::vector<float> bv = normals(s.n, 7, 1);
        Tensor x = lab::upload(xv, dtype, {s.m, s.k + 8}).columns(0, s.k);
        Tensor w = lab::upload(wv, dtype, {s.n, s.k});
        Tensor bias = lab::upload(bv, mask & 8 ? DType::kF32 : dtype, {s.n});
        Job job;
        job.bias = mask & 1 ? &bias : nullptr;
        job.accumulate = mask & 2;
        job.silu_mul = mask & 4;
        job.y_dtype = mask & 8 ? DType::kF32 : dtype;
        const std::string name = std::string(dtype_name(dtype)) + " " + std::to_string(s.n) + "x" +
                                 std::to_string(s.k) + " M " + std::to_string(s.m) + " epilogue " +
                                 std::to_string(mask);
        const std::vector<double> want =
            exact(xv, s.k + 8, s.m, wv, s.n, s.k, bv, job);
        const auto check_one = [&](Kernel kernel, const char* which, int index) {
          const std::vector<float> y = run(ctx, kernel, x, w, job, name + " " + which);
          const double error = lab::worst_error(y, want);
          worst[index] = std::max(worst[index], error / tolerance(job.y_dtype));
          expect(error < tolerance(job.y_dtype),
                 name + " " + which + ": error " + std::to_string(error));
          ++cases;
          return y;
        };
        if (!with_wgmma) check_one(gemm_simt, "simt", 2);
        if (dtype != DType::kF32) {
          const std::vector<float> mma = check_one(gemm_mma, "mma", 1);
          if (with_wgmma)
            expect(same_bits(mma, check_one(gemm_wgmma, "wgmma", 0)), name + ": wgmma bits");
          else if (s.m <= 64)
            expect(same_bits(mma, check_one(gemm_stream, "stream", 0)), name + ": stream bits");
        }
        LAB_CHECK(cudaFree(x.data));
        LAB_CHECK(cudaFree(w.data));
        LAB_CHECK(cudaFree(bias.data));
      }
  std::printf("%s epilogues, %d cases, error / tolerance: stream %.2f mma %.2f simt %.2f\n",
              failures > before ? "FAIL" : "PASS", cases, worst[0], worst[1], worst[2]);
}

// Repeats one product: a difference that comes and goes is a race. Without waiting for the upload
// of y's former contents the lab itself has one; those differences show the former contents.
void check_repeats(Context& ctx) {
  const int before = failures;
  constexpr int kM = 64, kN = 2048, kK = 128, kRepeats = 60;
  std::vector<float> xv = normals(kM * kK, 3, 1), wv = normals(kN * kK, 5, 0.1f);
  Tensor x = lab::upload(xv, DType::kF16, {kM, kK}), w = lab::upload(wv, DType::kF16, {kN, kK});
  LAB_CHECK(cudaDeviceSynchronize());
  const std::vector<float> want = lab::download(reference(ctx, x, w));
  const std::vector<float> former = normals((kM + 1) * (kN + 2), 99, 1);
  for (const bool settle : {true, false}) {
    settle_uploads = settle;
    int wrong_runs = 0, wrong = 0, stale = 0;
    for (int i = 0; i < kRepeats; ++i) {
      const std::vector<float> y = run(ctx, gemm_mma, x, w, Job{}, "repeats");
      wrong_runs += !same_bits(y, want);
      for (size_t j = 0; j < y.size(); ++j) {
        wrong += y[j] != want[j];
        stale += y[j] != want[j] && y[j] == former[j / kN * (kN + 2) + j % kN];
      }
    }
    if (settle) expect(wrong_runs == 0, "mma repeats differ");
    std::printf("repeats, uploads %s: %d of %d runs differ, %d elements, %d former contents\n",
                settle ? "settled" : "not settled", wrong_runs, kRepeats, wrong, stale);
  }
  settle_uploads = true;
  std::printf("%s repeats\n", failures > before ? "FAIL" : "PASS");
}

// gemm_simt: odd shapes, mixed dtypes, unaligned x; rows equal whatever M.
void check_simt(Context& ctx) {
  const int before = failures;
  struct Shape {
    int n, k;
  };
  for (const Shape s : {Shape{37, 51}, Shape{101, 7}, Shape{64, 333}, Shape{3, 1}})
    for (DType xt : {DType::kF32, DType::kF16, DType::kBF16})
      for (DType wt : {DType::kF32, DType::kF16, DType::kBF16}) {
        constexpr int kRows = 70;
        std::vector<float> xv = normals(size_t{kRows} * (s.k + 3), 3, 1);
        std::vector<float> wv = normals(size_t(s.n) * s.k, 5, 1 / std::sqrt(float(s.k)));
        Tensor x = lab::upload(xv, xt, {kRows, s.k + 3}).columns(0, s.k);
        Tensor w = lab::upload(wv, wt, {s.n, s.k});
        Job job;
        job.y_pad = 3;
        const std::string name = std::string(dtype_name(xt)) + " " + std::string(dtype_name(wt)) +
                                 " simt " + std::to_string(s.n) + "x" + std::to_string(s.k);
        const std::vector<float> all = run(ctx, gemm_simt, x, w, job, name);
        expect(lab::worst_error(all, exact(xv, s.k + 3, kRows, wv, s.n, s.k, {}, job)) < 5e-5,
               name + ": error");
        for (int m : {1, 2, 9, 16, 17}) {
          const std::vector<float> y = run(ctx, gemm_simt, x.rows(m), w, job, name);
          expect(same_bits(y, std::vector<float>(all.begin(), all.begin() + size_t(m) * s.n)),
                 name + ": bits of M " + std::to_string(m));
        }
        LAB_CHECK(cudaFree(w.data));
        LAB_CHECK(cudaFree(x.data));
      }
  std::printf("%s simt, odd shapes\n", failures > before ? "FAIL" : "PASS");
}

struct Bench {
  Context ctx;
  Tensor pool;  // random weights, rotated through
  Tensor x, y;
  double copy_tbs = 0;

  explicit Bench(const Context& c) : ctx(c) {
    pool = lab::random(DType::kBF16, {int64_t{1200} << 20}, 0.02f, 7);
    x = lab::random(DType::kBF16, {8192, 14336}, 1, 3);
    y = lab::random(DType::kBF16, {8192, 32768}, 1, 4);
    const size_t half = pool.bytes() / 2;
    char* p = pool.as<char>();
    const double us = lab::time_us(ctx, 2, [&](int) {
      LAB_CHECK(cudaMemcpyAsync(p, p + half, half, cudaMemcpyDeviceToDevice, ctx.stream));
    }, 5);
    copy_tbs = 2.0 * half / us * 1e-6;
    std::printf("device copy %.2f TB/s\n", copy_tbs);
  }
  double bytes(int n, int k) const { return 2.0 * n * k; }
  double time(int m, int n, int k, const std::function<void(const GemmArgs&)>& kernel,
              bool silu = false, bool accumulate = false, int repeats = 9, int least = 24) {
    const size_t each = size_t(n) * k;
    const int slots = std::max<int>(1, static_cast<int>(pool.numel() / each));
    const int wanted = std::max(least, static_cast<int>(2.2 * ctx.l2_bytes / (2 * each)) + 1);
    const int calls = std::min({slots, wanted, 96});
    return lab::time_us(ctx, calls, [&](int i) {
      GemmArgs args;
      args.x = Tensor(x.data, DType::kBF16, {m, k});
      args.w = Tensor(pool.as<uint16_t>() + i % slots * each, DType::kBF16, {n, k});
      args.y = Tensor(y.data, DType::kBF16, {m, silu ? n / 2 : n});
      args.silu_mul = silu;
      args.accumulate = accumulate;
      kernel(args);
    }, repeats);
  }
};

struct Size {
  int n, k;
};
constexpr Size kSizes[] = {{896, 896},    {1152, 896},  {9728, 896},   {896, 4864},
                           {151936, 896}, {1024, 2048}, {4096, 1024},  {6144, 1024},
                           {1024, 3072},  {6144, 4096}, {4096, 4096},  {28672, 4096},
                           {4096, 14336}, {128256, 4096}};

void time_shapes(Bench& b) {
  std::printf("%-14s", "stream, us");
  for (int m : {1, 8, 16, 32, 64}) std::printf("  M=%-3d (%%copy)", m);
  std::printf("   M=1 no PDL\n");
  for (const Size s : kSizes) {
    std::printf("%6dx%-7d", s.n, s.k);
    for (int m : {1, 8, 16, 32, 64}) {
      const double us = b.time(m, s.n, s.k, [&](const GemmArgs& a) { gemm_stream(b.ctx, a); });
      std::printf("  %7.2f (%3.0f)", us, b.bytes(s.n, s.k) / us * 1e-4 / b.copy_tbs);
    }
    Context plain = b.ctx;
    plain.pdl = false;
    std::printf("  %6.2f\n",
                b.time(1, s.n, s.k, [&](const GemmArgs& a) { gemm_stream(plain, a); }));
  }
}

std::vector<StreamConfig> variants(int m, bool split, const StreamConfig& base) {
  std::vector<StreamConfig> all = {base};
  const bool few = m <= 16;
  for (int chunks : {1, 2, 3, 4, 8})
    for (int groups : {1, 2, 4})
      for (int warps : {2, 4, 7, 8})
        for (int per_sm : {1, 2, 3})
          for (int kib : {64, 100, 200})
            for (bool thin : {false, true}) {
              if (split ? warps != 2 || per_sm != 1 || (thin && !few) : thin) continue;
              if (few ? groups > 1 : chunks == 3 || per_sm > 1 || warps == 2) continue;
              if (kib * per_sm > 200 || kib * per_sm < 100) continue;
              StreamConfig c = base;
              c.stage_chunks = chunks;
              c.row_groups = groups;
              c.most_warps = warps;
              c.blocks_per_sm = per_sm;
              c.ring_bytes = kib << 10;
              c.thin = thin;
              all.push_back(c);
            }
  return all;
}

void time_variants(Bench& b) {
  std::printf("picked, best: us chunks/groups/warps/per SM/ring KiB (t: thin)\n");
  for (const int m : {1, 8, 16, 32, 64})
    for (const Size s : {Size{896, 896}, Size{1152, 896}, Size{896, 4864}, Size{1024, 3072},
                         Size{9728, 896}, Size{6144, 1024}, Size{151936, 896}, Size{4096, 4096},
                         Size{6144, 4096}, Size{28672, 4096}, Size{4096, 14336}}) {
      if (s.n == 151936 && m > 8) continue;
      GemmArgs probe;
      probe.x = Tensor(b.x.data, DType::kBF16, {m, s.k});
      probe.w = Tensor(b.pool.data, DType::kBF16, {s.n, s.k});
      probe.y = Tensor(b.y.data, DType::kBF16, {m, s.n});
      const bool split = k_segments(s.n, s.k) > 1;
      std::vector<std::pair<double, StreamConfig>> results;
      for (const StreamConfig& c : variants(m, split, pick_stream_config(b.ctx, probe)))
        if (gemm_stream_sm90(b.ctx, probe, c))
          results.push_back({b.time(m, s.n, s.k, [&](const GemmArgs& a) {
                               gemm_stream_sm90(b.ctx, a, c);
                             }, false, false, 3, 12), c});
      std::printf("M=%-3d %6dx%-5d", m, s.n, s.k);
      const auto print = [](const std::pair<double, StreamConfig>& r) {
        const StreamConfig& c = r.second;
        std::printf(" %.2f %d/%d/%d/%d/%d%s", r.first, c.stage_chunks, c.row_groups, c.most_warps,
                    c.blocks_per_sm, c.ring_bytes >> 10, c.thin ? "t" : "");
      };
      print(results[0]);
      std::printf(" |");
      std::sort(results.begin(), results.end(),
                [](const auto& p, const auto& q) { return p.first < q.first; });
      for (size_t i = 0; i < std::min<size_t>(results.size(), 4); ++i) print(results[i]);
      std::printf("\n");
    }
}

void time_others(Bench& b) {
  const auto stream = [&](const GemmArgs& a) { gemm_stream(b.ctx, a); };
  std::printf("epilogues, M=1, us: silu_mul 9728x896 %.2f 28672x4096 %.2f; += 896x4864 %.2f "
              "4096x14336 %.2f\n",
              b.time(1, 9728, 896, stream, true), b.time(1, 28672, 4096, stream, true),
              b.time(1, 896, 4864, stream, false, true),
              b.time(1, 4096, 14336, stream, false, true));
  std::printf("mma us (TFLOP/s):");
  for (const Size s : {Size{1152, 896}, Size{4096, 4096}, Size{9728, 896}})
    for (int m : {1, 64, 512, 2048}) {
      const double us = b.time(m, s.n, s.k, [&](const GemmArgs& a) { gemm_mma(b.ctx, a); });
      std::printf(" %dx%d M %d: %.1f (%.0f)", s.n, s.k, m, us, 2e-6 * m * s.n * s.k / us);
    }
  std::printf("\nsimt bf16 us:");
  for (const Size s : {Size{896, 896}, Size{9728, 896}, Size{4096, 4096}})
    for (int m : {1, 8, 64, 512}) {
      const double us = b.time(m, s.n, s.k, [&](const GemmArgs& a) { gemm_simt(b.ctx, a); });
      std::printf(" %dx%d M %d: %.1f", s.n, s.k, m, us);
    }
  std::printf("\n");
}

// Where gemm() should change from gemm_stream to gemm_wgmma.
void time_crossover(Bench& b) {
  std::printf("stream / wgmma, us ");
  for (int m : {16, 24, 32, 48, 64}) std::printf("        M=%-3d", m);
  std::printf("\n");
  for (const Size s : kSizes) {
    std::printf("%6dx%-10d", s.n, s.k);
    for (int m : {16, 24, 32, 48, 64})
      std::printf("  %6.2f/%6.2f",
                  b.time(m, s.n, s.k, [&](const GemmArgs& a) { gemm_stream(b.ctx, a); }),
                  b.time(m, s.n, s.k, [&](const GemmArgs& a) { gemm_wgmma(b.ctx, a); }));
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto wants = [&](const char* word) {
    for (int i = 1; i < argc; ++i)
      if (std::strcmp(argv[i], word) == 0) return true;
    return false;
  };
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  Context ctx = lab::make_context();
  try {
    if (wants("check")) {
      check_repeats(ctx);
      check_kernels(ctx, false);
      check_epilogues(ctx, false);
      check_simt(ctx);
    }
    if (wants("shapes") || wants("variants") || wants("others")) {
      Bench bench(ctx);
      if (wants("shapes")) time_shapes(bench);
      if (wants("variants")) time_variants(bench);
      if (wants("others")) time_others(bench);
    }
    if (wants("wgmma")) {
      check_kernels(ctx, true);
      check_epilogues(ctx, true);
    }
    if (wants("crossover")) {
      Bench bench(ctx);
      time_crossover(bench);
    }
  } catch (const std::exception& e) {
    std::printf("FAIL exception: %s\n", e.what());
    return 1;
  }
  std::printf("%s, %d failures\n", failures ? "FAIL" : "PASS", failures);
  return failures != 0;
}

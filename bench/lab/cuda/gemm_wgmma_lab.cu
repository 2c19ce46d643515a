// gemm_wgmma: every tile and cluster against a plain mma.sync kernel that sums in the order of
// gemm.h (bits must be equal), small shapes against double, then times of all plans.
//   gemm_wgmma_lab [check] [target] [time] [sweep] [rows]
// target: the shapes of performance.md from 512 rows on, all plans. time: shapes of prefill and
// decode, the picked plan only; sweep: the same, all plans; rows: other numbers of rows, all plans.
// HOTPATH_LAB_CUBLAS=/path/libcublas.so.13 puts cuBLASLt's time on the same card beside ours.

#include <cstring>
#include <functional>
#include <string>

#include "cuda/device/mma.cuh"
#include "cuda/gemm_wgmma.h"
#include "cublaslt.h"
#include "lab.h"

using namespace hotpath::cuda;
using lab::DType;
using lab::Tensor;

namespace {

// Rows, columns, built for one K segment, for four.
constexpr int kTiles[][4] = {{128, 256, 1, 0}, {128, 224, 1, 0}, {128, 192, 1, 1},
                             {128, 160, 1, 1}, {128, 144, 0, 1}, {128, 128, 1, 1},
                             {128, 96, 1, 0},  {128, 64, 1, 1},  {64, 128, 1, 0},
                             {64, 96, 1, 1},   {64, 64, 1, 1},   {64, 32, 1, 1}};
constexpr int kClusters[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1}, {1, 4}};

// One warp: 16 rows of x by 8 rows of w, steps of 16 k in order, segments added in order.
template <typename T>
__device__ void reference_tile(float (&total)[4], const T* x, int64_t x_stride, const T* w, int m,
                               int n, int k, int segment, int row, int column) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  auto pair = [&](const T* base, int64_t stride, int r, int rows, int c) {
    return r < rows && c < k ? *reinterpret_cast<const uint32_t*>(base + r * stride + c) : 0u;
  };
  for (int i = 0; i < 4; ++i) total[i] = 0;
  for (int begin = 0; begin < k; begin += segment) {
    float sum[4] = {0, 0, 0, 0};
    for (int c = begin; c < min(k, begin + segment); c += 16) {
      const uint32_t a[4] = {pair(x, x_stride, row + g, m, c + 2 * t),
                             pair(x, x_stride, row + g + 8, m, c + 2 * t),
                             pair(x, x_stride, row + g, m, c + 2 * t + 8),
                             pair(x, x_stride, row + g + 8, m, c + 2 * t + 8)};
      mma_16816<T>(sum, a, pair(w, k, column + g, n, c + 2 * t),
                   pair(w, k, column + g, n, c + 2 * t + 8));
    }
    for (int i = 0; i < 4; ++i) total[i] += sum[i];
  }
}

template <typename T, typename Y>
__global__ void reference_kernel(Y* y, int64_t y_stride, const T* x, int64_t x_stride, const T* w,
                                 const T* bias, int m, int n, int k, int segment, bool accumulate,
                                 bool silu_mul) {
  const int n_out = silu_mul ? n / 2 : n;
  const int row = blockIdx.y * 16, column = (blockIdx.x * 4 + threadIdx.x / 32) * 8;
  if (column >= n_out) return;
  float a[4], b[4];
  reference_tile(a, x, x_stride, w, m, n_out, k, segment, row, column);
  if (silu_mul)
    reference_tile(b, x, x_stride, w + int64_t{n_out} * k, m, n_out, k, segment, row, column);
  const int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) {
    const int r = row + lane / 4 + i / 2 * 8, c = column + lane % 4 * 2 + i % 2;
    if (r >= m || c >= n_out) continue;
    float v = bias ? a[i] + to_float(bias[c]) : a[i];
    if (silu_mul) v = silu(v) * (bias ? b[i] + to_float(bias[n_out + c]) : b[i]);
    Y* at = y + r * y_stride + c;
    *at = from_float<Y>(accumulate ? to_float(*at) + v : v);
  }
}

// Different elements of two [m][n] matrices, and the largest difference relative to 1 + |b|.
template <typename Y>
__global__ void compare_kernel(const Y* a, const Y* b, int64_t stride, int m, int n,
                               unsigned long long* different, float* worst) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < int64_t{m} * n;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t at = i / n * stride + i % n;
    const float u = to_float(a[at]), v = to_float(b[at]);
    if (__float_as_uint(u) == __float_as_uint(v)) continue;
    atomicAdd(different, 1ull);
    float e = fabsf(u - v) / (1 + fabsf(v));
    if (!(e <= 1e30f)) e = 1e30f;
    atomicMax(reinterpret_cast<int*>(worst), __float_as_int(e));
  }
}

// Mixed magnitudes: 2^-4 .. 2^4 by row and element, so that the order of sums shows in the bits.
__global__ void mix_kernel(uint16_t* p, int64_t n, uint32_t seed, bool half) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t z = (static_cast<uint32_t>(i) ^ seed) * 0x9E3779B1u;
    z = (z ^ z >> 15) * 0x85EBCA77u;
    z = (z ^ z >> 13) * 0xC2B2AE3Du;
    z ^= z >> 16;
    const float v = (static_cast<float>(z >> 8) * 0x1p-23f - 1.0f) *
                    exp2f(static_cast<float>(z & 7) - 4.0f) * 0.3f;
    p[i] = half ? __half_as_ushort(__float2half_rn(v))
                : __bfloat16_as_ushort(__float2bfloat16_rn(v));
  }
}
Tensor mixed(DType dtype, std::initializer_list<int64_t> dims, uint32_t seed) {
  Tensor t(nullptr, dtype, dims);
  t.data = lab::device_bytes(t.bytes() + 64);
  mix_kernel<<<512, 256>>>(t.as<uint16_t>(), t.numel(), seed, dtype == DType::kF16);
  LAB_CHECK(cudaDeviceSynchronize());
  return t;
}

struct Case {
  int m, n, k;
  bool bias = false, accumulate = false, silu = false, f32 = false;
  int x_pad = 0, y_pad = 0;
  DType dtype = DType::kBF16;
};

template <typename T, typename Y>
void reference(const GemmArgs& g) {
  const int m = g.x.dim(0), n = g.w.dim(0), k = g.x.dim(1);
  const dim3 grid(ceil_div(g.silu_mul ? n / 2 : n, 32), ceil_div(m, 16));
  reference_kernel<T, Y><<<grid, 128>>>(
      g.y.as<Y>(), g.y.row_stride, g.x.as<T>(), g.x.row_stride, g.w.as<T>(),
      g.bias ? g.bias->as<T>() : nullptr, m, n, k, static_cast<int>(segment_length(n, k)),
      g.accumulate, g.silu_mul);
}
void run_reference(const GemmArgs& g) {
  const bool f32 = g.y.dtype == DType::kF32;
  if (g.x.dtype == DType::kBF16)
    f32 ? reference<bf16, float>(g) : reference<bf16, bf16>(g);
  else
    f32 ? reference<f16, float>(g) : reference<f16, f16>(g);
  LAB_CHECK(cudaDeviceSynchronize());
}

struct Difference {
  unsigned long long count;
  float worst;
};
Difference compare(const Tensor& a, const Tensor& b) {
  static unsigned long long* different = static_cast<unsigned long long*>(lab::device_bytes(16));
  float* worst = reinterpret_cast<float*>(different + 1);
  LAB_CHECK(cudaMemset(different, 0, 16));
  const int m = a.dim(0), n = a.dim(1);
  if (a.dtype == DType::kF32)
    compare_kernel<<<512, 256>>>(a.as<float>(), b.as<float>(), a.row_stride, m, n, different,
                                 worst);
  else if (a.dtype == DType::kBF16)
    compare_kernel<<<512, 256>>>(a.as<bf16>(), b.as<bf16>(), a.row_stride, m, n, different, worst);
  else
    compare_kernel<<<512, 256>>>(a.as<f16>(), b.as<f16>(), a.row_stride, m, n, different, worst);
  char host[16];
  LAB_CHECK(cudaMemcpy(host, different, 16, cudaMemcpyDeviceToHost));
  Difference d;
  std::memcpy(&d.count, host, 8);
  std::memcpy(&d.worst, host + 8, 4);
  return d;
}

int failures = 0, checks = 0;

double error_against_double(const GemmArgs& g, const Tensor& y, const Tensor& before,
                            const std::vector<float>& bias) {
  auto flat = [](Tensor t) {
    Tensor all(t.data, t.dtype, {t.dim(0), t.row_stride});
    return lab::download(all);
  };
  const std::vector<float> x = flat(g.x), w = flat(g.w), old = flat(before), got = flat(y);
  const int64_t m = g.x.dim(0), n = g.w.dim(0), k = g.x.dim(1), n_out = y.dim(1);
  double worst = 0;
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n_out; ++c) {
      double sums[2] = {0, 0};
      double size = 1;
      for (int s = 0; s < (g.silu_mul ? 2 : 1); ++s) {
        for (int64_t i = 0; i < k; ++i) {
          const double p = double{x[r * g.x.row_stride + i]} * w[(s * n_out + c) * k + i];
          sums[s] += p;
        }
        if (!bias.empty()) sums[s] += bias[s * n_out + c];
        size = std::max(size, std::abs(sums[s]));
      }
      double v = sums[0];
      if (g.silu_mul) v = v / (1 + std::exp(-v)) * sums[1];
      if (g.accumulate) v += old[r * y.row_stride + c];
      const double e = std::abs(got[r * y.row_stride + c] - v) / (size + std::abs(v));
      if (!(e <= worst)) worst = std::isnan(e) ? 1e30 : e;
    }
  return worst;
}

void check_case(const Context& ctx, const Case& c, bool all_plans) {
  const int n_out = c.silu ? c.n / 2 : c.n;
  const DType y_dtype = c.f32 ? DType::kF32 : c.dtype;
  GemmArgs g;
  g.x = mixed(c.dtype, {c.m, c.k + c.x_pad}, 11).columns(0, c.k);
  g.w = mixed(c.dtype, {c.n, c.k}, 22);
  Tensor bias = mixed(c.dtype, {c.n}, 33);
  if (c.bias) g.bias = &bias;
  g.accumulate = c.accumulate;
  g.silu_mul = c.silu;
  std::vector<float> start(int64_t{c.m} * (n_out + c.y_pad));
  lab::Rng rng(7);
  if (start.size() < 4'000'000)
    for (float& v : start) v = rng.normal();
  const Tensor before = lab::upload(start, y_dtype, {c.m, n_out + c.y_pad});
  Tensor expected(lab::device_bytes(before.bytes()), y_dtype, {c.m, n_out + c.y_pad});
  Tensor got = expected;
  got.data = lab::device_bytes(before.bytes());
  auto run = [&](Tensor& to, auto&& body) {
    LAB_CHECK(cudaMemcpy(to.data, before.data, before.bytes(), cudaMemcpyDeviceToDevice));
    g.y = to.columns(0, n_out);
    body();
    LAB_CHECK(cudaDeviceSynchronize());
  };
  run(expected, [&] { run_reference(g); });
  char name[160];
  std::snprintf(name, sizeof name, "%d x %d x %d %s%s%s%s%s xpad %d ypad %d", c.m, c.n, c.k,
                c.dtype == DType::kF16 ? "f16" : "bf16", c.bias ? " bias" : "",
                c.accumulate ? " acc" : "", c.silu ? " silu" : "", c.f32 ? " f32" : "", c.x_pad,
                c.y_pad);
  if (int64_t{c.m} * c.n * c.k < 6'000'000) {
    const std::vector<float> b = c.bias ? lab::download(bias) : std::vector<float>();
    const double e = error_against_double(g, expected.columns(0, n_out), before, b);
    if (e > (c.f32 ? 1e-3 : 1e-2)) std::printf("FAIL reference %s: %.3g\n", name, e), ++failures;
  }
  const bool segmented = k_segments(c.n, c.k) > 1;
  auto one = [&](const WgmmaPlan& plan) {
    std::printf("%s %dx%d/%dx%d\r", name, plan.tile_m, plan.tile_n, plan.cluster_m, plan.cluster_n);
    std::fflush(stdout);
    run(got, [&] { gemm_wgmma_as(ctx, g, plan); });
    const Difference d = compare(got, expected);  // the padding must be untouched too
    ++checks;
    if (d.count && ++failures < 25)
      std::printf("FAIL %s tile %dx%d cluster %dx%d: %llu differ, worst %.3g\n", name, plan.tile_m,
                  plan.tile_n, plan.cluster_m, plan.cluster_n, d.count, d.worst);
  };
  one(plan_wgmma(ctx, c.m, c.n, c.k, c.silu));
  if (all_plans)
    for (const auto& t : kTiles)
      for (const auto& cl : kClusters) {
        if (!t[segmented ? 3 : 2] || (c.silu && t[1] % 32 != 0)) continue;
        one({t[0], t[1], cl[0], cl[1], 3});
      }
  LAB_CHECK(cudaFree(g.x.data));
  LAB_CHECK(cudaFree(g.w.data));
  LAB_CHECK(cudaFree(bias.data));
  LAB_CHECK(cudaFree(before.data));
  LAB_CHECK(cudaFree(expected.data));
  LAB_CHECK(cudaFree(got.data));
}

void check_all(const Context& ctx) {
  const DType f16t = DType::kF16;
  check_case(ctx, {130, 2304, 520}, true);
  check_case(ctx, {300, 2304, 1096, true, true}, true);
  check_case(ctx, {257, 4608, 328, true, false, true}, true);
  check_case(ctx, {200, 1152, 896, true, false, false, false, 8, 8}, true);
  check_case(ctx, {129, 896, 1224, false, true, false, false, 0, 0, f16t}, true);
  check_case(ctx, {300, 2560, 264, true, false, true, false, 64, 24, f16t}, true);
  check_case(ctx, {150, 2306, 200, true, true, false, false, 0, 0}, true);
  check_case(ctx, {150, 2304, 200, true, false, false, true, 0, 0}, true);
  for (int m : {1, 7, 63, 64, 65, 127, 128, 129, 191, 256, 511, 1000})
    for (int n : {2, 18, 130, 896, 2064, 4100}) {
      check_case(ctx, {m, n, 8 * (1 + (m * 7 + n) % 90), m % 2 == 1, n % 4 == 2}, false);
      const int k = 8 * (1 + (m * 5 + n) % 120);
      check_case(ctx, {m, n, k, true, false, n % 4 == 0, m % 3 == 0, 16, 2}, false);
    }
  check_case(ctx, {64, 18, 64, false, false, true, false, 0, 1}, false);
  check_case(ctx, {64, 18, 64, false, false, true, false, 0, 0}, false);
  check_case(ctx, {8, 14336, 4096, false, false, true}, false);
  check_case(ctx, {600, 4096, 4096, false, true}, false);
  check_case(ctx, {300, 28672, 1024, false, false, true}, false);
  check_case(ctx, {256, 128256, 512, false, false, false, true}, false);
  // N of no whole 16 bytes, in rows of such: the padding must stay.
  check_case(ctx, {200, 2306, 200, false, false, false, false, 0, 6}, true);
  check_case(ctx, {200, 4612, 128, true, false, true, false, 0, 6, f16t}, true);
  for (int k : {512, 520, 576, 1000, 4864}) {
    check_case(ctx, {130, 896, k, true}, false);
    check_case(ctx, {257, 1154, k, k % 64 != 0, true, false, k % 64 == 0, 8, 6}, true);
  }
  check_case(ctx, {777, 4096, 3584, false, true, false, false, 0, 0, f16t}, false);
  std::printf("%-100s\n%s: %d checks, %d failures\n", "", failures ? "FAIL" : "PASS", checks,
              failures);
}

struct Shape {
  int m, n, k;
  bool silu = false, accumulate = false;
};

// Weights rotated past the L2 cache.
struct Rotation {
  std::vector<Tensor> w;
  Tensor x, y;
  Rotation(const Context& ctx, const Shape& s) {
    const double bytes = 2.0 * s.n * s.k;
    const int copies = std::max(1, static_cast<int>(2.5 * ctx.l2_bytes / bytes) + 1);
    for (int i = 0; i < copies; ++i) w.push_back(lab::random(DType::kBF16, {s.n, s.k}, 0.02f, i));
    x = lab::random(DType::kBF16, {s.m, s.k}, 1, 99);
    y = lab::random(DType::kBF16, {s.m, s.silu ? s.n / 2 : s.n}, 1, 98);
  }
  ~Rotation() {
    for (Tensor& t : w) cudaFree(t.data);
    cudaFree(x.data);
    cudaFree(y.data);
  }
};

int calls_for(const Rotation& r, const Shape& s) {
  const double flops = 2.0 * s.m * s.n * s.k;
  return std::max<int>(r.w.size(), flops > 1e12 ? 2 : flops > 1e11 ? 4 : 10);
}

std::string name_of(const WgmmaPlan& p) {
  return std::to_string(p.tile_m) + "x" + std::to_string(p.tile_n) + "/" +
         std::to_string(p.cluster_m) + std::to_string(p.cluster_n) + "g" + std::to_string(p.group);
}

// One way to compute a shape, as a graph of some calls.
struct Contender {
  std::string name;
  cudaGraphExec_t exec = nullptr;
  int calls = 0;
  std::vector<float> us;  // of one call, one per replay
  float median() const {
    std::vector<float> sorted = us;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

// The contenders of one shape. They take turns, so that clocks that fall while the card warms up
// fall for all of them.
class Race {
 public:
  Race(Context& ctx, const Shape& s) : ctx_(ctx), shape_(s), inputs_(ctx, s) {
    LAB_CHECK(cudaEventCreate(&begin_));
    LAB_CHECK(cudaEventCreate(&end_));
  }
  ~Race() {
    for (Contender& c : contenders) LAB_CHECK(cudaGraphExecDestroy(c.exec));
    LAB_CHECK(cudaEventDestroy(begin_));
    LAB_CHECK(cudaEventDestroy(end_));
  }
  Race(const Race&) = delete;

  void add(const std::string& name, const std::function<void(int)>& call) {
    Contender c;
    c.name = name;
    c.calls = calls_for(inputs_, shape_);
    call(0);
    LAB_CHECK(cudaStreamSynchronize(ctx_.stream));
    cudaGraph_t graph;
    LAB_CHECK(cudaStreamBeginCapture(ctx_.stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < c.calls; ++i) call(i);
    LAB_CHECK(cudaStreamEndCapture(ctx_.stream, &graph));
    LAB_CHECK(cudaGraphInstantiate(&c.exec, graph, 0));
    LAB_CHECK(cudaGraphDestroy(graph));
    contenders.push_back(std::move(c));
  }
  void add_plan(const WgmmaPlan& plan) {
    for (const Contender& c : contenders)
      if (c.name == name_of(plan)) return;
    add(name_of(plan), [this, plan](int i) {
      GemmArgs g;
      g.y = inputs_.y;
      g.x = inputs_.x;
      g.w = inputs_.w[i % inputs_.w.size()];
      g.silu_mul = shape_.silu;
      g.accumulate = shape_.accumulate;
      gemm_wgmma_as(ctx_, g, plan);
    });
  }
  // How many of the library's algorithms run.
  int add_library(const lab::CublasLt& lt) {
    int added = 0;
    for (int a = 0; a < lt.count(); ++a) {
      auto call = [&](int i) {
        return lt.run(a, inputs_.y.data, inputs_.x.data, inputs_.w[i % inputs_.w.size()].data,
                      ctx_.stream);
      };
      if (!call(0)) continue;
      add("lt" + std::to_string(a), call);
      ++added;
    }
    return added;
  }
  void replay(Contender& c) {
    LAB_CHECK(cudaEventRecord(begin_, ctx_.stream));
    LAB_CHECK(cudaGraphLaunch(c.exec, ctx_.stream));
    LAB_CHECK(cudaEventRecord(end_, ctx_.stream));
    LAB_CHECK(cudaEventSynchronize(end_));
    float ms = 0;
    LAB_CHECK(cudaEventElapsedTime(&ms, begin_, end_));
    c.us.push_back(ms * 1000 / c.calls);
  }
  void run(int rounds) {
    for (Contender& c : contenders) {
      replay(c);
      c.us.clear();
    }
    const size_t n = contenders.size();
    for (int r = 0; r < rounds; ++r)
      for (size_t i = 0; i < n; ++i) replay(contenders[(i + r) % n]);
  }

  std::vector<Contender> contenders;

 private:
  Context& ctx_;
  Shape shape_;
  Rotation inputs_;
  cudaEvent_t begin_, end_;
};

// Tiles not worth a timing.
bool plan_is_far(const Shape& s, int tile_m, int tile_n) {
  const double tiles = 1.0 * s.m * s.n / (tile_m * tile_n);
  return (tile_m == 128 && s.m <= 64) || (tile_m * tile_n < 128 * 128 && tiles > 4 * 132);
}

// The plans of every tile, the best four by one replay each.
std::vector<WgmmaPlan> screened(Context& ctx, const Shape& s) {
  const bool segmented = k_segments(s.n, s.k) > 1;
  std::vector<WgmmaPlan> plans;
  for (const auto& t : kTiles)
    for (const auto& c : kClusters) {
      if (!t[segmented ? 3 : 2] || plan_is_far(s, t[0], t[1])) continue;
      if ((s.silu && t[1] % 32 != 0) || c[0] * c[1] == 4) continue;
      plans.push_back({t[0], t[1], c[0], c[1], wgmma_group(t[0], c[0], s.k)});
    }
  Race race(ctx, s);
  for (const WgmmaPlan& plan : plans) race.add_plan(plan);
  race.run(2);
  std::vector<size_t> order(plans.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return race.contenders[a].median() < race.contenders[b].median();
  });
  std::vector<WgmmaPlan> best;
  for (size_t i = 0; i < std::min<size_t>(4, order.size()); ++i) best.push_back(plans[order[i]]);
  return best;
}

// Per shape: cuBLASLt's first choice (and its best of three), the picked plan, the best plan and
// both shares of cuBLASLt's first choice, then every contender by time.
void time_shapes(Context& ctx, const std::vector<Shape>& shapes, bool all_plans) {
  std::printf("%-28s %8s %8s | %8s %5s %5s %-20s | %8s %5s %-20s | others\n", "M x N x K", "lt us",
              "lt best", "us", "TF", "of lt", "picked", "us", "of lt", "best");
  for (const Shape& s : shapes) {
    const WgmmaPlan picked = plan_wgmma(ctx, s.m, s.n, s.k, s.silu);
    std::vector<WgmmaPlan> plans;
    if (all_plans) plans = screened(ctx, s);
    const lab::CublasLt lt(s.m, s.n, s.k, s.accumulate, s.silu ? 0 : 3);
    Race race(ctx, s);
    const size_t first = race.add_library(lt);
    race.add_plan(picked);
    if (all_plans) {
      for (WgmmaPlan variant : {picked, plans[0]}) {
        if (ceil_div(s.m, 128) < 32) continue;
        for (int rows : {1024, 2048, 4096, 8192}) {
          variant.group = rows / (variant.tile_m * variant.cluster_m);
          race.add_plan(variant);
        }
      }
      for (const WgmmaPlan& plan : plans) race.add_plan(plan);
    }
    race.run(7);
    auto faster = [](const Contender& a, const Contender& b) { return a.median() < b.median(); };
    auto begin = race.contenders.begin();
    const float lt_us = first ? begin->median() : 0;
    const float lt_best = first ? std::min_element(begin, begin + first, faster)->median() : 0;
    const Contender mine = begin[first];
    std::sort(begin + first, race.contenders.end(), faster);
    const Contender& best = begin[first];
    char title[64];
    std::snprintf(title, sizeof title, "%d x %d x %d%s%s", s.m, s.n, s.k, s.silu ? " silu" : "",
                  s.accumulate ? " acc" : "");
    std::printf("%-28s %8.2f %8.2f | %8.2f %5.0f %5.2f %-20s | %8.2f %5.2f %-20s |", title, lt_us,
                lt_best, mine.median(), 2e-6 * s.m * s.n * s.k / mine.median(),
                lt_us / mine.median(), mine.name.c_str(), best.median(), lt_us / best.median(),
                best.name.c_str());
    for (size_t i = first + 1; i < race.contenders.size(); ++i)
      std::printf(" %.2f %s", begin[i].median(), begin[i].name.c_str());
    std::printf("\n");
    std::fflush(stdout);
  }
}

// The shapes of performance.md, and what a decode step at batch 256 runs.
const std::vector<Shape> kShapes = {
    {32, 4096, 4096},
    {64, 4096, 4096},
    {64, 6144, 4096},
    {64, 28672, 4096},
    {64, 4096, 14336},
    {128, 4096, 4096},
    {256, 4096, 4096},
    {512, 4096, 4096},
    {2048, 4096, 4096},
    {128, 6144, 4096},
    {256, 6144, 4096},
    {128, 28672, 4096},
    {256, 28672, 4096},
    {256, 28672, 4096, true},
    {512, 28672, 4096},
    {2048, 28672, 4096},
    {128, 4096, 14336},
    {256, 4096, 14336, false, true},
    {512, 4096, 14336},
    {256, 128256, 4096},
    {128, 9728, 896},
    {512, 9728, 896},
    {2048, 9728, 896},
    {8192, 9728, 896},
    {128, 1152, 896},
    {256, 1152, 896},
    {512, 1152, 896},
    {2048, 1152, 896},
    {128, 896, 4864},
    {256, 896, 4864},
    {512, 896, 4864},
    {8192, 896, 4864},
    {256, 1536, 8960},
    {256, 2048, 8192},
};

// Whether plan_wgmma picks well at other numbers of rows.
std::vector<Shape> more_rows() {
  std::vector<Shape> shapes;
  for (int m : {72, 96, 160, 192, 320, 384, 768, 1024, 1536})
    for (const auto& [n, k] : {std::pair{4096, 4096}, {6144, 4096}, {28672, 4096}, {4096, 14336},
                               {9728, 896}, {896, 4864}})
      shapes.push_back({m, n, k, n == 28672 || n == 9728, k > n});
  return shapes;
}

std::vector<Shape> target_shapes() {
  std::vector<Shape> shapes;
  for (int m : {512, 2048, 8192})
    for (const auto& [n, k] : {std::pair{4096, 4096}, {28672, 4096}, {4096, 14336}, {6144, 4096},
                               {9728, 896}, {151936, 896}, {896, 4864}, {1152, 896}, {896, 896}})
      shapes.push_back({m, n, k});
  return shapes;
}

}  // namespace

int main(int argc, char** argv) {
  Context ctx = lab::make_context();
  try {
    for (int i = 1; i < argc; ++i) {
      if (!std::strcmp(argv[i], "check")) check_all(ctx);
      if (!std::strcmp(argv[i], "sweep")) time_shapes(ctx, kShapes, true);
      if (!std::strcmp(argv[i], "time")) time_shapes(ctx, kShapes, false);
      if (!std::strcmp(argv[i], "rows")) time_shapes(ctx, more_rows(), true);
      if (!std::strcmp(argv[i], "target")) time_shapes(ctx, target_shapes(), true);
    }
  } catch (const std::exception& e) {
    std::printf("FAIL %s\n", e.what());
    return 1;
  }
  return failures != 0;
}

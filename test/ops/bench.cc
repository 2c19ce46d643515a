#include "bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

#include "core/host_info.h"
#include "core/thread_pool.h"
#include "cpu/isa.h"
#include "paged.h"

namespace hotpath::test {
namespace {

double seconds_of(const std::function<void()>& f) {
  const auto t0 = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
}

// Reads by all threads, and multiply-adds in registers.
Peaks cpu_peaks(const BackendOptions& options) {
  const cpu::Kernels& kernels = cpu::pick_kernels(options.isa);
  ThreadPool pool(options.num_threads > 0 ? options.num_threads : usable_cpus());
  auto ops = create_ops("cpu", options);
  const int64_t n = int64_t{64} << 20, piece = int64_t{64} << 10;  // 256 MiB, in pieces of 256 KiB
  float* data = static_cast<float*>(ops->device().allocate(n * sizeof(float), true));
  std::fill(data, data + n, 1.0f);
  Peaks peaks;
  volatile float sink = 0;
  std::array<double, 16> reads;
  for (double& read : reads) {
    const double s = seconds_of([&] {
      pool.parallel_for(n, piece, [&](int64_t begin, int64_t end, int) {
        sink = kernels.sum_read(data + begin, end - begin);
      });
    });
    read = static_cast<double>(n) * 4e-9 / s;
  }
  std::ranges::sort(reads);
  peaks.read_gb_s = reads.back();
  peaks.read_median_gb_s = reads[reads.size() / 2];
  ops->device().free(data);
  const int64_t pieces = 16 * pool.num_threads();
  for (int i = 0; i < 8; ++i) {
    double flops = 0;
    const double s = seconds_of([&] {
      pool.parallel_for(pieces, 1, [&](int64_t, int64_t, int) { kernels.fma_probe(5000); });
    });
    flops = kernels.fma_probe(1) * 5000 * static_cast<double>(pieces);
    peaks.gflop_s = std::max(peaks.gflop_s, flops * 1e-9 / s);
  }
  return peaks;
}

// Bytes of weights and cache are read and hardly any written, so that the probe is a stream of
// reads: a decode GEMM over 1 GiB of weights. Arithmetic: a large square GEMM. Both by the device's
// own ops, for nothing else runs there; a slow op makes a low peak, which the figures then say.
Peaks device_peaks(const std::string& device, const BackendOptions& options) {
  Peaks peaks;
  OpLimits limits = kSmallLimits;
  constexpr int64_t kSide = 8192;
  limits.max_tokens = limits.max_seqlen = kSide, limits.max_columns = 2 * kSide;
  {
    Run run(device, options, limits, true);
    const int64_t n = int64_t{1} << 16;
    const Tensor w = run.random(run.activation(), {n, kSide}, 0.02f);
    const Tensor x = run.random(run.activation(), {1, kSide});
    const Tensor y = run.empty(run.activation(), {1, n});
    run.op([&](int) { run.ops().gemm(y, x, w, nullptr, false); });
    peaks.read_gb_s = static_cast<double>(w.bytes()) * 1e-3 / run.timing().best_us;
    peaks.read_median_gb_s = static_cast<double>(w.bytes()) * 1e-3 / run.timing().median_us;
  }
  {
    // Both ways: the table's rows are read and written once.
    Run run(device, options, limits, true);
    const Tensor table = run.random(run.activation(), {kSide, 2 * kSide});
    const Tensor out = run.empty(run.activation(), {kSide, 2 * kSide});
    PagedBatch paged({{0, static_cast<int>(kSide)}}, 16, run.rng());
    for (int i = 0; i < static_cast<int>(kSide); ++i) paged.input_ids[i] = i;
    const StepShape shape = run.ops().begin_step(paged.view());
    run.op([&](int) { run.ops().embed(out.rows(shape.tokens), table); });
    run.ops().end_step();
    const double bytes = 2 * static_cast<double>(table.bytes());
    peaks.read_gb_s = std::max(peaks.read_gb_s, bytes * 1e-3 / run.timing().best_us);
    peaks.read_median_gb_s =
        std::max(peaks.read_median_gb_s, bytes * 1e-3 / run.timing().median_us);
  }
  Run run(device, options, limits, true);
  const Tensor w = run.random(run.activation(), {kSide, kSide}, 0.02f);
  const Tensor x = run.random(run.activation(), {kSide, kSide});
  const Tensor y = run.empty(run.activation(), {kSide, kSide});
  run.op([&](int) { run.ops().gemm(y, x, w, nullptr, false); });
  peaks.gflop_s = 2e-3 * kSide * kSide * kSide / run.timing().best_us;
  return peaks;
}

}  // namespace

Peaks measure_peaks(const std::string& device, const BackendOptions& options) {
  return device == "cpu" ? cpu_peaks(options) : device_peaks(device, options);
}

// One line per case: best and median time, rates at the best, and the share of the machine's peak
// that the tighter of the two bounds leaves.
int run_bench(const std::vector<Case>& cases, const std::string& device, const std::string& filter,
              bool json, const BackendOptions& options) {
  Peaks peaks = measure_peaks(device, options);
  const DeviceInfo info = create_ops(device, options)->device().info();
  if (json)
    std::printf(
        "{\"device\":\"%s\",\"detail\":\"%s\",\"read_gb_s\":%.2f,\"read_median_gb_s\":%.2f,"
        "\"gflop_s\":%.1f,"
        "\"cases\":[",
        info.name.c_str(), info.detail.c_str(), peaks.read_gb_s, peaks.read_median_gb_s,
        peaks.gflop_s);
  else
    std::printf(
        "%s, %s: reads %.1f GB/s, computes %.0f GFLOP/s (probes)\n%-64s %10s %10s %8s %9s %s\n",
        info.name.c_str(), info.detail.c_str(), peaks.read_gb_s, peaks.gflop_s, "case", "best us",
        "median us", "GB/s", "GFLOP/s", "% of peak");
  bool first = true;
  const Where here = device == "cpu" ? Where::kCpu : Where::kCuda;
  for (const Case& c : cases) {
    if (c.mode == Mode::kTest || c.name.find(filter) == std::string::npos) continue;
    if (c.where != Where::kAnywhere && c.where != here) continue;
    Run run(device, options, c.limits, true);
    c.body(run);
    const Timing& t = run.timing();
    const double gb_s = c.bytes * 1e-3 / t.best_us, gflop_s = c.flops * 1e-3 / t.best_us;
    const double share = 100 * std::max(gb_s / peaks.read_gb_s, gflop_s / peaks.gflop_s);
    if (json)
      std::printf(
          "%s\n{\"name\":\"%s\",\"best_us\":%.1f,\"median_us\":%.1f,\"runs\":%d,"
          "\"gb_s\":%.2f,\"gflop_s\":%.2f,\"percent_of_peak\":%.0f}",
          first ? "" : ",", c.name.c_str(), t.best_us, t.median_us, t.runs, gb_s, gflop_s, share);
    else
      std::printf("%-64s %10.1f %10.1f %8.2f %9.1f %8.0f\n", c.name.c_str(), t.best_us, t.median_us,
                  gb_s, gflop_s, share);
    std::fflush(stdout);
    first = false;
  }
  if (json) std::printf("\n]}\n");
  return 0;
}

}  // namespace hotpath::test

#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"

// One table of cases for every op and every back end: each row says how to set an op up, what it
// moves and computes, and what it must give. Run plainly a case is a test against loops in double
// written here; with --bench it is timed.

namespace hotpath::test {

struct Failure {
  std::string why;
};

template <typename... Args>
void expect(bool condition, const Args&... why) {
  if (!condition) throw Failure{concat(why...)};
}

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }  // [0, 1)
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }
  float normal() {
    const float u = uniform() + 0x1p-25f, v = uniform();
    return std::sqrt(-2 * std::log(u)) * std::cos(6.2831853f * v);
  }
  std::vector<float> normals(int64_t n, float scale = 1) {
    std::vector<float> v(n);
    for (float& x : v) x = normal() * scale;
    return v;
  }

 private:
  uint64_t state_;
};

struct Timing {
  double best_us = 0, median_us = 0;
  int runs = 0;
};

// What a case's body gets: an Ops, memory on its device, and the checks.
class Run {
 public:
  Run(const std::string& device, const BackendOptions& options, bool bench);
  ~Run();

  Ops& ops() { return *ops_; }
  bool bench() const { return bench_; }
  Rng& rng() { return rng_; }
  const BackendOptions& options() const { return options_; }
  // Another Ops of the same kind with a number of threads; host-visible devices only.
  std::unique_ptr<Ops> with_threads(int n) const;

  // Device memory that lives as long as the run. skew: bytes by which the data miss alignment, as
  // in a mapped checkpoint.
  Tensor empty(DType dtype, std::initializer_list<int64_t> dims, int skew = 0);
  // Rounds the values to the dtype, in `values` too, so that a reference starts from what the op
  // sees.
  Tensor upload(std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims,
                int skew = 0);
  Tensor upload_ints(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims);
  // A matrix whose rows are `stride` elements apart; what lies between is NaN.
  Tensor upload_strided(std::vector<float>& values, DType dtype, int64_t rows, int64_t columns,
                        int64_t stride);
  std::vector<float> download(const Tensor& t);  // dense, whatever the stride
  std::vector<int32_t> download_ints(const Tensor& t);
  void write(const Tensor& t, const std::vector<float>& values);  // overwrites; dense
  DType activation() { return ops_->activation_dtype(); }

  // The op under test: once in a test, timed in a bench (i counts the calls).
  void op(const std::function<void(int i)>& call);
  const Timing& timing() const { return timing_; }

  // |actual - expected| <= tolerance * (1 + |expected|) everywhere, NaN nowhere.
  void close(const std::vector<float>& actual, const std::vector<double>& expected,
             double tolerance, const char* what);

 private:
  std::string device_;
  BackendOptions options_;
  std::unique_ptr<Ops> ops_;
  bool bench_;
  Rng rng_{1};
  std::vector<void*> memory_;
  Timing timing_;
};

// Bit for bit.
void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what);
float rounded(float v, DType dtype);

enum class Mode { kTest, kBench, kBoth };

struct Case {
  std::string name;
  double bytes = 0, flops = 0;  // what one call moves from memory and computes, for the bench
  Mode mode = Mode::kTest;
  std::function<void(Run&)> body;
};

// Each file of cases adds its rows.
void add_gemm_cases(std::vector<Case>& cases);
void add_row_cases(std::vector<Case>& cases);
void add_attention_cases(std::vector<Case>& cases);
void add_moe_cases(std::vector<Case>& cases);
void add_sample_cases(std::vector<Case>& cases);
// Cases that need no Ops and run once, not per instruction set.
void add_host_cases(std::vector<Case>& cases);

// Peaks of this machine, measured now with all threads.
struct Peaks {
  double read_gb_s = 0, gflop_s = 0;
  double read_median_gb_s = 0;
};
Peaks measure_peaks(const BackendOptions& options);

int run_bench(const std::vector<Case>& cases, const std::string& device, const std::string& filter,
              bool json, const BackendOptions& options);

}  // namespace hotpath::test

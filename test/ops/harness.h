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
  // Large amounts are drawn from a table of 2^16 normals: a nanosecond each.
  std::vector<float> normals(int64_t n, float scale = 1);

 private:
  uint64_t state_;
};

struct Timing {
  double best_us = 0, median_us = 0;
  int runs = 0;
};

// What Ops::reserve is told for a case that does not say more.
constexpr OpLimits kSmallLimits = {.max_tokens = 512,
                                   .max_seqs = 64,
                                   .max_seqlen = 1024,
                                   .max_logits = 64,
                                   .vocab_size = 1024,
                                   .max_columns = 8192,
                                   .num_experts = 0,
                                   .top_k = 0,
                                   .moe_intermediate = 0,
                                   .num_heads = 16,
                                   .head_dim = 128,
                                   .num_kv_heads = 2};

// What a case's body gets: an Ops, memory on its device, and the checks.
class Run {
 public:
  Run(const std::string& device, const BackendOptions& options, const OpLimits& limits, bool bench);
  ~Run();

  Ops& ops() { return *ops_; }
  bool bench() const { return bench_; }
  bool on_cpu() const { return device_ == "cpu"; }
  Rng& rng() { return rng_; }
  const OpLimits& limits() const { return limits_; }
  // The same back end with one thread and with three; none where threads mean nothing (CUDA).
  std::vector<std::unique_ptr<Ops>> other_threads() const;

  // Device memory that lives as long as the run. skew: bytes by which the data miss alignment, as
  // in a mapped checkpoint.
  Tensor empty(DType dtype, std::initializer_list<int64_t> dims, int skew = 0);
  // Rounds the values to the dtype, in `values` too, so that a reference starts from what the op
  // sees.
  Tensor upload(std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims,
                int skew = 0);
  Tensor upload_ints(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims);
  // A matrix whose rows are `stride` elements apart; what lies between is NaN, and so are
  // `spare_rows` rows that follow.
  Tensor upload_strided(std::vector<float>& values, DType dtype, int64_t rows, int64_t columns,
                        int64_t stride, int64_t spare_rows = 0);
  // For benches: normals times scale, the same few over and over.
  Tensor random(DType dtype, std::initializer_list<int64_t> dims, float scale = 1);
  std::vector<float> download(const Tensor& t);  // dense, whatever the stride
  std::vector<int32_t> download_ints(const Tensor& t);
  void write(const Tensor& t, const std::vector<float>& values);  // overwrites; dense
  DType activation() { return ops_->activation_dtype(); }
  // Returns once everything enqueued is done.
  void wait() { ops_->wait(ops_->ticket()); }

  // The op under test: once in a test, timed in a bench (i counts the calls).
  void op(const std::function<void(int i)>& call);
  const Timing& timing() const { return timing_; }

  // What a result may be off by, as a share of 1 + |expected|. Inputs were rounded to their dtypes
  // before the reference saw them, so that two things are left:
  //  - base, float arithmetic in an order of the back end's choosing, given for the CPU. A device's
  //    exp and rsqrt are a few ulp worse (4 times base); tensor cores also cut off, rather than
  //    round, what they add (8 times, with 16-bit activations);
  //  - `roundings` to the activation dtype, each of half an ulp: 2^-8 for bf16, which has 8
  //    significant bits, 2^-11 for f16, nothing for f32. One is that of the result; others are
  //    those that an op may make on the way (attention: the probabilities before they meet V;
  //    experts: the SwiGLU product; add_rmsnorm: the sum, which the norm may read before or after).
  double tolerance(double base, int roundings = 1) const;
  // |actual - expected| <= tolerance * (1 + |expected|) everywhere, NaN nowhere.
  void close(const std::vector<float>& actual, const std::vector<double>& expected,
             double tolerance, const char* what);
  // The same where `actual` is checked at some places only.
  void close_at(const std::vector<float>& actual, const std::vector<int64_t>& places,
                const std::vector<double>& expected, double tolerance, const char* what);

 private:
  void time_calls(const std::function<void(int)>& call);
  void time_batches(const std::function<void(int)>& call);

  std::string device_;
  BackendOptions options_;
  OpLimits limits_;
  std::unique_ptr<Ops> ops_;
  bool bench_;
  Rng rng_{1};
  std::vector<void*> memory_;
  Timing timing_;
};

// Bit for bit.
void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what);
// Rows [begin, begin + n) of a matrix; of one that was downloaded.
Tensor slice_rows(const Tensor& t, int64_t begin, int64_t n);
std::vector<float> slice_rows(const std::vector<float>& v, int64_t columns, int64_t begin,
                              int64_t n);
float rounded(float v, DType dtype);
// Places in a [rows, columns] matrix worth checking: all, or about `limit`, among them one in every
// row, one in every column, and the corners.
std::vector<int64_t> places_in(Rng& rng, int64_t rows, int64_t columns, int64_t limit);

enum class Mode { kTest, kBench, kBoth };
enum class Where { kAnywhere, kCpu, kCuda };

struct Case {
  std::string name;
  double bytes = 0, flops = 0;  // what one call moves from memory and computes, for the bench
  Mode mode = Mode::kTest;
  Where where = Where::kAnywhere;  // only benches are tied to a kind of device
  OpLimits limits = kSmallLimits;
  std::function<void(Run&)> body;
};

// Each file of cases adds its rows.
void add_gemm_cases(std::vector<Case>& cases);
void add_row_cases(std::vector<Case>& cases);
void add_attention_cases(std::vector<Case>& cases);
void add_moe_cases(std::vector<Case>& cases);
void add_sample_cases(std::vector<Case>& cases);
void add_step_cases(std::vector<Case>& cases);
void add_bench_cases(std::vector<Case>& cases);
// Cases that need no Ops and run once, not per variant.
void add_host_cases(std::vector<Case>& cases);

}  // namespace hotpath::test

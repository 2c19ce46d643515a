#include "harness.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <limits>

#include "core/half.h"

namespace hotpath::test {
namespace {

void encode(char* to, const float* values, int64_t n, DType dtype) {
  for (int64_t i = 0; i < n; ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(to + 4 * i, values + i, 4);
    } else {
      const uint16_t h = dtype == DType::kF16 ? float_to_f16(values[i]) : float_to_bf16(values[i]);
      std::memcpy(to + 2 * i, &h, 2);
    }
  }
}

float decode(const char* from, int64_t i, DType dtype) {
  if (dtype == DType::kF32) {
    float f;
    std::memcpy(&f, from + 4 * i, 4);
    return f;
  }
  uint16_t h;
  std::memcpy(&h, from + 2 * i, 2);
  return dtype == DType::kF16 ? f16_to_float(h) : bf16_to_float(h);
}

// Bytes from the first element to the last.
size_t span_bytes(const Tensor& t) {
  if (t.numel() == 0) return 0;
  const int64_t inner = t.numel() / t.dim(0);
  return static_cast<size_t>((t.dim(0) - 1) * t.row_stride + inner) * dtype_size(t.dtype);
}

}  // namespace

float rounded(float v, DType dtype) {
  char bytes[4];
  encode(bytes, &v, 1, dtype);
  return decode(bytes, 0, dtype);
}

Run::Run(const std::string& device, const BackendOptions& options, bool bench)
    : device_(device), options_(options), ops_(create_ops(device, options)), bench_(bench) {}

Run::~Run() {
  for (void* p : memory_) ops_->device().free(p);
}

std::unique_ptr<Ops> Run::with_threads(int n) const {
  BackendOptions options = options_;
  options.num_threads = n;
  return create_ops(device_, options);
}

Tensor Run::empty(DType dtype, std::initializer_list<int64_t> dims, int skew) {
  Tensor t(nullptr, dtype, dims);
  const size_t bytes = t.bytes() + skew;
  char* p = static_cast<char*>(ops_->device().allocate(bytes, false));
  memory_.push_back(p);
  if (!bench_) {  // all bits set is NaN in every float format: what an op leaves out shows
    const std::vector<char> ones(bytes, '\xff');
    ops_->device().copy_in(p, ones.data(), bytes);
  }
  t.data = p + skew;
  return t;
}

Tensor Run::upload(std::vector<float>& values, DType dtype, std::initializer_list<int64_t> dims,
                   int skew) {
  Tensor t = empty(dtype, dims, skew);
  expect(static_cast<int64_t>(values.size()) == t.numel(), "upload: wrong number of values");
  for (float& v : values) v = rounded(v, dtype);
  write(t, values);
  return t;
}

Tensor Run::upload_ints(const std::vector<int32_t>& values, std::initializer_list<int64_t> dims) {
  Tensor t = empty(DType::kI32, dims);
  ops_->device().copy_in(t.data, values.data(), t.bytes());
  return t;
}

Tensor Run::upload_strided(std::vector<float>& values, DType dtype, int64_t rows, int64_t columns,
                           int64_t stride) {
  for (float& v : values) v = rounded(v, dtype);
  Tensor wide = empty(dtype, {rows, stride});
  std::vector<float> padded(rows * stride, std::numeric_limits<float>::quiet_NaN());
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(values.begin() + i * columns, columns, padded.begin() + i * stride);
  write(wide, padded);
  return wide.columns(0, columns);
}

void Run::write(const Tensor& t, const std::vector<float>& values) {
  std::vector<char> bytes(values.size() * dtype_size(t.dtype));
  encode(bytes.data(), values.data(), static_cast<int64_t>(values.size()), t.dtype);
  ops_->device().copy_in(t.data, bytes.data(), bytes.size());
}

std::vector<float> Run::download(const Tensor& t) {
  std::vector<char> bytes(span_bytes(t));
  ops_->device().copy_out(bytes.data(), t.data, bytes.size());
  std::vector<float> out;
  out.reserve(t.numel());
  const int64_t inner = t.dim(0) ? t.numel() / t.dim(0) : 0;
  for (int64_t i = 0; i < t.dim(0); ++i)
    for (int64_t j = 0; j < inner; ++j)
      out.push_back(decode(bytes.data(), i * t.row_stride + j, t.dtype));
  return out;
}

std::vector<int32_t> Run::download_ints(const Tensor& t) {
  std::vector<int32_t> out(t.numel());
  ops_->device().copy_out(out.data(), t.data, t.bytes());
  return out;
}

void Run::op(const std::function<void(int)>& call) {
  if (!bench_) return call(0);
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  call(0);
  const auto start = Clock::now();
  // At least 5 calls, then until 0.4 s have gone: enough for a steady best on a shared machine.
  for (int i = 1; i <= 5 || (Clock::now() - start < std::chrono::milliseconds(400) && i < 20000);
       ++i) {
    const auto t0 = Clock::now();
    call(i);
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - t0).count());
  }
  std::sort(times.begin(), times.end());
  timing_ = {times.front(), times[times.size() / 2], static_cast<int>(times.size())};
}

void Run::close(const std::vector<float>& actual, const std::vector<double>& expected,
                double tolerance, const char* what) {
  expect(actual.size() == expected.size(), what, ": expected ", expected.size(),
         " values, received ", actual.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const double bound = tolerance * (1 + std::abs(expected[i]));
    expect(std::abs(actual[i] - expected[i]) <= bound, what, " at ", i, ": expected ", expected[i],
           " within ", bound, ", received ", actual[i]);
  }
}

void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  expect(a.size() == b.size(), what, ": sizes ", a.size(), " and ", b.size());
  for (size_t i = 0; i < a.size(); ++i)
    expect(std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i]), what, " at ", i, ": ",
           a[i], " and ", b[i], " differ");
}

}  // namespace hotpath::test

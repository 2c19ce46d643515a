#include "harness.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>

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

std::vector<float> Rng::normals(int64_t n, float scale) {
  std::vector<float> v(n);
  constexpr int64_t kTable = 1 << 16;
  if (n <= kTable) {
    for (float& x : v) x = normal() * scale;
    return v;
  }
  static const std::vector<float> table = [] {
    Rng rng(0);
    return rng.normals(kTable);
  }();
  for (int64_t i = 0; i < n;) {
    uint64_t bits = next();
    for (int64_t end = std::min(n, i + 4); i < end; ++i, bits >>= 16)
      v[i] = table[bits & (kTable - 1)] * scale;
  }
  return v;
}

Run::Run(const std::string& device, const BackendOptions& options, const OpLimits& limits,
         bool bench)
    : device_(device),
      options_(options),
      limits_(limits),
      ops_(create_ops(device, options)),
      bench_(bench) {
  ops_->reserve(limits_);
}

Run::~Run() {
  for (void* p : memory_) ops_->device().free(p);
}

std::vector<std::unique_ptr<Ops>> Run::other_threads() const {
  std::vector<std::unique_ptr<Ops>> others;
  if (!on_cpu()) return others;
  for (int n : {1, 3}) {
    BackendOptions options = options_;
    options.num_threads = n;
    others.push_back(create_ops(device_, options));
    others.back()->reserve(limits_);
  }
  return others;
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
                           int64_t stride, int64_t spare_rows) {
  for (float& v : values) v = rounded(v, dtype);
  Tensor wide = empty(dtype, {rows + spare_rows, stride});
  std::vector<float> padded(rows * stride, std::numeric_limits<float>::quiet_NaN());
  for (int64_t i = 0; i < rows; ++i)
    std::copy_n(values.begin() + i * columns, columns, padded.begin() + i * stride);
  write(wide.rows(rows), padded);
  return wide.columns(0, columns);
}

Tensor Run::random(DType dtype, std::initializer_list<int64_t> dims, float scale) {
  const Tensor t = empty(dtype, dims);
  const int64_t size = static_cast<int64_t>(dtype_size(dtype));
  const int64_t piece = std::min<int64_t>(t.numel(), int64_t{4} << 20);
  const std::vector<float> values = rng_.normals(piece, scale);
  std::vector<char> bytes(piece * size);
  encode(bytes.data(), values.data(), piece, dtype);
  for (int64_t at = 0; at < t.numel(); at += piece)
    ops_->device().copy_in(t.as<char>() + at * size, bytes.data(),
                           std::min(piece, t.numel() - at) * size);
  return t;
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
  if (ops_->asynchronous())
    time_batches(call);
  else
    time_calls(call);
}

namespace {

using Clock = std::chrono::steady_clock;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

Timing timing_of(std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  return {times.front(), times[times.size() / 2], static_cast<int>(times.size())};
}

}  // namespace

void Run::time_calls(const std::function<void(int)>& call) {
  std::vector<double> times;
  call(0);
  const auto start = Clock::now();
  // At least 5 calls, then until 0.4 s have gone: enough for a steady best on a shared machine.
  for (int i = 1; i <= 5 || (microseconds_since(start) < 4e5 && i < 20000); ++i) {
    const auto t0 = Clock::now();
    call(i);
    times.push_back(microseconds_since(t0));
  }
  timing_ = timing_of(times);
}

// What a call costs when the device never waits for the host: calls are enqueued back to back, and
// a batch of them lasts at least 2 ms, against which the wait at its end is nothing.
void Run::time_batches(const std::function<void(int)>& call) {
  int calls = 0;
  auto batch = [&](int n) {
    const auto t0 = Clock::now();
    for (int i = 0; i < n; ++i) call(calls++);
    wait();
    return microseconds_since(t0);
  };
  batch(2);
  const int n = static_cast<int>(std::clamp(2500 / std::max(1.0, batch(8) / 8), 1.0, 2000.0));
  std::vector<double> times;
  const auto start = Clock::now();
  while (times.size() < 5 || (microseconds_since(start) < 5e4 && times.size() < 25))
    times.push_back(batch(n) / n);
  timing_ = timing_of(times);
}

double Run::tolerance(double base, int roundings) const {
  if (on_cpu()) return base;
  switch (ops_->activation_dtype()) {
    case DType::kBF16:
      return 8 * base + roundings * 0x1p-8;
    case DType::kF16:
      return 8 * base + roundings * 0x1p-11;
    default:
      return 4 * base;
  }
}

void Run::close(const std::vector<float>& actual, const std::vector<double>& expected,
                double tolerance, const char* what) {
  expect(actual.size() == expected.size(), what, ": expected ", expected.size(),
         " values, received ", actual.size());
  std::vector<int64_t> places(actual.size());
  std::iota(places.begin(), places.end(), 0);
  close_at(actual, places, expected, tolerance, what);
}

void Run::close_at(const std::vector<float>& actual, const std::vector<int64_t>& places,
                   const std::vector<double>& expected, double tolerance, const char* what) {
  for (size_t i = 0; i < places.size(); ++i) {
    const float value = actual[places[i]];
    const double bound = tolerance * (1 + std::abs(expected[i]));
    expect(std::abs(value - expected[i]) <= bound, what, " at ", places[i], ": expected ",
           expected[i], " within ", bound, ", received ", value);
  }
}

void expect_same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  expect(a.size() == b.size(), what, ": sizes ", a.size(), " and ", b.size());
  for (size_t i = 0; i < a.size(); ++i)
    expect(std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i]), what, " at ", i, ": ",
           a[i], " and ", b[i], " differ");
}

Tensor slice_rows(const Tensor& t, int64_t begin, int64_t n) {
  Tensor part = t;
  part.data = t.as<char>() + begin * t.row_stride * static_cast<int64_t>(dtype_size(t.dtype));
  part.shape[0] = n;
  return part;
}

std::vector<float> slice_rows(const std::vector<float>& v, int64_t columns, int64_t begin,
                              int64_t n) {
  return {v.begin() + begin * columns, v.begin() + (begin + n) * columns};
}

std::vector<int64_t> places_in(Rng& rng, int64_t rows, int64_t columns, int64_t limit) {
  std::vector<int64_t> places;
  if (rows * columns <= limit) {
    places.resize(rows * columns);
    std::iota(places.begin(), places.end(), 0);
    return places;
  }
  auto random = [&](int64_t n) { return rng.below(static_cast<int>(n)); };
  for (int64_t i : {int64_t{0}, rows - 1})
    for (int64_t j : {int64_t{0}, columns - 1}) places.push_back(i * columns + j);
  for (int64_t i = 0; i < rows; ++i) places.push_back(i * columns + random(columns));
  for (int64_t j = 0; j < columns; ++j) places.push_back(random(rows) * columns + j);
  while (static_cast<int64_t>(places.size()) < limit)
    places.push_back(random(rows) * columns + random(columns));
  return places;
}

}  // namespace hotpath::test

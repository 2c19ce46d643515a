#include <atomic>
#include <bit>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "core/half.h"
#include "core/host_info.h"
#include "core/thread_pool.h"
#include "cpu/sampler.h"
#include "harness.h"

namespace hotpath::test {
namespace {

void expect_error(const char* code, const char* part, const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    expect(e.code() == code, "expected code ", code, ", received ", e.code(), ": ", e.what());
    expect(std::strstr(e.what(), part), "expected '", part, "' in: ", e.what());
    return;
  }
  throw Failure{concat("expected an error '", code, "'")};
}

void pool_covers(Run&) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    expect(pool.num_threads() == threads, "num_threads");
    for (int64_t n : {0, 1, 2, 7, 64, 1000})
      for (int64_t chunk : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> hits(n);
        pool.parallel_for(n, chunk, [&](int64_t begin, int64_t end, int thread) {
          expect(thread >= 0 && thread < threads && end - begin <= chunk && begin < end, "piece");
          for (int64_t i = begin; i < end; ++i) ++hits[i];
        });
        for (auto& h : hits) expect(h == 1, "each index once: received ", h.load());
      }
  }
}

void pool_many_loops(Run&) {
  ThreadPool pool(4);
  int64_t total = 0;
  for (int round = 0; round < 3000; ++round) {
    std::atomic<int64_t> sum{0};
    const int64_t n = round % 13;
    pool.parallel_for(n, 1, [&](int64_t begin, int64_t, int) { sum += begin + 1; });
    expect(sum == n * (n + 1) / 2, "round ", round, ": sum ", sum.load());
    total += sum;
    if (round % 500 == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // workers sleep
  }
  expect(total > 0, "no work was done");
}

void pool_throws(Run&) {
  ThreadPool pool(3);
  for (int round = 0; round < 200; ++round) {
    bool caught = false;
    try {
      pool.parallel_for(100, 1, [&](int64_t begin, int64_t, int) {
        if (begin == round % 100) throw std::runtime_error("piece");
      });
    } catch (const std::runtime_error& e) {
      caught = std::strcmp(e.what(), "piece") == 0;
    }
    expect(caught, "round ", round, ": expected the piece's exception");
    std::atomic<int> count{0};
    pool.parallel_for(50, 1, [&](int64_t, int64_t, int) { ++count; });
    expect(count == 50, "the loop after an exception: ", count.load(), " of 50");
  }
}

// Every half and a sweep of floats against rounding done in double.
void half_conversions(Run&) {
  auto same = [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  for (uint32_t u = 0; u < 65536; ++u) {
    const auto h = static_cast<uint16_t>(u);
    const int exponent = h >> 10 & 31, fraction = h & 1023;
    double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                       : exponent == 31 ? (fraction ? NAN : INFINITY)
                                        : std::ldexp(1024 + fraction, exponent - 25);
    const float want = static_cast<float>(h >> 15 ? -magnitude : magnitude);
    expect(same(f16_to_float(h), want), "f16 ", u, ": received ", f16_to_float(h));
    if (!std::isnan(want)) {
      expect(float_to_f16(want) == h, "f16 round trip of ", u);
      expect(same(bf16_to_float(float_to_bf16(bf16_to_float(h))), bf16_to_float(h)) ||
                 std::isnan(bf16_to_float(h)),
             "bf16 round trip of ", u);
    } else {
      expect(std::isnan(f16_to_float(float_to_f16(want))), "f16 NaN");
    }
  }
  for (uint64_t u = 0; u < 1ull << 32; u += 4099) {
    const float f = std::bit_cast<float>(static_cast<uint32_t>(u));
    if (std::isnan(f)) {
      expect(std::isnan(bf16_to_float(float_to_bf16(f))), "bf16 NaN");
      continue;
    }
    // Neighbours on the grid around |f|; the nearer wins, the even one on a tie.
    for (bool half : {true, false}) {
      auto decode = [&](uint32_t h) {
        return double{half ? f16_to_float(static_cast<uint16_t>(h))
                           : bf16_to_float(static_cast<uint16_t>(h))};
      };
      const uint32_t got = (half ? float_to_f16(f) : float_to_bf16(f)) & 0x7fffu;
      const uint32_t top = half ? 0x7c00u : 0x7f80u;
      const double limit = half ? 65520.0 : std::ldexp(511.0 / 256, 127);  // rounds to infinity
      const double a = std::abs(double{f});
      if (a >= limit) {
        expect(got == top, "expected infinity for ", f);
        continue;
      }
      expect(got < top, "expected finite for ", f);
      const double error = std::abs(decode(got) - a);
      for (uint32_t other : {got - 1, got + 1}) {
        if (other > top - 1) continue;
        const double d = std::abs(decode(other) - a);
        expect(error < d || (error == d && got % 2 == 0), half ? "f16" : "bf16", " rounding of ",
               f);
      }
    }
  }
}

void device_memory(Run& run) {
  Device& device = run.ops().device();
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, size_t{5} << 20}) {
    char* p = static_cast<char*>(device.allocate(bytes, true));
    expect(reinterpret_cast<uintptr_t>(p) % 64 == 0, "alignment of ", bytes, " bytes");
    std::vector<char> seen(bytes, 1), written(bytes, 7);
    device.copy_out(seen.data(), p, bytes);
    for (size_t i = 0; i < bytes; ++i) expect(seen[i] == 0, "zeroed at ", i);
    device.copy_in(p, written.data(), bytes);
    device.copy_out(seen.data(), p, bytes);
    expect(seen == written, "what was written comes back");
    device.free(p);
  }
  device.free(nullptr);
  expect(device.host_visible() == run.on_cpu(), "host_visible");
  // "needed ... , ... available" or "free": both numbers are there.
  expect_error("out_of_memory", "1125899906842624",
               [&] { device.allocate(size_t{1} << 50, true); });
}

void devices_listed(Run&) {
  const auto devices = list_devices();
  expect(!devices.empty() && devices[0].kind == "cpu", "expected the CPU first");
  const DeviceInfo& d = devices[0];
  expect(d.total_bytes > 0 && d.free_bytes > 0 && d.free_bytes <= d.total_bytes && d.index == 0,
         "memory: ", d.free_bytes, " of ", d.total_bytes);
  expect(!d.name.empty() && d.unavailable.empty(), "name: ", d.name);
  expect(d.detail.find(concat(usable_cpus(), " thread")) != std::string::npos, d.detail);
  expect(usable_cpus() >= 1, "usable cpus");
  for (size_t i = 1; i < devices.size(); ++i)
    expect(devices[i].kind == "cuda" && (!devices[i].unavailable.empty() ||
                                         (devices[i].total_bytes > 0 && !devices[i].name.empty())),
           "device ", i, ": ", devices[i].kind, " ", devices[i].name);
}

void unknown_devices(Run&) {
  expect_error("device_unavailable", "cuda:99", [] { create_ops("cuda:99", {}); });
  expect_error("device_unavailable", "received 'tpu'", [] { create_ops("tpu", {}); });
  BackendOptions isa;
  isa.isa = "mmx";
  expect_error("device_unavailable", "received 'mmx'", [&] { create_ops("cpu", isa); });
  BackendOptions threads;
  threads.num_threads = -1;
  expect_error("invalid_request", "received -1", [&] { create_ops("cpu", threads); });
}

// Philox4x32-10's published answer for key 0, counter 0 begins 6627e8d5 e169c58d.
void generator(Run&) {
  const uint64_t bits = 0xe169c58d6627e8d5ull;
  const double first = static_cast<double>(bits >> 11) / 9007199254740992.0;
  expect(cpu::uniform(0, 0) == first, "expected ", first, ", received ", cpu::uniform(0, 0));
  double sum = 0;
  for (int i = 0; i < 20000; ++i) {
    const double u = cpu::uniform(i / 100, i % 100);
    expect(u >= 0 && u < 1, "range: ", u);
    sum += u;
  }
  expect(std::abs(sum / 20000 - 0.5) < 0.01, "mean ", sum / 20000);
}

}  // namespace

void add_host_cases(std::vector<Case>& cases) {
  auto add = [&](const char* name, void (*body)(Run&)) {
    Case c;
    c.name = name;
    c.body = body;
    cases.push_back(c);
  };
  add("thread pool hands out each index once", pool_covers);
  add("thread pool runs many small loops", pool_many_loops);
  add("thread pool passes exceptions on", pool_throws);
  add("half conversions round to nearest even", half_conversions);
  add("device memory", device_memory);
  add("devices are listed", devices_listed);
  add("unknown devices and options", unknown_devices);
  add("sample generator is Philox4x32-10", generator);
}

}  // namespace hotpath::test

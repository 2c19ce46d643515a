#pragma once

#include "harness.h"

namespace hotpath::test {

// What this machine reaches, measured now: the CPU with all threads, a device by its own ops.
struct Peaks {
  double read_gb_s = 0, gflop_s = 0;
  double read_median_gb_s = 0;
};
Peaks measure_peaks(const std::string& device, const BackendOptions& options);

// The cases that have a bench for this kind of device, one line each or one JSON object.
int run_bench(const std::vector<Case>& cases, const std::string& device, const std::string& filter,
              bool json, const BackendOptions& options);

}  // namespace hotpath::test

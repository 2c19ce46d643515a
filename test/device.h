#pragma once

// Which device the native test programs run on, and whether it can be used: the C++ side of
// test/device.ts.

#include <cstdlib>
#include <string>

#include "core/error.h"
#include "ops/device.h"

namespace hotpath::test {

// DEVICE as npm test takes it: "cpu" (also when unset), "cuda" (the first) or "cuda:<index>".
inline std::string device_of_environment() {
  const char* device = std::getenv("DEVICE");
  if (!device || !*device) return "cpu";
  return std::string(device) == "cuda" ? "cuda:0" : device;
}

// Why nothing can run on the device here; empty when it can.
inline std::string why_unavailable(const std::string& device) {
  std::string seen;
  for (const DeviceInfo& d : list_devices()) {
    const std::string name = d.kind == "cpu" ? "cpu" : concat(d.kind, ":", d.index);
    if (name == device) return d.unavailable;
    seen += concat(seen.empty() ? "" : ", ", name,
                   d.unavailable.empty() ? "" : concat(" (", d.unavailable, ")"));
  }
  return concat(device, " is none of the devices here: ", seen);
}

}  // namespace hotpath::test

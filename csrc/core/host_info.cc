#include "core/host_info.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

namespace hotpath {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

#if defined(__linux__)

std::optional<std::string> read_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!in || !std::getline(in, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> parse_int(const std::string& s) {
  try {
    return std::stoll(s);
  } catch (const std::exception&) {
    return std::nullopt;  // "max", or a number beyond 64 bits: no limit
  }
}

std::optional<int64_t> read_int(const std::string& path) {
  auto line = read_line(path);
  return line ? parse_int(*line) : std::nullopt;
}

// "key value" lines (memory.stat) or "Key:  value kB" lines (/proc/meminfo).
std::optional<int64_t> read_key(const std::string& path, const std::string& key) {
  std::ifstream in(path);
  std::string name;
  int64_t value = 0;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    if (fields >> name >> value && name == key) return value;
  }
  return std::nullopt;
}

// Every directory whose limits apply to this process in one hierarchy: its own group and all above.
// controller: "" for cgroup v2, else the v1 controller. Inside a container the group's own path is
// often not visible, only the mount's root is: that is in the list too.
std::vector<std::string> cgroup_dirs(const std::string& controller) {
  std::ifstream in("/proc/self/cgroup");
  std::string path;
  for (std::string line; std::getline(in, line);) {  // "<id>:<controllers>:<path>"
    const size_t a = line.find(':'), b = line.find(':', a + 1);
    if (a == std::string::npos || b == std::string::npos) continue;
    const std::string names = "," + line.substr(a + 1, b - a - 1) + ",";
    if (controller.empty() ? names == ",,"
                           : names.find("," + controller + ",") != std::string::npos)
      path = line.substr(b + 1);
  }
  const std::string root = "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
  std::vector<std::string> dirs;
  while (path.size() > 1) {
    dirs.push_back(root + path);
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
  dirs.push_back(root);
  return dirs;
}

double cgroup_cpus() {
  double cpus = std::numeric_limits<double>::infinity();
  for (const auto& dir : cgroup_dirs("")) {
    const auto line = read_line(dir + "/cpu.max");  // "max 100000" or "150000 100000"
    if (!line) continue;
    std::istringstream fields(*line);
    double quota = 0, period = 0;
    if (fields >> quota >> period && period > 0) cpus = std::min(cpus, quota / period);
  }
  for (const auto& dir : cgroup_dirs("cpu")) {
    const auto quota = read_int(dir + "/cpu.cfs_quota_us");
    const auto period = read_int(dir + "/cpu.cfs_period_us");
    if (quota && period && *quota > 0 && *period > 0)
      cpus = std::min(cpus, static_cast<double>(*quota) / static_cast<double>(*period));
  }
  return cpus;
}

// The tightest memory limit and what is left below it. Cached file pages that can be dropped do not
// count as used.
void cgroup_memory(int64_t& limit, int64_t& left) {
  auto consider = [&](std::optional<int64_t> max, std::optional<int64_t> used, int64_t cache) {
    if (!max || !used || *max <= 0) return;
    limit = std::min(limit, *max);
    left = std::min(left, std::max<int64_t>(0, *max - std::max<int64_t>(0, *used - cache)));
  };
  for (const auto& dir : cgroup_dirs(""))
    consider(read_int(dir + "/memory.max"), read_int(dir + "/memory.current"),
             read_key(dir + "/memory.stat", "inactive_file").value_or(0));
  for (const auto& dir : cgroup_dirs("memory"))
    consider(read_int(dir + "/memory.limit_in_bytes"), read_int(dir + "/memory.usage_in_bytes"),
             read_key(dir + "/memory.stat", "total_inactive_file").value_or(0));
}

#endif

}  // namespace

int usable_cpus() {
  int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  const double quota = cgroup_cpus();
  if (quota < cpus) cpus = std::max(1, static_cast<int>(std::ceil(quota)));
#endif
  return cpus;
}

int64_t total_memory() {
#if defined(__linux__)
  const int64_t physical = read_key("/proc/meminfo", "MemTotal:").value_or(0) * 1024;
  int64_t limit = kNoLimit, left = kNoLimit;
  cgroup_memory(limit, left);
  return std::min(physical, limit);
#elif defined(__APPLE__)
  int64_t bytes = 0;
  size_t size = sizeof bytes;
  return sysctlbyname("hw.memsize", &bytes, &size, nullptr, 0) == 0 ? bytes : 0;
#else
  return 0;
#endif
}

int64_t available_memory() {
#if defined(__linux__)
  const auto physical = read_key("/proc/meminfo", "MemAvailable:");
  int64_t limit = kNoLimit, left = kNoLimit;
  cgroup_memory(limit, left);
  return std::min(physical ? *physical * 1024 : kNoLimit, left);
#elif defined(__APPLE__)
  vm_statistics64_data_t vm{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  vm_size_t page = 0;
  host_page_size(mach_host_self(), &page);
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&vm),
                        &count) != KERN_SUCCESS)
    return kNoLimit;
  return static_cast<int64_t>(vm.free_count + vm.inactive_count + vm.purgeable_count) *
         static_cast<int64_t>(page);
#else
  return kNoLimit;
#endif
}

std::string cpu_name() {
#if defined(__linux__)
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
#elif defined(__APPLE__)
  char name[256] = {};
  size_t size = sizeof name - 1;
  if (sysctlbyname("machdep.cpu.brand_string", name, &size, nullptr, 0) == 0) return name;
#endif
  return "CPU";
}

}  // namespace hotpath

// hotpath_ops [--list] [--filter text] [--device cpu] [--threads n] [--isa name] [--bench [--json]]
// Without --bench: one line per case, "ok <name>" or "not ok <name>: why"; exit code 1 if any
// failed.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "harness.h"

namespace {

using namespace hotpath;
using namespace hotpath::test;

struct Arguments {
  bool list = false, bench = false, json = false;
  std::string filter, device = "cpu";
  BackendOptions options;
};

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    auto value = [&]() -> std::string {
      if (++i >= argc) fail("invalid_request", arg, ": expected a value");
      return argv[i];
    };
    if (arg == "--list")
      a.list = true;
    else if (arg == "--bench")
      a.bench = true;
    else if (arg == "--json")
      a.json = true;
    else if (arg == "--filter")
      a.filter = value();
    else if (arg == "--device")
      a.device = value();
    else if (arg == "--isa")
      a.options.isa = value();
    else if (arg == "--threads")
      a.options.num_threads = std::atoi(value().c_str());
    else
      fail("invalid_request",
           "expected --list, --bench, --json, --filter, --device, --isa or "
           "--threads, received '",
           arg, "'");
  }
  return a;
}

// The instruction sets that can be had here; for other devices just the device itself.
std::vector<std::string> variants(const Arguments& a) {
  if (a.device != "cpu" || !a.options.isa.empty()) return {a.options.isa};
  std::vector<std::string> found;
  for (const char* isa : {"baseline", "avx2", "avx512", "neon"}) {
    BackendOptions options = a.options;
    options.isa = isa;
    try {
      create_ops("cpu", options);
      found.push_back(isa);
    } catch (const Error&) {  // not on this machine
    }
  }
  return found;
}

std::string run_case(const Case& c, const Arguments& a, const BackendOptions& options) {
  try {
    Run run(a.device, options, false);
    c.body(run);
    return "";
  } catch (const Failure& f) {
    return f.why;
  } catch (const std::exception& e) {
    return concat("threw: ", e.what());
  }
}

int run_tests(const std::vector<Case>& cases, const Arguments& a, const std::string& variant,
              bool name_variant) {
  int failed = 0;
  BackendOptions options = a.options;
  options.isa = variant;
  if (options.num_threads == 0) options.num_threads = 2;  // the same everywhere, and more than one
  for (const Case& c : cases) {
    const std::string name = name_variant ? concat(c.name, " [", variant, "]") : c.name;
    if (c.mode == Mode::kBench || name.find(a.filter) == std::string::npos) continue;
    if (a.list) {
      std::printf("%s\n", name.c_str());
      continue;
    }
    const std::string why = run_case(c, a, options);
    if (why.empty())
      std::printf("ok %s\n", name.c_str());
    else
      std::printf("not ok %s: %s\n", name.c_str(), why.c_str());
    std::fflush(stdout);
    failed += !why.empty();
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments a = parse(argc, argv);
    std::vector<Case> cases, host_cases;
    add_gemm_cases(cases);
    add_row_cases(cases);
    add_attention_cases(cases);
    add_moe_cases(cases);
    add_sample_cases(cases);
    add_host_cases(host_cases);
    if (a.bench) return run_bench(cases, a.device, a.filter, a.json, a.options);
    int failed = run_tests(host_cases, a, a.options.isa, false);
    for (const std::string& variant : variants(a))
      failed += run_tests(cases, a, variant, !variant.empty());
    return failed ? 1 : 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "hotpath_ops: %s\n", e.what());
    return 2;
  }
}

// hotpath_ops [--list] [--filter text] [--device cpu|cuda:0] [--threads n] [--isa name]
//             [--activations bf16|f16|f32] [--bench [--json]]
// Without --bench: one line per case, "ok <name>", "not ok <name>: why" or, where the device cannot
// be used, "skip <name>: why"; exit code 1 if any failed. The device is DEVICE's unless said.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "../device.h"
#include "bench.h"
#include "core/error.h"
#include "harness.h"

namespace {

using namespace hotpath;
using namespace hotpath::test;

struct Arguments {
  bool list = false, bench = false, json = false, activations = false;
  std::string filter, device = device_of_environment();
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
    else if (arg == "--activations")
      a.options.activation_dtype = value(), a.activations = true;
    else if (arg == "--threads")
      a.options.num_threads = std::atoi(value().c_str());
    else
      fail("invalid_request",
           "expected --list, --bench, --json, --filter, --device, --isa, --activations or "
           "--threads, received '",
           arg, "'");
  }
  if (a.options.num_threads == 0 && !a.bench)
    a.options.num_threads = 2;  // the same everywhere, and more than one
  return a;
}

struct Variant {
  std::string name;
  BackendOptions options;
};

// CPU: the instruction sets that can be had here. CUDA: dtypes of activations, and the kernels for
// every architecture besides those for this one. Or the one that was asked for.
std::vector<Variant> variants(const Arguments& a) {
  std::vector<Variant> found;
  auto add = [&](const std::string& name, const std::string& isa, const std::string& activations) {
    BackendOptions options = a.options;
    options.isa = isa, options.activation_dtype = activations;
    found.push_back({name, options});
  };
  if (!a.options.isa.empty() || a.activations) {
    const std::string& isa = a.options.isa;
    const std::string& activations = a.options.activation_dtype;
    add(a.device == "cpu" ? isa
        : isa.empty()     ? activations
                          : concat(activations, " ", isa),
        isa, activations);
  } else if (a.device == "cpu") {
    for (const char* isa : {"baseline", "avx2", "avx512", "neon"}) {
      BackendOptions options = a.options;
      options.isa = isa;
      try {
        create_ops("cpu", options);
        add(isa, isa, a.options.activation_dtype);
      } catch (const Error&) {  // not on this machine
      }
    }
  } else {
    for (const char* activations : {"bf16", "f16", "f32"}) add(activations, "", activations);
    add("bf16 portable", "portable", "bf16");
  }
  return found;
}

std::string run_case(const Case& c, const Arguments& a, const BackendOptions& options) {
  try {
    Run run(a.device, options, c.limits, false);
    c.body(run);
    return "";
  } catch (const Failure& f) {
    return f.why;
  } catch (const std::exception& e) {
    return concat("threw: ", e.what());
  }
}

// unavailable: why the device cannot be used, or empty.
int run_tests(const std::vector<Case>& cases, const Arguments& a, const Variant& variant,
              const std::string& unavailable) {
  int failed = 0;
  for (const Case& c : cases) {
    const std::string name =
        variant.name.empty() ? c.name : concat(c.name, " [", variant.name, "]");
    if (c.mode == Mode::kBench || name.find(a.filter) == std::string::npos) continue;
    if (a.list || !unavailable.empty()) {
      if (a.list)
        std::printf("%s\n", name.c_str());
      else
        std::printf("skip %s: %s\n", name.c_str(), unavailable.c_str());
      continue;
    }
    const std::string why = run_case(c, a, variant.options);
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
    add_step_cases(cases);
    add_bench_cases(cases);
    add_host_cases(host_cases);
    const std::string unavailable = why_unavailable(a.device);
    if (a.bench) {
      if (!unavailable.empty()) fail("device_unavailable", a.device, ": ", unavailable);
      return run_bench(cases, a.device, a.filter, a.json, a.options);
    }
    int failed = run_tests(host_cases, a, {"", a.options}, unavailable);
    for (const Variant& variant : variants(a)) failed += run_tests(cases, a, variant, unavailable);
    return failed ? 1 : 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "hotpath_ops: %s\n", e.what());
    return 2;
  }
}

#include "harness.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "../device.h"

namespace hotpath::test {

namespace {

struct Test {
  const char* name;
  TestFunction function;
};

std::vector<Test>& tests() {
  static std::vector<Test> list;
  return list;
}

bool run(const Test& test) {
  std::string message;
  try {
    test.function();
    std::printf("ok   %s\n", test.name);
    std::fflush(stdout);
    return true;
  } catch (const Skip& e) {
    std::printf("skip %s: %s\n", test.name, e.what());
    std::fflush(stdout);
    return true;
  } catch (const std::exception& e) {
    message = e.what();
  } catch (...) {
    message = "an exception that is not a std::exception";
  }
  std::printf("FAIL %s\n     %s\n", test.name, message.c_str());
  std::fflush(stdout);
  return false;
}

}  // namespace

bool add_test(const char* name, TestFunction function) {
  tests().push_back({name, function});
  return true;
}

std::string device_under_test() {
  const std::string device = device_of_environment();
  if (const std::string why = why_unavailable(device); !why.empty()) throw Skip(why);
  return device;
}

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const Test& test : tests()) std::printf("%s\n", test.name);
    return 0;
  }
  int failed = 0, ran = 0;
  for (const Test& test : tests()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted |= std::strcmp(argv[i], test.name) == 0;
    if (!wanted) continue;
    ++ran;
    failed += !run(test);
  }
  if (ran < argc - 1 || ran == 0) {
    std::printf("FAIL: of the tests asked for, only %d exist\n", ran);
    return 2;
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace hotpath::test

int main(int argc, char** argv) { return hotpath::test::main(argc, argv); }

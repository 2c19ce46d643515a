#pragma once

// A test harness of one page: TEST(name) { ... } registers, EXPECT and friends throw with file and
// line. `hotpath_native_tests` runs all; `--list` prints the names; names as arguments run those.
// Tests of a real model run on DEVICE (see test/device.h) and are skipped where it cannot be used.

#include <sstream>
#include <stdexcept>
#include <string>

#include "core/error.h"

namespace hotpath::test {

using TestFunction = void (*)();
bool add_test(const char* name, TestFunction function);

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Thrown by a test that cannot run here; the message says why.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The device that tests of a real model run on; throws Skip where it cannot be used.
std::string device_under_test();

template <typename... Args>
[[noreturn]] void fail_at(const char* file, int line, const Args&... args) {
  throw Failure(concat(file, ":", line, ": ", args...));
}

// Runs f, which must throw hotpath::Error with this code and a message that contains the text.
template <typename F>
void expect_error(const char* file, int line, const std::string& code, const std::string& text,
                  F&& f) {
  try {
    f();
  } catch (const Error& e) {
    if (e.code() != code)
      fail_at(file, line, "expected code ", code, ", received ", e.code(), ": ", e.what());
    if (std::string(e.what()).find(text) == std::string::npos)
      fail_at(file, line, "expected a message with '", text, "', received: ", e.what());
    return;
  }
  fail_at(file, line, "expected an Error with code ", code, ", but nothing was thrown");
}

}  // namespace hotpath::test

#define TEST(name)                                                                               \
  static void test_##name();                                                                     \
  [[maybe_unused]] static const bool added_##name = hotpath::test::add_test(#name, test_##name); \
  static void test_##name()

// EXPECT(condition, parts of a message...)
#define EXPECT(condition, ...)                                          \
  do {                                                                  \
    if (!(condition))                                                   \
      hotpath::test::fail_at(__FILE__, __LINE__, #condition,            \
                             " is false; " __VA_OPT__(, ) __VA_ARGS__); \
  } while (0)

#define EXPECT_EQ(actual, expected)                                                                \
  do {                                                                                             \
    const auto actual_ = (actual);                                                                 \
    const auto expected_ = (expected);                                                             \
    if (!(actual_ == expected_))                                                                   \
      hotpath::test::fail_at(__FILE__, __LINE__, #actual, ": expected ", expected_, ", received ", \
                             actual_);                                                             \
  } while (0)

#define EXPECT_ERROR(code, text, ...) \
  hotpath::test::expect_error(__FILE__, __LINE__, code, text, [&] { __VA_ARGS__; })

#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hotpath::grammar {

struct ByteRange {
  uint8_t lo, hi;
};

// A run of byte ranges: the byte strings that have their k-th byte in ranges[k].
struct ByteRanges {
  std::array<ByteRange, 4> ranges;
  uint8_t length;
};

// Appends disjoint runs that together match the UTF-8 of all code points in [lo, hi]. Surrogates,
// which have no UTF-8, are left out.
void utf8_ranges(uint32_t lo, uint32_t hi, std::vector<ByteRanges>& out);

void append_utf8(std::string& out, uint32_t code_point);

// Reads one code point at `at` and moves on. False: no valid UTF-8 there (at is left alone).
bool read_utf8(std::string_view text, size_t& at, uint32_t& code_point);

}  // namespace hotpath::grammar

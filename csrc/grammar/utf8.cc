#include "grammar/utf8.h"

#include <algorithm>

namespace hotpath::grammar {

namespace {

constexpr std::array<uint32_t, 4> kLast = {0x7f, 0x7ff, 0xffff, 0x10ffff};  // of 1, 2, 3, 4 bytes

// [lo, hi] is of one length. Cuts it until all low continuation bytes run over their whole range
// or are the same at both ends.
void split(uint32_t lo, uint32_t hi, int length, std::vector<ByteRanges>& out) {
  for (int tail = 1; tail < length; ++tail) {
    const uint32_t mask = (1u << (6 * tail)) - 1;
    if ((lo & ~mask) == (hi & ~mask)) break;
    if ((lo & mask) != 0) {
      split(lo, lo | mask, length, out);
      return split((lo | mask) + 1, hi, length, out);
    }
    if ((hi & mask) != mask) {
      split(lo, (hi & ~mask) - 1, length, out);
      return split(hi & ~mask, hi, length, out);
    }
  }
  std::string a, b;
  append_utf8(a, lo);
  append_utf8(b, hi);
  ByteRanges run{.ranges = {}, .length = static_cast<uint8_t>(length)};
  for (int i = 0; i < length; ++i)
    run.ranges[i] = {static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i])};
  out.push_back(run);
}

}  // namespace

void utf8_ranges(uint32_t lo, uint32_t hi, std::vector<ByteRanges>& out) {
  if (lo <= 0xdfff && hi >= 0xd800) {
    if (lo < 0xd800) utf8_ranges(lo, 0xd7ff, out);
    if (hi > 0xdfff) utf8_ranges(0xe000, hi, out);
    return;
  }
  uint32_t first = 0;
  for (int length = 1; length <= 4; ++length) {
    const uint32_t last = kLast[length - 1];
    if (lo <= last && hi >= first)
      split(std::max(lo, first), std::min(hi, last), length, out);
    first = last + 1;
  }
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xe0 | c >> 12);
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
    }
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

bool read_utf8(std::string_view text, size_t& at, uint32_t& code_point) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (at >= text.size()) return false;
  const uint32_t lead = byte(at);
  const int length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3
                     : lead < 0xf5 ? 4 : 0;
  if (length == 0 || at + length > text.size()) return false;
  uint32_t c = length == 1 ? lead : lead & (0xff >> (length + 1));
  for (int i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return false;
    c = c << 6 | (byte(at + i) & 0x3f);
  }
  if (length > 1 && (c <= kLast[length - 2] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)))
    return false;
  code_point = c;
  at += length;
  return true;
}

}  // namespace hotpath::grammar

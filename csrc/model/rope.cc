#include "model/rope.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace hotpath {

std::vector<float> rope_inv_freq(const RopeSpec& spec) {
  const int half = spec.rotary_dim / 2;
  std::vector<float> inv_freq(half);
  for (int i = 0; i < half; ++i)
    inv_freq[i] = static_cast<float>(
        1.0 / std::pow(static_cast<double>(spec.theta), 2.0 * i / spec.rotary_dim));
  if (spec.scaling == "none") return inv_freq;
  if (spec.scaling == "linear") {
    for (float& f : inv_freq) f /= spec.factor;
    return inv_freq;
  }
  if (spec.scaling != "llama3")
    fail("config_unsupported", "rope scaling: expected none, linear or llama3, received ",
         spec.scaling);
  // Long wavelengths are stretched by factor, short ones kept, those between blended.
  const double low_wavelength = spec.original_max_position / double{spec.low_freq_factor};
  const double high_wavelength = spec.original_max_position / double{spec.high_freq_factor};
  for (float& f : inv_freq) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / double{spec.factor});
      continue;
    }
    const double smooth = (spec.original_max_position / wavelength - spec.low_freq_factor) /
                          (double{spec.high_freq_factor} - spec.low_freq_factor);
    f = static_cast<float>((1.0 - smooth) * f / spec.factor + smooth * f);
  }
  return inv_freq;
}

std::vector<float> rope_table(const RopeSpec& spec, int64_t num_positions) {
  const std::vector<float> inv_freq = rope_inv_freq(spec);
  const int64_t half = static_cast<int64_t>(inv_freq.size());
  std::vector<float> table(num_positions * half * 2);
  for (int64_t position = 0; position < num_positions; ++position) {
    float* row = table.data() + position * half * 2;
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * inv_freq[i];
      row[i] = static_cast<float>(std::cos(double{angle}));
      row[half + i] = static_cast<float>(std::sin(double{angle}));
    }
  }
  return table;
}

}  // namespace hotpath

#pragma once

#include <vector>

#include "model/spec.h"

namespace hotpath {

// Cosines and sines for positions [0, num_positions): f32 [num_positions, rotary_dim], a row being
// rotary_dim/2 cosines and then as many sines.
//
// inv_freq and the angle are rounded to float as transformers does it: at position 100,000 a float
// angle is off by up to 4e-3, and checkpoints were trained and are judged with exactly that.
std::vector<float> rope_table(const RopeSpec& spec, int64_t num_positions);

// The rotary_dim/2 inverse frequencies, scaling applied. Sources: Llama 3.1's reference code for
// "llama3".
std::vector<float> rope_inv_freq(const RopeSpec& spec);

}  // namespace hotpath

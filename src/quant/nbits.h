// Weights of matrix products as 8- or 4-bit integers with scales, as matmul_nbits has them.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace tenon::quant {

struct NbitsWeights {
  Tensor integers;  // i8 [k, n], or u8 [k / 2, n] of pairs
  Tensor scales;    // f32 [groups, n]
};

// Of w [k, n] times `factor`. 8 bits: a scale per column; 4 bits: one per column and 32 rows, the
// one of several that leaves the least squared error. k must be a multiple of 32 with 4 bits.
Result<NbitsWeights> nbits_weights(const Tensor& w, int bits, double factor = 1);
inline constexpr int64_t kNbitsGroup = 32;

// w [n, k] as [k, n].
Result<Tensor> transposed_weights(const Tensor& w);

}  // namespace tenon::quant

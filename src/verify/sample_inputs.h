// Inputs made up from a seed.
#pragma once

#include <span>
#include <vector>

#include "runtime/model.h"

namespace tenon {

// Sizes for dimensions that are open: the first of an input, and the others.
struct OpenSizes {
  int64_t batch = 1;
  int64_t other = 1;
};

// Inputs of the declared types; a dimension of one name has one size. Real numbers are in [0, 1),
// from the seed; integers are 0, booleans false, strings empty. Error: unsupported for an input
// without a rank or of lists.
Result<std::vector<Tensor>> sample_inputs(std::span<const runtime::PortInfo> ports, OpenSizes sizes,
                                          uint32_t seed = 1);

}  // namespace tenon

// Inputs made up from a seed.
#pragma once

#include <span>
#include <vector>

#include "runtime/model.h"

namespace tenon {

// Sizes for dimensions that are open: the first of an input, height and width of images, and the
// others. Images are inputs of rank 4 with 1, 3 or 4 channels last, or 3 behind the first
// dimension.
struct OpenSizes {
  int64_t batch = 1;
  int64_t other = 1;
  int64_t image = other;
};
inline constexpr int64_t kUsualImage = 224;

// Inputs of the declared types; a dimension of one name has one size. Real numbers are in [0, 1),
// from the seed; integers are 0 and booleans false, or 0 and 1 at random for `bits`; strings are
// empty. Error: unsupported for an input without a rank or of lists.
Result<std::vector<Tensor>> sample_inputs(std::span<const runtime::PortInfo> ports, OpenSizes sizes,
                                          uint32_t seed = 1, bool bits = false);

}  // namespace tenon

// grid_sample against the reference evaluation: all modes, and positions outside of the image.
#include <gtest/gtest.h>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

TEST(KernelsAgainstReference, GridSamples) {
  using Ints = std::vector<int64_t>;
  struct Sizes {
    Ints x, grid;
  };
  for (const Sizes& sizes : {Sizes{{2, 5, 6, 1}, {2, 7, 3, 2}},
                             {{1, 4, 9, 37}, {1, 6, 6, 2}},
                             {{2, 3, 4, 5, 6}, {2, 2, 3, 4, 3}}})
    for (const std::string_view mode : {"linear", "nearest", "cubic"})
      for (const std::string_view padding : {"zeros", "border", "reflection"})
        for (const bool corners : {false, true})
          check({"grid_sample",
                 {f32(sizes.x), random_tensor(DType::f32, sizes.grid, -1.3, 1.3)},
                 {{"mode", std::string(mode)},
                  {"padding", std::string(padding)},
                  {"align_corners", corners}},
                 "grid_rows",
                 1,
                 2e-6});
}

}  // namespace
}  // namespace tenon::cpu

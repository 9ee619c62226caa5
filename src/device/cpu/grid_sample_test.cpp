// grid_sample against the reference evaluation: all modes, and positions outside of the image.
#include <gtest/gtest.h>

#include <limits>

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

// Positions far outside and such as are no numbers, in images that hold some.
TEST(KernelsAgainstReference, GridSampleOfOddPositions) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float odd[] = {-1, 1, -1e30f, 3e9f, kInf, -kInf, kNan, 0.2f};
  Tensor grid = f32({1, 8, 8, 2}), x = f32({1, 4, 5, 1});
  for (int64_t i = 0; i < 64; ++i) {
    grid.mutable_data<float>()[2 * i] = odd[i % 8];
    grid.mutable_data<float>()[2 * i + 1] = odd[i / 8];
  }
  for (const bool has_odd_pixels : {false, true}) {
    if (has_odd_pixels) x.mutable_data<float>()[0] = kNan, x.mutable_data<float>()[19] = kInf;
    for (const std::string_view padding : {"zeros", "border"})
      for (const bool corners : {false, true})
        check({"grid_sample",
               {x, grid},
               {{"padding", std::string(padding)}, {"align_corners", corners}},
               "grid_rows",
               1,
               2e-6});
  }
}

}  // namespace
}  // namespace tenon::cpu

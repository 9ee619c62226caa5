// roi_align and max_roi_pool against the reference evaluation, over random shapes and regions.
#include <gtest/gtest.h>

#include <limits>

#include "device/cpu/test_support.h"

namespace tenon::cpu {
namespace {

using Ints = std::vector<int64_t>;

void check_roi_align(const Ints& x, Tensor rois, Tensor images, const Attributes& attributes) {
  for (const std::string_view mode : {"avg", "max"})
    for (const bool half_pixel : {false, true})
      for (const int64_t ratio : {0, 1, 2, 5}) {
        Attributes all = attributes;
        all.emplace_back("mode", std::string(mode));
        all.emplace_back("half_pixel", half_pixel);
        all.emplace_back("sampling_ratio", ratio);
        check({"roi_align", {f32(x), rois, images}, all, "region_rows", 1, 1e-5});
      }
}

TEST(KernelsAgainstReference, RoiAlign) {
  for (const Ints& x : {Ints{2, 9, 7, 5}, {1, 1, 1, 1}, {3, 4, 30, 33}, {2, 5, 6, 0}})
    for (const int64_t regions : {0, 1, 23})
      for (const Ints& size : {Ints{1, 1}, {3, 2}, {7, 7}}) {
        // Some begin or end outside, some end before they begin.
        const Tensor rois = random_tensor(DType::f32, {regions, 4}, -6, 40);
        const Tensor images =
            random_tensor(DType::i64, {regions}, 0, static_cast<double>(x[0]) - 0.001);
        for (const double scale : {1.0, 0.25})
          check_roi_align(
              x, rois, images,
              {{"output_height", size[0]}, {"output_width", size[1]}, {"spatial_scale", scale}});
      }
}

TEST(KernelsAgainstReference, RoiAlignOfUnusualRegions) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float regions[][4] = {{0, 0, 0, 0},           {3, 3, 3, 3},          {-9, -9, -5, -5},
                              {90, 90, 99, 99},       {-1, -1, 7, 9},        {0, 0, 6, 8},
                              {-1e6, -1e6, 1e6, 1e6}, {-1e30f, 2, 1e30f, 4}, {NAN, 0, 3, 3},
                              {0, 0, NAN, 5},         {-kInf, 0, kInf, 4},   {2, 2, kInf, kInf}};
  constexpr int64_t kRegions = std::size(regions);
  Tensor rois = f32({kRegions, 4});
  std::copy_n(&regions[0][0], kRegions * 4, rois.mutable_data<float>());
  const Tensor images = random_tensor(DType::i32, {kRegions}, 0, 0);
  check_roi_align({1, 9, 7, 3}, rois, images,
                  {{"output_height", int64_t{2}}, {"output_width", int64_t{3}}});
}

TEST(KernelsAgainstReference, MaxRoiPool) {
  for (const Ints& x : {Ints{2, 9, 7, 5}, {1, 1, 1, 1}, {3, 4, 30, 33}, {2, 5, 6, 0}})
    for (const int64_t regions : {0, 1, 23})
      for (const Ints& size : {Ints{1, 1}, {3, 2}, {7, 7}}) {
        Tensor rois = random_tensor(DType::f32, {regions, 5}, -6, 40);
        for (int64_t r = 0; r < regions; ++r)
          rois.mutable_data<float>()[r * 5] = static_cast<float>(r % x[0]);
        for (const double scale : {1.0, 0.25})
          check({"max_roi_pool",
                 {f32(x), rois},
                 {{"output_height", size[0]}, {"output_width", size[1]}, {"spatial_scale", scale}},
                 "region_maxima"});
      }
}

}  // namespace
}  // namespace tenon::cpu

// Features of regions of images at a fixed size.
#pragma once

#include <optional>
#include <utility>

#include "ops/op.h"

namespace tenon {

enum class RoiMode : uint8_t { avg, max };
inline constexpr std::array<std::string_view, 2> kRoiModeNames{"avg", "max"};
constexpr std::span<const std::string_view> enum_names(RoiMode) {
  return kRoiModeNames;
}

// The samples of one cell along one dimension.
struct RoiSamples {
  double from = 0, step = 0;
  int64_t count = 0;

  double at(int64_t i) const { return from + (static_cast<double>(i) + 0.5) * step; }
  // Those that can lie in an image of the given size: [first, last).
  std::pair<int64_t, int64_t> inside(int64_t size) const;
};

// The two elements around a sample along one dimension and how much the second one weighs, of 1.
struct RoiTaps {
  int64_t low = 0, high = 0;
  double high_weight = 0;
};
// Nothing where the position is outside of an image of the given size.
std::optional<RoiTaps> roi_taps(double position, int64_t size);

// A region in positions of the image, cut into cells.
struct RoiCells {
  double top = 0, left = 0, height = 0, width = 0;  // of the first one
};

struct RoiAlign {
  RoiMode mode = RoiMode::avg;
  int64_t output_height = 1;
  int64_t output_width = 1;
  int64_t sampling_ratio = 0;
  double spatial_scale = 1;
  bool half_pixel = true;

  static const OpDef def;
  static constexpr std::string_view name = "roi_align";
  static constexpr std::string_view doc =
      "roi_align(x [N,H,W,C], rois [R,4], batch [R]): each region (x1, y1, x2, y2) of image "
      "batch[r] "
      "in cells, each the mean or maximum of samples interpolated inside; [R, height, width, C].";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "mode", &RoiAlign::mode, "how the samples of a cell are combined"},
        Field{2, "output_height", &RoiAlign::output_height, "cells"},
        Field{3, "output_width", &RoiAlign::output_width, "cells"},
        Field{4, "sampling_ratio", &RoiAlign::sampling_ratio,
              "samples per cell and dimension; 0: as many as elements"},
        Field{5, "spatial_scale", &RoiAlign::spatial_scale, "takes rois to positions in x"},
        Field{6, "half_pixel", &RoiAlign::half_pixel, "elements are counted from their centres"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;

  // Error: a region is of an image that x [N,H,W,C] does not hold.
  Status check_images(const Tensor& x, const Tensor& rois, const Tensor& images) const;
  RoiCells cells(const Tensor& rois, int64_t region) const;
  // Of the cell that begins at `start` and is `cell` long.
  RoiSamples samples(double start, double cell) const;
};

// The cells of a region that is rounded to whole elements, which may overlap by one.
struct RoiBins {
  int64_t image = 0;
  double top = 0, left = 0;  // of the region
  double cell_height = 0, cell_width = 0;

  struct Range {
    int64_t begin = 0, end = 0;
  };
  // The elements of a dimension of some size that cell i takes.
  Range rows(int64_t i, int64_t size) const { return range(top, cell_height, i, size); }
  Range columns(int64_t j, int64_t size) const { return range(left, cell_width, j, size); }

 private:
  static Range range(double start, double extent, int64_t i, int64_t size);
};

struct MaxRoiPool {
  int64_t output_height = 1;
  int64_t output_width = 1;
  double spatial_scale = 1;

  static const OpDef def;
  static constexpr std::string_view name = "max_roi_pool";
  static constexpr std::string_view doc =
      "max_roi_pool(x [N,H,W,C], rois [R,5]): the maximum in each cell of the regions (image, x1, "
      "y1, x2, y2), rounded to elements; [R, height, width, C].";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "output_height", &MaxRoiPool::output_height, "cells"},
        Field{2, "output_width", &MaxRoiPool::output_width, "cells"},
        Field{3, "spatial_scale", &MaxRoiPool::spatial_scale, "takes rois to positions in x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;

  // Error: the region is of an image that x does not hold.
  Result<RoiBins> bins(const Tensor& x, const Tensor& rois, int64_t region) const;
};

}  // namespace tenon

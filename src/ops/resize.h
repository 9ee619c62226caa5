// Resampling of images and volumes, channels last.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class ResizeMode : uint8_t {
  nearest,
  linear,
  cubic,
  area,
  lanczos3,
  lanczos5,
  gaussian,
  mitchell
};
inline constexpr std::array<std::string_view, 8> kResizeModeNames{
    "nearest", "linear", "cubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchell"};
constexpr std::span<const std::string_view> enum_names(ResizeMode) {
  return kResizeModeNames;
}

// Where the centre of output element o lies in the input.
enum class ResizeCoordinate : uint8_t {
  half_pixel,            // (o + 0.5) / scale - 0.5
  align_corners,         // o * (in - 1) / (out - 1)
  asymmetric,            // o / scale
  pytorch_half_pixel,    // half_pixel, but 0 where out is 1
  half_pixel_symmetric,  // half_pixel around the centre, for scales that do not divide
  tf_half_pixel_for_nn,  // (o + 0.5) / scale
  tf_crop_and_resize,    // from the region's start to its end, corners aligned
};
inline constexpr std::array<std::string_view, 7> kResizeCoordinateNames{
    "half_pixel",           "align_corners",        "asymmetric",        "pytorch_half_pixel",
    "half_pixel_symmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
constexpr std::span<const std::string_view> enum_names(ResizeCoordinate) {
  return kResizeCoordinateNames;
}

enum class NearestRounding : uint8_t { floor, ceil, round_prefer_floor, round_prefer_ceil };
inline constexpr std::array<std::string_view, 4> kNearestRoundingNames{
    "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
constexpr std::span<const std::string_view> enum_names(NearestRounding) {
  return kNearestRoundingNames;
}

// The input elements, with their weights, that make up one output element along an axis.
struct ResizeTaps {
  std::vector<int64_t> index;
  std::vector<double> weight;

  void add(int64_t i, double w) {
    index.push_back(i);
    weight.push_back(w);
  }
};

// resize(x [N, spatial…, C], sizes [spatial]) → [N, sizes…, C].
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoordinate coordinate = ResizeCoordinate::half_pixel;
  NearestRounding nearest_rounding = NearestRounding::round_prefer_floor;
  double cubic_coeff = -0.75;
  bool exclude_outside = false;
  bool antialias = false;
  std::vector<double> scales;
  std::vector<double> roi;
  double extrapolation_value = 0;
  int64_t cubic_steps = 0;

  static const OpDef def;
  static constexpr std::string_view name = "resize";
  static constexpr std::string_view doc =
      "resize(x [N, spatial…, C], sizes [spatial]): samples x at the given spatial sizes. Nearest "
      "takes any element type, the other modes floating point.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "mode", &Resize::mode, "how values between elements are made"},
        Field{2, "coordinate", &Resize::coordinate, "where output elements lie in the input"},
        Field{3, "nearest_rounding", &Resize::nearest_rounding, "for mode nearest"},
        Field{4, "cubic_coeff", &Resize::cubic_coeff, "for mode cubic"},
        Field{5, "exclude_outside", &Resize::exclude_outside,
              "elements outside x get weight 0 instead of the edge's value"},
        Field{6, "antialias", &Resize::antialias,
              "widen filters to shrink; not for nearest and area"},
        Field{7, "scales", &Resize::scales, "output over input size; empty: from the sizes"},
        Field{8, "roi", &Resize::roi,
              "for tf_crop_and_resize: starts, then ends of the region, 0 to 1 being the input"},
        Field{9, "extrapolation_value", &Resize::extrapolation_value,
              "for tf_crop_and_resize: outside the input"},
        Field{10, "cubic_steps", &Resize::cubic_steps,
              "for mode cubic: places between two elements are rounded to so many steps, computed "
              "in f32; 0: not rounded"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;

  // Of output element o along a spatial axis; along several axes weights multiply.
  ResizeTaps taps(size_t axis, int64_t o, int64_t in, int64_t out) const;
  // Whether the elements along a spatial axis stay what they are.
  bool keeps(size_t axis, int64_t in, int64_t out) const;
};

}  // namespace tenon

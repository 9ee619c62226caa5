// Sampling images at positions given by a tensor.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class GridMode : uint8_t { linear, nearest, cubic };
inline constexpr std::array<std::string_view, 3> kGridModeNames{"linear", "nearest", "cubic"};
constexpr std::span<const std::string_view> enum_names(GridMode) {
  return kGridModeNames;
}

// What positions outside of the image give: 0, the edge, or what a mirror at the edge shows.
enum class GridPadding : uint8_t { zeros, border, reflection };
inline constexpr std::array<std::string_view, 3> kGridPaddingNames{"zeros", "border", "reflection"};
constexpr std::span<const std::string_view> enum_names(GridPadding) {
  return kGridPaddingNames;
}

struct GridSample {
  GridMode mode = GridMode::linear;
  GridPadding padding = GridPadding::zeros;
  bool align_corners = false;

  static const OpDef def;
  static constexpr std::string_view name = "grid_sample";
  static constexpr std::string_view doc =
      "grid_sample(x [N, spatial…, C], grid [N, out…, k]): x at the positions of the grid, which "
      "go "
      "from -1 to 1 and name the last of the k spatial dimensions first.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "mode", &GridSample::mode, "how values between elements are made"},
        Field{2, "padding", &GridSample::padding, "what lies outside of x"},
        Field{3, "align_corners", &GridSample::align_corners,
              "-1 and 1 are the centres of the corner elements, else their outer edges"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

// The elements along one dimension, with weights, that make the value at a position. An index of
// -1 is an element outside that counts as zero.
struct GridTaps {
  int count = 0;
  int64_t index[4];
  double weight[4];
};

// Taps along a dimension of `size` elements.
class GridSampler {
 public:
  GridSampler(const GridSample& op, int64_t size);
  // `grid`: from -1 to 1.
  GridTaps at(double grid) const;

 private:
  double inside(double x) const;
  void add(GridTaps& taps, int64_t i, double weight) const;

  GridSample op_;
  int64_t size_;
  double low_, high_;
};

}  // namespace tenon

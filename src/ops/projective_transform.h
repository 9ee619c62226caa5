// Images seen through a projective map: turned, moved, sheared, zoomed.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class OutsideFill : uint8_t { constant, nearest, reflect, wrap };
inline constexpr std::array<std::string_view, 4> kOutsideFillNames{"constant", "nearest", "reflect",
                                                                   "wrap"};
constexpr std::span<const std::string_view> enum_names(OutsideFill) {
  return kOutsideFillNames;
}

struct ProjectiveTransform {
  bool bilinear = false;
  OutsideFill outside = OutsideFill::constant;

  static const OpDef def;
  static constexpr std::string_view name = "projective_transform";
  static constexpr std::string_view doc =
      "projective_transform(images [n, h, w, c], maps [n or 1, 8], size [2], fill): pixel (x, y) "
      "of the result is that of the image at ((a0 x + a1 y + a2) / k, (a3 x + a4 y + a5) / k) with "
      "k = a6 x + a7 y + 1.";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "bilinear", &ProjectiveTransform::bilinear,
              "between pixels; else the nearest one"},
        Field{2, "outside", &ProjectiveTransform::outside, "what is beyond the image"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

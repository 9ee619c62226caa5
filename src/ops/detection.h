// Ops of object detectors: suppression of overlapping boxes, crops.
#pragma once

#include "ops/op.h"

namespace tenon {

struct NonMaxSuppression {
  bool center_point_box = false;

  static const OpDef def;
  static constexpr std::string_view name = "non_max_suppression";
  static constexpr std::string_view doc =
      "ONNX's form: boxes [B,N,4], scores [B,C,N], optional scalars max_output (per class, default "
      "0), iou (default 0), score_thr; gives i64 [K,3] of (batch, class, box).";
  static constexpr Arity inputs{2, 5};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{Field{1, "center_point_box", &NonMaxSuppression::center_point_box,
                            "boxes are (x, y, width, height) of the centre, not two corners"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct NmsV {
  static const OpDef def;
  static constexpr std::string_view name = "nms_v";
  static constexpr std::string_view doc =
      "TensorFlow's form: boxes [N,4] (two corners), scores [N], scalars max_output, iou (default "
      "0.5), score_thr (default none); gives the i32 indices of the boxes kept, best first.";
  static constexpr Arity inputs{3, 5};
  static constexpr uint32_t traits = kDataDependent;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

enum class CropMethod : uint8_t { bilinear, nearest };
inline constexpr std::array<std::string_view, 2> kCropMethodNames{"bilinear", "nearest"};
constexpr std::span<const std::string_view> enum_names(CropMethod) {
  return kCropMethodNames;
}

struct CropAndResize {
  CropMethod method = CropMethod::bilinear;
  double extrapolation_value = 0;

  static const OpDef def;
  static constexpr std::string_view name = "crop_and_resize";
  static constexpr std::string_view doc =
      "crop_and_resize(image [B,H,W,C], boxes [N,4], box_index [N], crop_size [2]): samples the "
      "box "
      "(y1, x1, y2, x2 in 0..1) of image box_index, corners aligned, to f32 [N, crop_size…, C].";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "method", &CropAndResize::method, "how values between pixels are made"},
        Field{2, "extrapolation_value", &CropAndResize::extrapolation_value, "outside the image"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

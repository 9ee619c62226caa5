// Images scaled and moved by factors that are operands.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class SamplingKernel : uint8_t {
  lanczos1,
  lanczos3,
  lanczos5,
  gaussian,
  box,
  triangle,
  keys_cubic,
  mitchell_cubic
};
inline constexpr std::array<std::string_view, 8> kSamplingKernelNames{
    "lanczos1", "lanczos3", "lanczos5",   "gaussian",
    "box",      "triangle", "keys_cubic", "mitchell_cubic"};
constexpr std::span<const std::string_view> enum_names(SamplingKernel) {
  return kSamplingKernelNames;
}

struct ScaleAndTranslate {
  SamplingKernel kernel = SamplingKernel::lanczos3;
  bool antialias = true;

  static const OpDef def;
  static constexpr std::string_view name = "scale_and_translate";
  static constexpr std::string_view doc =
      "scale_and_translate(images f32 [n,height,width,channels], size, scale, translation): pixel "
      "p "
      "of the result shows place (p + 0.5 - translation) / scale of an image, nothing (0) outside "
      "of it. Rows and columns have a size, a scale and a translation each.";
  static constexpr Arity inputs{4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "kernel", &ScaleAndTranslate::kernel, "how pixels near a place are weighted"},
        Field{2, "antialias", &ScaleAndTranslate::antialias, "wider where the image gets smaller"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

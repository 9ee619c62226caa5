// Writing JPEG files.
#pragma once

#include "ops/op.h"

namespace tenon {

struct EncodeJpeg {
  int64_t quality = 95;
  bool progressive = false;
  bool optimize_size = false;
  bool chroma_downsampling = true;
  bool per_centimetre = false;
  int64_t x_density = 300;
  int64_t y_density = 300;
  std::string xmp;

  static const OpDef def;
  static constexpr std::string_view name = "encode_jpeg";
  static constexpr std::string_view doc =
      "encode_jpeg(image [, quality]): an image [height, width, 1 or 3] of u8 as a JPEG file in a "
      "string.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "quality", &EncodeJpeg::quality, "0 to 100, where no operand gives it"},
        Field{2, "progressive", &EncodeJpeg::progressive, "coarse first"},
        Field{3, "optimize_size", &EncodeJpeg::optimize_size, "a smaller file, slower"},
        Field{4, "chroma_downsampling", &EncodeJpeg::chroma_downsampling,
              "colour at half the size"},
        Field{5, "per_centimetre", &EncodeJpeg::per_centimetre,
              "the density's unit, else per inch"},
        Field{6, "x_density", &EncodeJpeg::x_density, "pixels per unit"},
        Field{7, "y_density", &EncodeJpeg::y_density, "pixels per unit"},
        Field{8, "xmp", &EncodeJpeg::xmp, "metadata; empty: none"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

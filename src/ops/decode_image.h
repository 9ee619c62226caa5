// Reading image files.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class FrameChoice : uint8_t { one, first, all, as_file };
inline constexpr std::array<std::string_view, 4> kFrameChoiceNames{"one", "first", "all",
                                                                   "as_file"};
constexpr std::span<const std::string_view> enum_names(FrameChoice) {
  return kFrameChoiceNames;
}

struct DecodeImage {
  int64_t channels = 0;
  DType dtype = DType::u8;
  FrameChoice frames = FrameChoice::first;
  int64_t ratio = 1;
  bool smooth_upsampling = true;
  bool fast_dct = false;
  bool recover_truncated = false;

  static const OpDef def;
  static constexpr std::string_view name = "decode_image";
  static constexpr std::string_view doc =
      "A JPEG, PNG, GIF, BMP or PNM file held in a string or in u8 [n]: its pixels [height, width, "
      "channels]; with "
      "frames=all, and for GIF with frames=as_file, [frames, height, width, channels]. Types other "
      "than u8 hold the same values scaled: f32 to [0, 1].";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "channels", &DecodeImage::channels, "1, 3 or 4; 2 for PNG; 0: as in the file"},
        Field{2, "dtype", &DecodeImage::dtype, "u8, u16 or f32"},
        Field{3, "frames", &DecodeImage::frames, "of GIF; with `one`, more than one are an error"},
        Field{4, "ratio", &DecodeImage::ratio, "JPEG: 2, 4 or 8 make it that much smaller"},
        Field{5, "smooth_upsampling", &DecodeImage::smooth_upsampling, "JPEG: of colours"},
        Field{6, "fast_dct", &DecodeImage::fast_dct, "JPEG: the less exact transform"},
        Field{7, "recover_truncated", &DecodeImage::recover_truncated,
              "JPEG: a file that ends too early is no error"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct JpegShape {
  static const OpDef def;
  static constexpr std::string_view name = "jpeg_shape";
  static constexpr std::string_view doc =
      "Height, width and number of channels, i32 [3], of a JPEG file held in a string or in u8 "
      "[n].";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

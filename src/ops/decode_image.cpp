#include "ops/decode_image.h"

#include "image/image.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Status expect_file(const InferContext& context, std::string_view op) {
  TRY(require_tensors(context, op));
  if (context.dtype(0) == DType::u8) return nn::expect_rank(context, op, 0, 1);
  if (context.dtype(0) != DType::string)
    return invalid_argument(std::string(op) + " needs a file as a string or as bytes");
  return nn::expect_scalar(context, op, 0);
}

Result<std::string_view> file_of(const EvalContext& context, std::string_view op) {
  const Tensor& x = context.in(0);
  if (x.dtype() == DType::u8)
    return std::string_view(static_cast<const char*>(x.raw()), x.byte_size());
  if (x.elements() == 1) return std::string_view(x.data<std::string>()[0]);
  return invalid_argument(std::string(op) + " needs one string");
}

// 8 bits become the upper ones of 16, all values a fraction of the largest.
Status convert(const image::Pixels& pixels, Tensor& out) {
  const int64_t n = out.elements();
  if (out.dtype() == DType::u16) {
    auto* to = out.mutable_data<uint16_t>();
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<uint16_t>(pixels.data[i] << 8);
    return {};
  }
  auto* to = out.mutable_data<float>();
  const auto* wide = reinterpret_cast<const uint16_t*>(pixels.data.get());
  const auto scale = static_cast<float>(1.0 / (pixels.wide ? 65535 : 255));
  for (int64_t i = 0; i < n; ++i)
    to[i] = static_cast<float>(pixels.wide ? wide[i] : pixels.data[i]) * scale;
  return {};
}

}  // namespace

Result<TensorTypes> DecodeImage::infer(const InferContext& context) const {
  TRY(expect_file(context, name));
  if (channels < 0 || channels > 4)
    return invalid_argument("decode_image: channels must be 0 to 4");
  if (ratio != 1 && ratio != 2 && ratio != 4 && ratio != 8)
    return invalid_argument("decode_image: ratio must be 1, 2, 4 or 8");
  if (dtype != DType::u8 && dtype != DType::u16 && dtype != DType::f32)
    return unsupported("decode_image makes u8, u16 or f32");
  if (frames == FrameChoice::as_file) return TensorTypes{{dtype, Shape::unranked()}};
  Shape shape = Shape::unknown_dims(frames == FrameChoice::all ? 4 : 3);
  if (channels > 0) shape[shape.rank() - 1] = Dim(channels);
  return TensorTypes{{dtype, shape}};
}

Status DecodeImage::eval(EvalContext& context) const {
  image::Options options;
  options.channels = static_cast<int>(channels);
  options.wide = dtype != DType::u8;
  options.first_frame = frames == FrameChoice::first;
  options.ratio = static_cast<int>(ratio);
  options.smooth_upsampling = smooth_upsampling;
  options.fast_dct = fast_dct;
  options.recover_truncated = recover_truncated;
  const image::Pixels pixels = TRY(image::decode(TRY(file_of(context, name)), options));
  if (frames == FrameChoice::one && pixels.frames != 1)
    return invalid_argument("decode_image: the file has several frames");
  std::vector<int64_t> dims{pixels.height, pixels.width, pixels.channels};
  if (frames == FrameChoice::all || (frames == FrameChoice::as_file && pixels.animation))
    dims.insert(dims.begin(), pixels.frames);
  if (dtype == DType::u8 || (dtype == DType::u16 && pixels.wide)) {
    context.out(0) = Tensor::view(dtype, dims, pixels.data.get(), pixels.data);
    return {};
  }
  TRY(context.allocate(0, dtype, dims));
  return convert(pixels, context.out(0));
}

Result<TensorTypes> JpegShape::infer(const InferContext& context) const {
  TRY(expect_file(context, name));
  return TensorTypes{{DType::i32, Shape{Dim(3)}}};
}

Status JpegShape::eval(EvalContext& context) const {
  const auto header = TRY(image::read_jpeg_header(TRY(file_of(context, name))));
  auto* out = context.out(0).mutable_data<int32_t>();
  out[0] = static_cast<int32_t>(header.height);
  out[1] = static_cast<int32_t>(header.width);
  out[2] = static_cast<int32_t>(header.channels);
  return {};
}

constinit const OpDef DecodeImage::def = define<DecodeImage>();
constinit const OpDef JpegShape::def = define<JpegShape>();
OpDefs decode_image_ops() {
  return {&DecodeImage::def, &JpegShape::def};
}

}  // namespace tenon

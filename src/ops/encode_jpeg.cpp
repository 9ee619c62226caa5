#include "ops/encode_jpeg.h"

#include "image/image.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> EncodeJpeg::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::u8) return invalid_argument("encode_jpeg needs an image of u8");
  TRY(nn::expect_rank(context, name, 0, 3));
  if (context.has(1)) {
    TRY(require_indices(context, 1, name, "a quality"));
    TRY(nn::expect_scalar(context, name, 1));
  }
  constexpr int64_t kMost = 65535;
  if (quality < 0 || quality > 100)
    return invalid_argument("encode_jpeg: quality must be 0 to 100");
  if (x_density < 0 || x_density > kMost || y_density < 0 || y_density > kMost)
    return invalid_argument("encode_jpeg: a density must be 0 to 65535");
  return TensorTypes{{DType::string, Shape{}}};
}

Status EncodeJpeg::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (x.rank() != 3)
    return invalid_argument("encode_jpeg needs an image [height, width, channels]");
  int64_t chosen = quality;
  if (context.has(1)) {
    if (context.in(1).elements() != 1) return invalid_argument("encode_jpeg needs one quality");
    chosen = context.in(1).int_at(0);
    if (chosen < 0 || chosen > 100)
      return invalid_argument("encode_jpeg: quality must be 0 to 100");
  }
  image::Pixels pixels{.height = x.dim(0), .width = x.dim(1), .channels = x.dim(2)};
  // Borrowed for the call.
  pixels.data = std::shared_ptr<uint8_t[]>(std::shared_ptr<void>(),
                                           static_cast<uint8_t*>(const_cast<void*>(x.raw())));
  const image::JpegOptions options{.quality = static_cast<int>(chosen),
                                   .progressive = progressive,
                                   .optimize_size = optimize_size,
                                   .chroma_downsampling = chroma_downsampling,
                                   .per_centimetre = per_centimetre,
                                   .x_density = static_cast<int>(x_density),
                                   .y_density = static_cast<int>(y_density),
                                   .xmp = xmp};
  context.out(0).mutable_data<std::string>()[0] = TRY(image::encode_jpeg(pixels, options));
  return {};
}

constinit const OpDef EncodeJpeg::def = define<EncodeJpeg>();
OpDefs encode_jpeg_ops() {
  return {&EncodeJpeg::def};
}

}  // namespace tenon

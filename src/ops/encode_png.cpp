#include "ops/encode_png.h"

#include "image/image.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> EncodePng::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::u8 && context.dtype(0) != DType::u16)
    return invalid_argument("encode_png needs images of u8 or u16");
  if (compression < -1 || compression > 9)
    return invalid_argument("encode_png: compression must be -1 to 9");
  TRY(nn::expect_rank(context, name, 0, 3, nn::kAnyRank));
  TensorType out{DType::string, context.shape(0)};
  if (out.shape.ranked()) out.shape.dims().resize(out.shape.dims().size() - 3);
  return TensorTypes{out};
}

Status EncodePng::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (x.rank() < 3) return invalid_argument("encode_png needs images [height, width, channels]");
  image::Pixels pixels{.height = x.dim(x.rank() - 3),
                       .width = x.dim(x.rank() - 2),
                       .channels = x.dim(x.rank() - 1),
                       .wide = x.dtype() == DType::u16};
  const auto files = context.out(0).elements();
  const auto size = files == 0 ? 0 : x.byte_size() / static_cast<size_t>(files);
  auto* out = context.out(0).mutable_data<std::string>();
  for (int64_t i = 0; i < files; ++i) {
    // Borrowed for the call.
    auto* data = static_cast<uint8_t*>(const_cast<void*>(x.raw())) + static_cast<size_t>(i) * size;
    pixels.data = std::shared_ptr<uint8_t[]>(std::shared_ptr<void>(), data);
    out[i] = TRY(image::encode_png(pixels, static_cast<int>(compression)));
  }
  return {};
}

constinit const OpDef EncodePng::def = define<EncodePng>();
OpDefs encode_png_ops() {
  return {&EncodePng::def};
}

}  // namespace tenon

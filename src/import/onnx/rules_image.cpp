// Rules of the ops that sample images: grids, regions, columns.
#include <fmt/format.h>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// The modes were called bilinear and bicubic before opset 20.
Result<Values> grid_sample(RuleContext& c) {
  const std::string given = TRY(c.get_string("mode", c.opset < 20 ? "bilinear" : "linear"));
  const std::string mode(given, given.starts_with("bi") ? 2 : 0);
  Value* y = TRY(c.op("grid_sample", {TRY(channels_last(c, c.in(0))), c.in(1)},
                      {{"mode", mode},
                       {"padding", TRY(c.get_string("padding_mode", "zeros"))},
                       {"align_corners", TRY(c.get_bool("align_corners", false))}}));
  return one(channels_first(c, y));
}

// theta [N, k, k + 1] times the homogeneous coordinates, from -1 to 1, of every position of an
// image of the given size [N, C, spatial…]; the last spatial dimension is the first coordinate.
Result<Values> affine_grid(RuleContext& c) {
  Value* theta = c.in(0);
  const DType dtype = theta->dtype();
  const Shape& count = c.in(1)->shape();
  if (!count.ranked() || count.rank() != 1 || !count[0].known())
    return unsupported("the length of the size must be known when the model is compiled");
  const int64_t spatial = count[0].size() - 2;
  if (spatial != 2 && spatial != 3)
    return invalid_model(fmt::format("the size has {} elements, not 4 or 5", spatial + 2));
  const bool align = TRY(c.get_bool("align_corners", false));
  Value* dims = TRY(c.op("slice", {c.in(1), c.builder.ints({2}), c.builder.ints({2 + spatial})}));
  Value* one_value = TRY(c.scalar(dtype, 1));
  Value* two = TRY(c.scalar(dtype, 2));
  Values columns;
  for (int64_t axis = spatial; axis-- > 0;) {
    Value* n = TRY(c.op("gather", {dims, c.builder.constant(Tensor::scalar(axis))}));
    Value* at = TRY(c.cast(TRY(count_up(c, n)), dtype));
    Value* steps = TRY(c.cast(n, dtype));
    if (align) steps = TRY(c.op("max", {TRY(c.op("sub", {steps, one_value})), one_value}));
    // Corners: 2 i / (n - 1) - 1; else the centres of pixels: (2 i + 1) / n - 1.
    Value* twice = TRY(c.op("mul", {at, two}));
    if (!align) twice = TRY(c.op("add", {twice, one_value}));
    Value* x = TRY(c.op("sub", {TRY(c.op("div", {twice, steps})), one_value}));
    std::vector<int64_t> along(static_cast<size_t>(spatial), 1);
    along[static_cast<size_t>(axis)] = -1;
    columns.push_back(TRY(c.op("expand", {TRY(c.reshape(x, along)), dims})));
  }
  columns.push_back(TRY(c.op("expand", {one_value, dims})));
  for (Value*& column : columns) column = TRY(c.reshape(column, {-1, 1}));
  Value* points = TRY(join(c, std::move(columns), 1));
  Value* moved = TRY(c.op("matmul", {points, theta}, {{"transpose_b", true}}));
  Value* shape = TRY(join(c, {TRY(size_of(c, theta, 0)), dims, c.builder.ints({spatial})}));
  return one(c.op("reshape", {moved, shape}, {{"allow_zero", true}}));
}

// Pixels were counted from their corners before opset 16.
Result<Values> roi_align(RuleContext& c) {
  const std::string coordinates = TRY(c.get_string(
      "coordinate_transformation_mode", c.opset < 16 ? "output_half_pixel" : "half_pixel"));
  Value* y = TRY(c.op("roi_align", {TRY(channels_last(c, c.in(0))), c.in(1), c.in(2)},
                      {{"mode", TRY(c.get_string("mode", "avg"))},
                       {"output_height", TRY(c.get_int("output_height", 1))},
                       {"output_width", TRY(c.get_int("output_width", 1))},
                       {"sampling_ratio", TRY(c.get_int("sampling_ratio", 0))},
                       {"spatial_scale", TRY(c.get_float("spatial_scale", 1))},
                       {"half_pixel", coordinates == "half_pixel"}}));
  return one(channels_first(c, y));
}

Result<Values> max_roi_pool(RuleContext& c) {
  const auto shape = TRY(c.get_ints("pooled_shape"));
  if (shape.size() != 2) return invalid_model("'pooled_shape' must be a height and a width");
  Value* y = TRY(c.op("max_roi_pool", {TRY(channels_last(c, c.in(0))), c.in(1)},
                      {{"output_height", shape[0]},
                       {"output_width", shape[1]},
                       {"spatial_scale", TRY(c.get_float("spatial_scale", 1))}}));
  return one(channels_first(c, y));
}

Result<Values> col2im(RuleContext& c) {
  return one(c.op("col2im", c.inputs,
                  {{"strides", TRY(c.get_ints("strides"))},
                   {"pads", TRY(c.get_ints("pads"))},
                   {"dilations", TRY(c.get_ints("dilations"))}}));
}

// JPEG, PNG, BMP and GIF files; the other formats are refused when they come.
Result<Values> image_decoder(RuleContext& c) {
  const std::string format = TRY(c.get_string("pixel_format", "RGB"));
  if (format != "RGB" && format != "BGR" && format != "Grayscale")
    return unsupported("pixel_format " + format);
  Value* y = TRY(c.op("decode_image", {c.in(0)}, {{"channels", int64_t{3}}}));
  const std::vector<int64_t> last{-1};
  if (format == "BGR") return one(c.op("reverse", {y}, {{"axes", last}}));
  if (format == "RGB") return Values{y};
  // ITU-R 601 in steps of 1 / 65536.
  Value* weights = c.builder.constant(Tensor::vector(std::vector<int32_t>{19595, 38470, 7471}));
  y = TRY(c.op("mul", {TRY(c.cast(y, DType::i32)), weights}));
  y = TRY(c.op("sum", {y}, {{"axes", last}, {"keep_dims", true}}));
  y = TRY(c.op("add", {y, TRY(c.scalar(DType::i32, 0x8000))}));
  y = TRY(c.op("floor_div", {y, TRY(c.scalar(DType::i32, 0x10000))}));
  return one(c.cast(y, DType::u8));
}

constexpr Rule kRules[] = {
    {"AffineGrid", 2, affine_grid},  {"Col2Im", 3, col2im},
    {"GridSample", 2, grid_sample},  {"ImageDecoder", 1, image_decoder},
    {"MaxRoiPool", 2, max_roi_pool}, {"RoiAlign", 3, roi_align},
};

}  // namespace

std::span<const Rule> image_rules() {
  return kRules;
}

}  // namespace tenon::onnx

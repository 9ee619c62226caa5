// Rules of image ops and of what detectors do after their last layer.
#include <algorithm>
#include <cmath>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// ResizeBilinear, -NearestNeighbor, -Bicubic and -Area.
Values resize(RuleContext& c) {
  const bool align = TRY(c.node.attrs.get_bool("align_corners", false));
  const bool half = TRY(c.node.attrs.get_bool("half_pixel_centers", false));
  const std::string_view kind = c.node.op.substr(6);
  const bool nearest = kind == "NearestNeighbor", cubic = kind == "Bicubic";
  std::string coordinate = align ? "align_corners" : half ? "half_pixel" : "asymmetric";
  if (nearest && half && !align) coordinate = "tf_half_pixel_for_nn";
  const char* mode = nearest ? "nearest" : cubic ? "cubic" : kind == "Area" ? "area" : "linear";
  Value* x = nearest ? c.inputs[0] : TRY(cast_to(c, c.inputs[0], DType::f32));
  return one(c.builder.op("resize", {x, c.inputs[1]},
                          {{"mode", std::string(mode)},
                           {"coordinate", coordinate},
                           {"nearest_rounding", std::string(align ? "round_prefer_ceil" : "floor")},
                           {"cubic_coeff", half ? -0.5 : -0.75},
                           {"exclude_outside", cubic && half},
                           {"cubic_steps", int64_t{cubic ? 1024 : 0}}}));
}

// Whether the scales take the whole image to the whole result and nothing is moved: what
// tf.image.resize makes with antialias.
bool is_plain_resize(const RuleContext& c) {
  const auto scale = reals(c, 2), shift = reals(c, 3);
  const auto sizes = c.ints(1);
  const Shape& shape = c.inputs[0]->shape();
  if (!scale.ok() || !shift.ok() || !sizes.ok() || !shape.ranked() || shape.rank() != 4 ||
      scale->size() != 2 || shift->size() != 2 || sizes->size() != 2)
    return false;
  for (size_t i = 0; i < 2; ++i) {
    const Dim in = shape[static_cast<int>(i) + 1];
    if (!in.known() || (*shift)[i] != 0) return false;
    const double expected = static_cast<double>((*sizes)[i]) / static_cast<double>(in.size());
    if (std::abs((*scale)[i] - expected) > 1e-5 * expected) return false;
  }
  return true;
}

Values scale_and_translate(RuleContext& c) {
  struct Row {
    std::string_view kernel, own, resize;  // resize: its mode, where it has it
  };
  constexpr Row kKernels[] = {{"lanczos1", "lanczos1", ""},
                              {"lanczos3", "lanczos3", "lanczos3"},
                              {"lanczos5", "lanczos5", "lanczos5"},
                              {"gaussian", "gaussian", "gaussian"},
                              {"box", "box", ""},
                              {"triangle", "triangle", "linear"},
                              {"keyscubic", "keys_cubic", "cubic"},
                              {"mitchellcubic", "mitchell_cubic", "mitchell"}};
  const std::string_view kernel = TRY(c.node.attrs.get_string("kernel_type", "lanczos3"));
  const bool antialias = TRY(c.node.attrs.get_bool("antialias", true));
  const auto* row = std::ranges::find(kKernels, kernel, &Row::kernel);
  if (row == std::end(kKernels)) return unsupported("kernel_type " + std::string(kernel));
  Value* x = TRY(cast_to(c, c.inputs[0], DType::f32));
  if (!row->resize.empty() && is_plain_resize(c))
    return one(c.builder.op("resize", {x, c.inputs[1]},
                            {{"mode", std::string(row->resize)},
                             {"cubic_coeff", -0.5},
                             {"exclude_outside", true},
                             {"antialias", antialias}}));
  return one(c.builder.op("scale_and_translate", {x, c.inputs[1], c.inputs[2], c.inputs[3]},
                          {{"kernel", std::string(row->own)}, {"antialias", antialias}}));
}

Values crop_and_resize(RuleContext& c) {
  const double outside = TRY(c.node.attrs.get_float("extrapolation_value", 0));
  return one(
      c.builder.op("crop_and_resize", c.inputs,
                   {{"method", std::string(TRY(c.node.attrs.get_string("method", "bilinear")))},
                    {"extrapolation_value", outside}}));
}

// x (a vector of n) with zeros behind it, `count` elements in all.
Result<Value*> padded_to(RuleContext& c, Value* x, Value* count) {
  Builder& b = c.builder;
  Value* total = TRY(b.op("reshape", {TRY(cast_to(c, count, DType::i64)), b.ints({1})}));
  Value* missing = TRY(b.op("sub", {total, TRY(shape_of(c, x))}));
  return b.op("pad", {x, TRY(join(c, {b.ints({0}), missing}))});
}

Result<Value*> length_of(RuleContext& c, Value* x) {
  return c.builder.op("size", {x}, {{"dtype", DType::i32}});
}

// NonMaxSuppression and its forms V2 to V4.
Values nms(RuleContext& c) {
  std::vector<Value*> in = c.inputs;
  if (in.size() == 3)
    in.push_back(TRY(number(c, TRY(c.node.attrs.get_float("iou_threshold", 0.5f)), DType::f32)));
  for (size_t i = 0; i < in.size(); ++i)
    if (i != 2) in[i] = TRY(cast_to(c, in[i], DType::f32));
  Value* kept = TRY(c.builder.op("nms_v", in));
  if (c.node.op != "NonMaxSuppressionV4") return std::vector<Value*>{kept};
  Value* valid = TRY(length_of(c, kept));
  if (TRY(c.node.attrs.get_bool("pad_to_max_output_size", false)))
    kept = TRY(padded_to(c, kept, c.inputs[2]));
  return std::vector<Value*>{kept, valid};
}

// Indices, their scores after the soft form has lowered them, and how many there are.
Values nms_v5(RuleContext& c) {
  std::vector<Value*> in = c.inputs;
  for (size_t i = 0; i < in.size(); ++i)
    if (i != 2) in[i] = TRY(cast_to(c, in[i], DType::f32));
  Node* node = TRY(c.builder.node("soft_nms", in));
  Value *kept = node->output(0), *scores = node->output(1);
  Value* valid = TRY(length_of(c, kept));
  if (TRY(c.node.attrs.get_bool("pad_to_max_output_size", false))) {
    kept = TRY(padded_to(c, kept, c.inputs[2]));
    scores = TRY(padded_to(c, scores, c.inputs[2]));
  }
  return std::vector<Value*>{kept, TRY(cast_to(c, scores, c.inputs[1]->dtype())), valid};
}

Values combined_nms(RuleContext& c) {
  Node* node =
      TRY(c.builder.node("combined_nms", c.inputs,
                         {{"pad_per_class", TRY(c.node.attrs.get_bool("pad_per_class", false))},
                          {"clip_boxes", TRY(c.node.attrs.get_bool("clip_boxes", true))}}));
  return std::vector<Value*>{node->output(0), node->output(1), node->output(2), node->output(3)};
}

// (x - mean over the image) * factor + mean
Values adjust_contrast(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  Value* mean =
      TRY(b.op("mean", {x}, {{"axes", std::vector<int64_t>{-3, -2}}, {"keep_dims", true}}));
  Value* factor = TRY(cast_to(c, c.inputs[1], x->dtype()));
  Value* y = TRY(b.op("mul", {TRY(b.op("sub", {x, mean})), factor}));
  return one(b.op("add", {y, mean}));
}

Result<std::vector<Value*>> three_channels(RuleContext& c, Value* x) {
  Node* node = TRY(c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"num", int64_t{3}}}));
  if (node->output_count() != 3) return invalid_model("the last dimension must have size 3");
  return std::vector<Value*>{node->output(0), node->output(1), node->output(2)};
}

// Each of hue, saturation, value with a last dimension of 1.
Result<std::vector<Value*>> to_hsv(RuleContext& c, Value* x) {
  Builder& b = c.builder;
  const DType t = x->dtype();
  const auto rgb = TRY(three_channels(c, x));
  const auto constant = [&](double v) { return number(c, v, t); };
  Value* v = TRY(b.op("max", {TRY(b.op("max", {rgb[0], rgb[1]})), rgb[2]}));
  Value* low = TRY(b.op("min", {TRY(b.op("min", {rgb[0], rgb[1]})), rgb[2]}));
  Value* range = TRY(b.op("sub", {v, low}));
  Value* zero = TRY(constant(0));
  Value* s =
      TRY(b.op("select", {TRY(b.op("greater", {v, zero})), TRY(b.op("div", {range, v})), zero}));
  Value* sixth = TRY(b.op("div", {TRY(constant(1.0 / 6)), range}));
  // The hue when the largest channel is i: the difference of the two others, plus its third.
  const auto hue = [&](size_t i, double offset) -> Result<Value*> {
    Value* d = TRY(b.op("sub", {rgb[(i + 1) % 3], rgb[(i + 2) % 3]}));
    return b.op("add", {TRY(b.op("mul", {sixth, d})), TRY(constant(offset))});
  };
  Value* h = TRY(b.op(
      "select", {TRY(b.op("equal", {v, rgb[1]})), TRY(hue(1, 2.0 / 6)), TRY(hue(2, 4.0 / 6))}));
  h = TRY(b.op("select", {TRY(b.op("equal", {v, rgb[0]})), TRY(hue(0, 0)), h}));
  h = TRY(b.op("select", {TRY(b.op("greater", {range, zero})), h, zero}));
  Value* wrapped = TRY(b.op("add", {h, TRY(constant(1))}));
  h = TRY(b.op("select", {TRY(b.op("less", {h, zero})), wrapped, h}));
  return std::vector<Value*>{h, s, v};
}

// v * (1 - s + s * clip(|6 h - a| …, 0, 1)) per channel.
Result<Value*> from_hsv(RuleContext& c, const std::vector<Value*>& hsv) {
  Builder& b = c.builder;
  const DType t = hsv[0]->dtype();
  const auto constant = [&](double v) { return number(c, v, t); };
  Value* six = TRY(b.op("mul", {hsv[0], TRY(constant(6))}));
  const auto channel = [&](double centre, double sign, double base) -> Result<Value*> {
    Value* d = TRY(b.op("abs", {TRY(b.op("sub", {six, TRY(constant(centre))}))}));
    d = TRY(b.op("add", {TRY(b.op("mul", {d, TRY(constant(sign))})), TRY(constant(base))}));
    d = TRY(b.op("clip", {d}, {{"min", 0.0}, {"max", 1.0}}));
    Value* one_minus = TRY(b.op("sub", {TRY(constant(1)), hsv[1]}));
    return b.op("mul", {TRY(b.op("add", {one_minus, TRY(b.op("mul", {hsv[1], d}))})), hsv[2]});
  };
  return join(c, {TRY(channel(3, 1, -1)), TRY(channel(2, -1, 2)), TRY(channel(4, -1, 2))}, -1);
}

Values rgb_to_hsv(RuleContext& c) {
  return one(join(c, TRY(to_hsv(c, c.inputs[0])), -1));
}

Values hsv_to_rgb(RuleContext& c) {
  return one(from_hsv(c, TRY(three_channels(c, c.inputs[0]))));
}

Values adjust_saturation(RuleContext& c) {
  auto hsv = TRY(to_hsv(c, c.inputs[0]));
  Value* factor = TRY(cast_to(c, c.inputs[1], hsv[1]->dtype()));
  Value* s = TRY(c.builder.op("mul", {hsv[1], factor}));
  hsv[1] = TRY(c.builder.op("clip", {s}, {{"min", 0.0}, {"max", 1.0}}));
  return one(from_hsv(c, hsv));
}

Values adjust_hue(RuleContext& c) {
  auto hsv = TRY(to_hsv(c, c.inputs[0]));
  Value* delta = TRY(cast_to(c, c.inputs[1], hsv[0]->dtype()));
  Value* h = TRY(c.builder.op("add", {hsv[0], delta}));
  hsv[0] = TRY(c.builder.op("floor_mod", {h, TRY(number(c, 1, h->dtype()))}));
  return one(from_hsv(c, hsv));
}

// DecodeJpeg, -Png, -Bmp, -Gif and -Image: each reads every format.
Values decode_image(RuleContext& c) {
  const Attrs& attrs = c.node.attrs;
  const std::string_view dct = TRY(attrs.get_string("dct_method", ""));
  if (TRY(attrs.get_float("acceptable_fraction", 1)) != 1)
    return unsupported("an acceptable_fraction other than 1");
  const std::string_view op = c.node.op;
  const char* frames = "one";
  if (op == "DecodeGif") frames = "all";
  if (op == "DecodeImage")
    frames = TRY(attrs.get_bool("expand_animations", true)) ? "as_file" : "first";
  return one(c.builder.op(
      "decode_image", {c.inputs[0]},
      {{"channels", op == "DecodeGif" ? int64_t{3} : TRY(attrs.get_int("channels", 0))},
       {"dtype", TRY(dtype_attr(c, "dtype", DataType::u8))},
       {"frames", std::string(frames)},
       {"ratio", TRY(attrs.get_int("ratio", 1))},
       {"smooth_upsampling", TRY(attrs.get_bool("fancy_upscaling", true))},
       {"fast_dct", dct != "INTEGER_ACCURATE"},
       {"recover_truncated", TRY(attrs.get_bool("try_recover_truncated", false))}}));
}

Values encode_png(RuleContext& c) {
  return one(c.builder.op("encode_png", {c.inputs[0]},
                          {{"compression", TRY(c.node.attrs.get_int("compression", -1))}}));
}

// EncodeJpeg, and EncodeJpegVariableQuality of (image, quality).
Values encode_jpeg(RuleContext& c) {
  const Attrs& attrs = c.node.attrs;
  const std::string_view format = TRY(attrs.get_string("format", ""));
  const Shape& shape = c.inputs[0]->shape();
  const Dim channels = shape.ranked() && shape.rank() == 3 ? shape[2] : Dim::unknown();
  if (!format.empty() && channels.known() && channels.size() != (format == "rgb" ? 3 : 1))
    return invalid_model("the image does not have the channels of its format");
  return one(
      c.builder.op("encode_jpeg", c.inputs,
                   {{"quality", TRY(attrs.get_int("quality", 95))},
                    {"progressive", TRY(attrs.get_bool("progressive", false))},
                    {"optimize_size", TRY(attrs.get_bool("optimize_size", false))},
                    {"chroma_downsampling", TRY(attrs.get_bool("chroma_downsampling", true))},
                    {"per_centimetre", TRY(attrs.get_string("density_unit", "in")) == "cm"},
                    {"x_density", TRY(attrs.get_int("x_density", 300))},
                    {"y_density", TRY(attrs.get_int("y_density", 300))},
                    {"xmp", std::string(TRY(attrs.get_string("xmp_metadata", "")))}}));
}

// The window is [y, x, height, width].
Values decode_and_crop(RuleContext& c) {
  Builder& b = c.builder;
  Value* image = TRY(decode_image(c))[0];
  Value* window = TRY(cast_to(c, c.inputs[1], DType::i64));
  Value* begin = TRY(b.op("slice", {window, b.ints({0}), b.ints({2})}));
  Value* size = TRY(b.op("slice", {window, b.ints({2}), b.ints({4})}));
  return one(b.op("slice", {image, begin, TRY(b.op("add", {begin, size}))}));
}

Values jpeg_shape(RuleContext& c) {
  Value* shape = TRY(c.builder.op("jpeg_shape", {c.inputs[0]}));
  return one(cast_to(c, shape, TRY(dtype_attr(c, "output_type", DataType::i32))));
}

// ImageProjectiveTransformV2 and V3 of (images, maps, size [, fill]).
Values projective_transform(RuleContext& c) {
  const std::string mode(TRY(c.node.attrs.get_string("fill_mode", "CONSTANT")));
  constexpr std::pair<std::string_view, std::string_view> kModes[] = {
      {"CONSTANT", "constant"}, {"NEAREST", "nearest"}, {"REFLECT", "reflect"}, {"WRAP", "wrap"}};
  const auto* found = std::ranges::find_if(kModes, [&](const auto& m) { return m.first == mode; });
  if (found == std::end(kModes)) return unsupported("fill_mode " + mode);
  Value* fill = c.inputs.size() > 3 ? c.inputs[3] : TRY(number(c, 0, DType::f32));
  if (const DType t = c.inputs[0]->dtype(); is_int(t))
    fill = TRY(cast_to(c, TRY(cast_to(c, fill, t)), DType::f32));
  return one(c.builder.op(
      "projective_transform", {c.inputs[0], c.inputs[1], c.inputs[2], fill},
      {{"bilinear", TRY(c.node.attrs.get_string("interpolation", "NEAREST")) == "BILINEAR"},
       {"outside", std::string(found->second)}}));
}

// DrawBoundingBoxes, and V2 with colours of its own.
Values draw_boxes(RuleContext& c) {
  const int64_t none[] = {0, 0};
  Value* colours =
      c.inputs.size() > 2 ? c.inputs[2] : c.builder.constant(TRY(Tensor::zeros(DType::f32, none)));
  return one(c.builder.op("draw_boxes", {c.inputs[0], c.inputs[1], colours}));
}

// What lies beyond the image in a glimpse: numbers distributed as those of the image are, or 0.
Result<Value*> glimpse_noise(RuleContext& c, Value* image, Value* shape) {
  Builder& b = c.builder;
  std::string_view kind = TRY(c.node.attrs.get_string("noise", "uniform"));
  if (kind == "uniform" && !TRY(c.node.attrs.get_bool("uniform_noise", true))) kind = "gaussian";
  const std::vector<Builder::Attr> all{{"axes", std::vector<int64_t>{1, 2, 3}},
                                       {"keep_dims", true}};
  if (kind == "uniform") {
    Value* low = TRY(b.op("reduce_min", {image}, all));
    Value* range = TRY(b.op("sub", {TRY(b.op("reduce_max", {image}, all)), low}));
    Value* noise = TRY(b.op("random_uniform", {shape}, {{"dtype", image->dtype()}}));
    return b.op("add", {TRY(b.op("mul", {noise, range})), low});
  }
  if (kind == "gaussian") {
    Value* mean = TRY(b.op("mean", {image}, all));
    Value* spread = TRY(b.op("square", {TRY(b.op("sub", {image, mean}))}));
    spread = TRY(b.op("sqrt", {TRY(b.op("mean", {spread}, all))}));
    Value* noise = TRY(b.op("random_normal", {shape}, {{"dtype", image->dtype()}}));
    return b.op("add", {TRY(b.op("mul", {noise, spread})), mean});
  }
  if (kind != "zero") return invalid_model("noise '" + std::string(kind) + "' is not known");
  return number(c, 0, image->dtype());
}

// ExtractGlimpse(V2)(image, size [2], offsets [batch, 2]): a window per image, rows and columns
// beyond the image being noise. The first version centres every window, the second one only those
// whose offsets are normalised and centred.
Values extract_glimpse(RuleContext& c) {
  Builder& b = c.builder;
  Value *image = c.inputs[0], *size = TRY(cast_to(c, c.inputs[1], DType::i64)), *at = c.inputs[2];
  if (TRY(rank_of(image)) != 4) return invalid_model("an image of four dimensions is expected");
  const bool centred = TRY(c.node.attrs.get_bool("centered", true));
  const bool normalised = TRY(c.node.attrs.get_bool("normalized", true));
  const bool second = c.node.op == "ExtractGlimpseV2";
  Value* extent = TRY(shape_of(c, image, 1, 3));
  const auto half = [&](Value* v) -> Result<Value*> {
    return b.op("mul", {TRY(cast_to(c, v, DType::f32)), TRY(number(c, 0.5, DType::f32))});
  };
  if (normalised) at = TRY(b.op("mul", {at, TRY(cast_to(c, extent, DType::f32))}));
  if (centred) {
    if (!second || normalised) at = TRY(half(at));
    at = TRY(b.op("add", {at, TRY(half(extent))}));
  }
  if (!second || (centred && normalised)) at = TRY(b.op("sub", {at, TRY(half(size))}));
  at = TRY(cast_to(c, at, DType::i64));  // towards 0
  Value *glimpse = image, *inside = nullptr;
  for (const int64_t axis : {1, 2}) {
    using Axes = std::vector<int64_t>;
    Value* count = TRY(b.op("squeeze", {TRY(element(c, size, axis - 1))}));
    Value* steps =
        TRY(b.op("range", {TRY(number(c, 0, DType::i64)), count, TRY(number(c, 1, DType::i64))}));
    Value* first =
        TRY(b.op("slice", {at, b.ints({axis - 1}), b.ints({axis})}, {{"axes", Axes{1}}}));
    Value* places = TRY(b.op("add", {first, steps}));  // [batch, count]
    Value* end = TRY(element(c, extent, axis - 1));
    Value* zero = TRY(number(c, 0, DType::i64));
    Value* fits = TRY(b.op("logical_and", {TRY(b.op("greater_equal", {places, zero})),
                                           TRY(b.op("less", {places, end}))}));
    fits = TRY(b.op("expand_dims", {fits}, {{"axes", axis == 1 ? Axes{2, 3} : Axes{1, 3}}}));
    inside = inside == nullptr ? fits : TRY(b.op("logical_and", {inside, fits}));
    Value* last = TRY(b.op("sub", {end, TRY(number(c, 1, DType::i64))}));
    places = TRY(b.op("max", {TRY(b.op("min", {places, last})), zero}));
    glimpse = TRY(b.op("gather", {glimpse, places}, {{"axis", axis}, {"batch_dims", int64_t{1}}}));
  }
  Value* noise = TRY(glimpse_noise(c, image, TRY(shape_of(c, glimpse))));
  return one(b.op("select", {inside, glimpse, noise}));
}

constexpr RuleEntry kRules[] = {
    {"AdjustContrastv2", adjust_contrast, 2},
    {"AdjustHue", adjust_hue, 2},
    {"AdjustSaturation", adjust_saturation, 2},
    {"CombinedNonMaxSuppression", combined_nms, 6},
    {"CropAndResize", crop_and_resize, 4},
    {"DecodeAndCropJpeg", decode_and_crop, 2},
    {"DecodeBmp", decode_image},
    {"DecodeGif", decode_image},
    {"DecodeImage", decode_image},
    {"DecodeJpeg", decode_image},
    {"DecodePng", decode_image},
    {"DrawBoundingBoxes", draw_boxes, 2},
    {"DrawBoundingBoxesV2", draw_boxes, 3},
    {"EncodeJpeg", encode_jpeg},
    {"EncodeJpegVariableQuality", encode_jpeg, 2},
    {"EncodePng", encode_png},
    {"ExtractGlimpse", extract_glimpse, 3},
    {"ExtractGlimpseV2", extract_glimpse, 3},
    {"ExtractJpegShape", jpeg_shape},
    {"HSVToRGB", hsv_to_rgb},
    {"ImageProjectiveTransformV2", projective_transform, 3},
    {"ImageProjectiveTransformV3", projective_transform, 4},
    {"NonMaxSuppression", nms, 3},
    {"NonMaxSuppressionV2", nms, 4},
    {"NonMaxSuppressionV3", nms, 5},
    {"NonMaxSuppressionV4", nms, 5},
    {"NonMaxSuppressionV5", nms_v5, 6},
    {"NonMaxSuppressionWithOverlaps", same<"overlap_nms">, 5},
    {"RGBToHSV", rgb_to_hsv},
    {"ResizeArea", resize, 2},
    {"ResizeBicubic", resize, 2},
    {"ResizeBilinear", resize, 2},
    {"ResizeNearestNeighbor", resize, 2},
    {"ScaleAndTranslate", scale_and_translate, 4},
};

}  // namespace

std::span<const RuleEntry> image_rules() {
  return kRules;
}

}  // namespace tenon::tf

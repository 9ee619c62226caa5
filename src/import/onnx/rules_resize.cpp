// Resize and Upsample: any axes, sizes or scales, known now or computed by the model.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

// What a node asks for. Values are vectors of one element per axis of `axes`.
struct Request {
  std::vector<int64_t> axes;         // of the input, not negative
  Value* sizes = nullptr;            // i64
  Value* scales = nullptr;           // f32; null: from the sizes
  Value* roi = nullptr;              // starts, then ends; for tf_crop_and_resize
  std::vector<Builder::Attr> attrs;  // of the core op, but scales and roi
};

std::optional<std::vector<double>> known_reals(const Value* value) {
  if (value == nullptr || value->constant() == nullptr || !is_float(value->dtype()))
    return std::nullopt;
  std::vector<double> reals;
  for (int64_t i = 0; i < value->constant()->elements(); ++i)
    reals.push_back(value->constant()->real_at(i));
  return reals;
}

Value* floats(RuleContext& c, const std::vector<double>& values) {
  return c.builder.constant(Tensor::vector(std::vector<float>(values.begin(), values.end())));
}

// floor(size * scale), both known or computed.
Result<Value*> scaled_sizes(RuleContext& c, Value* x, const Request& request) {
  if (const auto scales = known_reals(request.scales)) {
    std::vector<int64_t> sizes;
    for (size_t i = 0; i < scales->size(); ++i) {
      const Dim d = x->shape()[static_cast<int>(request.axes[i])];
      if (!d.known()) break;
      const float size =
          std::floor(static_cast<float>(d.size()) * static_cast<float>((*scales)[i]));
      if (!(size >= 0 && size < 1e9f))
        return invalid_model(fmt::format("a scale of {} for a size of {}", (*scales)[i], d.size()));
      sizes.push_back(static_cast<int64_t>(size));
    }
    if (sizes.size() == scales->size()) return c.builder.ints(sizes);
    // Whole scales keep open dimensions in shape arithmetic.
    const auto whole = [](double s) { return s == std::floor(s) && s >= 0 && s < 1e6; };
    if (std::ranges::all_of(*scales, whole)) {
      Value* now = TRY(c.op("gather", {TRY(shape_of(c, x)), c.builder.ints(request.axes)}));
      return c.op("mul",
                  {now, c.builder.ints(std::vector<int64_t>(scales->begin(), scales->end()))});
    }
  }
  Value* now = TRY(c.op("gather", {TRY(shape_of(c, x)), c.builder.ints(request.axes)}));
  Value* exact = TRY(c.op("mul", {TRY(c.cast(now, DType::f32)), request.scales}));
  return c.cast(TRY(c.op("floor", {exact})), DType::i64);
}

// One scale for all axes so that the result is not larger or not smaller than the sizes.
Status keep_aspect_ratio(RuleContext& c, Value* x, Request& request, bool not_larger) {
  Value* now = TRY(c.op("gather", {TRY(shape_of(c, x)), c.builder.ints(request.axes)}));
  now = TRY(c.cast(now, DType::f32));
  Value* ratios = TRY(c.op("div", {TRY(c.cast(request.sizes, DType::f32)), now}));
  Value* scale = TRY(c.op(not_larger ? "reduce_min" : "reduce_max", {ratios},
                          {{"axes", std::vector<int64_t>{0}}, {"keep_dims", true}}));
  request.scales =
      TRY(c.op("expand", {scale, c.builder.ints({static_cast<int64_t>(request.axes.size())})}));
  // Halves go up.
  Value* exact = TRY(c.op("add", {TRY(c.op("mul", {now, scale})), TRY(c.scalar(DType::f32, 0.5))}));
  request.sizes = TRY(c.cast(TRY(c.op("floor", {exact})), DType::i64));
  return {};
}

// The request for all axes: those not asked for keep their size.
Status widen(RuleContext& c, Value* x, Request& request) {
  const int rank = x->shape().rank();
  const size_t n = request.axes.size();
  Values sizes, scales, starts, ends;
  for (int axis = 0; axis < rank; ++axis) {
    const auto at =
        static_cast<size_t>(std::ranges::find(request.axes, axis) - request.axes.begin());
    Value* index = c.builder.ints({static_cast<int64_t>(at)});
    sizes.push_back(at < n ? TRY(c.op("gather", {request.sizes, index}))
                           : TRY(size_of(c, x, axis)));
    if (request.scales != nullptr)
      scales.push_back(at < n ? TRY(c.op("gather", {request.scales, index})) : floats(c, {1}));
    if (request.roi == nullptr) continue;
    Value* end = c.builder.ints({static_cast<int64_t>(at + n)});
    starts.push_back(at < n ? TRY(c.op("gather", {request.roi, index})) : floats(c, {0}));
    ends.push_back(at < n ? TRY(c.op("gather", {request.roi, end})) : floats(c, {1}));
  }
  request.axes.resize(static_cast<size_t>(rank));
  std::iota(request.axes.begin(), request.axes.end(), 0);
  request.sizes = TRY(join(c, std::move(sizes)));
  if (request.scales != nullptr) request.scales = TRY(join(c, std::move(scales)));
  if (request.roi != nullptr) {
    std::ranges::copy(ends, std::back_inserter(starts));
    request.roi = TRY(join(c, std::move(starts)));
  }
  return {};
}

// The core op on x [N, spatial…, C], one element of the request per spatial axis.
Result<Value*> add_core(RuleContext& c, Value* x, const Request& request) {
  std::vector<Builder::Attr> attrs = request.attrs;
  Values operands{x, request.sizes};
  const auto scales = known_reals(request.scales), roi = known_reals(request.roi);
  if (scales) attrs.push_back({"scales", *scales});
  if (roi) attrs.push_back({"roi", *roi});
  const bool open_scales = request.scales != nullptr && !scales;
  const bool open_roi = request.roi != nullptr && !roi;
  if (open_scales && open_roi)
    return unsupported("of scales and region one must be known when the model is compiled");
  if (open_scales)
    return with_attr(c, "resize", operands, "scales", request.scales, std::move(attrs), "same");
  if (open_roi)
    return with_attr(c, "resize", operands, "roi", request.roi, std::move(attrs), "same");
  return c.op("resize", operands, std::move(attrs));
}

// Batch and channels stay: the form the core op has, channels last. Otherwise all dimensions are
// spatial ones of a single image of one channel.
Result<Value*> add_resize(RuleContext& c, Value* x, Request request) {
  const int rank = x->shape().rank();
  std::vector<int64_t> spatial(static_cast<size_t>(std::max(rank - 2, 0)));
  std::iota(spatial.begin(), spatial.end(), 2);
  const bool is_image = rank >= 3 && request.axes == spatial;
  if (is_image) return channels_first(c, TRY(add_core(c, TRY(channels_last(c, x)), request)));
  TRY(widen(c, x, request));
  Value* y = TRY(add_core(c, TRY(expand_dims(c, x, {0, rank + 1})), request));
  return squeeze(c, y, {0, rank + 1});
}

// Whether element i is the size of a dimension, which need not be known.
bool is_size(const Value* sizes, size_t i, const Dim& d) {
  return sizes->ints() && i < sizes->ints()->size() && (*sizes->ints())[i].as_dim().same(d);
}

// Leaves out the axes that keep their size, where that leaves those of an image.
Status drop_unchanged(RuleContext& c, Value* x, Request& request) {
  const auto n = static_cast<int64_t>(request.axes.size());
  if (n < 3 || n != x->shape().rank()) return {};
  const auto scales = known_reals(request.scales);
  const auto sizes = known_ints(request.sizes);
  for (int axis = 0; axis < 2; ++axis) {
    const auto i = static_cast<size_t>(axis);
    const Dim d = x->shape()[axis];
    const bool stays =
        request.scales != nullptr ? scales && (*scales)[i] == 1 : is_size(request.sizes, i, d);
    if (!stays) return {};
  }
  const auto tail = [&](Value* v, int64_t from, int64_t to) {
    return c.op("slice", {v, c.builder.ints({from}), c.builder.ints({to})});
  };
  request.axes.erase(request.axes.begin(), request.axes.begin() + 2);
  if (scales) request.scales = floats(c, {scales->begin() + 2, scales->end()});
  if (sizes)
    request.sizes = c.builder.ints({sizes->begin() + 2, sizes->end()});
  else
    request.sizes = TRY(tail(request.sizes, 2, n));
  if (const auto roi = known_reals(request.roi)) {
    std::vector<double> kept(roi->begin() + 2, roi->begin() + n);
    kept.insert(kept.end(), roi->begin() + n + 2, roi->end());
    request.roi = floats(c, kept);
  } else if (request.roi != nullptr) {
    request.roi =
        TRY(join(c, {TRY(tail(request.roi, 2, n)), TRY(tail(request.roi, n + 2, 2 * n))}));
  }
  return {};
}

Status expect_count(const Value* value, size_t count, std::string_view what) {
  if (value == nullptr || !value->shape().ranked()) return {};
  const auto n = value->shape().elements();
  if (value->shape().rank() != 1 || (n && *n != static_cast<int64_t>(count)))
    return invalid_model(
        fmt::format("{} must have {} elements, not be {}", what, count, value->type().to_string()));
  return {};
}

// `mode` as ONNX calls it. What is summed of integers is cut off to one, as ONNX Runtime does.
Result<Values> finish(RuleContext& c, const std::string& mode, Request request) {
  request.attrs.push_back({"mode", mode});
  const size_t n = request.axes.size();
  TRY(expect_count(request.sizes, n, "the sizes"));
  TRY(expect_count(request.scales, n, "the scales"));
  TRY(expect_count(request.roi, 2 * n, "the region"));
  Value* x = c.in(0);
  if (n == 0) return Values{x};
  const bool cuts_off = mode != "nearest" && is_int(x->dtype());
  if (cuts_off) x = TRY(c.cast(x, DType::f32));
  if (request.sizes == nullptr) request.sizes = TRY(scaled_sizes(c, x, request));
  TRY(drop_unchanged(c, x, request));
  Value* y = TRY(add_resize(c, x, std::move(request)));
  return one(cuts_off ? c.cast(y, c.in(0)->dtype()) : Result<Value*>(y));
}

Result<std::vector<int64_t>> all_axes(RuleContext& c) {
  std::vector<int64_t> axes(static_cast<size_t>(TRY(c.rank(0))));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

// Upsample and Resize of opset 10: positions count from corners, nearest rounds down.
Result<Values> upsample(RuleContext& c) {
  Request request;
  request.axes = TRY(all_axes(c));
  if (c.has(1))
    request.scales = TRY(c.cast(c.in(1), DType::f32));
  else if (c.has_attr("scales"))
    request.scales = floats(c, TRY(c.get_floats("scales")));
  else
    return invalid_model("the scales are missing");
  const std::string mode = TRY(c.get_string("mode", "nearest"));
  request.attrs = {{"coordinate", std::string("asymmetric")},
                   {"nearest_rounding", std::string("floor")}};
  return finish(c, mode == "bilinear" ? "linear" : mode, std::move(request));
}

// An operand that is there and not empty; exporters give empty ones for absent.
Value* given(RuleContext& c, int i) {
  Value* v = c.in(i);
  return v != nullptr && v->shape().ranked() && v->shape().elements() == 0 ? nullptr : v;
}

Result<Values> resize(RuleContext& c) {
  Request request;
  request.axes = TRY(all_axes(c));
  const auto rank = static_cast<int64_t>(request.axes.size());
  if (c.has_attr("axes")) {
    request.axes = TRY(c.get_ints("axes"));
    for (int64_t& a : request.axes) {
      if (a < 0) a += rank;
      if (a < 0 || a >= rank || std::ranges::count(request.axes, a) > 1)
        return invalid_model(fmt::format("axis {} does not fit {} dimensions", a, rank));
    }
  }
  const std::string coordinate = TRY(c.get_string("coordinate_transformation_mode", "half_pixel"));
  request.attrs = {{"coordinate", coordinate},
                   {"nearest_rounding", TRY(c.get_string("nearest_mode", "round_prefer_floor"))},
                   {"cubic_coeff", TRY(c.get_float("cubic_coeff_a", -0.75))},
                   {"exclude_outside", TRY(c.get_bool("exclude_outside", false))},
                   {"antialias", TRY(c.get_bool("antialias", false))},
                   {"extrapolation_value", TRY(c.get_float("extrapolation_value", 0))}};
  if (coordinate == "tf_crop_and_resize") {
    request.roi = given(c, 1);
    if (request.roi == nullptr) return invalid_model("the region to crop is missing");
    request.roi = TRY(c.cast(request.roi, DType::f32));
  }
  request.scales = given(c, 2);
  request.sizes = given(c, 3);
  if ((request.scales == nullptr) == (request.sizes == nullptr))
    return invalid_model("either scales or sizes must be given");
  if (request.sizes != nullptr) request.sizes = TRY(c.cast(request.sizes, DType::i64));
  const std::string policy = TRY(c.get_string("keep_aspect_ratio_policy", "stretch"));
  if (policy != "stretch" && request.sizes != nullptr)
    TRY(keep_aspect_ratio(c, c.in(0), request, policy == "not_larger"));
  return finish(c, TRY(c.get_string("mode", "nearest")), std::move(request));
}

constexpr Rule kRules[] = {
    {"Resize", 2, upsample},
    {"Resize", {1, 4}, resize, 11},
    {"Upsample", {1, 2}, upsample},
};

}  // namespace

std::span<const Rule> resize_rules() {
  return kRules;
}

}  // namespace tenon::onnx

// Rules of normalisations, softmax and what training leaves behind.
#include <fmt/format.h>

#include <numeric>

#include "import/onnx/rule.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

// The normalisation with the batch's own statistics, and the running ones moved on by them.
Result<Values> batch_norm_training(RuleContext& c, int rank) {
  const double epsilon = TRY(c.get_float("epsilon", 1e-5));
  const double momentum = TRY(c.get_float("momentum", 0.9));
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  std::vector<int64_t> axes(static_cast<size_t>(rank - 1));
  std::iota(axes.begin(), axes.end(), 0);
  Value* mean = TRY(c.op("mean", {x}, {{"axes", axes}}));
  Value* difference = TRY(c.op("squared_difference", {x, mean}));
  Value* variance = TRY(c.op("mean", {difference}, {{"axes", axes}}));
  mean = TRY(c.cast(mean, c.in(3)->dtype()));
  variance = TRY(c.cast(variance, c.in(4)->dtype()));
  Value* y = TRY(c.op("batch_norm", {x, c.in(1), c.in(2), mean, variance}, {{"epsilon", epsilon}}));
  Values results{TRY(to_channels_first(c, y, rank))};
  const auto moved = [&](Value* running, Value* now) -> Result<Value*> {
    Value* a = TRY(c.op("mul", {running, TRY(c.scalar_like(running, momentum))}));
    Value* b = TRY(c.op("mul", {now, TRY(c.scalar_like(now, 1 - momentum))}));
    return c.op("add", {a, b});
  };
  if (c.outputs > 1) results.push_back(TRY(moved(c.in(3), mean)));
  if (c.outputs > 2) results.push_back(TRY(moved(c.in(4), variance)));
  return results;
}

// Parameters of the shape of one example, as old versions allow: plain arithmetic.
Result<Values> batch_norm_per_element(RuleContext& c) {
  Value* x = TRY(c.op("sub", {c.in(0), c.in(3)}));
  Value* v = TRY(c.op("add", {c.in(4), TRY(c.scalar_like(x, TRY(c.get_float("epsilon", 1e-5))))}));
  x = TRY(c.op("mul", {x, TRY(c.op("rsqrt", {v}))}));
  x = TRY(c.op("mul", {x, c.in(1)}));
  return one(c.op("add", {x, c.in(2)}));
}

Result<Values> batch_normalization(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 1) return invalid_model("the input is a scalar");
  if (c.opset < 9 && !TRY(c.get_bool("spatial", true))) return batch_norm_per_element(c);
  if (rank == 1) return unsupported("batch normalisation of vectors");
  if (c.opset >= 14 && TRY(c.get_bool("training_mode", false))) return batch_norm_training(c, rank);
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  Value* y = TRY(c.op("batch_norm", {x, c.in(1), c.in(2), c.in(3), c.in(4)},
                      {{"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
  return one(to_channels_first(c, y, rank));
}

Result<Values> instance_normalization(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 3) return invalid_model("the input needs 3 dimensions or more");
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  Value* y = TRY(c.op("instance_norm", {x, c.in(1), c.in(2)},
                      {{"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
  return one(to_channels_first(c, y, rank));
}

// Parameters are per channel; before opset 21 per group.
Result<Values> group_normalization(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 3) return invalid_model("the input needs 3 dimensions or more");
  const int64_t groups = TRY(c.get_int("num_groups"));
  const auto per_channel = [&](Value* v) -> Result<Value*> {
    if (c.opset >= 21) return v;
    const Dim channels = c.in(0)->shape()[1];
    if (!channels.known() || groups < 1 || channels.size() % groups != 0)
      return invalid_model(
          fmt::format("{} channels do not fall into {} groups", channels.to_string(), groups));
    v = TRY(c.reshape(v, {groups, 1}));
    v = TRY(c.op("expand", {v, c.builder.ints({groups, channels.size() / groups})}));
    return c.reshape(v, {channels.size()});
  };
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  Value* y = TRY(c.op("group_norm", {x, TRY(per_channel(c.in(1))), TRY(per_channel(c.in(2)))},
                      {{"groups", groups}, {"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
  return one(to_channels_first(c, y, rank));
}

// The axes from `axis` on.
Result<std::vector<int64_t>> trailing_axes(const RuleContext& c, int64_t axis) {
  const int rank = TRY(c.rank(0));
  const int first = TRY(normalize_axis(axis, rank));
  std::vector<int64_t> axes(static_cast<size_t>(rank - first));
  std::iota(axes.begin(), axes.end(), first);
  return axes;
}

Result<Values> layer_normalization(RuleContext& c) {
  const int64_t axis = TRY(c.get_int("axis", -1));
  const double epsilon = TRY(c.get_float("epsilon", 1e-5));
  Values results{
      TRY(c.op("layer_norm", {c.in(0), c.in(1), c.in(2)}, {{"axis", axis}, {"epsilon", epsilon}}))};
  if (!c.wants(1) && !c.wants(2)) return results;
  const auto axes = TRY(trailing_axes(c, axis));
  Value* x = c.in(0);
  if (TRY(c.get_int("stash_type", 1)) == 1 && x->dtype() != DType::f64)
    x = TRY(c.cast(x, DType::f32));
  Value* mean = TRY(c.op("mean", {x}, {{"axes", axes}, {"keep_dims", true}}));
  results.push_back(mean);
  Value* v = TRY(c.op("squared_difference", {x, mean}));
  v = TRY(c.op("mean", {v}, {{"axes", axes}, {"keep_dims", true}}));
  v = TRY(c.op("add", {v, TRY(c.scalar_like(v, epsilon))}));
  results.push_back(TRY(c.op("rsqrt", {v})));
  return results;
}

Result<Values> rms_normalization(RuleContext& c) {
  return one(
      c.op("rms_norm", {c.in(0), c.in(1)},
           {{"axis", TRY(c.get_int("axis", -1))}, {"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
}

Result<Values> lrn(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 2) return invalid_model("the input needs dimensions for batch and channels");
  Value* x = TRY(to_channels_last(c, c.in(0), rank));
  Value* y = TRY(c.op("lrn", {x},
                      {{"size", TRY(c.get_int("size"))},
                       {"alpha", TRY(c.get_float("alpha", 1e-4))},
                       {"beta", TRY(c.get_float("beta", 0.75))},
                       {"bias", TRY(c.get_float("bias", 1))}}));
  return one(to_channels_first(c, y, rank));
}

// x / (1 - ratio) where a random number is not below the ratio, else 0, and which are kept. Where
// the model is not training the ratio is 0.
Result<Values> random_dropout(RuleContext& c) {
  Value* x = c.in(0);
  const DType type = x->dtype();
  Value* ratio = c.has(1) ? TRY(c.cast(TRY(c.reshape(c.in(1), {})), DType::f32))
                          : TRY(c.scalar(DType::f32, 0.5));
  Value* trains = TRY(c.reshape(c.in(2), {}));
  ratio = TRY(c.op("select", {trains, ratio, TRY(c.scalar(DType::f32, 0))}));
  const int64_t seed = c.has_attr("seed") ? TRY(c.get_int("seed")) | int64_t{1} << 40 : 0;
  Value* draw = TRY(c.op("random_uniform", {TRY(c.shape(x))}, {{"seed", seed}}));
  Value* kept = TRY(c.op("greater_equal", {draw, ratio}));
  Value* rest = TRY(c.cast(TRY(c.op("sub", {TRY(c.scalar(DType::f32, 1)), ratio})), type));
  Value* y = TRY(c.op("select", {kept, TRY(c.op("div", {x, rest})), TRY(c.scalar(type, 0))}));
  return Values{y, kept};
}

// Inference drops nothing; the mask keeps all.
Result<Values> dropout(RuleContext& c) {
  if (c.has(2)) {
    const Tensor* trains = c.in(2)->constant();
    if (trains == nullptr || trains->elements() != 1 || trains->int_at(0) != 0)
      return random_dropout(c);
  }
  Values results{c.in(0)};
  if (!c.wants(1)) return results;
  const DType type = c.opset >= 10 ? DType::boolean : c.in(0)->dtype();
  results.push_back(TRY(c.op("expand", {TRY(c.scalar(type, 1)), TRY(c.shape(c.in(0)))})));
  return results;
}

// Before opset 13 softmax runs over all dimensions from `axis` on as if they were one.
Result<Value*> flattened(RuleContext& c, int first, auto&& body) {
  Value* x = c.in(0);
  Value* y = TRY(body(TRY(as_matrix(c, x, first))));
  return c.op("reshape", {y, TRY(c.shape(x))}, {{"allow_zero", true}});
}

Result<Values> along_axis(RuleContext& c, auto&& body) {
  if (c.opset >= 13) return one(body(c.in(0), TRY(c.get_int("axis", -1))));
  const int rank = TRY(c.rank(0));
  const int64_t axis = TRY(c.get_int("axis", 1));
  const int first = axis == rank ? rank : TRY(normalize_axis(axis, rank));
  if (first == rank - 1) return one(body(c.in(0), -1));
  return one(flattened(c, first, [&](Value* x) { return body(x, -1); }));
}

Result<Values> softmax(RuleContext& c) {
  const char* name = c.node.op == "Softmax" ? "softmax" : "log_softmax";
  return along_axis(c, [&](Value* x, int64_t axis) { return c.op(name, {x}, {{"axis", axis}}); });
}

constexpr Rule kRules[] = {
    {"BatchNormalization", 5, batch_normalization},
    {"Dropout", {1, 3}, dropout},
    {"GroupNormalization", 3, group_normalization},
    {"InstanceNormalization", 3, instance_normalization},
    {"LRN", 1, lrn},
    {"LayerNormalization", {2, 3}, layer_normalization},
    {"LogSoftmax", 1, softmax},
    {"RMSNormalization", 2, rms_normalization},
    {"SimplifiedLayerNormalization", 2, rms_normalization},
    {"Softmax", 1, softmax},
};

}  // namespace

std::span<const Rule> norm_rules() {
  return kRules;
}

}  // namespace tenon::onnx

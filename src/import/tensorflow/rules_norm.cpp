// Rules of normalisation.
#include <algorithm>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// Version 3 hands on one more tensor to its gradient, which that has no need of.
std::vector<Value*> with_reserve(RuleContext& c, std::vector<Value*> results) {
  if (c.node.op.ends_with("V3")) results.push_back(results.back());
  return results;
}

// By the statistics of the batch itself: (x - mean) / sqrt(variance + epsilon) * scale + offset.
// Keras's LayerNormalization is made of it.
Values batch_norm_of_batch(RuleContext& c, bool first) {
  Builder& b = c.builder;
  // Of short floats in the scale's type.
  const DType own = c.inputs[1]->dtype(), result = c.inputs[0]->dtype();
  Value* x = TRY(cast_to(c, c.inputs[0], own));
  const int rank = TRY(rank_of(x));
  if (rank < 2) return invalid_model("the input has too few dimensions");
  const int channel = first ? 1 : rank - 1;
  std::vector<int64_t> axes, behind;
  for (int i = 0; i < rank; ++i)
    if (i != channel) axes.push_back(i);
  for (int i = channel + 1; i < rank; ++i) behind.push_back(i - channel);
  const auto placed = [&](Value* v) -> Result<Value*> {
    v = TRY(cast_to(c, v, x->dtype()));
    return behind.empty() ? Result<Value*>(v) : b.op("expand_dims", {v}, {{"axes", behind}});
  };
  const double epsilon = TRY(c.node.attrs.get_float("epsilon", 1e-4f));
  Value* mean = TRY(b.op("mean", {x}, {{"axes", axes}, {"keep_dims", true}}));
  Value* d = TRY(b.op("sub", {x, mean}));
  Value* variance =
      TRY(b.op("mean", {TRY(b.op("square", {d}))}, {{"axes", axes}, {"keep_dims", true}}));
  Value* shifted = TRY(b.op("add", {variance, TRY(number(c, epsilon, x->dtype()))}));
  Value* y = TRY(b.op("mul", {d, TRY(b.op("rsqrt", {shifted}))}));
  y = TRY(b.op("mul", {y, TRY(placed(c.inputs[1]))}));
  y = TRY(b.op("add", {y, TRY(placed(c.inputs[2]))}));
  mean = TRY(b.op("squeeze", {mean}, {{"axes", axes}}));
  variance = TRY(b.op("squeeze", {variance}, {{"axes", axes}}));
  // What TensorFlow hands on is the unbiased variance.
  Value* n = TRY(b.op("prod", {TRY(b.op("gather", {TRY(shape_of(c, x)), b.ints(axes)}))}));
  n = TRY(cast_to(c, n, variance->dtype()));
  Value* unit = TRY(number(c, 1, variance->dtype()));
  Value* less = TRY(b.op("max", {TRY(b.op("sub", {n, unit})), unit}));
  Value* unbiased = TRY(b.op("mul", {variance, TRY(b.op("div", {n, less}))}));
  return with_reserve(c, {TRY(cast_to(c, y, result)), mean, unbiased, mean, variance});
}

Values batch_norm(RuleContext& c) {
  const bool first = TRY(channels_first(c));
  if (TRY(c.node.attrs.get_bool("is_training", true))) return batch_norm_of_batch(c, first);
  Value* x = TRY(channels_to_last(c, c.inputs[0], first));
  const double epsilon = TRY(c.node.attrs.get_float("epsilon", 1e-4f));
  Value* y = TRY(c.builder.op("batch_norm", {x, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]},
                              {{"epsilon", epsilon}}));
  return with_reserve(
      c, {TRY(channels_to_first(c, y, first)), c.inputs[3], c.inputs[4], c.inputs[3], c.inputs[4]});
}

// (dy, x, scale, mean, variance …): by x, scale and offset. The batch's own statistics, where it
// was normalised by those, depend on x too.
Values batch_norm_grad(RuleContext& c) {
  Builder& b = c.builder;
  const DType t = c.inputs[2]->dtype(), result = c.inputs[0]->dtype();
  const bool first = TRY(channels_first(c));
  Value* dy = TRY(channels_to_last(c, TRY(cast_to(c, c.inputs[0], t)), first));
  Value* x = TRY(channels_to_last(c, TRY(cast_to(c, c.inputs[1], t)), first));
  std::vector<int64_t> axes;
  for (int i = 0; i + 1 < TRY(rank_of(x)); ++i) axes.push_back(i);
  const auto over = [&](const char* op, Value* v) { return b.op(op, {v}, {{"axes", axes}}); };
  const bool own = TRY(c.node.attrs.get_bool("is_training", true));
  Value* mean = own ? TRY(over("mean", x)) : c.inputs[3];
  Value* d = TRY(b.op("sub", {x, mean}));
  Value* variance = own ? TRY(over("mean", TRY(b.op("square", {d})))) : c.inputs[4];
  const double epsilon = TRY(c.node.attrs.get_float("epsilon", 1e-4f));
  Value* rate = TRY(b.op("rsqrt", {TRY(b.op("add", {variance, TRY(number(c, epsilon, t))}))}));
  Value* normal = TRY(b.op("mul", {d, rate}));
  Value* product = TRY(b.op("mul", {dy, normal}));
  Value *by_scale = TRY(over("sum", product)), *by_offset = TRY(over("sum", dy)), *dx = dy;
  if (own) {
    dx = TRY(b.op("sub", {dx, TRY(over("mean", dy))}));
    dx = TRY(b.op("sub", {dx, TRY(b.op("mul", {normal, TRY(over("mean", product))}))}));
  }
  dx = TRY(b.op("mul", {dx, TRY(b.op("mul", {c.inputs[2], rate}))}));
  dx = TRY(cast_to(c, TRY(channels_to_first(c, dx, first)), result));
  return std::vector<Value*>{dx, by_scale, by_offset, nullptr, nullptr};
}

// (t, mean, variance, beta, gamma) of TensorFlow's first batch normalisation.
Values old_batch_norm(RuleContext& c) {
  const double epsilon = TRY(c.node.attrs.get_float("variance_epsilon", 1e-3f));
  Value* scale = c.inputs[4];
  if (!TRY(c.node.attrs.get_bool("scale_after_normalization", true)))
    scale = TRY(filled(c, 1, scale->dtype(), TRY(shape_of(c, scale))));
  return one(c.builder.op("batch_norm", {c.inputs[0], scale, c.inputs[3], c.inputs[1], c.inputs[2]},
                          {{"epsilon", epsilon}}));
}

// x / (bias + alpha * (sum of squares over neighbouring channels))^beta
Values lrn(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const int64_t radius = TRY(c.node.attrs.get_int("depth_radius", 5));
  const double bias = TRY(c.node.attrs.get_float("bias", 1)),
               alpha = TRY(c.node.attrs.get_float("alpha", 1)),
               beta = TRY(c.node.attrs.get_float("beta", 0.5f));
  if (TRY(rank_of(x)) != 4) return invalid_model("an input of four dimensions is expected");
  // Which channels are neighbours, as a matrix.
  Value* n = TRY(b.op("squeeze", {TRY(shape_of(c, x, 3, 4))}));
  Value* row =
      TRY(b.op("range", {TRY(number(c, 0, DType::i64)), n, TRY(number(c, 1, DType::i64))}));
  Value* column = TRY(b.op("expand_dims", {row}, {{"axes", std::vector<int64_t>{1}}}));
  Value* distance = TRY(b.op("abs", {TRY(b.op("sub", {row, column}))}));
  Value* is_near = TRY(b.op("less_equal", {distance, b.ints({radius})}));
  const DType t = x->dtype();
  Value* near = TRY(b.op("mul", {TRY(cast_to(c, is_near, t)), TRY(number(c, alpha, t))}));
  Value* sum = TRY(b.op("matmul", {TRY(b.op("square", {x})), near}));
  Value* base = TRY(b.op("add", {sum, TRY(number(c, bias, t))}));
  return one(b.op("div", {x, TRY(b.op("pow", {base, TRY(number(c, beta, t))}))}));
}

constexpr RuleEntry kRules[] = {
    {"BatchNormWithGlobalNormalization", old_batch_norm, 5},
    {"FusedBatchNorm", batch_norm, 5},
    {"FusedBatchNormGrad", batch_norm_grad, 5},
    {"FusedBatchNormGradV2", batch_norm_grad, 5},
    {"FusedBatchNormGradV3", batch_norm_grad, 5},
    {"FusedBatchNormV2", batch_norm, 5},
    {"FusedBatchNormV3", batch_norm, 5},
    {"LRN", lrn},
};

}  // namespace

std::span<const RuleEntry> norm_rules() {
  return kRules;
}

}  // namespace tenon::tf

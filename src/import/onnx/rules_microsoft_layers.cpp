// Rules of com.microsoft: fused layers beside attention, and early forms of ops that ai.onnx has
// now.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "import/onnx/quantized.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "com.microsoft";
using Axes = std::vector<int64_t>;

Result<Value*> silu(const RuleContext& c, Value* x) {
  return c.op("mul", {x, TRY(c.op("sigmoid", {x}))});
}

// (x, bias [, skip])
Result<Values> bias_add(RuleContext& c) {
  Value* y = TRY(c.op("add", {c.in(0), c.in(1)}));
  return one(c.has(2) ? c.op("add", {y, c.in(2)}) : Result<Value*>(y));
}

// The softmax of the sum over all dimensions from an axis on.
Result<Values> bias_softmax(RuleContext& c) {
  Value* x = TRY(c.op("add", {c.in(0), c.in(1)}));
  const int rank = TRY(c.rank(0));
  const int axis = TRY(normalize_axis(TRY(c.get_int("axis", 1)), rank));
  if (axis == rank - 1) return one(c.op("softmax", {x}, {{"axis", int64_t{-1}}}));
  Value* y = TRY(c.op("softmax", {TRY(as_matrix(c, x, axis))}, {{"axis", int64_t{-1}}}));
  return one(c.op("reshape", {y, TRY(shape_of(c, x))}, {{"allow_zero", true}}));
}

// The first half of x + bias times gelu of the second.
Result<Values> bias_split_gelu(RuleContext& c) {
  Value* x = TRY(c.op("add", {c.in(0), c.in(1)}));
  const auto halves =
      TRY(all(c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"num", int64_t{2}}})));
  if (halves.size() != 2) return invalid_model("the last dimension must be even");
  return one(c.op("mul", {halves[0], TRY(c.op("gelu", {halves[1]}))}));
}

// GroupNorm of (x, scale, bias), SkipGroupNorm of (x, scale, bias, skip [, bias]).
Result<Values> group_norm(RuleContext& c) {
  Value* x = c.in(0);
  const bool skips = c.node.op == "SkipGroupNorm";
  const bool last = TRY(c.get_bool("channels_last", true));
  if (!last) x = TRY(channels_last(c, x));
  if (skips) {
    Value* skip = c.in(3);
    // [N, C] stands for [N, 1, 1, C].
    if (TRY(c.rank(3)) == 2)
      skip = TRY(expand_dims(c, skip, {1, 2}));
    else if (!last)
      skip = TRY(channels_last(c, skip));
    x = TRY(c.op("add", {x, skip}));
    if (c.has(4)) x = TRY(c.op("add", {x, c.in(4)}));
  }
  const DType t = x->dtype();
  Value* y = TRY(
      c.op("group_norm", {x, TRY(c.cast(c.in(1), t)), TRY(c.cast(c.in(2), t))},
           {{"groups", TRY(c.get_int("groups"))}, {"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
  if (TRY(c.get_int("activation")) == 1) y = TRY(silu(c, y));
  Values results{last ? y : TRY(channels_first(c, y))};
  if (skips) results.push_back(last ? x : TRY(channels_first(c, x)));
  return results;
}

// (x [, scale])
Result<Values> scaled_silu(RuleContext& c) {
  Value* scale = c.has(1) ? TRY(c.cast(TRY(c.reshape(c.in(1), {})), c.in(0)->dtype()))
                          : TRY(c.scalar_like(c.in(0), TRY(c.get_float("alpha", 1))));
  return one(silu(c, TRY(c.op("mul", {c.in(0), scale}))));
}

// x over its root mean square in runs as long as the scale, times the scale and a gate.
Result<Values> gated_rms_norm(RuleContext& c) {
  const Shape& scale = c.in(1)->shape();
  if (!scale.ranked() || scale.rank() != 1 || !scale[0].known())
    return unsupported("the length of the scale must be known when the model is compiled");
  const std::string how = TRY(c.get_string("activation", "silu"));
  if (how != "silu" && how != "swish" && how != "sigmoid")
    return unsupported("the activation " + how);
  const DType t = c.in(0)->dtype();
  Value* x = TRY(c.cast(c.in(0), DType::f32));
  Value* runs = TRY(c.reshape(x, {-1, scale[0].size()}));
  Value* y = TRY(c.op("rms_norm", {runs, TRY(c.cast(c.in(1), DType::f32))},
                      {{"epsilon", TRY(c.get_float("epsilon", 1e-5))}}));
  y = TRY(c.op("reshape", {y, TRY(shape_of(c, x))}, {{"allow_zero", true}}));
  Value* gate = TRY(c.cast(c.in(2), DType::f32));
  gate = how == "sigmoid" ? TRY(c.op("sigmoid", {gate})) : TRY(silu(c, gate));
  return one(c.cast(TRY(c.op("mul", {y, gate})), t));
}

// alpha A B + beta C through an activation.
Result<Values> fused_gemm(RuleContext& c) {
  Value* y = TRY(standard_op(c, "Gemm", 13))[0];
  const std::string activation = TRY(c.get_string("activation", ""));
  const double alpha = TRY(c.get_float("activation_alpha", 0.01));
  if (activation.empty()) return Values{y};
  if (activation == "Relu") return one(c.op("relu", {y}));
  if (activation == "Sigmoid") return one(c.op("sigmoid", {y}));
  if (activation == "Tanh") return one(c.op("tanh", {y}));
  if (activation == "Softsign") return one(c.op("softsign", {y}));
  if (activation == "Softplus") return one(c.op("softplus", {y}));
  if (activation == "LeakyRelu") return one(c.op("leaky_relu", {y}, {{"alpha", alpha}}));
  if (activation == "Elu") return one(c.op("elu", {y}, {{"alpha", alpha}}));
  return unsupported(fmt::format("the fused activation '{}' is not supported", activation));
}

Result<Values> gemm_gelu(RuleContext& c) {
  Value* y = TRY(matrix_product(c, c.in(0), c.in(1)));
  if (c.has(2)) y = TRY(c.op("add", {y, c.in(2)}));
  return one(c.op("gelu", {y}, {{"approximate", std::string("tanh")}}));
}

// T5's bias of attention by distance: (table [buckets, heads], number of queries, of keys). Near
// distances have a bucket each, farther ones share theirs on a logarithmic scale.
Result<Values> relative_bias(RuleContext& c) {
  const Shape& table = c.in(0)->shape();
  if (!table.ranked() || table.rank() != 2 || !table[0].known())
    return unsupported("the number of buckets must be known when the model is compiled");
  const bool both_ways = TRY(c.get_bool("is_bidirectional", false));
  const int64_t farthest = TRY(c.get_int("max_distance"));
  const int64_t buckets = both_ways ? table[0].size() / 2 : table[0].size(), near = buckets / 2;
  if (near < 1 || farthest <= near)
    return invalid_model("'max_distance' is within the near buckets");
  const auto places = [&](int i, int64_t axis) -> Result<Value*> {
    Value* n = TRY(c.cast(TRY(c.reshape(c.in(i), {})), DType::i64));
    return expand_dims(c, TRY(c.op("range", {c.int_scalar(0), n, c.int_scalar(1)})), {axis});
  };
  // Of the key from the query.
  Value* distance = TRY(c.op("sub", {TRY(places(2, 0)), TRY(places(1, 1))}));
  Value* size =
      both_ways ? TRY(c.op("abs", {distance})) : TRY(c.op("relu", {TRY(c.op("neg", {distance}))}));
  const double scale = static_cast<double>(buckets - near) /
                       std::log(static_cast<double>(farthest) / static_cast<double>(near));
  const auto real = [&](double v) { return c.scalar(DType::f32, v); };
  // Below `near` the logarithm is not used, but must be a number.
  Value* far = TRY(c.op("max", {TRY(c.cast(size, DType::f32)), TRY(real(1))}));
  far = TRY(c.op("log", {TRY(c.op("div", {far, TRY(real(static_cast<double>(near)))}))}));
  far = TRY(c.cast(TRY(c.op("mul", {far, TRY(real(scale))})), DType::i64));
  far = TRY(c.op("add", {far, c.int_scalar(near)}));
  far = TRY(c.op("min", {far, c.int_scalar(buckets - 1)}));
  Value* bucket = TRY(c.op("select", {TRY(c.op("less", {size, c.int_scalar(near)})), size, far}));
  if (both_ways) {
    Value* ahead = TRY(c.cast(TRY(c.op("greater", {distance, c.int_scalar(0)})), DType::i64));
    bucket = TRY(c.op("add", {bucket, TRY(c.op("mul", {ahead, c.int_scalar(buckets)}))}));
  }
  Value* y = TRY(c.op("gather", {c.in(0), bucket}, {{"axis", int64_t{0}}}));
  return one(expand_dims(c, TRY(c.transpose(y, {2, 0, 1})), {0}));
}

// WavLM's: the bias [1, heads, n, n] through a gate of the query [batch, n, heads * size].
Result<Values> gated_relative_bias(RuleContext& c) {
  if (c.has(6)) return unsupported("packed sequences (token_offset)");
  const int64_t heads = TRY(c.get_int("num_heads"));
  Value* q = TRY(c.op("add", {c.in(0), c.in(1)}));
  Value* batch_and_steps = TRY(shape_of(c, q, 0, 2));
  Value* split = TRY(join(c, {batch_and_steps, c.builder.ints({heads, -1})}));
  q = TRY(c.transpose(TRY(c.op("reshape", {q, split})), {0, 2, 1, 3}));
  Value* gates = TRY(c.op("add", {TRY(matrix_product(c, q, c.in(3))), c.in(4)}));
  Value* shape = TRY(join(c, {TRY(shape_of(c, q, 0, 3)), c.builder.ints({2, -1})}));
  gates = TRY(c.op("reshape", {gates, shape}));
  gates = TRY(c.op("sigmoid", {TRY(c.op("sum", {gates}, {{"axes", Axes{-1}}}))}));
  const Values two =
      TRY(all(c.builder.node("split", {gates}, {{"axis", int64_t{-1}}, {"num", int64_t{2}}})));
  Value* y = TRY(c.op("mul", {two[1], TRY(c.reshape(c.in(5), {1, heads, 1, 1}))}));
  y = TRY(c.op("mul", {two[0], TRY(c.op("sub", {y, TRY(c.scalar_like(y, 1))}))}));
  y = TRY(c.op("add", {y, TRY(c.scalar_like(y, 2))}));
  return one(c.op("mul", {y, c.in(2)}));
}

// The padding index and the scale matter in training only.
Result<Values> embedding(RuleContext& c) {
  return one(c.op("gather", {c.in(0), c.in(1)}, {{"axis", int64_t{0}}}));
}

Result<Values> integer_sum(RuleContext& c) {
  Value* x = TRY(c.cast(c.in(0), DType::i32));
  const Axes axes = TRY(c.get_ints("axes"));
  const bool keep = TRY(c.get_bool("keepdims", true));
  return one(c.op("sum", {x}, {{"axes", axes}, {"keep_dims", keep}}));
}

// Distances between all rows of two matrices.
Result<Values> distances(RuleContext& c) {
  const std::string metric = TRY(c.get_string("metric", "sqeuclidean"));
  if (metric != "euclidean" && metric != "sqeuclidean") return unsupported("the metric " + metric);
  Value* a = TRY(expand_dims(c, c.in(0), {1}));
  Value* b = TRY(expand_dims(c, c.in(1), {0}));
  Value* y = TRY(c.op("sum", {TRY(c.op("squared_difference", {a, b}))}, {{"axes", Axes{2}}}));
  return one(metric == "euclidean" ? c.op("sqrt", {y}) : Result<Value*>(y));
}

Result<Values> expand_by_one(RuleContext& c) {
  return one(expand_dims(c, c.in(0), {TRY(c.int_input(1))}));
}

// All windows of `size` along a dimension, in a new last one.
Result<Values> unfold(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  const int axis = TRY(normalize_axis(TRY(c.get_int("dim", -1)), rank));
  const int64_t size = TRY(c.get_int("size")), step = TRY(c.get_int("step", 1));
  if (size < 1 || step < 1 || size > int64_t{1} << 30 || step > int64_t{1} << 30)
    return invalid_model("'size' or 'step' is out of range");
  // Where windows begin: 0, step … while they fit.
  Value* end = TRY(c.op("sub", {TRY(c.dim(c.in(0), axis)), c.int_scalar(size - 1)}));
  Value* begins = TRY(c.op("range", {c.int_scalar(0), end, c.int_scalar(step)}));
  Value* within = TRY(c.op("range", {c.int_scalar(0), c.int_scalar(size), c.int_scalar(1)}));
  Value* places = TRY(c.op("add", {TRY(expand_dims(c, begins, {1})), within}));
  Value* y = TRY(c.op("gather", {c.in(0), places}, {{"axis", int64_t{axis}}}));
  std::vector<int64_t> perm;
  for (int i = 0; i <= rank; ++i)
    if (i != axis + 1) perm.push_back(i);
  perm.push_back(axis + 1);
  return one(c.transpose(y, std::move(perm)));
}

// Products of complex numbers as pairs in the last dimension; the second one conjugated.
Result<Values> complex_mul(RuleContext& c) {
  const auto parts_of = [&](Value* x) -> Result<Values> {
    Values parts =
        TRY(all(c.builder.node("split", {x}, {{"axis", int64_t{-1}}, {"num", int64_t{2}}})));
    if (parts.size() != 2) return invalid_model("the last dimension must have size 2");
    return parts;
  };
  const Values a = TRY(parts_of(c.in(0)));
  Values b = TRY(parts_of(c.in(1)));
  if (c.node.op == "ComplexMulConj") b[1] = TRY(c.op("neg", {b[1]}));
  const auto times = [&](Value* x, Value* y) { return c.op("mul", {x, y}); };
  Value* real = TRY(c.op("sub", {TRY(times(a[0], b[0])), TRY(times(a[1], b[1]))}));
  Value* imaginary = TRY(c.op("add", {TRY(times(a[0], b[1])), TRY(times(a[1], b[0]))}));
  return one(join(c, {real, imaginary}, -1));
}

// Whether every element of all operands is a number, or one that is not infinite, or neither.
Result<Values> all_finite(RuleContext& c) {
  const bool inf_only = TRY(c.get_bool("isinf_only", false));
  const bool nan_only = TRY(c.get_bool("isnan_only", false));
  Value* y = nullptr;
  for (Value* x : c.inputs) {
    if (x == nullptr) return invalid_model("an input is missing");
    Value* bad = inf_only   ? TRY(c.op("is_inf", {x}))
                 : nan_only ? TRY(c.op("is_nan", {x}))
                            : TRY(c.op("logical_not", {TRY(c.op("is_finite", {x}))}));
    Value* good = TRY(c.op("all", {TRY(c.op("logical_not", {bad}))}));
    y = y == nullptr ? good : TRY(c.op("logical_and", {y, good}));
  }
  if (y == nullptr) return invalid_model("it has no inputs");
  return Values{y};
}

// (a, its zero point, b, its zero point) as i32.
Result<Values> integer_mul(RuleContext& c) {
  const auto shifted = [&](int i) -> Result<Value*> {
    Value* x = TRY(c.cast(c.in(i), DType::i32));
    return c.has(i + 1) ? c.op("sub", {x, TRY(c.cast(c.in(i + 1), DType::i32))})
                        : Result<Value*>(x);
  };
  if (!c.has(2)) return invalid_model("input 2 is missing");
  return one(c.op("mul", {TRY(shifted(0)), TRY(shifted(2))}));
}

Result<Values> short_product(RuleContext& c) {
  Value* a = TRY(c.cast(c.in(0), DType::i32));
  return one(matrix_product(c, a, TRY(c.cast(c.in(1), DType::i32))));
}

// (images, boxes, which image, size of the crops), channels first.
Result<Values> crop_and_resize(RuleContext& c) {
  Value* y =
      TRY(c.op("crop_and_resize", {TRY(channels_last(c, c.in(0))), c.in(1), c.in(2), c.in(3)},
               {{"method", TRY(c.get_string("mode", "bilinear"))},
                {"extrapolation_value", TRY(c.get_float("extrapolation_value", 0))}}));
  return one(channels_first(c, y));
}

// EmbedLayerNormalization with everything quantised.
Result<Values> quantized_embed_norm(RuleContext& c) {
  const auto real = [&](int table, int scale, int zero) {
    return dequantized(c, c.in(table), c.in(scale), c.in(zero));
  };
  const Rule* rule = find_rule(kDomain, "EmbedLayerNormalization", 1);
  if (rule == nullptr) return internal_error("there is no rule for EmbedLayerNormalization");
  Value* kinds = c.has(4) ? TRY(real(4, 10, 15)) : nullptr;
  c.inputs = {c.in(0),
              c.in(1),
              TRY(real(2, 8, 13)),
              TRY(real(3, 9, 14)),
              kinds,
              TRY(real(5, 11, 16)),
              TRY(real(6, 12, 17)),
              c.in(7)};
  return rule->function(c);
}

// Rows of a quantised table: looked up first, then made real.
Result<Values> gather_quantized(RuleContext& c) {
  const int rank = TRY(c.rank(0)), index_rank = TRY(c.rank(1));
  const int gather = TRY(normalize_axis(TRY(c.get_int("gather_axis", 0)), rank));
  const int axis = TRY(normalize_axis(TRY(c.get_int("quantize_axis", 1)), rank));
  const int64_t block = TRY(c.get_int("block_size", 128));
  if (gather == axis) return unsupported("rows of the axis that is quantised in blocks");
  if (block < 16 || block > int64_t{1} << 30) return invalid_model("'block_size' is out of range");
  const DType t = c.in(0)->dtype();
  if (t == DType::u8 && TRY(c.get_int("bits", 4)) != 8)
    return unsupported("several numbers in a byte");
  const auto rows = [&](int i) -> Result<Value*> {
    if (!c.has(i)) return nullptr;
    return c.op("gather", {c.in(i), c.in(1)}, {{"axis", int64_t{gather}}});
  };
  const int64_t after = axis < gather ? axis : axis + index_rank - 1;
  Value *x = TRY(rows(0)), *scale = TRY(rows(2)), *zero = TRY(rows(3));
  return one(dequantized(c, x, scale, zero, {.axis = after, .block = block}));
}

// The step may be missing.
Result<Values> range(RuleContext& c) {
  Value* step = c.has(2) ? c.in(2) : TRY(c.scalar_like(c.in(0), 1));
  Values in;
  for (Value* v : {c.in(0), c.in(1), step}) in.push_back(TRY(c.reshape(v, {})));
  return one(c.op("range", in));
}

constexpr Rule kRules[] = {
    {"BiasAdd", {2, 3}, bias_add, 1, kDomain},
    {"BiasSoftmax", 2, bias_softmax, 1, kDomain},
    {"BiasSplitGelu", 2, bias_split_gelu, 1, kDomain},
    {"CDist", 2, distances, 1, kDomain},
    {"ComplexMul", 2, complex_mul, 1, kDomain},
    {"ComplexMulConj", 2, complex_mul, 1, kDomain},
    {"CropAndResize", 4, crop_and_resize, 1, kDomain},
    {"ExpandDims", 2, expand_by_one, 1, kDomain},
    {"FusedGemm", {2, 3}, fused_gemm, 1, kDomain},
    {"GatedRMSNorm", 3, gated_rms_norm, 1, kDomain},
    {"GatedRelativePositionBias", {6, 7}, gated_relative_bias, 1, kDomain},
    {"GatherBlockQuantized", {3, 4}, gather_quantized, 1, kDomain},
    {"GemmFastGelu", {2, 3}, gemm_gelu, 1, kDomain},
    {"GridSample", 2, standard<"GridSample", 16>, 1, kDomain},
    {"GroupNorm", 3, group_norm, 1, kDomain},
    {"IsAllFinite", {1, kVariadic}, all_finite, 1, kDomain},
    {"MatMulInteger16", 2, short_product, 1, kDomain},
    {"MulInteger", {3, 4}, integer_mul, 1, kDomain},
    {"Pad", {2, 3}, standard<"Pad", 13>, 1, kDomain},
    {"QEmbedLayerNormalization", {13, 18}, quantized_embed_norm, 1, kDomain},
    {"Range", {2, 3}, range, 1, kDomain},
    {"ReduceSumInteger", 1, integer_sum, 1, kDomain},
    {"RelativePositionBias", 3, relative_bias, 1, kDomain},
    {"ScaledSiLU", {1, 2}, scaled_silu, 1, kDomain},
    {"SkipGroupNorm", {4, 5}, group_norm, 1, kDomain},
    {"TorchEmbedding", {2, 4}, embedding, 1, kDomain},
    {"UnfoldTensor", 1, unfold, 1, kDomain},
};

}  // namespace

std::span<const Rule> microsoft_layer_rules() {
  return kRules;
}

}  // namespace tenon::onnx

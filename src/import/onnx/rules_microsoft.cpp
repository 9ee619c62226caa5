// Rules of com.microsoft: ops that ONNX Runtime's optimiser writes into models.
#include <fmt/format.h>

#include "import/onnx/attention.h"
#include "import/onnx/graph_importer.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "com.microsoft";

// [d0, batch…, last] to [batch…, d0, last].
Result<Value*> first_before_last(const RuleContext& c, Value* x) {
  if (!x->shape().ranked()) return unsupported("the number of dimensions is not known");
  const int rank = x->shape().rank();
  if (rank < 3) return x;
  std::vector<int64_t> perm;
  for (int i = 1; i < rank - 1; ++i) perm.push_back(i);
  perm.push_back(0);
  perm.push_back(rank - 1);
  return c.transpose(x, std::move(perm));
}

Result<Values> fused_matmul(RuleContext& c) {
  Value* a = c.in(0);
  Value* b = c.in(1);
  if (TRY(c.get_bool("transBatchA", false))) a = TRY(first_before_last(c, a));
  if (TRY(c.get_bool("transBatchB", false))) b = TRY(first_before_last(c, b));
  if (TRY(c.rank(0)) < 2 || TRY(c.rank(1)) < 2) return one(matrix_product(c, a, b));
  return one(c.op("matmul", {a, b},
                  {{"transpose_a", TRY(c.get_bool("transA", false))},
                   {"transpose_b", TRY(c.get_bool("transB", false))},
                   {"alpha", TRY(c.get_float("alpha", 1))}}));
}

Result<Value*> biased(const RuleContext& c) {
  return c.has(1) ? c.op("add", {c.in(0), c.in(1)}) : Result<Value*>(c.in(0));
}

Result<Values> gelu(RuleContext& c) {
  const std::string kind = c.node.op == "FastGelu" ? "tanh" : "none";
  return one(c.op("gelu", {TRY(biased(c))}, {{"approximate", kind}}));
}

Result<Values> quick_gelu(RuleContext& c) {
  Value* scaled =
      TRY(c.op("mul", {c.in(0), TRY(c.scalar_like(c.in(0), TRY(c.get_float("alpha", 1.702))))}));
  return one(c.op("mul", {c.in(0), TRY(c.op("sigmoid", {scaled}))}));
}

// dropout(x + bias) + residual, where nothing is dropped.
Result<Values> bias_dropout(RuleContext& c) {
  Value* y = TRY(biased(c));
  if (c.has(4) && TRY(c.int_input(4)) != 0)
    return unsupported("dropout in training mode; export the model for inference");
  if (c.has(2)) y = TRY(c.op("add", {y, c.in(2)}));
  Values results{y};
  if (c.wants(1))
    results.push_back(TRY(c.op("expand", {TRY(c.scalar(DType::boolean, 1)), TRY(c.shape(y))})));
  return results;
}

// norm(x + skip [+ bias]), and the sum.
Result<Values> skip_norm(RuleContext& c) {
  const bool is_rms = c.node.op == "SkipSimplifiedLayerNormalization";
  const int bias_at = is_rms ? 3 : 4;
  Value* sum = TRY(c.op("add", {c.in(0), c.in(1)}));
  if (c.has(bias_at)) sum = TRY(c.op("add", {sum, c.in(bias_at)}));
  if (c.wants(1) || c.wants(2))
    return unsupported("the mean and deviation of a skip normalisation are not computed");
  Values operands{sum, c.in(2)};
  if (!is_rms) operands.push_back(c.in(3));
  Value* y = TRY(c.op(is_rms ? "rms_norm" : "layer_norm", operands,
                      {{"epsilon", TRY(c.get_float("epsilon", 1e-12))}}));
  return Values{y, nullptr, nullptr, sum};
}

// FusedConv, and with the channels last NhwcConv and NhwcFusedConv.
Result<Values> fused_conv(RuleContext& c) {
  const bool last = c.node.op.starts_with("Nhwc");
  Value* x = last ? TRY(channels_first(c, c.in(0))) : c.in(0);
  Value* y = TRY(convolution(c, x, c.in(1), c.in(2)));
  if (last) y = TRY(channels_last(c, y));
  if (c.has(3)) y = TRY(c.op("add", {y, c.in(3)}));
  const std::string activation = TRY(c.get_string("activation", ""));
  const auto parameters = TRY(c.get_floats("activation_params"));
  const auto parameter = [&](size_t i, double fallback) {
    return i < parameters.size() ? parameters[i] : fallback;
  };
  if (activation.empty()) return Values{y};
  if (activation == "Relu") return one(c.op("relu", {y}));
  if (activation == "Sigmoid") return one(c.op("sigmoid", {y}));
  if (activation == "Tanh") return one(c.op("tanh", {y}));
  if (activation == "LeakyRelu")
    return one(c.op("leaky_relu", {y}, {{"alpha", parameter(0, 0.01)}}));
  if (activation == "Clip")
    return one(c.op("clip", {y}, {{"min", parameter(0, 0)}, {"max", parameter(1, 0)}}));
  if (activation == "HardSigmoid")
    return one(
        c.op("hard_sigmoid", {y}, {{"alpha", parameter(0, 0.2)}, {"beta", parameter(1, 0.5)}}));
  return unsupported(fmt::format("the fused activation '{}' is not supported", activation));
}

// word + position [+ segment], normalised; the mask index counts a mask's ones.
Result<Values> embed_layer_norm(RuleContext& c) {
  const auto looked_up = [&](Value* t, Value* ids) {
    return c.op("gather", {t, ids}, {{"axis", int64_t{0}}});
  };
  Value* x = TRY(looked_up(c.in(2), c.in(0)));
  Value* places = c.in(8);
  if (places == nullptr) {
    if (TRY(c.rank(0)) != 2) return invalid_model("input_ids need 2 dimensions");
    places = TRY(positions(c, TRY(c.dim(c.in(0), 1)), false));
  }
  x = TRY(c.op("add", {x, TRY(looked_up(c.in(3), places))}));
  if (c.has(1) && c.has(4)) x = TRY(c.op("add", {x, TRY(looked_up(c.in(4), c.in(1)))}));
  Value* y = TRY(
      c.op("layer_norm", {x, c.in(5), c.in(6)}, {{"epsilon", TRY(c.get_float("epsilon", 1e-12))}}));
  Value* mask = nullptr;
  if (c.wants(1) && c.has(7))
    mask = TRY(c.op("sum", {c.in(7)}, {{"axes", std::vector<int64_t>{1}}}));
  if (c.wants(1) && mask == nullptr)
    mask = TRY(c.op("expand", {TRY(c.scalar(DType::i32, 0)), TRY(shape_of(c, c.in(0), 0, 1))}));
  return Values{y, mask, x};
}

// The solutions for the columns of the unit matrix.
Result<Values> inverse(RuleContext& c) {
  const int rank = TRY(c.rank(0));
  if (rank < 2) return invalid_model("the input needs 2 dimensions or more");
  const Dim size = c.in(0)->shape()[rank - 1];
  constexpr int64_t kMaxSize = 4096;
  if (!size.known() || size.size() > kMaxSize)
    return unsupported("the size of the matrices is not known, or too large");
  Tensor unit = TRY(Tensor::zeros(DType::f32, std::vector<int64_t>{size.size(), size.size()}));
  for (int64_t i = 0; i < size.size(); ++i) unit.mutable_data<float>()[i * (size.size() + 1)] = 1;
  Value* columns = TRY(c.cast(c.builder.constant(unit), c.in(0)->dtype()));
  columns = TRY(c.op("expand", {columns, TRY(c.shape(c.in(0)))}));
  return one(c.op("matrix_solve", {c.in(0), columns}));
}

constexpr Rule kRules[] = {
    {"BiasDropout", {2, 5}, bias_dropout, 1, kDomain},
    {"BiasGelu", 2, gelu, 1, kDomain},
    {"EmbedLayerNormalization", {7, 9}, embed_layer_norm, 1, kDomain},
    {"FastGelu", {1, 2}, gelu, 1, kDomain},
    {"FusedConv", {2, 4}, fused_conv, 1, kDomain},
    {"FusedMatMul", 2, fused_matmul, 1, kDomain},
    {"GatherND", 2, standard<"GatherND", 13>, 1, kDomain},
    {"Gelu", 1, gelu, 1, kDomain},
    {"Inverse", 1, inverse, 1, kDomain},
    {"NhwcConv", {2, 3}, fused_conv, 1, kDomain},
    {"NhwcFusedConv", {2, 4}, fused_conv, 1, kDomain},
    {"QuickGelu", 1, quick_gelu, 1, kDomain},
    {"SkipLayerNormalization", {3, 5}, skip_norm, 1, kDomain},
    {"SkipSimplifiedLayerNormalization", {3, 4}, skip_norm, 1, kDomain},
    {"TransposeMatMul", 2, fused_matmul, 1, kDomain},
    {"Trilu", {1, 2}, standard<"Trilu", 14>, 1, kDomain},
};

}  // namespace

std::span<const Rule> microsoft_rules() {
  return kRules;
}

}  // namespace tenon::onnx

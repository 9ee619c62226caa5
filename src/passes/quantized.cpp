// Products of dequantised integers as products of integers. The sums are then exact, where those of
// the model's own definition are rounded in f32; quantising a sum that lies within such a rounding
// of the middle between two integers may give the other one of them.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/pad.h"
#include "ops/quantize.h"
#include "ops/quantized_product.h"
#include "ops/registry.h"
#include "passes/bytes.h"
#include "passes/passes.h"

namespace tenon {
namespace {

enum Operand { kX, kWeights, kXZero, kWeightsZero, kScale, kBias, kYScale, kYZero, kOperands };

AttrValue attr(const Node& node, std::string_view name) {
  const auto fields = node.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) return node.op().get(i);
  return int64_t{0};
}

// A dequantised value: dequantize_linear and the transposes after it.
struct Dequantised {
  Node* node = nullptr;
  std::vector<std::vector<int64_t>> transposes;  // the last one applied first
  int64_t axis = -1;                             // of vectors of parameters; -1: there are none
};

std::optional<Dequantised> dequantised(Value* value) {
  Dequantised d;
  Node* node = value == nullptr ? nullptr : value->producer();
  for (; node != nullptr && node->is("transpose"); node = node->input(0)->producer())
    d.transposes.push_back(std::get<std::vector<int64_t>>(node->op().get(0)));
  if (node == nullptr || !node->is("dequantize_linear")) return std::nullopt;
  d.node = node;
  const Value* x = node->input(0);
  if (!is_byte(x->dtype()) || node->output()->dtype() != DType::f32 || !x->shape().ranked())
    return std::nullopt;
  bool vectors = false;
  for (const int i : {1, 2})
    if (node->input(i) != nullptr && !is_single(node->input(i))) {
      if (!node->input(i)->shape().is_static()) return std::nullopt;
      vectors = true;
    }
  if (!vectors) return d;
  d.axis = std::get<int64_t>(attr(*node, "axis"));
  if (d.axis < 0) d.axis += x->shape().rank();
  for (size_t i = d.transposes.size(); i-- > 0;) {
    const auto& perm = d.transposes[i];
    const auto at = std::ranges::find(perm, d.axis);
    if (at == perm.end()) return std::nullopt;
    d.axis = at - perm.begin();
  }
  return d;
}

Result<Value*> integers(Builder& builder, const Dequantised& d) {
  Value* x = d.node->input(0);
  for (size_t i = d.transposes.size(); i-- > 0;)
    x = TRY(builder.op("transpose", {x}, {{"perm", d.transposes[i]}}));
  return x;
}

// Puts a product of integers in the place of `node`, whose operands are x, weights and a bias.
Result<bool> use_integers(Graph& graph, Node& node, std::unique_ptr<Op> op, Value* bias,
                          bool transposes_weights) {
  const auto x = dequantised(node.input(0));
  auto w = dequantised(node.input(1));
  if (!x || !w || x->axis != -1) return false;
  const Shape& shape = node.input(1)->shape();
  if (!shape.ranked()) return false;
  const int rank = shape.rank();
  if (w->axis != -1 && w->axis != (transposes_weights ? rank - 2 : rank - 1)) return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({x->node, w->node, &node}));
  if (transposes_weights) {
    std::vector<int64_t> perm(static_cast<size_t>(rank));
    std::iota(perm.begin(), perm.end(), 0);
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    w->transposes.insert(w->transposes.begin(), perm);
  }
  Value* scale = TRY(builder.op("mul", {x->node->input(1), w->node->input(1)}));
  Node* product =
      TRY(builder.add(std::move(op), {TRY(integers(builder, *x)), TRY(integers(builder, *w)),
                                      x->node->input(2), w->node->input(2), scale, bias}));
  graph.replace_all_uses(node.output(), product->output());
  return true;
}

Result<bool> integer_conv(Graph& graph, Node& node) {
  const Conv* conv = node.as<Conv>();
  if (conv == nullptr || node.input(3) != nullptr || node.output()->dtype() != DType::f32 ||
      conv->activation > ActivationKind::clip)
    return false;
  QuantizedConv op{conv->strides,    conv->pads,  conv->dilations, conv->groups,
                   conv->activation, conv->alpha, conv->beta,      conv->auto_pad};
  return use_integers(graph, node, make_op(op), node.input(2), false);
}

Result<bool> integer_matmul(Graph& graph, Node& node) {
  const Matmul* matmul = node.as<Matmul>();
  if (matmul == nullptr || node.input(3) != nullptr || node.output()->dtype() != DType::f32 ||
      matmul->transpose_a || matmul->alpha != 1)
    return false;
  QuantizedMatmul op{matmul->activation, matmul->act_alpha, matmul->act_beta};
  if (op.activation > ActivationKind::clip) return false;
  Value* bias = node.input(2);
  if (bias != nullptr && (!bias->shape().ranked() || bias->shape().rank() != 1)) return false;
  return use_integers(graph, node, make_op(op), bias, matmul->transpose_b);
}

bool is_product(const Node* node) {
  return node != nullptr && (node->is(QuantizedConv::name) || node->is(QuantizedMatmul::name));
}

// The product of integers whose result only `node` reads, when it is of this type.
Node* product_behind(const Graph& graph, const Value* x, DType dtype) {
  if (x == nullptr || !is_product(x->producer()) || x->dtype() != dtype) return nullptr;
  return has_single_use(graph, x) ? x->producer() : nullptr;
}

bool has_activation(const Node& node) {
  return !attr_equal(attr(node, "activation"), std::string("none"));
}

// Replaces `node` by its product with other operands from `first` on.
Result<bool> extend(Graph& graph, Node& node, const Node& product, std::unique_ptr<Op> op,
                    Operand first, std::initializer_list<Value*> more) {
  std::vector<Value*> operands = product.inputs();
  operands.resize(kOperands, nullptr);
  std::ranges::copy(more, operands.begin() + first);
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({&product, &node}));
  Node* extended = TRY(builder.add(std::move(op), std::move(operands)));
  if (extended->output()->dtype() != node.output()->dtype()) return false;
  graph.replace_all_uses(node.output(), extended->output());
  return true;
}

// A constant of one value per channel of `like` as a vector; null for any other.
Value* channel_vector(Builder& builder, const Value* v, const Value* like) {
  const Tensor* t = v->constant();
  if (t == nullptr || t->dtype() != DType::f32 || !like->shape().ranked()) return nullptr;
  const int rank = like->shape().rank();
  if (rank == 0 || t->rank() == 0 || t->rank() > rank) return nullptr;
  const Dim channels = like->shape()[rank - 1];
  if (!channels.known() || t->elements() != channels.size() ||
      t->dim(t->rank() - 1) != channels.size())
    return nullptr;
  return builder.constant(t->reshaped({t->elements()}));
}

Result<bool> scale_sums(Graph& graph, Node& node) {
  if (!node.is("mul") || node.output()->dtype() != DType::f32) return false;
  for (int i = 0; i < 2; ++i) {
    const Node* cast = node.input(i)->producer();
    if (cast == nullptr || !cast->is("cast") || !has_single_use(graph, cast->output())) continue;
    const Node* product = product_behind(graph, cast->input(0), DType::i32);
    if (product == nullptr) continue;
    Builder builder(graph, &node);
    Value* scale = node.input(1 - i);
    if (!is_single(scale)) scale = channel_vector(builder, scale, product->output());
    if (scale == nullptr) continue;
    return extend(graph, node, *product, product->op().clone(), kScale, {scale});
  }
  return false;
}

Result<bool> add_bias(Graph& graph, Node& node) {
  if (!node.is("add")) return false;
  for (int i = 0; i < 2; ++i) {
    const Node* product = product_behind(graph, node.input(i), DType::f32);
    if (product == nullptr || has_activation(*product) || product->input(kBias) != nullptr)
      continue;
    Builder builder(graph, &node);
    Value* bias = channel_vector(builder, node.input(1 - i), product->output());
    if (bias == nullptr || product->output()->shape() != node.output()->shape()) continue;
    return extend(graph, node, *product, product->op().clone(), kBias, {bias});
  }
  return false;
}

Result<bool> take_activation(Graph& graph, Node& node) {
  if (!node.is("relu") && !node.is("clip")) return false;
  const Node* product = product_behind(graph, node.input(0), DType::f32);
  if (product == nullptr || has_activation(*product)) return false;
  auto op = product->op().clone();
  TRY(set_attr(*op, "activation", std::string(node.def().name)));
  if (node.is("clip")) {
    TRY(set_attr(*op, "alpha", attr(node, "min")));
    TRY(set_attr(*op, "beta", attr(node, "max")));
  }
  return extend(graph, node, *product, std::move(op), kX, {});
}

Result<bool> requantise(Graph& graph, Node& node) {
  if (!node.is("quantize_linear") || !is_byte(node.output()->dtype())) return false;
  const Node* product = product_behind(graph, node.input(0), DType::f32);
  if (product == nullptr) return false;
  Value* const scale = node.input(1);
  Value* zero = node.input(2);
  if (!is_single(scale) || scale->constant() == nullptr || scale->dtype() != DType::f32 ||
      !(scale->constant()->real_at(0) > 0) || (zero != nullptr && !is_single(zero)))
    return false;
  Builder builder(graph, &node);
  if (zero == nullptr)
    zero = builder.constant(node.output()->dtype() == DType::u8 ? Tensor::scalar(uint8_t{0})
                                                                : Tensor::scalar(int8_t{0}));
  return extend(graph, node, *product, product->op().clone(), kYScale, {scale, zero});
}

// The bytes that stand for the number a node pads with; null where there are none.
Value* padding_bytes(Builder& builder, const Node& node, const Node& real) {
  const Value* with = node.input(2);
  const Value* zero = real.input(2);
  if (with != nullptr && (with->constant() == nullptr || with->constant()->elements() != 1 ||
                          with->constant()->real_at(0) != 0))
    return nullptr;
  if (zero != nullptr)
    return zero->constant() == nullptr ? nullptr : builder.constant(zero->constant()->reshaped({}));
  return builder.constant(real.input(0)->dtype() == DType::u8 ? Tensor::scalar(uint8_t{0})
                                                              : Tensor::scalar(int8_t{0}));
}

Result<bool> move_bytes(Graph& graph, Node& node) {
  if (!moves_elements(node) || node.is("transpose") || node.is("concat")) return false;
  bool wanted = false;
  for (int i = 0; i < node.output_count(); ++i) wanted |= becomes_integers(node.output(i));
  const auto real = wanted ? dequantised(node.input(0)) : std::nullopt;
  if (!real || real->axis != -1 || (node.is("max_pool") && node.output_count() != 1)) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = node.inputs();
  if (const Pad* pad = node.as<Pad>(); pad != nullptr && pad->mode == PadMode::constant) {
    operands.resize(3);
    operands[2] = padding_bytes(builder, node, *real->node);
    if (operands[2] == nullptr) return false;
  }
  operands[0] = TRY(integers(builder, *real));
  Node* moved = TRY(builder.add(node.op().clone(), std::move(operands)));
  builder.set_origins(real->node->origins);
  for (int i = 0; i < node.output_count(); ++i) {
    operands = real->node->inputs();
    operands[0] = moved->output(i);
    Node* result = TRY(builder.add(real->node->op().clone(), std::move(operands)));
    graph.replace_all_uses(node.output(i), result->output());
  }
  return true;
}

// At a tie the integer is the even one instead of the upper one.
Result<bool> fake_quant(Graph& graph, Node& node) {
  constexpr int64_t kBits = 8;
  const FakeQuant* fake = node.as<FakeQuant>();
  if (fake == nullptr || fake->bits > kBits || node.output()->dtype() != DType::f32 ||
      !becomes_integers(node.output()))
    return false;
  const auto [from, to, step] = fake->levels();
  if (!(step > 0)) return false;
  const float lowest = fake->narrow ? 1 : 0;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* x = node.input(0);
  if (fake->narrow || fake->bits < kBits)
    x = TRY(builder.op("clip", {x},
                       {{"min", static_cast<double>(from)}, {"max", static_cast<double>(to)}}));
  Value* scale = builder.constant(Tensor::scalar(step));
  Value* zero =
      builder.constant(Tensor::scalar(static_cast<uint8_t>(std::nearbyint(lowest - from / step))));
  x = TRY(builder.op("quantize_linear", {x, scale, zero}));
  graph.replace_all_uses(node.output(), TRY(builder.op("dequantize_linear", {x, scale, zero})));
  return true;
}

Result<bool> integer_sums(Graph& graph, Node& node) {
  const Matmul* matmul = node.as<Matmul>();
  if (matmul == nullptr || node.output()->dtype() != DType::i32 || matmul->transpose_a ||
      matmul->transpose_b || matmul->alpha != 1 || node.input(2) != nullptr ||
      node.input(3) != nullptr || matmul->activation != ActivationKind::none ||
      !is_byte(node.input(0)->dtype()) || !is_byte(node.input(1)->dtype()))
    return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* sums = TRY(builder.op(QuantizedMatmul{}, {node.input(0), node.input(1)}));
  if (sums->type() != node.output()->type()) return false;
  graph.replace_all_uses(node.output(), sums);
  return true;
}

constexpr Rule kRules[] = {
    {"integer-fake", "fake_quant(x) = dequantize(quantize(x)), where a product reads it",
     fake_quant},
    {"integer-moves",
     "max_pool(dequantize(x)) = dequantize(max_pool(x)), where integers are made of it",
     move_bytes},
    {"integer-sums", "matmul(x, w) of bytes with i32 results = quantized_matmul(x, w)",
     integer_sums},
    {"integer-conv", "conv(dequantize(x), dequantize(w), b) = quantized_conv(x, w, …, b)",
     integer_conv},
    {"integer-matmul", "matmul(dequantize(x), dequantize(w)) = quantized_matmul(x, w, …)",
     integer_matmul},
    {"integer-scale", "cast(quantized_matmul(x, w)) * s = quantized_matmul(x, w, s)", scale_sums},
    {"integer-bias", "quantized_matmul(x, w, s) + b = quantized_matmul(x, w, s, b)", add_bias},
    {"integer-activation", "relu(quantized_conv(x, …)) = quantized_conv(x, …){activation=relu}",
     take_activation},
    {"requantise", "quantize(quantized_conv(x, …)) = quantized_conv(x, …, y_scale, y_zero)",
     requantise},
};

}  // namespace

std::span<const Rule> quantized_rules() {
  return kRules;
}

}  // namespace tenon

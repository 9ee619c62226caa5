// Tables of bytes that are functions after all: an activation between a dequantisation and a
// quantisation, whose scale shows in the table.
#include "passes/byte_functions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/byte_lookup.h"
#include "ops/quantized_product.h"
#include "ops/unary_attr.h"
#include "passes/bytes.h"

namespace tenon {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What may be behind a table.
struct Candidate {
  ActivationKind kind;
  double alpha = 0, beta = 0;
  bool through_zero = true;  // else from 0 to 1
};
constexpr std::array<Candidate, 10> kCandidates{{
    {ActivationKind::none},
    {ActivationKind::silu},
    {ActivationKind::hard_swish},
    {ActivationKind::tanh},
    {ActivationKind::gelu_erf},
    {ActivationKind::gelu_tanh},
    {ActivationKind::elu, 1},
    {ActivationKind::sigmoid, 0, 0, false},
    {ActivationKind::hard_sigmoid, 1.0 / 6, 0.5, false},
    {ActivationKind::hard_sigmoid, 0.2, 0.5, false},
}};

struct ByteRange {
  int64_t low, high;
};
ByteRange range_of(DType dtype) {
  return dtype == DType::i8 ? ByteRange{-128, 127} : ByteRange{0, 255};
}

// The scales by which `table` is round(values / scale) + zero.
struct Interval {
  double from = 0, to = kInfinity;
};
Interval scales_of(std::span<const double> values, const Tensor& table, int64_t zero) {
  const ByteRange range = range_of(table.dtype());
  Interval scales;
  for (size_t i = 0; i < values.size(); ++i) {
    const int64_t t = table.int_at(static_cast<int64_t>(i));
    const double v = std::abs(values[i]), sign = values[i] < 0 ? -1 : 1;
    // How many steps from zero, outwards.
    const double steps = sign * static_cast<double>(t - zero);
    const bool saturates = t == (sign < 0 ? range.low : range.high);
    if (v == 0) continue;
    if (!saturates) scales.from = std::max(scales.from, v / (steps + 0.5));
    if (steps > 0.5) scales.to = std::min(scales.to, v / (steps - 0.5));
    if (!saturates && steps <= -0.5) return {1, 0};
  }
  return scales;
}

// Whether the table is the function by this scale; ties may fall to the other side.
bool agrees(std::span<const double> values, const Tensor& table, int64_t zero, double scale) {
  constexpr int kMostTies = 2;
  const ByteRange range = range_of(table.dtype());
  int ties = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double exact = std::nearbyint(values[i] / scale) + static_cast<double>(zero);
    const double t =
        std::clamp(exact, static_cast<double>(range.low), static_cast<double>(range.high));
    const double off = std::abs(t - static_cast<double>(table.int_at(static_cast<int64_t>(i))));
    if (off > 1 || (off > 0 && ++ties > kMostTies)) return false;
  }
  return true;
}

}  // namespace

std::optional<ByteScale> byte_scale_of(const Value* v) {
  const Node* node = v->producer();
  while (node != nullptr && moves_elements(*node) && node->input_count() > 0 &&
         !node->is("concat")) {
    v = node->input(0);
    node = v->producer();
  }
  if (node == nullptr) return std::nullopt;
  const auto read = [](const Value* scale, const Value* zero) -> std::optional<ByteScale> {
    if (scale == nullptr || scale->constant() == nullptr || scale->constant()->elements() != 1)
      return std::nullopt;
    if (zero != nullptr && (zero->constant() == nullptr || zero->constant()->elements() != 1))
      return std::nullopt;
    return ByteScale{scale->constant()->real_at(0),
                     zero == nullptr ? 0 : zero->constant()->int_at(0)};
  };
  if (quantises_by_constants(node)) return read(node->input(1), node->input(2));
  constexpr int kYScale = 6, kYZero = 7;  // of quantized products
  if (node->as<QuantizedConv>() != nullptr || node->as<QuantizedMatmul>() != nullptr)
    return node->input(kYScale) == nullptr ? std::nullopt
                                           : read(node->input(kYScale), node->input(kYZero));
  return std::nullopt;
}

std::optional<ByteFunction> function_of(const Node& lookup) {
  const Tensor* table = lookup.input(1)->constant();
  if (table == nullptr || table->elements() != 256 || !is_byte(table->dtype())) return std::nullopt;
  const auto from = byte_scale_of(lookup.input(0));
  if (!from) return std::nullopt;
  const ByteRange in = range_of(lookup.input(0)->dtype());
  for (const Candidate& c : kCandidates) {
    std::vector<double> values;
    for (int64_t i = in.low; i <= in.high; ++i)
      values.push_back(
          activate(c.kind, c.alpha, c.beta, static_cast<double>(i - from->zero) * from->scale));
    const int64_t zero =
        c.through_zero ? table->int_at(from->zero - in.low) : range_of(table->dtype()).low;
    const Interval scales = scales_of(values, *table, zero);
    if (!(scales.from > 0) || !std::isfinite(scales.to) || scales.from > scales.to * (1 + 1e-6))
      continue;
    const double scale = (scales.from + scales.to) / 2;
    if (agrees(values, *table, zero, scale))
      return ByteFunction{*from, {scale, zero}, c.kind, c.alpha, c.beta};
  }
  return std::nullopt;
}

namespace {

Value* byte_constant(Builder& b, DType dtype, int64_t value) {
  return b.constant(dtype == DType::i8 ? Tensor::scalar(static_cast<int8_t>(value))
                                       : Tensor::scalar(static_cast<uint8_t>(value)));
}

// The activation as a node of its own.
Result<Value*> activated(Builder& b, const ByteFunction& f, Value* x) {
  switch (f.kind) {
    case ActivationKind::none:
      return x;
    case ActivationKind::gelu_erf:
      return b.op(Gelu{}, {x});
    case ActivationKind::gelu_tanh:
      return b.op(Gelu{.approximate = GeluKind::tanh}, {x});
    case ActivationKind::elu:
      return b.op(Elu{.alpha = f.alpha}, {x});
    case ActivationKind::hard_sigmoid:
      return b.op(HardSigmoid{.alpha = f.alpha, .beta = f.beta}, {x});
    default:
      return b.op(kActivationNames[static_cast<size_t>(f.kind)], {x});
  }
}

template <typename Op>
std::unique_ptr<tenon::Op> with_activation(const Node& node, const ByteFunction& f) {
  const Op* op = node.as<Op>();
  if (op == nullptr || op->activation != ActivationKind::none) return nullptr;
  Op with = *op;
  with.activation = f.kind, with.alpha = f.alpha, with.beta = f.beta;
  return make_op(std::move(with));
}

}  // namespace

Result<bool> lookup_as_function(Graph& graph, Node& node) {
  if (node.as<ByteLookup>() == nullptr) return false;
  const auto f = function_of(node);
  if (!f) return false;
  Builder b(graph, &node);
  b.set_origins(node.origins);
  const DType dtype = node.output()->dtype();
  Value* const scale = b.constant(Tensor::scalar(static_cast<float>(f->to.scale)));
  Value* const zero = byte_constant(b, dtype, f->to.zero);
  Node* const producer = node.input(0)->producer();
  if (producer != nullptr && has_single_use(graph, node.input(0))) {
    auto op = with_activation<QuantizedConv>(*producer, *f);
    if (op == nullptr) op = with_activation<QuantizedMatmul>(*producer, *f);
    if (op != nullptr) {
      constexpr size_t kYScale = 6, kYZero = 7;
      std::vector<Value*> operands = producer->inputs();
      operands[kYScale] = scale, operands[kYZero] = zero;
      b.set_origins(merge_origins({producer, &node}));
      replace_node(graph, node, TRY(b.add(std::move(op), std::move(operands)))->output());
      return true;
    }
  }
  Value* real =
      TRY(b.op("dequantize_linear",
               {node.input(0), b.constant(Tensor::scalar(static_cast<float>(f->from.scale))),
                byte_constant(b, node.input(0)->dtype(), f->from.zero)}));
  Value* y = TRY(activated(b, *f, real));
  replace_node(graph, node, TRY(b.op("quantize_linear", {y, scale, zero})));
  return true;
}

}  // namespace tenon

// What a vector unit does for each pointwise op of the graph.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "lower/vector_code.h"
#include "lower/vector_functions.h"
#include "ops/cast.h"
#include "ops/quantize.h"
#include "ops/unary_attr.h"

namespace tenon::lower {

using isa::Relation;
using isa::Rounding;

Result<Register> VectorCode::apply_unary(const Node& node, const Register& x) {
  const std::string_view op = node.def().name;
  static constexpr std::pair<std::string_view, Opcode> kPlain[] = {
      {"abs", Opcode::abs},   {"exp", Opcode::exp},     {"log", Opcode::ln},
      {"sqrt", Opcode::sqrt}, {"rsqrt", Opcode::rsqrt}, {"reciprocal", Opcode::reciprocal},
      {"relu", Opcode::relu}};
  for (const auto& [name, code] : kPlain)
    if (op == name) return unary(code, x);
  using A = ActivationKind;
  static constexpr std::pair<std::string_view, A> kActivations[] = {{"sigmoid", A::sigmoid},
                                                                    {"tanh", A::tanh},
                                                                    {"silu", A::silu},
                                                                    {"hard_swish", A::hard_swish},
                                                                    {"softplus", A::softplus}};
  for (const auto& [name, kind] : kActivations)
    if (op == name) return activate(kind, 0, 0, x);
  static constexpr std::pair<std::string_view, Rounding> kRound[] = {
      {"floor", Rounding::floor}, {"ceil", Rounding::ceil}, {"round", Rounding::even}};
  for (const auto& [name, rounding] : kRound)
    if (op == name) return whole_number(x, rounding);
  if (const auto* q = node.as<FakeQuant>()) return fake_quant(q->levels(), x);
  if (const auto* c = node.as<Clip>()) return clip(x, c->min, c->max);
  if (const auto* l = node.as<LeakyRelu>()) return activate(A::leaky_relu, l->alpha, 0, x);
  if (const auto* e = node.as<Elu>()) return activate(A::elu, e->alpha, 0, x);
  if (const auto* h = node.as<HardSigmoid>())
    return activate(A::hard_sigmoid, h->alpha, h->beta, x);
  if (node.is("gelu"))
    return gelu(x, node.as<Gelu>() == nullptr || node.as<Gelu>()->approximate != GeluKind::none);
  if (const auto y = real_function(*this, op, x)) return *y;
  if (const auto* t = node.as<ThresholdedRelu>())
    return select(compare(Relation::greater, x, number(t->alpha)), x, number(0));
  if (const auto* s = node.as<Shrink>()) {
    const Register below = select(compare(Relation::less, x, number(-s->lambd)),
                                  binary(Opcode::add, x, number(s->bias)), number(0));
    return select(compare(Relation::greater, x, number(s->lambd)),
                  binary(Opcode::add, x, number(-s->bias)), below);
  }
  if (const auto* c = node.as<Celu>()) return elu(x, 1 / c->alpha, c->alpha, 1);
  if (const auto* c = node.as<Selu>()) return elu(x, 1, c->alpha, c->gamma);
  if (op == "neg") return binary(Opcode::mul, x, number(-1));
  if (op == "square") return binary(Opcode::mul, x, x);
  if (op == "expm1") return binary(Opcode::add, unary(Opcode::exp, x), number(-1));
  if (op == "log1p") return unary(Opcode::ln, binary(Opcode::add, x, number(1)));
  if (op == "mish") return binary(Opcode::mul, x, tanh(softplus(x)));
  if (op == "softsign")
    return binary(Opcode::div, x, binary(Opcode::add, unary(Opcode::abs, x), number(1)));
  if (op == "erf" || op == "erfc") {
    const Register e = erf_of_magnitude(unary(Opcode::abs, x));
    const Register y =
        select(compare(Relation::less, x, number(0)), binary(Opcode::mul, e, number(-1)), e);
    return op == "erf" ? y : binary(Opcode::sub, number(1), y);
  }
  if (op == "sign") {
    const Register one = tile(compare(Relation::greater, x, number(0)), x.view.dtype);
    const Register minus = tile(compare(Relation::less, x, number(0)), x.view.dtype);
    return select(compare(Relation::equal, x, x), binary(Opcode::sub, one, minus), x);
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (op == "is_nan") return compare(Relation::not_equal, x, x);
  if (op == "is_inf") return compare(Relation::equal, unary(Opcode::abs, x), number(kInfinity));
  if (op == "is_finite") return compare(Relation::less, unary(Opcode::abs, x), number(kInfinity));
  if (op == "logical_not") return compare(Relation::equal, x, number(0));
  if (const auto* c = node.as<Cast>()) {
    const DType to = is_float(c->to) ? real_ : c->to == DType::i64 ? DType::i32 : c->to;
    if (to == DType::boolean) return compare(Relation::not_equal, x, number(0));
    const DType from = x.number ? to : x.view.dtype;
    if (is_int(from) && is_int(to) && from != to && dtype_size(to) <= dtype_size(from))
      return unsupported("the vector unit saturates where whole numbers are to wrap");
    return tile(x, to);
  }
  return unsupported(fmt::format("the vector unit has no '{}'", op));
}

Result<Register> VectorCode::apply_binary(const Node& node, const Register& a, const Register& b) {
  const std::string_view op = node.def().name;
  static constexpr std::pair<std::string_view, Opcode> kPlain[] = {
      {"add", Opcode::add},         {"sub", Opcode::sub},       {"mul", Opcode::mul},
      {"div", Opcode::div},         {"min", Opcode::min},       {"max", Opcode::max},
      {"logical_and", Opcode::min}, {"logical_or", Opcode::max}};
  const bool whole = is_int(node.output()->dtype());
  for (const auto& [name, code] : kPlain)
    if (op == name && !(whole && code == Opcode::div)) return binary(code, a, b);
  if (whole)
    if (const auto y = whole_function(*this, op, a, b)) {
      const DType to = node.output()->dtype();
      return tile(*y, to == DType::i64 ? DType::i32 : to);
    }
  static constexpr std::pair<std::string_view, Relation> kRelations[] = {
      {"equal", Relation::equal},
      {"not_equal", Relation::not_equal},
      {"less", Relation::less},
      {"less_equal", Relation::less_equal},
      {"greater", Relation::greater},
      {"greater_equal", Relation::greater_equal},
      {"logical_xor", Relation::not_equal}};
  for (const auto& [name, relation] : kRelations)
    if (op == name) return compare(relation, a, b);
  if (op == "squared_difference") {
    const Register d = binary(Opcode::sub, a, b);
    return binary(Opcode::mul, d, d);
  }
  if (op == "div_no_nan" && !whole) {
    if (b.number) return *b.number == 0 ? number(0) : binary(Opcode::div, a, b);
    return select(compare(Relation::equal, b, number(0)), number(0), binary(Opcode::div, a, b));
  }
  constexpr double kMostOfProducts = 64;
  if (op == "pow" && b.number && !a.number && std::abs(*b.number) <= kMostOfProducts)
    return power(a, *b.number);
  if (op == "pow" && a.number && *a.number > 0)
    return unary(Opcode::exp, binary(Opcode::mul, b, number(std::log(*a.number))));
  if (!whole)
    if (const auto y = real_function(*this, op, a, b)) return *y;
  return unsupported(fmt::format("the vector unit has no '{}'", op));
}

// Between numbers and their bytes, in f32: tiles have room for it.
Result<Register> VectorCode::quantise(const Node& node, std::span<const Register> operands) {
  const auto real = [&](const Register& r) { return r.number ? r : tile(r, DType::f32); };
  const Register zero = operands.size() > 2 ? operands[2] : number(0);
  const bool has_zero = !zero.number || *zero.number != 0;
  if (node.is("dequantize_linear")) {
    Register x = tile(operands[0], DType::f32);
    if (has_zero) x = binary(Opcode::sub, x, real(zero));
    return binary(Opcode::mul, x, real(operands[1]));
  }
  const Register x = tile(operands[0], DType::f32);
  Register q = round(binary(Opcode::div, x, real(operands[1])));
  if (has_zero) q = binary(Opcode::add, q, zero.number ? zero : tile(zero, DType::i32));
  return tile(q, node.output()->dtype());
}

Result<Register> VectorCode::apply(const Node& node, std::span<const Register> given) {
  std::vector<Register> operands;
  for (const Register& x : given) operands.push_back(computed(x));
  static constexpr std::string_view kWraps[] = {"add", "sub", "mul", "neg", "square", "abs"};
  if (const DType t = node.output()->dtype();
      is_int(t) && dtype_size(t) < 4 &&
      std::ranges::find(kWraps, node.def().name) != std::end(kWraps))
    return unsupported("the vector unit saturates where whole numbers are to wrap");
  if (operands.size() == 1)
    return apply_unary(node, operands[0].number ? tile(operands[0], real_) : operands[0]);
  if (operands.size() == 2 && !node.is("dequantize_linear") && !node.is("quantize_linear"))
    return apply_binary(node, operands[0], operands[1]);
  if (node.is("dequantize_linear") || node.is("quantize_linear")) return quantise(node, operands);
  if (node.is("select") && operands.size() == 3)
    return select(operands[0], operands[1], operands[2]);
  return unsupported(fmt::format("the vector unit has no '{}'", node.def().name));
}

}  // namespace tenon::lower

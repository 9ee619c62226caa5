// TENON_OP("domain::Name", input(x, float, [*n, c]), output(y, float, [*n, c]), attribute(alpha,
// 0.1),
//          size(total, n * c)): what the op takes and gives, in sizes that are named where they are
//          first met.
#include <fmt/format.h>

#include <algorithm>

#include "bang/parser.h"
#include "base/nearest.h"

namespace tenon::bang {
namespace {

constexpr size_t kMaxOperands = 32, kMaxDims = 16, kMaxNames = 200;

}  // namespace

int Parser::find_name(std::string_view name) const {
  const auto found = std::ranges::find(kernel_.signature.names, name, &Signature::Name::name);
  return found == kernel_.signature.names.end()
             ? -1
             : static_cast<int>(found - kernel_.signature.names.begin());
}

Status Parser::add_name(Signature::Name name) {
  std::vector<Signature::Name>& names = kernel_.signature.names;
  const auto same = [&](const Signature::Operand& o) { return o.name == name.name; };
  if (find_name(name.name) >= 0 || std::ranges::any_of(kernel_.signature.inputs, same) ||
      std::ranges::any_of(kernel_.signature.outputs, same))
    return fail(name.at, fmt::format("there is a '{}' already", name.name));
  if (names.size() >= kMaxNames) return fail(name.at, "the op has too many names");
  names.push_back(std::move(name));
  return {};
}

// An expression over the sizes and integer attributes known so far.
Result<Expr> Parser::size_expression() {
  scopes_.emplace_back();
  const auto& names = kernel_.signature.names;
  for (size_t i = 0; i < names.size(); ++i)
    scopes_.back()[names[i].name] = {Meaning::Kind::op_name, static_cast<int>(i)};
  Expr e = TRY(expression());
  scopes_.pop_back();
  if (e.type.kind != Type::Kind::integer) return fail(e.at, "a size is an integer");
  return e;
}

Status Parser::operand(bool input) {
  Signature& s = kernel_.signature;
  TRY(expect("("));
  const Token t = TRY(name(input ? "the input's name" : "the output's name"));
  Signature::Operand operand;
  operand.name = t.text;
  operand.at = t.at;
  const auto same = [&](const Signature::Operand& o) { return o.name == t.text; };
  if (find_name(t.text) >= 0 || std::ranges::any_of(s.inputs, same) ||
      std::ranges::any_of(s.outputs, same))
    return fail(t.at, fmt::format("there is a '{}' already", t.text));
  TRY(expect(","));
  const Token type = take();
  if (type.text == "float")
    operand.dtype = DType::f32;
  else if (type.text == "half")
    operand.dtype = DType::f16;
  else if (type.text == "int32_t" || type.text == "int")
    operand.dtype = DType::i32;
  else if (type.text != "T")
    return fail(type.at, "an element type is float, half, int32_t, or T for float and half");
  TRY(expect(","));
  TRY(expect("["));
  while (!take("]")) {
    const bool first = operand.dims.empty() && operand.pack < 0;
    if (!first) TRY(expect(","));
    if (first && take("*")) {
      const Token pack = TRY(name("the name of the leading dimensions"));
      operand.pack = find_name(pack.text);
      if (operand.pack < 0 && !input)
        return fail(pack.at, fmt::format("no input has '*{}'", pack.text));
      if (operand.pack < 0) {
        operand.pack = static_cast<int>(s.names.size());
        TRY(add_name(
            {std::string(pack.text), Signature::Name::Kind::pack, pack.at, false, 0, 0, {}}));
      } else if (s.names[static_cast<size_t>(operand.pack)].kind != Signature::Name::Kind::pack) {
        return fail(pack.at, fmt::format("'{}' is one dimension elsewhere", pack.text));
      }
      continue;
    }
    const Token dim = peek();
    const bool alone =
        dim.kind == Token::Kind::name && (peek(1).text == "," || peek(1).text == "]");
    if (input && alone && find_name(dim.text) < 0 && find(dim.text) == nullptr)
      TRY(add_name({std::string(dim.text), Signature::Name::Kind::size, dim.at, false, 0, 0, {}}));
    operand.dims.push_back(TRY(size_expression()));
    if (operand.dims.size() > kMaxDims)
      return fail(dim.at, fmt::format("a tensor has at most {} dimensions", kMaxDims));
  }
  TRY(expect(")"));
  std::vector<Signature::Operand>& all = input ? s.inputs : s.outputs;
  if (all.size() >= kMaxOperands)
    return fail(t.at, fmt::format("an op has at most {} inputs and as many outputs", kMaxOperands));
  all.push_back(std::move(operand));
  return {};
}

Status Parser::attribute() {
  TRY(expect("("));
  const Token t = TRY(name("the attribute's name"));
  TRY(expect(","));
  Signature::Name made{std::string(t.text), Signature::Name::Kind::integer, t.at, false, 0, 0, {}};
  if (peek().text == "float" || peek().text == "int") {
    made.required = true;
    if (take().text == "float") made.kind = Signature::Name::Kind::real;
  } else {
    const Expr value = TRY(expression());
    if (value.kind == Expr::Kind::real) {
      made.kind = Signature::Name::Kind::real;
      made.real = value.real;
    } else {
      made.integer = TRY(constant_value(value));
    }
  }
  TRY(expect(")"));
  return add_name(std::move(made));
}

Status Parser::derived_size() {
  TRY(expect("("));
  const Token t = TRY(name("the size's name"));
  TRY(expect(","));
  Signature::Name made{std::string(t.text), Signature::Name::Kind::derived, t.at, false, 0, 0, {}};
  made.value = TRY(size_expression());
  TRY(expect(")"));
  return add_name(std::move(made));
}

Status Parser::op() {
  Signature& s = kernel_.signature;
  s.at = tokens_[next_ - 1].at;
  if (has_op_) return fail(s.at, "a file has one TENON_OP");
  has_op_ = true;
  TRY(expect("("));
  const Token named = take();
  if (named.kind != Token::Kind::string || named.text.empty())
    return fail(
        named.at,
        "expected the op's type in the model as a string: \"Name\", or \"domain::Name\" for ONNX");
  s.op = named.text;
  while (take(",")) {
    const Token item = take();
    if (item.text == "input")
      TRY(operand(true));
    else if (item.text == "output")
      TRY(operand(false));
    else if (item.text == "attribute")
      TRY(attribute());
    else if (item.text == "size")
      TRY(derived_size());
    else
      return fail(item.at, "expected input(…), output(…), attribute(…) or size(…)");
  }
  TRY(expect(")"));
  if (s.outputs.empty()) return fail(s.at, "the op has no output(…)");
  const auto generic = [](const Signature::Operand& o) { return o.dtype == DType::none; };
  if (std::ranges::any_of(s.outputs, generic) && std::ranges::none_of(s.inputs, generic))
    return fail(s.at, "an output is of T, but no input is, which says what T is");
  take(";");
  return {};
}

}  // namespace tenon::bang

#include "ops/with_attr.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "ops/registry.h"

namespace tenon {
namespace {

size_t field_index(const Op& op, std::string_view attr) {
  const auto fields = op.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == attr) return i;
  return fields.size();
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

template <typename T>
std::optional<std::vector<T>> parse_numbers(std::string_view text) {
  std::vector<T> values;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const auto value = parse_number<T>(text.substr(0, comma));
    if (!value) return std::nullopt;
    values.push_back(*value);
    text = comma == text.npos ? std::string_view() : text.substr(comma + 1);
  }
  return values;
}

// The text of a value, read as what the attribute now holds.
Result<AttrValue> parse_value(std::string_view attr, std::string_view text, const AttrValue& kind) {
  if (std::holds_alternative<std::string>(kind)) return AttrValue(std::string(text));
  if (std::holds_alternative<bool>(kind) && (text == "true" || text == "false"))
    return AttrValue(text == "true");
  if (std::holds_alternative<int64_t>(kind))
    if (const auto value = parse_number<int64_t>(text)) return AttrValue(*value);
  if (std::holds_alternative<double>(kind))
    if (const auto value = parse_number<double>(text)) return AttrValue(*value);
  if (std::holds_alternative<std::vector<int64_t>>(kind))
    if (const auto values = parse_numbers<int64_t>(text)) return AttrValue(*values);
  if (std::holds_alternative<std::vector<double>>(kind))
    if (const auto values = parse_numbers<double>(text)) return AttrValue(*values);
  if (std::holds_alternative<DType>(kind))
    if (const auto dtype = parse_dtype(text)) return AttrValue(*dtype);
  return invalid_argument(fmt::format("with_attr: attribute '{}' cannot be '{}'; it must be {}",
                                      attr, text, attr_kind_name(kind)));
}

// The op with all its attributes but the one that an operand gives.
Result<std::unique_ptr<Op>> make(const WithAttr& self) {
  auto op = create_op(self.op);
  // An op within itself would have no end.
  if (op == nullptr || self.op == WithAttr::name || op->def().regions != 0)
    return invalid_argument(fmt::format("with_attr: '{}' is not an op it can run", self.op));
  if (field_index(*op, self.attr) == op->def().fields.size())
    return invalid_argument(
        fmt::format("with_attr: op '{}' has no attribute '{}'", self.op, self.attr));
  for (const std::string& text : self.attrs) {
    const size_t equals = text.find('=');
    const std::string_view attr = std::string_view(text).substr(0, equals);
    const size_t field = field_index(*op, attr);
    if (equals == std::string::npos || field == op->def().fields.size())
      return invalid_argument(
          fmt::format("with_attr: '{}' is not an attribute of '{}' and a value", text, self.op));
    TRY(op->set(field,
                TRY(parse_value(attr, std::string_view(text).substr(equals + 1), op->get(field)))));
  }
  return op;
}

Status set_from(Op& op, std::string_view attr, const Tensor& value) {
  const size_t field = field_index(op, attr);
  const AttrValue kind = op.get(field);
  const bool list = std::holds_alternative<std::vector<int64_t>>(kind) ||
                    std::holds_alternative<std::vector<double>>(kind);
  const bool ints = is_int(value.dtype()) || value.dtype() == DType::boolean;
  if (value.is_list() || (!ints && !is_float(value.dtype())) || (!list && value.elements() != 1))
    return invalid_argument(fmt::format("with_attr: attribute '{}' of '{}' cannot be {}", attr,
                                        op.def().name, value.type().to_string()));
  if (std::holds_alternative<std::vector<double>>(kind)) {
    std::vector<double> values;
    for (int64_t i = 0; i < value.elements(); ++i) values.push_back(value.real_at(i));
    return op.set(field, values);
  }
  if (std::holds_alternative<double>(kind)) return op.set(field, value.real_at(0));
  if (!ints)
    return invalid_argument(fmt::format("with_attr: attribute '{}' of '{}' must be {}", attr,
                                        op.def().name, attr_kind_name(kind)));
  if (list) return op.set(field, value.to_ints());
  if (std::holds_alternative<bool>(kind)) return op.set(field, value.int_at(0) != 0);
  return op.set(field, value.int_at(0));
}

// What the op says of all operands but the last.
Result<TensorTypes> infer_op(const Op& op, const InferContext& context) {
  const int n = context.size() - 1;
  std::vector<std::optional<SymInts>> ints;
  ints.reserve(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) ints.push_back(context.ints(i));
  std::vector<OperandInfo> infos;
  for (int i = 0; i < n; ++i) {
    const auto& known = ints[static_cast<size_t>(i)];
    infos.push_back({context.type(i), context.constant(i), known ? &*known : nullptr});
  }
  if (!op.def().inputs.accepts(n))
    return invalid_argument(
        fmt::format("with_attr: '{}' does not take {} operands", op.def().name, n));
  return op.infer(InferContext(infos));
}

}  // namespace

Result<TensorTypes> WithAttr::infer(const InferContext& context) const {
  const auto made = TRY(make(*this));
  const int last = context.size() - 1;
  if (const Tensor* value = context.constant(last)) {
    TRY(set_from(*made, attr, *value));
    return infer_op(*made, context);
  }
  if (const auto value = context.known_ints(last)) {
    TRY(set_from(*made, attr, Tensor::vector(*value)));
    return infer_op(*made, context);
  }
  auto inferred = infer_op(*made, context);
  // The default need not fit the operands, as the axis of a concat; then its type is theirs.
  if (!inferred.ok() && hint == ShapeHint::rank)
    inferred = TensorTypes{{context.dtype(0), Shape::unranked()}};
  TensorTypes types = TRY(std::move(inferred));
  if (types.size() != 1) return invalid_argument("with_attr runs ops with one result");
  Shape& shape = types[0].shape;
  if (hint == ShapeHint::none) shape = Shape::unranked();
  if (hint == ShapeHint::rank && shape.ranked()) shape = Shape::unknown_dims(shape.rank());
  return types;
}

Status WithAttr::eval(EvalContext& context) const {
  const auto made = TRY(make(*this));
  std::vector<Tensor> operands;
  for (int i = 0; i + 1 < context.size(); ++i) operands.push_back(context.in(i));
  TRY(set_from(*made, attr, context.in(context.size() - 1)));
  auto results = TRY(evaluate(*made, operands));
  context.out(0) = std::move(results[0]);
  return {};
}

constinit const OpDef WithAttr::def = define<WithAttr>();
OpDefs with_attr_ops() {
  return {&WithAttr::def};
}

}  // namespace tenon

#include "import/with_attr.h"

#include <fmt/format.h>

#include "ops/registry.h"

namespace tenon {

std::optional<std::vector<int64_t>> known_ints(const Value* value) {
  if (value == nullptr || value->type().is_list) return std::nullopt;
  if (value->shape().ranked() && value->shape().elements() == 0) return std::vector<int64_t>{};
  if (const Tensor* t = value->constant())
    return is_int(t->dtype()) || t->dtype() == DType::boolean ? std::optional(t->to_ints())
                                                              : std::nullopt;
  if (!value->ints()) return std::nullopt;
  std::vector<int64_t> known;
  for (const SymInt& s : *value->ints()) {
    if (!s.value) return std::nullopt;
    known.push_back(*s.value);
  }
  return known;
}

namespace {

// The value as the attribute's kind, where it is known now.
std::optional<AttrValue> known_attr(const Value* value, const AttrValue& kind) {
  if (std::holds_alternative<std::vector<double>>(kind)) {
    const Tensor* t = value->constant();
    if (t == nullptr || !is_float(t->dtype())) return std::nullopt;
    std::vector<double> reals;
    for (int64_t i = 0; i < t->elements(); ++i) reals.push_back(t->real_at(i));
    return reals;
  }
  const auto ints = known_ints(value);
  if (!ints) return std::nullopt;
  if (std::holds_alternative<std::vector<int64_t>>(kind)) return *ints;
  if (std::holds_alternative<int64_t>(kind) && ints->size() == 1) return ints->front();
  return std::nullopt;
}

std::string attr_text(const AttrValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<int64_t>(&value)) return fmt::format("{}", *integer);
  if (const auto* real = std::get_if<double>(&value)) return fmt::format("{}", *real);
  if (const auto* ints = std::get_if<std::vector<int64_t>>(&value))
    return fmt::format("{}", fmt::join(*ints, ","));
  if (const auto* reals = std::get_if<std::vector<double>>(&value))
    return fmt::format("{}", fmt::join(*reals, ","));
  if (const auto* dtype = std::get_if<DType>(&value)) return std::string(dtype_name(*dtype));
  return {};
}

}  // namespace

Result<Value*> add_with_attr(Builder& builder, std::string_view core, std::vector<Value*> operands,
                             std::string_view attr, Value* value, std::vector<Builder::Attr> attrs,
                             std::string_view hint) {
  const auto op = create_op(core);
  if (op == nullptr) return internal_error(fmt::format("there is no core op '{}'", core));
  const auto fields = op->def().fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name != attr) continue;
    if (auto known = known_attr(value, op->get(i))) {
      attrs.push_back({attr, std::move(*known)});
      return builder.op(core, std::move(operands), std::move(attrs));
    }
  }
  std::vector<std::string> texts;
  texts.reserve(attrs.size());
  for (const Builder::Attr& a : attrs)
    texts.push_back(fmt::format("{}={}", a.name, attr_text(a.value)));
  operands.push_back(value);
  return builder.op("with_attr", std::move(operands),
                    {{"op", std::string(core)},
                     {"attr", std::string(attr)},
                     {"attrs", std::move(texts)},
                     {"hint", std::string(hint)}});
}

}  // namespace tenon

#include "ops/op.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace tenon {

bool attr_equal(const AttrValue& a, const AttrValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* t = std::get_if<Tensor>(&a)) return bitwise_equal(*t, std::get<Tensor>(b));
  if (const auto* d = std::get_if<double>(&a))
    return std::bit_cast<uint64_t>(*d) == std::bit_cast<uint64_t>(std::get<double>(b));
  return std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Tensor>)
          return false;
        else
          return x == std::get<T>(b);
      },
      a);
}

std::string_view attr_kind_name(const AttrValue& value) {
  constexpr std::array<std::string_view, 10> kNames{
      "an integer",        "a number",          "true or false",   "a string", "a list of integers",
      "a list of numbers", "a list of strings", "an element type", "a tensor", "a tensor type"};
  return kNames[value.index()];
}

std::optional<SymInts> InferContext::ints(int i) const {
  if (i >= size()) return std::nullopt;
  const OperandInfo& operand = inputs_[i];
  if (operand.constant != nullptr && operand.constant->defined() && !operand.constant->is_list() &&
      (is_int(operand.constant->dtype()) || operand.constant->dtype() == DType::boolean)) {
    SymInts ints(static_cast<size_t>(operand.constant->elements()));
    for (size_t k = 0; k < ints.size(); ++k)
      ints[k].value = operand.constant->int_at(static_cast<int64_t>(k));
    return ints;
  }
  if (operand.ints != nullptr) return *operand.ints;
  return std::nullopt;
}

std::optional<std::vector<int64_t>> InferContext::known_ints(int i) const {
  const auto partial = ints(i);
  if (!partial) return std::nullopt;
  std::vector<int64_t> values;
  values.reserve(partial->size());
  for (const SymInt& s : *partial) {
    if (!s.value) return std::nullopt;
    values.push_back(*s.value);
  }
  return values;
}

Status EvalContext::allocate(int i, DType dtype, std::span<const int64_t> dims) const {
  outputs_[i] = TRY(Tensor::allocate(dtype, dims));
  return {};
}

bool equal(const Op& a, const Op& b) {
  if (&a.def() != &b.def()) return false;
  for (size_t i = 0; i < a.def().fields.size(); ++i)
    if (!attr_equal(a.get(i), b.get(i))) return false;
  return true;
}

Status set_attr(Op& op, std::string_view name, AttrValue value) {
  const auto fields = op.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) return op.set(i, std::move(value));
  std::string names;
  for (const FieldInfo& f : fields) names += (names.empty() ? "" : ", ") + std::string(f.name);
  return invalid_argument(fmt::format("op '{}' has no attribute '{}'; it has: {}", op.def().name,
                                      name, names.empty() ? "none" : names));
}

namespace op_detail {

template <typename T>
AttrValue get_plain(const void* member) {
  return *static_cast<const T*>(member);
}

template <typename T>
Status set_plain(std::string_view name, AttrValue value, void* member) {
  T& out = *static_cast<T*>(member);
  if (auto* exact = std::get_if<T>(&value)) {
    out = std::move(*exact);
    return {};
  }
  // The text form does not tell 1 from 1.0, nor what an empty list is a list of.
  if constexpr (std::is_same_v<T, double>)
    if (const auto* i = std::get_if<int64_t>(&value)) {
      out = static_cast<double>(*i);
      return {};
    }
  if constexpr (std::is_same_v<T, std::vector<double>>)
    if (const auto* ints = std::get_if<std::vector<int64_t>>(&value)) {
      out.assign(ints->begin(), ints->end());
      return {};
    }
  if constexpr (std::is_same_v<T, std::vector<std::string>>)
    if (const auto* ints = std::get_if<std::vector<int64_t>>(&value); ints && ints->empty()) {
      out.clear();
      return {};
    }
  return invalid_argument(fmt::format("attribute '{}' must be {}, not {}", name,
                                      attr_kind_name(AttrValue(T{})), attr_kind_name(value)));
}

#define TENON_ATTR_KIND(...)                              \
  template AttrValue get_plain<__VA_ARGS__>(const void*); \
  template Status set_plain<__VA_ARGS__>(std::string_view, AttrValue, void*);
TENON_ATTR_KIND(int64_t)
TENON_ATTR_KIND(double)
TENON_ATTR_KIND(bool)
TENON_ATTR_KIND(std::string)
TENON_ATTR_KIND(std::vector<int64_t>)
TENON_ATTR_KIND(std::vector<double>)
TENON_ATTR_KIND(std::vector<std::string>)
TENON_ATTR_KIND(DType)
TENON_ATTR_KIND(Tensor)
TENON_ATTR_KIND(TensorType)
#undef TENON_ATTR_KIND

Result<size_t> enum_index(std::string_view name, const AttrValue& value,
                          std::span<const std::string_view> names) {
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr)
    return invalid_argument(
        fmt::format("attribute '{}' must be a name, not {}", name, attr_kind_name(value)));
  const auto it = std::ranges::find(names, *text);
  if (it != names.end()) return static_cast<size_t>(it - names.begin());
  return invalid_argument(fmt::format("attribute '{}' cannot be '{}'; it is one of: {}", name,
                                      *text, fmt::join(names, ", ")));
}

AttrValue StructOp::get(size_t field) const {
  const FieldInfo& info = def().fields[field];
  return info.get(info.member(const_cast<StructOp*>(this)->members()));
}

Status StructOp::set(size_t field, AttrValue attr) {
  const FieldInfo& info = def().fields[field];
  return info.set(info.name, std::move(attr), info.member(members()));
}

bool StructOp::is_default(size_t field) const {
  return attr_equal(get(field), def().create()->get(field));
}

}  // namespace op_detail

Result<std::vector<Tensor>> evaluate(const Op& op, std::span<const Tensor> inputs, int outputs) {
  std::vector<OperandInfo> infos;
  infos.reserve(inputs.size());
  for (const Tensor& t : inputs) infos.push_back({t.type(), t.defined() ? &t : nullptr, nullptr});
  const TensorTypes types = TRY(op.infer(InferContext(infos)));
  std::vector<Tensor> results(std::max<size_t>(types.size(), static_cast<size_t>(outputs)));
  for (size_t i = 0; i < types.size(); ++i)
    if (!types[i].is_list && !types[i].is_none() && types[i].shape.is_static())
      results[i] = TRY(Tensor::allocate(types[i].dtype, types[i].shape.sizes()));
  EvalContext context(inputs, results);
  TRY(op.eval(context));
  return results;
}

}  // namespace tenon

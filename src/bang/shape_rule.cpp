#include "bang/shape_rule.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::bang {
namespace {

using Name = Signature::Name;

class Rule {
 public:
  Rule(const Kernel& kernel, std::span<const TensorType> inputs)
      : s_(kernel.signature), inputs_(inputs) {
    sizes_.values.resize(s_.names.size());
  }

  Result<Sizes> run(std::span<const Attribute> attributes) {
    if (inputs_.size() != s_.inputs.size())
      return refuse(
          fmt::format("takes {} inputs, the node has {}", s_.inputs.size(), inputs_.size()));
    TRY(read_attributes(attributes));
    TRY(find_generic());
    for (size_t i = 0; i < inputs_.size(); ++i) TRY(bind(i));
    for (size_t i = 0; i < s_.names.size(); ++i)
      if (s_.names[i].kind == Name::Kind::derived) {
        sizes_.values[i].dim = TRY(dim_of(*s_.names[i].value));
        sizes_.values[i].integer = sizes_.values[i].dim.size_or(0);
      }
    for (size_t i = 0; i < inputs_.size(); ++i) TRY(check(i));
    for (const Signature::Operand& out : s_.outputs) {
      TensorType type{out.dtype == DType::none ? sizes_.generic : out.dtype, Shape()};
      if (out.pack >= 0) {
        const Sizes::Value& pack = sizes_.values[static_cast<size_t>(out.pack)];
        if (pack.known_rank)
          type.shape.dims() = pack.pack;
        else
          type.shape = Shape::unranked();
      }
      for (const Expr& e : out.dims) {
        const Dim d = TRY(dim_of(e));
        if (type.shape.ranked()) type.shape.dims().push_back(d);
      }
      sizes_.outputs.push_back(std::move(type));
    }
    return std::move(sizes_);
  }

 private:
  Error refuse(std::string_view what) const {
    return invalid_argument(fmt::format("custom op '{}' {}", s_.op, what));
  }

  Status read_attributes(std::span<const Attribute> attributes) {
    for (size_t i = 0; i < s_.names.size(); ++i) {
      const Name& name = s_.names[i];
      Sizes::Value& value = sizes_.values[i];
      if (name.kind != Name::Kind::integer && name.kind != Name::Kind::real) continue;
      value.integer = name.integer;
      value.real = name.real;
      const auto given = std::ranges::find(attributes, name.name, &Attribute::name);
      if (given == attributes.end()) {
        if (name.required)
          return refuse(fmt::format("needs the attribute '{}', which the node has not", name.name));
      } else if (const auto* integer = std::get_if<int64_t>(&given->value)) {
        value.integer = *integer;
        value.real = static_cast<double>(*integer);
      } else if (name.kind == Name::Kind::integer) {
        return refuse(fmt::format("takes an integer as attribute '{}', the node has {}", name.name,
                                  std::get<double>(given->value)));
      } else {
        value.real = std::get<double>(given->value);
      }
      if (name.kind == Name::Kind::integer && value.integer >= 0) value.dim = Dim(value.integer);
    }
    return {};
  }

  Status find_generic() {
    bool found = false;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const TensorType& type = inputs_[i];
      const Signature::Operand& operand = s_.inputs[i];
      if (type.is_list || type.is_none())
        return refuse(fmt::format("takes a tensor as input '{}'", operand.name));
      if (operand.dtype != DType::none) {
        if (type.dtype == operand.dtype) continue;
        return refuse(fmt::format("takes input '{}' as {}, not as {}", operand.name,
                                  dtype_long_name(operand.dtype), dtype_long_name(type.dtype)));
      }
      if (type.dtype != DType::f32 && type.dtype != DType::f16)
        return refuse(fmt::format("takes input '{}' as float32 or float16, not as {}", operand.name,
                                  dtype_long_name(type.dtype)));
      if (found && type.dtype != sizes_.generic)
        return refuse(fmt::format("takes inputs of T all alike, '{}' is {}", operand.name,
                                  dtype_long_name(type.dtype)));
      sizes_.generic = type.dtype;
      found = true;
    }
    return {};
  }

  // One name for one size; both are to agree as far as they are known.
  Status meet(Dim& known, Dim now, const Signature::Operand& operand, const std::string& what) {
    if (known.known() && now.known() && known.size() != now.size())
      return refuse(fmt::format("has input '{}' with {} = {}, which is {} before it", operand.name,
                                what, now.size(), known.size()));
    if (!known.known() && (now.known() || !known.is_symbol())) known = now;
    return {};
  }

  Status bind(size_t i) {
    const Signature::Operand& operand = s_.inputs[i];
    const Shape& shape = inputs_[i].shape;
    if (!shape.ranked()) return {};
    const auto rank = static_cast<size_t>(shape.rank()), tail = operand.dims.size();
    if (rank < tail || (operand.pack < 0 && rank != tail))
      return refuse(fmt::format("takes input '{}' with {}{} dimensions, not {}", operand.name,
                                operand.pack < 0 ? "" : "at least ", tail, shape.to_string()));
    if (operand.pack >= 0) {
      Sizes::Value& pack = sizes_.values[static_cast<size_t>(operand.pack)];
      const std::string& name = s_.names[static_cast<size_t>(operand.pack)].name;
      if (pack.known_rank && pack.pack.size() != rank - tail)
        return refuse(
            fmt::format("has input '{}' with {} dimensions for '*{}', which has {} before it",
                        operand.name, rank - tail, name, pack.pack.size()));
      if (!pack.known_rank) pack.pack.assign(rank - tail, Dim::unknown());
      pack.known_rank = true;
      pack.dim = Dim(1);
      for (size_t d = 0; d < rank - tail; ++d) {
        TRY(meet(pack.pack[d], shape[static_cast<int>(d)], operand,
                 fmt::format("{}[{}]", name, d)));
        pack.dim = pack.dim * pack.pack[d];
      }
      pack.integer = pack.dim.size_or(0);
    }
    for (size_t d = 0; d < tail; ++d) {
      const Expr& e = operand.dims[d];
      if (e.kind != Expr::Kind::variable ||
          s_.names[static_cast<size_t>(e.index)].kind != Name::Kind::size)
        continue;
      Sizes::Value& value = sizes_.values[static_cast<size_t>(e.index)];
      TRY(meet(value.dim, shape[static_cast<int>(rank - tail + d)], operand,
               s_.names[static_cast<size_t>(e.index)].name));
      value.integer = value.dim.size_or(0);
    }
    return {};
  }

  // Dimensions that are computed from others.
  Status check(size_t i) {
    const Signature::Operand& operand = s_.inputs[i];
    const Shape& shape = inputs_[i].shape;
    if (!shape.ranked()) return {};
    const size_t tail = operand.dims.size(), first = static_cast<size_t>(shape.rank()) - tail;
    for (size_t d = 0; d < tail; ++d) {
      const Dim expected = TRY(dim_of(operand.dims[d])),
                actual = shape[static_cast<int>(first + d)];
      if (expected.known() && actual.known() && expected.size() != actual.size())
        return refuse(fmt::format("takes input '{}' with {} elements in dimension {}, not {}",
                                  operand.name, expected.size(), first + d, actual.size()));
    }
    return {};
  }

  // Integers of an expression; nullopt where one is not known yet.
  Result<std::optional<int64_t>> value_of(const Expr& e) const {
    if (e.kind == Expr::Kind::variable) {
      const auto i = static_cast<size_t>(e.index);
      if (s_.names[i].kind == Name::Kind::integer || sizes_.values[i].dim.known())
        return std::optional(sizes_.values[i].integer);
      return std::optional<int64_t>();
    }
    Expr known = e;
    for (Expr& arg : known.args) {
      const auto value = TRY(value_of(arg));
      if (!value) return std::optional<int64_t>();
      arg.kind = Expr::Kind::integer;
      arg.integer = *value;
      arg.args.clear();
    }
    const auto value = fold(known, static_cast<int64_t>(dtype_size(sizes_.generic)));
    if (!value) return refuse("divides by zero in a size, or uses there what is no size");
    return value;
  }

  Result<Dim> dim_of(const Expr& e) const {
    if (e.kind == Expr::Kind::variable &&
        s_.names[static_cast<size_t>(e.index)].kind != Name::Kind::integer)
      return sizes_.values[static_cast<size_t>(e.index)].dim;
    const auto value = TRY(value_of(e));
    if (!value) return Dim::unknown();
    if (*value < 0) return refuse(fmt::format("has a size of {}", *value));
    return Dim(*value);
  }

  const Signature& s_;
  std::span<const TensorType> inputs_;
  Sizes sizes_;
};

}  // namespace

Result<Sizes> apply_shape_rule(const Kernel& kernel, std::span<const TensorType> inputs,
                               std::span<const Attribute> attributes) {
  return Rule(kernel, inputs).run(attributes);
}

bool is_complete(const Kernel& kernel, const Sizes& sizes) {
  for (size_t i = 0; i < sizes.values.size(); ++i) {
    const Name::Kind kind = kernel.signature.names[i].kind;
    if (kind != Name::Kind::integer && kind != Name::Kind::real && !sizes.values[i].dim.known())
      return false;
  }
  return std::ranges::all_of(sizes.outputs,
                             [](const TensorType& t) { return t.shape.is_static(); });
}

}  // namespace tenon::bang

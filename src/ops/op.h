// What an op is: a plain struct with attributes, shape inference and a reference evaluation.
// Everything else about it (parse, print, encode, equality, documentation) is derived from its
// fields() by define<Op>(). See docs/how_to_add_an_op.md.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <variant>
#include <vector>

#include "base/result.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

namespace tenon {

// How many operands or results an op takes; kVariadic for no upper bound.
constexpr int kVariadic = -1;
struct Arity {
  int min = 1;
  int max = 1;
  constexpr Arity(int n) : min(n), max(n) {}
  constexpr Arity(int low, int high) : min(low), max(high) {}
  constexpr bool accepts(int n) const { return n >= min && (max == kVariadic || n <= max); }
};

// What passes may assume of an op.
enum Traits : uint32_t {
  kNoTraits = 0,
  kPointwise = 1,      // each output element depends on the same (broadcast) element of the inputs
  kView = 2,           // output 0 has the bytes of input 0 under another shape
  kRandom = 4,         // two evaluations differ: no folding, no common subexpressions
  kCommutative = 8,    // the first two inputs may be exchanged
  kDataDependent = 16  // output shapes depend on input values beyond what infer() can see
};

using AttrValue =
    std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                 std::vector<std::string>, DType, Tensor, TensorType>;

// Structural equality; tensors by content, doubles by bits.
bool attr_equal(const AttrValue& a, const AttrValue& b);
// "an integer", "a list of integers", … for error messages and documentation.
std::string_view attr_kind_name(const AttrValue& value);

// One attribute: its number in files (never reused), its name, where it lives, what it means.
template <typename OpStruct, typename T>
struct Field {
  int id;
  std::string_view name;
  T OpStruct::*member;
  std::string_view doc = {};
};
template <typename OpStruct, typename T>
Field(int, std::string_view, T OpStruct::*) -> Field<OpStruct, T>;
template <typename OpStruct, typename T>
Field(int, std::string_view, T OpStruct::*, std::string_view) -> Field<OpStruct, T>;

// A field of an op without the types: what `member` points at, `get` and `set` know how to handle.
struct FieldInfo {
  int id;
  std::string_view name;
  std::string_view doc;
  void* (*member)(void* op);
  AttrValue (*get)(const void* member);
  Status (*set)(std::string_view name, AttrValue value, void* member);
};

// An element of a small integer tensor as far as it is known before running: a value, or the
// dimension it stems from.
struct SymInt {
  std::optional<int64_t> value;
  Dim dim = Dim::unknown();  // meaningful without a value

  static SymInt of(Dim d) { return d.known() ? SymInt{d.size()} : SymInt{std::nullopt, d}; }
  // The dimension this stands for; unknown for negative values.
  Dim as_dim() const { return value ? Dim(*value) : dim; }
};
using SymInts = std::vector<SymInt>;

// What is known of one operand during inference.
struct OperandInfo {
  TensorType type;
  const Tensor* constant = nullptr;  // its value, when it is a constant
  const SymInts* ints = nullptr;     // its elements, when it is a small integer tensor partly known
};

class InferContext {
 public:
  explicit InferContext(std::span<const OperandInfo> inputs,
                        std::span<const TensorTypes> region_results = {})
      : inputs_(inputs), region_results_(region_results) {}

  int size() const { return static_cast<int>(inputs_.size()); }
  // Whether optional operand i was given.
  bool has(int i) const { return i < size() && !inputs_[i].type.is_none(); }
  const TensorType& type(int i) const { return inputs_[i].type; }
  const Shape& shape(int i) const { return inputs_[i].type.shape; }
  DType dtype(int i) const { return inputs_[i].type.dtype; }
  // The value of operand i where it is a constant, else null.
  const Tensor* constant(int i) const { return i < size() ? inputs_[i].constant : nullptr; }
  // The elements of integer operand i as far as known, from a constant or from shape arithmetic.
  std::optional<SymInts> ints(int i) const;
  // The elements of integer operand i where all are known.
  std::optional<std::vector<int64_t>> known_ints(int i) const;
  // Result types of each sub-graph.
  std::span<const TensorTypes> region_results() const { return region_results_; }

 private:
  std::span<const OperandInfo> inputs_;
  std::span<const TensorTypes> region_results_;
};

class EvalContext {
 public:
  EvalContext(std::span<const Tensor> inputs, std::span<Tensor> outputs)
      : inputs_(inputs), outputs_(outputs) {}

  int size() const { return static_cast<int>(inputs_.size()); }
  bool has(int i) const { return i < size() && inputs_[i].defined(); }
  const Tensor& in(int i) const { return inputs_[i]; }
  // Output i; allocated beforehand when infer() gave a static type, else allocate() it.
  Tensor& out(int i) const { return outputs_[i]; }
  int outputs() const { return static_cast<int>(outputs_.size()); }
  // Replaces output i by a new tensor (for shapes that depend on data).
  Status allocate(int i, DType dtype, std::span<const int64_t> dims) const;

 private:
  std::span<const Tensor> inputs_;
  std::span<Tensor> outputs_;
};

class Op;

struct OpDef {
  std::string_view name;
  std::string_view doc;
  Arity inputs;
  Arity outputs;
  int regions;  // number of sub-graphs; kVariadic for any
  uint32_t traits;
  bool has_eval;
  std::span<const FieldInfo> fields;
  std::unique_ptr<Op> (*create)();

  bool has(Traits trait) const { return (traits & trait) != 0; }
};

// An op with its attributes, type-erased. Immutable once in a graph, but through set().
class Op {
 public:
  virtual ~Op() = default;
  virtual const OpDef& def() const = 0;
  virtual std::unique_ptr<Op> clone() const = 0;

  // Types of the outputs. Checks operand types and attributes: an error says what was expected.
  virtual Result<TensorTypes> infer(const InferContext& context) const = 0;
  // Elements of output 0 as far as known, for ops that take part in shape arithmetic.
  virtual std::optional<SymInts> infer_ints(const InferContext& context) const = 0;
  // The reference evaluation: the oracle.
  virtual Status eval(EvalContext& context) const = 0;
  // Multiply-adds count as two; 0 for ops that only move data.
  virtual int64_t flops(std::span<const TensorType> inputs,
                        std::span<const TensorType> outputs) const = 0;

  // Attribute by its index in def().fields.
  virtual AttrValue get(size_t field) const = 0;
  virtual Status set(size_t field, AttrValue value) = 0;
  virtual bool is_default(size_t field) const = 0;

  // The struct behind the op, or null when it is another op.
  template <typename T>
  const T* as() const;
  template <typename T>
  T* as();
};

// Same op and equal attributes.
bool equal(const Op& a, const Op& b);
// Sets an attribute by name. Errors: unknown name (lists the names there are), wrong kind.
Status set_attr(Op& op, std::string_view name, AttrValue value);

namespace op_detail {

// Defined in op.cpp for the kinds of attribute, so that an op costs no code for its attributes.
template <typename T>
AttrValue get_plain(const void* member);
template <typename T>
Status set_plain(std::string_view name, AttrValue value, void* member);

// Enumerations used as attributes have `constexpr std::span<const std::string_view> enum_names(E)`.
Result<size_t> enum_index(std::string_view name, const AttrValue& value,
                          std::span<const std::string_view> names);
template <typename E>
AttrValue get_enum(const void* member) {
  return std::string(enum_names(E{})[static_cast<size_t>(*static_cast<const E*>(member))]);
}
template <typename E>
Status set_enum(std::string_view name, AttrValue value, void* member) {
  *static_cast<E*>(member) = static_cast<E>(TRY(enum_index(name, value, enum_names(E{}))));
  return {};
}

template <typename T>
constexpr Arity outputs_of() {
  if constexpr (requires { T::outputs; })
    return T::outputs;
  else
    return 1;
}
template <typename T>
constexpr int regions_of() {
  if constexpr (requires { T::regions; })
    return T::regions;
  else
    return 0;
}
template <typename T>
constexpr uint32_t traits_of() {
  if constexpr (requires { T::traits; })
    return T::traits;
  else
    return kNoTraits;
}
template <typename T>
constexpr auto fields_of() {
  if constexpr (requires { T::fields(); })
    return T::fields();
  else
    return std::tuple{};
}
template <typename T>
constexpr size_t kFieldCount = std::tuple_size_v<decltype(fields_of<T>())>;

template <typename T, size_t kIndex>
constexpr FieldInfo field_info() {
  constexpr auto f = std::get<kIndex>(fields_of<T>());
  using Member = std::remove_reference_t<decltype(std::declval<T&>().*(f.member))>;
  FieldInfo info{f.id, f.name, f.doc, {}, {}, {}};
  info.member = +[](void* op) -> void* {
    // A constant: without optimisation for speed all fields would be made here to take one.
    constexpr auto member = std::get<kIndex>(fields_of<T>()).member;
    return &(static_cast<T*>(op)->*member);
  };
  if constexpr (std::is_enum_v<Member> && !std::is_same_v<Member, DType>) {
    info.get = &get_enum<Member>;
    info.set = &set_enum<Member>;
  } else {
    info.get = &get_plain<Member>;
    info.set = &set_plain<Member>;
  }
  return info;
}
template <typename T>
constexpr std::array<FieldInfo, kFieldCount<T>> kFieldInfos = [
]<size_t... kIndices>(std::index_sequence<kIndices...>) {
  return std::array<FieldInfo, sizeof...(kIndices)>{field_info<T, kIndices>()...};
}
(std::make_index_sequence<kFieldCount<T>>{});

// An op whose attributes are the members of a struct.
class StructOp : public Op {
 public:
  AttrValue get(size_t field) const final;
  Status set(size_t field, AttrValue attr) final;
  bool is_default(size_t field) const final;

 private:
  virtual void* members() = 0;
};

template <typename T>
class OpModel final : public StructOp {
 public:
  OpModel() = default;
  explicit OpModel(T v) : value(std::move(v)) {}

  const OpDef& def() const override { return T::def; }
  std::unique_ptr<Op> clone() const override { return std::make_unique<OpModel>(value); }
  Result<TensorTypes> infer(const InferContext& context) const override {
    return value.infer(context);
  }
  std::optional<SymInts> infer_ints(const InferContext& context) const override {
    if constexpr (requires { value.infer_ints(context); })
      return value.infer_ints(context);
    else
      return std::nullopt;
  }
  Status eval(EvalContext& context) const override {
    if constexpr (requires { value.eval(context); })
      return value.eval(context);
    else
      return internal_error("this op has no reference evaluation of its own");
  }
  int64_t flops(std::span<const TensorType> in, std::span<const TensorType> out) const override {
    if constexpr (requires { value.flops(in, out); })
      return value.flops(in, out);
    else
      return 0;
  }

  T value{};

 private:
  void* members() override { return &value; }
};

}  // namespace op_detail

// Derives the definition of an op from its struct. T provides
//   static const OpDef def;
//   static constexpr std::string_view name, doc;
//   static constexpr Arity inputs;                       and optionally Arity outputs, int regions,
//   static constexpr uint32_t traits;                    (bits of Traits)
//   static constexpr auto fields() { return std::tuple{Field{1, "axis", &T::axis, "doc"}, …}; }
//   Result<TensorTypes> infer(const InferContext&) const;
//   Status eval(EvalContext&) const;                     but for ops with sub-graphs
//   std::optional<SymInts> infer_ints(const InferContext&) const;       optional
//   int64_t flops(span<const TensorType> in, span<const TensorType> out) const;  optional
template <typename T>
constexpr OpDef define() {
  return OpDef{T::name, T::doc, T::inputs, op_detail::outputs_of<T>(), op_detail::regions_of<T>(),
               op_detail::traits_of<T>(), requires(const T& v, EvalContext& c){v.eval(c);
}
, op_detail::kFieldInfos<T>,
    +[]() -> std::unique_ptr<Op> { return std::make_unique<op_detail::OpModel<T>>(); }
};  // namespace tenon
}

template <typename T>
std::unique_ptr<Op> make_op(T value) {
  return std::make_unique<op_detail::OpModel<T>>(std::move(value));
}

template <typename T>
const T* Op::as() const {
  return &def() == &T::def ? &static_cast<const op_detail::OpModel<T>*>(this)->value : nullptr;
}
template <typename T>
T* Op::as() {
  return &def() == &T::def ? &static_cast<op_detail::OpModel<T>*>(this)->value : nullptr;
}

// Evaluates an op without sub-graphs on concrete inputs: infers, allocates, evaluates, checks.
// Errors: those of infer and eval. Thread-safe.
Result<std::vector<Tensor>> evaluate(const Op& op, std::span<const Tensor> inputs, int outputs = 1);

}  // namespace tenon

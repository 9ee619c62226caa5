// The accessors of RuleContext: attributes with their kinds checked, operands known at compile
// time, and small building blocks.
#include "import/onnx/rule.h"

#include <fmt/format.h>

#include <numeric>

#include "import/onnx/graph_importer.h"
#include "tensor/visit.h"

namespace tenon::onnx {
namespace {

std::string_view kind_name(AttrType type) {
  constexpr std::string_view kNames[] = {"nothing",           "a float",
                                         "an integer",        "a string",
                                         "a tensor",          "a graph",
                                         "a list of floats",  "a list of integers",
                                         "a list of strings", "a list of tensors",
                                         "a list of graphs",  "a sparse tensor",
                                         "sparse tensors",    "a type",
                                         "a list of types"};
  const auto i = static_cast<size_t>(type);
  return i < std::size(kNames) ? kNames[i] : "of an unknown kind";
}

// The attribute, null where missing. Error when it is not of this kind; the oldest files do not say
// of which they are.
Result<const AttributeProto*> find(const RuleContext& c, std::string_view name, AttrType type) {
  const AttributeProto* a = c.attr(name);
  if (a != nullptr && a->type != type && a->type != AttrType::undefined)
    return invalid_model(fmt::format("attribute '{}' is {}, but {} is expected", name,
                                     kind_name(a->type), kind_name(type)));
  return a;
}

Error missing(std::string_view name) {
  return invalid_model(fmt::format("attribute '{}' is missing", name));
}

Error unknown_operand(int i) {
  return unsupported(fmt::format(
      "operand {} must be known when the model is compiled; give fixed input sizes with "
      "--input-shape, or cut the model with --inputs",
      i));
}

}  // namespace

const AttributeProto* RuleContext::attr(std::string_view name) const {
  return importer.attribute(scope, node, name);
}

Result<int64_t> RuleContext::get_int(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::integer));
  if (a == nullptr) return missing(name);
  return a->integer;
}

Result<int64_t> RuleContext::get_int(std::string_view name, int64_t fallback) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::integer));
  return a == nullptr ? fallback : a->integer;
}

Result<bool> RuleContext::get_bool(std::string_view name, bool fallback) const {
  return TRY(get_int(name, fallback ? 1 : 0)) != 0;
}

Result<double> RuleContext::get_float(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::real));
  if (a == nullptr) return missing(name);
  return static_cast<double>(a->real);
}

Result<double> RuleContext::get_float(std::string_view name, double fallback) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::real));
  return a == nullptr ? fallback : static_cast<double>(a->real);
}

Result<std::string> RuleContext::get_string(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::string));
  if (a == nullptr) return missing(name);
  return std::string(a->string);
}

Result<std::string> RuleContext::get_string(std::string_view name,
                                            std::string_view fallback) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::string));
  return std::string(a == nullptr ? fallback : a->string);
}

Result<std::vector<int64_t>> RuleContext::get_ints(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::integers));
  return a == nullptr ? std::vector<int64_t>{} : a->integers;
}

Result<std::vector<double>> RuleContext::get_floats(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::reals));
  if (a == nullptr) return std::vector<double>{};
  return std::vector<double>(a->reals.begin(), a->reals.end());
}

Result<std::vector<std::string>> RuleContext::get_strings(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::strings));
  if (a == nullptr) return std::vector<std::string>{};
  return std::vector<std::string>(a->strings.begin(), a->strings.end());
}

Result<Tensor> RuleContext::get_tensor(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::tensor));
  if (a == nullptr || a->tensors.empty()) return missing(name);
  auto value = importer.source().value(a->tensors[0]);
  if (!value.ok()) return std::move(value).error().note(fmt::format("while reading '{}'", name));
  return value;
}

Result<const GraphProto*> RuleContext::get_graph(std::string_view name) const {
  const AttributeProto* a = TRY(find(*this, name, AttrType::graph));
  if (a == nullptr || a->graphs.empty()) return missing(name);
  return &a->graphs[0];
}

Result<DType> RuleContext::get_dtype(std::string_view name) const {
  return to_dtype(static_cast<ElementType>(TRY(get_int(name))));
}

Result<DType> RuleContext::get_dtype(std::string_view name, DType fallback) const {
  return has_attr(name) ? get_dtype(name) : Result<DType>(fallback);
}

Result<Tensor> RuleContext::constant(int i) const {
  const Value* v = in(i);
  if (v == nullptr) return invalid_model(fmt::format("operand {} is missing", i));
  if (v->constant() == nullptr) return unknown_operand(i);
  return *v->constant();
}

Result<std::vector<int64_t>> RuleContext::ints(int i) const {
  const Value* v = in(i);
  if (v == nullptr) return invalid_model(fmt::format("operand {} is missing", i));
  if (v->type().is_list || !(is_int(v->dtype()) || v->dtype() == DType::boolean))
    return invalid_model(
        fmt::format("operand {} is {}, but integers are expected", i, v->type().to_string()));
  if (const Tensor* t = v->constant()) return t->to_ints();
  if (!v->ints()) return unknown_operand(i);
  std::vector<int64_t> values;
  for (const SymInt& s : *v->ints()) {
    if (!s.value) return unknown_operand(i);
    values.push_back(*s.value);
  }
  return values;
}

Result<int64_t> RuleContext::int_input(int i) const {
  const auto values = TRY(ints(i));
  if (values.size() != 1)
    return invalid_model(
        fmt::format("operand {} has {} elements, but one is expected", i, values.size()));
  return values[0];
}

Result<int> RuleContext::rank(int i) const {
  const Value* v = in(i);
  if (v == nullptr) return invalid_model(fmt::format("operand {} is missing", i));
  if (v->type().is_list)
    return invalid_model(fmt::format("operand {} is a sequence, but a tensor is expected", i));
  if (!v->shape().ranked())
    return unsupported(fmt::format(
        "the number of dimensions of operand {} is not known; give input sizes with --input-shape",
        i));
  return v->shape().rank();
}

// Rules hand on operands that are optional in the file and needed where they are used.
static Status expect_given(const Value* x) {
  if (x == nullptr) return invalid_model("an operand that is needed here is missing");
  return {};
}

Result<Value*> RuleContext::scalar(DType dtype, double value) const {
  if (dtype == DType::boolean) return builder.constant(Tensor::scalar(value != 0));
  if (!is_float(dtype) && !is_int(dtype))
    return unsupported(fmt::format("element type {} is not supported here", dtype_name(dtype)));
  return visit_real(dtype, [&]<typename T>(TypeTag<T>) {
    return builder.constant(Tensor::scalar(static_cast<T>(static_cast<Arithmetic<T>>(value))));
  });
}

Result<Value*> RuleContext::scalar_like(const Value* x, double value) const {
  TRY(expect_given(x));
  return scalar(x->dtype(), value);
}

Result<Value*> RuleContext::cast(Value* x, DType to) const {
  TRY(expect_given(x));
  if (x->dtype() == to) return x;
  return op("cast", {x}, {{"to", to}});
}

Result<Value*> RuleContext::transpose(Value* x, std::vector<int64_t> perm) const {
  std::vector<int64_t> same(perm.size());
  std::iota(same.begin(), same.end(), 0);
  if (perm == same) return x;
  return op("transpose", {x}, {{"perm", std::move(perm)}});
}

Result<Value*> RuleContext::shape(Value* x) const {
  TRY(expect_given(x));
  if (x->shape().is_static()) return builder.ints(x->shape().sizes());
  return op("shape", {x}, {{"dtype", DType::i64}});
}

Result<Value*> RuleContext::dim(Value* x, int axis) const {
  TRY(expect_given(x));
  if (x->shape()[axis].known()) return int_scalar(x->shape()[axis].size());
  return op("gather", {TRY(shape(x)), int_scalar(axis)});
}

Result<Value*> RuleContext::reshape(Value* x, const std::vector<int64_t>& shape) const {
  return op("reshape", {x, builder.ints(shape)}, {{"allow_zero", true}});
}

}  // namespace tenon::onnx

#include "import/tensorflow/compose.h"

#include <fmt/format.h>

#include "ops/cast.h"

namespace tenon::tf {

Result<Value*> number(RuleContext& c, double v, DType dtype) {
  if (dtype == DType::string) return c.builder.constant(Tensor::scalar(std::string()));
  const Tensor value[] = {Tensor::scalar(v)};
  auto converted = TRY(evaluate(*make_op(Cast{dtype}), value));
  return c.builder.constant(std::move(converted[0]));
}

Result<Value*> cast_to(RuleContext& c, Value* x, DType dtype) {
  if (x->dtype() == dtype) return x;
  return c.builder.op("cast", {x}, {{"to", dtype}});
}

Result<Value*> indices(RuleContext& c, Value* x) {
  const bool taken = x->dtype() == DType::i32 || x->dtype() == DType::i64 || !is_int(x->dtype());
  return taken ? Result<Value*>(x) : cast_to(c, x, DType::i64);
}

Result<Value*> flatten(RuleContext& c, Value* x) {
  if (x->shape().ranked() && x->shape().rank() == 1) return x;
  return c.builder.op("reshape", {x, c.builder.ints({-1})});
}

Result<Value*> filled(RuleContext& c, double v, DType dtype, Value* shape) {
  return c.builder.op("expand", {TRY(number(c, v, dtype)), shape});
}

Result<Value*> shape_of(RuleContext& c, Value* x, int64_t start, int64_t end) {
  return c.builder.op("shape", {x}, {{"start", start}, {"end", end}});
}

Result<Value*> element(RuleContext& c, Value* x, int64_t i) {
  return c.builder.op("slice", {x, c.builder.ints({i}), c.builder.ints({i + 1})});
}

Result<Value*> join(RuleContext& c, const std::vector<Value*>& parts, int64_t axis) {
  if (parts.size() == 1) return parts[0];
  return c.builder.op("concat", parts, {{"axis", axis}});
}

namespace {

// range(0, rank, 1), the rank being that of a tensor whose rank is not known.
bool are_all_axes(const Value* axes) {
  const auto made_by = [](const Value* v, std::string_view op) -> const Node* {
    const Node* node = v == nullptr ? nullptr : v->producer();
    return node != nullptr && node->is(op) ? node : nullptr;
  };
  const auto holds = [](const Value* v, int64_t wanted) {
    const Tensor* t = v == nullptr ? nullptr : v->constant();
    return t != nullptr && is_int(t->dtype()) && t->elements() == 1 && t->int_at(0) == wanted;
  };
  const Node* range = made_by(axes, "range");
  if (range == nullptr || !holds(range->input(0), 0) || !holds(range->input(2), 1)) return false;
  const Node* size = made_by(range->input(1), "size");
  return size != nullptr && made_by(size->input(0), "shape") != nullptr;
}

}  // namespace

Result<Value*> reduced(RuleContext& c, const char* core, Value* x, Value* axes) {
  const bool keep = TRY(c.node.attrs.get_bool("keep_dims", false));
  const auto count = axes->shape().elements();
  if (!count && !keep && are_all_axes(axes)) return c.builder.op(core, {x});
  if (!count) return unsupported("whether there are axes must be known when the model is compiled");
  if (*count == 0) return x;
  return add_with_attr(c.builder, core, {x}, "axes", axes, {{"keep_dims", keep}},
                       keep ? "rank" : "none");
}

Result<Value*> along_axis(RuleContext& c, Value* v, const Value* x, int64_t axis) {
  if (axis == -1 || TRY(rank_of(v)) == 0) return v;
  const int rank = TRY(rank_of(x));
  const int a = TRY(normalize_axis(axis, rank));
  std::vector<int64_t> axes;
  for (int i = a + 1; i < rank; ++i) axes.push_back(i - a);
  if (axes.empty()) return v;
  return c.builder.op("expand_dims", {v}, {{"axes", axes}});
}

Result<Value*> pads_from_pairs(RuleContext& c, Value* pairs) {
  const auto count = pairs->shape().elements();
  if (!count || *count > 128) return unsupported("the number of padded dimensions must be known");
  // Elements 0, 2, 4 … and then 1, 3, 5 … of the flat pairs: integers known in part stay known.
  std::vector<int64_t> order;
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t i = half; i < *count; i += 2) order.push_back(i);
  if (const Tensor* known = pairs->constant(); known != nullptr && is_int(known->dtype())) {
    for (int64_t& at : order) at = known->int_at(at);
    return c.builder.ints(order);
  }
  Value* flat = TRY(cast_to(c, TRY(flatten(c, pairs)), DType::i64));
  return c.builder.op("gather", {flat, c.builder.ints(order)});
}

Result<int> rank_of(const Value* x) {
  if (x->shape().ranked()) return x->shape().rank();
  return unsupported("the rank of the input must be known; give its shape with --input-shape");
}

Result<bool> channels_first(const RuleContext& c, std::string_view attr) {
  return TRY(c.node.attrs.get_string(attr, "NHWC")).starts_with("NC");
}

Result<Value*> channels_to_last(RuleContext& c, Value* x, bool first) {
  const int rank = first ? TRY(rank_of(x)) : 0;
  if (rank < 3) return x;
  std::vector<int64_t> perm{0};
  for (int i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

Result<Value*> channels_to_first(RuleContext& c, Value* x, bool first) {
  const int rank = first ? TRY(rank_of(x)) : 0;
  if (rank < 3) return x;
  std::vector<int64_t> perm{0, rank - 1};
  for (int i = 1; i < rank - 1; ++i) perm.push_back(i);
  return c.builder.op("transpose", {x}, {{"perm", perm}});
}

Result<DType> dtype_attr(const RuleContext& c, std::string_view name, DataType fallback) {
  return to_dtype(TRY(c.node.attrs.get_type(name, fallback)));
}

Result<std::vector<double>> reals(const RuleContext& c, int i) {
  if (i < 0 || static_cast<size_t>(i) >= c.inputs.size())
    return invalid_model(fmt::format("operand {} is missing", i));
  const Tensor* t = c.inputs[static_cast<size_t>(i)]->constant();
  if (t == nullptr || t->is_list() || t->dtype() == DType::string || is_complex(t->dtype()))
    return unsupported(fmt::format("operand {} must be a number known at compile time", i));
  std::vector<double> values;
  for (int64_t k = 0; k < t->elements(); ++k) values.push_back(t->real_at(k));
  return values;
}

}  // namespace tenon::tf

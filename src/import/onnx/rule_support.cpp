#include "import/onnx/rule_support.h"

#include <fmt/format.h>

#include <bit>

#include "ops/registry.h"

namespace tenon::onnx {

Result<Values> standard_op(RuleContext& c, std::string_view op, int64_t opset) {
  const Rule* rule = find_rule("", op, opset);
  if (rule == nullptr) return internal_error(fmt::format("there is no rule for {}", op));
  c.opset = opset;
  return rule->function(c);
}

Result<Values> parametric(RuleContext& c, std::string_view core,
                          std::initializer_list<Parameter> parameters) {
  std::vector<Builder::Attr> attrs;
  for (const Parameter& p : parameters)
    attrs.push_back({p.name, TRY(c.get_float(p.name, p.fallback))});
  return one(c.op(core, {c.in(0)}, std::move(attrs)));
}

Result<Value*> shape_of(RuleContext& c, Value* x, int64_t from, int64_t to) {
  return c.op("shape", {x}, {{"start", from}, {"end", to}});
}

Result<Value*> size_of(RuleContext& c, Value* x, int64_t axis) {
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  return shape_of(c, x, axis, axis == -1 ? kEnd : axis + 1);
}

Result<Value*> join(RuleContext& c, Values parts, int64_t axis) {
  if (parts.size() == 1) return parts[0];
  return c.op("concat", std::move(parts), {{"axis", axis}});
}

Result<Value*> as_matrix(RuleContext& c, Value* x, int64_t axis) {
  const auto product = [&](int64_t from, int64_t to) -> Result<Value*> {
    Value* dims = TRY(shape_of(c, x, from, to));
    return c.op("prod", {dims}, {{"axes", std::vector<int64_t>{0}}, {"keep_dims", true}});
  };
  constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
  Value* rows = TRY(product(0, axis));
  Value* columns = TRY(product(axis, kEnd));
  return c.op("reshape", {x, TRY(join(c, {rows, columns}))}, {{"allow_zero", true}});
}

Result<Value*> expand_dims(RuleContext& c, Value* x, std::vector<int64_t> axes) {
  if (axes.empty()) return x;
  return c.op("expand_dims", {x}, {{"axes", std::move(axes)}});
}

Result<Value*> squeeze(RuleContext& c, Value* x, std::vector<int64_t> axes) {
  return c.op("squeeze", {x}, {{"axes", std::move(axes)}});
}

Result<int64_t> seed_of(RuleContext& c) {
  if (!c.has_attr("seed")) return 0;
  const auto seed = static_cast<float>(TRY(c.get_float("seed")));
  return (int64_t{1} << 32) | std::bit_cast<uint32_t>(seed);
}

Result<Value*> count_up(RuleContext& c, Value* n) {
  Value* zero = c.builder.constant(Tensor::scalar<int64_t>(0));
  Value* step = c.builder.constant(Tensor::scalar<int64_t>(1));
  return c.op("range", {zero, n, step});
}

namespace {

Result<Value*> move_channels(RuleContext& c, Value* x, bool last) {
  if (!x->shape().ranked())
    return unsupported(
        "the number of dimensions must be known; give input sizes with --input-shape");
  const int rank = x->shape().rank();
  if (rank < 2)
    return invalid_model(
        fmt::format("a batch and channels are expected, not {}", x->type().to_string()));
  std::vector<int64_t> perm{0};
  if (!last) perm.push_back(rank - 1);
  for (int i = last ? 2 : 1; i < (last ? rank : rank - 1); ++i) perm.push_back(i);
  if (last) perm.push_back(1);
  return c.transpose(x, std::move(perm));
}

}  // namespace

Result<Value*> channels_last(RuleContext& c, Value* x) {
  return move_channels(c, x, true);
}
Result<Value*> channels_first(RuleContext& c, Value* x) {
  return move_channels(c, x, false);
}

Result<Value*> with_attr(RuleContext& c, std::string_view core, Values operands,
                         std::string_view attr, Value* value, std::vector<Builder::Attr> attrs,
                         std::string_view hint) {
  return add_with_attr(c.builder, core, std::move(operands), attr, value, std::move(attrs), hint);
}

}  // namespace tenon::onnx

// Local identities: what changes nothing, and pairs that are one op.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "ops/gather.h"
#include "ops/resize.h"
#include "ops/slice.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

std::optional<std::vector<int64_t>> ints_attr(const Node& node, std::string_view name) {
  const auto fields = node.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) return std::get<std::vector<int64_t>>(node.op().get(i));
  return std::nullopt;
}

Result<bool> drop_identity(Graph& graph, Node& node) {
  if (!node.is("identity")) return false;
  replace_node(graph, node, node.input(0));
  return true;
}

// Whether equal shapes mean equal sizes: every dimension is a number or a symbol.
bool all_dims_named(const Shape& shape) {
  if (!shape.ranked()) return false;
  return std::ranges::all_of(shape.dims(), [](Dim d) { return d.known() || d.is_symbol(); });
}

// cast, reshape, squeeze, expand … whose result has the static type of its operand.
Result<bool> drop_same_type(Graph& graph, Node& node) {
  if (!node.is("cast") && !node.is("reshape") && !node.is("expand")) return false;
  const Value* x = node.input(0);
  const TensorType& out = node.output()->type();
  if (node.output()->uses().empty() && !graph.is_output(node.output())) return false;
  if (x->type() != out) return false;
  int unknown = 0;
  for (const Dim d : out.shape.dims()) unknown += !d.known() && !d.is_symbol();
  if (!out.shape.ranked() || (unknown > 0 && !node.is("cast"))) return false;
  replace_node(graph, node, node.input(0));
  return true;
}

// What an elementwise op broadcasts by itself.
Result<bool> drop_expand(Graph& graph, Node& node) {
  if (!node.def().has(kPointwise) || node.output_count() != 1 || node.input_count() < 2)
    return false;
  for (int i = 0; i < node.input_count(); ++i) {
    const Node* expand = node.input(i) == nullptr ? nullptr : node.input(i)->producer();
    if (expand == nullptr || !expand->is("expand")) continue;
    std::vector<Value*> operands = node.inputs();
    operands[static_cast<size_t>(i)] = expand->input(0);
    Builder builder(graph, &node);
    builder.set_origins(merge_origins({expand, &node}));
    Node* without = TRY(builder.add(node.op().clone(), std::move(operands)));
    if (without->output()->type() != node.output()->type() ||
        !all_dims_named(node.output()->shape())) {
      graph.erase(without);
      continue;
    }
    replace_node(graph, node, without->output());
    return true;
  }
  return false;
}

Result<bool> drop_identity_transpose(Graph& graph, Node& node) {
  if (!node.is("transpose")) return false;
  const auto perm = ints_attr(node, "perm");
  if (!perm || perm->empty()) return false;
  for (size_t i = 0; i < perm->size(); ++i)
    if ((*perm)[i] != static_cast<int64_t>(i)) return false;
  replace_node(graph, node, node.input(0));
  return true;
}

Result<bool> drop_identity_resize(Graph& graph, Node& node) {
  const Resize* resize = node.as<Resize>();
  if (resize == nullptr) return false;
  const Shape& shape = node.input(0)->type().shape;
  if (!shape.ranked() || node.input(0)->type() != node.output()->type()) return false;
  for (int d = 1; d + 1 < shape.rank(); ++d)
    if (!shape[d].known() ||
        !resize->keeps(static_cast<size_t>(d) - 1, shape[d].size(), shape[d].size()))
      return false;
  replace_node(graph, node, node.input(0));
  return true;
}

Result<bool> merge_transposes(Graph& graph, Node& node) {
  if (!node.is("transpose")) return false;
  Node* inner = node.input(0)->producer();
  if (inner == nullptr || !inner->is("transpose")) return false;
  const auto p = ints_attr(node, "perm"), q = ints_attr(*inner, "perm");
  if (!p || !q || p->empty() || p->size() != q->size()) return false;
  std::vector<int64_t> merged;
  for (const int64_t axis : *p) merged.push_back((*q)[static_cast<size_t>(axis)]);
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({inner, &node}));
  replace_node(graph, node, TRY(builder.op("transpose", {inner->input(0)}, {{"perm", merged}})));
  return true;
}

// reshape(reshape(x, _), s) = reshape(x, s), unless s copies dimensions of its operand.
Result<bool> merge_reshapes(Graph&, Node& node) {
  if (!node.is("reshape")) return false;
  Node* inner = node.input(0)->producer();
  if (inner == nullptr ||
      !(inner->is("reshape") || inner->is("squeeze") || inner->is("expand_dims")))
    return false;
  const Tensor* shape = node.input(1)->constant();
  if (shape == nullptr) return false;
  for (const int64_t v : shape->to_ints())
    if (v == 0) return false;
  node.set_input(0, inner->input(0));
  node.origins = merge_origins({inner, &node});
  return true;
}

// A view of a view that has the type of what it began with.
Result<bool> cancel_views(Graph& graph, Node& node) {
  const Node* inner = node.def().has(kView) ? node.input(0)->producer() : nullptr;
  if (inner == nullptr || !inner->def().has(kView)) return false;
  Value* x = inner->input(0);
  if (x->type() != node.output()->type() || !x->shape().ranked()) return false;
  int unknown = 0;
  for (const Dim d : x->shape().dims()) unknown += !d.known() && !d.is_symbol();
  if (unknown > 1) return false;  // one follows from the number of elements
  replace_node(graph, node, x);
  return true;
}

// x * 1, x / 1, x + 0, x - 0 where the result has the type of x.
Result<bool> drop_neutral(Graph& graph, Node& node) {
  const bool scales = node.is("mul") || node.is("div");
  if (!scales && !node.is("add") && !node.is("sub")) return false;
  const bool commutes = node.is("mul") || node.is("add");
  for (int side = 1; side >= (commutes ? 0 : 1); --side) {
    Value* x = node.input(1 - side);
    if (splat_value(node.input(side)) != (scales ? 1.0 : 0.0)) continue;
    // Only then can the other side not have made the result larger.
    const bool single = x->shape().ranked() && node.input(side)->shape().elements() == 1;
    if (x->type() != node.output()->type() || !(single || all_dims_named(x->shape()))) continue;
    replace_node(graph, node, x);
    return true;
  }
  return false;
}

bool is_true_everywhere(const Value* value) {
  const Node* node = value->producer();
  const Tensor* t = (node != nullptr && node->is("expand") ? node->input(0) : value)->constant();
  if (t == nullptr || t->is_list() || t->dtype() != DType::boolean || t->elements() < 1)
    return false;
  return std::all_of(t->data<bool>(), t->data<bool>() + t->elements(), std::identity{});
}

// A mask that is "and" of something and of all the places there are, as causal attention spells it.
Result<bool> drop_true_conjunct(Graph&, Node& node) {
  if (!node.is("select")) return false;
  const Node* both = node.input(0)->producer();
  if (both == nullptr || !both->is("logical_and")) return false;
  // A value of the result's shape, so that the condition is broadcast without the conjunct, too.
  const Shape& shape = node.output()->shape();
  const auto is_as_large = [&](int i) {
    return all_dims_named(shape) && node.input(i)->shape() == shape;
  };
  if (!is_as_large(1) && !is_as_large(2)) return false;
  for (const int side : {0, 1}) {
    if (!is_true_everywhere(both->input(side))) continue;
    node.set_input(0, both->input(1 - side));
    return true;
  }
  return false;
}

// concat(x) = x.
Result<bool> drop_concat_of_one(Graph& graph, Node& node) {
  if (!node.is("concat") || node.input_count() != 1) return false;
  replace_node(graph, node, node.input(0));
  return true;
}

// x[0:size] = x, as the cut to a number of channels that there are not more of.
Result<bool> drop_whole_slice(Graph& graph, Node& node) {
  const Slice* slice = node.as<Slice>();
  if (slice == nullptr || !node.input(0)->shape().ranked()) return false;
  std::array<std::vector<int64_t>, 3> given;  // starts, ends, steps
  for (int i = 1; i < node.input_count(); ++i) {
    if (node.input(i) == nullptr) continue;
    if (node.input(i)->constant() == nullptr) return false;
    given[static_cast<size_t>(i - 1)] = node.input(i)->constant()->to_ints();
  }
  const auto& [starts, ends, steps] = given;
  const Shape& x = node.input(0)->shape();
  for (size_t i = 0; i < starts.size(); ++i) {
    const int64_t axis = slice->axes.empty() ? static_cast<int64_t>(i) : slice->axes[i];
    const Dim size = x[static_cast<int>(axis < 0 ? axis + x.rank() : axis)];
    // A size that is not known is below this.
    constexpr int64_t kPast = std::numeric_limits<int32_t>::max();
    if (starts[i] != 0 || ends[i] < size.size_or(kPast) || (!steps.empty() && steps[i] != 1))
      return false;
  }
  replace_node(graph, node, node.input(0));
  return true;
}

// The operand of f that slices of f's result are f of slices of: others are scalars. -1: none.
int sliced_operand(const Node& f, const std::vector<int64_t>& axes) {
  if (f.is("tile")) {
    const auto& repeats = f.input(1)->ints();
    const auto rank = static_cast<int64_t>(f.output()->shape().rank());
    for (const int64_t axis : axes) {
      const auto at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
      if (!repeats || at >= repeats->size() || (*repeats)[at].value != 1) return -1;
    }
    return 0;
  }
  if (!f.def().has(kPointwise) || f.def().has(kRandom)) return -1;
  int at = -1;
  for (int i = 0; i < f.input_count(); ++i) {
    const Value* v = f.input(i);
    if (v == nullptr) return -1;
    if (v->constant() != nullptr && v->constant()->elements() == 1) continue;
    if (at >= 0 || v->shape() != f.output()->shape()) return -1;
    at = i;
  }
  return at;
}

// Of what is computed element by element only what is read, where that is at most half. What goes
// into a product stays behind it.
Result<bool> hoist_slice(Graph& graph, Node& node) {
  const Slice* slice = node.as<Slice>();
  Node* f = slice == nullptr || slice->axes.empty() ? nullptr : node.input(0)->producer();
  if (f == nullptr || f->output_count() != 1 || !has_single_use(graph, node.input(0))) return false;
  const Shape &from = node.input(0)->shape(), &to = node.output()->shape();
  if (!from.ranked() || !to.ranked() || from.rank() != to.rank()) return false;
  bool halves = false;
  for (int d = 0; d < from.rank(); ++d)
    halves |= from[d].known() && to[d].known() && 2 * to[d].size() <= from[d].size();
  const int at = halves ? sliced_operand(*f, slice->axes) : -1;
  if (at < 0) return false;
  const Node* before = f->input(at)->producer();
  if (before != nullptr && (before->is("conv") || before->is("matmul"))) return false;
  std::vector<Value*> operands = node.inputs();
  operands[0] = f->input(at);
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Node* cut = TRY(builder.add(node.op().clone(), operands));
  operands = f->inputs();
  operands[static_cast<size_t>(at)] = cut->output();
  builder.set_origins(f->origins);
  Node* y = TRY(builder.add(f->op().clone(), std::move(operands)));
  if (y->output()->type() != node.output()->type()) {
    graph.erase(y);
    graph.erase(cut);
    return false;
  }
  replace_node(graph, node, y->output());
  return true;
}

// gather(x, 0) where that dimension has size 1.
Result<bool> gather_as_squeeze(Graph& graph, Node& node, const Gather& gather) {
  const Shape& x = node.input(0)->shape();
  const Tensor* index = node.input(1)->constant();
  if (index == nullptr || index->rank() != 0 || !x.ranked() || gather.batch_dims != 0) return false;
  const auto axis = static_cast<int>(gather.axis < 0 ? gather.axis + x.rank() : gather.axis);
  if (axis < 0 || axis >= x.rank() || x[axis] != Dim(1) ||
      (index->int_at(0) != 0 && index->int_at(0) != -1))
    return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* y = TRY(builder.op("squeeze", {node.input(0)}, {{"axes", std::vector<int64_t>{axis}}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  replace_node(graph, node, y);
  return true;
}

// x[:, 0, …] where what is indexed has size 1 is a squeeze, or nothing at all.
Result<bool> slice_as_squeeze(Graph& graph, Node& node) {
  if (const Gather* gather = node.as<Gather>()) return gather_as_squeeze(graph, node, *gather);
  const StridedSlice* slice = node.as<StridedSlice>();
  if (slice == nullptr || slice->ellipsis_mask != 0 || slice->new_axis_mask != 0) return false;
  const Tensor *begin = node.input(1)->constant(), *end = node.input(2)->constant();
  const Shape& x = node.input(0)->shape();
  if (begin == nullptr || end == nullptr || splat_value(node.input(3)) != 1.0 || !x.ranked() ||
      begin->elements() > x.rank() || begin->elements() != end->elements())
    return false;
  std::vector<int64_t> axes;
  for (int i = 0; i < begin->elements(); ++i) {
    const int64_t bit = int64_t{1} << i, from = begin->int_at(i), to = end->int_at(i);
    if ((slice->shrink_axis_mask & bit) != 0) {
      if (x[i] != Dim(1) || (from != 0 && from != -1)) return false;
      axes.push_back(i);
      continue;
    }
    if (((slice->begin_mask & bit) == 0 && from != 0) ||
        ((slice->end_mask & bit) == 0 && !(x[i].known() && to >= x[i].size())))
      return false;
  }
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* y = node.input(0);
  if (!axes.empty()) y = TRY(builder.op("squeeze", {y}, {{"axes", axes}}));
  if (!is_compatible(node.output()->type(), y->type())) return false;
  replace_node(graph, node, y);
  return true;
}

// A reshape whose result is known but for one dimension needs no shape arithmetic.
Result<bool> solve_reshape(Graph& graph, Node& node) {
  if (!node.is("reshape") || node.input(1)->constant() != nullptr) return false;
  const Shape& out = node.output()->shape();
  if (!out.ranked()) return false;
  std::vector<int64_t> target;
  int unknown = 0;
  for (const Dim d : out.dims()) {
    unknown += !d.known();
    if (d == Dim(0)) return false;
    target.push_back(d.size_or(-1));
  }
  if (unknown > 1) return false;
  Builder builder(graph, &node);
  node.set_input(1, builder.ints(target));
  return true;
}

bool is_whole(const Tensor& t) {
  return t.elements() == 1 && t.real_at(0) == std::trunc(t.real_at(0)) &&
         std::abs(t.real_at(0)) <= (1 << 24);
}

// Sizes are followed through whole numbers alone: counted so, a range has a known length.
Result<bool> count_whole_numbers(Graph& graph, Node& node) {
  if (!node.is("range") || node.output()->dtype() != DType::f32) return false;
  DType dtype = DType::f32;
  for (const Value* v : node.inputs()) {
    if (v->constant() != nullptr && is_whole(*v->constant())) continue;
    const Node* cast = v->producer();
    if (cast == nullptr || !cast->is("cast")) return false;
    const DType from = cast->input(0)->dtype();
    if ((from != DType::i32 && from != DType::i64) || (dtype != DType::f32 && from != dtype))
      return false;
    dtype = from;
  }
  if (dtype == DType::f32) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> bounds;
  for (const Value* v : node.inputs()) {
    if (v->constant() == nullptr) {
      bounds.push_back(v->producer()->input(0));
      continue;
    }
    const auto n = static_cast<int64_t>(v->constant()->real_at(0));
    bounds.push_back(builder.constant(
        dtype == DType::i64 ? Tensor::scalar(n) : Tensor::scalar(static_cast<int32_t>(n))));
  }
  Value* counted = TRY(builder.op("range", std::move(bounds)));
  replace_node(graph, node, TRY(builder.op("cast", {counted}, {{"to", DType::f32}})));
  return true;
}

constexpr Rule kRules[] = {
    {"drop-identity", "identity(x) = x", drop_identity},
    {"drop-same-type", "a cast, reshape or expand to the type it has already", drop_same_type},
    {"drop-expand", "f(x, expand(y)) = f(x, y)", drop_expand},
    {"drop-identity-transpose", "transpose(x, 0 1 2 …) = x", drop_identity_transpose},
    {"drop-identity-resize", "a resize to the sizes there are already", drop_identity_resize},
    {"merge-transposes", "transpose(transpose(x, q), p) = transpose(x, q[p])", merge_transposes},
    {"merge-reshapes", "reshape(reshape(x)) = reshape(x)", merge_reshapes},
    {"cancel-views", "squeeze(expand_dims(x)) = x, and other pairs of views", cancel_views},
    {"drop-true-conjunct", "select(true && c, x, y) = select(c, x, y)", drop_true_conjunct},
    {"drop-concat-of-one", "concat(x) = x", drop_concat_of_one},
    {"drop-whole-slice", "x[0:size] = x", drop_whole_slice},
    {"hoist-slice", "slice(f(x)) = f(slice(x)) where the half is cut away", hoist_slice},
    {"slice-as-squeeze", "x[:, 0] where that dimension has size 1", slice_as_squeeze},
    {"count-whole-numbers", "range(cast(a), cast(b), 1.0) = cast(range(a, b, 1))",
     count_whole_numbers},
    {"solve-reshape", "a reshape with at most one unknown dimension gets a constant shape",
     solve_reshape},
};

constexpr Rule kNeutralRules[] = {
    {"drop-neutral", "x * 1, x / 1, x + 0, x - 0 = x", drop_neutral},
};

}  // namespace

std::span<const Rule> neutral_rules() {
  return kNeutralRules;
}

std::span<const Rule> simplify_rules() {
  return kRules;
}

}  // namespace tenon

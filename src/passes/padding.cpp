// Padding that convolutions and pools do themselves.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/conv.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// A padding by a constant of amounts that are known.
struct Padding {
  const Node* node = nullptr;
  std::vector<int64_t> amounts;  // the begins, then the ends
  double value = 0;

  size_t rank() const { return amounts.size() / 2; }
  bool grows() const {
    return std::ranges::all_of(amounts, [](int64_t n) { return n >= 0; });
  }
};

std::optional<Padding> padding_of(const Value* value) {
  const Node* node = value == nullptr ? nullptr : value->producer();
  const Pad* pad = node == nullptr ? nullptr : node->as<Pad>();
  if (pad == nullptr || pad->mode != PadMode::constant || !pad->axes.empty() ||
      node->input(1)->constant() == nullptr)
    return std::nullopt;
  Padding p{node, node->input(1)->constant()->to_ints()};
  if (const Value* with = node->input(2)) {
    if (with->constant() == nullptr || with->constant()->elements() != 1 ||
        !is_float(with->dtype()))
      return std::nullopt;
    p.value = with->constant()->real_at(0);
  }
  return p;
}

// The amounts of the spatial dimensions; nothing where others are padded.
std::optional<std::vector<int64_t>> spatial_amounts(const Padding& p) {
  const size_t rank = p.rank();
  if (rank < 3 || !p.grows()) return std::nullopt;
  std::vector<int64_t> spatial;
  for (const size_t side : {size_t{0}, rank}) {
    if (p.amounts[side] != 0 || p.amounts[side + rank - 1] != 0) return std::nullopt;
    for (size_t i = 1; i + 1 < rank; ++i) spatial.push_back(p.amounts[side + i]);
  }
  return spatial;
}

// The op with the amounts added to its pads, in the node's place, on what was padded.
Result<bool> take_in(Graph& graph, Node& node, const Padding& p, std::unique_ptr<Op> op,
                     std::vector<int64_t> pads, const std::vector<int64_t>& amounts) {
  pads.resize(amounts.size(), 0);
  for (size_t i = 0; i < amounts.size(); ++i) pads[i] += amounts[i];
  TRY(set_attr(*op, "pads", std::move(pads)));
  std::vector<Value*> operands = node.inputs();
  operands[0] = p.node->input(0);
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({p.node, &node}));
  const auto fused = builder.add(std::move(op), std::move(operands));
  if (!fused.ok() || !is_compatible(node.output()->type(), (*fused)->output()->type()))
    return false;
  graph.replace_all_uses(node.output(), (*fused)->output());
  return true;
}

// Zero padding of spatial dimensions before a convolution.
Result<bool> fuse_pad(Graph& graph, Node& node) {
  const Conv* conv = node.as<Conv>();
  if (conv == nullptr || conv->auto_pad != AutoPad::none) return false;
  const auto p = padding_of(node.input(0));
  const auto amounts = p && p->value == 0 ? spatial_amounts(*p) : std::nullopt;
  return amounts ? take_in(graph, node, *p, node.op().clone(), conv->pads, *amounts)
                 : Result<bool>(false);
}

// Whether no element can be below zero (or is NaN).
bool is_non_negative(const Value* value, int depth = 6) {
  const Node* node = value->producer();
  if (node == nullptr || depth == 0) return false;
  for (const char* op :
       {"relu", "sigmoid", "softmax", "exp", "abs", "square", "softplus", "hard_sigmoid"})
    if (node->is(op)) return true;
  const bool is_product = node->is("conv") || node->is("conv_transpose") || node->is("matmul");
  const auto fields = node->def().fields;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (node->is("clip") && fields[i].name == "min")
      return std::get<double>(node->op().get(i)) >= 0;
    if (fields[i].name != "activation" || !is_product) continue;
    const AttrValue kind = node->op().get(i);
    if (attr_equal(kind, std::string("relu")) || attr_equal(kind, std::string("sigmoid")))
      return true;
  }
  if (const Conv* conv = node->as<Conv>())
    return conv->activation == ActivationKind::clip && conv->alpha >= 0;
  for (const char* op :
       {"max_pool", "avg_pool", "concat", "reshape", "transpose", "slice", "reduce_max", "mean"})
    if (node->is(op)) {
      const size_t count = node->is("concat") ? node->inputs().size() : 1;
      return std::ranges::all_of(std::span(node->inputs()).first(count),
                                 [&](const Value* v) { return is_non_negative(v, depth - 1); });
    }
  return false;
}

// Whether each window covers something besides so much padding.
bool windows_reach_inside(const std::vector<int64_t>& kernel, const std::vector<int64_t>& amounts) {
  for (size_t i = 0; i < amounts.size(); ++i)
    if (amounts[i] >= kernel[i % kernel.size()]) return false;
  return true;
}

bool all_of(const std::vector<int64_t>& list, int64_t value) {
  return std::ranges::all_of(list, [&](int64_t v) { return v == value; });
}

// Padding before a pool: what the maximum never is, or zeros that a mean counts.
Result<bool> fuse_pad_pool(Graph& graph, Node& node) {
  const auto p = padding_of(node.input_count() == 0 ? nullptr : node.input(0));
  const auto amounts = p ? spatial_amounts(*p) : std::nullopt;
  if (!amounts) return false;
  if (const MaxPool* pool = node.as<MaxPool>()) {
    const bool never = p->value <= std::numeric_limits<float>::lowest() ||
                       (p->value <= 0 && is_non_negative(p->node->input(0)));
    if (!never || pool->auto_pad != AutoPad::none || pool->ceil_mode ||
        !all_of(pool->dilations, 1) || !all_of(pool->pads, 0) ||
        2 * pool->kernel.size() != amounts->size() || !windows_reach_inside(pool->kernel, *amounts))
      return false;
    return take_in(graph, node, *p, node.op().clone(), pool->pads, *amounts);
  }
  const AvgPool* pool = node.as<AvgPool>();
  if (pool == nullptr || p->value != 0 || pool->auto_pad != AutoPad::none || pool->ceil_mode ||
      !(all_of(pool->pads, 0) || pool->count_include_pad) ||
      2 * pool->kernel.size() != amounts->size() || !windows_reach_inside(pool->kernel, *amounts))
    return false;
  auto op = node.op().clone();
  TRY(set_attr(*op, "count_include_pad", true));
  return take_in(graph, node, *p, std::move(op), pool->pads, *amounts);
}

// pad(pad(x)) with one value, both making it larger.
Result<bool> merge_pads(Graph& graph, Node& node) {
  const auto outer = padding_of(node.output_count() == 0 ? nullptr : node.output());
  const auto inner = outer ? padding_of(node.input(0)) : std::nullopt;
  if (!inner || outer->value != inner->value || outer->rank() != inner->rank() || !outer->grows() ||
      !inner->grows() || !has_single_use(graph, node.input(0)))
    return false;
  std::vector<int64_t> amounts = outer->amounts;
  for (size_t i = 0; i < amounts.size(); ++i) amounts[i] += inner->amounts[i];
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({inner->node, &node}));
  std::vector<Value*> operands = node.inputs();
  operands[0] = inner->node->input(0);
  operands[1] = builder.ints(amounts);
  replace_node(graph, node, TRY(builder.add(node.op().clone(), std::move(operands)))->output());
  return true;
}

// The positions of the dimensions that are not 1.
std::vector<int> larger_dims(const Shape& shape) {
  std::vector<int> at;
  for (int i = 0; i < shape.rank(); ++i)
    if (shape[i] != Dim(1)) at.push_back(i);
  return at;
}

// view(pad(x)) = pad(view(x)), where the view only inserts and removes dimensions of size 1: the
// padding comes to stand before what may take it in.
Result<bool> sink_pad(Graph& graph, Node& node) {
  if (!node.def().has(kView) || node.output_count() != 1) return false;
  const auto p = padding_of(node.input(0));
  if (!p || !has_single_use(graph, node.input(0))) return false;
  Value* x = p->node->input(0);
  const Shape &padded = node.input(0)->shape(), &y = node.output()->shape();
  if (!x->shape().ranked() || !padded.ranked() || !y.ranked() ||
      static_cast<size_t>(padded.rank()) != p->rank() || x->shape().rank() != padded.rank())
    return false;
  const auto from = larger_dims(padded), to = larger_dims(y);
  if (from.size() != to.size()) return false;
  std::vector<int64_t> target(static_cast<size_t>(y.rank()), 1), amounts(2 * target.size());
  for (size_t i = 0; i < from.size(); ++i) {
    if (!padded[from[i]].same(y[to[i]])) return false;
    const Dim d = x->shape()[from[i]];
    const auto a = static_cast<size_t>(from[i]), b = static_cast<size_t>(to[i]);
    if (d == Dim(0)) return false;
    target[b] = d.size_or(-1);
    amounts[b] = p->amounts[a];
    amounts[b + target.size()] = p->amounts[a + p->rank()];
  }
  for (int i = 0; i < padded.rank(); ++i) {
    const auto at = static_cast<size_t>(i);
    if (padded[i] == Dim(1) &&
        (x->shape()[i] != Dim(1) || p->amounts[at] != 0 || p->amounts[at + p->rank()] != 0))
      return false;
  }
  if (std::ranges::count(target, -1) > 1) return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = p->node->inputs();
  operands[0] = TRY(builder.op("reshape", {x, builder.ints(target)}));
  operands[1] = builder.ints(amounts);
  Node* moved = TRY(builder.add(p->node->op().clone(), std::move(operands)));
  moved->origins = p->node->origins;
  if (!is_compatible(node.output()->type(), moved->output()->type())) return false;
  graph.replace_all_uses(node.output(), moved->output());
  return true;
}

constexpr Rule kRules[] = {
    {"fuse-pad", "conv(pad(x)) = conv(x){pads}, zeros around spatial dimensions", fuse_pad},
    {"fuse-pad-pool", "max_pool(pad(x)) = max_pool(x){pads}, no padding being the largest",
     fuse_pad_pool},
    {"merge-pads", "pad(pad(x)) = pad(x)", merge_pads},
    {"sink-pad", "reshape(pad(x)) = pad(reshape(x)), dimensions of size 1 coming and going",
     sink_pad},
};

}  // namespace

std::span<const Rule> padding_rules() {
  return kRules;
}

}  // namespace tenon

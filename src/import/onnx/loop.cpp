#include "import/onnx/loop.h"

#include <fmt/format.h>

namespace tenon::onnx {
namespace {

// After so many attempts a loop variable whose shape keeps changing has none.
constexpr int kShapedRounds = 3;

// A rule context for adding nodes to another graph.
RuleContext inside(const RuleContext& c, Builder& builder) {
  return RuleContext{c.importer, c.scope, builder, c.node, c.opset, {}, 0};
}

// Positions among the operands of `while`: index, condition, state, constants, captures, trips,
// lists.
struct Layout {
  size_t condition, state, constants, captures;
};

Layout layout_of(const Loop& loop) {
  const size_t state = loop.condition != nullptr ? 2 : 1;
  const size_t constants = state + loop.state.size();
  return {1, state, constants, constants + loop.constants.size()};
}

// The loop variables' types that cover what comes in and what the body gives. Returns whether any
// changed.
Result<bool> widen(const Loop& loop, const Graph& body, int round, TensorTypes& types) {
  const size_t first = loop.gives_condition ? 1 : 0;
  const size_t state = layout_of(loop).state;
  bool changed = false;
  for (size_t i = 0; i < loop.state.size(); ++i) {
    TensorType& type = types[state + i];
    const TensorType& next = body.outputs()[first + i]->type();
    if (type.dtype != next.dtype || type.is_list != next.is_list)
      return invalid_model(fmt::format("loop variable {} is {} before and {} after a step", i,
                                       type.to_string(), next.to_string()));
    const Shape joined =
        round < kShapedRounds ? join_shapes(type.shape, next.shape) : Shape::unranked();
    if (joined == type.shape || !type.shape.ranked()) continue;
    type.shape = joined;
    changed = true;
  }
  return changed;
}

Result<Region> build_body(RuleContext& c, const Loop& loop, TensorTypes& types,
                          const std::vector<Capture>& captures) {
  const Layout at = layout_of(loop);
  const auto prelude = [&](Builder& builder, const Values& in) -> Result<Values> {
    const auto part = [&](size_t from, size_t to) {
      return Values(in.begin() + static_cast<std::ptrdiff_t>(from),
                    in.begin() + static_cast<std::ptrdiff_t>(to));
    };
    const Step step{in[0], loop.condition != nullptr ? in[at.condition] : nullptr,
                    part(at.state, at.constants), part(at.constants, at.captures)};
    return loop.inputs(inside(c, builder), step);
  };
  const size_t expected =
      (loop.gives_condition ? 1 : 0) + loop.state.size() + static_cast<size_t>(loop.collected);
  if (loop.body->outputs.size() != expected)
    return invalid_model(fmt::format("its sub-graph '{}' has {} outputs, but {} are expected",
                                     loop.body->name, loop.body->outputs.size(), expected));
  for (int round = 0;; ++round) {
    const size_t reported = c.importer.report_size();
    Region region = TRY(c.importer.region(c, *loop.body, types, captures, prelude));
    if (!region.is_complete) return unsupported("nodes of its sub-graph have no mapping");
    if (!TRY(widen(loop, *region.graph, round, types))) return region;
    c.importer.truncate_report(reported);
  }
}

// index < trips, and the condition.
Result<std::unique_ptr<Graph>> build_condition(const RuleContext& c, const Loop& loop,
                                               const TensorTypes& types, size_t trips_at) {
  auto graph = std::make_unique<Graph>("condition");
  Builder builder(*graph);
  const RuleContext in = inside(c, builder);
  Values inputs;
  for (const TensorType& type : types) inputs.push_back(graph->add_input(type));
  Value* result = loop.condition != nullptr ? inputs[layout_of(loop).condition] : nullptr;
  if (loop.trips != nullptr) {
    Value* trips = loop.trips->constant() != nullptr ? builder.constant(*loop.trips->constant())
                                                     : inputs[trips_at];
    Value* more = TRY(in.op("less", {inputs[0], trips}));
    result = result == nullptr ? more : TRY(in.op("logical_and", {more, result}));
  }
  if (result == nullptr) result = builder.constant(Tensor::scalar(true));
  graph->set_outputs({result});
  return graph;
}

}  // namespace

Result<Value*> as_scalar(const RuleContext& c, Value* x) {
  if (x->shape().ranked() && x->shape().rank() == 0) return x;
  if (const Tensor* t = x->constant(); t != nullptr && t->elements() == 1)
    return c.builder.constant(t->reshaped({}));
  return c.reshape(x, {});
}

Result<LoopResults> build_loop(RuleContext& c, const Loop& loop) {
  const std::vector<Capture> captures = TRY(c.importer.captures(c, {loop.body}));
  Values operands{c.int_scalar(0)};
  if (loop.condition != nullptr) operands.push_back(loop.condition);
  operands.insert(operands.end(), loop.state.begin(), loop.state.end());
  operands.insert(operands.end(), loop.constants.begin(), loop.constants.end());
  TensorTypes types;
  for (const Value* v : operands) types.push_back(v->type());
  Region body = TRY(build_body(c, loop, types, captures));
  for (Value* v : GraphImporter::capture_operands(captures)) operands.push_back(v);
  const size_t trips_at = operands.size();
  if (loop.trips != nullptr && loop.trips->constant() == nullptr) {
    operands.push_back(loop.trips);
    body.graph->add_input(loop.trips->type());
  }
  const size_t lists_at = operands.size();
  // What the body gives, in the order of the operands.
  Graph& graph = *body.graph;
  Builder builder(graph);
  builder.set_origins({node_name(c.node)});
  const RuleContext in = inside(c, builder);
  const Layout at = layout_of(loop);
  Values next;
  for (const auto& input : graph.inputs()) next.push_back(input.get());
  next[0] = TRY(in.op("add", {next[0], in.int_scalar(1)}));
  size_t output = 0;
  if (loop.gives_condition) {
    if (loop.condition != nullptr) next[at.condition] = TRY(as_scalar(in, graph.outputs()[output]));
    ++output;
  }
  for (size_t i = 0; i < loop.state.size(); ++i) next[at.state + i] = graph.outputs()[output++];
  LoopResults results;
  for (int i = 0; i < loop.collected; ++i) {
    Value* item = graph.outputs()[output++];
    if (item->type().is_list)
      return invalid_model("a result of each step is a sequence; only tensors can be collected");
    results.items.push_back(item->type());
    operands.push_back(TRY(c.op("list_empty", {}, {{"element", item->type()}})));
    Value* list = graph.add_input(operands.back()->type());
    next.push_back(TRY(in.op("list_push", {list, item})));
  }
  graph.set_outputs(std::move(next));
  types.clear();
  for (const auto& input : graph.inputs()) types.push_back(input->type());
  std::vector<std::unique_ptr<Graph>> regions;
  regions.push_back(TRY(build_condition(c, loop, types, trips_at)));
  regions.push_back(std::move(body.graph));
  const Node* node = TRY(c.builder.node("while", operands, {}, std::move(regions)));
  for (size_t i = 0; i < loop.state.size(); ++i)
    results.state.push_back(node->output(static_cast<int>(at.state + i)));
  for (size_t i = 0; i < results.items.size(); ++i)
    results.lists.push_back(node->output(static_cast<int>(lists_at + i)));
  return results;
}

}  // namespace tenon::onnx

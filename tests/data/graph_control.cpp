#include "graph_control.h"

#include <fmt/format.h>

namespace tenon::data_tests {
namespace {

Tensor real(double value) {
  return Tensor::scalar(static_cast<float>(value));
}

}  // namespace

Result<Value*> add_branch(Builder& builder, Value* x, double a, double b) {
  Value* first = TRY(builder.op("reshape", {x, builder.ints({-1})}));
  first = TRY(builder.op("gather", {first, builder.constant(Tensor::scalar<int64_t>(0))}));
  Value* positive = TRY(builder.op("greater", {first, builder.constant(real(0))}));
  std::vector<std::unique_ptr<Graph>> regions;
  for (const std::string_view op : {"tanh", "relu"}) {
    auto region = std::make_unique<Graph>(std::string(op));
    Value* in = region->add_input(x->type());
    Builder inner(*region);
    inner.set_origins({fmt::format("branch/{}", op)});
    Value* factor = inner.constant(real(op == "tanh" ? a : b));
    region->set_outputs({TRY(inner.op("mul", {TRY(inner.op(op, {in})), factor}))});
    regions.push_back(std::move(region));
  }
  return TRY(builder.node("if", {positive, x}, {}, std::move(regions)))->output();
}

Result<Node*> add_loop(Builder& builder, Value* x, Value* y, const LoopPlan& plan) {
  const std::vector<Value*> initial{builder.constant(Tensor::scalar<int64_t>(0)), x, y,
                                    builder.constant(real(plan.constant))};
  auto condition = std::make_unique<Graph>("condition");
  auto body = std::make_unique<Graph>("body");
  std::vector<Value*> in;
  in.reserve(initial.size());
  for (const Value* v : initial) {
    condition->add_input(v->type());
    in.push_back(body->add_input(v->type()));
  }
  Builder outer(*condition);
  Value* end = outer.constant(Tensor::scalar(plan.trips));
  condition->set_outputs({TRY(outer.op("less", {condition->inputs()[0].get(), end}))});
  Builder inner(*body);
  inner.set_origins({"loop/step"});
  Value* one = inner.constant(Tensor::scalar<int64_t>(1));
  Value* next_x = TRY(inner.op("tanh", {TRY(inner.op("add", {in[1], in[3]}))}));
  Value* next_y = TRY(inner.op(plan.function, {in[2]}));
  if (plan.swaps) std::swap(next_x, next_y);
  body->set_outputs({TRY(inner.op("add", {in[0], one})), next_x, next_y, in[3]});
  std::vector<std::unique_ptr<Graph>> regions;
  regions.push_back(std::move(condition));
  regions.push_back(std::move(body));
  return builder.node("while", initial, {}, std::move(regions));
}

}  // namespace tenon::data_tests

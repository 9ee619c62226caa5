// Random graphs of 5 to 50 ops: optimised they compute what they did before, pass by pass and on
// the CPU device; text and file read back the same; a pass that has run changes nothing when run
// again.
#include <fmt/format.h>

#include "ir/interpret.h"
#include "ir/text.h"
#include "passes/passes.h"
#include "runner.h"

namespace tenon::data_tests {
namespace {

class Generator {
 public:
  explicit Generator(uint32_t seed) : state_(seed * 2654435761u + 1) {}

  Result<std::unique_ptr<Graph>> run() {
    auto graph = std::make_unique<Graph>("random");
    builder_.emplace(*graph);
    for (const int rank : {2, 3, 4})
      values_.push_back(graph->add_input({DType::f32, shape(rank)}, fmt::format("x{}", rank)));
    const int ops = 5 + pick(46);
    // What inference refuses is not taken.
    for (int made = 0, tries = 0; made < ops && tries < 10 * ops; ++tries) {
      builder_->set_origins({fmt::format("layer{}", made)});
      auto v = step();
      if (!v.ok() || *v == nullptr || (*v)->shape().elements().value_or(0) > kMaxElements) continue;
      values_.push_back(*v);
      ++made;
    }
    std::vector<Value*> outputs{values_.back()};
    if (pick(2) == 0) outputs.push_back(values_[static_cast<size_t>(pick(values_.size()))]);
    graph->set_outputs(std::move(outputs));
    return graph;
  }

 private:
  static constexpr int64_t kMaxElements = 4096;

  int pick(size_t n) {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<int>((state_ >> 8) % n);
  }
  double real() { return pick(1000) / 500.0 - 1; }
  Value* any() {
    // The newest values most often, so that chains grow.
    const size_t back = std::min(values_.size(), static_cast<size_t>(1 + pick(4)));
    return pick(4) == 0 ? values_[static_cast<size_t>(pick(values_.size()))]
                        : values_[values_.size() - back];
  }
  Shape shape(int rank) {
    Shape s;
    for (int i = 0; i < rank; ++i) s.dims().emplace_back(1 + pick(4));
    return s;
  }
  Value* constant(std::vector<int64_t> dims) {
    Tensor t = Tensor::allocate(DType::f32, dims).value();
    for (int64_t i = 0; i < t.elements(); ++i)
      t.mutable_data<float>()[i] = static_cast<float>(real());
    return builder_->constant(t);
  }
  int64_t last(const Value* v) { return v->shape()[v->shape().rank() - 1].size(); }

  Result<Value*> step() {
    Value* x = any();
    const int rank = x->shape().rank();
    if (rank < 1) return static_cast<Value*>(nullptr);
    switch (pick(15)) {
      case 0: {
        constexpr std::string_view kUnary[] = {"relu", "sigmoid", "tanh", "neg",
                                               "abs",  "square",  "exp",  "identity"};
        return builder_->op(kUnary[pick(std::size(kUnary))], {x});
      }
      case 1: {
        constexpr std::string_view kBinary[] = {"add", "mul", "sub", "max", "min"};
        return builder_->op(kBinary[pick(std::size(kBinary))], {x, any()});
      }
      case 2:
        return builder_->op(pick(2) == 0 ? "add" : "mul", {x, constant({last(x)})});
      case 3: {
        std::vector<int64_t> perm;
        for (int i = 0; i < rank; ++i) perm.insert(perm.begin() + pick(perm.size() + 1), i);
        return builder_->op("transpose", {x}, {{"perm", perm}});
      }
      case 4:
        if (rank < 2) return static_cast<Value*>(nullptr);
        return builder_->op("matmul", {x, constant({last(x), 1 + pick(5)})});
      case 5: {
        constexpr std::string_view kReductions[] = {"sum", "mean", "reduce_max"};
        return builder_->op(kReductions[pick(std::size(kReductions))], {x},
                            {{"axes", std::vector<int64_t>{pick(static_cast<size_t>(rank))}},
                             {"keep_dims", pick(2) == 0}});
      }
      case 6:
        return builder_->op("softmax", {x}, {{"axis", int64_t{pick(static_cast<size_t>(rank))}}});
      case 7:
        return builder_->op("concat", {x, x}, {{"axis", int64_t{pick(static_cast<size_t>(rank))}}});
      case 8:
        return builder_->op("reshape", {x, builder_->ints({-1, last(x)})});
      case 9: {
        const auto axis = int64_t{pick(static_cast<size_t>(rank))};
        const int64_t size = x->shape()[static_cast<int>(axis)].size();
        Value* indices = builder_->ints({pick(static_cast<size_t>(size)), 0});
        return builder_->op("gather", {x, indices}, {{"axis", axis}});
      }
      case 10: {
        Value* y = any();
        Value* condition = TRY(builder_->op("greater", {x, y}));
        return builder_->op("select", {condition, x, y});
      }
      case 11:
        return builder_->op("layer_norm", {x, constant({last(x)}), constant({last(x)})});
      case 12:
        return branch(x);
      case 13:
        return loop(x);
      default:
        if (rank != 4) return static_cast<Value*>(nullptr);
        return builder_->op("conv", {x, constant({1, 1, last(x), 1 + pick(4)})});
    }
  }

  // if (the first element is positive) one op else another.
  Result<Value*> branch(Value* x) {
    Value* first = TRY(builder_->op("reshape", {x, builder_->ints({-1})}));
    first = TRY(builder_->op("gather", {first, builder_->constant(Tensor::scalar<int64_t>(0))}));
    Value* zero = builder_->constant(Tensor::scalar<float>(0));
    Value* positive = TRY(builder_->op("greater", {first, zero}));
    std::vector<std::unique_ptr<Graph>> regions;
    for (const std::string_view op : {"tanh", "relu"}) {
      auto region = std::make_unique<Graph>(std::string(op));
      Value* in = region->add_input(x->type());
      Builder inner(*region);
      inner.set_origins({fmt::format("branch/{}", op)});
      Value* factor = inner.constant(Tensor::scalar<float>(static_cast<float>(real())));
      region->set_outputs({TRY(inner.op("mul", {TRY(inner.op(op, {in})), factor}))});
      regions.push_back(std::move(region));
    }
    Node* node = TRY(builder_->node("if", {positive, x}, {}, std::move(regions)));
    return node->output();
  }

  // for (i = 0; i < 3; ++i) x = tanh(x + c).
  Result<Value*> loop(Value* x) {
    Value* begin = builder_->constant(Tensor::scalar<int64_t>(0));
    auto condition = std::make_unique<Graph>("condition");
    {
      Value* i = condition->add_input(begin->type());
      condition->add_input(x->type());
      Builder inner(*condition);
      Value* end = inner.constant(Tensor::scalar<int64_t>(1 + pick(3)));
      condition->set_outputs({TRY(inner.op("less", {i, end}))});
    }
    auto body = std::make_unique<Graph>("body");
    {
      Value* i = body->add_input(begin->type());
      Value* state = body->add_input(x->type());
      Builder inner(*body);
      inner.set_origins({"loop/step"});
      Value* one = inner.constant(Tensor::scalar<int64_t>(1));
      Value* c = inner.constant(Tensor::scalar<float>(static_cast<float>(real())));
      Value* sum = TRY(inner.op("add", {state, c}));
      body->set_outputs({TRY(inner.op("add", {i, one})), TRY(inner.op("tanh", {sum}))});
    }
    std::vector<std::unique_ptr<Graph>> regions;
    regions.push_back(std::move(condition));
    regions.push_back(std::move(body));
    Node* node = TRY(builder_->node("while", {begin, x}, {}, std::move(regions)));
    return node->output(1);
  }

  uint32_t state_;
  std::optional<Builder> builder_;
  std::vector<Value*> values_;
};

// A pass that has just run finds nothing to do.
Status check_idempotent(const Graph& original) {
  for (const Pass& pass : all_passes()) {
    const auto graph = original.clone();
    PassContext context;
    TRY(run_pass(*graph, pass, context));
    const std::string once = print_graph(*graph, TextForm::kFull);
    if (TRY(run_pass(*graph, pass, context)))
      return internal_error(fmt::format("pass '{}' changes what it made:\n{}\nbecomes\n{}",
                                        pass.name, once, print_graph(*graph, TextForm::kFull)));
  }
  return {};
}

Status check_graph(uint32_t seed) {
  const auto original = TRY(Generator(seed).run());
  TRY(check_round_trips(*original));
  TRY(check_idempotent(*original));
  const auto inputs = TRY(random_inputs(*original, seed));
  const auto expected = TRY(interpret(*original, inputs));
  constexpr double kTolerance = 1e-4;
  TRY(expect_close(TRY(run_on_cpu(*original, inputs)), expected, kTolerance, "on the CPU"));
  auto graph = original->clone();
  PassContext context;
  context.observer = [&](const Pass& pass, const Graph& after, bool changed) -> Status {
    if (!changed) return {};
    return expect_close(TRY(interpret(after, inputs)), expected, kTolerance,
                        fmt::format("after pass '{}'", pass.name));
  };
  TRY(optimize(*graph, context));
  TRY(check_round_trips(*graph));
  TRY(check_idempotent(*graph));
  return expect_close(TRY(run_on_cpu(*graph, inputs)), expected, kTolerance,
                      "optimised, on the CPU");
}

}  // namespace

void run_random_graphs(Runner& runner) {
  for (uint32_t seed = 0; seed < runner.options().random_graphs; ++seed)
    runner.run(fmt::format("random/{}", seed), [&]() -> Status {
      Status status = check_graph(seed);
      if (status.ok()) return status;
      const auto graph = Generator(seed).run();
      return std::move(status).error().note(
          "of the graph\n" + (graph.ok() ? print_graph(**graph, TextForm::kFull) : std::string()));
    });
}

}  // namespace tenon::data_tests

// Random graphs: optimised they compute what they did before, pass by pass and on the CPU device.
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
    const int nodes = 6 + pick(20);
    for (int i = 0; i < nodes; ++i) {
      builder_->set_origins({fmt::format("layer{}", i)});
      // What inference refuses is not taken.
      if (auto v = step(); v.ok() && *v != nullptr) values_.push_back(*v);
    }
    std::vector<Value*> outputs{values_.back()};
    if (pick(2) == 0) outputs.push_back(values_[static_cast<size_t>(pick(values_.size()))]);
    graph->set_outputs(std::move(outputs));
    return graph;
  }

 private:
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
    switch (pick(10)) {
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
      default:
        if (rank != 4) return static_cast<Value*>(nullptr);
        return builder_->op("conv", {x, constant({1, 1, last(x), 1 + pick(4)})});
    }
  }

  uint32_t state_;
  std::optional<Builder> builder_;
  std::vector<Value*> values_;
};

Status check_graph(uint32_t seed) {
  const auto original = TRY(Generator(seed).run());
  TRY(check_round_trips(*original));
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
  return expect_close(TRY(run_on_cpu(*graph, inputs)), expected, kTolerance,
                      "optimised, on the CPU");
}

}  // namespace

void run_random_graphs(Runner& runner) {
  constexpr uint32_t kGraphs = 300;
  for (uint32_t seed = 0; seed < kGraphs; ++seed)
    runner.run(fmt::format("random/{}", seed), [&]() -> Status {
      Status status = check_graph(seed);
      if (status.ok()) return status;
      const auto graph = Generator(seed).run();
      return std::move(status).error().note(
          "of the graph\n" + (graph.ok() ? print_graph(**graph, TextForm::kFull) : std::string()));
    });
}

}  // namespace tenon::data_tests

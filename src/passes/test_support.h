// What the tests of the passes share: graphs in few lines, and the interpreter before and after.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ir/interpret.h"
#include "ir/verify.h"
#include "passes/passes.h"

namespace tenon::testing {

inline TensorType f32(Shape shape) {
  return {DType::f32, std::move(shape), false};
}

// Floats around zero, booleans by a coin, integers from 0 to 3; dimensions not known are 2.
inline Tensor random_tensor(const TensorType& type, uint32_t seed) {
  std::vector<int64_t> dims;
  for (const Dim d : type.shape.dims()) dims.push_back(d.size_or(2));
  Tensor t = Tensor::allocate(type.dtype, dims).value();
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < t.elements(); ++i) {
    if (type.dtype == DType::f32) t.mutable_data<float>()[i] = normal(engine);
    if (type.dtype == DType::boolean) t.mutable_data<bool>()[i] = engine() % 2 == 0;
    if (type.dtype == DType::i32) t.mutable_data<int32_t>()[i] = static_cast<int32_t>(engine() % 4);
    if (type.dtype == DType::i64) t.mutable_data<int64_t>()[i] = static_cast<int64_t>(engine() % 4);
  }
  return t;
}

inline Tensor random_floats(std::vector<int64_t> dims, uint32_t seed) {
  return random_tensor(f32(Shape::of(dims)), seed);
}

// A graph under construction; ops must be well-formed.
struct Maker {
  Graph graph;
  Builder builder{graph};

  Value* input(TensorType type) { return graph.add_input(std::move(type)); }
  Value* floats(std::vector<int64_t> dims, uint32_t seed) {
    return builder.constant(random_floats(std::move(dims), seed));
  }
  Value* scalar(float x) { return builder.constant(Tensor::scalar(x)); }
  Value* op(std::string_view name, std::vector<Value*> inputs,
            std::vector<Builder::Attr> attrs = {}) {
    auto value = builder.op(name, std::move(inputs), std::move(attrs));
    EXPECT_TRUE(value.ok()) << (value.ok() ? "" : value.error().to_string());
    return value.ok() ? *value : nullptr;
  }
};

inline int count(const Graph& graph, std::string_view op) {
  int n = 0;
  for (const auto& node : graph.nodes()) n += node->is(op);
  return n;
}

// Nodes that compute something.
inline int count_all(const Graph& graph) {
  return static_cast<int>(graph.node_count()) - count(graph, "const");
}

inline std::vector<Tensor> run(const Graph& graph, uint32_t seed = 7) {
  std::vector<Tensor> inputs;
  for (const auto& input : graph.inputs()) inputs.push_back(random_tensor(input->type(), seed++));
  auto outputs = interpret(graph, inputs);
  EXPECT_TRUE(outputs.ok()) << (outputs.ok() ? "" : outputs.error().to_string());
  return outputs.ok() ? *outputs : std::vector<Tensor>();
}

// Optimises the graph and expects what it computes to stay the same.
inline void optimize_and_compare(Graph& graph, PassContext& context, double tolerance = 1e-5) {
  const std::vector<Tensor> before = run(graph);
  const Status status = optimize(graph, context);
  ASSERT_TRUE(status.ok()) << status.error().to_string();
  ASSERT_TRUE(verify(graph).ok());
  const std::vector<Tensor> after = run(graph);
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    ASSERT_EQ(before[i].dims(), after[i].dims());
    ASSERT_EQ(before[i].dtype(), after[i].dtype());
    for (int64_t k = 0; k < before[i].elements(); ++k) {
      const double x = before[i].real_at(k), y = after[i].real_at(k);
      if (std::isnan(x) && std::isnan(y)) continue;
      ASSERT_NEAR(x, y, tolerance * std::max(1.0, std::abs(x))) << "output " << i << " at " << k;
    }
  }
}
inline void optimize_and_compare(Graph& graph) {
  PassContext context;
  optimize_and_compare(graph, context);
}

inline int fired(const PassContext& context, std::string_view rule) {
  int n = 0;
  for (const Firing& f : context.firings) n += f.rule == rule;
  return n;
}

}  // namespace tenon::testing

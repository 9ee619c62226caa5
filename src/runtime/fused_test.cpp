// Pointwise programs run as one kernel against the same ops run one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "format/model_file.h"
#include "ops/registry.h"
#include "runtime/model.h"

namespace tenon::runtime {
namespace {

struct Program {
  FileGraph graph;
  std::vector<std::vector<int64_t>> dims;  // of each value
  std::vector<DType> dtypes;

  int value(DType dtype, std::vector<int64_t> d) {
    graph.values.push_back({{dtype, Shape::of(d), false}, {}});
    dims.push_back(std::move(d));
    dtypes.push_back(dtype);
    return static_cast<int>(graph.values.size()) - 1;
  }
  int step(std::string_view op, std::vector<int> inputs, DType dtype, std::vector<int64_t> d) {
    FileStep s;
    s.op = create_op(op);
    s.inputs = std::move(inputs);
    s.outputs = {value(dtype, std::move(d))};
    graph.steps.push_back(std::move(s));
    return static_cast<int>(graph.values.size()) - 1;
  }
};

std::vector<int64_t> broadcast(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const auto shape = broadcast_shapes(Shape::of(a), Shape::of(b));
  return shape.value().sizes();
}

// A random program over operands that broadcast to `full`; its results have that shape.
Program random_program(const std::vector<int64_t>& full, std::mt19937& engine) {
  constexpr const char* kUnary[] = {"tanh", "sigmoid", "relu", "abs",  "erf",     "tan",
                                    "neg",  "silu",    "gelu", "clip", "softsign"};
  constexpr const char* kBinary[] = {"add",  "sub", "mul", "min", "max", "squared_difference",
                                     "atan2"};
  constexpr const char* kCompare[] = {"less", "greater_equal", "not_equal"};
  const auto pick = [&](const auto& list) { return list[engine() % std::size(list)]; };
  Program p;
  std::vector<int> floats, booleans;
  for (int i = 0; i < 4; ++i) {
    std::vector<int64_t> d = full;
    for (int64_t& n : d)
      if (i > 0 && engine() % 2 == 0) n = 1;
    if (i > 1 && !d.empty()) d.erase(d.begin(), d.begin() + engine() % d.size());
    const bool boolean = i == 3;
    p.graph.inputs.push_back(p.value(boolean ? DType::boolean : DType::f32, d));
    (boolean ? booleans : floats).push_back(p.graph.inputs.back());
  }
  const int half = p.value(DType::f32, {});
  p.graph.constants.push_back({half, Tensor::scalar(0.5f)});
  floats.push_back(half);
  const auto dims = [&](int v) { return p.dims[static_cast<size_t>(v)]; };
  for (int i = 0; i < 12; ++i) {
    const int a = pick(floats), b = pick(floats), c = pick(booleans);
    const auto both = broadcast(dims(a), dims(b));
    switch (engine() % 6) {
      case 0:
        booleans.push_back(p.step(pick(kCompare), {a, b}, DType::boolean, both));
        break;
      case 1:
        floats.push_back(p.step("select", {c, a, b}, DType::f32, broadcast(both, dims(c))));
        break;
      case 2:
        booleans.push_back(p.step("logical_not", {c}, DType::boolean, dims(c)));
        break;
      case 3:
        floats.push_back(p.step(pick(kUnary), {a}, DType::f32, dims(a)));
        break;
      default:
        floats.push_back(p.step(pick(kBinary), {a, b}, DType::f32, both));
    }
  }
  // The first operand has the full shape.
  const int x = p.graph.inputs[0];
  const int y = p.step("add", {x, floats.back()}, DType::f32, full);
  p.graph.outputs = {y, p.step("less", {x, y}, DType::boolean, full)};
  return p;
}

FileGraph copy_of(const FileGraph& graph) {
  FileGraph copy;
  copy.name = graph.name;
  copy.values = graph.values;
  copy.inputs = graph.inputs;
  copy.outputs = graph.outputs;
  copy.constants = graph.constants;
  for (const FileStep& s : graph.steps) {
    FileStep step;
    step.op = s.op->clone();
    step.inputs = s.inputs;
    step.outputs = s.outputs;
    copy.steps.push_back(std::move(step));
  }
  return copy;
}

FileGraph fused(const FileGraph& body) {
  FileGraph graph;
  FileStep step;
  step.op = create_op("fused");
  for (const int v : body.inputs) {
    graph.values.push_back(body.values[static_cast<size_t>(v)]);
    graph.inputs.push_back(static_cast<int>(graph.values.size()) - 1);
  }
  for (const int v : body.outputs) {
    graph.values.push_back(body.values[static_cast<size_t>(v)]);
    graph.outputs.push_back(static_cast<int>(graph.values.size()) - 1);
  }
  step.inputs = graph.inputs;
  step.outputs = graph.outputs;
  step.regions.push_back(copy_of(body));
  graph.steps.push_back(std::move(step));
  return graph;
}

Result<Model> load(FileGraph graph, int threads) {
  FileModel file;
  FileFunction f{"serving_default", std::move(graph), {"a", "b", "c", "d"}, {"y", "z"}};
  file.functions.push_back(std::move(f));
  auto bytes = TRY(encode_model(file));
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(bytes));
  return Model::load(Blob{{owner->data(), owner->size()}, owner}, {.threads = threads});
}

Tensor random_tensor(DType dtype, const std::vector<int64_t>& dims, std::mt19937& engine) {
  Tensor t = Tensor::allocate(dtype, dims).value();
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < t.elements(); ++i) {
    if (dtype == DType::f32)
      t.mutable_data<float>()[i] = normal(engine);
    else
      t.mutable_data<bool>()[i] = engine() % 2 == 0;
  }
  return t;
}

void compare(const std::vector<int64_t>& full, uint32_t seed, int threads) {
  std::mt19937 engine(seed);
  const Program p = random_program(full, engine);
  std::vector<Tensor> inputs;
  TensorTypes types;
  for (const int v : p.graph.inputs) {
    inputs.push_back(
        random_tensor(p.dtypes[static_cast<size_t>(v)], p.dims[static_cast<size_t>(v)], engine));
    types.push_back(inputs.back().type());
  }
  const auto one = load(fused(p.graph), threads), many = load(copy_of(p.graph), threads);
  ASSERT_TRUE(one.ok() && many.ok());
  const auto function = one->function().value();
  const auto plan = function.explain(types);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->steps[0].kernel, "tiles");
  const auto got = function.run(inputs, {});
  const auto want = many->function().value().run(inputs, {});
  ASSERT_TRUE(got.ok() && want.ok()) << (got.ok() ? "" : got.error().to_string());
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_EQ((*got)[i].dims(), (*want)[i].dims());
    for (int64_t k = 0; k < (*got)[i].elements(); ++k) {
      const double x = (*want)[i].real_at(k), y = (*got)[i].real_at(k);
      ASSERT_NEAR(x, y, 1e-5 * std::max(1.0, std::abs(x))) << "seed " << seed;
    }
  }
}

TEST(FusedKernel, AgreesWithTheOpsOneByOne) {
  const std::vector<std::vector<int64_t>> shapes{{},           {1},         {7},       {3, 5},
                                                 {2, 3, 4, 8}, {5, 1, 33},  {3, 1500}, {2, 2, 1025},
                                                 {700, 3},     {40, 1, 129}};
  uint32_t seed = 1;
  for (const auto& shape : shapes)
    for (int i = 0; i < 12; ++i) compare(shape, seed++, 1 + i % 2);
}

TEST(FusedKernel, NothingToDoForNoElements) {
  compare({0, 4}, 5, 1);
}

// A region whose results differ in shape runs op by op.
TEST(FusedKernel, FallsBackToTheSubgraph) {
  Program p;
  for (int i = 0; i < 4; ++i)
    p.graph.inputs.push_back(
        p.value(DType::f32, i == 0 ? std::vector<int64_t>{2, 3} : std::vector<int64_t>{3}));
  const int y = p.step("add", {0, 1}, DType::f32, {2, 3});
  p.graph.outputs = {y, p.step("mul", {2, 3}, DType::f32, {3})};
  const auto model = load(fused(p.graph), 1);
  ASSERT_TRUE(model.ok());
  std::mt19937 engine(3);
  std::vector<Tensor> inputs;
  for (const auto& d : {p.dims[0], p.dims[1], p.dims[2], p.dims[3]})
    inputs.push_back(random_tensor(DType::f32, d, engine));
  const auto out = model->function().value().run(inputs, {});
  ASSERT_TRUE(out.ok()) << out.error().to_string();
  EXPECT_FLOAT_EQ((*out)[1].data<float>()[2],
                  inputs[2].data<float>()[2] * inputs[3].data<float>()[2]);
}

}  // namespace
}  // namespace tenon::runtime

#include "runtime/batch_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "format/model_file.h"
#include "ops/registry.h"
#include "runtime/model.h"

namespace tenon::runtime {
namespace {

using Dims = std::vector<int64_t>;
using Attributes = std::vector<std::pair<std::string_view, AttrValue>>;

struct Net {
  FileGraph graph;

  int value(const Shape& shape, DType dtype = DType::f32) {
    graph.values.push_back({{dtype, shape, false}, {}});
    return static_cast<int>(graph.values.size()) - 1;
  }
  int input(const Dims& dims, DType dtype = DType::f32) {
    graph.inputs.push_back(value(Shape::of(dims), dtype));
    return graph.inputs.back();
  }
  int constant(Tensor t) {
    const int v = value(Shape::of(t.dims()), t.dtype());
    graph.constants.push_back({v, std::move(t)});
    return v;
  }
  int step(std::string_view op, std::vector<int> inputs, const Attributes& attributes = {}) {
    FileStep& s = graph.steps.emplace_back();
    s.op = create_op(op);
    for (const auto& [name, attribute] : attributes)
      EXPECT_TRUE(set_attr(*s.op, name, attribute).ok()) << op << " " << name;
    s.inputs = std::move(inputs);
    s.outputs = {value(Shape::unranked())};
    return s.outputs[0];
  }
  template <typename Use>
  auto with_plan(Use&& use) {
    graph.outputs = {static_cast<int>(graph.values.size()) - 1};
    const auto state = prepare(graph).value();
    cpu::PackStore packs;
    TensorTypes types;
    for (const int v : graph.inputs) types.push_back(graph.values[static_cast<size_t>(v)].type);
    return use(*make_plan(*state, types, {packs}).value());
  }
  // How many steps could be run by parts.
  size_t steps() { return with_plan(steps_by_parts); }
};

Tensor numbers(const Dims& dims) {
  Tensor t = Tensor::zeros(DType::f32, dims).value();
  for (int64_t i = 0; i < t.elements(); ++i)
    t.mutable_data<float>()[i] = std::sin(static_cast<float>(i) * 0.37f);
  return t;
}

// One step on x [4,6,5] and, where there is a second operand, on that.
size_t parts_of(std::string_view op, const Attributes& attributes, const Dims& x = {4, 6, 5},
                const Dims* second = nullptr) {
  Net net;
  std::vector<int> inputs = {net.input(x)};
  if (second != nullptr) inputs.push_back(net.constant(numbers(*second)));
  net.step(op, inputs, attributes);
  return net.steps();
}

TEST(BatchHead, TakesOpsThatKeepRowsApart) {
  const Dims vector{5}, filter{3, 3, 5, 7}, matrix{5, 8}, whole{4, 6, 5};
  EXPECT_EQ(parts_of("exp", {}), 1u);
  EXPECT_EQ(parts_of("softmax", {{"axis", int64_t{-1}}}), 1u);
  EXPECT_EQ(parts_of("softmax", {{"axis", int64_t{0}}}), 0u);
  EXPECT_EQ(parts_of("softmax", {{"axis", int64_t{-3}}}), 0u);
  EXPECT_EQ(parts_of("mean", {{"axes", Dims{1}}}), 1u);
  EXPECT_EQ(parts_of("mean", {{"axes", Dims{0}}, {"keep_dims", true}}), 0u);
  EXPECT_EQ(parts_of("mean", {{"axes", Dims{-3}}}), 0u);
  EXPECT_EQ(parts_of("mean", {}), 0u);
  EXPECT_EQ(parts_of("transpose", {{"perm", Dims{0, 2, 1}}}), 1u);
  EXPECT_EQ(parts_of("transpose", {{"perm", Dims{1, 0, 2}}}, {4, 4, 5}), 0u);
  EXPECT_EQ(parts_of("cumsum", {{"axis", int64_t{0}}}), 0u);
  EXPECT_EQ(parts_of("add", {}, {4, 6, 5}, &vector), 1u);
  EXPECT_EQ(parts_of("add", {}, {4, 6, 5}, &whole), 0u) << "other numbers for every row";
  EXPECT_EQ(parts_of("conv", {}, {4, 6, 6, 5}, &filter), 1u);
  EXPECT_EQ(parts_of("matmul", {}, {4, 6, 5}, &matrix), 1u);
  EXPECT_EQ(parts_of("matmul", {}, {4, 5}, &matrix), 1u);
  EXPECT_EQ(parts_of("matmul", {{"transpose_a", true}}, {5, 4}, &matrix), 0u);
}

TEST(BatchHead, StopsWhereRowsMeet) {
  Net net;
  const int x = net.input({4, 4});
  const int y = net.step("exp", {x});
  const int table = net.constant(numbers({4, 4}));
  net.step("matmul", {y, net.step("add", {y, y})}, {{"transpose_b", true}});
  net.step("add", {net.step("matmul", {y, table}), y});
  EXPECT_EQ(net.steps(), 2u) << "rows times rows";
}

TEST(BatchHead, TakesRowsOfATableButNotRowsOfTheBatch) {
  Net net;
  const int i = net.input({4, 3}, DType::i32);
  net.step("gather", {net.constant(numbers({9, 5})), i});
  EXPECT_EQ(net.steps(), 1u);
  Net shuffled;
  const int x = shuffled.input({4, 3});
  shuffled.step("gather", {x, shuffled.constant(Tensor::vector<int32_t>({3, 1, 2, 0}))});
  EXPECT_EQ(shuffled.steps(), 0u);
}

// Steps of microseconds: no cache gains by parts, but threads that run parts of their own meet
// once.
TEST(BatchHead, SmallStepsAreRunSideBySide) {
  const auto choice = [](int64_t batch, int threads) {
    Net net;
    int x = net.input({batch, 25, 5, 64});
    const int filter = net.constant(numbers({1, 1, 64, 64}));
    for (int i = 0; i < 8; ++i) x = net.step("conv", {x, filter});
    return net.with_plan([&](const Plan& plan) { return choose_batch_head(plan, threads); });
  };
  EXPECT_EQ(choice(8, 1).steps, 0u);
  EXPECT_EQ(choice(8, 2).steps, 8u);
  EXPECT_EQ(choice(8, 2).part, 4);
  EXPECT_EQ(choice(8, 4).part, 2);
  EXPECT_EQ(choice(3, 2).steps, 0u) << "two threads cannot share three parts";
}

// Layers whose activations of all samples are larger than caches, then one over the whole batch.
FileModel large_layers() {
  Net net;
  const Shape open({Dim::symbol("n"), Dim(160), Dim(160), Dim(16)});
  const int x = net.value(open);
  net.graph.inputs = {x};
  const int filter = net.constant(numbers({3, 3, 16, 16}));
  const int a = net.step("conv", {x, filter}, {{"pads", Dims{1, 1, 1, 1}}});
  const int b = net.step("tanh", {a});
  const int c = net.step("conv", {b, filter}, {{"pads", Dims{1, 1, 1, 1}}});
  const int d = net.step("add", {c, a});
  const int mean = net.step("mean", {d}, {{"axes", Dims{1, 2}}});
  const int over_batch = net.step("softmax", {mean}, {{"axis", int64_t{0}}});
  net.graph.outputs = {over_batch, mean, b};
  FileModel model;
  model.functions.push_back(
      {"main", std::move(net.graph), {"x"}, {"over_batch", "mean", "inner"}, {}});
  return model;
}

TEST(BatchHead, GivesWhatSamplesGiveOneByOne) {
  const FileModel file = large_layers();
  const auto bytes = encode_model(file).value();
  for (const int threads : {1, 2, 3}) {
    const auto copy = allocate_aligned(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    const auto model = Model::load(Blob{{copy.get(), bytes.size()}, copy}, {.threads = threads});
    ASSERT_TRUE(model.ok()) << model.error().to_string();
    const Function function = model->function("main").value();
    const Tensor x = numbers({6, 160, 160, 16});
    for (const bool profiled : {false, true}) {
      PlanReport report;
      const auto outputs = function.run({&x, 1}, {}, profiled ? &report : nullptr).value();
      if (profiled) {
        EXPECT_EQ(report.part_steps, 5u);
        EXPECT_GT(report.parts, 1);
        for (const StepReport& step : report.steps) EXPECT_GT(step.time_ns, 0) << step.op;
      }
      for (int64_t i = 0; i < 6; ++i) {
        const auto* data = static_cast<const std::byte*>(x.raw());
        const Tensor one = Tensor::view(DType::f32, Dims{1, 160, 160, 16},
                                        data + static_cast<size_t>(i) * x.byte_size() / 6);
        const auto single = function.run({&one, 1}, {}).value();
        for (const size_t output : {size_t{1}, size_t{2}}) {
          const Tensor &part = single[output], &all = outputs[output];
          for (int64_t k = 0; k < part.elements(); ++k)
            ASSERT_NEAR(all.real_at(i * part.elements() + k), part.real_at(k), 1e-5);
        }
      }
      double sum = 0;
      for (int64_t i = 0; i < 6; ++i) sum += outputs[0].real_at(i * 16);
      EXPECT_NEAR(sum, 1, 1e-5);
    }
  }
}

}  // namespace
}  // namespace tenon::runtime

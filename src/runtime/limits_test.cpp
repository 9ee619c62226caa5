// What bounds a run: loops that do not end, cancelling, and memory over many shapes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <thread>

#include "format/model_file.h"
#include "ops/registry.h"
#include "runtime/model.h"

namespace tenon::runtime {
namespace {

using std::chrono::milliseconds;

FileStep make_step(std::string_view op, std::vector<int> inputs, std::vector<int> outputs,
                   std::string origin) {
  FileStep step;
  step.op = create_op(op);
  EXPECT_NE(step.op, nullptr) << op;
  step.inputs = std::move(inputs);
  step.outputs = std::move(outputs);
  step.origins = {std::move(origin)};
  return step;
}

Result<Model> load(FileGraph graph, LoadOptions options,
                   std::vector<std::pair<std::string, std::string>> notes = {}) {
  FileModel file;
  file.functions.push_back({"serving_default", std::move(graph), {"x"}, {"y"}});
  file.notes = std::move(notes);
  auto owner = std::make_shared<std::vector<std::byte>>(TRY(encode_model(file)));
  options.threads = 1;
  return Model::load(Blob{*owner, owner}, options);
}

// while (x == x) x = x + 1
FileGraph endless() {
  const TensorType type{DType::i64, Shape{}};
  FileGraph condition;
  condition.values = {{type, {}}, {{DType::boolean, Shape{}}, {}}};
  condition.inputs = {0};
  condition.outputs = {1};
  condition.steps.push_back(make_step("equal", {0, 0}, {1}, "again"));
  FileGraph body;
  body.values = {{type, {}}, {type, {}}, {type, {}}};
  body.inputs = {0};
  body.outputs = {2};
  body.constants.push_back({1, Tensor::scalar<int64_t>(1)});
  body.steps.push_back(make_step("add", {0, 1}, {2}, "count"));
  FileGraph graph;
  graph.values = {{type, "x"}, {type, "y"}};
  graph.inputs = {0};
  graph.outputs = {1};
  graph.steps.push_back(make_step("while", {0}, {1}, "decoder/while"));
  graph.steps[0].regions.push_back(std::move(condition));
  graph.steps[0].regions.push_back(std::move(body));
  return graph;
}

Error run_error(const Function& f) {
  const std::vector<Tensor> inputs{Tensor::scalar<int64_t>(0)};
  auto result = f.run(inputs, {});
  EXPECT_FALSE(result.ok());
  return result.ok() ? Error() : result.error();
}

TEST(Limits, ALoopEndsAfterAsManyIterationsAsAreAllowed) {
  const Model model = load(endless(), {.max_loop_iterations = 50}).value();
  const Error error = run_error(model.function().value());
  EXPECT_EQ(error.code, Code::invalid_model);
  EXPECT_NE(error.message.find("50 iterations"), std::string::npos) << error.to_string();
  EXPECT_NE(error.where.find("'decoder/while'"), std::string::npos) << error.to_string();
}

TEST(Limits, TheFileSaysHowManyWhereTheCallerDoesNot) {
  const auto notes = std::vector{std::pair(std::string(kMaxLoopIterationsNote), std::string("7"))};
  const Model model = load(endless(), {}, notes).value();
  EXPECT_NE(run_error(model.function().value()).message.find("7 iterations"), std::string::npos);
  const Model other = load(endless(), {.max_loop_iterations = 9}, notes).value();
  EXPECT_NE(run_error(other.function().value()).message.find("9 iterations"), std::string::npos);
  EXPECT_FALSE(load(endless(), {.max_loop_iterations = -1}).ok());
}

TEST(Limits, ARunIsCancelledFromAnotherThread) {
  const Model model = load(endless(), {}).value();
  const Function f = model.function().value();
  std::atomic<bool> ended = false;
  Error error;
  std::thread runner([&] {
    error = run_error(f);
    ended = true;
  });
  // A cancel before the run has begun is not for it.
  while (!ended) {
    f.cancel();
    std::this_thread::sleep_for(milliseconds(1));
  }
  runner.join();
  EXPECT_EQ(error.code, Code::cancelled);
}

TEST(Limits, ARunAsksWhetherItIsInterrupted) {
  const Model model = load(endless(), {}).value();
  Function f = model.function().value();
  int questions = 0;
  f.set_interrupt_check([&] { return ++questions == 3; });
  EXPECT_EQ(run_error(f).code, Code::cancelled);
  EXPECT_EQ(questions, 3);
}

// y = softmax(x w) for x of [n,t,8]: an arena, packed weights, several kernels.
FileGraph layers() {
  const TensorType rows{DType::f32, Shape{Dim::symbol("n"), Dim::symbol("t"), 8}};
  Tensor w = Tensor::zeros(DType::f32, std::vector<int64_t>{8, 8}).value();
  for (int i = 0; i < 64; ++i) w.mutable_data<float>()[i] = static_cast<float>(i % 7) - 3;
  FileGraph graph;
  graph.values = {{rows, "x"}, {w.type(), "w"}, {rows, {}}, {rows, "y"}};
  graph.inputs = {0};
  graph.outputs = {3};
  graph.constants.push_back({1, w});
  graph.steps.push_back(make_step("matmul", {0, 1}, {2}, "product"));
  graph.steps.push_back(make_step("softmax", {2}, {3}, "softmax"));
  return graph;
}

void run_shape(const Function& f, int64_t n, int64_t t) {
  const std::vector<Tensor> inputs{
      Tensor::zeros(DType::f32, std::vector<int64_t>{n, t, 8}).value()};
  ASSERT_TRUE(f.run(inputs, {}).ok());
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0, pages = 0;
  file >> size >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

TEST(Limits, MemoryIsBoundedOverManyShapes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer keeps what was freed";
#endif
  const Model model = load(layers(), {}).value();
  const Function f = model.function().value();
  const auto shapes = [&](int from, int to) {
    for (int i = from; i < to; ++i) run_shape(f, 1 + i % 100, 1 + i / 100);
  };
  shapes(0, 1000);
  const TensorTypes type{{DType::f32, Shape{1, 1, 8}}};
  const int64_t packed = f.explain(type)->packed_bytes;
  const int64_t before = resident_bytes();
  shapes(1000, 10'000);
  EXPECT_LT(resident_bytes() - before, int64_t{96} << 20);
  EXPECT_EQ(f.explain(type)->packed_bytes, packed);
  EXPECT_GE(model.plans_made(), 10'000);
}

TEST(Limits, ARepeatedShapeIsNotPlannedAgain) {
  const Model model = load(layers(), {}).value();
  const Function f = model.function().value();
  for (int round = 0; round < 3; ++round)
    for (int t = 1; t <= 100; ++t) run_shape(f, 2, t);
  EXPECT_EQ(model.plans_made(), 100);
}

TEST(Limits, APreparedFunctionHasThePlanOfSizesOne) {
  const Model model = load(layers(), {}).value();
  const Function f = model.function().value();
  f.prepare();
  EXPECT_EQ(model.plans_made(), 1);
  run_shape(f, 1, 1);
  EXPECT_EQ(model.plans_made(), 1);
  run_shape(f, 3, 2);
  EXPECT_EQ(model.plans_made(), 2);
}

}  // namespace
}  // namespace tenon::runtime

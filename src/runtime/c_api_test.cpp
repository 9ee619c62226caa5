// The C interface through its C++ wrapper, on a model made in memory.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "format/model_file.h"
#include "ops/registry.h"
#include "tenon/runtime.hpp"

namespace tenon {
namespace {

// A file of this process: others may be running the same tests.
std::string write_file(const FileModel& model) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("tenon_c_api_test_" + std::to_string(::getpid()) + ".tenon");
  EXPECT_TRUE(write_model(path.string(), model).ok());
  return path.string();
}

std::string write_relu_model() {
  FileModel model;
  FileFunction f;
  f.key = "serving_default";
  f.input_names = {"x"};
  f.output_names = {"y"};
  const TensorType type{DType::f32, Shape{Dim::symbol("n"), 2}};
  f.graph.values = {{type, "x"}, {type, "y"}};
  f.graph.inputs = {0};
  f.graph.outputs = {1};
  FileStep step;
  step.op = create_op("relu");
  step.inputs = {0};
  step.outputs = {1};
  f.graph.steps.push_back(std::move(step));
  model.functions.push_back(std::move(f));
  return write_file(model);
}

TEST(CApi, RunsAModel) {
  const api::Model model(write_relu_model(), 1);
  const api::Function f = model.function();
  ASSERT_EQ(f.inputs(), 1u);
  EXPECT_STREQ(f.input(0).name, "x");
  EXPECT_EQ(f.input(0).dims[0], -1);
  const std::vector<float> x{-1, 2, -3, 4};
  const std::vector<int64_t> dims{2, 2};
  const api::Outputs y = f.run({api::view(x.data(), dims)});
  const auto* values = static_cast<const float*>(y[0].data);
  EXPECT_EQ(std::vector<float>(values, values + 4), (std::vector<float>{0, 2, 0, 4}));
}

TEST(CApi, OptionsOfAnOlderHeaderAreShorter) {
  const std::string path = write_relu_model();
  tenon_options options{};
  options.struct_size = offsetof(tenon_options, max_loop_iterations);
  options.threads = 1;
  options.max_loop_iterations = -5;  // beyond what such a caller has
  tenon_model* model = nullptr;
  EXPECT_EQ(tenon_model_load(path.c_str(), &options, &model), nullptr);
  tenon_model_free(model);
  options.struct_size = sizeof options;
  EXPECT_THROW(api::Model(path, options), api::RuntimeError);
}

TEST(CApi, LibrariesThatAreNotThereAreErrors) {
  const char* libraries[] = {"/nowhere/libop.so"};
  tenon_options options{};
  options.custom_ops = libraries;
  options.custom_op_count = 1;
  try {
    const api::Model model(write_relu_model(), options);
    FAIL();
  } catch (const api::RuntimeError& error) {
    EXPECT_EQ(error.code(), TENON_NOT_FOUND);
    EXPECT_NE(std::string(error.what()).find("libop.so"), std::string::npos) << error.what();
  }
}

TEST(CApi, CancellingWhatDoesNotRunDoesNothing) {
  const api::Model model(write_relu_model(), 1);
  const api::Function f = model.function();
  f.cancel();
  tenon_function_cancel(nullptr);
  const std::vector<float> x{1, 2};
  EXPECT_EQ(f.run({api::view(x.data(), {1, 2})}).size(), 1u);
}

TEST(CApi, KeepsState) {
  FileModel model;
  FileFunction f;
  f.key = "serving_default";
  f.output_names = {"y"};
  const TensorType type{DType::f32, Shape{}};
  f.graph.values = {{type, "v"}, {type, "y"}};
  f.graph.inputs = {0};
  f.graph.outputs = {1, 1};
  f.state = {{"v", Tensor::scalar(3.0f), true}};
  FileStep step;
  step.op = create_op("neg");
  step.inputs = {0};
  step.outputs = {1};
  f.graph.steps.push_back(std::move(step));
  model.functions.push_back(std::move(f));
  const api::Model loaded(write_file(model), 1);
  const api::Function a = loaded.function();
  const api::Function b = loaded.function(nullptr, a.state());
  const api::State state = b.state();
  ASSERT_EQ(state.size(), 1u);
  EXPECT_STREQ(state.variable(0).name, "v");
  a.run({});
  EXPECT_EQ(*static_cast<const float*>(state.get(0)[0].data), -3);
  const float four = 4;
  state.set(0, api::view(&four, {}));
  const api::Outputs y = a.run({});
  EXPECT_EQ(*static_cast<const float*>(y[0].data), -4);
  state.reset();
  EXPECT_EQ(*static_cast<const float*>(state.get(0)[0].data), 3);
  EXPECT_THROW(state.get(1), api::RuntimeError);
}

TEST(CApi, TellsWhatIsWrong) {
  const api::Model model(write_relu_model(), 1);
  const std::vector<float> x{1, 2, 3};
  const std::vector<int64_t> dims{1, 3};
  try {
    model.function().run({api::view(x.data(), dims)});
    FAIL();
  } catch (const api::RuntimeError& error) {
    EXPECT_EQ(error.code(), TENON_INVALID_ARGUMENT);
    EXPECT_NE(std::string(error.what()).find("input 'x'"), std::string::npos);
  }
  EXPECT_THROW(model.function("no_such_key"), api::RuntimeError);
  EXPECT_THROW(api::Model("/no/such/file"), api::RuntimeError);
}

}  // namespace
}  // namespace tenon

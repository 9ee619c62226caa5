// Every kernel of tests/kernels on simulated chips computes what it does on the CPU, or is left to
// the host for the reason it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "chip/simulated_graph.h"
#include "lower/device_program.h"
#include "ops/custom_library.h"
#include "tensor/compare.h"
#include "tensor/text_lexer.h"

namespace tenon {
namespace {

struct Call {
  TensorTypes inputs;
  std::vector<std::string> attributes;
};

struct Case {
  std::string path, host;
  std::vector<Call> runs;
};

Case read_case(const std::string& path) {
  Case c{path, "", {}};
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("// host ")) c.host = line.substr(8);
    if (!line.starts_with("// run ")) continue;
    Call run;
    text::Lexer lexer(std::string_view(line).substr(7), path);
    do run.inputs.push_back(lexer.type().value());
    while (lexer.take(','));
    if (lexer.take('{')) {
      const size_t begin = 7 + lexer.position();
      run.attributes.push_back(line.substr(begin, line.find('}') - begin));
    }
    c.runs.push_back(run);
  }
  return c;
}

std::vector<std::string> kernels() {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(TENON_SOURCE_DIR "/tests/kernels"))
    paths.push_back(entry.path());
  std::ranges::sort(paths);
  return paths;
}

std::vector<Tensor> inputs_of(const Call& run) {
  std::mt19937 random(7);
  std::vector<Tensor> inputs;
  for (const TensorType& type : run.inputs) {
    Tensor t = Tensor::allocate(type.dtype, type.shape.sizes()).value();
    for (int64_t i = 0; i < t.elements(); ++i) {
      const float x = static_cast<float>(random() % 4001) / 1000.0F - 2.0F;
      if (type.dtype == DType::f32) t.mutable_data<float>()[i] = x;
      if (type.dtype == DType::f16) static_cast<Half*>(t.mutable_raw())[i] = Half(x);
      if (type.dtype == DType::i32)
        t.mutable_data<int32_t>()[i] = static_cast<int32_t>(random() % 100) - 50;
    }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

void run_case(const Case& c, const Call& run, const std::string& chip, DType real) {
  SCOPED_TRACE(c.path + " " + run.inputs[0].to_string() + " " + chip);
  CustomLibraries libraries;
  ASSERT_TRUE(libraries.add(c.path).ok());
  Custom custom;
  custom.op = libraries.kernels[0]->signature.op;
  custom.attributes = run.attributes;
  ASSERT_TRUE(bind(custom, libraries).ok());
  const std::vector<Tensor> inputs = inputs_of(run);
  const auto outputs = static_cast<int>(libraries.kernels[0]->signature.outputs.size());
  const auto expected = evaluate(*make_op(custom), inputs, outputs);
  ASSERT_TRUE(expected.ok()) << expected.error().to_string();

  Graph graph;
  std::vector<Value*> operands;
  for (size_t i = 0; i < inputs.size(); ++i)
    operands.push_back(graph.add_input(run.inputs[i], "x" + std::to_string(i)));
  Node* node = graph.add(make_op(custom), operands).value();
  node->origins = {"layer"};
  std::vector<Value*> results;
  results.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) results.push_back(node->output(i));
  graph.set_outputs(results);
  const MachineCatalog catalog = MachineCatalog::load().value();
  const Machine& machine = **catalog.find(chip);
  LowerOptions options;
  options.real = real;
  const auto program = lower_graph(graph, machine, options);
  ASSERT_TRUE(program.ok()) << program.error().to_string();
  std::string reasons;
  for (const DeviceStep& step : program->steps) reasons += step.program ? "" : step.reason;
  if (c.host.empty())
    EXPECT_EQ(reasons, "");
  else
    EXPECT_NE(reasons.find(c.host), std::string::npos) << reasons;
  const auto simulated = SimulatedGraph::load(graph, *program);
  ASSERT_TRUE(simulated.ok()) << simulated.error().to_string();
  const auto actual = (*simulated)->run(inputs, {});
  ASSERT_TRUE(actual.ok()) << actual.error().to_string();
  const double tolerance = real == DType::f32 && run.inputs[0].dtype == DType::f32 ? 1e-5 : 2e-2;
  for (int i = 0; i < outputs; ++i) {
    const Tensor &a = (*actual)[static_cast<size_t>(i)], &e = (*expected)[static_cast<size_t>(i)];
    ASSERT_EQ(a.type().to_string(), e.type().to_string());
    for (int64_t k = 0; k < e.elements(); ++k) {
      const double x = is_float(a.dtype()) ? a.real_at(k) : static_cast<double>(a.int_at(k));
      const double y = is_float(e.dtype()) ? e.real_at(k) : static_cast<double>(e.int_at(k));
      ASSERT_NEAR(x, y, tolerance * (1 + std::fabs(y))) << "output " << i << " element " << k;
    }
  }
}

TEST(CustomKernel, ComputesOnTheChipWhatItDoesOnTheCpu) {
  for (const std::string& path : kernels()) {
    const Case c = read_case(path);
    ASSERT_FALSE(c.runs.empty()) << path;
    for (const Call& run : c.runs) {
      run_case(c, run, "mlu370-s4", DType::f32);
      if (path.find("control") == std::string::npos) run_case(c, run, "mlu370-s4", DType::f16);
    }
  }
}

TEST(CustomKernel, IsLeftToTheHostOfOtherChips) {
  Case c = read_case(TENON_SOURCE_DIR "/tests/kernels/leaky.mlu");
  c.host = "written for Cambricon chips";
  run_case(c, c.runs[0], "ascend310p3", DType::f16);
}

// A result that begins within its operand: the CPU lets it pass, a chip says which line it is.
TEST(CustomKernel, WhatGoesWrongOnTheChipNamesTheLineOfTheKernel) {
  const std::string path = testing::TempDir() + "/tenon_overlap.mlu";
  std::ofstream(path) << R"(TENON_OP("test::Overlap", input(x, float, [*n]), output(y, float, [*n]))
__nram__ float a[2048];
__mlu_entry__ void overlap(float* y, const float* x, int n) {
  if (taskId > 0) return;
  __memcpy(a, x, n * sizeof(float), GDRAM2NRAM);
  __bang_add(a + 32, a, a, n);
  __memcpy(y, a + 32, n * sizeof(float), NRAM2GDRAM);
}
)";
  CustomLibraries libraries;
  ASSERT_TRUE(libraries.add(path).ok());
  Custom custom;
  custom.op = "test::Overlap";
  ASSERT_TRUE(bind(custom, libraries).ok());
  Graph graph;
  const Call call{{{DType::f32, Shape{Dim(1000)}}}, {}};
  Value* x = graph.add_input(call.inputs[0], "x");
  Node* node = graph.add(make_op(custom), std::vector<Value*>{x}).value();
  graph.set_outputs({node->output()});
  const MachineCatalog catalog = MachineCatalog::load().value();
  const DeviceProgram program = lower_graph(graph, **catalog.find("mlu370-s4"), {}).value();
  const auto chip = SimulatedGraph::load(graph, program).value();
  const auto result = chip->run(inputs_of(call), {});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().to_string().find("made of line 6 of its kernel file"), std::string::npos)
      << result.error().to_string();
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace tenon

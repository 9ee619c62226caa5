// Whole small graphs, written as text: structure recovered, and one clear error for what is
// malformed.
#include "import/tensorflow/graph_importer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ir/interpret.h"
#include "ir/verify.h"

namespace tenon::tf {
namespace {

std::string placeholder(std::string_view name, std::string_view dtype = "DT_FLOAT",
                        std::string_view shape = "unknown_rank: true") {
  return fmt::format(
      "node {{ name: '{}' op: 'Placeholder' attr {{ key: 'dtype' value {{ type: {} }} }} "
      "attr {{ key: 'shape' value {{ shape {{ {} }} }} }} }}\n",
      name, dtype, shape);
}

std::string node(std::string_view name, std::string_view op,
                 std::initializer_list<std::string_view> inputs, std::string_view attrs = {}) {
  std::string text = fmt::format("node {{ name: '{}' op: '{}' ", name, op);
  if (op == "f") text = fmt::format("node_def {{ name: '{}' op: '{}' ", name, op);
  for (const auto input : inputs) text += fmt::format("input: '{}' ", input);
  return text + std::string(attrs) + "}\n";
}

std::string scalar(std::string_view name, std::string_view dtype, std::string_view value,
                   std::string_view control = {}) {
  return fmt::format(
      "node {{ name: '{}' op: 'Const' {} attr {{ key: 'dtype' value {{ type: {} }} }} attr {{ key: "
      "'value' value {{ tensor {{ dtype: {} tensor_shape {{ }} {} }} }} }} }}\n",
      name, control.empty() ? "" : fmt::format("input: '^{}'", control), dtype, dtype, value);
}

std::string function_attr(std::string_view key, std::string_view name) {
  return fmt::format("attr {{ key: '{}' value {{ func {{ name: '{}' }} }} }} ", key, name);
}

// A function of one f32 argument x and one result y.
std::string function(std::string_view name, std::string_view nodes, std::string_view result) {
  return fmt::format(
      "library {{ function {{ signature {{ name: '{}' input_arg {{ name: 'x' type: DT_FLOAT }} "
      "output_arg {{ name: 'y' type: DT_FLOAT }} }} {} ret {{ key: 'y' value: '{}' }} }} }}\n",
      name, nodes, result);
}

std::string inner(std::string_view name, std::string_view op,
                  std::initializer_list<std::string_view> inputs, std::string_view attrs = {}) {
  std::string text = node(name, op, inputs, attrs);
  return "node_def" + text.substr(4);
}

Result<ImportedModel> import(const std::string& text, std::vector<std::string> outputs = {}) {
  auto bytes = std::make_shared<std::string>(text);
  ImportOptions options;
  options.outputs = std::move(outputs);
  const Bytes view = as_bytes(*bytes);
  return import_graph_def(Blob{view, std::move(bytes)}, options);
}

Error error_of(const std::string& text) {
  auto imported = import(text);
  if (!imported.ok()) return imported.error();
  ADD_FAILURE() << "imported";
  return {};
}

// The reasons of the nodes that are not supported, "name: reason".
std::vector<std::string> unsupported_in(const std::string& text) {
  std::vector<std::string> reasons;
  auto imported = import(text);
  EXPECT_TRUE(imported.ok()) << (imported.ok() ? "" : imported.error().to_string());
  if (!imported.ok()) return {};
  EXPECT_TRUE(imported->functions.empty());
  for (const NodeReport& n : imported->report.nodes)
    if (n.fate == Fate::unsupported) reasons.push_back(n.name + ": " + n.reason);
  return reasons;
}

std::vector<Tensor> run(const std::string& text, std::vector<Tensor> inputs,
                        std::vector<std::string> outputs = {}) {
  auto imported = import(text, std::move(outputs));
  EXPECT_TRUE(imported.ok()) << (imported.ok() ? "" : imported.error().to_string());
  if (!imported.ok() || imported->functions.empty()) {
    ADD_FAILURE() << "nothing imported";
    for (size_t i = 0; imported.ok() && i < imported->report.nodes.size(); ++i)
      ADD_FAILURE() << imported->report.nodes[i].name << ": " << imported->report.nodes[i].reason;
    return {};
  }
  const Graph& graph = *imported->functions[0].graph;
  const Status valid = verify(graph);
  EXPECT_TRUE(valid.ok()) << (valid.ok() ? "" : valid.error().to_string());
  auto results = interpret(graph, inputs);
  EXPECT_TRUE(results.ok()) << (results.ok() ? "" : results.error().to_string());
  return results.ok() ? *results : std::vector<Tensor>();
}

void expect_message(const Error& error, Code code, std::string_view part) {
  EXPECT_EQ(error.code, code) << error.to_string();
  EXPECT_NE(error.to_string().find(part), std::string::npos) << error.to_string();
}

TEST(TensorflowGraph, MalformedGraphsAreOneClearError) {
  expect_message(
      error_of(node("a", "Relu", {"b"}) + node("b", "Relu", {"a"}) + node("y", "Neg", {"b"})),
      Code::invalid_model, "cycle");
  expect_message(error_of(placeholder("x") + node("y", "Add", {"x", "gone:3"})),
                 Code::invalid_model, "'gone:3' is used but not defined");
  expect_message(error_of(placeholder("x") + node("r", "Relu", {"x"}) + node("y", "Neg", {"r:7"})),
                 Code::invalid_model, "has no output 7");
  expect_message(error_of(placeholder("x") + node("y", "Relu", {"x:-1"})), Code::invalid_model,
                 "x:-1");
  expect_message(error_of(placeholder("x") + node("y", "Conv2D", {"x"})), Code::invalid_model,
                 "needs at least 2");
  expect_message(error_of(placeholder("x") + node("y", "PartitionedCall", {"x"})),
                 Code::invalid_model, "'f'");
}

TEST(TensorflowGraph, MalformedCallsAreOneClearError) {
  const std::string call =
      placeholder("x") + node("y", "PartitionedCall", {"x"}, function_attr("f", "f"));
  expect_message(error_of(call), Code::invalid_model, "function 'f' is not in the model");
  expect_message(
      error_of(call + function("f",
                               inner("again", "PartitionedCall", {"x"}, function_attr("f", "f")),
                               "again:output:0")),
      Code::invalid_model, "calls itself");
  expect_message(error_of(placeholder("x") +
                          node("y", "PartitionedCall", {"x", "x"}, function_attr("f", "f")) +
                          function("f", inner("r", "Relu", {"x"}), "r:activations:0")),
                 Code::invalid_model, "takes 1 arguments, 2 are given");
  expect_message(error_of(call + function("f", inner("t", "TopKV2", {"x", "x"}), "t:nonsense:0")),
                 Code::invalid_model, "nonsense");
  expect_message(error_of(call + function("f", "", "gone:y:0")), Code::invalid_model, "gone");
}

TEST(TensorflowGraph, DeepGraphsNeedNoDeepStack) {
  std::string text = placeholder("n0");
  constexpr int kDepth = 30000;
  for (int i = 1; i <= kDepth; ++i)
    text +=
        node(fmt::format("n{}", i), i % 2 == 0 ? "Identity" : "Neg", {fmt::format("n{}", i - 1)});
  auto imported = import(text);
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  ASSERT_EQ(imported->functions.size(), 1u);
  EXPECT_EQ(imported->functions[0].graph->node_count(), size_t{kDepth / 2});
}

TEST(TensorflowGraph, CallsTooDeepAreRefused) {
  std::string text =
      placeholder("x") + node("y", "PartitionedCall", {"x"}, function_attr("f", "f0"));
  for (int i = 0; i < 500; ++i)
    text += function(
        fmt::format("f{}", i),
        inner("c", "PartitionedCall", {"x"}, function_attr("f", fmt::format("f{}", i + 1))),
        "c:output:0");
  expect_message(error_of(text), Code::invalid_model, "levels deep");
}

TEST(TensorflowGraph, AllUnsupportedNodesAreListed) {
  const std::string text =
      placeholder("x") + placeholder("flag", "DT_BOOL", "") + node("a", "Nonsense", {"x"}) +
      node("b", "Relu", {"a"}) + node("c", "Gibberish", {"b"}) +
      node("d", "If", {"flag", "c"},
           function_attr("then_branch", "f") + function_attr("else_branch", "f")) +
      function("f", inner("e", "Blather", {"x"}), "e:y:0");
  const auto reasons = unsupported_in(text);
  ASSERT_EQ(reasons.size(), 4u);
  EXPECT_TRUE(reasons[0].starts_with("a: op 'Nonsense' has no mapping"));
  EXPECT_TRUE(reasons[1].starts_with("c: op 'Gibberish'"));
  EXPECT_TRUE(reasons[2].starts_with("d/then/e: op 'Blather'"));
  EXPECT_TRUE(reasons[3].starts_with("d/else/e: op 'Blather'"));
}

TEST(TensorflowGraph, ControlInputsAndDeadNodesDoNotMatter) {
  const std::string text = placeholder("x") + node("assert", "Nonsense", {"x"}) +
                           node("y", "Neg", {"x", "^assert", "^gone"});
  const auto results = run(text, {Tensor::vector<float>({1, 2})}, {"y"});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].real_at(1), -2);
}

TEST(TensorflowGraph, BranchesOfAKnownConditionAreNotImported) {
  const std::string text =
      placeholder("x") + scalar("flag", "DT_BOOL", "bool_val: true") +
      node("y", "If", {"flag", "x"},
           function_attr("then_branch", "good") + function_attr("else_branch", "bad")) +
      function("good", inner("r", "Neg", {"x"}), "r:y:0") +
      function("bad", inner("r", "Nonsense", {"x"}), "r:y:0");
  const auto results = run(text, {Tensor::vector<float>({3})});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].real_at(0), -3);
}

// y = x + 1 where flag holds, else 7; the constant has its place by a control input only.
TEST(TensorflowGraph, SwitchAndMergeAreACondition) {
  const std::string text =
      placeholder("x") + placeholder("flag", "DT_BOOL", "") + node("pred", "Identity", {"flag"}) +
      node("switch", "Switch", {"pred", "pred"}) + node("off", "Identity", {"switch"}) +
      node("on", "Identity", {"switch:1"}) + scalar("seven", "DT_FLOAT", "float_val: 7", "off") +
      scalar("one", "DT_FLOAT", "float_val: 1", "on") + node("x_in", "Switch", {"x", "pred"}) +
      node("sum", "Add", {"x_in:1", "one"}) + node("y", "Merge", {"seven", "sum"});
  auto on = run(text, {Tensor::scalar(2.0f), Tensor::scalar(true)});
  auto off = run(text, {Tensor::scalar(2.0f), Tensor::scalar(false)});
  ASSERT_TRUE(on.size() == 1 && off.size() == 1);
  EXPECT_EQ(on[0].real_at(0), 3);
  EXPECT_EQ(off[0].real_at(0), 7);
}

// while (x < 100) x = x * 2, with the factor an invariant of the frame.
std::string frame_loop(std::string_view condition) {
  const std::string frame = "attr { key: 'frame_name' value { s: 'loop' } }";
  return placeholder("x") + scalar("two", "DT_FLOAT", "float_val: 2") +
         node("enter", "Enter", {"x"}, frame) +
         node("factor", "Enter", {"two"}, frame + "attr { key: 'is_constant' value { b: true } }") +
         node("merge", "Merge", {"enter", "next"}) +
         scalar("limit", "DT_FLOAT", "float_val: 100", "merge") +
         node("less", "Less", {"merge", "limit"}) + node("cond", condition, {"less"}) +
         node("switch", "Switch", {"merge", "cond"}) + node("body", "Identity", {"switch:1"}) +
         node("mul", "Mul", {"body", "factor"}) + node("next", "NextIteration", {"mul"}) +
         node("exit", "Exit", {"switch"}) + node("y", "Neg", {"exit"});
}

TEST(TensorflowGraph, FramesAreLoops) {
  const auto results = run(frame_loop("LoopCond"), {Tensor::scalar(3.0f)}, {"y"});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].real_at(0), -192);
  expect_message(error_of(frame_loop("Identity")), Code::invalid_model, "LoopCond");
}

TEST(TensorflowGraph, AVariableThatIsReadAndChangedNeedsAValue) {
  const std::string text =
      placeholder("x") +
      node("v", "VarHandleOp", {}, "attr { key: 'dtype' value { type: DT_FLOAT } }") +
      node("add", "AssignAddVariableOp", {"v", "x"}) +
      node("read", "ReadVariableOp", {"v", "^add"}) + node("y", "Neg", {"read"});
  expect_message(error_of(text), Code::not_found, "variable 'v' has no value");
  const std::string dead = placeholder("x") + node("v", "VarHandleOp", {}) +
                           node("add", "AssignAddVariableOp", {"v", "x"}) +
                           node("y", "Neg", {"x", "^add"});
  EXPECT_EQ(run(dead, {Tensor::scalar(2.0f)}, {"y"}).size(), 1u);
}

TEST(TensorflowGraph, PlaceholdersThatFreezingLeavesAreNoInputs) {
  auto bytes = std::make_shared<std::string>(
      placeholder("x") + placeholder("unused_control_flow_input_1", "DT_VARIANT") +
      placeholder("n", "DT_INT32") + node("y", "Neg", {"x"}));
  const Bytes view = as_bytes(*bytes);
  auto imported = import_graph_def(Blob{view, std::move(bytes)}, {});
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  ASSERT_EQ(imported->functions.size(), 1u);
  EXPECT_EQ(imported->functions[0].input_names, (std::vector<std::string>{"x", "n"}));
}

TEST(TensorflowGraph, PlaceholdersThatAreNoInputsAreNamed) {
  ImportOptions options;
  options.inputs = {"x"};
  auto bytes = std::make_shared<std::string>(placeholder("x") + placeholder("rate") +
                                             node("y", "Mul", {"x", "rate"}));
  const Bytes view = as_bytes(*bytes);
  auto imported = import_graph_def(Blob{view, std::move(bytes)}, options);
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  EXPECT_TRUE(imported->functions.empty());
  EXPECT_EQ(imported->report.count(Fate::unsupported), 1);
}

}  // namespace
}  // namespace tenon::tf

#include "import/onnx/graph_importer.h"

#include <gtest/gtest.h>

#include "import/onnx/model_writer.h"
#include "ir/interpret.h"

namespace tenon::onnx {
namespace {

using namespace writer;  // NOLINT: reads like the text it stands for

Result<ImportedModel> import_text(const std::string& bytes, const ImportOptions& options = {}) {
  return import_onnx(Blob{as_bytes(bytes), nullptr}, options);
}

Error error_of(const std::string& bytes, const ImportOptions& options = {}) {
  auto imported = import_text(bytes, options);
  EXPECT_FALSE(imported.ok());
  return imported.ok() ? Error{} : imported.error();
}

// Runs the model on f32 vectors and gives its first output.
std::vector<float> run(const std::string& bytes, const std::vector<std::vector<float>>& inputs,
                       const ImportOptions& options = {}) {
  auto imported = import_text(bytes, options);
  EXPECT_TRUE(imported.ok()) << (imported.ok() ? "" : imported.error().to_string());
  if (!imported.ok() || imported->functions.empty()) {
    ADD_FAILURE() << "no function";
    return {};
  }
  std::vector<Tensor> tensors;
  tensors.reserve(inputs.size());
  for (const auto& v : inputs) tensors.push_back(Tensor::vector(v));
  auto results = interpret(*imported->functions[0].graph, tensors);
  EXPECT_TRUE(results.ok()) << (results.ok() ? "" : results.error().to_string());
  if (!results.ok()) return {};
  const auto span = (*results)[0].span<float>();
  return {span.begin(), span.end()};
}

const std::string kX = value("x", {2});
const std::string kY = value("y", {2});

TEST(OnnxGraph, AcceptsNodesOutOfOrder) {
  const std::string bytes =
      model({{node({"Add", {"a", "x"}, {"y"}}), node({"Relu", {"x"}, {"a"}})}, {kX}, {kY}});
  EXPECT_EQ(run(bytes, {{-1, 2}}), (std::vector<float>{-1, 4}));
}

TEST(OnnxGraph, NamesTheNodeOfACycle) {
  const Error e =
      error_of(model({{node({"Add", {"x", "b"}, {"a"}, "first"}),
                       node({"Relu", {"a"}, {"b"}, "second"}), node({"Relu", {"b"}, {"y"}})},
                      {kX},
                      {kY}}));
  EXPECT_EQ(e.code, Code::invalid_model);
  EXPECT_NE(e.message.find("cycle"), std::string::npos);
  EXPECT_NE(e.where.find("'first'"), std::string::npos);
}

TEST(OnnxGraph, NamesWhatIsWrongWithANode) {
  struct Case {
    std::string node;
    const char* message;
    const char* where;
  };
  const Case cases[] = {
      {node({"Add", {"x", "nope"}, {"y"}, "n"}), "'nope'", "'n' (Add)"},
      {node({"Add", {"x"}, {"y"}}), "takes 2 to 2", "'y' (Add)"},
      {node({"Add", {"x", ""}, {"y"}}), "takes 2 to 2", "'y' (Add)"},
      {node({"Softmax", {"x"}, {"y"}, "s", {ints_attr("axis", {1})}}), "a list of integers", "'s'"},
      {node({"Softmax", {"x"}, {"y"}, "s", {int_attr("axis", 7)}}), "7", "'s'"},
      {node({"Conv", {"x", "x"}, {"y"}, "c"}), "3 dimensions", "'c'"},
      {node({"If", {"x"}, {"y"}, "i", {}}), "'then_branch' is missing", "'i'"},
  };
  for (const Case& c : cases) {
    const Error e = error_of(model({{c.node}, {kX}, {kY}}));
    EXPECT_NE(e.message.find(c.message), std::string::npos) << e.to_string();
    EXPECT_NE(e.where.find(c.where), std::string::npos) << e.to_string();
  }
}

TEST(OnnxGraph, RefusesNamesDefinedTwice) {
  const Error twice = error_of(
      model({{node({"Relu", {"x"}, {"y"}, "a"}), node({"Neg", {"x"}, {"y"}, "b"})}, {kX}, {kY}}));
  EXPECT_NE(twice.message.find("'y' is computed twice"), std::string::npos);
  EXPECT_NE(error_of(model({{}, {kX, kX}, {kX}})).message.find("two inputs 'x'"),
            std::string::npos);
}

TEST(OnnxGraph, ListsAllNodesThatHaveNoRule) {
  const std::string branch =
      graph({{node({"Inside", {"x"}, {"t"}, "inner"})}, {}, {value("t", {2})}});
  const std::string bytes =
      model({{node({"Strange", {"x"}, {"a"}, "first"}), node({"Relu", {"a"}, {"b"}, "fine"}),
              node({"Odd", {"b"}, {"c"}, "second", {}, "own"}),
              node({"If",
                    {"c"},
                    {"y"},
                    "if",
                    {graph_attr("then_branch", branch), graph_attr("else_branch", branch)}}),
              node({"Dead", {"x"}, {"z"}, "dead"})},
             {kX},
             {kY}});
  auto imported = import_text(bytes);
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  EXPECT_TRUE(imported->functions.empty());
  std::vector<std::string> names;
  for (const NodeReport& n : imported->report.nodes) {
    if (n.fate == Fate::unsupported) names.push_back(n.name);
    if (n.name == "fine") {
      EXPECT_EQ(n.fate, Fate::mapped);
    }
    if (n.name == "dead") {
      EXPECT_EQ(n.fate, Fate::folded);
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"first", "second", "if/inner", "if/inner"}));
}

// scaled(v) = Gemm-like: LeakyRelu with the call's alpha; the default is 0.5.
std::string leaky_function(std::string_view callee = "LeakyRelu", std::string_view domain = "") {
  const std::string body =
      node({callee, {"v"}, {"w"}, "act", {ref_attr("alpha", "slope", 1)}, domain});
  const uint32_t half = 0x3f000000;
  std::string slope = field(1, "slope") + varint(2 << 3 | 5) +
                      std::string(reinterpret_cast<const char*>(&half), 4) + field(20, int64_t{1});
  return field(1, "leaky") + field(4, "v") + field(5, "w") + field(7, body) +
         field(9, opset("", 17)) + field(9, opset("own", 1)) + field(10, "own") + field(11, slope);
}

TEST(OnnxFunctions, AreInlinedWithTheirAttributes) {
  const uint32_t quarter = 0x3e800000;
  const std::string slope = field(1, "slope") + varint(2 << 3 | 5) +
                            std::string(reinterpret_cast<const char*>(&quarter), 4) +
                            field(20, int64_t{1});
  const std::string bytes = model({{node({"leaky", {"x"}, {"a"}, "plain", {}, "own"}),
                                    node({"leaky", {"a"}, {"y"}, "given", {slope}, "own"})},
                                   {kX},
                                   {kY}},
                                  {leaky_function()});
  EXPECT_EQ(run(bytes, {{-8, 2}}), (std::vector<float>{-1, 2}));
  auto imported = import_text(bytes);
  ASSERT_TRUE(imported.ok());
  EXPECT_EQ(imported->report.nodes[1].name, "plain/act");
}

TEST(OnnxFunctions, ThatCallThemselvesEnd) {
  const Error e = error_of(model({{node({"leaky", {"x"}, {"y"}, "call", {}, "own"})}, {kX}, {kY}},
                                 {leaky_function("leaky", "own")}));
  EXPECT_NE(e.message.find("calls itself"), std::string::npos) << e.to_string();
}

TEST(OnnxCuts, BeginAndEndInTheMiddle) {
  const std::string bytes = model({{node({"Strange", {"x"}, {"a"}}), node({"Relu", {"a"}, {"b"}}),
                                    node({"Neg", {"b"}, {"c"}}), node({"Strange", {"c"}, {"y"}})},
                                   {kX},
                                   {kY}});
  ImportOptions options;
  options.inputs = {"a"};
  options.outputs = {"c"};
  EXPECT_EQ(run(bytes, {{-1, 2, 3}}, options), (std::vector<float>{0, -2, -3}));
  options.inputs = {"nope"};
  EXPECT_EQ(error_of(bytes, options).code, Code::not_found);
  options.inputs = {"c"};
  options.outputs = {"b"};
  EXPECT_NE(error_of(bytes, options).message.find("'x', which --inputs leaves out"),
            std::string::npos);
}

TEST(OnnxInputs, WithDefaultsAreConstants) {
  const std::string bytes = model({{node({"Add", {"x", "w"}, {"y"}})},
                                   {kX, value("w", {2})},
                                   {kY},
                                   {floats("w", {2}, {10, 20})}});
  EXPECT_EQ(run(bytes, {{1, 2}}), (std::vector<float>{11, 22}));
}

TEST(OnnxInputs, TakeSizesFromTheUser) {
  const std::string bytes =
      model({{node({"Relu", {"x"}, {"y"}})}, {value("x", {-1, 3})}, {value("y", {-1, 3})}});
  ImportOptions options;
  options.input_shapes = {{"x", {4, 3}}};
  auto imported = import_text(bytes, options);
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  EXPECT_EQ(imported->functions[0].graph->outputs()[0]->shape().to_string(), "[4,3]");
  options.input_shapes = {{"x", {4, 5}}};
  EXPECT_EQ(error_of(bytes, options).code, Code::invalid_argument);
  options.input_shapes = {{"z", {4, 3}}};
  EXPECT_EQ(error_of(bytes, options).code, Code::not_found);
}

// A map is two inputs; one of anything but tensors is refused.
TEST(OnnxInputs, MapsAreTheirKeysAndTheirValues) {
  const auto map = [](const std::string& values) {
    return field(1, "m") + field(2, field(5, field(1, int64_t{7}) + field(2, values)));
  };
  const std::string reals = field(1, field(1, int64_t{1}) + field(2, ""));
  const GraphText text{{node({"CastMap", {"m"}, {"y"}, "", {}, "ai.onnx.ml"})}, {map(reals)}, {kY}};
  auto imported = import_text(model(text));
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  const ImportedFunction& function = imported->functions[0];
  EXPECT_EQ(function.input_names, (std::vector<std::string>{"m.keys", "m.values"}));
  auto results =
      interpret(*function.graph, std::vector<Tensor>{Tensor::vector(std::vector<int64_t>{8, -3}),
                                                     Tensor::vector(std::vector<float>{1, 2})});
  ASSERT_TRUE(results.ok()) << results.error().to_string();
  EXPECT_EQ((*results)[0].span<float>()[0], 2);

  const std::string of_maps = map(field(5, field(1, int64_t{7}) + field(2, reals)));
  EXPECT_NE(error_of(model({text.nodes, {of_maps}, {kY}})).message.find("'m' is a map"),
            std::string::npos);
  EXPECT_NE(error_of(model({text.nodes, {value("m", {2})}, {kY}})).message.find("no map"),
            std::string::npos);
}

// y = x doubled three times, by a loop whose body reads x's sum from outside.
TEST(OnnxLoops, ReadTheirSurroundings) {
  const std::string body = graph({{node({"Add", {"v", "x"}, {"w"}})},
                                  {value("i", {}, 7), value("go", {}, 9), value("v", {2})},
                                  {value("go", {}, 9), value("w", {2})}});
  const std::string bytes =
      model({{node({"Constant", {}, {"n"}, "n", {int_attr("value_int", 3)}}),
              node({"Loop", {"n", "", "x"}, {"y"}, "loop", {graph_attr("body", body)}})},
             {kX},
             {kY}});
  EXPECT_EQ(run(bytes, {{1, 2}}), (std::vector<float>{4, 8}));
}

// A loop variable that grows has no fixed shape.
TEST(OnnxLoops, MayGrowTheirState) {
  const std::string body = graph({{node({"Concat", {"v", "x"}, {"w"}, "", {int_attr("axis", 0)}})},
                                  {value("i", {}, 7), value("go", {}, 9), value("v", {2})},
                                  {value("go", {}, 9), value("w", {-1})}});
  const std::string bytes =
      model({{node({"Constant", {}, {"n"}, "n", {int_attr("value_int", 2)}}),
              node({"Loop", {"n", "", "x"}, {"y"}, "loop", {graph_attr("body", body)}})},
             {kX},
             {value("y", {-1})}});
  EXPECT_EQ(run(bytes, {{1, 2}}), (std::vector<float>{1, 2, 1, 2, 1, 2}));
}

}  // namespace
}  // namespace tenon::onnx

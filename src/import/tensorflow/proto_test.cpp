#include "import/tensorflow/proto.h"

#include <gtest/gtest.h>

#include "import/tensorflow/tensor_value.h"
#include "import/tensorflow/text_format.h"

namespace tenon::tf {
namespace {

std::string wire(std::string_view text, std::string_view root = "GraphDef") {
  auto bytes = text_to_wire(text, root, "test.pbtxt");
  EXPECT_TRUE(bytes.ok()) << (bytes.ok() ? "" : bytes.error().to_string());
  return bytes.ok() ? *bytes : "";
}

Error text_error(std::string_view text) {
  auto bytes = text_to_wire(text, "GraphDef", "test.pbtxt");
  EXPECT_FALSE(bytes.ok());
  return bytes.ok() ? Error{} : bytes.error();
}

TEST(TensorflowProto, DecodesNodesAndAttributes) {
  const std::string bytes = wire(R"(
    node { name: "c" op: "Conv2D" input: "x" input: "^d"  # a comment
      attr { key: "strides" value { list { i: [1, 2, 2, 1] } } }
      attr { key: "padding" value { s: "SA" "ME" } }
      attr { key: "T" value { type: DT_FLOAT } }
      attr < key: 'shape' value < shape < dim < size: -1 > dim < size: 3 > > > >
      attr { key: "eps" value { f: 1e-3 } }
      attr { key: "flag" value { b: true } }
      attr { key: "body" value { func { name: "f" attr { key: "n" value { i: -7 } } } } } }
    versions { producer: 440 })");
  auto graph = decode_graph(as_bytes(bytes));
  ASSERT_TRUE(graph.ok()) << graph.error().to_string();
  ASSERT_EQ(graph->nodes.size(), 1u);
  EXPECT_EQ(graph->producer, 440);
  const NodeDef& node = graph->nodes[0];
  EXPECT_EQ(node.op, "Conv2D");
  EXPECT_EQ(node.inputs, (std::vector<std::string_view>{"x", "^d"}));
  EXPECT_EQ(*node.attrs.get_ints("strides"), (std::vector<int64_t>{1, 2, 2, 1}));
  EXPECT_EQ(*node.attrs.get_string("padding"), "SAME");
  EXPECT_EQ(*node.attrs.get_type("T"), DataType::f32);
  EXPECT_EQ(node.attrs.get_shape("shape")->dims, (std::vector<int64_t>{-1, 3}));
  EXPECT_FLOAT_EQ(*node.attrs.get_float("eps"), 1e-3f);
  EXPECT_TRUE(*node.attrs.get_bool("flag", false));
  const auto body = node.attrs.get("body");
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(body->function.name, "f");
  EXPECT_EQ(*body->function.attrs.get_int("n"), -7);
  EXPECT_EQ(node.attrs.get_int("eps").error().message,
            "attribute 'eps' is a float, but an integer is expected");
  EXPECT_EQ(node.attrs.get_int("nope").error().message, "attribute 'nope' is missing");
}

TEST(TensorflowProto, AcceptsPackedAndUnpackedRepeatedFields) {
  // AttrValue.list with i = 1, 2 unpacked, then 3, 4 packed.
  const char raw[] = "\x0a\x08\x18\x01\x18\x02\x1a\x02\x03\x04";
  auto value = decode_attr(as_bytes(std::string_view(raw, 10)), "i");
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->ints, (std::vector<int64_t>{1, 2, 3, 4}));
}

TEST(TensorflowProto, RefusesTruncatedMessages) {
  const std::string bytes = wire("node { name: 'a' op: 'Const' input: 'something long' }");
  for (size_t size = 1; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_graph(as_bytes(bytes).first(size)).ok()) << size;
}

TEST(TensorflowProto, RefusesMoreDataThanTheFileHolds) {
  // Empty nodes take two bytes in the file and a hundred in memory.
  std::string bytes;
  for (int i = 0; i < (4 << 20); ++i) bytes.append("\x0a\x00", 2);
  auto graph = decode_graph(as_bytes(bytes));
  ASSERT_FALSE(graph.ok());
  EXPECT_NE(graph.error().message.find("far more data"), std::string::npos);
}

TEST(TensorflowText, ReportsLines) {
  EXPECT_EQ(text_error("node {\n  nam: 'a'\n}").where, "test.pbtxt:2");
  EXPECT_EQ(text_error("node {\n  nam: 'a'\n}").message, "NodeDef has no field 'nam'");
  EXPECT_EQ(text_error("node {\n name: 'a\n}").where, "test.pbtxt:2");
  EXPECT_FALSE(text_to_wire("node { attr { value { i: 12z } } }", "GraphDef", "f").ok());
  EXPECT_FALSE(text_to_wire("node { ", "GraphDef", "f").ok());
  EXPECT_FALSE(text_to_wire("node ", "GraphDef", "f").ok());
  EXPECT_FALSE(text_to_wire(std::string_view("\0", 1), "GraphDef", "f").ok());
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "experimental_type{";
  EXPECT_FALSE(text_to_wire("node {" + deep, "GraphDef", "f").ok());
}

TEST(TensorflowText, UnderstandsEscapesAndSkipsWhatIsNotNeeded) {
  const std::string bytes = wire(R"(
    node { name: "a\x41\101\n\"\'\\" op: "Const"
      experimental_debug_info { original_node_names: ["a", "b"] other < x: 1.5e3 y { } > } }
    library { function { signature { name: "f" description: "text" attr { name: "T" }
        input_arg { name: "x" type: DT_FLOAT_REF } } ret { key: "y" value: "a:output:0" } } })");
  auto graph = decode_graph(as_bytes(bytes));
  ASSERT_TRUE(graph.ok()) << graph.error().to_string();
  EXPECT_EQ(graph->nodes[0].name, "aAA\n\"'\\");
  ASSERT_EQ(graph->functions.size(), 1u);
  EXPECT_EQ(graph->functions[0].name, "f");
  EXPECT_EQ(base_dtype(graph->functions[0].inputs[0].type), DataType::f32);
  EXPECT_EQ(graph->functions[0].ret[0].second, "a:output:0");
}

Result<TensorValue> tensor(std::string_view text) {
  auto owner = std::make_shared<std::string>(wire(text, "TensorProto"));
  const TensorProto proto = TRY(decode_tensor(as_bytes(*owner), "tensor"));
  return tensor_value(proto, owner);
}
std::vector<float> floats(const TensorValue& value) {
  std::vector<float> out(value.data.bytes.size() / 4);
  std::memcpy(out.data(), value.data.bytes.data(), value.data.bytes.size());
  return out;
}

TEST(TensorflowTensor, ReadsEveryWayOfWritingValues) {
  auto content = tensor(R"(dtype: DT_FLOAT tensor_shape { dim { size: 2 } }
                           tensor_content: "\000\000\200?\000\000\000@")");
  ASSERT_TRUE(content.ok());
  EXPECT_EQ(floats(*content), (std::vector<float>{1, 2}));
  auto values = tensor("dtype: DT_FLOAT tensor_shape { dim { size: 4 } } float_val: [1, 2.5]");
  ASSERT_TRUE(values.ok());
  EXPECT_EQ(floats(*values), (std::vector<float>{1, 2.5, 2.5, 2.5}));
  auto splat = tensor("dtype: DT_FLOAT tensor_shape { dim { size: 1000000000 } } float_val: 3");
  ASSERT_TRUE(splat.ok());
  EXPECT_TRUE(splat->splat);
  EXPECT_EQ(floats(*splat), (std::vector<float>{3}));
  auto half = tensor("dtype: DT_HALF tensor_shape { } half_val: 15360");
  ASSERT_TRUE(half.ok());
  EXPECT_EQ(load_le<uint16_t>(half->data.bytes.data()), 0x3c00);
  auto text = tensor("dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: ['a', '']");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->strings, (std::vector<std::string>{"a", ""}));
  auto complex = tensor("dtype: DT_COMPLEX64 tensor_shape { } scomplex_val: [1, -2]");
  ASSERT_TRUE(complex.ok());
  EXPECT_EQ(floats(*complex), (std::vector<float>{1, -2}));
}

TEST(TensorflowTensor, RefusesAbsurdOnes) {
  EXPECT_FALSE(tensor("dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } dim { size: "
                      "1099511627776 } } float_val: 1")
                   .ok());
  EXPECT_FALSE(
      tensor(
          "dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } } float_val: 1 float_val: 2")
          .ok());
  EXPECT_FALSE(tensor("dtype: DT_FLOAT tensor_shape { dim { size: -1 } }").ok());
  EXPECT_FALSE(tensor("dtype: DT_FLOAT tensor_shape { unknown_rank: true }").ok());
  EXPECT_FALSE(
      tensor("dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: 'abc'").ok());
  EXPECT_FALSE(tensor("dtype: DT_FLOAT tensor_shape { } float_val: [1, 2]").ok());
  EXPECT_FALSE(tensor("dtype: DT_RESOURCE tensor_shape { }").ok());
}

}  // namespace
}  // namespace tenon::tf

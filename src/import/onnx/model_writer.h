// Writes ONNX models as bytes, for tests: each function gives one message.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace tenon::onnx::writer {

inline std::string varint(uint64_t v) {
  std::string s;
  for (; v >= 128; v >>= 7) s += static_cast<char>(v | 128);
  return s + static_cast<char>(v);
}

inline std::string field(int number, std::string_view bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + std::string(bytes);
}

inline std::string field(int number, int64_t v) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(static_cast<uint64_t>(v));
}

inline std::string ints_attr(std::string_view name, std::initializer_list<int64_t> values) {
  std::string s = field(1, name) + field(20, int64_t{7});
  for (const int64_t v : values) s += field(8, v);
  return s;
}

inline std::string int_attr(std::string_view name, int64_t v) {
  return field(1, name) + field(3, v) + field(20, int64_t{2});
}

inline std::string graph_attr(std::string_view name, std::string_view graph) {
  return field(1, name) + field(6, graph) + field(20, int64_t{5});
}

// An attribute of a function's body that stands for one of the call.
inline std::string ref_attr(std::string_view name, std::string_view of_call, int64_t type) {
  return field(1, name) + field(21, of_call) + field(20, type);
}

struct NodeText {
  std::string_view op;
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::string_view name = {};
  std::vector<std::string> attrs = {};
  std::string_view domain = {};
};

inline std::string node(const NodeText& n) {
  std::string s;
  for (const auto input : n.inputs) s += field(1, input);
  for (const auto output : n.outputs) s += field(2, output);
  if (!n.name.empty()) s += field(3, n.name);
  s += field(4, n.op);
  for (const auto& a : n.attrs) s += field(5, a);
  return n.domain.empty() ? s : s + field(7, n.domain);
}

// A tensor type; a negative dimension is one without a size.
inline std::string value(std::string_view name, std::initializer_list<int64_t> dims,
                         int64_t element = 1) {
  std::string shape;
  for (const int64_t d : dims) shape += field(1, d < 0 ? "" : field(1, d));
  return field(1, name) + field(2, field(1, field(1, element) + field(2, shape)));
}

inline std::string floats(std::string_view name, std::initializer_list<int64_t> dims,
                          const std::vector<float>& values) {
  std::string s;
  for (const int64_t d : dims) s += field(1, d);
  const std::string_view raw(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  return s + field(2, int64_t{1}) + field(8, name) + field(9, raw);
}

struct GraphText {
  std::vector<std::string> nodes;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<std::string> initializers = {};
};

inline std::string graph(const GraphText& g) {
  std::string s;
  for (const auto& n : g.nodes) s += field(1, n);
  s += field(2, "graph");
  for (const auto& t : g.initializers) s += field(5, t);
  for (const auto& v : g.inputs) s += field(11, v);
  for (const auto& v : g.outputs) s += field(12, v);
  return s;
}

inline std::string opset(std::string_view domain, int64_t version) {
  return field(1, domain) + field(2, version);
}

inline std::string model(const GraphText& g, const std::vector<std::string>& functions = {},
                         int64_t version = 17) {
  std::string s = field(1, int64_t{8}) + field(7, graph(g)) + field(8, opset("", version)) +
                  field(8, opset("own", 1));
  for (const auto& f : functions) s += field(25, f);
  return s;
}

}  // namespace tenon::onnx::writer

// Nodes whose op is the user's own, and what is said of ops that nothing maps.
#include <fmt/format.h>

#include <algorithm>

#include "import/custom_ops.h"
#include "import/onnx/graph_importer.h"

namespace tenon::onnx {
namespace {

// Ops that stand for something other than a computation on tensors: what they are, and the way out.
struct Known {
  std::string_view domain, op, reason;
};
constexpr Known kKnown[] = {
    {"ai.onnx.contrib", "PyOp",
     "this calls a Python function that is not in the model; write its body in ONNX ops, or as a "
     "custom op, and export again"},
    {"ai.onnx.contrib", "PyCustomOp",
     "this calls a Python function that is not in the model; write its body in ONNX ops, or as a "
     "custom op, and export again"},
    {"com.microsoft", "PythonOp",
     "this is a torch.autograd.Function, whose Python code is not in the model; write its forward "
     "pass "
     "in ops that export, or as a custom op"},
    {"com.microsoft", "EPContext",
     "this is a program that ONNX Runtime compiled for one device; give the model from before "
     "that"},
    {"org.pytorch.aten", "ATen",
     "this is an op of PyTorch that the export did not translate; export with a newer opset, or "
     "without operator_export_type=ONNX_ATEN_FALLBACK"},
};

Result<std::optional<CustomAttr>> to_custom(TensorSource& source, const AttributeProto& a,
                                            std::string_view name) {
  const auto attr = [&](AttrValue value) {
    return std::optional(CustomAttr{std::string(name), std::move(value)});
  };
  switch (a.type) {
    case AttrType::real:
      return attr(static_cast<double>(a.real));
    case AttrType::integer:
      return attr(a.integer);
    case AttrType::string:
      return attr(std::string(a.string));
    case AttrType::reals:
      return attr(std::vector<double>(a.reals.begin(), a.reals.end()));
    case AttrType::integers:
      return attr(a.integers);
    case AttrType::strings:
      return attr(std::vector<std::string>(a.strings.begin(), a.strings.end()));
    case AttrType::tensor:
      if (a.tensors.empty()) return invalid_model(fmt::format("attribute '{}' is empty", name));
      return attr(TRY(source.value(a.tensors[0])));
    case AttrType::graph:
    case AttrType::graphs:
      return unsupported(
          fmt::format("attribute '{}' is a graph, which custom ops do not take", name));
    default:
      return std::optional<CustomAttr>();
  }
}

}  // namespace

std::string unmapped_reason(const NodeProto& node, int64_t opset) {
  if (has_rule(node.domain, node.op))
    return fmt::format(
        "op '{}' is not known at opset {}; convert the model to a newer opset, or cut it before "
        "the node with --outputs",
        node.op, opset);
  for (const Known& known : kKnown)
    if (known.domain == node.domain && known.op == node.op) return std::string(known.reason);
  return ways_out(custom_op_name(node.domain, node.op));
}

bool GraphImporter::is_custom(const NodeProto& node) const {
  return custom_ops_ != nullptr && custom_ops_->has(custom_op_name(node.domain, node.op));
}

Status GraphImporter::import_custom_node(Scope& scope, const NodeProto& node) {
  const auto fail = [&](Error error) -> Status {
    if (error.code != Code::unsupported) return error;
    note(scope.prefix, node, Fate::unsupported, std::move(error.message));
    bind_missing(scope, node);
    return {};
  };
  Values operands;
  for (const std::string_view name : node.inputs)
    operands.push_back(name.empty() ? nullptr : TRY(value(scope, name)));
  while (!operands.empty() && operands.back() == nullptr) operands.pop_back();
  std::vector<CustomAttr> attrs;
  for (const AttributeProto& a : node.attrs) {
    const AttributeProto* actual = attribute(scope, node, a.name);
    if (actual == nullptr) continue;
    auto attr = to_custom(source_, *actual, a.name);
    if (!attr.ok()) return fail(std::move(attr).error());
    if (*attr) attrs.push_back(std::move(**attr));
  }
  int64_t outputs = 0;
  for (size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) outputs = static_cast<int64_t>(i) + 1;
  Builder builder(*scope.graph);
  builder.set_origins({scope.prefix + node_name(node)});
  auto results =
      custom_ops_->apply(builder, custom_op_name(node.domain, node.op), operands, outputs, attrs);
  if (!results.ok()) return fail(std::move(results).error());
  const bool foreign = std::ranges::any_of(*results, [](const Value* v) {
    return v->producer() != nullptr && v->producer()->is("custom");
  });
  const bool kernel = custom_ops_->is_kernel(custom_op_name(node.domain, node.op));
  note(scope.prefix, node, foreign && !kernel ? Fate::on_cpu : Fate::mapped,
       foreign && !kernel ? "a custom op, which runs on the CPU" : "");
  return bind_outputs(scope, node, *results);
}

}  // namespace tenon::onnx

#include "import/tensorflow/graph_importer.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

namespace tenon::tf {
namespace {

// Follows chains and nested calls; deeper ones are damaged or cyclic models.
constexpr int kMaxDepth = 20000;

struct Reference {
  std::string_view node;
  std::string_view output;  // the name of the output argument, in functions
  int64_t index = 0;
};

Reference split_reference(std::string_view text) {
  Reference r;
  const size_t first = text.find(':');
  r.node = text.substr(0, first);
  if (first == std::string_view::npos) return r;
  std::string_view rest = text.substr(first + 1);
  const size_t second = rest.find(':');
  if (second != std::string_view::npos) {
    r.output = rest.substr(0, second);
    rest = rest.substr(second + 1);
  }
  std::from_chars(rest.data(), rest.data() + rest.size(), r.index);
  return r;
}

// Ops whose outputs are several named arguments of one tensor each, for "node:name:0".
int64_t output_offset(std::string_view op, std::string_view output) {
  struct Row {
    std::string_view op, output;
    int64_t offset;
  };
  constexpr Row kRows[] = {{"TopKV2", "indices", 1},
                           {"FusedBatchNormV3", "batch_mean", 1},
                           {"FusedBatchNormV3", "batch_variance", 2},
                           {"Unique", "idx", 1},
                           {"Qr", "r", 1}};
  for (const Row& row : kRows)
    if (row.op == op && row.output == output) return row.offset;
  return 0;
}

Error at_node(Error error, const Frame& frame, const NodeDef& node) {
  return std::move(error).at(fmt::format("node '{}{}' ({})", frame.prefix, node.name, node.op));
}

}  // namespace

Frame GraphImporter::make_frame(const std::vector<NodeDef>& nodes) {
  Frame frame;
  frame.nodes = &nodes;
  for (const NodeDef& node : nodes) frame.by_name.emplace(node.name, &node);
  return frame;
}

void GraphImporter::note(Frame& frame, const NodeDef& node, Fate fate, std::string reason) {
  unsupported_ += fate == Fate::unsupported;
  report_.nodes.push_back(
      {frame.prefix + std::string(node.name), std::string(node.op), fate, std::move(reason)});
}

Result<Value*> GraphImporter::tensor(Frame& frame, std::string_view reference) {
  const Reference r = split_reference(reference);
  if (const auto it = frame.arguments.find(r.node); it != frame.arguments.end()) return it->second;
  auto done = frame.results.find(r.node);
  const auto def = frame.by_name.find(r.node);
  if (done == frame.results.end()) {
    if (def == frame.by_name.end())
      return invalid_model(
          fmt::format("'{}{}' is used but not defined in the graph", frame.prefix, r.node));
    const NodeDef& node = *def->second;
    if (++depth_ > kMaxDepth || frame.in_progress[r.node])
      return at_node(invalid_model("the graph has a cycle, or is nested too deep"), frame, node);
    frame.in_progress[r.node] = true;
    auto results = node_results(frame, node);
    frame.in_progress[r.node] = false;
    --depth_;
    if (!results.ok()) return at_node(std::move(results).error(), frame, node);
    done = frame.results.emplace(node.name, std::move(*results)).first;
  }
  int64_t index = r.index;
  if (!r.output.empty() && def != frame.by_name.end())
    index += output_offset(def->second->op, r.output);
  if (index < 0 || static_cast<size_t>(index) >= done->second.size() ||
      done->second[static_cast<size_t>(index)] == nullptr)
    return invalid_model(fmt::format("'{}{}' has no output {}", frame.prefix, r.node, index));
  return done->second[static_cast<size_t>(index)];
}

Result<std::string> GraphImporter::resource(Frame& frame, std::string_view reference) {
  const Reference r = split_reference(reference);
  if (const auto it = frame.resources.find(r.node); it != frame.resources.end()) return it->second;
  const auto def = frame.by_name.find(r.node);
  if (def == frame.by_name.end())
    return invalid_model(fmt::format("resource '{}{}' is not defined", frame.prefix, r.node));
  const NodeDef& node = *def->second;
  if (is_pass_through(node.op) && !node.inputs.empty() && ++depth_ < kMaxDepth) {
    auto inner = resource(frame, node.inputs[0]);
    --depth_;
    return inner;
  }
  return frame.prefix + std::string(node.name);
}

Result<Value*> GraphImporter::read_variable(Frame& frame, std::string_view reference,
                                            Builder& builder) {
  const std::string name = TRY(resource(frame, reference));
  if (const auto it = variables_.find(name); it != variables_.end()) return it->second;
  if (!model_.variables)
    return not_found(
        fmt::format("variable '{}' has no value: the model has no variables folder", name));
  const auto key = variable_keys_.find(name);
  const std::string wanted = key == variable_keys_.end() ? name : key->second;
  Tensor value = TRY(to_tensor(TRY(model_.variables->read(wanted)), name));
  return variables_[name] = builder.constant(std::move(value));
}

Result<std::vector<Value*>> GraphImporter::call(Frame& caller, const NodeDef& node,
                                                std::string_view function) {
  const FunctionDef* def = nullptr;
  for (const FunctionDef& f : model_.meta.graph.functions)
    if (f.name == function) def = &f;
  if (def == nullptr)
    return invalid_model(fmt::format("function '{}' is not in the model", function));
  Frame frame = make_frame(def->nodes);
  frame.function = def;
  frame.prefix = caller.prefix + std::string(node.name) + "/";
  size_t i = 0;
  for (const std::string_view input : node.inputs) {
    if (input.starts_with("^") || i >= def->inputs.size()) continue;
    const ArgDef& arg = def->inputs[i++];
    if (arg.type == DataType::resource)
      frame.resources[arg.name] = TRY(resource(caller, input));
    else
      frame.arguments[arg.name] = TRY(tensor(caller, input));
  }
  std::vector<Value*> results;
  for (const ArgDef& output : def->outputs) {
    std::string_view reference;
    for (const auto& [name, source] : def->ret)
      if (name == output.name) reference = source;
    if (output.type == DataType::resource || reference.empty()) {
      results.push_back(nullptr);
      continue;
    }
    results.push_back(TRY(tensor(frame, reference)));
  }
  return results;
}

Result<std::vector<Value*>> GraphImporter::node_results(Frame& frame, const NodeDef& node) {
  Builder builder(graph_);
  builder.set_origins({frame.prefix + std::string(node.name)});
  if (node.op == "ReadVariableOp" && !node.inputs.empty()) {
    note(frame, node, Fate::folded);
    return std::vector<Value*>{TRY(read_variable(frame, node.inputs[0], builder))};
  }
  if (node.op == "VariableV2" || node.op == "Variable") {
    note(frame, node, Fate::folded);
    return std::vector<Value*>{TRY(read_variable(frame, node.name, builder))};
  }
  if (node.op == "PartitionedCall" || node.op == "StatefulPartitionedCall") {
    note(frame, node, Fate::folded);
    const AttrValue f = TRY(node.attrs.get("f"));
    return call(frame, node, f.function.name);
  }
  RuleContext context{model_, builder, node, {}};
  for (const std::string_view input : node.inputs)
    if (!input.starts_with("^")) context.inputs.push_back(TRY(tensor(frame, input)));
  if (is_pass_through(node.op)) {
    note(frame, node, Fate::folded);
    return context.inputs;
  }
  const RuleEntry* entry = find_rule(node.op);
  if (entry == nullptr) {
    std::string reason =
        fmt::format("op '{}' has no mapping; cut the model before it with --outputs", node.op);
    note(frame, node, Fate::unsupported, reason);
    return unsupported(std::move(reason));
  }
  if (context.inputs.size() < static_cast<size_t>(entry->min_inputs))
    return invalid_model(
        fmt::format("has {} inputs, needs at least {}", context.inputs.size(), entry->min_inputs));
  auto results = entry->rule(context);
  if (results.ok())
    note(frame, node, node.op == "Const" ? Fate::folded : Fate::mapped);
  else
    note(frame, node, Fate::unsupported, results.error().message);
  return results;
}

Result<std::vector<int64_t>> RuleContext::ints(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= inputs.size())
    return invalid_model(fmt::format("operand {} is missing", i));
  const Value* v = inputs[static_cast<size_t>(i)];
  if (const Tensor* t = v->constant(); t != nullptr && is_int(t->dtype())) return t->to_ints();
  if (v->ints()) {
    std::vector<int64_t> values;
    for (const SymInt& s : *v->ints())
      if (s.value) values.push_back(*s.value);
    if (values.size() == v->ints()->size()) return values;
  }
  return unsupported(fmt::format("operand {} must be known when the model is compiled", i));
}

Result<int64_t> RuleContext::int_scalar(int i) const {
  const auto values = TRY(ints(i));
  if (values.size() == 1) return values[0];
  return invalid_model(fmt::format("operand {} has {} elements, one expected", i, values.size()));
}

Result<DType> to_dtype(DataType dtype) {
  switch (base_dtype(dtype)) {
    case DataType::f32:
      return DType::f32;
    case DataType::f64:
      return DType::f64;
    case DataType::f16:
      return DType::f16;
    case DataType::bf16:
      return DType::bf16;
    case DataType::i8:
    case DataType::qi8:
      return DType::i8;
    case DataType::i16:
    case DataType::qi16:
      return DType::i16;
    case DataType::i32:
    case DataType::qi32:
      return DType::i32;
    case DataType::i64:
      return DType::i64;
    case DataType::u8:
    case DataType::qu8:
      return DType::u8;
    case DataType::u16:
    case DataType::qu16:
      return DType::u16;
    case DataType::u32:
      return DType::u32;
    case DataType::u64:
      return DType::u64;
    case DataType::boolean:
      return DType::boolean;
    case DataType::string:
      return DType::string;
    case DataType::complex64:
      return DType::c64;
    case DataType::complex128:
      return DType::c128;
    default:
      return unsupported(fmt::format("element type {} is not supported", dtype_name(dtype)));
  }
}

Shape to_shape(const ShapeProto& shape, const std::string& input) {
  if (shape.unknown_rank) return Shape::unranked();
  Shape result;
  for (size_t i = 0; i < shape.dims.size(); ++i)
    result.dims().push_back(shape.dims[i] >= 0 ? Dim(shape.dims[i])
                            : i == 0           ? Dim::symbol("batch")
                                               : Dim::symbol(fmt::format("{}_{}", input, i)));
  return result;
}

Result<Tensor> to_tensor(TensorValue value, const std::string& name) {
  auto dtype = to_dtype(value.dtype);
  if (!dtype.ok()) return std::move(dtype).error().at(name);
  const int64_t n = TRY(checked_elements(value.dims, dtype_size(value.dtype)));
  if (*dtype == DType::string) {
    Tensor t = TRY(Tensor::allocate(DType::string, value.dims));
    for (int64_t i = 0; i < n && !value.strings.empty(); ++i)
      t.mutable_data<std::string>()[i] = value.strings[value.splat ? 0 : static_cast<size_t>(i)];
    return t;
  }
  const size_t size = tenon::dtype_size(*dtype);
  if (value.splat) {
    Tensor t = TRY(Tensor::allocate(*dtype, value.dims));
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(static_cast<std::byte*>(t.mutable_raw()) + static_cast<size_t>(i) * size,
                  value.data.bytes.data(), size);
    return t;
  }
  if (value.data.bytes.size() != static_cast<size_t>(n) * size)
    return invalid_model("a constant's data does not match its shape").at(name);
  Tensor t = Tensor::view(*dtype, value.dims, value.data.bytes.data(), value.data.owner);
  const bool aligned = reinterpret_cast<uintptr_t>(value.data.bytes.data()) % size == 0;
  return aligned ? Result<Tensor>(std::move(t)) : t.clone();
}

}  // namespace tenon::tf

#include "chip/program_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/hash.h"
#include "encode/encode.h"
#include "isa/check_program.h"
#include "isa/parse_program.h"
#include "isa/text.h"
#include "lower/lowering.h"

namespace tenon {
namespace {

constexpr std::string_view kStored = "stored";

// The steps of the file's graph are the nodes but for constants, in order.
std::vector<const Node*> steps_of(const Graph& graph) {
  std::vector<const Node*> nodes;
  for (const auto& node : graph.nodes())
    if (!node->is("const")) nodes.push_back(node.get());
  return nodes;
}

Result<FileDeviceTensor> encode_tensor(const DeviceTensor& t) {
  FileDeviceTensor out;
  out.name = t.name;
  out.role = static_cast<uint8_t>(t.role);
  out.dtype = t.dtype;
  out.elements = t.elements;
  out.address = t.address;
  if (t.role != DeviceTensor::Role::constant || !t.make) return out;
  out.recipe = std::make_unique<FileRecipe>();
  // What chips have no tensors of is read by the host, from the graph.
  if (!isa::is_tile_dtype(t.dtype)) {
    out.recipe = nullptr;
  } else if (t.recipe != nullptr) {
    out.recipe->kind = lower::kind_name(t.recipe->kind);
    out.recipe->source = t.recipe->source;
    out.recipe->numbers = lower::numbers_of(*t.recipe);
  } else {
    out.recipe->kind = kStored;
    out.recipe->source = TRY(t.make());
  }
  return out;
}

Result<DeviceTensor> decode_tensor(const FileDeviceTensor& t, int64_t memory) {
  DeviceTensor out;
  out.name = t.name;
  out.dtype = t.dtype;
  out.elements = t.elements;
  out.address = t.address;
  if (t.role > static_cast<uint8_t>(DeviceTensor::Role::activation))
    return invalid_model("it is of no known role");
  out.role = static_cast<DeviceTensor::Role>(t.role);
  if (t.elements > memory || out.bytes() > memory || t.address > memory - out.bytes() ||
      t.address % static_cast<int64_t>(dtype_size(t.dtype)) != 0)
    return invalid_model(fmt::format("its {} bytes at {} are beyond the chip's memory or unaligned",
                                     out.bytes(), t.address));
  if (t.recipe == nullptr) return out;
  if (!isa::is_tile_dtype(t.dtype)) return invalid_model("chips have no such constants");
  if (t.recipe->kind == kStored) {
    const Tensor& data = t.recipe->source;
    if (data.dtype() != t.dtype || data.elements() != t.elements)
      return invalid_model("what is stored for it is of another type or size");
    out.make = [data]() -> Result<Tensor> { return data; };
    return out;
  }
  const auto recipe = std::make_shared<const lower::Recipe>(
      TRY(lower::recipe_of(t.recipe->kind, t.recipe->source, t.recipe->numbers, t.elements)));
  out.recipe = recipe;
  out.make = [recipe, dtype = t.dtype] { return lower::make_constant(*recipe, dtype); };
  return out;
}

// The buffers of a kernel are its operands.
Status check_operands(const DeviceProgram& program, const DeviceStep& step) {
  const auto& buffers = step.program->buffers;
  if (buffers.size() != step.operands.size())
    return invalid_model(
        fmt::format("it has {} buffers and {} operands", buffers.size(), step.operands.size()));
  for (size_t i = 0; i < buffers.size(); ++i) {
    const DeviceTensor& t = program.tensors[static_cast<size_t>(step.operands[i])];
    if (t.dtype != buffers[i].dtype || t.elements < buffers[i].elements)
      return invalid_model(fmt::format(
          "buffer '{}' is {} elements of {}, its tensor {} of {}", buffers[i].name,
          buffers[i].elements, dtype_name(buffers[i].dtype), t.elements, dtype_name(t.dtype)));
  }
  return {};
}

// What SimulatedGraph takes for granted of steps on the host: an operand for every value of the
// node that is a tensor.
Status check_host(const DeviceStep& step) {
  size_t reads = 0, writes = 0;
  for (const Value* v : step.node->inputs()) reads += v != nullptr && !v->type().is_list ? 1 : 0;
  for (int i = 0; i < step.node->output_count(); ++i) {
    const TensorType& type = step.node->output(i)->type();
    writes += !type.is_none() && !type.is_list ? 1 : 0;
  }
  if (reads == step.reads && reads + writes == step.operands.size()) return {};
  return invalid_model("its operands are not those of the node");
}

Result<DeviceStep> decode_step(const FileDeviceStep& s, const DeviceProgram& program,
                               const Node* node) {
  DeviceStep step;
  step.node = node;
  step.operands = s.operands;
  step.reads = s.reads;
  step.reason = s.reason;
  step.tiling = s.tiling;
  if (s.code.empty()) {
    TRY(check_host(step));
    return step;
  }
  step.program = TRY(isa::parse_program(s.code, program.architecture, "its tile program"));
  TRY(isa::check_program(*step.program, program.architecture));
  TRY(check_operands(program, step));
  return step;
}

}  // namespace

uint64_t machine_hash(const Machine& machine) {
  std::string text = machine.name;
  for (const Number& n : machine.numbers) text += fmt::format("\n{}={:.17g}", n.key, n.value);
  return hash64(as_bytes(text));
}

Result<FileDeviceProgram> encode_program(const Graph& graph, const DeviceProgram& program) {
  FileDeviceProgram out;
  out.graph = encode_graph(graph);
  out.peak_bytes = program.peak_bytes;
  out.input_tensors = program.inputs;
  out.output_tensors = program.outputs;
  for (const auto& input : graph.inputs()) out.inputs.push_back(input->type());
  for (const DeviceTensor& t : program.tensors) {
    auto tensor = encode_tensor(t);
    if (!tensor.ok()) return std::move(tensor).error().at(t.name);
    out.tensors.push_back(std::move(*tensor));
  }
  std::unordered_map<const Node*, int> index;
  for (const Node* node : steps_of(graph)) index.emplace(node, static_cast<int>(index.size()));
  for (const DeviceStep& s : program.steps) {
    FileDeviceStep& step = out.steps.emplace_back();
    if (s.program) step.code = isa::print_program(*s.program, program.architecture);
    step.operands = s.operands;
    step.reads = static_cast<uint32_t>(s.reads);
    const auto found = index.find(s.node);
    if (found == index.end()) return internal_error("a kernel is of no node of the graph");
    step.node = found->second;
    step.reason = s.reason;
    step.tiling = s.tiling;
  }
  return out;
}

Result<StoredProgram> decode_program(const FileDeviceProgram& file, const Machine& machine) {
  StoredProgram out;
  out.graph = TRY(decode_graph(file.graph));
  DeviceProgram& program = out.program;
  program.architecture = isa::architecture_of(machine);
  program.inputs = file.input_tensors;
  program.outputs = file.output_tensors;
  program.peak_bytes = file.peak_bytes;
  const int64_t memory = program.architecture.memories[0].bytes;
  if (file.peak_bytes > memory)
    return invalid_model(
        fmt::format("it needs {} bytes of the chip's {}", file.peak_bytes, memory));
  for (const FileDeviceTensor& t : file.tensors) {
    auto tensor = decode_tensor(t, file.peak_bytes);
    if (!tensor.ok()) return std::move(tensor).error().at(fmt::format("tensor '{}'", t.name));
    program.tensors.push_back(std::move(*tensor));
  }
  const std::vector<const Node*> nodes = steps_of(*out.graph);
  for (size_t i = 0; i < file.steps.size(); ++i) {
    const FileDeviceStep& s = file.steps[i];
    const Node* node = nodes[static_cast<size_t>(s.node)];
    auto step = decode_step(s, program, node);
    if (!step.ok()) {
      Error error = std::move(step).error();
      error.code = Code::invalid_model;
      return std::move(error).note(fmt::format("layer '{}' (step {})", lower::layer_of(*node), i));
    }
    program.steps.push_back(std::move(*step));
  }
  return out;
}

}  // namespace tenon

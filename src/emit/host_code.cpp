#include "emit/host_code.h"

#include <fmt/format.h>

#include "emit/kernel.h"
#include "emit/names.h"

namespace tenon::emit {
namespace {

const DeviceTensor& tensor_of(const EmitRequest& request, int tensor) {
  return request.program->tensors[static_cast<size_t>(tensor)];
}

std::string stream_type(const HostParts& parts) {
  return parts.family == "ascend" ? "void*" : "cnrtQueue_t";
}

std::string place(const HostParts& parts, int tensor) {
  return "memory + at::" + parts.places[static_cast<size_t>(tensor)];
}

// {"x", at::x, 4096, Type::f16},
std::string row(const EmitRequest& request, const HostParts& parts, int tensor,
                const std::string& name) {
  const DeviceTensor& t = tensor_of(request, tensor);
  return fmt::format("    {{{}, at::{}, {}, Type::{}}},\n", literal(name),
                     parts.places[static_cast<size_t>(tensor)], t.bytes(),
                     t.dtype == DType::f32 ? "float_" : type_name(t.dtype));
}

std::string table(std::string_view name, const std::string& rows) {
  return fmt::format("const std::vector<TensorInfo> {} = {{\n{}}};\n\n", name, rows);
}

}  // namespace

std::string layers_header(const EmitRequest& request, const HostParts& parts) {
  const DeviceProgram& p = *request.program;
  std::string out = fmt::format(
      "#pragma once\n\n#include <cstddef>\n#include <cstdint>\n{}\n"
      "// Where the tensors lie in the memory of the chip, in bytes. Activations share places.\n"
      "namespace at {{\n",
      parts.family == "ascend" ? "" : "\n#include <cnrt.h>\n");
  for (size_t i = 0; i < p.tensors.size(); ++i)
    if (!parts.places[i].empty())
      out += fmt::format("constexpr size_t {} = {};\n", parts.places[i], p.tensors[i].address);
  out += fmt::format(
      "}}  // namespace at\nconstexpr size_t kMemoryBytes = {};\n\n"
      "// Runs all layers, in order. `memory` holds the inputs and the weights, and then the "
      "outputs.\nvoid RunLayers(uint8_t* memory, {} {});\n\n",
      std::max<int64_t>(p.peak_bytes, 1), stream_type(parts),
      parts.family == "ascend" ? "stream" : "queue");
  return out + "// One function per kernel: starts it, does not wait (kernels/).\n" +
         parts.declarations;
}

std::string layers_source(const EmitRequest& request, const HostParts& parts) {
  const std::string queue = parts.family == "ascend" ? "stream" : "queue";
  std::string out = "#include \"layers.h\"\n\n#include \"host.h\"\n\n";
  for (const Call& c : parts.calls)
    if (c.on_host)
      out +=
          fmt::format("void {}(const std::vector<HostTensor>& in, std::vector<HostTensor>& out);\n",
                      c.function);
  out += fmt::format("\nvoid RunLayers(uint8_t* memory, {} {}) {{\n", stream_type(parts), queue);
  for (const Call& c : parts.calls) {
    out += "  // " + comment_text(c.comment) + "\n";
    if (!c.on_host) {
      out += "  " + c.function + "(";
      for (const int t : c.operands) out += place(parts, t) + ", ";
      out += queue + ");\n";
      continue;
    }
    const auto list = [&](const std::vector<int>& tensors) {
      std::string text;
      for (const int t : tensors)
        text += fmt::format("{}{{at::{}, {}}}", text.empty() ? "" : ", ",
                            parts.places[static_cast<size_t>(t)], tensor_of(request, t).bytes());
      return text;
    };
    out += fmt::format("  RunOnHost({}, memory, {}, {{{}}}, {{{}}});\n", c.function, queue,
                       list(c.reads), list(c.operands));
  }
  return out + "}\n";
}

std::string host_layers_source(const EmittedModel& model, const HostParts& parts) {
  std::string out =
      "// Layers that are left to the host, to be written by hand: tensors come and go as bytes, "
      "in\n"
      "// the order of the node's inputs and outputs that the chip has tensors of.\n"
      "#include \"host.h\"\n\n";
  size_t next = 0;
  for (const Call& c : parts.calls) {
    if (!c.on_host) continue;
    const HostLayer& layer = model.host[next++];
    out += fmt::format(
        "// {}: {}\nvoid {}(const std::vector<HostTensor>&, std::vector<HostTensor>&) {{\n"
        "  NotWritten({}, {});\n}}\n\n",
        comment_text(layer.name), comment_text(layer.reason), c.function, literal(layer.name),
        literal(layer.reason));
  }
  return out;
}

std::string main_source(const EmitRequest& request, const HostParts& parts) {
  const DeviceProgram& p = *request.program;
  std::string out = "#include \"host.h\"\n#include \"layers.h\"\n\n";
  std::string rows;
  for (size_t i = 0; i < p.inputs.size(); ++i)
    if (!parts.places[static_cast<size_t>(p.inputs[i])].empty())
      rows += row(request, parts, p.inputs[i], request.input_names[i]);
  out += table("kInputs", rows);
  rows.clear();
  for (size_t i = 0; i < p.outputs.size(); ++i)
    rows += row(request, parts, p.outputs[i], request.output_names[i]);
  out += table("kOutputs", rows);
  rows.clear();
  for (size_t i = 0; i < p.tensors.size(); ++i)
    if (p.tensors[i].make && !parts.places[i].empty())
      rows += row(request, parts, static_cast<int>(i), p.tensors[i].name);
  out += "// In the order of weights.bin.\n" + table("kWeights", rows);
  out += fmt::format(
      "int main(int argc, char** argv) {{\n"
      "  return RunModel(argc, argv, {{kInputs, kOutputs, kWeights, kMemoryBytes, {}}},\n"
      "                  RunLayers);\n}}\n",
      request.tolerance);
  return out;
}

}  // namespace tenon::emit

#include "chip/simulated_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ir/interpret.h"
#include "isa/check_program.h"
#include "lower/pack.h"
#include "lower/static_ints.h"
#include "ops/cast.h"
#include "ops/random.h"
#include "simulate/elements.h"
#include "simulate/run_program.h"

namespace tenon {
namespace {

// Elements in another type, as the host converts them for the chip and back.
void convert(const std::byte* from, DType from_type, std::byte* to, DType to_type, int64_t count) {
  constexpr int64_t kChunk = 1024;
  const auto in = static_cast<int64_t>(dtype_size(from_type)),
             out = static_cast<int64_t>(dtype_size(to_type));
  std::array<float, kChunk> reals;
  std::array<int64_t, kChunk> ints;
  const bool exact = simulate::is_exact(from_type) && simulate::is_exact(to_type);
  for (int64_t first = 0; first < count; first += kChunk) {
    const int64_t n = std::min(kChunk, count - first);
    if (exact) {
      simulate::load_ints(from + first * in, from_type, 1, n, ints.data());
      simulate::store_ints(ints.data(), n, to_type, 1, to + first * out);
    } else {
      simulate::load_floats(from + first * in, from_type, 1, n, reals.data());
      for (float& x : std::span(reals).first(static_cast<size_t>(n)))
        x = lower::for_chip(x, to_type);
      simulate::store_floats(reals.data(), n, isa::Rounding::even, to_type, 1, to + first * out);
    }
  }
}

bool converts(DType dtype) {
  return isa::is_tile_dtype(dtype);
}

std::string layer_name(const Node& node) {
  return node.origins.empty() ? std::string(node.def().name) : node.origins[0];
}

// Uniform numbers drawn in the chip's type, as TensorFlow draws those of narrow types: rounded to
// it afterwards, one might reach the end that is excluded.
Result<std::vector<Tensor>> draw_uniform(const RandomUniform& op, DType on_chip,
                                         std::span<const Tensor> inputs) {
  op_detail::OpModel<RandomUniform> narrow(op);
  narrow.value.dtype = on_chip;
  const op_detail::OpModel<Cast> widen(Cast{.to = op.dtype});
  return evaluate(widen, TRY(evaluate(narrow, inputs)));
}

Status check(const ChipRunOptions& options) {
  if (options.interrupted && options.interrupted())
    return Error(Code::cancelled, "the run was cancelled");
  return {};
}

}  // namespace

Result<std::unique_ptr<SimulatedGraph>> SimulatedGraph::load(const Graph& graph,
                                                             const DeviceProgram& program) {
  for (const DeviceStep& step : program.steps)
    if (step.program) TRY(isa::check_program(*step.program, program.architecture));
  std::unique_ptr<SimulatedGraph> out(new SimulatedGraph(graph, program));
  // Pages that are never touched take no memory.
  const auto bytes = static_cast<size_t>(std::max<int64_t>(program.peak_bytes, 1));
  out->memory_.reset(static_cast<std::byte*>(std::calloc(bytes, 1)));
  if (out->memory_ == nullptr)
    return resource_exhausted(
        fmt::format("the simulated chip's memory takes {} bytes, which there are not", bytes));
  // What chips have no tensors of, the host has.
  for (size_t i = 0; i < program.tensors.size(); ++i)
    if (program.tensors[i].make && converts(program.tensors[i].dtype))
      TRY(out->store(static_cast<int>(i), TRY(program.tensors[i].make())));
  return out;
}

std::span<std::byte> SimulatedGraph::place(int tensor) {
  const DeviceTensor& t = program_.tensors[static_cast<size_t>(tensor)];
  return {memory_.get() + t.address, static_cast<size_t>(t.bytes())};
}

Status SimulatedGraph::store(int tensor, const Tensor& value) {
  const DeviceTensor& t = program_.tensors[static_cast<size_t>(tensor)];
  if (value.is_list() || !value.defined() || value.elements() != t.elements)
    return internal_error(
        fmt::format("tensor '{}' of the chip has {} elements", t.name, t.elements));
  const auto* data = static_cast<const std::byte*>(value.raw());
  if (value.dtype() == t.dtype && t.dtype != DType::string) {
    if (!place(tensor).empty()) std::memcpy(place(tensor).data(), data, place(tensor).size());
    return {};
  }
  if (converts(value.dtype()) && converts(t.dtype)) {
    convert(data, value.dtype(), place(tensor).data(), t.dtype, t.elements);
    return {};
  }
  // Wider types of the host.
  std::byte* to = place(tensor).data();
  for (int64_t i = 0; i < t.elements; ++i, to += dtype_size(t.dtype)) {
    if (is_float(value.dtype())) {
      const float real = lower::for_chip(static_cast<float>(value.real_at(i)), t.dtype);
      simulate::store_floats(&real, 1, isa::Rounding::even, t.dtype, 1, to);
    } else if (is_int(value.dtype())) {
      const int64_t number = value.int_at(i);
      simulate::store_ints(&number, 1, t.dtype, 1, to);
    } else {
      return unsupported(fmt::format("chips have no tensors of {}", dtype_name(value.dtype())));
    }
  }
  return {};
}

Result<Tensor> SimulatedGraph::load(int tensor, const TensorType& type) {
  const DeviceTensor& t = program_.tensors[static_cast<size_t>(tensor)];
  std::vector<int64_t> dims;
  for (const Dim& d : type.shape.dims()) dims.push_back(d.size_or(1));
  Tensor value = TRY(Tensor::allocate(type.dtype, dims));
  if (value.elements() != t.elements)
    return internal_error(
        fmt::format("tensor '{}' of the chip has {} elements", t.name, t.elements));
  auto* to = static_cast<std::byte*>(value.mutable_raw());
  if (type.dtype == t.dtype) {
    if (value.byte_size() > 0) std::memcpy(to, place(tensor).data(), value.byte_size());
  } else if (converts(type.dtype) && converts(t.dtype)) {
    convert(place(tensor).data(), t.dtype, to, type.dtype, t.elements);
  } else if (type.dtype == DType::f64) {
    std::vector<float> reals(static_cast<size_t>(t.elements));
    simulate::load_floats(place(tensor).data(), t.dtype, 1, t.elements, reals.data());
    std::ranges::copy(reals, value.mutable_data<double>());
  } else if (is_unsigned_int(type.dtype)) {
    std::vector<int64_t> ints(static_cast<size_t>(t.elements));
    simulate::load_ints(place(tensor).data(), t.dtype, 1, t.elements, ints.data());
    const size_t size = dtype_size(type.dtype);
    for (size_t i = 0; i < ints.size(); ++i) std::memcpy(to + i * size, &ints[i], size);
  } else {
    return unsupported(fmt::format("chips have no tensors of {}", dtype_name(type.dtype)));
  }
  return value;
}

Result<Tensor> SimulatedGraph::value_of(const Value* value, int tensor) {
  if (value->constant() != nullptr) return *value->constant();
  if (const auto found = on_host_.find(value); found != on_host_.end()) return found->second;
  if (auto known = lower::known_ints(*value)) return std::move(*known);
  return load(tensor, value->type());
}

Status SimulatedGraph::run_kernel(const DeviceStep& step, const ChipRunOptions& options) {
  std::vector<simulate::GlobalBuffer> buffers;
  for (const int tensor : step.operands) buffers.push_back({place(tensor)});
  return simulate::run_program(*step.program, program_.architecture, buffers,
                               {.pool = options.pool,
                                .check_order = options.check_order,
                                .max_work = options.max_work,
                                .writes_all = step.node->is("custom"),
                                .places = step.places,
                                .peaks = options.peaks});
}

// The step's operands are the node's inputs and outputs that chips have tensors of, in order.
Status SimulatedGraph::run_host(const DeviceStep& step, const ChipRunOptions& options) {
  const Node& node = *step.node;
  std::vector<Tensor> inputs;
  size_t next = 0;
  for (const Value* v : node.inputs()) {
    const bool on_chip = v != nullptr && !v->type().is_list;
    const int tensor = on_chip ? step.operands[next++] : -1;
    inputs.push_back(v == nullptr ? Tensor() : on_chip ? TRY(value_of(v, tensor)) : on_host_[v]);
  }
  InterpretOptions interpret;
  if (options.max_loop_iterations > 0) interpret.max_loop_iterations = options.max_loop_iterations;
  if (options.interrupted) interpret.check = [&] { return check(options); };
  const auto* random = node.as<RandomUniform>();
  const auto results =
      random != nullptr && is_float(random->dtype)
          ? draw_uniform(*random, program_.tensors[static_cast<size_t>(step.operands.back())].dtype,
                         inputs)
          : interpret_node(node, inputs, interpret);
  if (!results.ok())
    return Error(results.error()).note(fmt::format("on the host, for '{}'", layer_name(node)));
  for (int i = 0; i < node.output_count(); ++i) {
    const Value* v = node.output(i);
    const Tensor& result = (*results)[static_cast<size_t>(i)];
    on_host_[v] = result;
    if (v->type().is_none() || v->type().is_list) continue;
    const int tensor = step.operands[next++];
    // What chips have no tensors of, only the host reads.
    if (converts(program_.tensors[static_cast<size_t>(tensor)].dtype) && v->shape().is_static())
      TRY(store(tensor, result));
  }
  return {};
}

Result<std::vector<Tensor>> SimulatedGraph::run(std::span<const Tensor> inputs,
                                                const ChipRunOptions& options) {
  if (inputs.size() != graph_.inputs().size())
    return invalid_argument(fmt::format("the model takes {} inputs, {} were given",
                                        graph_.inputs().size(), inputs.size()));
  on_host_.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    on_host_[graph_.inputs()[i].get()] = inputs[i];
    if (!inputs[i].is_list() &&
        converts(program_.tensors[static_cast<size_t>(program_.inputs[i])].dtype))
      TRY(store(program_.inputs[i], inputs[i]));
  }
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    const DeviceStep& step = program_.steps[i];
    TRY(check(options));
    TRY(step.program ? run_kernel(step, options) : run_host(step, options));
  }
  std::vector<Tensor> outputs;
  for (size_t i = 0; i < graph_.outputs().size(); ++i)
    outputs.push_back(TRY(value_of(graph_.outputs()[i], program_.outputs[i])));
  return outputs;
}

}  // namespace tenon

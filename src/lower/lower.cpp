// The way of a graph to a device program: op by op, then places in the global memory.
#include <fmt/format.h>

#include <algorithm>

#include "isa/check_program.h"
#include "lower/lowering.h"
#include "lower/static_ints.h"

namespace tenon {
namespace lower {
namespace {

// Whether a chip can have the value.
Status check(const Value* v) {
  const TensorType& type = v->type();
  if (type.is_list || !isa::is_tile_dtype(Lowering::device_dtype(type.dtype, DType::f32)))
    return unsupported(fmt::format("chips have no tensors like {}", type.to_string()));
  if (!type.shape.is_static())
    return unsupported(fmt::format("the size of {} depends on data", type.to_string()));
  return {};
}

// What is done for an op, by its name; what is not here is tried as pointwise.
Status lower_node(Lowering& lowering, const Node& node) {
  using Rule = Status (*)(Lowering&, const Node&);
  static constexpr std::pair<std::string_view, Rule> kRules[] = {
      {"conv", lower_product},
      {"matmul", lower_product},
      {"matmul_nbits", lower_product},
      {"conv_transpose", lower_conv_transpose},
      {"attention", lower_attention},
      {"lstm", lower_recurrent},
      {"gru", lower_recurrent},
      {"rnn", lower_recurrent},
      {"softmax", lower_rows},
      {"log_softmax", lower_rows},
      {"layer_norm", lower_rows},
      {"rms_norm", lower_rows},
      {"instance_norm", lower_image_norm},
      {"group_norm", lower_image_norm},
      {"sum", lower_reduce},
      {"mean", lower_reduce},
      {"reduce_max", lower_reduce},
      {"reduce_min", lower_reduce},
      {"sum_square", lower_reduce},
      {"log_sum_exp", lower_reduce},
      {"any", lower_reduce},
      {"all", lower_reduce},
      {"cumsum", lower_cumulative},
      {"cumprod", lower_cumulative},
      {"max_pool", lower_window},
      {"max_pool_index", lower_pool_index},
      {"avg_pool", lower_window},
      {"resize", lower_resize},
      {"scale_and_translate", lower_scale_and_translate},
      {"arg_max", lower_selection},
      {"arg_min", lower_selection},
      {"top_k", lower_top_k},
      {"one_hot", lower_selection},
      {"quantized_conv", lower_quantized},
      {"quantized_matmul", lower_quantized},
      {"byte_lookup", lower_byte_lookup},
      {"gather", lower_gather},
      {"gather_nd", lower_gather_nd},
      {"gather_elements", lower_gather_elements},
      {"scatter_nd", lower_scatter},
      {"scatter_elements", lower_scatter},
      {"segment_reduce", lower_scatter},
      {"reverse", lower_reverse},
      {"grid_sample", lower_grid_sample},
      {"roi_align", lower_roi_align},
      {"lrn", lower_lrn},
      {"transpose", lower_movement},
      {"concat", lower_movement},
      {"slice", lower_movement},
      {"strided_slice", lower_movement},
      {"expand", lower_movement},
      {"pad", lower_movement},
      {"split", lower_movement},
      {"tile", lower_movement},
      {"depth_to_space", lower_movement},
      {"space_to_depth", lower_movement},
      {"custom", lower_custom},
  };
  for (const Value* v : node.inputs())
    if (v != nullptr) TRY(check(v));
  for (int i = 0; i < node.output_count(); ++i) TRY(check(node.output(i)));
  const auto is_empty = [](const Value* v) {
    const auto dims = v == nullptr ? std::vector<int64_t>() : dims_of(v);
    return std::ranges::find(dims, 0) != dims.end();
  };
  for (const Value* v : node.inputs())
    if (is_empty(v)) return unsupported("an operand has no elements");
  if (is_empty(node.output())) return unsupported("its result has no elements");
  for (const auto& [name, rule] : kRules)
    if (node.is(name)) return rule(lowering, node);
  return lower_pointwise(lowering, node);
}

}  // namespace
}  // namespace lower

namespace {

bool has_bf16(const Machine& machine) {
  return std::visit([](const auto& chip) { return chip.macs_bf16 > 0; }, machine.chip);
}

}  // namespace

Result<DType> device_real(std::string_view precision, bool timing_only) {
  if (precision == "fp16" || precision == "float16" || precision == "force_float16")
    return DType::f16;
  if (precision == "fp32" || precision == "float32" || precision == "force_float32")
    return DType::f32;
  if (precision == "bf16" || precision == "bfloat16") return DType::bf16;
  if (timing_only && (precision == "int8" || precision.starts_with("qint8"))) return DType::i8;
  return unsupported(
      fmt::format("'{}' is no precision of simulated chips; there are fp16, bf16{} fp32", precision,
                  timing_only ? ", int8 and" : " and"));
}

std::string_view precision_name(DType real) {
  switch (real) {
    case DType::f32:
      return "fp32";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "int8";
    default:
      return "fp16";
  }
}

bool rounds_to_integers(const Graph& graph) {
  constexpr std::string_view kRounding[] = {"quantize_linear", "dynamic_quantize_linear",
                                            "fake_quant", "quantized_conv", "quantized_matmul"};
  return std::ranges::any_of(graph.nodes(), [&](const auto& node) {
    return std::ranges::find(kRounding, node->def().name) != std::end(kRounding);
  });
}

Result<DeviceProgram> lower_graph(const Graph& graph, const Machine& machine,
                                  const LowerOptions& options) {
  if (options.real == DType::bf16 && !has_bf16(machine))
    return unsupported(
        fmt::format("{} has no products of bf16; there are fp16 and fp32", machine.name));
  // Where a model says what is bytes, it says what is not, too.
  LowerOptions of_model = options;
  const auto is_quantized = [](const auto& node) {
    return node->is("quantized_conv") || node->is("quantized_matmul");
  };
  if (options.real == DType::i8 && std::ranges::any_of(graph.nodes(), is_quantized))
    of_model.real = DType::f16;
  lower::Lowering lowering(machine, of_model);
  std::vector<int> inputs, outputs;
  for (const auto& v : graph.inputs()) inputs.push_back(lowering.tensor_of(v.get()));
  for (const auto& node : graph.nodes()) {
    if (node->is("const") || lower::is_static_int(*node)) continue;
    const bool is_view = node->def().has(kView) || node->is("identity");
    if (is_view && lower::check(node->output()).ok() && lower::check(node->input(0)).ok()) {
      lowering.alias(node->output(), node->input(0));
      continue;
    }
    lowering.use_cores_for(*node);
    Status status = lower::lower_node(lowering, *node);
    if (status.ok()) continue;
    if (status.error().code == Code::internal) return std::move(status).error();
    lowering.add_host(*node, status.error().message);
  }
  for (const Value* v : graph.outputs()) outputs.push_back(lowering.tensor_of(v));
  DeviceProgram program = lowering.take();
  program.inputs = std::move(inputs);
  program.outputs = std::move(outputs);
  for (const int t : program.outputs) {
    auto& role = program.tensors[static_cast<size_t>(t)].role;
    if (role == DeviceTensor::Role::activation) role = DeviceTensor::Role::output;
  }
  TRY(lower::place_tensors(program));
  return program;
}

}  // namespace tenon

// Rules of the recurrent layers of cuDNN, whose weights are one opaque vector: the matrices of all
// layers, then the biases of all. A layer has its directions one after the other, a direction the
// input matrices of its gates and then the recurrent ones, each [units, inputs]; the biases go
// alike. Gates: input, forget, cell, output; reset, update, candidate.
#include <fmt/format.h>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

using Axes = std::vector<int64_t>;

struct Stack {
  std::string op;  // of the core
  int64_t gates = 1, layers = 1, directions = 1, inputs = 0, units = 0;

  int64_t inputs_of(int64_t layer) const { return layer == 0 ? inputs : directions * units; }
  // The places in the vector of what direction d of a layer has. The recurrent matrices come behind
  // the input matrices, the recurrent biases behind the input biases.
  int64_t matrices_at(int64_t layer, int64_t d) const {
    int64_t at = 0;
    for (int64_t l = 0; l < layer; ++l) at += directions * matrices(l);
    return at + d * matrices(layer);
  }
  int64_t biases_at(int64_t layer, int64_t d) const {
    return matrices_at(layers, 0) + (layer * directions + d) * 2 * gates * units;
  }
  int64_t size() const { return biases_at(layers, 0); }

 private:
  int64_t matrices(int64_t layer) const { return gates * units * (inputs_of(layer) + units); }
};

// What the attributes tell. Sizes beyond reason are refused, so that products cannot overflow.
Result<Stack> stack_of(const RuleContext& c, int64_t layers, int64_t units, int64_t inputs) {
  constexpr int64_t kMost = 1 << 16;
  Stack stack;
  const std::string_view mode = TRY(c.node.attrs.get_string("rnn_mode", "lstm"));
  if (mode == "lstm")
    stack.op = "lstm", stack.gates = 4;
  else if (mode == "gru")
    stack.op = "gru", stack.gates = 3;
  else if (mode == "rnn_tanh" || mode == "rnn_relu")
    stack.op = "rnn";
  else
    return unsupported(fmt::format("rnn_mode '{}'", mode));
  if (TRY(c.node.attrs.get_string("input_mode", "linear_input")) != "linear_input")
    return unsupported("input without a matrix; only input_mode 'linear_input' is");
  if (TRY(c.node.attrs.get_int("num_proj", 0)) != 0)
    return unsupported("projected states (num_proj)");
  if (TRY(c.node.attrs.get_string("direction", "unidirectional")) == "bidirectional")
    stack.directions = 2;
  for (const int64_t size : {layers, units, inputs})
    if (size < 1 || size > kMost)
      return invalid_model(fmt::format("{} layers of {} units and {} inputs are not possible",
                                       layers, units, inputs));
  stack.layers = layers, stack.units = units, stack.inputs = inputs;
  return stack;
}

Result<Value*> part(RuleContext& c, Value* params, int64_t at, const Axes& shape) {
  int64_t size = 1;
  for (const int64_t d : shape) size *= d;
  Value* flat =
      TRY(c.builder.op("slice", {params, c.builder.ints({at}), c.builder.ints({at + size})}));
  return c.builder.op("reshape", {flat, c.builder.ints(shape)});
}

// The core wants update, reset, candidate.
Result<Value*> in_order(RuleContext& c, const Stack& stack, Value* gates) {
  if (stack.op != "gru") return gates;
  return c.builder.op("gather", {gates, c.builder.ints({1, 0, 2})}, {{"axis", int64_t{0}}});
}

// The gates' matrices [units, inputs] as one of [1, inputs, gates * units].
Result<Value*> matrix(RuleContext& c, const Stack& stack, Value* params, int64_t at,
                      int64_t inputs) {
  Value* gates = TRY(part(c, params, at, {stack.gates, stack.units, inputs}));
  gates = TRY(in_order(c, stack, gates));
  gates = TRY(c.builder.op("transpose", {gates}, {{"perm", Axes{2, 0, 1}}}));
  return c.builder.op("reshape", {gates, c.builder.ints({1, inputs, stack.gates * stack.units})});
}

Result<Value*> bias(RuleContext& c, const Stack& stack, Value* params, int64_t at) {
  Value* gates = TRY(in_order(c, stack, TRY(part(c, params, at, {stack.gates, stack.units}))));
  return c.builder.op("reshape", {gates, c.builder.ints({1, stack.gates * stack.units})});
}

// The operands w, r, b and rb of a layer.
Result<std::vector<Value*>> weights(RuleContext& c, const Stack& stack, Value* params,
                                    int64_t layer) {
  const int64_t inputs = stack.inputs_of(layer), gates = stack.gates * stack.units;
  std::vector<Value*> of[4];
  for (int64_t d = 0; d < stack.directions; ++d) {
    const int64_t at = stack.matrices_at(layer, d), biases = stack.biases_at(layer, d);
    of[0].push_back(TRY(matrix(c, stack, params, at, inputs)));
    of[1].push_back(TRY(matrix(c, stack, params, at + gates * inputs, stack.units)));
    of[2].push_back(TRY(bias(c, stack, params, biases)));
    of[3].push_back(TRY(bias(c, stack, params, biases + gates)));
  }
  std::vector<Value*> joined;
  for (const auto& parts : of) joined.push_back(parts.size() == 1 ? parts[0] : TRY(join(c, parts)));
  if (stack.op == "gru") return joined;
  Value* sum = TRY(c.builder.op("add", {joined[2], joined[3]}));
  return std::vector<Value*>{joined[0], joined[1], sum};
}

Result<Node*> layer_node(RuleContext& c, const Stack& stack, std::vector<Value*> operands) {
  std::vector<Builder::Attr> attrs;
  if (stack.directions == 2) attrs.push_back({"direction", std::string("bidirectional")});
  if (stack.op == "gru") attrs.push_back({"linear_before_reset", true});
  if (TRY(c.node.attrs.get_string("rnn_mode", "lstm")) == "rnn_relu")
    attrs.push_back({"activation", std::string("relu")});
  return c.builder.node(stack.op, std::move(operands), std::move(attrs));
}

// (x, h, c, params [, lengths]): outputs, last h, last c, and two that only training reads.
Values cudnn_rnn(RuleContext& c) {
  Builder& b = c.builder;
  const bool time_major = TRY(c.node.attrs.get_bool("time_major", true));
  if (TRY(c.node.attrs.get_bool("is_training", true)) &&
      TRY(c.node.attrs.get_float("dropout", 0)) > 0)
    return unsupported("dropout as in training; export the model for inference");
  // Batch and steps, or batch and layers, change places.
  const auto turned = [&](Value* v) -> Result<Value*> {
    if (TRY(rank_of(v)) != 3) return invalid_model("input and states must have three dimensions");
    return time_major ? v : b.op("transpose", {v}, {{"perm", Axes{1, 0, 2}}});
  };
  Value* x = TRY(turned(c.inputs[0]));
  Value* h = TRY(turned(c.inputs[1]));
  if (!x->shape()[2].known() || !h->shape()[0].known() || !h->shape()[2].known())
    return unsupported("the number of layers, of units or of inputs is not known");
  Stack stack = TRY(stack_of(c, h->shape()[0].size(), h->shape()[2].size(), x->shape()[2].size()));
  if (stack.layers % stack.directions != 0)
    return invalid_model("the number of states is no multiple of the directions");
  stack.layers /= stack.directions;
  Value* params = TRY(flatten(c, c.inputs[3]));
  if (params->shape()[0].known() && params->shape()[0].size() < stack.size())
    return invalid_model(fmt::format("{} weights are needed, there are {}", stack.size(),
                                     params->shape()[0].size()));
  const bool has_cell = stack.op == "lstm";
  Value* cell = has_cell ? TRY(turned(c.inputs[2])) : nullptr;
  std::vector<Value*> last_h, last_c;
  for (int64_t layer = 0; layer < stack.layers; ++layer) {
    const auto rows = [&](Value* v) {
      const int64_t first = layer * stack.directions;
      return b.op("slice", {v, b.ints({first}), b.ints({first + stack.directions})});
    };
    std::vector<Value*> operands = TRY(weights(c, stack, params, layer));
    operands.insert(operands.begin(), x);
    operands.push_back(c.inputs.size() > 4 ? c.inputs[4] : nullptr);
    operands.push_back(TRY(rows(h)));
    if (has_cell) operands.push_back(TRY(rows(cell)));
    Node* made = TRY(layer_node(c, stack, std::move(operands)));
    last_h.push_back(made->output(1));
    if (has_cell) last_c.push_back(made->output(2));
    // [T, D, B, H] to [T, B, D * H]
    Value* y = TRY(b.op("transpose", {made->output(0)}, {{"perm", Axes{0, 2, 1, 3}}}));
    Value* steps = TRY(shape_of(c, y, 0, 2));
    Value* shape = TRY(join(c, {steps, b.ints({stack.directions * stack.units})}));
    x = TRY(b.op("reshape", {y, shape}));
  }
  std::vector<Value*> out{TRY(turned(x)), TRY(turned(TRY(join(c, last_h)))), nullptr, nullptr,
                          nullptr};
  if (has_cell) out[2] = TRY(turned(TRY(join(c, last_c))));
  return out;
}

// (layers, units, inputs) as the other ops have them.
Result<Stack> constant_stack(RuleContext& c) {
  return stack_of(c, TRY(c.int_scalar(0)), TRY(c.int_scalar(1)), TRY(c.int_scalar(2)));
}

Values params_size(RuleContext& c) {
  const int64_t size = TRY(constant_stack(c)).size();
  return one(cast_to(c, c.builder.ints({size}), TRY(dtype_attr(c, "S", DataType::i32))));
}

// All matrices of gates, then all their biases.
Values params_to_canonical(RuleContext& c) {
  const Stack stack = TRY(constant_stack(c));
  if (stack.layers > 64) return unsupported("more than 64 layers");
  std::vector<Value*> matrices, biases;
  for (int64_t layer = 0; layer < stack.layers; ++layer)
    for (int64_t d = 0; d < stack.directions; ++d) {
      int64_t at = stack.matrices_at(layer, d), bias_at = stack.biases_at(layer, d);
      for (int64_t k = 0; k < 2 * stack.gates; ++k) {
        const int64_t inputs = k < stack.gates ? stack.inputs_of(layer) : stack.units;
        matrices.push_back(TRY(part(c, c.inputs[3], at, {stack.units, inputs})));
        biases.push_back(TRY(part(c, c.inputs[3], bias_at, {stack.units})));
        at += stack.units * inputs;
        bias_at += stack.units;
      }
    }
  matrices.insert(matrices.end(), biases.begin(), biases.end());
  return matrices;
}

Values canonical_to_params(RuleContext& c) {
  std::vector<Value*> parts;
  for (size_t i = 3; i < c.inputs.size(); ++i) parts.push_back(TRY(flatten(c, c.inputs[i])));
  return one(join(c, parts));
}

// Which of a choice of devices the model is on: functions with a form for GPUs run their other one.
Values device_index(RuleContext& c) {
  const AttrValue names = TRY(c.node.attrs.get("device_names"));
  const auto cpu = std::ranges::find(names.strings, "CPU");
  const auto index = static_cast<int32_t>(cpu - names.strings.begin());
  return std::vector<Value*>{c.builder.constant(Tensor::scalar(index))};
}

constexpr RuleEntry kRules[] = {
    {"CudnnRNN", cudnn_rnn, 4},
    {"CudnnRNNCanonicalToParams", canonical_to_params, 5},
    {"CudnnRNNCanonicalToParamsV2", canonical_to_params, 5},
    {"CudnnRNNParamsSize", params_size, 3},
    {"CudnnRNNParamsToCanonical", params_to_canonical, 4},
    {"CudnnRNNParamsToCanonicalV2", params_to_canonical, 4},
    {"CudnnRNNV2", cudnn_rnn, 4},
    {"CudnnRNNV3", cudnn_rnn, 5},
    {"DeviceIndex", device_index, 0},
};

}  // namespace

std::span<const RuleEntry> cudnn_rules() {
  return kRules;
}

}  // namespace tenon::tf

// Rules of ops that carry a state from one call to the next: causal convolution and linear
// attention, and the gated activation that goes with them.
#include <fmt/format.h>

#include <cmath>

#include "import/onnx/attention.h"
#include "import/onnx/graph_importer.h"
#include "import/onnx/rule_support.h"
#include "import/onnx/windows.h"

namespace tenon::onnx {
namespace {

// x * sigmoid(alpha x).
Result<Value*> swish(const RuleContext& c, Value* x, double alpha) {
  if (alpha == 1) return c.op("silu", {x});
  Value* scaled = TRY(c.op("mul", {x, TRY(c.scalar_like(x, alpha))}));
  return c.op("mul", {x, TRY(c.op("sigmoid", {scaled}))});
}

Result<Values> swiglu(RuleContext& c) {
  Value* gate = TRY(swish(c, c.in(0), TRY(c.get_float("alpha", 1))));
  return one(c.op("mul", {gate, c.in(1)}));
}

// A depthwise convolution over the state (the last inputs before) and the input.
Result<Values> causal_conv(RuleContext& c) {
  if (TRY(c.rank(0)) != 3 || TRY(c.rank(1)) != 3)
    return invalid_model("the input and the weights need 3 dimensions");
  const Dim channels = c.in(1)->shape()[0], taps = c.in(1)->shape()[2];
  if (!channels.known() || !taps.known() || channels.size() < 1 || taps.size() < 1)
    return unsupported("the shape of the weights is not known");
  const int64_t before = taps.size() - 1;
  Value* x = c.in(0);
  if (c.has(3))
    x = TRY(c.op("concat", {c.in(3), x}, {{"axis", int64_t{2}}}));
  else
    x = TRY(c.op("pad", {x, c.builder.ints({0, 0, before, 0, 0, 0})}));
  Value* w = TRY(c.transpose(c.in(1), {2, 1, 0}));
  Value* y = TRY(
      c.op("conv", {TRY(to_channels_last(c, x, 3)), w, c.in(2)}, {{"groups", channels.size()}}));
  y = TRY(to_channels_first(c, y, 3));
  const std::string given = TRY(c.get_string("activation", "none"));
  // A view: gcc 12 misreads the short string's buffer as uninitialised.
  const std::string_view activation = given.c_str();
  if (activation == "silu" || activation == "swish")
    y = TRY(swish(c, y, 1));
  else if (activation != "none")
    return invalid_model(fmt::format("attribute 'activation' is '{}'", activation));
  if (!c.wants(1)) return Values{y};
  // Slice counts from the end; the whole length where nothing is kept gives nothing.
  Value* length = TRY(size_of(c, x, 2));
  Value* from = TRY(c.op("sub", {length, c.builder.ints({before})}));
  return Values{y, TRY(c.op("slice", {x, from, length}, {{"axes", std::vector<int64_t>{2}}}))};
}

// What one step of linear attention reads, [B, H, D] each, and the state [B, H, K, V].
struct LinearStep {
  Value* q = nullptr;
  Value* k = nullptr;
  Value* v = nullptr;
  Value* decay = nullptr;  // null: none
  Value* beta = nullptr;   // null: none
};

struct LinearLayer {
  int64_t queries = 1, keys = 1;  // heads
  int64_t key_size = 1, value_size = 1;
  double scale = 1;
};

// The next state and the output [B, H_q, V] of a step, in f32.
Result<Values> linear_step(const RuleContext& in, const LinearLayer& layer, LinearStep s,
                           Value* state) {
  const auto column = [&](Value* x) {
    return in.op("expand_dims", {x}, {{"axes", std::vector<int64_t>{3}}});
  };
  const auto row = [&](Value* x) {
    return in.op("expand_dims", {x}, {{"axes", std::vector<int64_t>{2}}});
  };
  if (s.decay != nullptr)
    state = TRY(in.op("mul", {state, TRY(column(TRY(in.op("exp", {s.decay}))))}));
  Value* v = TRY(row(s.v));
  if (s.beta != nullptr) {
    Value* found = TRY(in.op("matmul", {TRY(row(s.k)), state}));
    v = TRY(in.op("mul", {TRY(in.op("sub", {v, found})), TRY(column(s.beta))}));
  }
  state = TRY(in.op("add", {state, TRY(in.op("mul", {TRY(column(s.k)), v}))}));
  // Queries that share a state stand next to each other.
  Value* q = TRY(in.op("reshape", {s.q, in.builder.ints({0, layer.keys, layer.queries / layer.keys,
                                                         layer.key_size})}));
  Value* y = TRY(in.op("matmul", {q, state}));
  y = TRY(in.op("reshape", {y, in.builder.ints({0, layer.queries * layer.value_size, 1})}));
  y = TRY(in.op("squeeze", {y}, {{"axes", std::vector<int64_t>{2}}}));
  return Values{state, TRY(in.op("mul", {y, TRY(in.scalar(DType::f32, layer.scale))}))};
}

Result<LinearLayer> linear_layer(const RuleContext& c) {
  LinearLayer layer;
  layer.queries = TRY(c.get_int("q_num_heads"));
  layer.keys = TRY(c.get_int("kv_num_heads"));
  for (const int i : {0, 1, 2})
    if (TRY(c.rank(i)) != 3 || !c.in(i)->shape()[2].known())
      return unsupported("query, key and value need 3 dimensions, the last one known");
  const int64_t q = c.in(0)->shape()[2].size(), v = c.in(2)->shape()[2].size();
  if (layer.keys < 1 || layer.queries < 1 || layer.queries % layer.keys != 0 ||
      q % layer.queries != 0 || v % layer.keys != 0 || q == 0)
    return invalid_model(fmt::format("{} and {} heads do not fit widths {} and {}", layer.queries,
                                     layer.keys, q, v));
  layer.key_size = q / layer.queries;
  layer.value_size = v / layer.keys;
  layer.scale = TRY(c.get_float("scale", 0));
  if (layer.scale == 0) layer.scale = 1 / std::sqrt(static_cast<double>(layer.key_size));
  return layer;
}

// A sequence [B, T, H * D] in f32 as [T, B, H, D].
Result<Value*> steps(const RuleContext& c, Value* x, int64_t heads) {
  if (x == nullptr) return x;
  x = TRY(c.cast(x, DType::f32));
  x = TRY(c.op("reshape", {x, c.builder.ints({0, 0, heads, -1})}));
  return c.transpose(x, {1, 0, 2, 3});
}

// A loop over time whose state is [B, H, K, V].
Result<Values> linear_attention(RuleContext& c) {
  const LinearLayer layer = TRY(linear_layer(c));
  Value* beta = c.in(5);
  int64_t beta_heads = layer.keys;
  if (beta != nullptr && TRY(c.rank(5)) == 3 && beta->shape()[2] == Dim(1)) beta_heads = 1;
  Values sequences{TRY(steps(c, c.in(0), layer.queries)), TRY(steps(c, c.in(1), layer.keys)),
                   TRY(steps(c, c.in(2), layer.keys)), TRY(steps(c, c.in(4), layer.keys)),
                   TRY(steps(c, beta, beta_heads))};
  Value* state = c.in(3);
  const DType state_type = state != nullptr ? state->dtype() : c.in(0)->dtype();
  if (state != nullptr) {
    state = TRY(c.cast(state, DType::f32));
  } else {
    Value* shape = TRY(join(c, {TRY(shape_of(c, c.in(0), 0, 1)),
                                c.builder.ints({layer.keys, layer.key_size, layer.value_size})}));
    state = TRY(c.op("expand", {TRY(c.scalar(DType::f32, 0)), shape}));
  }
  const TensorType item{DType::f32, Shape{c.in(0)->shape()[0], layer.queries * layer.value_size}};
  Value* list = TRY(c.op("list_empty", {}, {{"element", item}}));
  Values operands{c.int_scalar(0), TRY(c.dim(c.in(0), 1)), state, list};
  for (Value* v : sequences)
    if (v != nullptr) operands.push_back(v);
  std::vector<std::unique_ptr<Graph>> regions;
  for (const bool is_body : {false, true}) {
    regions.push_back(std::make_unique<Graph>(is_body ? "step" : "condition"));
    Graph& graph = *regions.back();
    Builder builder(graph);
    builder.set_origins({node_name(c.node)});
    const RuleContext in{c.importer, c.scope, builder, c.node, c.opset, {}, 0};
    Values inputs;
    for (const Value* v : operands) inputs.push_back(graph.add_input(v->type()));
    if (!is_body) {
      graph.set_outputs({TRY(in.op("less", {inputs[0], inputs[1]}))});
      continue;
    }
    size_t next = 4;
    const auto step = [&](size_t i) -> Result<Value*> {
      if (sequences[i] == nullptr) return static_cast<Value*>(nullptr);
      return in.op("gather", {inputs[next++], inputs[0]}, {{"axis", int64_t{0}}});
    };
    LinearStep s;
    s.q = TRY(step(0));
    s.k = TRY(step(1));
    s.v = TRY(step(2));
    s.decay = TRY(step(3));
    s.beta = TRY(step(4));
    const Values results = TRY(linear_step(in, layer, s, inputs[2]));
    inputs[0] = TRY(in.op("add", {inputs[0], in.int_scalar(1)}));
    inputs[2] = results[0];
    inputs[3] = TRY(in.op("list_push", {inputs[3], results[1]}));
    graph.set_outputs(std::move(inputs));
  }
  const Node* loop = TRY(c.builder.node("while", operands, {}, std::move(regions)));
  Value* y = TRY(c.op("list_stack", {loop->output(3)}, {{"element", item}}));
  y = TRY(c.cast(TRY(c.transpose(y, {1, 0, 2})), c.in(0)->dtype()));
  return Values{y, TRY(c.cast(loop->output(2), state_type))};
}

constexpr Rule kRules[] = {
    {"CausalConvWithState", {2, 4}, causal_conv},
    {"LinearAttention", {3, 6}, linear_attention},
    {"SwiGLU", 2, swiglu},
};

}  // namespace

std::span<const Rule> state_rules() {
  return kRules;
}

}  // namespace tenon::onnx

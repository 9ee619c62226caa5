// Rules of com.microsoft: mixtures of experts, of real numbers and of quantised weights.
#include <fmt/format.h>

#include "import/onnx/quantized.h"
#include "import/onnx/rule_support.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "com.microsoft";
using Axes = std::vector<int64_t>;

// The operands of a layer of all experts: weights [experts, results, features], or null.
struct Layer {
  Value* weights = nullptr;
  Value* bias = nullptr;  // [experts, results], or null
};

// [tokens, experts]: how much each expert counts; 0 for all but the k most probable. `weights`
// replaces the probabilities once the experts are chosen; it may be null.
Result<Value*> routing(RuleContext& c, Value* logits, Value* weights) {
  if (TRY(c.get_bool("use_sparse_mixer", false))) return unsupported("routing by a sparse mixer");
  const int64_t k = TRY(c.get_int("k", 1));
  Value* probabilities = TRY(c.op("softmax", {logits}, {{"axis", int64_t{-1}}}));
  const Values best = TRY(all(c.builder.node("top_k", {probabilities, c.int_scalar(k)})));
  Value* experts = TRY(squeeze(c, TRY(size_of(c, logits, 1)), {0}));
  Value* numbers = TRY(c.op("range", {c.int_scalar(0), experts, c.int_scalar(1)}));
  Value* index = TRY(expand_dims(c, TRY(c.cast(best[1], DType::i64)), {2}));
  Value* is_chosen = TRY(c.op("any", {TRY(c.op("equal", {index, numbers}))}, {{"axes", Axes{1}}}));
  Value* source = weights == nullptr ? probabilities : weights;
  Value* zero = TRY(c.scalar_like(source, 0));
  Value* chosen = TRY(c.op("select", {is_chosen, source, zero}));
  if (!TRY(c.get_bool("normalize_routing_weights", false))) return chosen;
  Value* sum = TRY(c.op("sum", {chosen}, {{"axes", Axes{1}}, {"keep_dims", true}}));
  return c.op("div_no_nan", {chosen, sum});
}

// x [experts or 1, tokens, features] through a layer of each expert.
Result<Value*> through(RuleContext& c, Value* x, const Layer& layer) {
  Value* y = TRY(c.op("matmul", {x, layer.weights}, {{"transpose_b", true}}));
  if (layer.bias == nullptr) return y;
  return c.op("add", {y, TRY(expand_dims(c, layer.bias, {1}))});
}

// min(g, limit) sigmoid(alpha g) (clip(l, limit) + beta)
Result<Value*> swiglu(RuleContext& c, Value* g, Value* l) {
  const double alpha = TRY(c.get_float("activation_alpha", 1));
  const double beta = TRY(c.get_float("activation_beta", 0));
  if (TRY(c.get_bool("swiglu_limit_after_activation", false)))
    return unsupported("a limit behind the activation");
  if (c.has_attr("swiglu_limit")) {
    const double limit = TRY(c.get_float("swiglu_limit"));
    g = TRY(c.op("min", {g, TRY(c.scalar_like(g, limit))}));
    l = TRY(c.op("clip", {l}, {{"min", -limit}, {"max", limit}}));
  }
  Value* slope = TRY(c.scalar_like(g, alpha));
  Value* gate = TRY(c.op("sigmoid", {TRY(c.op("mul", {g, slope}))}));
  if (beta != 0) l = TRY(c.op("add", {l, TRY(c.scalar_like(l, beta))}));
  return c.op("mul", {TRY(c.op("mul", {g, gate})), l});
}

// The two halves of the first layer's results, side by side or one after the other in pairs.
Result<Values> halves(RuleContext& c, Value* y, bool in_pairs) {
  if (!in_pairs) {
    const auto parts =
        TRY(all(c.builder.node("split", {y}, {{"axis", int64_t{-1}}, {"num", int64_t{2}}})));
    if (parts.size() != 2) return invalid_model("the first layer must have an even size");
    return parts;
  }
  Values parts;
  for (const int64_t first : {0, 1}) {
    Value* begin = c.builder.ints({first});
    Value* end = c.builder.ints({std::numeric_limits<int64_t>::max()});
    parts.push_back(TRY(c.op("slice", {y, begin, end, c.builder.ints({2})}, {{"axes", Axes{-1}}})));
  }
  return parts;
}

Result<Value*> activated(RuleContext& c, Value* x, Value* y, const Layer& gate) {
  const std::string how = TRY(c.get_string("activation_type", "relu"));
  if (how == "swiglu") {
    const int64_t fusion = TRY(c.get_int("swiglu_fusion", 0));
    if (fusion != 0) {
      const Values parts = TRY(halves(c, y, fusion == 1));
      return swiglu(c, parts[0], parts[1]);
    }
    if (gate.weights == nullptr) return invalid_model("swiglu needs a third layer");
    return swiglu(c, y, TRY(through(c, x, gate)));
  }
  if (how == "silu")
    y = TRY(c.op("mul", {y, TRY(c.op("sigmoid", {y}))}));
  else if (how == "relu")
    y = TRY(c.op("relu", {y}));
  else if (how == "gelu")
    y = TRY(c.op("gelu", {y}, {{"approximate", std::string("tanh")}}));
  else if (how != "identity")
    return unsupported(fmt::format("the activation '{}'", how));
  if (gate.weights == nullptr) return y;
  return c.op("mul", {y, TRY(through(c, x, gate))});
}

// All experts see all tokens; what the routing leaves out counts nothing.
Result<Values> mixture(RuleContext& c, const Layer (&layers)[3], Value* router_weights) {
  if (layers[0].weights == nullptr || layers[1].weights == nullptr)
    return invalid_model("the weights of a layer are missing");
  const int rank = TRY(c.rank(0));
  if (rank != 2 && rank != 3) return invalid_model("the input needs 2 or 3 dimensions");
  Value* rows = TRY(as_matrix(c, c.in(0), rank - 1));
  Value* counts = TRY(routing(c, TRY(as_matrix(c, c.in(1), TRY(c.rank(1)) - 1)), router_weights));
  Value* x = TRY(expand_dims(c, rows, {0}));
  Value* y = TRY(activated(c, x, TRY(through(c, x, layers[0])), layers[2]));
  y = TRY(through(c, y, layers[1]));
  counts = TRY(expand_dims(c, TRY(c.transpose(counts, {1, 0})), {2}));
  y = TRY(
      c.op("sum", {TRY(c.op("mul", {y, TRY(c.cast(counts, y->dtype()))}))}, {{"axes", Axes{0}}}));
  return one(c.op("reshape", {y, TRY(shape_of(c, c.in(0)))}, {{"allow_zero", true}}));
}

// (x, logits, w1, b1, w2, b2, w3, b3)
Result<Values> experts(RuleContext& c) {
  const Layer layers[3] = {{c.in(2), c.in(3)}, {c.in(4), c.in(5)}, {c.in(6), c.in(7)}};
  return mixture(c, layers, nullptr);
}

// Integers of a few bits, [experts, results, bytes], with scales per result or block of features.
Result<Layer> quantised_layer(RuleContext& c, int i, int zeros_at, std::string_view name) {
  if (!c.has(i)) return Layer{};
  const Tensor q = TRY(c.constant(i));
  if (!c.has(i + 1)) return invalid_model(fmt::format("{} has no scales", name));
  if (q.rank() != 3 || q.elements() == 0)
    return invalid_model(fmt::format("the weights of {} are {}", name, q.type().to_string()));
  const int64_t all_bits = TRY(c.get_int("expert_weight_bits", 4));
  PackedBlocks b{.rows = q.dim(0) * q.dim(1),
                 .bits = TRY(c.get_int(fmt::format("{}_expert_weight_bits", name), all_bits))};
  if (b.bits != 2 && b.bits != 4 && b.bits != 8)
    return unsupported(fmt::format("weights of {} bits", b.bits));
  b.columns = q.dim(2) * 8 / b.bits;
  const int64_t block = TRY(c.get_int("block_size", 0));
  b.size = block > 0 ? block : b.columns;
  if (b.columns % b.size != 0 || b.size * b.bits % 8 != 0)
    return invalid_model(fmt::format("attribute 'block_size' is {}", block));
  Tensor zeros = c.has(zeros_at) ? TRY(c.constant(zeros_at)) : Tensor();
  // One per result, packed one result after the other.
  if (b.count() == 1 && zeros.dtype() == DType::u8 && zeros.elements() * 8 == b.rows * b.bits) {
    std::vector<float> each;
    for (int64_t r = 0; r < b.rows; ++r)
      each.push_back(static_cast<float>(packed_level(zeros.data<uint8_t>(), r, b.bits)));
    zeros = Tensor::vector(each);
  }
  const Tensor w = TRY(unpacked_blocks(b, q, TRY(c.constant(i + 1)), zeros));
  Value* real = c.builder.constant(w.reshaped({q.dim(0), q.dim(1), b.columns}));
  return Layer{TRY(c.cast(real, c.in(0)->dtype())), c.in(i + 2)};
}

// (x, logits, three layers of weights, scales and bias, zero points, weights of the routing)
Result<Values> quantised_experts(RuleContext& c) {
  if (const std::string kind = TRY(c.get_string("quant_type", "int")); kind != "int")
    return unsupported(fmt::format("weights of the kind '{}'", kind));
  const Layer layers[3] = {TRY(quantised_layer(c, 2, 11, "fc1")),
                           TRY(quantised_layer(c, 5, 12, "fc2")),
                           TRY(quantised_layer(c, 8, 13, "fc3"))};
  return mixture(c, layers, c.in(14));
}

constexpr Rule kRules[] = {
    {"MoE", {3, 8}, experts, 1, kDomain},
    {"QMoE", {3, 21}, quantised_experts, 1, kDomain},
};

}  // namespace

std::span<const Rule> microsoft_expert_rules() {
  return kRules;
}

}  // namespace tenon::onnx

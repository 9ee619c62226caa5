#include "quant/narrow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "ops/conv.h"
#include "ops/conv_transpose.h"
#include "ops/gather.h"
#include "ops/matmul.h"
#include "ops/matmul_nbits.h"
#include "ops/quantized_product.h"
#include "quant/byte_layers.h"
#include "quant/nbits.h"
#include "quant/plan.h"
#include "quant/rounded_values.h"
#include "quant/sixteen_bits.h"
#include "quant/weights.h"

namespace tenon::quant {
namespace {

constexpr float kMaxHalf = 65504;

DType dtype_of_weights(LayerPrecision p) {
  return p == LayerPrecision::fp16   ? DType::f16
         : p == LayerPrecision::bf16 ? DType::bf16
                                     : DType::f32;
}

// Why a layer cannot multiply in bf16; empty where it can.
std::string bf16_refusal(const Node& node) {
  if (const auto* conv = node.as<Conv>()) {
    const Shape& w = node.input(1)->shape();
    const int64_t inputs = w[w.rank() - 2].size();
    if (inputs == 1 && conv->groups > 1) {
      constexpr int64_t kFewest = 32;  // fill a vector
      if (w[w.rank() - 1].size() != conv->groups) return "a channel gives several";
      if (conv->groups < kFewest) return "there are few channels";
      // Small maps lie in the first caches: in half the bytes they are hardly faster, and small
      // networks are those whose classes change by it.
      constexpr int64_t kLeast = 32 << 10;
      int64_t elements = 1;
      for (int d = 1; d < node.input(0)->shape().rank(); ++d)
        elements *= std::max<int64_t>(1, node.input(0)->shape()[d].size_or(kLeast));
      if (elements < kLeast) return "its maps are small";
      return node.input(3) == nullptr ? "" : "something is added to what it gives";
    }
    // Of few channels the rows of a window are filled up to pairs.
    constexpr int64_t kFew = 16;
    const bool by_rows = conv->groups == 1 && inputs < kFew && w[w.rank() - 3].size() > 1 &&
                         (conv->dilations.empty() || conv->dilations.back() == 1);
    return inputs % 2 == 0 || by_rows ? "" : "the number of input channels is odd";
  }
  if (const auto* conv = node.as<ConvTranspose>()) {
    const Shape& w = node.input(1)->shape();
    const Dim channels = w[w.rank() - 1];
    return channels.known() && channels.size() / conv->groups % 2 == 0
               ? ""
               : "the number of input channels is odd";
  }
  if (node.as<Matmul>() == nullptr) return "there is no product in bf16 for it";
  const Tensor& w = *node.input(1)->constant();
  if (w.rank() != 2) return "the weights are batched";
  if (w.dim(node.as<Matmul>()->transpose_b ? 1 : 0) % 2 != 0)
    return "the number of rows of the weights is odd";
  return {};
}

class Narrower {
 public:
  Narrower(Graph& graph, LayerPrecision otherwise, const LayerDecisions& decisions,
           std::vector<NarrowedLayer>& report)
      : graph_(graph), otherwise_(otherwise), decisions_(decisions), report_(report) {}

  Status run() {
    std::vector<Node*> order;
    for (const auto& node : graph_.nodes()) order.push_back(node.get());
    for (Node* node : order) {
      for (const auto& region : node->regions())
        TRY(Narrower(*region, otherwise_, decisions_, report_).run());
      if (!is_layer(*node)) continue;
      const auto it = decisions_.find(node);
      const LayerDecision decision =
          it == decisions_.end() ? LayerDecision{otherwise_, {}} : it->second;
      TRY(narrow(*node, decision));
    }
    remove_unread(order);
    return keep_rounded(graph_, casts_, products_);
  }

 private:
  Status narrow(Node& node, const LayerDecision& decision) {
    switch (decision.precision) {
      case LayerPrecision::int8:
        return make_bytes(node, LayerPrecision::int8);
      case LayerPrecision::int8_dynamic:
        return make_dynamic(node, decision);
      case LayerPrecision::int8_weights:
      case LayerPrecision::int4_weights:
        return make_nbits(node, decision.precision);
      default:
        break;
    }
    const DType dtype = dtype_of_weights(decision.precision);
    if (dtype == DType::f32 || node.output()->type().is_list) return {};
    for (const int i : weights_of(node)) {
      const Tensor* w = node.input(i) == nullptr ? nullptr : node.input(i)->constant();
      if (w == nullptr || w->dtype() != DType::f32) return {};
    }
    NarrowedLayer layer = named(node, decision.precision);
    if (dtype == DType::f16 && !fits_half(node)) {
      layer.precision = LayerPrecision::fp32;
      layer.reason = "a weight is beyond the range of fp16";
      report_.push_back(std::move(layer));
      return {};
    }
    if (dtype == DType::bf16) {
      layer.reason = bf16_refusal(node);
      if (layer.reason.empty()) layer.reason = decision.better_in_f32;
      layer.multiplies_narrow = layer.reason.empty();
    }
    for (const int i : weights_of(node)) {
      const bool any = dtype == DType::bf16 && !layer.multiplies_narrow;
      const DType stored = any ? nearer_16_bits(*node.input(i)->constant()) : dtype;
      node.set_input(i, TRY(narrowed(node, i, stored, layer.multiplies_narrow)));
    }
    if (layer.multiplies_narrow) TRY(multiply_narrow(node));
    if (node.is(Gather::name)) TRY(widen_result(node));
    report_.push_back(std::move(layer));
    return {};
  }

  static NarrowedLayer named(const Node& node, LayerPrecision precision) {
    return {node.origins.empty() ? std::string(node.def().name) : node.origins.front(),
            std::string(node.def().name),
            precision,
            false,
            {}};
  }

  // What is of no integers by ranges: a recurrent layer multiplies bytes, others have weights that
  // are multiples of bytes.
  Status make_bytes(Node& node, LayerPrecision precision) {
    if (node.output()->type().is_list || node.output()->dtype() != DType::f32) return {};
    for (const int i : weights_of(node))
      if (node.input(i) == nullptr || node.input(i)->constant() == nullptr ||
          node.input(i)->dtype() != DType::f32)
        return {};
    NarrowedLayer layer = named(node, precision);
    layer.multiplies_narrow = is_recurrent(node) && precision != LayerPrecision::int8_weights;
    layer.reason =
        layer.multiplies_narrow ? TRY(recurrent_refusal(node)) : TRY(round_weights(graph_, node));
    if (layer.multiplies_narrow && layer.reason.empty())
      TRY(multiply_recurrent_bytes(graph_, node));
    if (!layer.reason.empty()) {
      layer.precision = LayerPrecision::fp32;
      layer.multiplies_narrow = false;
    }
    report_.push_back(std::move(layer));
    return {};
  }

  // x becomes u8 by its own range, whenever it is computed.
  Status make_dynamic(Node& node, const LayerDecision& decision) {
    if (!is_product(node) || node.input(1)->constant() == nullptr ||
        !decision.better_in_f32.empty())
      return make_bytes(node, LayerPrecision::int8_dynamic);
    NarrowedLayer layer = named(node, LayerPrecision::int8_dynamic);
    layer.reason = product_refusal(node);
    if (!layer.reason.empty()) return make_bytes(node, LayerPrecision::int8_dynamic);
    const auto* conv = node.as<Conv>();
    const auto* matmul = node.as<Matmul>();
    const Tensor& w = *node.input(1)->constant();
    const bool transposed = matmul != nullptr && matmul->transpose_b;
    const Tensor weights = transposed ? TRY(transposed_weights(w)) : w;
    const QuantizedWeights q = TRY(quantize_weights(weights, weights.rank() - 1));
    Value* x = node.input(0);
    Node*& bytes = bytes_[x];
    Builder builder(graph_, &node);
    if (bytes == nullptr) {
      if (x->producer() != nullptr) builder.set_origins(x->producer()->origins);
      bytes = TRY(builder.node("dynamic_quantize_linear", {x}));
    }
    builder.set_origins(node.origins);
    std::unique_ptr<Op> op;
    if (conv != nullptr)
      op = make_op(QuantizedConv{conv->strides, conv->pads, conv->dilations, conv->groups,
                                 conv->activation, conv->alpha, conv->beta, conv->auto_pad});
    else if (matmul != nullptr)
      op = make_op(QuantizedMatmul{matmul->activation, matmul->act_alpha, matmul->act_beta});
    Value* scale = TRY(builder.op("mul", {bytes->output(1), builder.constant(q.scales)}));
    Node* product =
        TRY(builder.add(std::move(op), {bytes->output(0), builder.constant(q.integers),
                                        bytes->output(2), nullptr, scale, node.input(2)}));
    graph_.replace_all_uses(node.output(), product->output());
    layer.multiplies_narrow = true;
    report_.push_back(std::move(layer));
    return {};
  }

  // Few bits where the product is one of a matrix of weights; other layers have weights that are
  // multiples of bytes.
  Status make_nbits(Node& node, LayerPrecision precision) {
    const auto* matmul = node.as<Matmul>();
    const Tensor* w = matmul == nullptr ? nullptr : node.input(1)->constant();
    const Value* bias = node.input(2);
    if (w == nullptr || w->rank() != 2 || w->dtype() != DType::f32 || w->elements() == 0 ||
        matmul->transpose_a || node.output()->dtype() != DType::f32 ||
        (bias != nullptr && (!bias->shape().ranked() || bias->shape().rank() != 1)) ||
        !std::ranges::all_of(w->span<float>(), [](float v) { return std::isfinite(v); }))
      return make_bytes(node, LayerPrecision::int8_weights);
    NarrowedLayer layer = named(node, precision);
    const Tensor weights = matmul->transpose_b ? TRY(transposed_weights(*w)) : *w;
    int bits = precision == LayerPrecision::int4_weights ? 4 : 8;
    if (bits == 4 && weights.dim(0) % kNbitsGroup != 0) {
      bits = 8;
      layer.precision = LayerPrecision::int8_weights;
      layer.reason = fmt::format("its {} rows are no multiple of {}", weights.dim(0), kNbitsGroup);
    }
    const NbitsWeights q = TRY(nbits_weights(weights, bits, matmul->alpha));
    Builder builder(graph_, &node);
    builder.set_origins(node.origins);
    Value* y =
        TRY(builder.op(MatmulNbits{bits, matmul->activation, matmul->act_alpha, matmul->act_beta},
                       {node.input(0), builder.constant(q.integers), builder.constant(q.scales),
                        node.input(2), node.input(3)}));
    graph_.replace_all_uses(node.output(), y);
    report_.push_back(std::move(layer));
    return {};
  }

  static bool fits_half(const Node& node) {
    return std::ranges::all_of(weights_of(node), [&](int i) {
      return std::ranges::all_of(node.input(i)->constant()->span<float>(), [](float v) {
        return !std::isfinite(v) || std::abs(v) <= kMaxHalf;
      });
    });
  }

  // `multiplied`: by numbers of bf16.
  Result<Value*> narrowed(const Node& node, int operand, DType dtype, bool multiplied) {
    Value* weights = node.input(operand);
    Value*& known = weights_[{weights, dtype}];
    if (known != nullptr) return known;
    Builder builder(graph_, weights->producer());
    builder.set_origins(weights->producer()->origins);
    const auto* matmul = node.as<Matmul>();
    const Tensor& w = *weights->constant();
    known = builder.constant(multiplied && is_product(node)
                                 ? TRY(rounded_evenly(w, matmul != nullptr && matmul->transpose_b))
                                 : TRY(rounded(w, dtype)));
    return known;
  }

  // x is rounded once for all layers that read it, where it is computed and not where it is looked
  // at in another shape.
  Result<Value*> rounded_before(Value* x, Node& node) {
    if (Value* known = casts_[x]) return known;
    Builder builder(graph_, &node);
    Node* producer = x->producer();
    if (producer != nullptr) builder.set_origins(producer->origins);
    if (producer == nullptr || !producer->def().has(kView))
      return casts_[x] = TRY(builder.op("cast", {x}, {{"to", DType::bf16}}));
    std::vector<Value*> operands = producer->inputs();
    operands[0] = TRY(rounded_before(operands[0], node));
    return casts_[x] = TRY(builder.add(producer->op().clone(), std::move(operands)))->output();
  }

  Status multiply_narrow(Node& node) {
    Value* cast = TRY(rounded_before(node.input(0), node));
    auto op = node.op().clone();
    TRY(set_attr(*op, "result", DType::f32));
    std::vector<Value*> operands = node.inputs();
    operands[0] = cast;
    Builder builder(graph_, &node);
    builder.set_origins(node.origins);
    Node* product = TRY(builder.add(std::move(op), std::move(operands)));
    products_.push_back(product);
    graph_.replace_all_uses(node.output(), product->output());
    return {};
  }

  Status widen_result(Node& node) {
    Builder builder(graph_, &node);
    builder.set_origins(node.origins);
    Node* looked_up = TRY(builder.add(node.op().clone(), node.inputs()));
    Value* wide = TRY(builder.op("cast", {looked_up->output()}, {{"to", DType::f32}}));
    graph_.replace_all_uses(node.output(), wide);
    return {};
  }

  void remove_unread(const std::vector<Node*>& order) {
    for (auto it = order.rbegin(); it != order.rend(); ++it) {
      const auto unread = [&](int i) {
        const Value* v = (*it)->output(i);
        return v->uses().empty() && !graph_.is_output(v);
      };
      bool dead = (*it)->is("const") || is_layer(**it) || (*it)->def().has(kView);
      for (int i = 0; i < (*it)->output_count(); ++i) dead = dead && unread(i);
      if (dead) graph_.erase(*it);
    }
  }

  struct PairHash {
    size_t operator()(const std::pair<const Value*, DType>& p) const {
      return std::hash<const Value*>()(p.first) * 31 + static_cast<size_t>(p.second);
    }
  };

  Graph& graph_;
  LayerPrecision otherwise_;
  const LayerDecisions& decisions_;
  std::vector<NarrowedLayer>& report_;
  std::unordered_map<std::pair<const Value*, DType>, Value*, PairHash> weights_;
  RoundedValues casts_;
  std::vector<const Node*> products_;  // in bf16
  std::unordered_map<const Value*, Node*> bytes_;
};

}  // namespace

Result<std::vector<NarrowedLayer>> narrow(Graph& graph, LayerPrecision otherwise,
                                          const LayerDecisions& decisions) {
  std::vector<NarrowedLayer> report;
  TRY(Narrower(graph, otherwise, decisions, report).run());
  return report;
}

}  // namespace tenon::quant

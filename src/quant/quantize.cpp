#include "quant/quantize.h"

#include <algorithm>

#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "passes/bytes.h"
#include "quant/byte_layers.h"
#include "quant/plan.h"
#include "quant/two_bytes.h"
#include "quant/weights.h"

namespace tenon::quant {
namespace {

// Writes the integers into the graph as the plan has them.
class Emitter {
 public:
  Emitter(Graph& graph, Plan plan, const QuantizeOptions& options, RealValues* reals)
      : graph_(graph), plan_(std::move(plan)), options_(options), reals_(reals) {}

  Result<QuantizeReport> run() {
    Node* first = plan_.order.empty() ? nullptr : plan_.order.front();
    for (const auto& input : graph_.inputs())
      if (plan_.in_bytes(input.get())) {
        Builder b(graph_, first);
        TRY(finish(b, input.get(), TRY(integers_of(b, input.get(), input.get())), false));
      }
    for (size_t i = 0; i < plan_.order.size(); ++i) {
      Node& node = *plan_.order[i];
      if (node.is("const")) continue;
      if (plan_.is_integer(&node) && is_product(node)) TRY(emit_weights(node));
      Builder b(graph_, i + 1 < plan_.order.size() ? plan_.order[i + 1] : nullptr);
      b.set_origins(node.origins);
      if (plan_.moves_bytes(node))
        TRY(emit_move(b, node));
      else
        for (int k = 0; k < node.output_count(); ++k)
          if (plan_.in_bytes(node.output(k)))
            TRY(emit_result(b, node, node.output(k)));
          else if (reals_ != nullptr && plan_.names.contains(node.output(k)))
            reals_->push_back({node.output(k), plan_.names[node.output(k)]});
    }
    for (Node* node : plan_.order) {
      if (!is_candidate(*node)) continue;
      if (const auto own = options_.weights.find(plan_.names[node->output()]);
          own != options_.weights.end())
        replace_weights(*node, own->second);
      if (options_.byte_weights.contains(plan_.names[node->output()]))
        TRY(round_weights(graph_, *node));
      if (plan_.recurrent.contains(node)) TRY(emit_recurrent(*node));
      if (plan_.two_bytes.contains(node)) TRY(emit_two_bytes(*node));
    }
    return std::move(plan_.report);
  }

 private:
  Value* scale_of(Builder& b, const Value* v) {
    return b.constant(Tensor::scalar(plan_.params[v].scale));
  }
  Value* zero_of(Builder& b, const Value* v) {
    return b.constant(Tensor::scalar(static_cast<uint8_t>(plan_.params[v].zero)));
  }
  Result<Value*> integers_of(Builder& b, Value* real, const Value* params) {
    return b.op("quantize_linear", {real, scale_of(b, params), zero_of(b, params)});
  }

  // Whoever reads `v` reads its integers from now on; `replaces`: what computed it in f32 is not
  // needed any more.
  Status finish(Builder& b, Value* v, Value* integers, bool replaces) {
    integers_[v] = integers;
    Value* real = TRY(b.op("dequantize_linear", {integers, scale_of(b, v), zero_of(b, v)}));
    if (reals_ != nullptr) reals_->push_back({real, plan_.names[v]});
    const std::vector<Use> uses = v->uses();
    for (const Use& use : uses)
      if (use.user != integers->producer()) use.user->set_input(use.index, real);
    if (replaces && graph_.is_output(v)) {
      auto outputs = graph_.outputs();
      std::ranges::replace(outputs, v, real);
      graph_.set_outputs(std::move(outputs));
    }
    return {};
  }

  // The integers of a product's weights; its bias makes up for what they lose.
  Result<QuantizedWeights> weights_of_product(Node& node) {
    const auto* matmul = node.as<Matmul>();
    const Tensor& w = *node.input(1)->constant();
    QuantizedWeights q =
        TRY(quantize_weights(w, matmul != nullptr && matmul->transpose_b ? 0 : w.rank() - 1));
    if (const auto rounded = options_.rounded.find(plan_.names[node.output()]);
        rounded != options_.rounded.end() && rounded->second.dims() == w.dims())
      q.integers = rounded->second;
    Builder b(graph_, &node);
    const auto means = plan_.input_means.find(&node);
    if (const auto fitted = options_.biases.find(plan_.names[node.output()]);
        fitted != options_.biases.end() && node.input(2) != nullptr)
      node.set_input(2, b.constant(fitted->second));
    else if (means != plan_.input_means.end() && node.input(2) != nullptr)
      correct_bias(b, node, lost_means(node, q, means->second));
    return q;
  }

  Status emit_weights(Node& node) {
    const QuantizedWeights q = TRY(weights_of_product(node));
    Builder b(graph_, &node);
    node.set_input(1, TRY(b.op("dequantize_linear", {b.constant(q.integers), b.constant(q.scales)},
                               {{"axis", q.axis}})));
    return {};
  }

  void replace_weights(Node& node, const std::vector<Tensor>& weights) {
    const std::vector<int> operands = weights_of(node);
    Builder b(graph_, &node);
    for (size_t i = 0; i < operands.size() && i < weights.size(); ++i)
      node.set_input(operands[i], b.constant(weights[i]));
  }

  Status emit_recurrent(Node& node) {
    const bool two_bytes = options_.two_bytes.contains(plan_.names[node.output()]);
    const Node* made = TRY(multiply_recurrent_bytes(graph_, node, two_bytes));
    for (int k = 0; k < node.output_count(); ++k) is_now(node.output(k), made->output(k));
    graph_.erase(&node);
    return {};
  }

  Status emit_two_bytes(Node& node) {
    const QuantizedWeights q = TRY(weights_of_product(node));
    Value* y = TRY(multiply_two_bytes(graph_, node, *plan_.two_bytes.at(&node), q, node.input(2)));
    is_now(node.output(), y);
    graph_.replace_all_uses(node.output(), y);
    graph_.erase(&node);
    return {};
  }

  void is_now(const Value* before, Value* now) {
    if (reals_ == nullptr) return;
    for (NamedValue& v : *reals_)
      if (v.value == before) v.value = now;
  }

  static void correct_bias(Builder& b, Node& node, const std::vector<double>& lost) {
    const Tensor* bias = node.input(2)->constant();
    if (bias == nullptr || bias->dtype() != DType::f32 ||
        bias->elements() != static_cast<int64_t>(lost.size()))
      return;
    std::vector<float> corrected(lost.size());
    for (size_t i = 0; i < lost.size(); ++i)
      corrected[i] = static_cast<float>(static_cast<double>(bias->data<float>()[i]) + lost[i]);
    node.set_input(2, b.constant(Tensor::vector(corrected)));
  }

  // Its operands have been replaced by reals made of integers, which are what it moves instead.
  Status emit_move(Builder& b, Node& node) {
    std::vector<Value*> operands = node.inputs();
    if (node.is("pad") && operands.size() > 2) operands[2] = nullptr;
    for (Value*& v : operands) {
      if (v == nullptr || v->dtype() != DType::f32) continue;
      v = v->constant() != nullptr ? TRY(integers_of(b, v, node.output()))
                                   : v->producer()->input(0);
    }
    if (node.is("pad")) {
      operands.resize(3);
      operands[2] = zero_of(b, node.output());
    }
    Node* moved = TRY(b.add(node.op().clone(), std::move(operands)));
    for (int k = 0; k < node.output_count(); ++k)
      TRY(finish(b, node.output(k), moved->output(k), true));
    return {};
  }

  Status emit_result(Builder& b, Node& node, Value* v) {
    if (const auto table = plan_.tables.find(v); table != plan_.tables.end()) {
      Value* x = integers_.at(plan_.base_of(v));
      return finish(b, v, TRY(b.op("byte_lookup", {x, b.constant(table->second)})), true);
    }
    if (plan_.support(node) == Support::average && plan_.is_integer(&node))
      return finish(b, v, TRY(average(b, node)), true);
    return finish(b, v, TRY(integers_of(b, v, v)), false);
  }

  Result<Value*> average(Builder& b, const Node& node) {
    const Average a = *average_of(node);
    const Node* x = node.input(0)->producer();  // makes reals of integers
    std::vector<int64_t> dims = a.kernel;
    dims.insert(dims.end(), {1, a.channels});
    Tensor ones = TRY(Tensor::allocate(DType::i8, dims));
    std::fill_n(ones.mutable_data<int8_t>(), ones.elements(), int8_t{1});
    QuantizedConv conv;
    conv.strides = a.strides;
    conv.pads = a.pads;
    conv.groups = a.channels;
    const float scale = x->input(1)->constant()->data<float>()[0];
    const auto factor = static_cast<float>(static_cast<double>(scale) / a.divisor);
    Value* y = TRY(b.op(conv, {x->input(0), b.constant(ones), x->input(2), nullptr,
                               b.constant(Tensor::scalar(factor)), nullptr,
                               scale_of(b, node.output()), zero_of(b, node.output())}));
    return a.squeeze.empty() ? y : b.op("squeeze", {y}, {{"axes", a.squeeze}});
  }

  Graph& graph_;
  Plan plan_;
  const QuantizeOptions& options_;
  RealValues* reals_;
  std::unordered_map<const Value*, Value*> integers_;
};

std::optional<QuantParams> read_params(const Value* scale, const Value* zero) {
  const Tensor* s = scale == nullptr ? nullptr : scale->constant();
  if (s == nullptr || s->elements() != 1 || s->dtype() != DType::f32) return std::nullopt;
  QuantParams q;
  q.scale = s->data<float>()[0];
  q.zero = 0;
  if (zero == nullptr) return q;
  const Tensor* z = zero->constant();
  if (z == nullptr || z->elements() != 1 || !is_int(z->dtype())) return std::nullopt;
  q.zero = static_cast<int32_t>(z->int_at(0));
  return q;
}

}  // namespace

Result<QuantizeReport> quantize(Graph& graph, const FunctionStatistics& statistics,
                                const QuantizeOptions& options, RealValues* reals) {
  Plan plan = TRY(make_plan(graph, statistics, options));
  return Emitter(graph, std::move(plan), options, reals).run();
}

Result<Value*> through_bytes(Builder& builder, Value* x, const QuantParams& params, DType type) {
  Value* scale = builder.constant(Tensor::scalar(params.scale));
  Value* zero =
      builder.constant(type == DType::i8 ? Tensor::scalar(static_cast<int8_t>(params.zero))
                                         : Tensor::scalar(static_cast<uint8_t>(params.zero)));
  Value* integers = TRY(builder.op("quantize_linear", {x, scale, zero}));
  return builder.op("dequantize_linear", {integers, scale, zero});
}

std::optional<QuantParams> params_of_value(const Value& value) {
  if (value.dtype() != DType::u8 && value.dtype() != DType::i8) return std::nullopt;
  // Whoever makes reals of it knows; so does who made it of reals or sums.
  for (const Use& use : value.uses())
    if (use.user->is("dequantize_linear") && use.index == 0)
      return read_params(use.user->input(1), use.user->input(2));
  const Node* node = value.producer();
  if (node == nullptr) return std::nullopt;
  if (node->is("quantize_linear")) return read_params(node->input(1), node->input(2));
  if (node->is("fused"))
    for (int k = 0; k < node->output_count(); ++k)
      if (node->output(k) == &value)
        return params_of_value(*node->regions()[0]->outputs()[static_cast<size_t>(k)]);
  if (node->is(QuantizedConv::name) || node->is(QuantizedMatmul::name))
    return node->input(6) == nullptr ? std::nullopt : read_params(node->input(6), node->input(7));
  if (moves_elements(*node) && node->input(0) != nullptr) return params_of_value(*node->input(0));
  return std::nullopt;
}

}  // namespace tenon::quant

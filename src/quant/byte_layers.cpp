#include "quant/byte_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/conv_transpose.h"
#include "ops/gather.h"
#include "ops/matmul.h"
#include "ops/recurrent.h"
#include "quant/weights.h"

namespace tenon::quant {
namespace {

// Of the norm of the weights; that of a normal distribution loses 0.01.
constexpr double kMaxLoss = 0.05;
// Tables from here on stay bytes in memory.
constexpr int64_t kLargeTable = int64_t{1} << 20;

// What each output channel of a layer's weights is.
ScaledLayout channels_of(const Node& node, const Tensor& w) {
  const int last = w.rank() - 1;
  if (is_recurrent(node)) return ScaledLayout::along(w, last, true);
  if (node.as<ConvTranspose>() != nullptr) return ScaledLayout::along(w, std::max(0, last - 1));
  if (const auto* matmul = node.as<Matmul>())
    return ScaledLayout::along(w, std::max(0, matmul->transpose_b ? last - 1 : last), last > 1);
  if (const auto* gather = node.as<Gather>()) {
    const auto axis = static_cast<int>(gather->axis < 0 ? gather->axis + w.rank() : gather->axis);
    const ScaledLayout rows = ScaledLayout::along(w, axis);
    return rows.is_worth_storing() ? rows : ScaledLayout::along(w, last);
  }
  return ScaledLayout::along(w, last);
}

std::string refusal(const Tensor* w) {
  if (w == nullptr) return "the weights are not constant";
  if (w->dtype() != DType::f32 || w->rank() == 0) return "the weights are not f32";
  if (!std::ranges::all_of(w->span<float>(), [](float v) { return std::isfinite(v); }))
    return "a weight is not finite";
  return {};
}

// Rows of bytes and their scales are looked up.
Status look_up_bytes(Graph& graph, Node& node, const ScaledLayout& rows) {
  const Tensor& table = *node.input(0)->constant();
  const ScaledIntegers q = TRY(scaled_integers(table, rows));
  std::vector<int64_t> dims(static_cast<size_t>(table.rank()), 1);
  dims[0] = table.dim(0);
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Node* bytes = TRY(builder.add(node.op().clone(), {builder.constant(q.integers), node.input(1)}));
  Node* scales = TRY(
      builder.add(node.op().clone(), {builder.constant(q.scales.reshaped(dims)), node.input(1)}));
  Value* reals = TRY(builder.op("cast", {bytes->output()}, {{"to", DType::f32}}));
  graph.replace_all_uses(node.output(), TRY(builder.op("mul", {reals, scales->output()})));
  return {};
}

}  // namespace

bool is_recurrent(const Node& node) {
  return recurrent_scales(node.op()) >= 0;
}

std::vector<int> weights_of(const Node& node) {
  if (node.is(Gather::name)) return {0};
  if (is_recurrent(node)) return {1, 2};
  return {1};
}

Result<std::string> recurrent_refusal(const Node& node) {
  if (node.output()->type().is_list || node.input(0)->dtype() != DType::f32)
    return std::string("its input is not f32");
  for (const int i : weights_of(node)) {
    const Tensor* w = node.input(i)->constant();
    if (std::string reason = refusal(w); !reason.empty()) return reason;
    if (const double loss = TRY(rounded_weights(*w, channels_of(node, *w))).loss; loss > kMaxLoss)
      return fmt::format("bytes would take {:.0f} % from the norm of its weights", 100 * loss);
  }
  return std::string();
}

Result<Node*> multiply_recurrent_bytes(Graph& graph, Node& node, bool two_bytes) {
  std::vector<ScaledIntegers> all;
  for (const int i : weights_of(node)) {
    const Tensor& w = *node.input(i)->constant();
    all.push_back(TRY(scaled_integers(w, channels_of(node, w))));
  }
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  std::vector<Value*> operands = node.inputs();
  const auto scales = static_cast<size_t>(recurrent_scales(node.op()));
  operands.resize(scales + 2, nullptr);
  for (size_t i = 0; i < all.size(); ++i) {
    operands[i + 1] = builder.constant(all[i].integers);
    operands[scales + i] = builder.constant(all[i].scales);
  }
  auto op = node.op().clone();
  TRY(set_attr(*op, "two_bytes", two_bytes));
  Node* layer = TRY(builder.add(std::move(op), std::move(operands)));
  for (int i = 0; i < node.output_count(); ++i)
    graph.replace_all_uses(node.output(i), layer->output(i));
  return layer;
}

Result<std::vector<LayerBytes>> rounded_bytes(const Node& node) {
  std::vector<LayerBytes> all;
  for (const int i : weights_of(node)) {
    const Tensor* w = node.input(i) == nullptr ? nullptr : node.input(i)->constant();
    if (!refusal(w).empty()) return std::vector<LayerBytes>();
    const ScaledLayout channels = channels_of(node, *w);
    if (!(is_recurrent(node) || channels.is_worth_storing()) ||
        TRY(rounded_weights(*w, channels)).loss > kMaxLoss)
      return std::vector<LayerBytes>();
    all.push_back({channels, TRY(scaled_integers(*w, channels))});
  }
  return all;
}

Result<std::string> round_weights(Graph& graph, Node& node) {
  for (const int i : weights_of(node)) {
    const Tensor* w = node.input(i) == nullptr ? nullptr : node.input(i)->constant();
    if (std::string reason = refusal(w); !reason.empty()) return reason;
    const ScaledLayout channels = channels_of(node, *w);
    if (!channels.is_worth_storing()) continue;
    const RoundedWeights rounded = TRY(rounded_weights(*w, channels));
    if (rounded.loss > kMaxLoss)
      return fmt::format("bytes would take {:.0f} % from the norm of its weights",
                         100 * rounded.loss);
    const auto* gather = node.as<Gather>();
    if (gather != nullptr && gather->axis == 0 && channels.rows == 1 && w->rank() > 1 &&
        w->elements() >= kLargeTable) {
      TRY(look_up_bytes(graph, node, channels));
      continue;
    }
    Builder builder(graph, node.input(i)->producer());
    builder.set_origins(node.input(i)->producer()->origins);
    node.set_input(i, builder.constant(rounded.reals));
  }
  return std::string();
}

}  // namespace tenon::quant

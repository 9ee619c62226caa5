#include "quant/support.h"

#include <algorithm>

#include "ops/gather.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "ops/reduce.h"
#include "passes/bytes.h"

namespace tenon::quant {
namespace {

bool is_real(const Value* v) {
  return v != nullptr && !v->type().is_list && v->dtype() == DType::f32 && v->shape().ranked();
}

bool adds_zeros(const Node& node) {
  const Pad* pad = node.as<Pad>();
  if (pad == nullptr) return false;
  if (pad->mode != PadMode::constant) return true;
  const Value* value = node.input(2);
  return value == nullptr || (value->constant() != nullptr && value->constant()->elements() == 1 &&
                              value->constant()->real_at(0) == 0);
}

// Slices of a constant table.
bool looks_up(const Node& node) {
  return node.as<Gather>() != nullptr && node.input(0)->constant() != nullptr &&
         is_real(node.input(0));
}

bool is_pointwise(const Node& node) {
  if (!node.def().has(kPointwise) || node.def().has(kRandom) || node.output_count() != 1 ||
      node.input_count() == 0)
    return false;
  return std::ranges::all_of(node.inputs(), is_real);
}

}  // namespace

std::optional<Average> average_of(const Node& node) {
  Average a;
  const Value* x = node.input(0);
  if (!is_real(x)) return std::nullopt;
  const int rank = x->shape().rank(), spatial = rank - 2;
  if (spatial < 1 || spatial > 3 || !x->shape()[rank - 1].known()) return std::nullopt;
  a.channels = x->shape()[rank - 1].size();
  if (const auto* mean = node.as<Reduce<ReduceKind::mean>>()) {
    std::vector<int64_t> axes;
    for (const int64_t axis : mean->axes) axes.push_back(axis < 0 ? axis + rank : axis);
    std::ranges::sort(axes);
    if (axes.size() != static_cast<size_t>(spatial)) return std::nullopt;
    for (int i = 0; i < spatial; ++i) {
      if (axes[static_cast<size_t>(i)] != i + 1 || !x->shape()[i + 1].known()) return std::nullopt;
      a.kernel.push_back(x->shape()[i + 1].size());
    }
    if (!mean->keep_dims) a.squeeze = axes;
  } else if (const auto* pool = node.as<AvgPool>()) {
    const bool padded = std::ranges::any_of(pool->pads, [](int64_t p) { return p != 0; });
    if (pool->ceil_mode || pool->auto_pad != AutoPad::none ||
        (padded && !pool->count_include_pad) ||
        std::ranges::any_of(pool->dilations, [](int64_t d) { return d != 1; }))
      return std::nullopt;
    a.kernel = pool->kernel;
    a.strides = pool->strides;
    a.pads = pool->pads;
  } else {
    return std::nullopt;
  }
  constexpr double kMaxTaps = 1e6;  // sums of bytes that fit into 32 bits
  for (const int64_t k : a.kernel) a.divisor *= static_cast<double>(k);
  return a.divisor >= 1 && a.divisor <= kMaxTaps && a.channels > 0 ? std::optional(a)
                                                                   : std::nullopt;
}

Support support_of(const Node& node) {
  if (node.output_count() == 0 || !is_real(node.output())) return Support::none;
  if (node.is("concat"))
    return std::ranges::all_of(node.inputs(), is_real) ? Support::move : Support::none;
  if (!is_real(node.input(0))) return Support::none;
  if (looks_up(node)) return Support::move;
  if (moves_elements(node))
    return node.as<Pad>() == nullptr || adds_zeros(node) ? Support::move : Support::none;
  if (is_pointwise(node)) return Support::pointwise;
  return average_of(node) ? Support::average : Support::none;
}

std::vector<Value*> data_operands(const Node& node, Support support) {
  if (support == Support::pointwise || node.is("concat")) {
    std::vector<Value*> operands;
    for (Value* v : node.inputs())
      if (v->constant() == nullptr) operands.push_back(v);
    return operands;
  }
  return looks_up(node) ? std::vector<Value*>() : std::vector<Value*>{node.input(0)};
}

}  // namespace tenon::quant

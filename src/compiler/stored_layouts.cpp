#include "compiler/stored_layouts.h"

#include <algorithm>
#include <optional>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/recurrent.h"

namespace tenon {
namespace {

bool are(const std::vector<int64_t>& values, int64_t wanted) {
  return std::ranges::all_of(values, [&](int64_t v) { return v == wanted; });
}

// Filters that Winograd's algorithm may take have a form of their own, too large to be stored.
bool may_be_transformed(const Conv& op, const Shape& filter) {
  return filter.rank() == 4 && filter[0].size() == 3 && filter[1].size() == 3 &&
         filter[2].size() >= 2 * PanelLayout::kColumns &&
         filter[3].size() >= PanelLayout::kColumns && are(op.strides, 1) && are(op.dilations, 1);
}

std::optional<PanelLayout> layout_of(const Matmul& op, const Shape& b) {
  if (b.rank() != 2 || op.transpose_a || op.alpha != 1) return std::nullopt;
  const int64_t rows = b[0].size(), columns = b[1].size();
  return PanelLayout{.k = op.transpose_b ? columns : rows,
                     .n = op.transpose_b ? rows : columns,
                     .transposed = op.transpose_b};
}

std::optional<PanelLayout> layout_of(const Conv& op, const Shape& filter, bool pairs) {
  if (op.groups != 1 || filter.rank() < 3 || (!pairs && may_be_transformed(op, filter)))
    return std::nullopt;
  PanelLayout layout{.k = 1, .n = filter[filter.rank() - 1].size()};
  for (int i = 0; i + 1 < filter.rank(); ++i) layout.k *= filter[i].size();
  if (pairs && filter[filter.rank() - 2].size() % 2 != 0) return std::nullopt;
  return layout;
}

// The layout that kernels want operand `i` of a step in; empty where they want none of those.
std::string layout_of(const FileGraph& graph, const FileStep& step, size_t i, bool of_all) {
  const TensorType& type = graph.values[static_cast<size_t>(step.inputs[i])].type;
  const TensorType& x = graph.values[static_cast<size_t>(step.inputs[0])].type;
  const bool pairs = type.dtype == DType::bf16 && x.dtype == DType::bf16;
  if (type.dtype != DType::f32 && !pairs) return {};
  std::optional<PanelLayout> layout;
  if (const auto* matmul = step.op->as<Matmul>(); matmul != nullptr && i == 1)
    layout = layout_of(*matmul, type.shape);
  if (const auto* conv = step.op->as<Conv>(); conv != nullptr && i == 1)
    layout = layout_of(*conv, type.shape, pairs);
  if (!layout) return {};
  layout->unit = pairs ? 2 : 1;
  // Of a weight without elements there is no layout.
  if (layout->k == 0 || layout->n == 0 || layout->k % layout->unit != 0) return {};
  return of_all || layout->is_worth_storing() ? layout->name() : std::string();
}

}  // namespace

void choose_layouts(FileGraph& graph, bool of_all) {
  // What each value is wanted in, by all who read it.
  std::vector<std::optional<std::string>> wanted(graph.values.size());
  const auto want = [&](int v, std::string layout) {
    auto& known = wanted[static_cast<size_t>(v)];
    known = known && *known != layout ? std::string() : std::move(layout);
  };
  std::vector<bool> constant(graph.values.size());
  for (const FileConstant& c : graph.constants) constant[static_cast<size_t>(c.value)] = true;
  for (FileStep& step : graph.steps) {
    for (size_t i = 0; i < step.inputs.size(); ++i)
      if (const int v = step.inputs[i]; v >= 0 && constant[static_cast<size_t>(v)])
        want(v, layout_of(graph, step, i, of_all));
    // What is computed as one reads its constants as they are.
    if (step.op->def().name == "fused") continue;
    for (FileGraph& region : step.regions) choose_layouts(region, of_all);
  }
  for (const int v : graph.outputs)
    if (v >= 0) want(v, {});
  for (FileConstant& c : graph.constants)
    c.layout = wanted[static_cast<size_t>(c.value)].value_or(std::string());
}

}  // namespace tenon

#include "compiler/stored_layouts.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "ops/recurrent.h"

namespace tenon {
namespace {

bool are(const std::vector<int64_t>& values, int64_t wanted) {
  return std::ranges::all_of(values, [&](int64_t v) { return v == wanted; });
}

// Filters that Winograd's algorithm may take have a form of their own, too large to be stored. For
// few pixels, for which those are too large to be read, too, it is not taken.
bool may_be_transformed(const Conv& op, const Shape& filter, const Shape& y) {
  const std::vector<int64_t> sizes = filter.sizes();
  const std::span<const int64_t> kernel = std::span(sizes).first(sizes.size() - 2);
  const auto is_long = [](int64_t taps) { return taps > 1; };
  const bool is_line = std::ranges::count_if(kernel, is_long) == 1;
  const bool is_square =
      kernel.size() >= 2 && is_long(kernel.end()[-1]) && is_long(kernel.end()[-2]);
  if ((!is_line && !is_square) || !are(op.strides, 1)) return false;
  if (sizes.end()[-2] < 2 * PanelLayout::kColumns || sizes.end()[-1] < PanelLayout::kColumns)
    return false;
  if (!y.ranked() || y.rank() != filter.rank()) return true;
  int64_t pixels = 1;
  for (int d = 1; d + 1 < y.rank(); ++d) {
    if (!y[d].known()) return true;
    pixels *= y[d].size();
  }
  if (pixels < (is_line ? 40 : 100)) return false;
  // Runs transform large filters of few pixels themselves.
  constexpr int64_t kLargeFilter = int64_t{16} << 20, kFewPixels = 1536;
  const bool is_large = kernel.size() == 2 && are({kernel[0], kernel[1]}, 3) &&
                        sizes[2] * sizes[3] * 36 * 4 >= kLargeFilter &&
                        sizes[3] % PanelLayout::kColumns == 0 && are(op.dilations, 1);
  return !is_large || pixels > kFewPixels;
}

PanelLayout matrix(const Shape& b, bool transposed) {
  const int64_t rows = b[0].size(), columns = b[1].size();
  return {
      .k = transposed ? columns : rows, .n = transposed ? rows : columns, .transposed = transposed};
}

// All dimensions but the last are rows.
PanelLayout filter_matrix(const Shape& filter) {
  PanelLayout layout{.k = 1, .n = filter[filter.rank() - 1].size()};
  for (int i = 0; i + 1 < filter.rank(); ++i) layout.k *= filter[i].size();
  return layout;
}

PanelLayout per_direction(const Shape& w) {
  return {.batch = w[0].size(), .k = w[1].size(), .n = w[2].size()};
}

std::optional<PanelLayout> recurrent_layout(const FileStep& step, size_t i, const Shape& shape) {
  if (shape.rank() != 3 || i < 1 || i > 2) return std::nullopt;
  if (step.op->as<Lstm>() != nullptr || step.op->as<Rnn>() != nullptr) return per_direction(shape);
  if (const auto* gru = step.op->as<Gru>(); gru != nullptr && (i == 1 || gru->linear_before_reset))
    return per_direction(shape);
  return std::nullopt;
}

// Of f32, or of bf16 that are multiplied as pairs.
std::optional<PanelLayout> real_layout(const FileGraph& graph, const FileStep& step, size_t i,
                                       const Shape& shape, bool pairs) {
  const auto* const matmul = step.op->as<Matmul>();
  if (matmul != nullptr && i == 1 && shape.rank() == 2 && !matmul->transpose_a &&
      matmul->alpha == 1)
    return matrix(shape, matmul->transpose_b);
  if (const auto* conv = step.op->as<Conv>(); conv != nullptr && i == 1 && conv->groups == 1) {
    const TensorType& y = graph.values[static_cast<size_t>(step.outputs[0])].type;
    if (shape.rank() < 3 || may_be_transformed(*conv, shape, y.shape) ||
        (pairs && shape[shape.rank() - 2].size() % 2 != 0))
      return std::nullopt;
    return filter_matrix(shape);
  }
  return pairs ? std::nullopt : recurrent_layout(step, i, shape);
}

std::optional<PanelLayout> byte_layout(const FileStep& step, size_t i, const Shape& shape) {
  if (const auto layout = recurrent_layout(step, i, shape)) return layout;
  if (i != 1) return std::nullopt;
  if (step.op->as<QuantizedMatmul>() != nullptr && shape.rank() == 2) return matrix(shape, false);
  if (const auto* conv = step.op->as<QuantizedConv>();
      conv != nullptr && conv->groups == 1 && shape.rank() >= 3) {
    // Rows of a window that are not of whole groups of four are filled up one by one.
    const int64_t row = shape[shape.rank() - 3].size() * shape[shape.rank() - 2].size();
    if (shape.rank() != 4 || row % 4 == 0) return filter_matrix(shape);
  }
  return std::nullopt;
}

// The layout that kernels want operand `i` of a step in; empty where they want none of those.
std::string layout_of(const FileGraph& graph, const FileStep& step, size_t i, bool of_all) {
  const TensorType& type = graph.values[static_cast<size_t>(step.inputs[i])].type;
  const TensorType x =
      step.inputs[0] < 0 ? TensorType() : graph.values[static_cast<size_t>(step.inputs[0])].type;
  const bool pairs = type.dtype == DType::bf16 && x.dtype == DType::bf16;
  std::optional<PanelLayout> layout;
  if (type.dtype == DType::i8)
    layout = byte_layout(step, i, type.shape);
  else if (type.dtype == DType::f32 || pairs)
    layout = real_layout(graph, step, i, type.shape, pairs);
  if (!layout) return {};
  layout->unit = pairs ? 2 : type.dtype == DType::i8 ? 4 : 1;
  // Of a weight without elements there is no layout.
  if (layout->dense_bytes() == 0 || (pairs && layout->k % 2 != 0)) return {};
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
  for (FileConstant& c : graph.constants) {
    const auto scaled = ScaledLayout::of(c.tensor);
    c.layout = scaled ? scaled->name() : wanted[static_cast<size_t>(c.value)].value_or("");
  }
}

}  // namespace tenon

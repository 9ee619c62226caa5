#include "ops/text_split.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

using Parts = std::vector<std::string_view>;

Parts split_at_space(std::string_view text, int64_t most) {
  Parts parts;
  for (;;) {
    const size_t first = text.find_first_not_of(kSpace);
    const bool enough = most > 0 && static_cast<int64_t>(parts.size()) == most;
    if (first == std::string_view::npos && !enough) return parts;
    text.remove_prefix(std::min(first, text.size()));
    // What is left is the last part, also where nothing is.
    if (enough) {
      parts.push_back(text);
      return parts;
    }
    const size_t end = std::min(text.find_first_of(kSpace), text.size());
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

Parts split_at_word(std::string_view text, std::string_view separator, int64_t most) {
  Parts parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

Parts split_at_any(std::string_view text, std::string_view separators) {
  Parts parts;
  if (separators.empty()) {
    for (size_t i = 0; i < text.size(); ++i) parts.push_back(text.substr(i, 1));
    return parts;
  }
  if (text.empty()) return parts;
  for (;;) {
    const size_t at = text.find_first_of(separators);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// Rows at one level: where the elements of row i begin; one more entry than there are rows.
Result<std::vector<int64_t>> row_splits(const Tensor& partition, std::string_view kind,
                                        int64_t rows) {
  const auto ints = partition.to_ints();
  std::vector<int64_t> splits;
  if (kind == "row_splits") {
    splits = ints;
  } else {
    // The row of each value, ascending.
    for (size_t i = 0; i < ints.size(); ++i) {
      if (ints[i] < 0 || ints[i] >= rows || (i > 0 && ints[i] < ints[i - 1]))
        return invalid_argument("ragged_to_dense: row numbers must ascend within the rows");
      while (static_cast<int64_t>(splits.size()) <= ints[i])
        splits.push_back(static_cast<int64_t>(i));
    }
    splits.resize(static_cast<size_t>(rows) + 1, static_cast<int64_t>(ints.size()));
  }
  bool fits = static_cast<int64_t>(splits.size()) == rows + 1 && splits[0] == 0;
  for (size_t i = 1; fits && i < splits.size(); ++i) fits = splits[i] >= splits[i - 1];
  if (!fits) return invalid_argument("ragged_to_dense: the row splits do not fit together");
  return splits;
}

}  // namespace

Result<TensorTypes> TextSplit::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string || context.dtype(1) != DType::string)
    return invalid_argument("text_split needs strings");
  TRY(nn::expect_rank(context, name, 0, 1));
  TRY(nn::expect_scalar(context, name, 1));
  return TensorTypes{{DType::i64, Shape{Dim::unknown(), Dim(2)}},
                     {DType::string, Shape{Dim::unknown()}},
                     {DType::i64, Shape{Dim(2)}}};
}

Status TextSplit::eval(EvalContext& context) const {
  const auto texts = context.in(0).span<std::string>();
  if (context.in(1).elements() != 1) return invalid_argument("text_split needs one separator");
  const std::string_view separator = context.in(1).data<std::string>()[0];
  std::vector<int64_t> places;
  Parts all;
  int64_t longest = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    Parts parts = any_of              ? split_at_any(texts[i], separator)
                  : most == 0         ? Parts{texts[i]}
                  : separator.empty() ? split_at_space(texts[i], most)
                                      : split_at_word(texts[i], separator, most);
    if (skip_empty) std::erase_if(parts, [](std::string_view p) { return p.empty(); });
    for (size_t k = 0; k < parts.size(); ++k) {
      places.push_back(static_cast<int64_t>(i));
      places.push_back(static_cast<int64_t>(k));
    }
    all.insert(all.end(), parts.begin(), parts.end());
    longest = std::max(longest, static_cast<int64_t>(parts.size()));
  }
  const int64_t dims[] = {static_cast<int64_t>(all.size()), 2};
  TRY(context.allocate(0, DType::i64, dims));
  TRY(context.allocate(1, DType::string, std::span(dims, 1)));
  std::ranges::copy(places, context.out(0).mutable_data<int64_t>());
  for (size_t i = 0; i < all.size(); ++i)
    context.out(1).mutable_data<std::string>()[i] = std::string(all[i]);
  context.out(2).mutable_data<int64_t>()[0] = static_cast<int64_t>(texts.size());
  context.out(2).mutable_data<int64_t>()[1] = longest;
  return {};
}

Result<TensorTypes> RaggedToDense::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  bool fits = partitions.size() == static_cast<size_t>(context.size()) - 3;
  for (size_t i = 0; i < partitions.size(); ++i)
    fits =
        fits && (partitions[i] == "row_splits" || (i == 0 && partitions[i] == "first_dim_size") ||
                 (i > 0 && partitions[i] == "value_rowids"));
  for (int i = 3; i < context.size(); ++i) fits = fits && is_int(context.dtype(i));
  if (!fits || !is_int(context.dtype(0)) || context.dtype(1) != context.dtype(2))
    return invalid_argument(
        "ragged_to_dense needs a shape, values and a default of one type, and partitions");
  TensorType out{context.dtype(1), Shape::unranked()};
  const Shape& values = context.shape(1);
  if (!values.ranked()) return TensorTypes{out};
  if (values.rank() < 1) return invalid_argument("ragged_to_dense: the values have no rows");
  const auto levels = static_cast<int>(partitions.size()) - (partitions[0] == "row_splits" ? 0 : 1);
  out.shape = Shape::unknown_dims(levels + 1);
  for (int i = 1; i < values.rank(); ++i) out.shape.dims().push_back(values[i]);
  if (const auto sizes = context.ints(0);
      sizes && static_cast<int>(sizes->size()) == out.shape.rank())
    for (int i = 0; i <= levels; ++i) {
      const SymInt& s = (*sizes)[static_cast<size_t>(i)];
      if (!s.value || *s.value >= 0) out.shape[i] = s.as_dim();
    }
  return TensorTypes{out};
}

Status RaggedToDense::eval(EvalContext& context) const {
  const Tensor& values = context.in(1);
  const bool sized = partitions[0] == "first_dim_size";
  const size_t levels = partitions.size() - (sized ? 1 : 0);
  int64_t rows = 0;
  const Tensor& first = context.in(3);
  if (sized && first.elements() == 1) rows = first.int_at(0);
  if (!sized) rows = first.elements() - 1;
  if (rows < 0) return invalid_argument("ragged_to_dense: the number of rows is negative");
  std::vector<int64_t> dims{rows};
  std::vector<std::vector<int64_t>> splits;
  for (size_t l = 0; l < levels; ++l) {
    const size_t p = l + (sized ? 1 : 0);
    splits.push_back(TRY(row_splits(context.in(3 + static_cast<int>(p)), partitions[p], rows)));
    int64_t longest = 0;
    for (size_t i = 1; i < splits[l].size(); ++i)
      longest = std::max(longest, splits[l][i] - splits[l][i - 1]);
    dims.push_back(longest);
    rows = splits[l].back();
  }
  if (values.rank() < 1 || values.dim(0) != rows)
    return invalid_argument("ragged_to_dense: there are not as many values as the rows hold");
  dims.insert(dims.end(), values.dims().begin() + 1, values.dims().end());
  const auto wanted = context.in(0).to_ints();
  if (context.in(0).rank() == 1 && wanted.size() != dims.size())
    return invalid_argument("ragged_to_dense: the shape has another rank than the values");
  if (context.in(0).rank() == 1)
    for (size_t i = 0; i <= levels; ++i)
      if (wanted[i] >= 0) dims[i] = wanted[i];
  TRY(checked_elements(dims, dtype_size(values.dtype())));
  TRY(context.allocate(0, values.dtype(), dims));
  Tensor& y = context.out(0);
  const int64_t run = product(values.dims(), 1, values.rank());
  const Tensor& fill = context.in(2);
  if (fill.elements() < 1 || run % std::max<int64_t>(fill.elements(), 1) != 0)
    if (fill.elements() != 1) return invalid_argument("ragged_to_dense: the default does not fit");
  const int64_t n = y.elements();
  copy_elements(y, 0, fill, 0, std::min(n, fill.elements()));
  // What is filled already is copied behind itself.
  for (int64_t filled = fill.elements(); filled < n; filled *= 2)
    copy_elements(y, filled, y, 0, std::min(filled, n - filled));
  // The place of each row, -1 where it was cut off, level by level.
  std::vector<int64_t> places;
  for (int64_t i = 0; i < static_cast<int64_t>(splits[0].size()) - 1; ++i)
    places.push_back(i < dims[0] ? i : -1);
  for (size_t l = 0; l < levels; ++l) {
    std::vector<int64_t> next;
    for (size_t i = 0; i + 1 < splits[l].size(); ++i)
      for (int64_t k = 0; k < splits[l][i + 1] - splits[l][i]; ++k)
        next.push_back(places[i] < 0 || k >= dims[l + 1] ? -1 : places[i] * dims[l + 1] + k);
    places = std::move(next);
  }
  // Values that lie side by side in the result too are copied together.
  for (size_t i = 0, count = 1; i < places.size(); i += count) {
    count = 1;
    if (places[i] < 0) continue;
    while (i + count < places.size() &&
           places[i + count] == places[i] + static_cast<int64_t>(count))
      ++count;
    copy_elements(y, places[i] * run, values, static_cast<int64_t>(i) * run,
                  static_cast<int64_t>(count) * run);
  }
  return {};
}

constinit const OpDef TextSplit::def = define<TextSplit>();
constinit const OpDef RaggedToDense::def = define<RaggedToDense>();
OpDefs text_split_ops() {
  return {&TextSplit::def, &RaggedToDense::def};
}

}  // namespace tenon

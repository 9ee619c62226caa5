#include "ops/ragged.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 32;

// Checked row splits over `count` elements.
Result<std::vector<int64_t>> splits_of(const Tensor& t, int64_t count, std::string_view op) {
  auto splits = t.to_ints();
  bool fits = !splits.empty() && splits.front() == 0 && splits.back() == count;
  for (size_t i = 1; fits && i < splits.size(); ++i) fits = splits[i] >= splits[i - 1];
  if (fits) return splits;
  return invalid_argument(fmt::format("{}: the splits do not fit the elements", op));
}

Dim rows_and_one(const Shape& rows) {
  return rows.ranked() && rows.rank() == 1 && rows[0].known() ? Dim(rows[0].size() + 1)
                                                              : Dim::unknown();
}

Status store_splits(EvalContext& context, int output, const std::vector<int64_t>& splits,
                    DType dtype) {
  const auto n = static_cast<int64_t>(splits.size());
  TRY(context.allocate(output, dtype, std::span(&n, 1)));
  for (size_t i = 0; i < splits.size(); ++i)
    if (dtype == DType::i32)
      context.out(output).mutable_data<int32_t>()[i] = static_cast<int32_t>(splits[i]);
    else
      context.out(output).mutable_data<int64_t>()[i] = splits[i];
  return {};
}

}  // namespace

Result<TensorTypes> RaggedRange::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const DType t = context.dtype(0);
  if ((!is_float(t) && !is_int(t)) || context.dtype(1) != t || context.dtype(2) != t)
    return invalid_argument("ragged_range needs real starts, limits and deltas of one type");
  Dim splits = Dim::unknown();
  for (int i = 0; i < 3; ++i) {
    TRY(nn::expect_rank(context, name, i, 0, 1));
    splits = nn::known_of(splits, rows_and_one(context.shape(i)));
  }
  return TensorTypes{{DType::i64, Shape{splits}}, {t, Shape{Dim::unknown()}}};
}

Status RaggedRange::eval(EvalContext& context) const {
  int64_t rows = -1;
  for (int i = 0; i < 3; ++i) {
    if (context.in(i).rank() == 0) continue;
    if (rows >= 0 && rows != context.in(i).elements())
      return invalid_argument("ragged_range: the operands have different numbers of rows");
    rows = context.in(i).elements();
  }
  if (rows < 0) rows = 1;
  const auto at = [&](int i, int64_t row) {
    return context.in(i).real_at(context.in(i).rank() == 0 ? 0 : row);
  };
  std::vector<int64_t> splits{0};
  std::vector<double> values;
  for (int64_t r = 0; r < rows; ++r) {
    const double start = at(0, r), limit = at(1, r), delta = at(2, r);
    if (delta == 0 || !std::isfinite(start) || !std::isfinite(limit))
      return invalid_argument("ragged_range: a range without end");
    const double count = std::max(std::ceil((limit - start) / delta), 0.0);
    if (!(count + static_cast<double>(values.size()) < static_cast<double>(kMaxElements)))
      return invalid_argument("ragged_range: too many elements");
    for (int64_t i = 0; i < static_cast<int64_t>(count); ++i)
      values.push_back(start + static_cast<double>(i) * delta);
    splits.push_back(static_cast<int64_t>(values.size()));
  }
  TRY(store_splits(context, 0, splits, DType::i64));
  const auto n = static_cast<int64_t>(values.size());
  TRY(context.allocate(1, context.in(0).dtype(), std::span(&n, 1)));
  nn::store_reals(context.out(1), values);
  return {};
}

Result<TensorTypes> TextPoints::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string || !is_code_point(replacement))
    return invalid_argument("text_points needs strings and a code point for errors");
  const auto n = context.shape(0).elements();
  const TensorType points{DType::i32, Shape{Dim::unknown()}};
  return TensorTypes{{DType::i64, Shape{n ? Dim(*n + 1) : Dim::unknown()}},
                     points,
                     {DType::i64, Shape{Dim::unknown()}}};
}

Status TextPoints::eval(EvalContext& context) const {
  std::vector<int64_t> splits{0}, places;
  std::vector<int32_t> points;
  for (const std::string& text : context.in(0).span<std::string>()) {
    for (size_t at = 0; at < text.size();) {
      const Character c = decode_character(text, at, encoding);
      if (!c.valid && errors == TextErrors::fail)
        return invalid_argument(
            fmt::format("text_points: byte {} of a string is no character of its encoding", at));
      if (c.valid || errors == TextErrors::replace) {
        points.push_back(static_cast<int32_t>(c.valid ? int64_t{c.point} : replacement));
        places.push_back(static_cast<int64_t>(at));
      }
      at += c.length;
    }
    splits.push_back(static_cast<int64_t>(points.size()));
  }
  TRY(store_splits(context, 0, splits, DType::i64));
  TRY(store_splits(context, 2, places, DType::i64));
  const auto n = static_cast<int64_t>(points.size());
  TRY(context.allocate(1, DType::i32, std::span(&n, 1)));
  std::ranges::copy(points, context.out(1).mutable_data<int32_t>());
  return {};
}

Result<TensorTypes> TextFromPoints::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (!is_int(context.dtype(0)) || !is_int(context.dtype(1)) || !is_code_point(replacement))
    return invalid_argument("text_from_points needs integers and a code point for errors");
  TRY(nn::expect_rank(context, name, 1, 1));
  Dim rows = Dim::unknown();
  const Shape& splits = context.shape(1);
  if (splits.ranked() && splits[0].known() && splits[0].size() > 0) rows = splits[0].size() - 1;
  return TensorTypes{{DType::string, Shape{rows}}};
}

Status TextFromPoints::eval(EvalContext& context) const {
  const Tensor& points = context.in(0);
  const auto splits = TRY(splits_of(context.in(1), points.elements(), name));
  const auto rows = static_cast<int64_t>(splits.size()) - 1;
  TRY(context.allocate(0, DType::string, std::span(&rows, 1)));
  for (size_t r = 0; r + 1 < splits.size(); ++r) {
    std::string& text = context.out(0).mutable_data<std::string>()[r];
    for (int64_t i = splits[r]; i < splits[r + 1]; ++i) {
      const int64_t point = points.int_at(i);
      if (is_code_point(point) && append_character(text, static_cast<uint32_t>(point), encoding))
        continue;
      if (errors == TextErrors::fail)
        return invalid_argument(
            fmt::format("text_from_points: {} is no character of the encoding", point));
      if (errors == TextErrors::replace)
        append_character(text, static_cast<uint32_t>(replacement), encoding);
    }
  }
  return {};
}

Result<TensorTypes> TextNgrams::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  bool fits = context.dtype(0) == DType::string && !widths.empty() && pad_width >= -1 &&
              pad_width < nn::kMaxExtent;
  for (const int64_t w : widths) fits = fits && w >= 1 && w < nn::kMaxExtent;
  if (!fits || (context.dtype(1) != DType::i64 && context.dtype(1) != DType::i32))
    return invalid_argument("text_ngrams needs strings, integer splits and positive widths");
  TRY(nn::expect_rank(context, name, 1, 1));
  return TensorTypes{{DType::string, Shape{Dim::unknown()}}, {context.dtype(1), context.shape(1)}};
}

Status TextNgrams::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  std::vector<int64_t> splits{0};
  std::vector<std::string> grams;
  const auto rows = TRY(splits_of(context.in(1), context.in(0).elements(), name));
  // `width` strings from place `from` of a row on, which may lie outside of it.
  const auto add = [&](int64_t begin, int64_t length, int64_t from, int64_t width) {
    std::string text;
    for (int64_t i = from; i < from + width; ++i) {
      if (i > from) text += separator;
      text += i < 0 ? left_pad : i >= length ? right_pad : in[static_cast<size_t>(begin + i)];
    }
    grams.push_back(std::move(text));
  };
  for (size_t r = 0; r + 1 < rows.size(); ++r) {
    const int64_t begin = rows[r], length = rows[r + 1] - rows[r];
    const size_t before = grams.size();
    for (const int64_t width : widths) {
      const int64_t pad = pad_width < 0 ? width - 1 : std::min(pad_width, width - 1);
      for (int64_t from = -pad; from + width <= length + pad; ++from)
        add(begin, length, from, width);
    }
    const int64_t pad = std::max<int64_t>(pad_width, 0);
    if (keep_short && grams.size() == before && length > 0 && length + 2 * pad < kMaxElements)
      add(begin, length, -pad, length + 2 * pad);
    splits.push_back(static_cast<int64_t>(grams.size()));
  }
  TRY(store_splits(context, 1, splits, context.in(1).dtype()));
  const auto n = static_cast<int64_t>(grams.size());
  TRY(context.allocate(0, DType::string, std::span(&n, 1)));
  std::ranges::move(grams, context.out(0).mutable_data<std::string>());
  return {};
}

constinit const OpDef RaggedRange::def = define<RaggedRange>();
constinit const OpDef TextPoints::def = define<TextPoints>();
constinit const OpDef TextFromPoints::def = define<TextFromPoints>();
constinit const OpDef TextNgrams::def = define<TextNgrams>();
OpDefs ragged_ops() {
  return {&RaggedRange::def, &TextPoints::def, &TextFromPoints::def, &TextNgrams::def};
}

}  // namespace tenon

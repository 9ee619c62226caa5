#include "ops/diagonal.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Status check_band(const InferContext& context, const DiagonalBand& band, std::string_view op) {
  TRY(require_tensors(context, op));
  TRY(nn::expect_rank(context, op, 0, 2, nn::kAnyRank));
  if (band.low <= band.high && band.low > -nn::kMaxExtent && band.high < nn::kMaxExtent) return {};
  return invalid_argument(fmt::format("{}: no diagonals from {} to {}", op, band.low, band.high));
}

int64_t length_of(int64_t rows, int64_t columns, int64_t k) {
  return std::max<int64_t>(
      std::min(rows + std::min<int64_t>(k, 0), columns - std::max<int64_t>(k, 0)), 0);
}

// The longest of the diagonals.
int64_t longest(int64_t rows, int64_t columns, const DiagonalBand& band) {
  return length_of(rows, columns, std::clamp<int64_t>(0, band.low, band.high));
}

// Calls f(place in the matrix, place in the diagonals) for each element of the band of one matrix.
template <typename F>
void each(int64_t rows, int64_t columns, const DiagonalBand& band, F&& f) {
  const int64_t width = longest(rows, columns, band);
  for (int64_t k = band.high; k >= band.low; --k) {
    const int64_t n = length_of(rows, columns, k);
    const bool left = k > 0 ? band.left_above : band.left_below;
    const int64_t first = (band.high - k) * width + (left || k == 0 ? 0 : width - n);
    for (int64_t i = 0; i < n; ++i)
      f((i - std::min<int64_t>(k, 0)) * columns + i + std::max<int64_t>(k, 0), first + i);
  }
}

// The dimensions behind the batch that diagonals of such matrices have.
void append_band(Shape& shape, const Shape& x, const DiagonalBand& band) {
  const Dim rows = x[x.rank() - 2], columns = x[x.rank() - 1];
  if (band.low != band.high) shape.dims().push_back(band.high - band.low + 1);
  const bool known = rows.known() && columns.known();
  const Dim same = band.low <= 0 && band.high >= 0 && rows.same(columns) ? rows : Dim::unknown();
  shape.dims().push_back(known ? Dim(longest(rows.size(), columns.size(), band)) : same);
}

}  // namespace

Result<TensorTypes> DiagPart::infer(const InferContext& context) const {
  TRY(check_band(context, *this, name));
  if (context.has(1) && context.dtype(1) != context.dtype(0))
    return invalid_argument("diag_part: the fill value has another type than the matrices");
  TRY(nn::expect_scalar(context, name, 1));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  out.shape.dims().resize(out.shape.dims().size() - 2);
  append_band(out.shape, context.shape(0), *this);
  return TensorTypes{out};
}

Status DiagPart::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int64_t rows = x.dim(x.rank() - 2), columns = x.dim(x.rank() - 1);
  const int64_t width = longest(rows, columns, *this), count = high - low + 1;
  std::vector<int64_t> dims(x.dims().begin(), x.dims().end() - 2);
  const int64_t batch = product(dims, 0, static_cast<int>(dims.size()));
  if (count > 1) dims.push_back(count);
  dims.push_back(width);
  TRY(checked_elements(dims, dtype_size(x.dtype())));
  TRY(context.allocate(0, x.dtype(), dims));
  Tensor& y = context.out(0);
  const Tensor fill =
      context.has(1) ? context.in(1) : TRY(Tensor::zeros(x.dtype(), std::span<const int64_t>{}));
  for (int64_t i = 0; i < y.elements(); ++i) copy_elements(y, i, fill, 0, 1);
  for (int64_t b = 0; b < batch; ++b)
    each(rows, columns, *this, [&](int64_t matrix, int64_t diagonal) {
      copy_elements(y, b * count * width + diagonal, x, b * rows * columns + matrix, 1);
    });
  return {};
}

Result<TensorTypes> SetDiag::infer(const InferContext& context) const {
  TRY(check_band(context, *this, name));
  if (context.dtype(1) != context.dtype(0))
    return invalid_argument("set_diag: the diagonals have another type than the matrices");
  const Shape &x = context.shape(0), &d = context.shape(1);
  if (x.ranked() && d.ranked()) {
    Shape expected = x;
    expected.dims().resize(expected.dims().size() - 2);
    append_band(expected, x, *this);
    if (!merge_shapes(expected, d))
      return invalid_argument(fmt::format("set_diag of {} needs diagonals {}, not {}",
                                          x.to_string(), expected.to_string(), d.to_string()));
  }
  return TensorTypes{context.type(0)};
}

Status SetDiag::eval(EvalContext& context) const {
  const Tensor &x = context.in(0), &d = context.in(1);
  Tensor& y = context.out(0);
  const int64_t rows = x.dim(x.rank() - 2), columns = x.dim(x.rank() - 1);
  const int64_t per = (high - low + 1) * longest(rows, columns, *this);
  const int64_t batch = product(x.dims(), 0, x.rank() - 2);
  if (d.elements() != batch * per)
    return invalid_argument("set_diag: the diagonals do not fit the matrices");
  copy_elements(y, 0, x, 0, x.elements());
  for (int64_t b = 0; b < batch; ++b)
    each(rows, columns, *this, [&](int64_t matrix, int64_t diagonal) {
      copy_elements(y, b * rows * columns + matrix, d, b * per + diagonal, 1);
    });
  return {};
}

constinit const OpDef DiagPart::def = define<DiagPart>();
constinit const OpDef SetDiag::def = define<SetDiag>();
OpDefs diagonal_ops() {
  return {&DiagPart::def, &SetDiag::def};
}

}  // namespace tenon

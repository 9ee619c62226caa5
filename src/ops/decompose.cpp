#include "ops/decompose.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/matrix_batch.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using linalg::Batch;
using linalg::batch_of;
using linalg::check_matrices;
using linalg::Complex;
using linalg::Matrix;
using linalg::with_element;
using linalg::with_last;
using linalg::Writer;

struct Sizes {
  Dim rows = Dim::unknown(), columns = Dim::unknown(), least = Dim::unknown();
};
Sizes sizes_of(const Shape& shape) {
  Sizes s;
  if (!shape.ranked()) return s;
  s.rows = shape[shape.rank() - 2], s.columns = shape[shape.rank() - 1];
  if (s.rows.known() && s.columns.known())
    s.least = Dim(std::min(s.rows.size(), s.columns.size()));
  else if (s.rows.same(s.columns))
    s.least = s.rows;
  return s;
}

Error no_convergence(std::string_view op) {
  return invalid_argument(fmt::format("{}: a matrix has no finite result", op));
}

}  // namespace

void linalg::Writer::store(int64_t i, Complex v) {
  switch (out_.dtype()) {
    case DType::c64:
      out_.mutable_data<std::complex<float>>()[i] = std::complex<float>(v);
      return;
    case DType::c128:
      out_.mutable_data<Complex>()[i] = v;
      return;
    default:
      visit_real(out_.dtype(), [&](auto tag) {
        using R = typename decltype(tag)::type;
        out_.mutable_data<R>()[i] = nn::from_real<R>(v.real());
      });
  }
}

Result<TensorTypes> Svd::infer(const InferContext& context) const {
  const TensorType x = TRY(check_matrices(context, name, false));
  const auto [rows, columns, least] = sizes_of(x.shape);
  return TensorTypes{with_last(x, {least}), with_last(x, {rows, full_matrices ? rows : least}),
                     with_last(x, {columns, full_matrices ? columns : least})};
}

Status Svd::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, false));
  const DType t = context.in(0).dtype();
  Writer s(context.out(0), batch.count), u(context.out(1), batch.count),
      v(context.out(2), batch.count);
  return with_element(t, [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < batch.count; ++i) {
      std::vector<double> values;
      Matrix<T> left, right;
      linalg::svd(batch.matrix<T>(i), values, left, right);
      s.put(i, values);
      u.put(i, left);
      v.put(i, right);
    }
    return {};
  });
}

Result<TensorTypes> Qr::infer(const InferContext& context) const {
  const TensorType x = TRY(check_matrices(context, name, false));
  const auto [rows, columns, least] = sizes_of(x.shape);
  const Dim inner = full_matrices ? rows : least;
  return TensorTypes{with_last(x, {rows, inner}), with_last(x, {inner, columns})};
}

Status Qr::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, false));
  const DType t = context.in(0).dtype();
  Writer q(context.out(0), batch.count), r(context.out(1), batch.count);
  return with_element(t, [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < batch.count; ++i) {
      Matrix<T> unitary, upper;
      linalg::qr(batch.matrix<T>(i), unitary, upper);
      q.put(i, unitary);
      r.put(i, upper);
    }
    return {};
  });
}

Result<TensorTypes> Lu::infer(const InferContext& context) const {
  const TensorType x = TRY(check_matrices(context, name, true));
  if (index_dtype != DType::i32 && index_dtype != DType::i64)
    return invalid_argument("lu: index_dtype must be i32 or i64");
  TensorType order = with_last(x, {sizes_of(x.shape).rows});
  order.dtype = index_dtype;
  return TensorTypes{x, order};
}

Status Lu::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, true));
  const DType t = context.in(0).dtype();
  Writer lu(context.out(0), batch.count), p(context.out(1), batch.count);
  return with_element(t, [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < batch.count; ++i) {
      Matrix<T> a = batch.matrix<T>(i);
      const auto [order, sign] = linalg::factorise(a);
      if (sign == 0) return invalid_argument("lu: a matrix is singular");
      lu.put(i, a);
      p.put(i, order);
    }
    return {};
  });
}

Result<TensorTypes> EigenHermitian::infer(const InferContext& context) const {
  const TensorType x = TRY(check_matrices(context, name, true));
  return TensorTypes{with_last(x, {sizes_of(x.shape).rows}), x};
}

Status EigenHermitian::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, true));
  const DType t = context.in(0).dtype();
  Writer e(context.out(0), batch.count), v(context.out(1), batch.count);
  return with_element(t, [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < batch.count; ++i) {
      std::vector<double> values;
      Matrix<T> vectors;
      linalg::eigen_hermitian(batch.matrix<T>(i), values, vectors);
      e.put(i, values);
      v.put(i, vectors);
    }
    return {};
  });
}

Result<TensorTypes> Eigen::infer(const InferContext& context) const {
  TensorType x = TRY(check_matrices(context, name, true));
  x.dtype = x.dtype == DType::f64 || x.dtype == DType::c128 ? DType::c128 : DType::c64;
  return TensorTypes{with_last(x, {sizes_of(x.shape).rows}), x};
}

Status Eigen::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, true));
  Writer e(context.out(0), batch.count), v(context.out(1), batch.count);
  for (int64_t i = 0; i < batch.count; ++i) {
    std::vector<Complex> values;
    Matrix<Complex> vectors;
    if (!linalg::eigen(batch.matrix<Complex>(i), values, vectors)) return no_convergence(name);
    e.put(i, values);
    v.put(i, vectors);
  }
  return {};
}

Result<TensorTypes> MatrixFunction::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_matrices(context, name, true))};
}

Status MatrixFunction::eval(EvalContext& context) const {
  const Batch batch = TRY(batch_of(context.in(0), name, true));
  Writer out(context.out(0), batch.count);
  for (int64_t i = 0; i < batch.count; ++i) {
    Matrix<Complex> y;
    const auto x = batch.matrix<Complex>(i);
    if (!(kind == MatrixFunctionKind::sqrt ? linalg::square_root(x, y) : linalg::logarithm(x, y)))
      return no_convergence(name);
    out.put(i, y);
  }
  return {};
}

constinit const OpDef Svd::def = define<Svd>();
constinit const OpDef Qr::def = define<Qr>();
constinit const OpDef Lu::def = define<Lu>();
constinit const OpDef EigenHermitian::def = define<EigenHermitian>();
constinit const OpDef Eigen::def = define<Eigen>();
constinit const OpDef MatrixFunction::def = define<MatrixFunction>();
OpDefs decompose_ops() {
  return {&Svd::def, &Qr::def, &Lu::def, &EigenHermitian::def, &Eigen::def, &MatrixFunction::def};
}

}  // namespace tenon

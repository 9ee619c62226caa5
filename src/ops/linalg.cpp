// Reference evaluation in double precision, one matrix of the batch after the other.
#include "ops/linalg.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ops/matrix_batch.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using linalg::Batch;
using linalg::Complex;
using linalg::Matrix;

Result<TensorTypes> check_system(const InferContext& context, std::string_view op) {
  TRY(linalg::check_matrices(context, op, true));
  TRY(nn::expect_same_dtype(context, op, {1}));
  TRY(linalg::check_matrices(context, op, false, 1));
  const Shape &a = context.shape(0), &b = context.shape(1);
  if (a.ranked() && b.ranked()) {
    bool fits = a.rank() == b.rank();
    for (int i = 0; fits && i < a.rank() - 1; ++i)
      fits = !a[i].known() || !b[i].known() || a[i] == b[i];
    if (!fits)
      return invalid_argument(
          fmt::format("{}: a {} and b {} do not fit together", op, a.to_string(), b.to_string()));
  }
  return TensorTypes{context.type(1)};
}

double conjugate(double v) {
  return v;
}
Complex conjugate(Complex v) {
  return std::conj(v);
}

template <typename T>
void transpose(Matrix<T>& a) {
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < i; ++j) std::swap(a(i, j), a(j, i));
}

// Solves a x = b in place for a triangle of a, `unit` diagonal taken as 1.
template <typename T>
void substitute(const Matrix<T>& a, Matrix<T>& b, bool lower, bool unit) {
  const int64_t n = a.rows;
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = lower ? step : n - 1 - step;
    T* const row = b.values.data() + i * b.columns;
    for (int64_t k = lower ? 0 : i + 1; k < (lower ? i : n); ++k) {
      const T factor = a(i, k);
      const T* const other = b.values.data() + k * b.columns;
      for (int64_t j = 0; j < b.columns; ++j) row[j] -= factor * other[j];
    }
    for (int64_t j = 0; j < b.columns && !unit; ++j) row[j] = row[j] / a(i, i);
  }
}

// Calls solve(a, b) on every pair of the matrices of operands 0 and 1 and writes b.
template <typename F>
Status each_system(EvalContext& context, std::string_view op, F&& solve) {
  const Batch a = TRY(linalg::batch_of(context.in(0), op, true));
  const Batch b = TRY(linalg::batch_of(context.in(1), op, false));
  if (a.count != b.count || a.rows != b.rows)
    return invalid_argument(fmt::format("{}: a and b do not fit together", op));
  linalg::Writer out(context.out(0), b.count);
  return linalg::with_element(context.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < a.count; ++i) {
      Matrix<T> left = a.matrix<T>(i), right = b.matrix<T>(i);
      TRY(solve(left, right));
      out.put(i, right);
    }
    return {};
  });
}

// Sign (or phase) and log magnitude of each determinant.
template <typename T>
Status determinants(const Batch& batch, std::vector<T>& signs, std::vector<double>& logs) {
  for (int64_t k = 0; k < batch.count; ++k) {
    Matrix<T> a = batch.matrix<T>(k);
    T sign = linalg::factorise(a).sign;
    double log = 0;
    for (int64_t i = 0; i < a.rows && sign != T{}; ++i) {
      const double size = std::abs(a(i, i));
      sign *= a(i, i) / size;
      log += std::log(size);
    }
    signs.push_back(sign);
    logs.push_back(sign == T{} ? -std::numeric_limits<double>::infinity() : log);
  }
  return {};
}

}  // namespace

Result<TensorTypes> Cholesky::infer(const InferContext& context) const {
  return TensorTypes{TRY(linalg::check_matrices(context, name, true))};
}

Status Cholesky::eval(EvalContext& context) const {
  const Batch batch = TRY(linalg::batch_of(context.in(0), name, true));
  linalg::Writer out(context.out(0), batch.count);
  return linalg::with_element(context.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    for (int64_t k = 0; k < batch.count; ++k) {
      Matrix<T> a = batch.matrix<T>(k);
      for (int64_t i = 0; i < a.rows; ++i)
        for (int64_t j = 0; j < a.rows; ++j) {
          if (j > i) {
            a(i, j) = T{};
            continue;
          }
          T v = a(i, j);
          for (int64_t p = 0; p < j; ++p) v -= a(i, p) * conjugate(a(j, p));
          if (i == j && !(std::real(v) > 0))
            return invalid_argument("cholesky: a matrix is not positive definite");
          a(i, j) = i == j ? T(std::sqrt(std::real(v))) : v / a(j, j);
        }
      out.put(k, a);
    }
    return {};
  });
}

Result<TensorTypes> MatrixSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status MatrixSolve::eval(EvalContext& context) const {
  return each_system(context, name, [&]<typename T>(Matrix<T>& a, Matrix<T>& b) -> Status {
    if (transpose_a) transpose(a);
    const auto [order, sign] = linalg::factorise(a);
    if (sign == 0) return invalid_argument("matrix_solve: a matrix is singular");
    const Matrix<T> rows = b;
    for (int64_t i = 0; i < b.rows; ++i)
      for (int64_t j = 0; j < b.columns; ++j)
        b(i, j) = rows(static_cast<int64_t>(order[static_cast<size_t>(i)]), j);
    substitute(a, b, true, true);
    substitute(a, b, false, false);
    return {};
  });
}

Result<TensorTypes> TriangularSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status TriangularSolve::eval(EvalContext& context) const {
  return each_system(context, name, [&]<typename T>(Matrix<T>& a, Matrix<T>& b) -> Status {
    if (transpose_a) transpose(a);
    substitute(a, b, lower != transpose_a, false);
    return {};
  });
}

Result<TensorTypes> LogDeterminant::infer(const InferContext& context) const {
  const TensorType out = linalg::with_last(TRY(linalg::check_matrices(context, name, true)), {});
  return TensorTypes{out, out};
}

Status LogDeterminant::eval(EvalContext& context) const {
  const Batch batch = TRY(linalg::batch_of(context.in(0), name, true));
  linalg::Writer sign(context.out(0), 1), log(context.out(1), 1);
  return linalg::with_element(context.in(0).dtype(), [&](auto tag) -> Status {
    std::vector<typename decltype(tag)::type> signs;
    std::vector<double> logs;
    TRY(determinants(batch, signs, logs));
    sign.put(0, signs);
    log.put(0, logs);
    return {};
  });
}

Result<TensorTypes> Det::infer(const InferContext& context) const {
  return TensorTypes{linalg::with_last(TRY(linalg::check_matrices(context, name, true)), {})};
}

Status Det::eval(EvalContext& context) const {
  const Batch batch = TRY(linalg::batch_of(context.in(0), name, true));
  linalg::Writer out(context.out(0), 1);
  return linalg::with_element(context.in(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    std::vector<T> values;
    for (int64_t k = 0; k < batch.count; ++k) {
      Matrix<T> a = batch.matrix<T>(k);
      T det = linalg::factorise(a).sign;
      for (int64_t i = 0; i < a.rows && det != T{}; ++i) det *= a(i, i);
      values.push_back(det);
    }
    out.put(0, values);
    return {};
  });
}

constinit const OpDef Cholesky::def = define<Cholesky>();
constinit const OpDef MatrixSolve::def = define<MatrixSolve>();
constinit const OpDef TriangularSolve::def = define<TriangularSolve>();
constinit const OpDef LogDeterminant::def = define<LogDeterminant>();
constinit const OpDef Det::def = define<Det>();
OpDefs linalg_ops() {
  return {&Cholesky::def, &MatrixSolve::def, &TriangularSolve::def, &LogDeterminant::def,
          &Det::def};
}

}  // namespace tenon

// Reference evaluation in double, one matrix of the batch after the other.
#include "ops/linalg.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Square matrices in operand 0; their type.
Result<TensorType> check_square(const InferContext& context, std::string_view op) {
  TRY(nn::expect_float(context, op));
  const Shape& s = context.shape(0);
  TRY(nn::expect_rank(context, op, 0, 2, nn::kAnyRank));
  if (s.ranked()) {
    const Dim rows = s[s.rank() - 2], columns = s[s.rank() - 1];
    if (rows.known() && columns.known() && rows != columns)
      return invalid_argument(
          fmt::format("{} needs square matrices, not {}", op, context.type(0).to_string()));
  }
  return context.type(0);
}

Result<TensorTypes> check_system(const InferContext& context, std::string_view op) {
  TRY(check_square(context, op));
  TRY(nn::expect_same_dtype(context, op, {1}));
  TRY(nn::expect_rank(context, op, 1, 2, nn::kAnyRank));
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

TensorType without_matrix(TensorType type) {
  if (type.shape.ranked()) {
    type.shape.dims().pop_back();
    type.shape.dims().pop_back();
  }
  return type;
}

// LU factorisation in place with row exchanges; the sign of the permutation, 0 where singular.
int factorise(double* a, int64_t n, std::vector<int64_t>& order) {
  int sign = 1;
  for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == 0) return 0;
    if (pivot != k) {
      sign = -sign;
      std::swap(order[static_cast<size_t>(k)], order[static_cast<size_t>(pivot)]);
      for (int64_t j = 0; j < n; ++j) std::swap(a[k * n + j], a[pivot * n + j]);
    }
    for (int64_t i = k + 1; i < n; ++i) {
      const double f = a[i * n + k] /= a[k * n + k];
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= f * a[k * n + j];
    }
  }
  return sign;
}

void transpose(std::vector<double>& a, int64_t n) {
  for (size_t at = 0; at + static_cast<size_t>(n * n) <= a.size(); at += static_cast<size_t>(n * n))
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < i; ++j)
        std::swap(a[at + static_cast<size_t>(i * n + j)], a[at + static_cast<size_t>(j * n + i)]);
}

// Solves a x = b in place for a triangle of a, `unit` diagonal taken as 1.
void substitute(const double* a, int64_t n, double* b, int64_t columns, bool lower, bool unit) {
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = lower ? step : n - 1 - step;
    for (int64_t j = 0; j < columns; ++j) {
      double v = b[i * columns + j];
      for (int64_t k = lower ? 0 : i + 1; k < (lower ? i : n); ++k)
        v -= a[i * n + k] * b[k * columns + j];
      b[i * columns + j] = unit ? v : v / a[i * n + i];
    }
  }
}

struct Matrices {
  int64_t n = 0, batch = 0;
  std::vector<double> values;
};

Result<Matrices> matrices(const Tensor& x, std::string_view op) {
  const int r = x.rank();
  if (r < 2 || x.dim(r - 1) != x.dim(r - 2))
    return invalid_argument(fmt::format("{} needs square matrices", op));
  Matrices m{x.dim(r - 1), 1, nn::reals(x)};
  for (int i = 0; i < r - 2; ++i) m.batch *= x.dim(i);
  return m;
}

Status check_rows(const Matrices& m, const Tensor& b, std::string_view op) {
  const int r = b.rank();
  bool fits = r >= 2 && b.dim(r - 2) == m.n;
  int64_t batch = 1;
  for (int i = 0; i < r - 2; ++i) batch *= b.dim(i);
  if (fits && batch == m.batch) return {};
  return invalid_argument(fmt::format("{}: a and b do not fit together", op));
}

// Sign and log magnitude of each determinant.
Result<std::vector<std::pair<double, double>>> determinants(const Tensor& x, std::string_view op) {
  Matrices m = TRY(matrices(x, op));
  std::vector<int64_t> order(static_cast<size_t>(m.n));
  std::vector<std::pair<double, double>> result;
  for (int64_t k = 0; k < m.batch; ++k) {
    double* a = m.values.data() + k * m.n * m.n;
    double sign = factorise(a, m.n, order), log = 0;
    for (int64_t i = 0; i < m.n && sign != 0; ++i) {
      const double d = a[i * m.n + i];
      sign *= d < 0 ? -1 : 1;
      log += std::log(std::abs(d));
    }
    if (sign == 0) log = -std::numeric_limits<double>::infinity();
    result.emplace_back(sign, log);
  }
  return result;
}

}  // namespace

Result<TensorTypes> Cholesky::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_square(context, name))};
}

Status Cholesky::eval(EvalContext& context) const {
  Matrices m = TRY(matrices(context.in(0), name));
  const int64_t n = m.n;
  for (int64_t k = 0; k < m.batch; ++k) {
    double* a = m.values.data() + k * n * n;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        if (j > i) {
          a[i * n + j] = 0;
          continue;
        }
        double v = a[i * n + j];
        for (int64_t p = 0; p < j; ++p) v -= a[i * n + p] * a[j * n + p];
        if (i == j && !(v > 0))
          return invalid_argument("cholesky: a matrix is not positive definite");
        a[i * n + j] = i == j ? std::sqrt(v) : v / a[j * n + j];
      }
  }
  nn::store_reals(context.out(0), m.values);
  return {};
}

Result<TensorTypes> MatrixSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status MatrixSolve::eval(EvalContext& context) const {
  Matrices m = TRY(matrices(context.in(0), name));
  TRY(check_rows(m, context.in(1), name));
  if (transpose_a) transpose(m.values, m.n);
  const auto b = nn::reals(context.in(1));
  std::vector<double> y(b.size());
  const int64_t n = m.n, columns = context.in(1).dim(context.in(1).rank() - 1);
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t k = 0; k < m.batch; ++k) {
    double* a = m.values.data() + k * n * n;
    if (factorise(a, n, order) == 0) return invalid_argument("matrix_solve: a matrix is singular");
    double* out = y.data() + k * n * columns;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < columns; ++j)
        out[i * columns + j] =
            b[static_cast<size_t>((k * n + order[static_cast<size_t>(i)]) * columns + j)];
    substitute(a, n, out, columns, true, true);
    substitute(a, n, out, columns, false, false);
  }
  nn::store_reals(context.out(0), y);
  return {};
}

Result<TensorTypes> TriangularSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status TriangularSolve::eval(EvalContext& context) const {
  Matrices m = TRY(matrices(context.in(0), name));
  TRY(check_rows(m, context.in(1), name));
  if (transpose_a) transpose(m.values, m.n);
  auto y = nn::reals(context.in(1));
  const int64_t columns = context.in(1).dim(context.in(1).rank() - 1);
  for (int64_t k = 0; k < m.batch; ++k)
    substitute(m.values.data() + k * m.n * m.n, m.n, y.data() + k * m.n * columns, columns,
               lower != transpose_a, false);
  nn::store_reals(context.out(0), y);
  return {};
}

Result<TensorTypes> LogDeterminant::infer(const InferContext& context) const {
  const TensorType out = without_matrix(TRY(check_square(context, name)));
  return TensorTypes{out, out};
}

Status LogDeterminant::eval(EvalContext& context) const {
  std::vector<double> signs, logs;
  for (const auto& [sign, log] : TRY(determinants(context.in(0), name))) {
    signs.push_back(sign);
    logs.push_back(log);
  }
  nn::store_reals(context.out(0), signs);
  nn::store_reals(context.out(1), logs);
  return {};
}

constinit const OpDef Cholesky::def = define<Cholesky>();
constinit const OpDef MatrixSolve::def = define<MatrixSolve>();
constinit const OpDef TriangularSolve::def = define<TriangularSolve>();
constinit const OpDef LogDeterminant::def = define<LogDeterminant>();
OpDefs linalg_ops() {
  return {&Cholesky::def, &MatrixSolve::def, &TriangularSolve::def, &LogDeterminant::def};
}

}  // namespace tenon

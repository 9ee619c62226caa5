// Reference evaluation in double or complex of it, one matrix of the batch after the other.
#include "ops/linalg.h"

#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <limits>
#include <utility>
#include <vector>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Square matrices in operand 0; their type.
Result<TensorType> check_square(const InferContext& context, std::string_view op) {
  const DType dtype = context.dtype(0);
  if (context.type(0).is_list || (!is_float(dtype) && !is_complex(dtype)))
    return invalid_argument(
        fmt::format("{} needs real or complex numbers, not {}", op, context.type(0).to_string()));
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

using Complex = std::complex<double>;

// The elements in the type V that is computed in: double or complex of it.
template <typename V>
std::vector<V> values_of(const Tensor& t) {
  if constexpr (std::is_same_v<V, double>) {
    return nn::reals(t);
  } else {
    std::vector<V> values(static_cast<size_t>(t.elements()));
    for (int64_t i = 0; i < t.elements(); ++i)
      values[static_cast<size_t>(i)] =
          t.dtype() == DType::c64 ? V(t.data<std::complex<float>>()[i]) : t.data<V>()[i];
    return values;
  }
}

void store(Tensor& t, const std::vector<double>& values) {
  nn::store_reals(t, values);
}
void store(Tensor& t, const std::vector<Complex>& values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (t.dtype() == DType::c64)
      t.mutable_data<std::complex<float>>()[i] = std::complex<float>(values[i]);
    else
      t.mutable_data<Complex>()[i] = values[i];
}

double conjugate(double v) {
  return v;
}
Complex conjugate(const Complex& v) {
  return std::conj(v);
}

// f(V()) with the type V for these matrices.
template <typename F>
Status in_type_of(const Tensor& x, F&& f) {
  return is_complex(x.dtype()) ? f(Complex()) : f(double());
}

// LU factorisation in place with row exchanges; the sign of the permutation, 0 where singular.
template <typename V>
int factorise(V* a, int64_t n, std::vector<int64_t>& order) {
  int sign = 1;
  for (int64_t i = 0; i < n; ++i) order[static_cast<size_t>(i)] = i;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    if (a[pivot * n + k] == V(0)) return 0;
    if (pivot != k) {
      sign = -sign;
      std::swap(order[static_cast<size_t>(k)], order[static_cast<size_t>(pivot)]);
      for (int64_t j = 0; j < n; ++j) std::swap(a[k * n + j], a[pivot * n + j]);
    }
    for (int64_t i = k + 1; i < n; ++i) {
      const V f = a[i * n + k] /= a[k * n + k];
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= f * a[k * n + j];
    }
  }
  return sign;
}

template <typename V>
void transpose(std::vector<V>& a, int64_t n) {
  for (size_t at = 0; at + static_cast<size_t>(n * n) <= a.size(); at += static_cast<size_t>(n * n))
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < i; ++j)
        std::swap(a[at + static_cast<size_t>(i * n + j)], a[at + static_cast<size_t>(j * n + i)]);
}

// Solves a x = b in place for a triangle of a, `unit` diagonal taken as 1.
template <typename V>
void substitute(const V* a, int64_t n, V* b, int64_t columns, bool lower, bool unit) {
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = lower ? step : n - 1 - step;
    for (int64_t j = 0; j < columns; ++j) {
      V v = b[i * columns + j];
      for (int64_t k = lower ? 0 : i + 1; k < (lower ? i : n); ++k)
        v -= a[i * n + k] * b[k * columns + j];
      b[i * columns + j] = unit ? v : v / a[i * n + i];
    }
  }
}

template <typename V>
struct Matrices {
  int64_t n = 0, batch = 0;
  std::vector<V> values;
};

template <typename V>
Result<Matrices<V>> matrices(const Tensor& x, std::string_view op) {
  const int r = x.rank();
  if (r < 2 || x.dim(r - 1) != x.dim(r - 2))
    return invalid_argument(fmt::format("{} needs square matrices", op));
  Matrices<V> m{x.dim(r - 1), 1, values_of<V>(x)};
  for (int i = 0; i < r - 2; ++i) m.batch *= x.dim(i);
  return m;
}

template <typename V>
Status check_rows(const Matrices<V>& m, const Tensor& b, std::string_view op) {
  const int r = b.rank();
  bool fits = r >= 2 && b.dim(r - 2) == m.n;
  int64_t batch = 1;
  for (int i = 0; i < r - 2; ++i) batch *= b.dim(i);
  if (fits && batch == m.batch) return {};
  return invalid_argument(fmt::format("{}: a and b do not fit together", op));
}

// Sign (of absolute value 1) and log magnitude of each determinant.
template <typename V>
Status log_determinants(const Tensor& x, Tensor& signs, Tensor& logs, std::string_view op) {
  Matrices<V> m = TRY(matrices<V>(x, op));
  std::vector<int64_t> order(static_cast<size_t>(m.n));
  std::vector<V> sign_values, log_values;
  for (int64_t k = 0; k < m.batch; ++k) {
    V* a = m.values.data() + k * m.n * m.n;
    V sign(factorise(a, m.n, order));
    double log = 0;
    for (int64_t i = 0; i < m.n && sign != V(0); ++i) {
      const V d = a[i * m.n + i];
      sign *= d / std::abs(d);
      log += std::log(std::abs(d));
    }
    if (sign == V(0)) log = -std::numeric_limits<double>::infinity();
    sign_values.push_back(sign);
    log_values.push_back(V(log));
  }
  store(signs, sign_values);
  store(logs, log_values);
  return {};
}

template <typename V>
Status cholesky(const Tensor& x, Tensor& y, std::string_view op) {
  Matrices<V> m = TRY(matrices<V>(x, op));
  const int64_t n = m.n;
  for (int64_t k = 0; k < m.batch; ++k) {
    V* a = m.values.data() + k * n * n;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        if (j > i) {
          a[i * n + j] = 0;
          continue;
        }
        V v = a[i * n + j];
        for (int64_t p = 0; p < j; ++p) v -= a[i * n + p] * conjugate(a[j * n + p]);
        if (i == j && !(std::real(v) > 0))
          return invalid_argument("cholesky: a matrix is not positive definite");
        a[i * n + j] = i == j ? V(std::sqrt(std::real(v))) : v / a[j * n + j];
      }
  }
  store(y, m.values);
  return {};
}

template <typename V>
Status solve(const MatrixSolve& op, EvalContext& context) {
  Matrices<V> m = TRY(matrices<V>(context.in(0), op.name));
  TRY(check_rows(m, context.in(1), op.name));
  if (op.transpose_a) transpose(m.values, m.n);
  const auto b = values_of<V>(context.in(1));
  std::vector<V> y(b.size());
  const int64_t n = m.n, columns = context.in(1).dim(context.in(1).rank() - 1);
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (int64_t k = 0; k < m.batch; ++k) {
    V* a = m.values.data() + k * n * n;
    if (factorise(a, n, order) == 0) return invalid_argument("matrix_solve: a matrix is singular");
    V* out = y.data() + k * n * columns;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < columns; ++j)
        out[i * columns + j] =
            b[static_cast<size_t>((k * n + order[static_cast<size_t>(i)]) * columns + j)];
    substitute(a, n, out, columns, true, true);
    substitute(a, n, out, columns, false, false);
  }
  store(context.out(0), y);
  return {};
}

template <typename V>
Status triangular_solve(const TriangularSolve& op, EvalContext& context) {
  Matrices<V> m = TRY(matrices<V>(context.in(0), op.name));
  TRY(check_rows(m, context.in(1), op.name));
  if (op.transpose_a) transpose(m.values, m.n);
  auto y = values_of<V>(context.in(1));
  const int64_t columns = context.in(1).dim(context.in(1).rank() - 1);
  for (int64_t k = 0; k < m.batch; ++k)
    substitute(m.values.data() + k * m.n * m.n, m.n, y.data() + k * m.n * columns, columns,
               op.lower != op.transpose_a, false);
  store(context.out(0), y);
  return {};
}

}  // namespace

Result<TensorTypes> Cholesky::infer(const InferContext& context) const {
  return TensorTypes{TRY(check_square(context, name))};
}

Status Cholesky::eval(EvalContext& context) const {
  return in_type_of(context.in(0), [&](auto zero) {
    return cholesky<decltype(zero)>(context.in(0), context.out(0), name);
  });
}

Result<TensorTypes> MatrixSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status MatrixSolve::eval(EvalContext& context) const {
  return in_type_of(context.in(0),
                    [&](auto zero) { return solve<decltype(zero)>(*this, context); });
}

Result<TensorTypes> TriangularSolve::infer(const InferContext& context) const {
  return check_system(context, name);
}

Status TriangularSolve::eval(EvalContext& context) const {
  return in_type_of(context.in(0),
                    [&](auto zero) { return triangular_solve<decltype(zero)>(*this, context); });
}

Result<TensorTypes> LogDeterminant::infer(const InferContext& context) const {
  const TensorType out = without_matrix(TRY(check_square(context, name)));
  return TensorTypes{out, out};
}

Status LogDeterminant::eval(EvalContext& context) const {
  return in_type_of(context.in(0), [&](auto zero) {
    return log_determinants<decltype(zero)>(context.in(0), context.out(0), context.out(1), name);
  });
}

constinit const OpDef Cholesky::def = define<Cholesky>();
constinit const OpDef MatrixSolve::def = define<MatrixSolve>();
constinit const OpDef TriangularSolve::def = define<TriangularSolve>();
constinit const OpDef LogDeterminant::def = define<LogDeterminant>();
OpDefs linalg_ops() {
  return {&Cholesky::def, &MatrixSolve::def, &TriangularSolve::def, &LogDeterminant::def};
}

}  // namespace tenon

// What ops on the matrices in the last two dimensions share: checks, the matrices of a batch as
// real or complex numbers of double precision, and Gauss's elimination.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "ops/decompose_eval.h"
#include "ops/movement.h"
#include "ops/nn_util.h"

namespace tenon::linalg {

// The type of operand i: matrices of real or complex numbers; square ones where that is wanted.
inline Result<TensorType> check_matrices(const InferContext& context, std::string_view op,
                                         bool square, int i = 0) {
  TRY(require_tensors(context, op));
  const TensorType& x = context.type(i);
  if (!is_float(x.dtype) && !is_complex(x.dtype))
    return invalid_argument(
        fmt::format("{} needs real or complex numbers, not {}", op, x.to_string()));
  TRY(nn::expect_rank(context, op, i, 2, nn::kAnyRank));
  if (square && x.shape.ranked()) {
    const Dim m = x.shape[x.shape.rank() - 2], n = x.shape[x.shape.rank() - 1];
    if (m.known() && n.known() && m != n)
      return invalid_argument(fmt::format("{} needs square matrices, not {}", op, x.to_string()));
  }
  return x;
}

// The type with other last dimensions in place of the matrix.
inline TensorType with_last(TensorType type, std::vector<Dim> last) {
  if (!type.shape.ranked()) return type;
  auto& dims = type.shape.dims();
  dims.resize(dims.size() - 2);
  dims.insert(dims.end(), last.begin(), last.end());
  return type;
}

// Calls f with the type of a computation on elements of this type: double or Complex.
template <typename F>
Status with_element(DType dtype, F&& f) {
  if (is_complex(dtype)) return f(TypeTag<Complex>{});
  return f(TypeTag<double>{});
}

template <typename T>
T element(const Tensor& t, int64_t i) {
  if constexpr (std::is_same_v<T, Complex>) {
    if (t.dtype() == DType::c64) return Complex(t.data<std::complex<float>>()[i]);
    if (t.dtype() == DType::c128) return t.data<Complex>()[i];
  }
  return T(t.real_at(i));
}

// The matrices of x and the number of them.
struct Batch {
  const Tensor& x;
  int64_t count = 1, rows = 0, columns = 0;

  template <typename T>
  Matrix<T> matrix(int64_t index) const {
    Matrix<T> m(rows, columns);
    for (size_t i = 0; i < m.values.size(); ++i)
      m.values[i] = element<T>(x, index * rows * columns + static_cast<int64_t>(i));
    return m;
  }
  // The dimensions of an output with these in place of the matrix.
  std::vector<int64_t> dims(std::initializer_list<int64_t> last) const {
    std::vector<int64_t> all(x.dims().begin(), x.dims().end() - 2);
    all.insert(all.end(), last);
    return all;
  }
};

inline Result<Batch> batch_of(const Tensor& x, std::string_view op, bool square) {
  if (x.rank() < 2) return invalid_argument(fmt::format("{} needs matrices", op));
  Batch batch{x, 1, x.dim(x.rank() - 2), x.dim(x.rank() - 1)};
  for (int i = 0; i + 2 < x.rank(); ++i) batch.count *= x.dim(i);
  if (square && batch.rows != batch.columns)
    return invalid_argument(fmt::format("{} needs square matrices", op));
  return batch;
}

// Writes one matrix or vector of a batch, cut to the size that the output has.
class Writer {
 public:
  Writer(Tensor& out, int64_t batch) : out_(out) { at_ = batch == 0 ? 0 : out.elements() / batch; }

  template <typename T>
  void put(int64_t index, const Matrix<T>& m) {
    const int64_t columns = out_.dim(out_.rank() - 1), rows = out_.dim(out_.rank() - 2);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) store(index * at_ + i * columns + j, m(i, j));
  }
  template <typename T>
  void put(int64_t index, const std::vector<T>& v) {
    for (size_t i = 0; i < v.size(); ++i) store(index * at_ + static_cast<int64_t>(i), v[i]);
  }

 private:
  void store(int64_t i, double v) { store(i, Complex(v)); }
  void store(int64_t i, Complex v);

  Tensor& out_;
  int64_t at_ = 0;
};

// Rows in order and the sign of their permutation, 0 where a matrix is singular.
struct Pivots {
  std::vector<double> order;
  int sign = 1;
};
// a becomes l (below the diagonal, 1 on it) and u with a[order] = l u.
template <typename T>
Pivots factorise(Matrix<T>& a) {
  const int64_t n = a.rows;
  Pivots pivots;
  for (int64_t i = 0; i < n; ++i) pivots.order.push_back(static_cast<double>(i));
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i)
      if (std::abs(a(i, k)) > std::abs(a(pivot, k))) pivot = i;
    if (a(pivot, k) == T{}) {
      pivots.sign = 0;
      return pivots;
    }
    if (pivot != k) {
      pivots.sign = -pivots.sign;
      std::swap(pivots.order[static_cast<size_t>(k)], pivots.order[static_cast<size_t>(pivot)]);
      for (int64_t j = 0; j < n; ++j) std::swap(a(k, j), a(pivot, j));
    }
    for (int64_t i = k + 1; i < n; ++i) {
      const T factor = a(i, k) /= a(k, k);
      for (int64_t j = k + 1; j < n; ++j) a(i, j) -= factor * a(k, j);
    }
  }
  return pivots;
}

}  // namespace tenon::linalg

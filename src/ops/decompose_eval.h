// Factorisations of one dense matrix, of double or complex numbers, row by row in a vector.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace tenon::linalg {

template <typename T>
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<T> values;

  Matrix() = default;
  Matrix(int64_t m, int64_t n) : rows(m), columns(n), values(static_cast<size_t>(m * n)) {}
  T& operator()(int64_t i, int64_t j) { return values[static_cast<size_t>(i * columns + j)]; }
  const T& operator()(int64_t i, int64_t j) const {
    return values[static_cast<size_t>(i * columns + j)];
  }
};
using Complex = std::complex<double>;

template <typename T>
Matrix<T> identity(int64_t n);
// The conjugate of the transpose.
template <typename T>
Matrix<T> adjoint(const Matrix<T>& a);
template <typename T>
Matrix<T> multiply(const Matrix<T>& a, const Matrix<T>& b);

// a = q r by Householder reflections: q [m, m] unitary, r [m, n] upper triangular with the signs of
// LAPACK (a diagonal element has the sign opposite to the one it replaces).
template <typename T>
void qr(const Matrix<T>& a, Matrix<T>& q, Matrix<T>& r);

// The eigenvalues, ascending, and the eigenvectors as columns of a Hermitian matrix of which the
// lower triangle is read (Jacobi's method).
template <typename T>
void eigen_hermitian(const Matrix<T>& a, std::vector<double>& values, Matrix<T>& vectors);

// a = u diag(s) v^H with s descending, u [m, m] and v [n, n] (Jacobi's one-sided method; Hestenes,
// 1958).
template <typename T>
void svd(const Matrix<T>& a, std::vector<double>& s, Matrix<T>& u, Matrix<T>& v);

// a = q t q^H with q unitary, t upper triangular: Schur's form by the shifted QR algorithm. False
// when it does not converge.
bool schur(const Matrix<Complex>& a, Matrix<Complex>& q, Matrix<Complex>& t);
// Eigenvalues and eigenvectors (columns of length 1) of any square matrix.
bool eigen(const Matrix<Complex>& a, std::vector<Complex>& values, Matrix<Complex>& vectors);
// The principal square root and logarithm, by Schur's form.
bool square_root(const Matrix<Complex>& a, Matrix<Complex>& root);
bool logarithm(const Matrix<Complex>& a, Matrix<Complex>& log);

}  // namespace tenon::linalg

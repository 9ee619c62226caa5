#include "ops/decompose_eval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tenon::linalg {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

double conjugate(double v) {
  return v;
}
Complex conjugate(Complex v) {
  return std::conj(v);
}

// v / |v|, 1 for 0.
template <typename T>
T phase(T v) {
  const double size = std::abs(v);
  return size == 0 ? T(1) : v / size;
}

// A rotation of the columns p and q that makes an off-diagonal element `c` between diagonal
// elements `a` and `b` vanish, which become a - tangent c and b + tangent c.
struct Rotation {
  double cosine = 1, sine = 0, tangent = 0;
};
Rotation rotation(double a, double b, double c) {
  constexpr double kLarge = 1e8;  // whose square has no place for 1
  const double zeta = (b - a) / (2 * c), size = std::abs(zeta);
  const double t = size > kLarge ? 0.5 / size : 1 / (size + std::sqrt(1 + zeta * zeta));
  const double tangent = std::copysign(t, zeta), cosine = 1 / std::sqrt(1 + t * t);
  return {cosine, cosine * tangent, tangent};
}

template <typename T>
void rotate_columns(Matrix<T>& m, int64_t p, int64_t q, Rotation r, T turn) {
  for (int64_t i = 0; i < m.rows; ++i) {
    const T x = m(i, p), y = m(i, q) * conjugate(turn);
    m(i, p) = r.cosine * x - r.sine * y;
    m(i, q) = r.sine * x + r.cosine * y;
  }
}

template <typename T>
void rotate_rows(Matrix<T>& m, int64_t p, int64_t q, Rotation r, T turn) {
  T *const first = &m(p, 0), *const second = &m(q, 0);
  for (int64_t j = 0; j < m.columns; ++j) {
    const T x = first[j], y = second[j] * turn;
    first[j] = r.cosine * x - r.sine * y;
    second[j] = r.sine * x + r.cosine * y;
  }
}

// Columns from `count` on become unit vectors orthogonal to all before.
template <typename T>
void complete_basis(Matrix<T>& u, int64_t count) {
  for (int64_t k = count; k < u.columns; ++k) {
    // The axis that the columns so far cover least.
    int64_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < u.rows; ++i) {
      double covered = 0;
      for (int64_t j = 0; j < k; ++j) covered += std::norm(u(i, j));
      if (covered < least) least = covered, best = i;
    }
    for (int64_t i = 0; i < u.rows; ++i) u(i, k) = T(i == best ? 1 : 0);
    for (int round = 0; round < 2; ++round)
      for (int64_t j = 0; j < k; ++j) {
        T dot{};
        for (int64_t i = 0; i < u.rows; ++i) dot += conjugate(u(i, j)) * u(i, k);
        for (int64_t i = 0; i < u.rows; ++i) u(i, k) -= dot * u(i, j);
      }
    double size = 0;
    for (int64_t i = 0; i < u.rows; ++i) size += std::norm(u(i, k));
    for (int64_t i = 0; i < u.rows; ++i) u(i, k) /= std::sqrt(size);
  }
}

// For m >= n: u gets n columns of length 1, or 0 where s is 0.
template <typename T>
void svd_tall(Matrix<T> a, std::vector<double>& s, Matrix<T>& u, Matrix<T>& v) {
  const int64_t m = a.rows, n = a.columns;
  Matrix<T> turned = identity<T>(n);
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool done = true;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) {
        double pp = 0, qq = 0;
        T pq{};
        for (int64_t i = 0; i < m; ++i) {
          pp += std::norm(a(i, p)), qq += std::norm(a(i, q));
          pq += conjugate(a(i, p)) * a(i, q);
        }
        if (!(std::abs(pq) > kEpsilon * std::sqrt(pp * qq))) continue;
        done = false;
        const Rotation r = rotation(pp, qq, std::abs(pq));
        rotate_columns(a, p, q, r, phase(pq));
        rotate_columns(turned, p, q, r, phase(pq));
      }
    if (done) break;
  }
  std::vector<double> sizes(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < m; ++i) sum += std::norm(a(i, j));
    sizes[static_cast<size_t>(j)] = std::sqrt(sum);
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t x, int64_t y) {
    return sizes[static_cast<size_t>(x)] > sizes[static_cast<size_t>(y)];
  });
  u = Matrix<T>(m, m), v = Matrix<T>(n, n);
  s.assign(static_cast<size_t>(n), 0);
  int64_t rank = 0;
  for (int64_t j = 0; j < n; ++j) {
    const int64_t from = order[static_cast<size_t>(j)];
    const double size = s[static_cast<size_t>(j)] = sizes[static_cast<size_t>(from)];
    for (int64_t i = 0; i < n; ++i) v(i, j) = turned(i, from);
    // What is left of a column that depends on the others has no direction.
    if (!(size > s[0] * kEpsilon)) continue;
    rank = j + 1;
    for (int64_t i = 0; i < m; ++i) u(i, j) = a(i, from) / size;
  }
  complete_basis(u, rank);
}

// To Hessenberg's form (zeros below the first subdiagonal) by reflections, collected in q.
void hessenberg(Matrix<Complex>& t, Matrix<Complex>& q) {
  const int64_t n = t.rows;
  std::vector<Complex> v(static_cast<size_t>(n));
  for (int64_t k = 0; k + 2 < n; ++k) {
    double size = 0;
    for (int64_t i = k + 1; i < n; ++i) size += std::norm(t(i, k));
    size = std::sqrt(size);
    if (size == 0) continue;
    for (int64_t i = k + 1; i < n; ++i) v[static_cast<size_t>(i)] = t(i, k);
    v[static_cast<size_t>(k + 1)] += phase(t(k + 1, k)) * size;
    double norm = 0;
    for (int64_t i = k + 1; i < n; ++i) norm += std::norm(v[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < n; ++j) {
      Complex dot{};
      for (int64_t i = k + 1; i < n; ++i) dot += std::conj(v[static_cast<size_t>(i)]) * t(i, j);
      for (int64_t i = k + 1; i < n; ++i) t(i, j) -= 2.0 / norm * dot * v[static_cast<size_t>(i)];
    }
    for (Matrix<Complex>* m : {&t, &q})
      for (int64_t i = 0; i < n; ++i) {
        Complex dot{};
        for (int64_t j = k + 1; j < n; ++j) dot += (*m)(i, j) * v[static_cast<size_t>(j)];
        for (int64_t j = k + 1; j < n; ++j)
          (*m)(i, j) -= 2.0 / norm * dot * std::conj(v[static_cast<size_t>(j)]);
      }
  }
}

// The eigenvalue of the last two rows and columns before `end` that is closer to the last element.
Complex shift_of(const Matrix<Complex>& t, int64_t end) {
  const Complex a = t(end - 2, end - 2), b = t(end - 2, end - 1), c = t(end - 1, end - 2),
                d = t(end - 1, end - 1);
  const Complex half = (a - d) * 0.5, root = std::sqrt(half * half + b * c);
  const Complex x = d + half + root, y = d + half - root;
  return std::abs(x - d) < std::abs(y - d) ? x : y;
}

// One QR step with shift on rows and columns [begin, end).
void qr_step(Matrix<Complex>& t, Matrix<Complex>& q, int64_t begin, int64_t end, Complex shift) {
  const int64_t n = t.rows;
  Complex x = t(begin, begin) - shift, y = t(begin + 1, begin);
  for (int64_t k = begin; k + 1 < end; ++k) {
    const double size = std::sqrt(std::norm(x) + std::norm(y));
    const Complex c = size == 0 ? 1.0 : x / size, s = size == 0 ? 0.0 : y / size;
    for (int64_t j = std::max<int64_t>(k - 1, 0); j < n; ++j) {
      const Complex u = t(k, j), w = t(k + 1, j);
      t(k, j) = std::conj(c) * u + std::conj(s) * w;
      t(k + 1, j) = c * w - s * u;
    }
    for (Matrix<Complex>* m : {&t, &q}) {
      const int64_t rows = m == &t ? std::min(end, k + 3) : n;
      for (int64_t i = 0; i < rows; ++i) {
        const Complex u = (*m)(i, k), w = (*m)(i, k + 1);
        (*m)(i, k) = u * c + w * s;
        (*m)(i, k + 1) = w * std::conj(c) - u * std::conj(s);
      }
    }
    if (k + 2 < end) x = t(k + 1, k), y = t(k + 2, k);
  }
}

// The upper triangular x with x x = t.
Matrix<Complex> triangular_root(const Matrix<Complex>& t) {
  const int64_t n = t.rows;
  Matrix<Complex> x(n, n);
  for (int64_t j = 0; j < n; ++j) {
    x(j, j) = std::sqrt(t(j, j));
    for (int64_t i = j; i-- > 0;) {
      Complex v = t(i, j);
      for (int64_t k = i + 1; k < j; ++k) v -= x(i, k) * x(k, j);
      const Complex sum = x(i, i) + x(j, j);
      x(i, j) = sum == 0.0 && v == 0.0 ? 0.0 : v / sum;
    }
  }
  return x;
}

// q f q^H
Matrix<Complex> turned_back(const Matrix<Complex>& q, const Matrix<Complex>& f) {
  return multiply(multiply(q, f), adjoint(q));
}

}  // namespace

template <typename T>
Matrix<T> identity(int64_t n) {
  Matrix<T> m(n, n);
  for (int64_t i = 0; i < n; ++i) m(i, i) = T(1);
  return m;
}

template <typename T>
Matrix<T> adjoint(const Matrix<T>& a) {
  Matrix<T> b(a.columns, a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.columns; ++j) b(j, i) = conjugate(a(i, j));
  return b;
}

template <typename T>
Matrix<T> multiply(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> c(a.rows, b.columns);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t k = 0; k < a.columns; ++k)
      for (int64_t j = 0; j < b.columns; ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}

template <typename T>
void qr(const Matrix<T>& a, Matrix<T>& q, Matrix<T>& r) {
  const int64_t m = a.rows, n = a.columns;
  r = a;
  q = identity<T>(m);
  std::vector<T> v(static_cast<size_t>(m));
  for (int64_t k = 0; k < std::min(m, n); ++k) {
    double tail = 0;
    for (int64_t i = k + 1; i < m; ++i) tail += std::norm(r(i, k));
    const T head = r(k, k);
    if (tail == 0 && std::imag(head) == 0) continue;
    const double size = std::sqrt(std::norm(head) + tail);
    const double beta = std::real(head) >= 0 ? -size : size;
    // The reflection I - factor v v^H takes the column to beta.
    v[static_cast<size_t>(k)] = T(1);
    for (int64_t i = k + 1; i < m; ++i) v[static_cast<size_t>(i)] = r(i, k) / (head - beta);
    const T factor = conjugate((T(beta) - head) / beta);
    for (int64_t j = k; j < n; ++j) {
      T dot{};
      for (int64_t i = k; i < m; ++i) dot += conjugate(v[static_cast<size_t>(i)]) * r(i, j);
      for (int64_t i = k; i < m; ++i) r(i, j) -= factor * dot * v[static_cast<size_t>(i)];
    }
    for (int64_t i = 0; i < m; ++i) {
      T dot{};
      for (int64_t j = k; j < m; ++j) dot += q(i, j) * v[static_cast<size_t>(j)];
      for (int64_t j = k; j < m; ++j)
        q(i, j) -= conjugate(factor) * dot * conjugate(v[static_cast<size_t>(j)]);
    }
    for (int64_t i = k + 1; i < m; ++i) r(i, k) = T{};
  }
}

template <typename T>
void eigen_hermitian(const Matrix<T>& a, std::vector<double>& values, Matrix<T>& vectors) {
  const int64_t n = a.rows;
  Matrix<T> m = a, turned = identity<T>(n);  // whose rows are the vectors
  double total = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j) {
      m(i, j) = i == j ? T(std::real(a(i, i))) : conjugate(a(j, i));
      total += std::norm(m(i, j));
    }
  // All that is off the diagonal together, and what of it needs no rotation.
  const double most = total * kEpsilon * kEpsilon * 1e-4;
  const double negligible = most / static_cast<double>(n * n);
  for (int sweep = 0; sweep < 60; ++sweep) {
    double off = 0;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) off += std::norm(m(p, q));
    if (!(off > most)) break;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) {
        const T c = m(p, q);
        if (c == T{} || std::norm(c) <= negligible) continue;
        const double size = std::abs(c), pp = std::real(m(p, p)), qq = std::real(m(q, q));
        const Rotation r = rotation(pp, qq, size);
        rotate_rows(turned, p, q, r, conjugate(c) / size);
        // The columns by the adjoint of the same rotation: the matrix stays Hermitian.
        rotate_rows(m, p, q, r, c / size);
        for (int64_t j = 0; j < n; ++j) m(j, p) = conjugate(m(p, j)), m(j, q) = conjugate(m(q, j));
        m(p, p) = pp - r.tangent * size;
        m(q, q) = qq + r.tangent * size;
        m(p, q) = m(q, p) = T{};
      }
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int64_t x, int64_t y) { return std::real(m(x, x)) < std::real(m(y, y)); });
  values.resize(static_cast<size_t>(n));
  vectors = Matrix<T>(n, n);
  for (int64_t j = 0; j < n; ++j) {
    const int64_t from = order[static_cast<size_t>(j)];
    values[static_cast<size_t>(j)] = std::real(m(from, from));
    for (int64_t i = 0; i < n; ++i) vectors(i, j) = turned(from, i);
  }
}

template <typename T>
void svd(const Matrix<T>& a, std::vector<double>& s, Matrix<T>& u, Matrix<T>& v) {
  if (a.rows >= a.columns)
    svd_tall(a, s, u, v);
  else
    svd_tall(adjoint(a), s, v, u);
}

bool schur(const Matrix<Complex>& a, Matrix<Complex>& q, Matrix<Complex>& t) {
  const int64_t n = a.rows;
  t = a;
  q = identity<Complex>(n);
  for (const Complex v : a.values)
    if (!std::isfinite(v.real()) || !std::isfinite(v.imag())) return false;
  hessenberg(t, q);
  int64_t end = n;
  for (int steps = 0; end > 1; ++steps) {
    int64_t begin = end - 1;
    for (; begin > 0; --begin) {
      const double around = std::abs(t(begin, begin)) + std::abs(t(begin - 1, begin - 1));
      if (std::abs(t(begin, begin - 1)) <= kEpsilon * around ||
          std::abs(t(begin, begin - 1)) < std::numeric_limits<double>::min())
        break;
    }
    if (begin > 0) t(begin, begin - 1) = 0;
    if (begin == end - 1) {
      --end, steps = 0;
      continue;
    }
    if (steps > 100) return false;
    // Now and then another shift, in case the usual one goes in circles.
    const Complex shift =
        steps % 10 == 9 ? t(end - 1, end - 1) + std::abs(t(end - 1, end - 2)) : shift_of(t, end);
    qr_step(t, q, begin, end, shift);
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) t(i, j) = 0;
  return true;
}

bool eigen(const Matrix<Complex>& a, std::vector<Complex>& values, Matrix<Complex>& vectors) {
  Matrix<Complex> q, t;
  if (!schur(a, q, t)) return false;
  const int64_t n = a.rows;
  double largest = 0;
  for (const Complex v : t.values) largest = std::max(largest, std::abs(v));
  const double least = std::max(largest * kEpsilon, std::numeric_limits<double>::min());
  Matrix<Complex> x(n, n);
  values.resize(static_cast<size_t>(n));
  for (int64_t k = 0; k < n; ++k) {
    values[static_cast<size_t>(k)] = t(k, k);
    x(k, k) = 1;
    for (int64_t i = k; i-- > 0;) {
      Complex v{};
      for (int64_t j = i + 1; j <= k; ++j) v -= t(i, j) * x(j, k);
      Complex d = t(i, i) - t(k, k);
      if (std::abs(d) < least) d = least;
      x(i, k) = v / d;
    }
  }
  vectors = multiply(q, x);
  for (int64_t k = 0; k < n; ++k) {
    double size = 0;
    for (int64_t i = 0; i < n; ++i) size += std::norm(vectors(i, k));
    for (int64_t i = 0; i < n; ++i) vectors(i, k) /= std::sqrt(size);
  }
  return true;
}

bool square_root(const Matrix<Complex>& a, Matrix<Complex>& root) {
  Matrix<Complex> q, t;
  if (!schur(a, q, t)) return false;
  root = turned_back(q, triangular_root(t));
  return true;
}

// Roots until the matrix is close to 1; then log(1 + x) = integral of x / (1 + u x) over u from 0
// to 1, by the Gauss-Legendre rule of seven points; then twice that for every root.
bool logarithm(const Matrix<Complex>& a, Matrix<Complex>& log) {
  constexpr double kNodes[] = {0, 0.4058451513773972, 0.7415311855993945, 0.9491079123427585};
  constexpr double kWeights[] = {0.4179591836734694, 0.3818300505051189, 0.2797053914892766,
                                 0.1294849661688697};
  Matrix<Complex> q, t;
  if (!schur(a, q, t)) return false;
  const int64_t n = a.rows;
  int roots = 0;
  const auto distance = [&] {
    double most = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i; j < n; ++j) most += std::norm(t(i, j) - (i == j ? 1.0 : 0.0));
    return std::sqrt(most);
  };
  for (; distance() > 0.1; ++roots) {
    if (roots == 100) return false;
    t = triangular_root(t);
  }
  Matrix<Complex> x = t, sum(n, n);
  for (int64_t i = 0; i < n; ++i) x(i, i) -= 1.0;
  for (int k = -3; k <= 3; ++k) {
    const double u = 0.5 + 0.5 * std::copysign(kNodes[std::abs(k)], k);
    // The solution y of (1 + u x) y = x, from the lowest row up.
    Matrix<Complex> y = x;
    for (int64_t i = n; i-- > 0;)
      for (int64_t j = i; j < n; ++j) {
        for (int64_t p = i + 1; p <= j; ++p) y(i, j) -= u * x(i, p) * y(p, j);
        y(i, j) /= 1.0 + u * x(i, i);
      }
    for (size_t i = 0; i < sum.values.size(); ++i)
      sum.values[i] += 0.5 * kWeights[std::abs(k)] * y.values[i];
  }
  for (Complex& v : sum.values) v *= std::ldexp(1.0, roots);
  log = turned_back(q, sum);
  return true;
}

#define TENON_ELEMENT(T)                                                             \
  template Matrix<T> identity(int64_t);                                              \
  template Matrix<T> adjoint(const Matrix<T>&);                                      \
  template Matrix<T> multiply(const Matrix<T>&, const Matrix<T>&);                   \
  template void qr(const Matrix<T>&, Matrix<T>&, Matrix<T>&);                        \
  template void eigen_hermitian(const Matrix<T>&, std::vector<double>&, Matrix<T>&); \
  template void svd(const Matrix<T>&, std::vector<double>&, Matrix<T>&, Matrix<T>&);
TENON_ELEMENT(double)
TENON_ELEMENT(Complex)
#undef TENON_ELEMENT

}  // namespace tenon::linalg

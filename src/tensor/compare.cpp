#include "tensor/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

namespace tenon {
namespace {

// Sums over all elements seen so far.
struct Sums {
  double difference = 0, actual = 0, expected = 0, product = 0;
};

void add_element(double a, double b, Difference& d, Sums& sums) {
  if (a == b || (std::isnan(a) && std::isnan(b))) {
    if (std::isfinite(b)) sums.actual += a * a, sums.expected += b * b, sums.product += a * b;
    return;
  }
  ++d.differing;
  if (!std::isfinite(a) || !std::isfinite(b)) {
    d.max_abs = std::numeric_limits<double>::infinity();
    sums.difference = d.max_abs;
    return;
  }
  d.max_abs = std::max(d.max_abs, std::abs(a - b));
  sums.difference += (a - b) * (a - b);
  sums.actual += a * a;
  sums.expected += b * b;
  sums.product += a * b;
}

void add_tensor(const Tensor& a, const Tensor& b, Difference& d, Sums& sums) {
  const auto type_of = [](const Tensor& t) { return t.type().to_string(); };
  if (a.dtype() != b.dtype() || a.is_list() != b.is_list() || a.dims() != b.dims() ||
      a.elements() != b.elements()) {
    d.mismatch = fmt::format("{} where {} was expected", type_of(a), type_of(b));
    return;
  }
  if (a.is_list()) {
    for (size_t i = 0; i < a.items().size(); ++i) add_tensor(a.items()[i], b.items()[i], d, sums);
    return;
  }
  for (int64_t i = 0; i < a.elements(); ++i) {
    if (a.dtype() == DType::string) {
      d.differing += a.data<std::string>()[i] != b.data<std::string>()[i];
    } else if (a.dtype() == DType::c64) {
      const auto x = a.data<std::complex<float>>()[i], y = b.data<std::complex<float>>()[i];
      add_element(static_cast<double>(x.real()), static_cast<double>(y.real()), d, sums);
      add_element(static_cast<double>(x.imag()), static_cast<double>(y.imag()), d, sums);
    } else if (a.dtype() == DType::c128) {
      const auto x = a.data<std::complex<double>>()[i], y = b.data<std::complex<double>>()[i];
      add_element(x.real(), y.real(), d, sums);
      add_element(x.imag(), y.imag(), d, sums);
    } else if (is_int(a.dtype()) && a.int_at(i) != b.int_at(i)) {
      // Beyond 2^53 doubles would call neighbours equal.
      ++d.differing;
      d.max_abs = std::max(d.max_abs, std::max(1.0, std::abs(a.real_at(i) - b.real_at(i))));
    } else {
      add_element(a.real_at(i), b.real_at(i), d, sums);
    }
  }
}

}  // namespace

Difference compare(const Tensor& actual, const Tensor& expected) {
  Difference d;
  Sums sums;
  add_tensor(actual, expected, d, sums);
  d.relative_l2 = std::sqrt(sums.difference);
  if (sums.expected > 0) d.relative_l2 /= std::sqrt(sums.expected);
  const double norms = std::sqrt(sums.actual) * std::sqrt(sums.expected);
  if (norms > 0) d.cosine = sums.product / norms;
  // Integers and strings have no tolerance: a differing element is a difference.
  const bool exact = !is_float(expected.dtype()) && !is_complex(expected.dtype());
  if (exact && d.differing > 0)
    d.relative_l2 = std::max(d.relative_l2, std::numeric_limits<double>::infinity());
  return d;
}

bool Difference::within(double tolerance) const {
  return mismatch.empty() && relative_l2 <= tolerance;
}

std::string Difference::to_string() const {
  if (!mismatch.empty()) return mismatch;
  return fmt::format("max abs {:.3g}, relative L2 {:.3g}, cosine {:.9f}, {} elements differ",
                     max_abs, relative_l2, cosine, differing);
}

}  // namespace tenon

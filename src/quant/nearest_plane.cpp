#include "quant/nearest_plane.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "quant/sums_of_products.h"

namespace tenon::quant {

// Cholesky's decomposition.
NearestPlane::NearestPlane(std::span<const double> form, int64_t terms, double trust)
    : terms_(terms), order_(static_cast<size_t>(terms)), root_(form.size()) {
  const auto value = [&](int64_t i, int64_t j) {
    return form[static_cast<size_t>(std::min(i, j) * terms + std::max(i, j))];
  };
  // Terms that carry most are rounded first, while many others can make up for them.
  std::iota(order_.begin(), order_.end(), int64_t{0});
  std::ranges::stable_sort(order_, {}, [&](int64_t i) { return value(i, i); });
  double trace = 0;
  for (int64_t i = 0; i < terms; ++i) trace += value(i, i);
  const double damping = trust * std::max(trace, 1e-30) / static_cast<double>(terms);
  double* const root = root_.data();
  for (int64_t i = 0; i < terms; ++i)
    for (int64_t j = i; j < terms; ++j)
      root[i * terms + j] = value(order_[static_cast<size_t>(i)], order_[static_cast<size_t>(j)]) +
                            (i == j ? damping : 0);
  for (int64_t k = 0; k < terms; ++k) {
    double* const row = root + k * terms;
    // What was added bounds it from below, but for rounding.
    const double own = std::sqrt(std::max(row[k], damping));
    for (int64_t j = k; j < terms; ++j) row[j] /= own;
    for (int64_t i = k + 1; i < terms; ++i)
      add_multiple(-row[i], row + i, root + i * terms + i, terms - i);
  }
}

NearestPlane::Rounded NearestPlane::round(std::span<const double> exact) const {
  constexpr double kEnd = 127;
  Rounded rounded{std::vector<int8_t>(exact.size())};
  std::vector<double> moved(exact.size());
  for (int64_t i = terms_; i-- > 0;) {
    const double* row = root_.data() + i * terms_;
    const auto at = static_cast<size_t>(order_[static_cast<size_t>(i)]);
    double before = 0;
    for (int64_t j = i + 1; j < terms_; ++j) before += row[j] * moved[static_cast<size_t>(j)];
    const double own = std::nearbyint(exact[at]);
    const double wanted = std::abs(own) >= kEnd ? own : exact[at] - before / row[i];
    const double integer = std::clamp(std::nearbyint(wanted), -kEnd, kEnd);
    rounded.integers[at] = static_cast<int8_t>(integer);
    moved[static_cast<size_t>(i)] = integer - exact[at];
    const double lost = before + row[i] * moved[static_cast<size_t>(i)];
    rounded.error += lost * lost;
  }
  return rounded;
}

}  // namespace tenon::quant

#include "ops/special.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// By recurrence to x >= 10, where the asymptotic series has all digits; by reflection below 0.
double digamma(double x) {
  if (x <= 0 && x == std::floor(x)) return std::numeric_limits<double>::quiet_NaN();
  if (x < 0) return digamma(1 - x) - std::numbers::pi / std::tan(std::numbers::pi * x);
  double shift = 0;
  for (; x < 10; ++x) shift -= 1 / x;
  const double r = 1 / (x * x);
  return shift + std::log(x) - 0.5 / x -
         r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))));
}

// A rational first guess (Giles, "Approximating the erfinv function", 2010, in outline: the
// logarithm decides), then Newton's method on erf, which doubles the digits each time.
double erfinv(double y) {
  if (!(y >= -1 && y <= 1)) return std::numeric_limits<double>::quiet_NaN();
  if (y == 1 || y == -1) return y * std::numeric_limits<double>::infinity();
  constexpr double kA = 0.147;
  const double log = std::log1p(-y * y), b = 2 / (std::numbers::pi * kA) + log / 2;
  double x = std::copysign(std::sqrt(std::sqrt(b * b - log / kA) - b), y);
  for (int i = 0; i < 4; ++i) {
    // 1 - |erf| keeps its digits where erf is close to 1.
    const double error = x >= 0 ? (1 - y) - std::erfc(x) : std::erfc(-x) - (1 + y);
    const double step = error / (-2 * std::numbers::inv_sqrtpi * std::exp(-x * x));
    if (!std::isfinite(step)) break;
    x += step / (1 - x * step);
  }
  return x;
}

// The power series below 30, the asymptotic series above.
double bessel_ie(double order, double x) {
  const double a = std::abs(x);
  double sum = 0;
  if (a < 30) {
    double term = order == 0 ? 1 : a / 2;
    for (int k = 1; k < 200 && term > sum * 1e-17; ++k) {
      sum += term;
      term *= a * a / 4 / (k * (k + order));
    }
    sum *= std::exp(-a);
  } else {
    double term = 1;
    for (int k = 1; k < 20; ++k) {
      sum += term;
      term *= -(4 * order * order - (2.0 * k - 1) * (2.0 * k - 1)) / (k * 8 * a);
    }
    sum /= std::sqrt(2 * std::numbers::pi * a);
  }
  return order == 1 && x < 0 ? -sum : sum;
}

double value(SpecialKind kind, double x) {
  int sign = 0;
  switch (kind) {
    case SpecialKind::lgamma:
      return lgamma_r(x, &sign);
    case SpecialKind::digamma:
      return digamma(x);
    case SpecialKind::erfinv:
      return erfinv(x);
    case SpecialKind::bessel_i0e:
      return bessel_ie(0, x);
    case SpecialKind::bessel_i1e:
      return bessel_ie(1, x);
  }
  return x;
}

}  // namespace

Result<TensorTypes> infer_special(SpecialKind kind, const InferContext& context) {
  TRY(nn::expect_float(context, kSpecialInfos[static_cast<size_t>(kind)][0]));
  return TensorTypes{context.type(0)};
}

Status eval_special(SpecialKind kind, EvalContext& context) {
  auto values = nn::reals(context.in(0));
  for (double& v : values) v = value(kind, v);
  nn::store_reals(context.out(0), values);
  return {};
}

OpDefs special_ops() {
  return {&Special<SpecialKind::lgamma>::def, &Special<SpecialKind::digamma>::def,
          &Special<SpecialKind::erfinv>::def, &Special<SpecialKind::bessel_i0e>::def,
          &Special<SpecialKind::bessel_i1e>::def};
}

}  // namespace tenon

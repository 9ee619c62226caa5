#include "ops/special_eval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

namespace tenon::special {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kEpsilon = 1e-17;
constexpr double kPi = std::numbers::pi;

double log_gamma(double x) {
  int sign = 0;
  return lgamma_r(x, &sign);
}

// The dilogarithm of z in [0, 1/2].
double dilogarithm(double z) {
  double sum = 0, power = z;
  for (int k = 1; k < 80 && power > kEpsilon * sum; ++k, power *= z) sum += power / (k * k);
  return sum;
}

// x^a e^-x / gamma(a), small where a and x are far apart.
double gamma_weight(double a, double x) {
  return std::exp(a * std::log(x) - x - log_gamma(a));
}

double igamma_series(double a, double x) {
  double term = 1, sum = 1;
  for (double k = 1; k < 1e6 && term > kEpsilon * sum; ++k) sum += term *= x / (a + k);
  return sum * gamma_weight(a, x) / a;
}

// Continued fractions are evaluated from the front (Lentz): numerator(k), denominator(k) from k
// = 1.
template <typename F>
double continued_fraction(double first, F&& next) {
  constexpr double kTiny = 1e-300;
  double f = first == 0 ? kTiny : first, c = f, d = 0;
  for (int k = 1; k < 100000; ++k) {
    const auto [numerator, denominator] = next(k);
    d = denominator + numerator * d;
    c = denominator + numerator / c;
    d = 1 / (d == 0 ? kTiny : d);
    if (c == 0) c = kTiny;
    const double step = c * d;
    f *= step;
    if (std::abs(step - 1) < 1e-16) break;
  }
  return f;
}

double igammac_fraction(double a, double x) {
  const double f = continued_fraction(
      x + 1 - a, [&](int k) { return std::pair(-k * (k - a), x + 2 * k + 1 - a); });
  return gamma_weight(a, x) / f;
}

// The auxiliary functions of Fresnel's integrals for z > 0, as integrals that the trapezoidal rule
// gives to all digits: (sqrt(2)/pi) times those of e^(-pi z^2 u^2 / 2) u^(0 or 2) / (1 + u^4).
std::pair<double, double> fresnel_auxiliary(double z) {
  const double h = std::min(0.1, 0.35 / z);
  double f = 0.5, g = 0;
  for (int k = 1;; ++k) {
    const double u = k * h, weight = std::exp(-kPi / 2 * z * z * u * u) / (1 + u * u * u * u);
    if (weight < 1e-18) break;
    f += weight;
    g += weight * u * u;
  }
  const double scale = std::numbers::sqrt2 / kPi * 2 * h / 2;
  return {f * scale, g * scale};
}

// x by powers: the integral of cos (from 0) or sin (from 1) of pi t^2 / 2.
double fresnel_series(double x, int from) {
  const double t = kPi / 2 * x * x;
  double term = from == 0 ? x : x * t, sum = 0;
  for (int k = from; k < 60; k += 2) {
    sum += term / (2 * k + 1);
    term *= -t * t / ((k + 1.0) * (k + 2.0));
  }
  return sum;
}

}  // namespace

// By recurrence to x >= 10, where the asymptotic series has all digits; by reflection below 0.
double digamma(double x) {
  if (x <= 0 && x == std::floor(x)) return kNan;
  if (x < 0) return digamma(1 - x) - kPi / std::tan(kPi * x);
  double shift = 0;
  for (; x < 10; ++x) shift -= 1 / x;
  const double r = 1 / (x * x);
  return shift + std::log(x) - 0.5 / x -
         r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))));
}

// A rational first guess (Giles, "Approximating the erfinv function", 2010, in outline: the
// logarithm decides), then Newton's method on erf, which doubles the digits each time.
double erfinv(double y) {
  if (!(y >= -1 && y <= 1)) return kNan;
  if (y == 1 || y == -1) return y * kInfinity;
  constexpr double kA = 0.147;
  const double log = std::log1p(-y * y), b = 2 / (kPi * kA) + log / 2;
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

// Newton's method on the logarithm of the distribution, which small p do not disturb.
double ndtri(double p) {
  if (!(p >= 0 && p <= 1)) return kNan;
  if (p == 0) return -kInfinity;
  if (p == 1) return kInfinity;
  if (p > 0.5) return -ndtri(1 - p);
  if (p > 1e-3) return std::numbers::sqrt2 * erfinv(2 * p - 1);
  const double wanted = std::log(p);
  double x = -std::sqrt(-2 * wanted);
  for (int i = 0; i < 30; ++i) {
    const double below = std::erfc(-x / std::numbers::sqrt2) / 2;
    if (below == 0) return x;
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * kPi);
    const double step = (std::log(below) - wanted) * below / density;
    x -= step;
    if (std::abs(step) < 1e-15 * std::abs(x)) break;
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
    sum /= std::sqrt(2 * kPi * a);
  }
  return order == 1 && x < 0 ? -sum : sum;
}

// The integral of e^(-x (cosh t - 1)) cosh(order t) over t >= 0, of which the trapezoidal rule
// gives all digits.
double bessel_ke(double order, double x) {
  if (std::isnan(x)) return kNan;
  if (x <= 0) return kInfinity;
  if (std::isinf(x)) return 0;
  const double h = std::min(0.1, 0.5 / std::sqrt(x));
  double sum = 0.5;
  for (int k = 1; k < 100000; ++k) {
    const double t = k * h, half = std::sinh(t / 2);
    const double exponent = -x * 2 * half * half + (order == 0 ? 0 : t);
    const double growth = order == 0 ? 1 : (1 + std::exp(-2 * t)) / 2;
    const double term = std::exp(exponent) * growth;
    sum += term;
    if (term < kEpsilon * sum && x * half * half > 1) break;
  }
  return sum * h;
}

// Rybicki's sum ("Dawson's integral and the sampling theorem", 1989), in the form that keeps its
// digits near 0; the asymptotic series where that is exact.
double dawson(double x) {
  const double a = std::abs(x);
  if (std::isnan(x)) return kNan;
  if (a > 12) {
    double term = 1 / (2 * x), sum = 0;
    for (int k = 1; k < 12; ++k) {
      sum += term;
      term *= (2 * k - 1) / (2 * x * x);
    }
    return sum;
  }
  constexpr double kStep = 0.2;
  double sum = 0;
  for (int n = 1; n < 120; n += 2) {
    const double p = n * kStep;
    // e^(-(a - p)^2) - e^(-(a + p)^2)
    sum += std::exp(-(a - p) * (a - p)) * -std::expm1(-4 * a * p) / n;
  }
  return std::copysign(sum * std::numbers::inv_sqrtpi, x);
}

double exponential_integral(double x) {
  if (x < 0 || std::isnan(x) || std::isinf(x)) return kNan;  // as TensorFlow
  if (x == 0) return -kInfinity;
  if (x < 40) {
    double power = 1, sum = 0;
    for (int k = 1; k < 300; ++k) {
      power *= x / k;
      sum += power / k;
      if (power < kEpsilon * sum) break;
    }
    return std::numbers::egamma + std::log(x) + sum;
  }
  double term = 1, sum = 0;
  for (int k = 1; k < 60 && std::abs(term) > kEpsilon; ++k) {
    sum += term;
    if (k > x) break;
    term *= k / x;
  }
  return std::exp(x) / x * sum;
}

double fresnel_sin(double x) {
  const double z = std::abs(x);
  if (std::isnan(x)) return kNan;
  if (z < 1.5) return fresnel_series(x, 1);
  if (z > 1e8) return std::copysign(0.5, x);
  const auto [f, g] = fresnel_auxiliary(z);
  const double angle = kPi / 2 * std::fmod(z * z, 4);
  return std::copysign(0.5 - f * std::cos(angle) - g * std::sin(angle), x);
}

double fresnel_cos(double x) {
  const double z = std::abs(x);
  if (std::isnan(x)) return kNan;
  if (z < 1.5) return fresnel_series(x, 0);
  if (z > 1e8) return std::copysign(0.5, x);
  const auto [f, g] = fresnel_auxiliary(z);
  const double angle = kPi / 2 * std::fmod(z * z, 4);
  return std::copysign(0.5 + f * std::sin(angle) - g * std::cos(angle), x);
}

// Landen's and Euler's identities take any argument to [0, 1/2].
double spence(double x) {
  if (x < 0 || std::isnan(x) || std::isinf(x)) return kNan;  // as TensorFlow
  if (x == 0) return kPi * kPi / 6;
  const double z = 1 - x, log = std::log(x);
  if (z > 0.5) return kPi * kPi / 6 - std::log1p(-x) * log - dilogarithm(x);
  if (z >= 0) return dilogarithm(z);
  // z / (z - 1) is (x - 1) / x.
  const double w = -z / x;
  const double rest =
      w <= 0.5 ? dilogarithm(w) : kPi * kPi / 6 - std::log(w) * std::log1p(-w) - dilogarithm(1 - w);
  return -rest - log * log / 2;
}

double igamma(double a, double x) {
  if (x == 0 && a >= 0) return 0;
  if (!(a > 0) || !(x >= 0)) return kNan;
  if (std::isinf(a)) return std::isinf(x) ? kNan : 0;
  if (std::isinf(x)) return 1;
  return x < a + 1 ? igamma_series(a, x) : 1 - igammac_fraction(a, x);
}

double igammac(double a, double x) {
  if (!(a > 0) || !(x >= 0)) return kNan;
  if (std::isinf(a)) return std::isinf(x) ? kNan : 1;
  if (std::isinf(x)) return 0;
  if (x == 0) return 1;
  return x < a + 1 ? 1 - igamma_series(a, x) : igammac_fraction(a, x);
}

// Euler and Maclaurin's sum after the first ten terms.
double zeta(double x, double q) {
  if (x == 1) return kInfinity;
  if (!(x > 1) || std::isnan(q)) return kNan;
  if (q <= 0) {
    if (q == std::floor(q)) return std::fmod(x, 2) == 0 ? kInfinity : kNan;
    if (x != std::floor(x)) return kNan;
  }
  double sum = 0, a = q;
  for (int k = 0; k < 10 || a < 10; ++k, ++a) {
    const double term = std::pow(a, -x);
    sum += term;
    if (a > 0 && term < kEpsilon * std::abs(sum)) return sum;
  }
  const double power = std::pow(a, -x);
  sum += power * a / (x - 1) + power / 2;
  // Bernoulli numbers of even index over their factorials.
  constexpr double kTerms[] = {1.0 / 12,          -1.0 / 720,
                               1.0 / 30240,       -1.0 / 1209600,
                               1.0 / 47900160,    -691.0 / 1307674368000.0,
                               1.0 / 74724249600, -3617.0 / 10670622842880000.0};
  double factor = x * power / a, s = x;
  for (const double t : kTerms) {
    sum += t * factor;
    factor *= (s + 1) * (s + 2) / (a * a);
    s += 2;
  }
  return sum;
}

double polygamma(double n, double x) {
  if (!(n >= 0) || n != std::floor(n)) return kNan;
  if (n == 0) return digamma(x);
  const double sign = std::fmod(n, 2) == 0 ? -1 : 1;
  return sign * std::exp(log_gamma(n + 1)) * zeta(n + 1, x);
}

double betainc(double a, double b, double x) {
  if (!(a > 0) || !(b > 0) || !(x >= 0 && x <= 1)) return kNan;
  if (x == 0 || x == 1) return x;
  // The fraction converges quickly on one side of the distribution's mean.
  if (x > (a + 1) / (a + b + 2)) return 1 - betainc(b, a, 1 - x);
  const double weight = std::exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * std::log(x) +
                                 b * std::log1p(-x));
  const double f = continued_fraction(1, [&](int k) {
    const int m = k / 2;
    const double numerator = k % 2 == 0 ? m * (b - m) * x / ((a + k - 1) * (a + k))
                                        : -(a + m) * (a + b + m) * x / ((a + k - 1) * (a + k));
    return std::pair(numerator, 1.0);
  });
  return weight / (a * f);
}

}  // namespace tenon::special

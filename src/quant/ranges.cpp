#include "quant/ranges.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tenon::quant {
namespace {

constexpr double kLevels = 255;  // steps between the integers' ends
constexpr double kTail = 5e-5;   // of the values, left out by percentile at either end

Range with_zero(double low, double high, Method method) {
  return {std::min(low, 0.0), std::max(high, 0.0), method};
}

double total_of(const Histogram& h) {
  double total = 0;
  for (const uint64_t n : h.counts()) total += static_cast<double>(n);
  return total;
}

Range percentile(const TensorStatistics& s) {
  const Histogram& h = s.histogram;
  const double tail = total_of(h) * kTail;
  const auto& counts = h.counts();
  size_t begin = 0, end = counts.size();
  for (double n = 0; begin + 1 < end; ++begin)
    if ((n += static_cast<double>(counts[begin])) > tail) break;
  for (double n = 0; end > begin + 1; --end)
    if ((n += static_cast<double>(counts[end - 1])) > tail) break;
  const auto edge = [&](size_t bin) {
    return static_cast<double>(h.first() + static_cast<int64_t>(bin)) * h.width();
  };
  return with_zero(std::max(s.min, edge(begin)), std::min(s.max, edge(end)), Method::percentile);
}

// The least of `cost` over ranges within [low, high]: both ends drawn in together, then each alone.
template <typename Cost>
Range search(double low, double high, Method method, const Cost& cost) {
  constexpr int kSteps = 64;
  Range best = with_zero(low, high, method);
  double least = cost(best);
  const auto consider = [&](double l, double h) {
    const Range candidate = with_zero(l, h, method);
    const double c = cost(candidate);
    if (c < least) {
      least = c;
      best = candidate;
    }
  };
  for (int i = 1; i < kSteps; ++i) {
    // Finer near the extremes, down to a thousandth: outliers may be that far out.
    const double part = std::pow(10.0, -3.0 * i / kSteps);
    consider(low * part, high * part);
  }
  for (int round = 0; round < 2; ++round) {
    const Range from = best;
    for (int i = -12; i <= 12; ++i) {
      const double part = std::pow(10.0, 0.25 * i / 12);
      if (low < 0) consider(std::max(low, from.low * part), best.high);
      if (high > 0) consider(best.low, std::min(high, from.high * part));
    }
    if (low < 0 && high > 0)
      for (int i = 1; i < kSteps; ++i) {
        const double part = std::pow(10.0, -3.0 * i / kSteps);
        consider(low * part, best.high);
        consider(best.low, high * part);
      }
  }
  return best;
}

// KL divergence of the values as quantised from the values clipped, both as distributions over the
// bins of the histogram.
double divergence(const Histogram& h, const Range& range) {
  const QuantParams q = params_of(range);
  const auto scale = static_cast<double>(q.scale);
  const double lowest = -static_cast<double>(q.zero) * scale;
  std::array<double, 256> level{}, bins{};
  const auto& counts = h.counts();
  const auto level_of = [&](double x) {
    return static_cast<size_t>(std::clamp(std::nearbyint((x - lowest) / scale), 0.0, kLevels));
  };
  const double highest = lowest + kLevels * scale;
  double outside_low = 0, outside_high = 0, total = 0;
  std::vector<double> clipped(counts.size());
  size_t first = counts.size(), last = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double n = static_cast<double>(counts[i]), x = h.centre(i);
    total += n;
    if (x < lowest) {
      outside_low += n;
      continue;
    }
    if (x > highest) {
      outside_high += n;
      continue;
    }
    first = std::min(first, i);
    last = i;
    clipped[i] = n;
    level[level_of(x)] += n;
    bins[level_of(x)] += n > 0;
  }
  // Fewer bins than levels have nothing to lose: of one bin the divergence would be none.
  constexpr size_t kMinBins = 128;
  if (first > last || last + 1 - first < kMinBins) return INFINITY;
  // What is clipped lies in the outermost bins of the reference, but is no mass of the candidate.
  double sum = 0, mass = 0;
  for (size_t i = first; i <= last; ++i) mass += clipped[i];
  if (mass == 0) return INFINITY;
  for (size_t i = first; i <= last; ++i) {
    const size_t l = level_of(h.centre(i));
    double p = clipped[i];
    if (i == first) p += outside_low;
    if (i == last) p += outside_high;
    if (p == 0) continue;
    const double q_mass = clipped[i] > 0 ? level[l] / bins[l] : 0;
    constexpr double kSmall = 1e-4;  // so that what the candidate has not is dear, but not all
    sum += p / total * std::log((p / total) / std::max(q_mass / mass, kSmall / total));
  }
  return sum;
}

// The clipping point of a distribution with this density beyond it, in units of its spread.
Range aciq(const TensorStatistics& s) {
  const Histogram& h = s.histogram;
  const double total = total_of(h);
  double mean = 0, deviation = 0, variance = 0;
  for (size_t i = 0; i < h.counts().size(); ++i)
    mean += static_cast<double>(h.counts()[i]) * h.centre(i) / total;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    const double d = h.centre(i) - mean, n = static_cast<double>(h.counts()[i]) / total;
    deviation += n * std::abs(d);
    variance += n * d * d;
  }
  // E|x - mean| is b of Laplace and sigma * sqrt(2 / pi) of a normal: the kinder one by the ratio.
  const double ratio = variance > 0 ? deviation / std::sqrt(variance) : 0;
  const bool normal = ratio > (std::sqrt(2 / std::numbers::pi) + std::numbers::sqrt2 / 2) / 2;
  const double spread = normal ? std::sqrt(variance) : deviation;
  const bool one_sided = s.min >= 0 || s.max <= 0;
  double best = 1, least = INFINITY;
  for (double a = 1; a < 30; a += 0.01) {
    const double clip = normal ? 2 * ((a * a + 1) * 0.5 * std::erfc(a / std::numbers::sqrt2) -
                                      a * std::exp(-a * a / 2) / std::sqrt(2 * std::numbers::pi))
                               : 2 * std::exp(-a);
    const double step = (one_sided ? a : 2 * a) / kLevels;
    const double error = clip + step * step / 12;
    if (error < least) {
      least = error;
      best = a;
    }
  }
  const double low = one_sided && s.min >= 0 ? 0 : mean - best * spread;
  const double high = one_sided && s.max <= 0 ? 0 : mean + best * spread;
  return with_zero(std::max(s.min, low), std::min(s.max, high), Method::aciq);
}

}  // namespace

std::string no_such_method(std::string_view name) {
  std::string names;
  for (const auto& info : kMethodInfos)
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  return fmt::format("there is no calibration method '{}'; there are: {}", name, names);
}

std::optional<Method> method_of(std::string_view name) {
  for (size_t i = 0; i < kMethodInfos.size(); ++i)
    if (kMethodInfos[i].name == name) return static_cast<Method>(i);
  return std::nullopt;
}

QuantParams params_of(const Range& range) {
  const double low = std::min(range.low, 0.0), high = std::max(range.high, 0.0);
  const double scale = (high - low) / kLevels;
  QuantParams q;
  if (!(scale > 1e-30) || !std::isfinite(scale)) return q;
  q.scale = static_cast<float>(scale);
  q.zero = static_cast<int32_t>(
      std::clamp(std::nearbyint(-low / static_cast<double>(q.scale)), 0.0, kLevels));
  return q;
}

double expected_error(const TensorStatistics& s, const QuantParams& q) {
  const Histogram& h = s.histogram;
  const double scale = static_cast<double>(q.scale), zero = q.zero;
  double sum = 0, total = 0;
  // Values are spread over their bin.
  const double within = h.width() * h.width() / 12;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    if (h.counts()[i] == 0) continue;
    const double n = static_cast<double>(h.counts()[i]), x = h.centre(i);
    const double level = x / scale + zero;
    double error = 0;
    if (level > -0.5 && level < kLevels + 0.5 && scale > h.width())
      error = scale * scale / 12;  // many values in a step: no place is special
    else {
      const double d = (std::clamp(std::nearbyint(level), 0.0, kLevels) - zero) * scale - x;
      error = d * d + within;
    }
    sum += n * error;
    total += n;
  }
  return total == 0 ? 0 : sum / total;
}

double saturation(const TensorStatistics& s, const QuantParams& q) {
  const Histogram& h = s.histogram;
  double outside = 0, total = 0;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    const double level = h.centre(i) / static_cast<double>(q.scale) + q.zero;
    total += static_cast<double>(h.counts()[i]);
    if (level < -0.5 || level > kLevels + 0.5) outside += static_cast<double>(h.counts()[i]);
  }
  return total == 0 ? 0 : outside / total;
}

Range choose_range(const TensorStatistics& s, Method method) {
  if (s.count == 0 || s.histogram.empty()) return {0, 0, method};
  switch (method) {
    case Method::min_max:
      return with_zero(s.min, s.max, method);
    case Method::moving_average:
      return with_zero(s.average_min, s.average_max, method);
    case Method::percentile:
      return percentile(s);
    case Method::entropy:
      return search(s.min, s.max, method,
                    [&](const Range& r) { return divergence(s.histogram, r); });
    case Method::mse:
      return search(s.min, s.max, method,
                    [&](const Range& r) { return expected_error(s, params_of(r)); });
    case Method::aciq:
      return aciq(s);
    case Method::automatic:
      break;
  }
  Range best;
  double least = INFINITY;
  for (const Method m : {Method::min_max, Method::moving_average, Method::percentile,
                         Method::entropy, Method::mse, Method::aciq}) {
    const Range range = choose_range(s, m);
    const double error = expected_error(s, params_of(range));
    if (error < least) {
      least = error;
      best = range;
    }
  }
  return best;
}

}  // namespace tenon::quant

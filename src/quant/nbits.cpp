#include "quant/nbits.h"

#include <algorithm>
#include <cmath>

namespace tenon::quant {
namespace {

// `count` values, `stride` apart, as integers from -limit to limit; gives the scale.
float round_group(const float* w, int64_t stride, int64_t count, double factor, int limit,
                  std::span<const double> shares, int8_t* out) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(w[i * stride]));
  const double full = static_cast<double>(largest) * std::abs(factor) / limit;
  double best = INFINITY;
  float best_scale = 1;
  for (const double share : shares) {
    const auto scale = static_cast<float>(full * share);
    if (!(scale > 1e-30f)) break;
    double error = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double v = static_cast<double>(w[i * stride]) * factor;
      const double q = std::clamp(std::nearbyint(v / static_cast<double>(scale)),
                                  -static_cast<double>(limit), static_cast<double>(limit));
      const double d = v - q * static_cast<double>(scale);
      error += d * d;
    }
    if (error < best) best = error, best_scale = scale;
  }
  for (int64_t i = 0; i < count; ++i) {
    const double v = static_cast<double>(w[i * stride]) * factor / static_cast<double>(best_scale);
    out[i * stride] = static_cast<int8_t>(
        std::clamp(std::nearbyint(v), -static_cast<double>(limit), static_cast<double>(limit)));
  }
  return best_scale;
}

}  // namespace

Result<NbitsWeights> nbits_weights(const Tensor& w, int bits, double factor) {
  constexpr double kWhole[] = {1};
  constexpr double kShares[] = {1, 0.95, 0.9, 0.85, 0.8, 0.75};
  const int64_t k = w.dim(0), n = w.dim(1), group = bits == 8 ? k : kNbitsGroup;
  if (w.dtype() != DType::f32 || w.rank() != 2 || k < 1 || k % group != 0)
    return internal_error("weights of this kind cannot be of few bits");
  const int64_t dims[] = {k, n}, groups[] = {k / group, n};
  NbitsWeights q{TRY(Tensor::allocate(DType::i8, dims)), TRY(Tensor::allocate(DType::f32, groups))};
  auto* integers = q.integers.mutable_data<int8_t>();
  for (int64_t g = 0; g < groups[0]; ++g)
    for (int64_t j = 0; j < n; ++j) {
      const int64_t at = g * group * n + j;
      q.scales.mutable_data<float>()[g * n + j] =
          round_group(w.data<float>() + at, n, group, factor, bits == 8 ? 127 : 7,
                      bits == 8 ? std::span<const double>(kWhole) : kShares, integers + at);
    }
  if (bits == 8) return q;
  const int64_t halves[] = {k / 2, n};
  Tensor pairs = TRY(Tensor::allocate(DType::u8, halves));
  for (int64_t i = 0; i < k / 2; ++i)
    for (int64_t j = 0; j < n; ++j)
      pairs.mutable_data<uint8_t>()[i * n + j] = static_cast<uint8_t>(
          (integers[2 * i * n + j] + 8) | ((integers[(2 * i + 1) * n + j] + 8) << 4));
  q.integers = std::move(pairs);
  return q;
}

Result<Tensor> transposed_weights(const Tensor& w) {
  const int64_t dims[] = {w.dim(1), w.dim(0)};
  Tensor t = TRY(Tensor::allocate(DType::f32, dims));
  auto* to = t.mutable_data<float>();
  for (int64_t i = 0; i < w.dim(0); ++i)
    for (int64_t j = 0; j < w.dim(1); ++j) to[j * w.dim(0) + i] = w.data<float>()[i * w.dim(1) + j];
  return t;
}

}  // namespace tenon::quant

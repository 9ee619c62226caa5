#include "quant/sixteen_bits.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"

namespace tenon::quant {
namespace {

// What the other neighbour of a number is that was rounded to the nearest.
BFloat16 other_neighbour(BFloat16 nearest, float exact) {
  BFloat16 other = nearest;
  const bool is_beyond = std::abs(exact) > std::abs(static_cast<float>(nearest));
  other.bits = static_cast<uint16_t>(is_beyond ? nearest.bits + 1 : nearest.bits - 1);
  return other;
}

}  // namespace

Result<Tensor> rounded(const Tensor& t, DType dtype) {
  Tensor y = TRY(Tensor::allocate(dtype, t.dims()));
  const auto x = t.span<float>();
  if (dtype == DType::f16)
    std::ranges::transform(x, y.mutable_data<Half>(), [](float v) { return Half(v); });
  else
    std::ranges::transform(x, y.mutable_data<BFloat16>(), [](float v) { return BFloat16(v); });
  return y;
}

Result<Tensor> rounded_evenly(const Tensor& w, bool transposed) {
  // The square of the mean of inputs over their variance, about as behind a relu.
  constexpr double kMean = 0.5;
  struct Change {
    double by;    // what the sum of errors changes by
    double cost;  // what the sum of their squares does
    int64_t place;
    BFloat16 value;
  };
  Tensor y = TRY(rounded(w, DType::bf16));
  const int64_t columns = w.dim(transposed ? 0 : w.rank() - 1);
  const int64_t rows = w.elements() / std::max<int64_t>(columns, 1);
  const float* x = w.data<float>();
  auto* to = y.mutable_data<BFloat16>();
  std::vector<Change> changes;
  for (int64_t c = 0; c < columns; ++c) {
    double sum = 0;
    changes.clear();
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = transposed ? c * rows + r : r * columns + c;
      const BFloat16 other = other_neighbour(to[i], x[i]);
      const auto nearest = static_cast<double>(static_cast<float>(to[i]));
      const double error = nearest - static_cast<double>(x[i]);
      const double by = static_cast<double>(static_cast<float>(other)) - nearest;
      if (error == 0 || !std::isfinite(by)) continue;
      sum += error;
      changes.push_back({by, by * by + 2 * error * by, i, other});
    }
    std::ranges::stable_sort(changes, {}, [](const Change& v) { return v.cost / std::abs(v.by); });
    for (const Change& v : changes) {
      if (v.cost + kMean * (2 * sum * v.by + v.by * v.by) >= 0) continue;
      to[v.place] = v.value;
      sum += v.by;
    }
  }
  return y;
}

DType nearer_16_bits(const Tensor& t) {
  double half = 0, brain = 0;
  for (const float v : t.span<float>()) {
    const double to_half =
        static_cast<double>(static_cast<float>(Half(v))) - static_cast<double>(v);
    const double to_brain =
        static_cast<double>(static_cast<float>(BFloat16(v))) - static_cast<double>(v);
    half += to_half * to_half;
    brain += to_brain * to_brain;
  }
  return half < brain ? DType::f16 : DType::bf16;  // NaN, of what is infinite as f16: bf16
}

}  // namespace tenon::quant

#include "quant/sixteen_bits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>
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

// By how much a weight becomes another one when it is rounded the other way; infinite where there
// is no other.
double step_of(BFloat16 nearest, float exact) {
  const double other = static_cast<float>(other_neighbour(nearest, exact));
  return other - static_cast<double>(static_cast<float>(nearest));
}

// The weights of an output channel, rounded to the nearest, and which of them are better rounded
// the other way: where what is multiplied has a mean, errors of one sign add up.
class Column {
 public:
  void clear() {
    sum_ = 0;
    changes_.clear();
  }

  void add(int64_t place, float exact, BFloat16 nearest) {
    const double error =
        static_cast<double>(static_cast<float>(nearest)) - static_cast<double>(exact);
    if (error == 0) return;
    const double step = step_of(nearest, exact);
    if (!std::isfinite(step)) return;
    sum_ += error;
    changes_.push_back({std::abs(step) - 2 * std::abs(error), place});
  }

  void round(const float* exact, BFloat16* rounded) {
    // The cheapest first. None that costs as much as errors add up to is of use, nor any behind
    // it, so that a few are all that is sorted.
    double least = -1, most = std::abs(sum_) / static_cast<double>(changes_.size());
    for (; least < 2 * kMean * std::abs(sum_); least = std::exchange(most, 2 * most)) {
      some_.clear();
      for (const Change& v : changes_)
        if (least <= v.price && v.price < most) some_.push_back(v);
      std::ranges::sort(some_);
      for (const auto& [price, place] : some_) {
        const double step = step_of(rounded[place], exact[place]);
        if (std::abs(step) * price + kMean * (2 * sum_ * step + step * step) >= 0) continue;
        rounded[place] = other_neighbour(rounded[place], exact[place]);
        sum_ += step;
      }
    }
  }

 private:
  // The square of the mean of inputs over their variance, about as behind a relu.
  static constexpr double kMean = 0.5;
  struct Change {
    double price;  // what the sum of squares of errors grows by, for each unit of the step
    int64_t place;
    auto operator<=>(const Change&) const = default;
  };
  double sum_ = 0;  // of the errors
  std::vector<Change> changes_, some_;
};

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
  Tensor y = TRY(rounded(w, DType::bf16));
  const int64_t columns = w.dim(transposed ? 0 : w.rank() - 1);
  const int64_t rows = w.elements() / std::max<int64_t>(columns, 1);
  const int64_t to_row = transposed ? 1 : columns, to_column = transposed ? rows : 1;
  const float* x = w.data<float>();
  auto* to = y.mutable_data<BFloat16>();
  // A line of memory holds numbers of so many columns.
  std::array<Column, 16> some;
  for (int64_t first = 0; first < columns; first += std::ssize(some)) {
    const auto block = std::span(some).first(
        static_cast<size_t>(std::min<int64_t>(std::ssize(some), columns - first)));
    for (Column& column : block) column.clear();
    for (int64_t r = 0; r < rows; ++r) {
      int64_t place = r * to_row + first * to_column;
      for (Column& column : block) {
        column.add(place, x[place], to[place]);
        place += to_column;
      }
    }
    for (Column& column : block) column.round(x, to);
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

#include "quant/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tenon::quant {
namespace {

constexpr double kMomentum = 0.1;  // of a new batch in the moving averages
constexpr int64_t kMaxChannels = 1 << 16;

int64_t bin_of(double value, double width) {
  return static_cast<int64_t>(std::floor(value / width));
}

int64_t half(int64_t bin) {
  return bin >> 1;  // towards minus infinity
}

}  // namespace

Histogram::Histogram(double width, int64_t first, std::vector<uint64_t> counts)
    : width_(width), first_(first), counts_(std::move(counts)) {}

void Histogram::halve() {
  const int64_t first = half(first_);
  const int64_t last = half(first_ + static_cast<int64_t>(counts_.size()) - 1);
  std::vector<uint64_t> merged(static_cast<size_t>(last - first + 1));
  for (size_t i = 0; i < counts_.size(); ++i)
    merged[static_cast<size_t>(half(first_ + static_cast<int64_t>(i)) - first)] += counts_[i];
  counts_ = std::move(merged);
  first_ = first;
  width_ *= 2;
}

void Histogram::cover(double low, double high) {
  if (width_ == 0) {
    const double reach = std::max(std::abs(low), std::abs(high));
    // All zeros fit into any bin.
    width_ = reach == 0 ? 0x1p-30 : std::exp2(std::floor(std::log2(reach))) * 4 / kMaxBins;
    width_ = std::max(width_, 0x1p-140);
  }
  const auto span_of = [&] {
    int64_t begin = bin_of(low, width_), end = bin_of(high, width_);
    if (!counts_.empty()) {
      begin = std::min(begin, first_);
      end = std::max(end, first_ + static_cast<int64_t>(counts_.size()) - 1);
    }
    return std::pair(begin, end);
  };
  // Where only zeros were seen so far the width means nothing.
  if (counts_.size() == 1 && first_ == 0 && width_ == 0x1p-30) {
    const double reach = std::max(std::abs(low), std::abs(high));
    if (reach > 0)
      width_ = std::max(std::exp2(std::floor(std::log2(reach))) * 4 / kMaxBins, 0x1p-140);
  }
  while (std::max(std::abs(low), std::abs(high)) / width_ > 0x1p40 ||
         span_of().second - span_of().first >= kMaxBins) {
    if (counts_.empty())
      width_ *= 2;
    else
      halve();
  }
  const auto [begin, end] = span_of();
  const int64_t before = counts_.empty() ? 0 : first_ - begin;
  counts_.insert(counts_.begin(), static_cast<size_t>(before), 0);
  counts_.resize(static_cast<size_t>(end - begin + 1));
  first_ = begin;
}

void Histogram::add(std::span<const float> values, double low, double high) {
  if (values.empty()) return;
  cover(low, high);
  const double inverse = 1 / width_;
  const int64_t last = static_cast<int64_t>(counts_.size()) - 1;
  for (const float v : values) {
    if (!std::isfinite(v)) continue;
    const auto bin = static_cast<int64_t>(std::floor(static_cast<double>(v) * inverse)) - first_;
    ++counts_[static_cast<size_t>(std::clamp<int64_t>(bin, 0, last))];
  }
}

void TensorStatistics::add(const Tensor& tensor) {
  const auto values = tensor.span<float>();
  double low = INFINITY, high = -INFINITY;
  int64_t finite = 0;
  for (const float v : values) {
    if (!std::isfinite(v)) continue;
    ++finite;
    low = std::min(low, static_cast<double>(v));
    high = std::max(high, static_cast<double>(v));
    sum += static_cast<double>(v);
    sum_squares += static_cast<double>(v) * static_cast<double>(v);
  }
  not_finite += static_cast<int64_t>(values.size()) - finite;
  if (finite == 0) return;
  min = count == 0 ? low : std::min(min, low);
  max = count == 0 ? high : std::max(max, high);
  average_min = batches == 0 ? low : average_min + kMomentum * (low - average_min);
  average_max = batches == 0 ? high : average_max + kMomentum * (high - average_max);
  count += finite;
  ++batches;
  histogram.add(values, low, high);
  const int64_t channels = tensor.rank() < 2 ? 0 : tensor.dim(tensor.rank() - 1);
  if (channels <= 0 || channels > kMaxChannels) return;
  if (channel_count == 0) {
    channel_sum.assign(static_cast<size_t>(channels), 0);
    channel_max_abs.assign(static_cast<size_t>(channels), 0);
  }
  if (channel_sum.size() != static_cast<size_t>(channels)) {
    channel_sum.clear();  // its size changes: it is no channel
    channel_max_abs.clear();
    return;
  }
  for (auto row = values.begin(); row != values.end(); row += channels)
    for (int64_t c = 0; c < channels; ++c) {
      if (!std::isfinite(row[c])) continue;
      channel_sum[static_cast<size_t>(c)] += static_cast<double>(row[c]);
      float& most = channel_max_abs[static_cast<size_t>(c)];
      most = std::max(most, std::abs(row[c]));
    }
  channel_count += tensor.elements() / channels;
}

}  // namespace tenon::quant

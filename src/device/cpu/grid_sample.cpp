// grid_sample: each position as a weighted sum of the pixels around it.
#include "ops/grid_sample.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {
namespace {

constexpr int kMostSpatial = 3;
constexpr size_t kMostSources = 64;  // four along each dimension
// Values made by a task.
constexpr int64_t kTaskValues = 16 << 10;

std::string refuses(const StepInfo& s) {
  if (!all_f32(s)) return "only f32";
  return s.inputs[0].shape.rank() - 2 <= kMostSpatial ? "" : "more than three spatial dimensions";
}

class GridSampleKernel final : public Kernel {
 public:
  explicit GridSampleKernel(const StepInfo& s) {
    op_ = *s.op.as<GridSample>();
    const Shape& x = s.inputs[0].shape;
    for (int d = 1; d + 1 < x.rank(); ++d) {
      sizes_.push_back(x[d].size());
      samplers_.emplace_back(op_, x[d].size());
      image_ *= x[d].size();
    }
    channels_ = x[x.rank() - 1].size();
    image_ *= channels_;
    per_image_ = 1;
    for (int d = 1; d + 1 < x.rank(); ++d) per_image_ *= s.in_dim(1, d);
    positions_ = per_image_ * x[0].size();
  }
  Status run(const RunContext& c) const override {
    if (positions_ * channels_ == 0) return {};
    if (image_ == 0) return invalid_argument("grid_sample: the image is empty");
    const bool few_linear = channels_ < kFewChannels && sizes_.size() == 2 &&
                            op_.mode == GridMode::linear && op_.padding != GridPadding::reflection;
    const int64_t block = std::max<int64_t>(1, kTaskValues / std::max<int64_t>(channels_, 8));
    c.pool.parallel_for((positions_ + block - 1) / block, [&](int64_t task) {
      const int64_t end = std::min(positions_, (task + 1) * block);
      if (few_linear) return sample_linear(c, task * block, end);
      for (int64_t p = task * block; p < end; ++p) sample(c, p);
    });
    return {};
  }

 private:
  // Fewer are summed up one by one.
  static constexpr int64_t kFewChannels = 4;

  // The two elements around a position along one dimension, with weights; those outside have none.
  struct Pair {
    int64_t index[2];
    double weight[2];
  };
  Pair pair_at(size_t d, double grid) const {
    const double n = static_cast<double>(sizes_[d]);
    double x = op_.align_corners ? (grid + 1) / 2 * (n - 1) : ((grid + 1) * n - 1) / 2;
    const bool zeros = op_.padding == GridPadding::zeros;
    // Far outside everything is alike; NaN samples the start.
    const double low = zeros ? -2 : 0, high = zeros ? n + 1 : n - 1;
    x = x > low ? std::min(x, high) : low;
    const double floor = std::floor(x);
    const auto base = static_cast<int64_t>(floor);
    Pair pair{{base, base + 1}, {1 - (x - floor), x - floor}};
    for (int k = 0; k < 2; ++k) {
      const int64_t i = std::clamp<int64_t>(pair.index[k], 0, sizes_[d] - 1);
      if (zeros && i != pair.index[k]) pair.weight[k] = 0;
      pair.index[k] = i;
    }
    return pair;
  }

  // Positions in images of two dimensions and few channels.
  void sample_linear(const RunContext& c, int64_t position, int64_t end) const {
    for (; position < end; ++position) {
      const float* grid = c.in(1) + position * 2;
      const float* image = c.in(0) + position / per_image_ * image_;
      float* y = c.out(0) + position * channels_;
      const Pair row = pair_at(0, static_cast<double>(grid[1])),
                 column = pair_at(1, static_cast<double>(grid[0]));
      double sums[kFewChannels] = {};
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
          const double weight = row.weight[i] * column.weight[j];
          const float* pixel = image + (row.index[i] * sizes_[1] + column.index[j]) * channels_;
          // What has no weight does not count, not even where it is no number.
          for (int64_t k = 0; k < channels_; ++k)
            sums[k] += weight != 0 ? weight * static_cast<double>(pixel[k]) : 0;
        }
      for (int64_t k = 0; k < channels_; ++k) y[k] = static_cast<float>(sums[k]);
    }
  }

  // A pixel around a position.
  struct Corner {
    int64_t place;
    double weight;
  };

  void sample(const RunContext& c, int64_t position) const {
    const size_t spatial = sizes_.size();
    const float* grid = c.in(1) + position * static_cast<int64_t>(spatial);
    const float* image = c.in(0) + position / per_image_ * image_;
    float* y = c.out(0) + position * channels_;
    Corner first[kMostSources], second[kMostSources];
    Corner *corners = first, *next = second;
    corners[0] = {0, 1};
    size_t count = 1;
    for (size_t d = 0; d < spatial; ++d) {
      // The grid names the last dimension first.
      const GridTaps taps = samplers_[d].at(static_cast<double>(grid[spatial - 1 - d]));
      size_t found = 0;
      for (size_t i = 0; i < count; ++i)
        for (int t = 0; t < taps.count; ++t)
          if (taps.index[t] >= 0 && taps.weight[t] != 0)
            next[found++] = {corners[i].place * sizes_[d] + taps.index[t],
                             corners[i].weight * taps.weight[t]};
      count = found;
      std::swap(corners, next);
    }
    if (channels_ < kFewChannels) {
      for (int64_t k = 0; k < channels_; ++k) {
        double sum = 0;
        for (size_t i = 0; i < count; ++i)
          sum += corners[i].weight * static_cast<double>(image[corners[i].place * channels_ + k]);
        y[k] = static_cast<float>(sum);
      }
      return;
    }
    const float* sources[kMostSources];
    float weights[kMostSources];
    for (size_t i = 0; i < count; ++i) {
      sources[i] = image + corners[i].place * channels_;
      weights[i] = static_cast<float>(corners[i].weight);
    }
    kernels().weighted_sum(sources, weights, static_cast<int64_t>(count), y, channels_);
  }

  GridSample op_;
  std::vector<int64_t> sizes_;
  std::vector<GridSampler> samplers_;
  int64_t image_ = 1, channels_ = 0, per_image_ = 0, positions_ = 0;
};

constexpr KernelCandidate kCandidates[] = {
    {GridSample::name, "grid_rows", refuses,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> {
       return std::make_unique<GridSampleKernel>(s);
     }},
};

}  // namespace

std::span<const KernelCandidate> grid_sample_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu

// roi_align: the means of a region's cells as weighted sums of rows, then of elements; maxima one
// by one. max_roi_pool element by element, crop_and_resize by rows of pixels.
#include "ops/roi.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/kernel_table.h"
#include "device/cpu/kernels/slots.h"
#include "ops/detection.h"

namespace tenon::cpu {
namespace {

// Values made by a task.
constexpr int64_t kTaskValues = 16 << 10;

// The elements that the cells of a region take along one dimension with their weights, those of
// cell i being [begin[i], begin[i + 1]).
struct CellTaps {
  std::vector<int64_t> begin, index;
  std::vector<float> weight;
  std::vector<int64_t> samples, outside;  // of each cell: all, and those outside of the image

  int64_t count(int64_t cell) const {
    const auto i = static_cast<size_t>(cell);
    return begin[i + 1] - begin[i];
  }
  const int64_t* indices(int64_t cell) const {
    return index.data() + begin[static_cast<size_t>(cell)];
  }
  const float* weights(int64_t cell) const {
    return weight.data() + begin[static_cast<size_t>(cell)];
  }

  // With `mean` each element comes once, by its share of the cell's mean.
  void fill(const RoiAlign& op, double start, double extent, int64_t cells, int64_t size,
            bool mean) {
    begin.assign(1, 0), index.clear(), shares_.clear(), samples.clear(), outside.clear();
    last_.assign(static_cast<size_t>(size), -1);
    for (int64_t cell = 0; cell < cells; ++cell) {
      const RoiSamples s = op.samples(start + static_cast<double>(cell) * extent, extent);
      const auto [first, end] = s.inside(size);
      const double share = mean ? 1 / static_cast<double>(std::max<int64_t>(s.count, 1)) : 1;
      int64_t inside = 0;
      for (int64_t i = first; i < end; ++i) {
        const auto taps = roi_taps(s.at(i), size);
        if (!taps) continue;
        ++inside;
        add(taps->low, share * (1 - taps->high_weight), mean);
        add(taps->high, share * taps->high_weight, mean);
      }
      begin.push_back(static_cast<int64_t>(index.size()));
      samples.push_back(s.count), outside.push_back(s.count - inside);
    }
    weight.assign(shares_.begin(), shares_.end());
  }

 private:
  void add(int64_t element, double share, bool merge) {
    int64_t& last = last_[static_cast<size_t>(element)];
    if (merge && last >= begin.back()) {
      shares_[static_cast<size_t>(last)] += share;
      return;
    }
    last = static_cast<int64_t>(index.size());
    index.push_back(element), shares_.push_back(share);
  }

  std::vector<double> shares_;
  std::vector<int64_t> last_;  // by element: its newest tap
};

class RoiAlignKernel final : public Kernel {
 public:
  explicit RoiAlignKernel(const StepInfo& s)
      : op_(*s.op.as<RoiAlign>()),
        height_(s.in_dim(0, 1)),
        width_(s.in_dim(0, 2)),
        channels_(s.in_dim(0, 3)),
        threads_(s.threads) {}
  int64_t scratch_bytes() const override { return slots_bytes(width_ * channels_, threads_); }
  Status run(const RunContext& c) const override {
    const Tensor& rois = *c.inputs[1];
    const Tensor& images = *c.inputs[2];
    TRY(op_.check_images(*c.inputs[0], rois, images));
    const int64_t regions = rois.dim(0);
    const int64_t values = op_.output_height * op_.output_width * channels_;
    if (regions * values == 0) return {};
    const int64_t block = std::max<int64_t>(1, kTaskValues / values);
    parallel_with_slots(c.pool, (regions + block - 1) / block, [&](int64_t task, int64_t slot) {
      Work work;
      work.row = slot_floats(c.scratch, slot, width_ * channels_);
      for (int64_t r = task * block; r < std::min(regions, (task + 1) * block); ++r) {
        const bool mean = op_.mode == RoiMode::avg;
        const RoiCells cells = op_.cells(rois, r);
        work.rows.fill(op_, cells.top, cells.height, op_.output_height, height_, mean);
        work.columns.fill(op_, cells.left, cells.width, op_.output_width, width_, mean);
        const float* image = c.in(0) + images.int_at(r) * height_ * width_ * channels_;
        float* y = c.out(0) + r * values;
        if (mean)
          means(image, work, y);
        else
          maxima(image, work, y);
      }
    });
    return {};
  }

 private:
  struct Work {
    CellTaps rows, columns;
    float* row = nullptr;  // of the image, mixed
    std::vector<const float*> sources;
    std::vector<std::pair<int64_t, int64_t>> used;  // the columns that are read: [first, last)
  };

  void means(const float* image, Work& work, float* y) const {
    const KernelTable& table = kernels();
    find_used(work);
    for (int64_t i = 0; i < op_.output_height; ++i) {
      for (const auto& [first, last] : work.used) {
        list(work, work.rows, i, image + first * channels_, width_ * channels_);
        table.weighted_sum(work.sources.data(), work.rows.weights(i), work.rows.count(i),
                           work.row + first * channels_, (last - first) * channels_);
      }
      for (int64_t j = 0; j < op_.output_width; ++j, y += channels_) {
        list(work, work.columns, j, work.row, channels_);
        table.weighted_sum(work.sources.data(), work.columns.weights(j), work.columns.count(j), y,
                           channels_);
      }
    }
  }

  // Where the elements of a cell begin that lie `stride` apart from `x` on.
  static void list(Work& work, const CellTaps& taps, int64_t cell, const float* x, int64_t stride) {
    work.sources.clear();
    const int64_t* index = taps.indices(cell);
    for (int64_t t = 0; t < taps.count(cell); ++t) work.sources.push_back(x + index[t] * stride);
  }

  static void find_used(Work& work) {
    std::vector<int64_t> columns = work.columns.index;
    std::ranges::sort(columns);
    work.used.clear();
    for (const int64_t c : columns)
      if (work.used.empty() || c > work.used.back().second)
        work.used.emplace_back(c, c + 1);
      else
        work.used.back().second = c + 1;
  }

  // Of the weighted elements, as ONNX defines it; a sample outside of the image is 0.
  void maxima(const float* image, const Work& work, float* y) const {
    for (int64_t i = 0; i < op_.output_height; ++i)
      for (int64_t j = 0; j < op_.output_width; ++j, y += channels_) {
        const auto u = static_cast<size_t>(i), v = static_cast<size_t>(j);
        bool first = work.rows.outside[u] == 0 && work.columns.outside[v] == 0;
        std::fill_n(y, channels_, 0.0f);
        for (int64_t a = 0; a < work.rows.count(i); ++a)
          for (int64_t b = 0; b < work.columns.count(j); ++b, first = false) {
            const float weight = work.rows.weights(i)[a] * work.columns.weights(j)[b];
            const float* x =
                image + (work.rows.indices(i)[a] * width_ + work.columns.indices(j)[b]) * channels_;
            for (int64_t c = 0; c < channels_; ++c)
              y[c] = first ? weight * x[c] : std::max(y[c], weight * x[c]);
          }
      }
  }

  RoiAlign op_;
  int64_t height_, width_, channels_;
  int threads_;
};

// max_roi_pool: the largest of a cell's pixels, channel by channel.
class MaxRoiPoolKernel final : public Kernel {
 public:
  explicit MaxRoiPoolKernel(const StepInfo& s) : op_(*s.op.as<MaxRoiPool>()) {}
  Status run(const RunContext& c) const override {
    const Tensor &x = *c.inputs[0], &rois = *c.inputs[1];
    std::vector<RoiBins> regions;
    regions.reserve(static_cast<size_t>(rois.dim(0)));
    for (int64_t r = 0; r < rois.dim(0); ++r) regions.push_back(TRY(op_.bins(x, rois, r)));
    const int64_t row = op_.output_width * x.dim(3), rows = rois.dim(0) * op_.output_height;
    if (row == 0) return {};
    const int64_t block = std::max<int64_t>(1, kTaskValues / row);
    c.pool.parallel_for((rows + block - 1) / block, [&](int64_t task) {
      for (int64_t i = task * block; i < std::min(rows, (task + 1) * block); ++i)
        fill_row(x, c.in(0), regions[static_cast<size_t>(i / op_.output_height)],
                 i % op_.output_height, c.out(0) + i * row);
    });
    return {};
  }

 private:
  void fill_row(const Tensor& images, const float* x, const RoiBins& cells, int64_t i,
                float* y) const {
    const int64_t height = images.dim(1), width = images.dim(2), channels = images.dim(3);
    x += cells.image * height * width * channels;
    const auto [top, bottom] = cells.rows(i, height);
    for (int64_t j = 0; j < op_.output_width; ++j, y += channels) {
      const auto [left, right] = cells.columns(j, width);
      const bool is_empty = top >= bottom || left >= right;
      std::fill_n(y, channels, is_empty ? 0 : -std::numeric_limits<float>::infinity());
      for (int64_t v = top; v < bottom; ++v)
        for (int64_t u = left; u < right; ++u) {
          const float* const pixel = x + (v * width + u) * channels;
          for (int64_t k = 0; k < channels; ++k) y[k] = std::max(y[k], pixel[k]);
        }
    }
  }

  MaxRoiPool op_;
};

// crop_and_resize: every pixel from the four around its place.
class CropKernel final : public Kernel {
 public:
  explicit CropKernel(const StepInfo& s)
      : outside_(static_cast<float>(s.op.as<CropAndResize>()->extrapolation_value)) {}
  Status run(const RunContext& c) const override {
    const Tensor &image = *c.inputs[0], &y = *c.outputs[0];
    const int64_t boxes = y.dim(0), images = image.dim(0);
    for (int64_t n = 0; n < boxes; ++n) {
      const int64_t b = c.inputs[2]->int_at(n);
      if (b < 0 || b >= images)
        return invalid_argument(
            fmt::format("crop_and_resize: box {} refers to image {} of {}", n, b, images));
    }
    c.pool.parallel_for(boxes * y.dim(1), [&](int64_t row) {
      const int64_t n = row / y.dim(1);
      const float* x =
          c.in(0) + c.inputs[2]->int_at(n) * image.dim(1) * image.dim(2) * image.dim(3);
      crop_row(image, x, c.in(1) + n * 4, row % y.dim(1), y, c.out(0) + row * y.dim(2) * y.dim(3));
    });
    return {};
  }

 private:
  // The pixels before and behind a place, and the share of the one behind.
  struct Place {
    int64_t before = -1, behind = 0;
    float share = 0;
    bool is_inside() const { return before >= 0; }
  };
  static Place place(double from, double to, int64_t i, int64_t out, int64_t in) {
    const auto last = static_cast<double>(in - 1);
    const double at = out == 1 ? (from + to) / 2 * last
                               : from * last + static_cast<double>(i) * (to - from) * last /
                                                   static_cast<double>(out - 1);
    if (!(at >= 0 && at <= last)) return {};
    const auto before = static_cast<int64_t>(at);
    const double share = at - static_cast<double>(before);
    return {before, share > 0 ? before + 1 : before, static_cast<float>(share)};
  }
  void crop_row(const Tensor& image, const float* x, const float* box, int64_t i,
                const Tensor& crop, float* y) const {
    const int64_t width = image.dim(2), channels = image.dim(3), columns = crop.dim(2);
    const Place v = place(box[0], box[2], i, crop.dim(1), image.dim(1));
    for (int64_t j = 0; j < columns; ++j, y += channels) {
      const Place u = v.is_inside() ? place(box[1], box[3], j, columns, width) : Place();
      if (!u.is_inside()) {
        std::fill_n(y, channels, outside_);
        continue;
      }
      const float *top = x + v.before * width * channels, *bottom = x + v.behind * width * channels;
      const int64_t left = u.before * channels, right = u.behind * channels;
      const float weights[] = {(1 - v.share) * (1 - u.share), (1 - v.share) * u.share,
                               v.share * (1 - u.share), v.share * u.share};
      for (int64_t k = 0; k < channels; ++k)
        y[k] = weights[0] * top[left + k] + weights[1] * top[right + k] +
               weights[2] * bottom[left + k] + weights[3] * bottom[right + k];
    }
  }

  float outside_;
};

std::string refuses_crop(const StepInfo& s) {
  if (s.op.as<CropAndResize>()->method != CropMethod::bilinear) return "only bilinear";
  return s.inputs[0].dtype == DType::f32 && s.inputs[1].dtype == DType::f32 ? "" : "only f32";
}

std::string refuses(const StepInfo& s) {
  return s.inputs[0].dtype == DType::f32 ? "" : "only f32";
}

std::unique_ptr<Kernel> make_max_pool(const StepInfo& s) {
  return std::make_unique<MaxRoiPoolKernel>(s);
}

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<RoiAlignKernel>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {RoiAlign::name, "region_rows", refuses, make},
    {MaxRoiPool::name, "region_maxima", refuses, make_max_pool},
    {CropAndResize::name, "cropped_rows", refuses_crop,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> { return std::make_unique<CropKernel>(s); }},
};

}  // namespace

std::span<const KernelCandidate> roi_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu

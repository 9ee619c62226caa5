// resize: weighted sums of rows, then of pixels; nearest copies.
#include "ops/resize.h"

#include <algorithm>
#include <cstring>

#include "device/cpu/candidates.h"
#include "device/cpu/kernels/kernel_table.h"
#include "device/cpu/kernels/slots.h"
#include "device/cpu/kernels/windows.h"
#include "device/cpu/window.h"

namespace tenon::cpu {
namespace {

// Values made by a task.
constexpr int64_t kTaskValues = 16 << 10;
// From so many channels on, a pixel is summed by vectors.
constexpr int64_t kVectorChannels = 8;

// Of more spatial dims than a kernel takes, those from the first that leave every element as it is:
// images of a larger batch.
int unchanged_dims(const StepInfo& s) {
  const Resize& op = *s.op.as<Resize>();
  const int spatial = s.outputs[0].shape.rank() - 2;
  int n = 0;
  while (spatial - n > kMaxSpatial &&
         op.keeps(static_cast<size_t>(n), s.in_dim(0, n + 1), s.out_dim(0, n + 1)))
    ++n;
  return n;
}

std::string refuses_common(const StepInfo& s) {
  const Resize& op = *s.op.as<Resize>();
  if (s.outputs[0].shape.rank() - 2 - unchanged_dims(s) > kMaxSpatial)
    return "more than three spatial dimensions change";
  if (op.coordinate == ResizeCoordinate::tf_crop_and_resize) return "regions are cropped";
  return {};
}

// The taps of one axis, those of output element o being [begin[o], begin[o + 1]).
struct Axis {
  int64_t in = 1;
  int64_t out = 1;
  std::vector<int64_t> begin{0, 1};
  std::vector<int64_t> index{0};
  std::vector<float> weight{1.0f};

  int64_t count(int64_t o) const {
    const auto u = static_cast<size_t>(o);
    return begin[u + 1] - begin[u];
  }
  int64_t most() const {
    int64_t n = 1;
    for (int64_t o = 0; o < out; ++o) n = std::max(n, count(o));
    return n;
  }
};

// Of [depth, height, width], right-aligned; dims from `first` on.
std::vector<Axis> axes_of(const StepInfo& s, int first) {
  const Resize& op = *s.op.as<Resize>();
  std::vector<Axis> axes(kMaxSpatial);
  const int spatial = s.outputs[0].shape.rank() - 2;
  for (int i = first; i < spatial; ++i) {
    const int d = kMaxSpatial - spatial + i;
    Axis& axis = axes[static_cast<size_t>(d)];
    axis = {s.in_dim(0, i + 1), s.out_dim(0, i + 1), {0}, {}, {}};
    for (int64_t o = 0; o < axis.out; ++o) {
      const ResizeTaps taps = op.taps(static_cast<size_t>(i), o, axis.in, axis.out);
      axis.index.insert(axis.index.end(), taps.index.begin(), taps.index.end());
      for (const double w : taps.weight) axis.weight.push_back(static_cast<float>(w));
      axis.begin.push_back(static_cast<int64_t>(axis.index.size()));
    }
  }
  return axes;
}

class ResizeKernel : public Kernel {
 protected:
  explicit ResizeKernel(const StepInfo& s)
      : batch_(s.out_dim(0, 0)), channels_(s.out_dim(0, s.outputs[0].shape.rank() - 1)) {
    const int unchanged = unchanged_dims(s);
    axes_ = axes_of(s, unchanged);
    for (int i = 0; i < unchanged; ++i) batch_ *= s.out_dim(0, i + 1);
  }

  // body(rows of output [begin, end), slot) over all rows, images and planes counted through.
  template <typename Body>
  void for_rows(ThreadPool& pool, Body&& body) const {
    const int64_t values = width().out * channels_;
    const int64_t rows = batch_ * depth().out * height().out;
    if (values == 0 || rows == 0) return;
    const int64_t block = std::max<int64_t>(1, kTaskValues / values);
    parallel_with_slots(pool, ceil_div(rows, block), [&](int64_t task, int64_t slot) {
      body(task * block, std::min(rows, (task + 1) * block), slot);
    });
  }
  const Axis& depth() const { return axes_[0]; }
  const Axis& height() const { return axes_[1]; }
  const Axis& width() const { return axes_[2]; }

  std::vector<Axis> axes_;
  int64_t batch_ = 0;
  int64_t channels_ = 0;
};

class WeightedResize final : public ResizeKernel {
 public:
  explicit WeightedResize(const StepInfo& s) : ResizeKernel(s), threads_(s.threads) {
    most_ = std::max(depth().most() * height().most(), width().most());
    row_floats_ = width().in * channels_;
    if (channels_ < kVectorChannels) list_elements();
  }
  int64_t scratch_bytes() const override { return slots_bytes(slot_size(), threads_); }
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    float* y = c.out(0);
    for_rows(c.pool, [&](int64_t begin, int64_t end, int64_t slot) {
      float* const row = slot_floats(c.scratch, slot, slot_size());
      auto** const sources =
          reinterpret_cast<const float**>(row + round_to_lines(row_floats_ * 4) / 4);
      auto* const weights = reinterpret_cast<float*>(sources + most_);
      for (int64_t r = begin; r < end; ++r) {
        const float* mixed = mix_rows(x, r, row, sources, weights);
        mix_pixels(mixed, y + r * width().out * channels_, sources);
      }
    });
    return {};
  }

 private:
  int64_t slot_size() const { return round_to_lines(row_floats_ * 4) / 4 + 3 * most_; }

  // The rows of input that make row r of the output, summed; a single one is returned as it is.
  const float* mix_rows(const float* x, int64_t r, float* row, const float** sources,
                        float* weights) const {
    const int64_t oh = r % height().out, od = r / height().out % depth().out;
    const int64_t n = r / height().out / depth().out;
    int64_t count = 0;
    const auto at = [](int64_t i) { return static_cast<size_t>(i); };
    for (int64_t d = depth().begin[at(od)]; d < depth().begin[at(od) + 1]; ++d)
      for (int64_t h = height().begin[at(oh)]; h < height().begin[at(oh) + 1]; ++h) {
        const int64_t plane = n * depth().in + depth().index[at(d)];
        sources[count] = x + (plane * height().in + height().index[at(h)]) * row_floats_;
        weights[count++] = depth().weight[at(d)] * height().weight[at(h)];
      }
    if (count == 1 && weights[0] == 1.0f) return sources[0];
    kernels().weighted_sum(sources, weights, count, row, row_floats_);
    return row;
  }

  void mix_pixels(const float* row, float* y, const float** sources) const {
    if (channels_ < kVectorChannels) return mix_elements(row, y);
    const KernelTable& table = kernels();
    const Axis& axis = width();
    const int64_t channels = channels_;
    for (int64_t o = 0; o < axis.out; ++o, y += channels) {
      const int64_t first = axis.begin[static_cast<size_t>(o)], count = axis.count(o);
      const int64_t* index = axis.index.data() + first;
      const float* weight = axis.weight.data() + first;
      for (int64_t t = 0; t < count; ++t) sources[t] = row + index[t] * channels;
      table.weighted_sum(sources, weight, count, y, channels);
    }
  }

  // Of few channels, the taps of each element of a row, the first of all elements before the
  // second. Where one has fewer, halves of its last make up the number: infinities stay what they
  // are.
  void list_elements() {
    const Axis& axis = width();
    const int64_t elements = axis.out * channels_, taps = axis.most();
    element_index_.assign(static_cast<size_t>(elements * taps), 0);
    element_weight_.assign(static_cast<size_t>(elements * taps), 0.0f);
    for (int64_t e = 0; e < elements; ++e) {
      const int64_t o = e / channels_, first = axis.begin[static_cast<size_t>(o)];
      const int64_t last = axis.count(o) - 1;
      float weight = 0;
      for (int64_t t = 0; last >= 0 && t < taps; ++t) {
        const auto from = static_cast<size_t>(first + std::min(t, last));
        if (t <= last) weight = axis.weight[from];
        if (t >= last && t + 1 < taps) weight /= 2;
        const auto to = static_cast<size_t>(t * elements + e);
        element_index_[to] = static_cast<int32_t>(axis.index[from] * channels_ + e % channels_);
        element_weight_[to] = weight;
      }
    }
  }

  void mix_elements(const float* row, float* y) const {
    const int64_t elements = width().out * channels_;
    const int32_t* index = element_index_.data();
    const float* weight = element_weight_.data();
    for (int64_t e = 0; e < elements; ++e) y[e] = weight[e] * row[index[e]];
    for (int64_t t = 1; t < width().most(); ++t) {
      index += elements, weight += elements;
      for (int64_t e = 0; e < elements; ++e) y[e] += weight[e] * row[index[e]];
    }
  }

  std::vector<int32_t> element_index_;
  std::vector<float> element_weight_;
  int threads_ = 1;
  int64_t most_ = 1;  // taps at a time
  int64_t row_floats_ = 0;
};

std::string weighted_refuses(const StepInfo& s) {
  if (s.op.as<Resize>()->mode == ResizeMode::nearest) return "nothing is interpolated";
  if (s.inputs[0].dtype != DType::f32) return "only f32";
  return refuses_common(s);
}

class NearestResize final : public ResizeKernel {
 public:
  explicit NearestResize(const StepInfo& s)
      : ResizeKernel(s),
        pixel_bytes_(channels_ * static_cast<int64_t>(dtype_size(s.inputs[0].dtype))) {}
  Status run(const RunContext& c) const override {
    const auto* x = static_cast<const char*>(c.inputs[0]->raw());
    auto* y = static_cast<char*>(c.outputs[0]->mutable_raw());
    const int64_t in_bytes = width().in * pixel_bytes_, out_bytes = width().out * pixel_bytes_;
    for_rows(c.pool, [&](int64_t begin, int64_t end, int64_t) {
      const char* last = nullptr;
      for (int64_t r = begin; r < end; ++r) {
        const int64_t oh = r % height().out, od = r / height().out % depth().out;
        const int64_t n = r / height().out / depth().out;
        const int64_t plane = n * depth().in + depth().index[static_cast<size_t>(od)];
        const char* row =
            x + (plane * height().in + height().index[static_cast<size_t>(oh)]) * in_bytes;
        char* to = y + r * out_bytes;
        if (row == last)
          std::memcpy(to, to - out_bytes, static_cast<size_t>(out_bytes));
        else if (pixel_bytes_ == 4)
          copy_pixels<4>(row, to);
        else if (pixel_bytes_ == 12)
          copy_pixels<12>(row, to);
        else
          for (int64_t o = 0; o < width().out; ++o)
            std::memcpy(to + o * pixel_bytes_,
                        row + width().index[static_cast<size_t>(o)] * pixel_bytes_,
                        static_cast<size_t>(pixel_bytes_));
        last = row;
      }
    });
    return {};
  }

 private:
  template <size_t kBytes>
  void copy_pixels(const char* row, char* to) const {
    const int64_t* index = width().index.data();
    for (int64_t o = 0; o < width().out; ++o)
      std::memcpy(to + o * static_cast<int64_t>(kBytes),
                  row + index[o] * static_cast<int64_t>(kBytes), kBytes);
  }

  int64_t pixel_bytes_ = 0;
};

std::string nearest_refuses(const StepInfo& s) {
  if (s.op.as<Resize>()->mode != ResizeMode::nearest) return "values are interpolated";
  if (s.inputs[0].dtype == DType::string) return "strings";
  return refuses_common(s);
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {Resize::name, "nearest_rows", nearest_refuses, make<NearestResize>},
    {Resize::name, "weighted_rows", weighted_refuses, make<WeightedResize>}};

}  // namespace

std::span<const KernelCandidate> resize_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu

#include "quant/rounding.h"

#include <algorithm>
#include <cmath>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "quant/nearest_plane.h"
#include "quant/sums_of_products.h"

namespace tenon::quant {
namespace {

// Of a matrix per group, and of all matrices of a layer.
constexpr int64_t kMostTerms = 1200, kMostElements = 4'000'000;
constexpr int kSweeps = 4;
// Part of the mean diagonal that is added to it: samples are few.
constexpr double kDamping = 0.05;

int64_t output_positions(int64_t size, int64_t kernel, int64_t stride, int64_t dilation,
                         int64_t pads) {
  return (size + pads - dilation * (kernel - 1) - 1) / stride + 1;
}

}  // namespace

bool Correlations::is_affordable(const Node& product) {
  const Value* weights = product.input(1);
  const Tensor* w = weights == nullptr ? nullptr : weights->constant();
  if (w == nullptr || w->dtype() != DType::f32 || w->rank() < 2) return false;
  const Conv* conv = product.as<Conv>();
  if (conv == nullptr &&
      (product.as<Matmul>() == nullptr || w->rank() != 2 || product.as<Matmul>()->transpose_a))
    return false;
  if (conv != nullptr && conv->auto_pad != AutoPad::none) return false;
  const int64_t groups = conv == nullptr ? 1 : std::max<int64_t>(conv->groups, 1);
  const bool transposed = conv == nullptr && product.as<Matmul>()->transpose_b;
  const int64_t columns = w->dim(transposed ? 0 : w->rank() - 1);
  if (columns == 0 || w->elements() == 0 || columns % groups != 0) return false;
  const int64_t terms = w->elements() / columns;
  return terms <= kMostTerms && terms * terms * groups <= kMostElements;
}

Correlations::Correlations(const Node& product) {
  const Tensor& w = *product.input(1)->constant();
  if (const Conv* conv = product.as<Conv>()) {
    groups_ = std::max<int64_t>(conv->groups, 1);
    const auto n = static_cast<size_t>(w.rank() - 2);
    kernel_.assign(w.dims().begin(), w.dims().begin() + w.rank() - 2);
    strides_ = conv->strides.empty() ? std::vector<int64_t>(n, 1) : conv->strides;
    dilations_ = conv->dilations.empty() ? std::vector<int64_t>(n, 1) : conv->dilations;
    pads_ = conv->pads.empty() ? std::vector<int64_t>(2 * n, 0) : conv->pads;
    terms_ = w.elements() / w.dim(w.rank() - 1);
  } else {
    is_transposed_ = product.as<Matmul>()->transpose_b;
    terms_ = w.dim(is_transposed_ ? 1 : 0);
  }
  columns_ = w.elements() / terms_;
  make_room();
}

Correlations::Correlations(int64_t terms, int64_t columns) : terms_(terms), columns_(columns) {
  make_room();
}

void Correlations::make_room() {
  products_.resize(static_cast<size_t>(groups_ * terms_ * terms_));
  sums_.resize(static_cast<size_t>(groups_ * terms_));
  windows_.resize(static_cast<size_t>(groups_ * kWaiting * terms_));
}

void Correlations::take(const float* x, const std::vector<int64_t>& dims, int64_t position,
                        const float* wanted) {
  const auto spatial = static_cast<int64_t>(kernel_.size());
  const int64_t channels = dims.back(), per_group = channels / groups_;
  // The window's begin in each dimension, and where its sample begins.
  std::vector<int64_t> begin(static_cast<size_t>(spatial));
  int64_t rest = position;
  for (int64_t d = spatial; d-- > 0;) {
    const auto i = static_cast<size_t>(d);
    const int64_t out = output_positions(dims[i + 1], kernel_[i], strides_[i], dilations_[i],
                                         pads_[i] + pads_[i + kernel_.size()]);
    begin[i] = rest % out * strides_[i] - pads_[i];
    rest /= out;
  }
  int64_t taps = 1;
  for (const int64_t k : kernel_) taps *= k;
  for (int64_t g = 0; g < groups_; ++g) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t place = rest, left = tap, step = taps;
      bool inside = true;
      for (size_t d = 0; d < kernel_.size(); ++d) {
        step /= kernel_[d];
        const int64_t at = begin[d] + left / step * dilations_[d];
        left %= step;
        inside &= at >= 0 && at < dims[d + 1];
        place = place * dims[d + 1] + at;
      }
      float* to = windows_.data() + (g * kWaiting + waiting_) * terms_ + tap * per_group;
      if (inside)
        std::copy_n(x + place * channels + g * per_group, per_group, to);
      else
        std::fill_n(to, per_group, 0.0f);
    }
  }
  if (wanted != nullptr) std::copy_n(wanted, columns_, results_.data() + waiting_ * columns_);
  ++count_;
  if (++waiting_ == kWaiting) add_windows();
}

void Correlations::add_windows() {
  const int64_t columns = columns_ / groups_;
  for (int64_t g = 0; g < groups_; ++g) {
    const Terms windows{windows_.data() + g * kWaiting * terms_, terms_, terms_};
    for (int64_t k = 0; k < waiting_; ++k)
      for (int64_t i = 0; i < terms_; ++i)
        sums_[static_cast<size_t>(g * terms_ + i)] +=
            static_cast<double>(windows.data[k * terms_ + i]);
    add_products(windows, windows, waiting_, products_.data() + g * terms_ * terms_, terms_, true);
    if (!wanted_.empty())
      add_products(windows, {results_.data() + g * columns, columns_, columns}, waiting_,
                   wanted_.data() + g * columns, columns_);
  }
  for (int64_t k = 0; !wanted_.empty() && k < waiting_; ++k)
    for (int64_t c = 0; c < columns_; ++c)
      wanted_sums_[static_cast<size_t>(c)] +=
          static_cast<double>(results_[static_cast<size_t>(k * columns_ + c)]);
  waiting_ = 0;
}

Status Correlations::add(const Tensor& input, int64_t windows, const Tensor* wanted) {
  std::vector<int64_t> dims(input.dims().begin(), input.dims().end());
  if (input.dtype() != DType::f32 || dims.empty() || input.elements() == 0)
    return internal_error("no input of a product");
  int64_t positions = 1;
  if (kernel_.empty()) {
    if (dims.back() != terms_) return internal_error("a product of another size");
    positions = input.elements() / terms_;
    dims = {positions, terms_};
  } else {
    if (dims.size() != kernel_.size() + 2) return internal_error("a window of another rank");
    positions = dims[0];
    for (size_t d = 0; d < kernel_.size(); ++d)
      positions *= output_positions(dims[d + 1], kernel_[d], strides_[d], dilations_[d],
                                    pads_[d] + pads_[d + kernel_.size()]);
  }
  if (wanted != nullptr && wanted->elements() != positions * columns_)
    return internal_error("results of another size");
  if (wanted != nullptr && wanted_.empty()) {
    wanted_.resize(static_cast<size_t>(terms_ * columns_));
    wanted_sums_.resize(static_cast<size_t>(columns_));
    results_.resize(static_cast<size_t>(kWaiting * columns_));
  }
  const int64_t step = std::max<int64_t>(1, positions / std::max<int64_t>(windows, 1));
  // Where the first lies changes with each run: windows of one place are not all that is seen.
  for (int64_t p = count_ % step; p < positions; p += step)
    take(input.data<float>(), dims, p,
         wanted == nullptr ? nullptr : wanted->data<float>() + p * columns_);
  return {};
}

// Of the inputs of a group's sums, what damps it added to the diagonal.
struct Correlations::Covariance {
  std::vector<double> values;  // [terms, terms]
  double damping = 0;
};

Correlations::Covariance Correlations::covariance(int64_t group) const {
  const auto n = static_cast<double>(count_);
  const double* products = products_.data() + group * terms_ * terms_;
  const double* sums = sums_.data() + group * terms_;
  Covariance h{std::vector<double>(static_cast<size_t>(terms_ * terms_))};
  double trace = 0;
  for (int64_t i = 0; i < terms_; ++i)
    for (int64_t j = i; j < terms_; ++j) {
      const double v = products[i * terms_ + j] / n - sums[i] / n * (sums[j] / n);
      h.values[static_cast<size_t>(i * terms_ + j)] = v;
      h.values[static_cast<size_t>(j * terms_ + i)] = v;
      if (i == j) trace += v;
    }
  h.damping = kDamping * std::max(trace, 1e-30) / static_cast<double>(terms_);
  for (int64_t i = 0; i < terms_; ++i) h.values[static_cast<size_t>(i * terms_ + i)] += h.damping;
  return h;
}

// Columns [first, first + columns) of one group; those of several share what is read of the
// covariance, which no cache holds.
void Correlations::descend(const Covariance& h, const Tensor& w, const QuantizedWeights& q,
                           int64_t first, int64_t columns, int8_t* integers) const {
  const auto n = static_cast<double>(count_);
  const double* sums = sums_.data() + first / (columns_ / groups_) * terms_;
  std::vector<double> slopes(static_cast<size_t>(columns * terms_)), errors(slopes.size()),
      towards(slopes.size());
  for (int64_t c = 0; c < columns; ++c) {
    const auto scale = static_cast<double>(q.scales.data<float>()[first + c]);
    for (int64_t i = 0; i < terms_; ++i) {
      const auto at = static_cast<size_t>(c * terms_ + i);
      const int64_t weight = place(first + c, i);
      const double exact = static_cast<double>(w.data<float>()[weight]) / scale;
      errors[at] = integers[weight] - exact;
      towards[at] = errors[at];
      if (wanted_.empty()) continue;
      // Towards what is wanted, which is not what the exact weights give.
      const auto result = static_cast<size_t>(first + c);
      towards[at] = integers[weight];
      slopes[at] = -h.damping * exact - (wanted_[static_cast<size_t>(i * columns_) + result] / n -
                                         sums[i] / n * (wanted_sums_[result] / n)) /
                                            scale;
    }
  }
  for (int64_t i = 0; i < terms_; ++i)
    for (int64_t c = 0; c < columns; ++c)
      add_multiple(towards[static_cast<size_t>(c * terms_ + i)], h.values.data() + i * terms_,
                   slopes.data() + c * terms_, terms_);
  bool changed = true;
  for (int sweep = 0; sweep < kSweeps && changed; ++sweep) {
    changed = false;
    for (int64_t i = 0; i < terms_; ++i) {
      const double own = h.values[static_cast<size_t>(i * terms_ + i)];
      for (int64_t c = 0; c < columns; ++c) {
        // One step that makes the error of the sums smaller, no further than to the next integer.
        const auto at = static_cast<size_t>(c * terms_ + i);
        const int step = slopes[at] > own / 2 ? -1 : slopes[at] < -own / 2 ? 1 : 0;
        int8_t& integer = integers[place(first + c, i)];
        if (step == 0 || std::abs(errors[at] + step) >= 1 || std::abs(integer + step) > 127)
          continue;
        integer = static_cast<int8_t>(integer + step);
        errors[at] += step;
        add_multiple(step, h.values.data() + i * terms_, slopes.data() + c * terms_, terms_);
        changed = true;
      }
    }
  }
}

Result<QuantizedWeights> Correlations::round(const Tensor& w, QuantizedWeights q) {
  constexpr int64_t kColumns = 8;
  if (count_ == 0) return q;
  add_windows();
  q.integers = TRY(q.integers.clone());
  auto* integers = q.integers.mutable_data<int8_t>();
  const int64_t per_group = columns_ / groups_;
  for (int64_t g = 0; g < groups_; ++g) {
    const Covariance h = covariance(g);
    for (int64_t c = 0; c < per_group; c += kColumns)
      descend(h, w, q, g * per_group + c, std::min(kColumns, per_group - c), integers);
  }
  return q;
}

Result<QuantizedWeights> Correlations::fit(const Tensor& w, QuantizedWeights q) {
  // As kDamping; tried from 0.005 to 2.
  constexpr double kTrust = 0.2;
  // Which scale suits a column is chance, but for the largest weights that small ones cut off.
  constexpr int kScales = 16;
  constexpr double kLeastScale = 0.75;
  if (count_ == 0) return q;
  add_windows();
  q.integers = TRY(q.integers.clone());
  q.scales = TRY(q.scales.clone());
  const int64_t per_group = columns_ / groups_, size = terms_ * terms_;
  std::vector<double> exact(static_cast<size_t>(terms_));
  for (int64_t g = 0; g < groups_; ++g) {
    const NearestPlane plane({products_.data() + g * size, static_cast<size_t>(size)}, terms_,
                             kTrust);
    for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      float& scale = q.scales.mutable_data<float>()[c];
      const float largest = scale;
      double least = INFINITY;
      for (int k = 0; k < kScales; ++k) {
        const auto smaller =
            largest * static_cast<float>(1 - (1 - kLeastScale) * k / (kScales - 1));
        const auto step = static_cast<double>(smaller);
        for (int64_t i = 0; i < terms_; ++i)
          exact[static_cast<size_t>(i)] = static_cast<double>(w.data<float>()[place(c, i)]) / step;
        const auto [integers, error] = plane.round(exact);
        if (error * step * step >= least) continue;
        least = error * step * step;
        scale = smaller;
        for (int64_t i = 0; i < terms_; ++i)
          q.integers.mutable_data<int8_t>()[place(c, i)] = integers[static_cast<size_t>(i)];
      }
    }
  }
  return q;
}

Tensor Correlations::biases(const QuantizedWeights& q) {
  add_windows();
  const auto n = static_cast<double>(count_);
  std::vector<float> biases(static_cast<size_t>(columns_));
  for (int64_t c = 0; c < columns_; ++c) {
    const double* sums = sums_.data() + c / (columns_ / groups_) * terms_;
    double given = 0;
    for (int64_t i = 0; i < terms_; ++i)
      given += q.integers.data<int8_t>()[place(c, i)] * (sums[i] / n);
    given *= static_cast<double>(q.scales.data<float>()[c]);
    biases[static_cast<size_t>(c)] =
        static_cast<float>(wanted_sums_[static_cast<size_t>(c)] / n - given);
  }
  return Tensor::vector(biases);
}

}  // namespace tenon::quant

#include "quant/rounding.h"

#include <algorithm>
#include <cmath>

#include "ops/conv.h"
#include "ops/matmul.h"

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

Correlations::Correlations(const Node& product) : product_(&product) {
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
  products_.resize(static_cast<size_t>(groups_ * terms_ * terms_));
  sums_.resize(static_cast<size_t>(groups_ * terms_));
  row_.resize(static_cast<size_t>(terms_));
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
      for (int64_t c = 0; c < per_group; ++c)
        row_[static_cast<size_t>(tap * per_group + c)] =
            inside ? x[place * channels + g * per_group + c] : 0.0f;
    }
    double* products = products_.data() + g * terms_ * terms_;
    double* sums = sums_.data() + g * terms_;
    const int64_t columns = columns_ / groups_, first = g * columns;
    for (int64_t i = 0; i < terms_; ++i) {
      const double v = row_[static_cast<size_t>(i)];
      if (v == 0) continue;
      sums[i] += v;
      for (int64_t c = first; wanted != nullptr && c < first + columns; ++c)
        wanted_[static_cast<size_t>(i * columns_ + c)] += v * static_cast<double>(wanted[c]);
      for (int64_t j = 0; j < terms_; ++j)
        products[i * terms_ + j] += v * static_cast<double>(row_[static_cast<size_t>(j)]);
    }
  }
  for (int64_t c = 0; wanted != nullptr && c < columns_; ++c)
    wanted_sums_[static_cast<size_t>(c)] += static_cast<double>(wanted[c]);
  ++count_;
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
  }
  const int64_t step = std::max<int64_t>(1, positions / std::max<int64_t>(windows, 1));
  // Where the first lies changes with each run: windows of one place are not all that is seen.
  for (int64_t p = count_ % step; p < positions; p += step)
    take(input.data<float>(), dims, p,
         wanted == nullptr ? nullptr : wanted->data<float>() + p * columns_);
  return {};
}

Result<QuantizedWeights> Correlations::round(const Tensor& w, QuantizedWeights q) const {
  if (count_ == 0) return q;
  const int64_t per_group = columns_ / groups_;
  const auto n = static_cast<double>(count_);
  std::vector<double> h(static_cast<size_t>(terms_ * terms_)),
      gradient(static_cast<size_t>(terms_)), error(static_cast<size_t>(terms_));
  q.integers = TRY(q.integers.clone());
  auto* integers = q.integers.mutable_data<int8_t>();
  for (int64_t g = 0; g < groups_; ++g) {
    const double* products = products_.data() + g * terms_ * terms_;
    const double* sums = sums_.data() + g * terms_;
    double trace = 0;
    for (int64_t i = 0; i < terms_; ++i)
      for (int64_t j = 0; j < terms_; ++j) {
        double& v = h[static_cast<size_t>(i * terms_ + j)];
        v = products[i * terms_ + j] / n - sums[i] / n * (sums[j] / n);
        if (i == j) trace += v;
      }
    const double damping = kDamping * std::max(trace, 1e-30) / static_cast<double>(terms_);
    for (int64_t c = g * per_group; c < (g + 1) * per_group; ++c) {
      const auto scale = static_cast<double>(q.scales.data<float>()[c]);
      const auto at = [&](int64_t i) { return place(c, i); };
      std::ranges::fill(gradient, 0);
      for (int64_t i = 0; i < terms_; ++i) {
        const double exact = static_cast<double>(w.data<float>()[at(i)]) / scale;
        const double e = integers[at(i)] - exact;
        error[static_cast<size_t>(i)] = e;
        // Towards what is wanted, where that is not what the exact weights give.
        const double to = wanted_.empty() ? e : e + exact;
        for (int64_t j = 0; j < terms_; ++j)
          gradient[static_cast<size_t>(j)] += h[static_cast<size_t>(i * terms_ + j)] * to;
        gradient[static_cast<size_t>(i)] += damping * e;
        if (!wanted_.empty())
          gradient[static_cast<size_t>(i)] -=
              (wanted_[static_cast<size_t>(i * columns_ + c)] / n -
               sums[i] / n * (wanted_sums_[static_cast<size_t>(c)] / n)) /
              scale;
      }
      bool changed = true;
      for (int sweep = 0; sweep < kSweeps && changed; ++sweep) {
        changed = false;
        for (int64_t i = 0; i < terms_; ++i) {
          // One step that makes the error of the sums smaller, no further than to the next integer.
          const double slope = gradient[static_cast<size_t>(i)];
          const double own = h[static_cast<size_t>(i * terms_ + i)] + damping;
          const int step = slope > own / 2 ? -1 : slope < -own / 2 ? 1 : 0;
          const double e = error[static_cast<size_t>(i)] + step;
          if (step == 0 || std::abs(e) >= 1 || std::abs(integers[at(i)] + step) > 127) continue;
          integers[at(i)] = static_cast<int8_t>(integers[at(i)] + step);
          error[static_cast<size_t>(i)] = e;
          for (int64_t j = 0; j < terms_; ++j)
            gradient[static_cast<size_t>(j)] += step * h[static_cast<size_t>(i * terms_ + j)];
          gradient[static_cast<size_t>(i)] += step * damping;
          changed = true;
        }
      }
    }
  }
  return q;
}

Tensor Correlations::biases(const QuantizedWeights& q) const {
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

#include "quant/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/conv.h"
#include "ops/matmul.h"

namespace tenon::quant {
namespace {

// Sums of so many products of u8 by i8 fit into 32 bits.
constexpr int64_t kMaxTerms = 66'000;

}  // namespace

Result<ScaledIntegers> scaled_integers(const Tensor& w, const ScaledLayout& channels,
                                       double factor) {
  if (w.dtype() != DType::f32 || channels.elements() != w.elements())
    return internal_error("weights of this kind cannot be quantised");
  const int64_t dims[] = {channels.batch, channels.columns};
  ScaledIntegers q{TRY(Tensor::allocate(DType::i8, w.dims())),
                   TRY(Tensor::allocate(DType::f32, dims))};
  const float* src = w.data<float>();
  const std::span<float> scales(q.scales.mutable_data<float>(),
                                static_cast<size_t>(channels.scales()));
  std::ranges::fill(scales, 0.0f);
  // Runs of elements of one row: each with a scale of its own, or all with the same.
  const auto for_rows = [&](const auto& distinct, const auto& same) {
    int64_t i = 0;
    for (int64_t b = 0; b < channels.batch; ++b)
      for (int64_t r = 0; r < channels.rows; ++r) {
        float* row = scales.data() + b * channels.columns;
        if (channels.inner == 1) {
          distinct(i, channels.columns, row);
          i += channels.columns;
          continue;
        }
        for (int64_t c = 0; c < channels.columns; ++c, i += channels.inner)
          same(i, channels.inner, row[c]);
      }
  };
  for_rows(
      [&](int64_t i, int64_t count, float* scale) {
        for (int64_t k = 0; k < count; ++k) scale[k] = std::max(scale[k], std::abs(src[i + k]));
      },
      [&](int64_t i, int64_t count, float& scale) {
        for (int64_t k = 0; k < count; ++k) scale = std::max(scale, std::abs(src[i + k]));
      });
  for (float& s : scales) {
    s = static_cast<float>(static_cast<double>(s) * std::abs(factor) / 127);
    if (!(s > 1e-30f)) s = 1;
  }
  auto* dst = q.integers.mutable_data<int8_t>();
  const auto rounded = [&](int64_t i, float scale) {
    const double v = static_cast<double>(src[i]) * factor / static_cast<double>(scale);
    dst[i] = static_cast<int8_t>(std::clamp(std::nearbyint(v), -127.0, 127.0));
  };
  for_rows(
      [&](int64_t i, int64_t count, const float* scale) {
        for (int64_t k = 0; k < count; ++k) rounded(i + k, scale[k]);
      },
      [&](int64_t i, int64_t count, float scale) {
        for (int64_t k = 0; k < count; ++k) rounded(i + k, scale);
      });
  return q;
}

Result<QuantizedWeights> quantize_weights(const Tensor& w, int64_t axis, double factor) {
  if (axis < 0 || axis >= w.rank())
    return internal_error("weights of this kind cannot be quantised");
  const auto channels = ScaledLayout::along(w, static_cast<int>(axis));
  ScaledIntegers q = TRY(scaled_integers(w, channels, factor));
  return QuantizedWeights{std::move(q.integers), q.scales.reshaped({channels.columns}), axis};
}

Result<Tensor> reals_of(const ScaledIntegers& q, const ScaledLayout& channels) {
  Tensor reals = TRY(Tensor::allocate(DType::f32, q.integers.dims()));
  auto* to = reals.mutable_data<float>();
  for (int64_t i = 0; i < reals.elements(); ++i)
    to[i] = static_cast<float>(q.integers.data<int8_t>()[i]) *
            q.scales.data<float>()[channels.scale_of(i)];
  return reals;
}

Result<RoundedWeights> rounded_weights(const Tensor& w, const ScaledLayout& channels) {
  RoundedWeights rounded{TRY(reals_of(TRY(scaled_integers(w, channels)), channels)), 0};
  const auto* reals = rounded.reals.data<float>();
  double lost = 0, all = 0;
  for (int64_t i = 0; i < w.elements(); ++i) {
    const auto v = static_cast<double>(w.data<float>()[i]);
    lost += (v - static_cast<double>(reals[i])) * (v - static_cast<double>(reals[i]));
    all += v * v;
  }
  if (all > 0) rounded.loss = std::sqrt(lost / all);
  return rounded;
}

std::vector<double> lost_means(const Node& product, const QuantizedWeights& q,
                               const std::vector<double>& input_means) {
  const Tensor& w = *product.input(1)->constant();
  const Conv* conv = product.as<Conv>();
  const bool transposed = conv == nullptr && product.as<Matmul>()->transpose_b;
  const int64_t columns = w.dim(static_cast<int>(q.axis));
  const int64_t rows = transposed ? w.dim(1) : w.dim(w.rank() - 2);  // input channels of a group
  const int64_t groups = conv == nullptr ? 1 : conv->groups;
  if (static_cast<int64_t>(input_means.size()) != rows * groups) return {};
  std::vector<double> lost(static_cast<size_t>(columns));
  const int64_t per_group = std::max<int64_t>(columns / groups, 1);
  const int64_t outer = transposed ? columns : w.elements() / columns;
  const int64_t inner = transposed ? rows : columns;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const int64_t column = transposed ? o : i, row = transposed ? i : o % rows;
      const int64_t group = groups == 1 ? 0 : column / per_group;
      const int64_t at = o * inner + i;
      const double rounded = static_cast<double>(q.integers.data<int8_t>()[at]) *
                             static_cast<double>(q.scales.data<float>()[column]);
      lost[static_cast<size_t>(column)] += (static_cast<double>(w.data<float>()[at]) - rounded) *
                                           input_means[static_cast<size_t>(group * rows + row)];
    }
  return lost;
}

std::string weights_refusal(const Node& product) {
  const Value* value = product.input(1);
  const Tensor* w = value == nullptr ? nullptr : value->constant();
  if (w == nullptr) return "the weights are not constant";
  if (w->dtype() != DType::f32) return "the weights are not f32";
  const bool conv = product.as<Conv>() != nullptr;
  if (w->rank() < (conv ? 3 : 2) || (!conv && w->rank() != 2))
    return fmt::format("weights of {} dimensions", w->rank());
  if (w->elements() == 0) return "there are no weights";
  for (const float v : w->span<float>())
    if (!std::isfinite(v)) return "a weight is not finite";
  const bool transposed = !conv && product.as<Matmul>()->transpose_b;
  const int64_t columns = w->dim(transposed ? 0 : w->rank() - 1);
  if (w->elements() / columns > kMaxTerms)
    return fmt::format("sums of {} products would not fit into 32 bits", w->elements() / columns);
  return {};
}

}  // namespace tenon::quant

#include "tensor/scaled_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <vector>

#include "tensor/tensor.h"

namespace tenon {
namespace {

constexpr std::string_view kWord = "scaled/";
constexpr int kLargestByte = 128;

// The byte whose product with the scale is v; none where there is none.
std::optional<int8_t> byte_of(float v, float scale) {
  const float q = std::nearbyint(v / scale);
  if (!(q >= -128 && q <= 127)) return std::nullopt;
  const auto byte = static_cast<int8_t>(q);
  if (std::bit_cast<uint32_t>(static_cast<float>(byte) * scale) != std::bit_cast<uint32_t>(v))
    return std::nullopt;
  return byte;
}

// The values of a channel, `step` apart in `runs` runs of `inner`.
struct Channel {
  const float* first;
  int64_t runs, step, inner;

  template <typename F>
  bool all(const F& f) const {
    for (int64_t r = 0; r < runs; ++r)
      for (int64_t i = 0; i < inner; ++i)
        if (!f(first[r * step + i])) return false;
    return true;
  }
};

// The scale of which all values are multiples by a byte: their largest over 127 where they were
// rounded for that, over less where other values set the scale; next to it, as both were rounded.
std::optional<float> scale_of(const Channel& channel) {
  float largest = 0;
  if (!channel.all([&](float v) {
        largest = std::max(largest, std::abs(v));
        return std::isfinite(v);
      }))
    return std::nullopt;
  const auto fits = [&](float scale) {
    return scale > 0 && channel.all([&](float v) { return byte_of(v, scale).has_value(); });
  };
  if (largest == 0) return fits(1) ? std::optional(1.0f) : std::nullopt;
  constexpr int32_t kNear[] = {0, 1, -1, 2, -2};
  for (int byte = kLargestByte; byte > 0; --byte) {
    // 127 comes first: the largest is nearly always that.
    const int share = byte == kLargestByte ? 127 : byte == 127 ? kLargestByte : byte;
    const float about = largest / static_cast<float>(share);
    for (const int32_t near : kNear) {
      const auto scale =
          std::bit_cast<float>(std::bit_cast<uint32_t>(about) + static_cast<uint32_t>(near));
      if (fits(scale)) return scale;
    }
  }
  return std::nullopt;
}

Channel channel_of(const ScaledLayout& l, const float* dense, int64_t i) {
  const int64_t step = l.columns * l.inner;
  return {dense + i / l.columns * l.rows * step + i % l.columns * l.inner, l.rows, step, l.inner};
}

bool finds_scales(const ScaledLayout& l, const float* dense, float* scales) {
  for (int64_t i = 0; i < l.scales(); ++i) {
    const auto scale = scale_of(channel_of(l, dense, i));
    if (!scale) return false;
    scales[i] = *scale;
  }
  return true;
}

}  // namespace

ScaledLayout ScaledLayout::along(const Tensor& t, int axis, bool batched) {
  ScaledLayout l;
  for (int i = 0; i < t.rank(); ++i)
    (batched && i == 0 && axis > 0 ? l.batch
     : i < axis                    ? l.rows
     : i == axis                   ? l.columns
                                   : l.inner) *= t.dim(i);
  return l;
}

std::optional<ScaledLayout> ScaledLayout::of(const Tensor& t) {
  if (t.is_list() || t.dtype() != DType::f32) return std::nullopt;
  std::vector<float> scales;
  const auto holds = [&](const ScaledLayout& l) {
    if (!l.is_worth_storing()) return false;
    scales.resize(static_cast<size_t>(l.scales()));
    return finds_scales(l, t.data<float>(), scales.data());
  };
  for (int axis = t.rank() - 1; axis >= 0; --axis)
    for (const bool batched : {false, true}) {
      if (batched && (axis == 0 || t.rank() < 3 || t.dim(0) == 1)) continue;
      const ScaledLayout l = along(t, axis, batched);
      if (holds(l)) return l;
    }
  return std::nullopt;
}

bool ScaledLayout::is_worth_storing() const {
  constexpr int64_t kMinElements = 512, kMinPerScale = 8;
  return elements() >= kMinElements && scales() <= elements() / kMinPerScale;
}

std::string ScaledLayout::name() const {
  return fmt::format("{}{}x{}x{}x{}", kWord, batch, rows, columns, inner);
}

std::optional<ScaledLayout> ScaledLayout::parse(std::string_view name) {
  if (!name.starts_with(kWord)) return std::nullopt;
  ScaledLayout l;
  const char* at = name.data() + kWord.size() - 1;
  const char* const end = name.data() + name.size();
  int64_t elements = 1;
  for (int64_t* size : {&l.batch, &l.rows, &l.columns, &l.inner}) {
    if (at == end) return std::nullopt;
    const auto [next, error] = std::from_chars(at + 1, end, *size);
    if (error != std::errc() || *size < 1 || *size > kMaxTensorBytes / 64 / elements)
      return std::nullopt;
    elements *= *size;
    at = next;
  }
  // Numbers have one spelling, and there is nothing behind them.
  if (l.name() != name) return std::nullopt;
  return l;
}

bool ScaledLayout::pack(const float* dense, void* packed) const {
  std::vector<float> scales(static_cast<size_t>(this->scales()));
  if (!finds_scales(*this, dense, scales.data())) return false;
  std::memset(packed, 0, scale_bytes());
  std::memcpy(packed, scales.data(), scales.size() * sizeof(float));
  auto* bytes = static_cast<int8_t*>(packed) + scale_bytes();
  for (int64_t i = 0; i < elements(); ++i)
    bytes[i] = *byte_of(dense[i], scales[static_cast<size_t>(scale_of(i))]);
  return true;
}

void ScaledLayout::unpack(const void* packed, float* dense) const {
  const auto* scales = static_cast<const float*>(packed);
  const auto* bytes = static_cast<const int8_t*>(packed) + scale_bytes();
  for (int64_t b = 0; b < batch; ++b, scales += columns)
    for (int64_t r = 0; r < rows; ++r)
      if (inner == 1) {
        for (int64_t c = 0; c < columns; ++c) *dense++ = static_cast<float>(*bytes++) * scales[c];
      } else {
        for (int64_t c = 0; c < columns; ++c)
          for (int64_t i = 0; i < inner; ++i) *dense++ = static_cast<float>(*bytes++) * scales[c];
      }
}

}  // namespace tenon

#include "lower/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/half.h"

namespace tenon::lower {
namespace {

// Calls f(write) where write(i, x) stores x as element i.
template <typename F>
Result<Tensor> filled(DType to, std::vector<int64_t> dims, const F& fill) {
  Tensor t = TRY(Tensor::zeros(to, dims));
  const auto with = [&]<typename T>(T*) {
    T* data = t.mutable_data<T>();
    fill([=](int64_t i, double x) {
      data[i] = static_cast<T>(for_chip(static_cast<float>(x), to));
    });
  };
  switch (to) {
    case DType::f16:
      with(static_cast<Half*>(nullptr));
      break;
    case DType::bf16:
      with(static_cast<BFloat16*>(nullptr));
      break;
    case DType::f32:
      with(static_cast<float*>(nullptr));
      break;
    case DType::i8: {
      auto* data = t.mutable_data<int8_t>();
      fill([data](int64_t i, double x) { data[i] = static_cast<int8_t>(x); });
      break;
    }
    case DType::i32: {
      auto* data = t.mutable_data<int32_t>();
      fill([data](int64_t i, double x) { data[i] = static_cast<int32_t>(x); });
      break;
    }
    default:
      return unsupported(fmt::format("chips have no constants of {}", dtype_name(to)));
  }
  return t;
}

// Where in w the element of channel c, kernel position (h, x) and column m is.
int64_t source(const FractalShape& s, int64_t h, int64_t x, int64_t c, int64_t m) {
  if (s.transposed) return s.first + m * s.channels + c;
  const int64_t row = s.row_stride != 0 ? s.row_stride : s.columns;
  return s.first + ((h * s.kernel_w + x) * s.channels + c) * row + m;
}

}  // namespace

float for_chip(float x, DType to) {
  if ((to != DType::f16 && to != DType::bf16) || !std::isfinite(x)) return x;
  if (to == DType::f16) return std::abs(x) > kMostHalf ? std::copysign(kBeyondHalf, x) : x;
  return std::clamp(x, -kMostBFloat16, kMostBFloat16);
}

Result<Tensor> converted(const Tensor& x, DType to) {
  if (x.dtype() == to) return x;
  return filled(to, {x.dims().begin(), x.dims().end()}, [&](const auto& write) {
    for (int64_t i = 0; i < x.elements(); ++i) write(i, x.real_at(i));
  });
}

Result<Tensor> pack_fractals(const Tensor& w, const FractalShape& s, DType to) {
  return filled(to, {s.k1(), s.n1(), s.n0, s.k0}, [&](const auto& write) {
    for (int64_t h = 0; h < s.kernel_h; ++h)
      for (int64_t x = 0; x < s.kernel_w; ++x)
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t k1 = (c / s.k0 * s.kernel_h + h) * s.kernel_w + x;
          for (int64_t m = 0; m < s.columns; ++m)
            write(((k1 * s.n1() + m / s.n0) * s.n0 + m % s.n0) * s.k0 + c % s.k0,
                  w.real_at(source(s, h, x, c, m)));
        }
  });
}

Result<Tensor> pack_rows(const Tensor& w, const FractalShape& s, DType to) {
  return filled(to, {s.columns, s.kernel_h, s.kernel_w, s.channels}, [&](const auto& write) {
    for (int64_t m = 0; m < s.columns; ++m)
      for (int64_t h = 0; h < s.kernel_h; ++h)
        for (int64_t x = 0; x < s.kernel_w; ++x)
          for (int64_t c = 0; c < s.channels; ++c)
            write(((m * s.kernel_h + h) * s.kernel_w + x) * s.channels + c,
                  w.real_at(source(s, h, x, c, m)));
  });
}

Result<Tensor> put_on_diagonal(const Tensor& w, int64_t size) {
  std::vector<int64_t> dims(w.dims().begin(), w.dims().end());
  const int64_t channels = dims.back(), positions = w.elements() / std::max<int64_t>(channels, 1);
  dims[dims.size() - 2] = size;
  return filled(DType::f32, std::move(dims), [&](const auto& write) {
    for (int64_t i = 0; i < positions; ++i)
      for (int64_t c = 0; c < channels; ++c)
        write((i * size + c % size) * channels + c, w.real_at(i * channels + c));
  });
}

Result<Tensor> pack_parts(const Tensor& w, const FractalShape& shape, int64_t groups,
                          int64_t planes, DType to,
                          Result<Tensor> (*pack)(const Tensor&, const FractalShape&, DType)) {
  if (groups == 1 && planes == 1) return pack(w, shape, to);
  std::vector<Tensor> parts;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t d = 0; d < planes; ++d) {
      FractalShape part = shape;
      part.row_stride = shape.columns * groups;
      part.first = d * shape.kernel_h * shape.kernel_w * shape.channels * part.row_stride +
                   g * shape.columns;
      parts.push_back(TRY(pack(w, part, to)));
    }
  const auto n = static_cast<int64_t>(parts.size());
  Tensor all = TRY(Tensor::allocate(to, std::vector<int64_t>{n, parts[0].elements()}));
  auto* at = static_cast<std::byte*>(all.mutable_raw());
  for (const Tensor& part : parts) {
    std::memcpy(at, part.raw(), part.byte_size());
    at += part.byte_size();
  }
  return all;
}

}  // namespace tenon::lower

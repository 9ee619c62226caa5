#include "bang/vector_functions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"

namespace tenon::bang {
namespace {

constexpr int64_t kChunk = 256;
template <typename T>
using Chunk = std::array<T, kChunk>;

int32_t saturated(int64_t x) {
  return static_cast<int32_t>(std::clamp<int64_t>(x, std::numeric_limits<int32_t>::min(),
                                                  std::numeric_limits<int32_t>::max()));
}

template <typename Stored, typename T>
void load_as(const std::byte* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) {
    Stored x;
    std::memcpy(&x, from + i * static_cast<int64_t>(sizeof x), sizeof x);
    to[i] = static_cast<T>(x);
  }
}

void load(const std::byte* from, DType dtype, int64_t n, float* to) {
  if (dtype == DType::f32) std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
  if (dtype == DType::f16) load_as<Half>(from, n, to);
  if (dtype == DType::i32) load_as<int32_t>(from, n, to);
}
void load(const std::byte* from, DType, int64_t n, int64_t* to) {
  load_as<int32_t>(from, n, to);
}

void store(const float* from, DType dtype, int64_t n, std::byte* to) {
  if (dtype == DType::f32) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const Half x(from[i]);
    std::memcpy(to + i * 2, &x, sizeof x);
  }
}
void store(const int64_t* from, DType, int64_t n, std::byte* to) {
  for (int64_t i = 0; i < n; ++i) {
    const int32_t x = saturated(from[i]);
    std::memcpy(to + i * 4, &x, sizeof x);
  }
}

template <typename T>
void combine(Vector op, T* x, const T* y, int64_t n) {
  const auto each = [&](const auto& f) {
    for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(f(x[i], y[i]));
  };
  switch (op) {
    case Vector::add:
      return each([](T a, T b) { return a + b; });
    case Vector::sub:
      return each([](T a, T b) { return a - b; });
    case Vector::mul:
      return each([](T a, T b) { return a * b; });
    case Vector::div:
      return each([](T a, T b) { return std::is_same_v<T, int64_t> && b == 0 ? T{0} : a / b; });
    case Vector::max:
      return each([](T a, T b) { return a < b || b != b ? b : a; });
    case Vector::min:
      return each([](T a, T b) { return b < a || b != b ? b : a; });
    case Vector::less:
      return each([](T a, T b) { return a < b; });
    case Vector::less_equal:
      return each([](T a, T b) { return a <= b; });
    case Vector::equal:
      return each([](T a, T b) { return a == b; });
    case Vector::not_equal:
      return each([](T a, T b) { return a != b; });
    case Vector::greater_equal:
      return each([](T a, T b) { return a >= b; });
    case Vector::greater:
      return each([](T a, T b) { return a > b; });
    default:
      return;
  }
}

template <typename T>
void transform(Vector op, T* x, int64_t n) {
  const auto each = [&](const auto& f) {
    for (int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(f(x[i]));
  };
  if (op == Vector::abs) return each([](T v) { return v < 0 ? -v : v; });
  if (op == Vector::relu) return each([](T v) { return v < 0 ? T{0} : v; });
  if (op == Vector::square) return each([](T v) { return v * v; });
  if constexpr (std::is_same_v<T, float>) {
    switch (op) {
      case Vector::sigmoid:
        return each([](float v) { return 1 / (1 + std::exp(-v)); });
      case Vector::tanh:
        return each([](float v) { return std::tanh(v); });
      case Vector::exp:
        return each([](float v) { return std::exp(v); });
      case Vector::ln:
        return each([](float v) { return std::log(v); });
      case Vector::sqrt:
        return each([](float v) { return std::sqrt(v); });
      case Vector::rsqrt:
        return each([](float v) { return 1 / std::sqrt(v); });
      case Vector::reciprocal:
        return each([](float v) { return 1 / v; });
      default:
        return;
    }
  }
}

// f(pointer to T of chunks, its length, the index of the first).
template <typename T, typename F>
void for_chunks(int64_t count, const F& f) {
  Chunk<T> x;
  for (int64_t first = 0; first < count; first += kChunk)
    f(x.data(), std::min(kChunk, count - first), first);
}

template <typename F>
void as_number(DType dtype, const F& f) {
  if (dtype == DType::i32)
    f(int64_t{});
  else
    f(float{});
}

int64_t size_of(DType dtype) {
  return static_cast<int64_t>(dtype_size(dtype));
}

}  // namespace

double load_real(const std::byte* from, DType dtype) {
  float x = 0;
  load(from, dtype, 1, &x);
  return x;
}

int64_t load_integer(const std::byte* from, DType dtype) {
  if (dtype == DType::i8) return static_cast<int8_t>(*from);
  int64_t x = 0;
  load(from, dtype, 1, &x);
  return x;
}

void store_real(double value, std::byte* to, DType dtype) {
  const auto x = static_cast<float>(value);
  store(&x, dtype, 1, to);
}

void store_integer(int64_t value, std::byte* to, DType dtype) {
  if (dtype == DType::i8)
    *to = static_cast<std::byte>(value & 0xff);
  else
    store(&value, dtype, 1, to);
}

void run_binary(Vector op, DType dtype, std::byte* dst, const std::byte* a, const std::byte* b,
                int64_t count, int64_t b_count) {
  const int64_t size = size_of(dtype);
  as_number(dtype, [&]<typename T>(T) {
    Chunk<T> y;
    for (int64_t round = 0; round < count; round += b_count)
      for_chunks<T>(std::min(b_count, count - round), [&](T* x, int64_t n, int64_t first) {
        load(a + (round + first) * size, dtype, n, x);
        load(b + first * size, dtype, n, y.data());
        combine(op, x, y.data(), n);
        store(x, dtype, n, dst + (round + first) * size);
      });
  });
}

void run_scalar(Vector op, DType dtype, std::byte* dst, const std::byte* a, double number,
                int64_t count) {
  const int64_t size = size_of(dtype);
  as_number(dtype, [&]<typename T>(T) {
    alignas(8) std::array<std::byte, 8> bytes{};
    run_fill(dtype, bytes.data(), number, 1);
    Chunk<T> y;
    load(bytes.data(), dtype, 1, y.data());
    y.fill(T{y[0]});
    for_chunks<T>(count, [&](T* x, int64_t n, int64_t first) {
      load(a + first * size, dtype, n, x);
      combine(op, x, y.data(), n);
      store(x, dtype, n, dst + first * size);
    });
  });
}

void run_unary(Vector op, DType dtype, std::byte* dst, const std::byte* a, int64_t count) {
  const int64_t size = size_of(dtype);
  as_number(dtype, [&]<typename T>(T) {
    for_chunks<T>(count, [&](T* x, int64_t n, int64_t first) {
      load(a + first * size, dtype, n, x);
      transform(op, x, n);
      store(x, dtype, n, dst + first * size);
    });
  });
}

void run_convert(std::string_view rounding, std::byte* dst, DType to, const std::byte* a,
                 DType from, int64_t count) {
  for_chunks<float>(count, [&](float* x, int64_t n, int64_t first) {
    load(a + first * size_of(from), from, n, x);
    std::byte* at = dst + first * size_of(to);
    if (to != DType::i32) return store(x, to, n, at);
    Chunk<int64_t> whole;
    for (int64_t i = 0; i < n; ++i) {
      const double v = x[i];
      const double r = rounding == "tz"   ? std::trunc(v)
                       : rounding == "dn" ? std::floor(v)
                       : rounding == "up" ? std::ceil(v)
                       : rounding == "rm" ? std::round(v)
                                          : std::nearbyint(v);
      whole[static_cast<size_t>(i)] =
          std::isnan(r) ? 0 : static_cast<int64_t>(std::clamp(r, -3e9, 3e9));
    }
    store(whole.data(), to, n, at);
  });
}

void run_fill(DType dtype, std::byte* dst, double number, int64_t count) {
  if (dtype == DType::i32) {
    const auto whole = static_cast<int64_t>(std::clamp(std::isnan(number) ? 0 : number, -3e9, 3e9));
    for (int64_t i = 0; i < count; ++i) store(&whole, dtype, 1, dst + i * 4);
    return;
  }
  for (int64_t i = 0; i < count; ++i) store_real(number, dst + i * size_of(dtype), dtype);
}

void run_reduce(Vector op, DType dtype, std::byte* dst, const std::byte* a, int64_t count,
                int64_t step) {
  const int64_t size = size_of(dtype);
  as_number(dtype, [&]<typename T>(T) {
    T sum{}, x{};
    if (count > 0) load(a, dtype, 1, &sum);
    for (int64_t i = 1; i < count; ++i) {
      load(a + i * step * size, dtype, 1, &x);
      combine(op, &sum, &x, 1);
    }
    store(&sum, dtype, 1, dst);
  });
}

void run_pool(Vector op, DType dtype, std::byte* dst, const std::byte* a, const Window& w) {
  const int64_t size = size_of(dtype);
  as_number(dtype, [&]<typename T>(T) {
    Chunk<T> y;
    for (int64_t oh = 0; oh < w.out_h(); ++oh)
      for (int64_t ow = 0; ow < w.out_w(); ++ow)
        for_chunks<T>(w.channels, [&](T* x, int64_t n, int64_t c) {
          for (int64_t k = 0; k < w.kernel_h * w.kernel_w; ++k) {
            const int64_t h = oh * w.stride_h + k / w.kernel_w,
                          column = ow * w.stride_w + k % w.kernel_w;
            load(a + ((h * w.width + column) * w.channels + c) * size, dtype, n,
                 k == 0 ? x : y.data());
            if (k > 0) combine(op, x, y.data(), n);
          }
          store(x, dtype, n, dst + ((oh * w.out_w() + ow) * w.channels + c) * size);
        });
  });
}

void run_conv(DType dtype, std::byte* dst, const std::byte* a, const std::byte* filter,
              const Window& w) {
  const int64_t size = size_of(dtype);
  Chunk<float> x, y;
  for (int64_t oh = 0; oh < w.out_h(); ++oh)
    for (int64_t ow = 0; ow < w.out_w(); ++ow)
      for (int64_t o = 0; o < w.out_channels; ++o) {
        float sum = 0;
        for (int64_t k = 0; k < w.kernel_h * w.kernel_w; ++k) {
          const int64_t h = oh * w.stride_h + k / w.kernel_w,
                        column = ow * w.stride_w + k % w.kernel_w;
          for (int64_t c = 0; c < w.channels; c += kChunk) {
            const int64_t n = std::min(kChunk, w.channels - c);
            load(a + ((h * w.width + column) * w.channels + c) * size, dtype, n, x.data());
            load(filter + ((o * w.kernel_h * w.kernel_w + k) * w.channels + c) * size, dtype, n,
                 y.data());
            for (size_t i = 0; i < static_cast<size_t>(n); ++i) sum += x[i] * y[i];
          }
        }
        store_real(sum, dst + ((oh * w.out_w() + ow) * w.out_channels + o) * size, dtype);
      }
}

}  // namespace tenon::bang

// The part of BANG C that the kernels of this folder use, with its meaning on a host: so that any
// C++17 compiler can build and run them. Tasks run on threads; a task does what it is given in
// order. Not the vendor's header, and it does not say how long anything takes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cnrt.h"
#include "half.h"
#include "threads.h"

#define TENON_HOST_SHIM 1
#define __mlu_entry__
#define __mlu_func__
#define __nram__ alignas(128)
#define __wram__ alignas(128)
#define __mlu_shared__ alignas(128) static

inline thread_local int taskId = 0, taskDim = 1, coreId = 0, clusterId = 0;

enum mluMemcpyDirection_t {
  GDRAM2NRAM,
  NRAM2GDRAM,
  GDRAM2WRAM,
  GDRAM2SRAM,
  SRAM2GDRAM,
  SRAM2NRAM,
  NRAM2SRAM,
  SRAM2WRAM,
  NRAM2WRAM,
  NRAM2NRAM
};

namespace shim {

inline thread_local Meeting* meeting = nullptr;

template <typename... Parameters>
struct Launch {
  int tasks;
  void (*kernel)(Parameters...);
  template <typename... Arguments>
  void operator()(Arguments... arguments) const {
    run_on_threads(tasks, [&](int task, Meeting& all) {
      taskId = task;
      taskDim = tasks;
      coreId = task % 4;
      clusterId = task / 4;
      meeting = &all;
      kernel(arguments...);
    });
  }
};
template <typename... Parameters>
Launch<Parameters...> Launcher(cnrtDim3_t dim, void (*kernel)(Parameters...)) {
  return {static_cast<int>(dim.x), kernel};
}

inline float wide(half x) {
  return half_table()[x.bits];
}
inline float wide(bfloat16_t x) {
  return x;
}
inline float wide(float x) {
  return x;
}
inline int64_t wide(int64_t x) {
  return x;
}

template <typename T, typename F>
void each(T* d, T* a, int64_t n, F f) {
  for (int64_t i = 0; i < n; ++i) d[i] = static_cast<T>(f(static_cast<float>(a[i])));
}
template <typename T, typename F>
void each(T* d, T* a, T* b, int64_t n, int64_t cycle, F f) {
  for (int64_t i = 0; i < n; ++i)
    d[i] = static_cast<T>(f(static_cast<float>(a[i]), static_cast<float>(b[i % cycle])));
}

}  // namespace shim

inline void __sync() {}
inline void __sync_io() {}
inline void __sync_move() {}
inline void __sync_compute() {}
inline void __sync_all() {
  shim::meeting->wait();
}

inline void __memcpy(void* dst, const void* src, int64_t bytes, mluMemcpyDirection_t) {
  if (bytes > 0) std::memmove(dst, src, static_cast<size_t>(bytes));
}
// Rows after the first are counted.
inline void __memcpy(void* dst, const void* src, int64_t bytes, mluMemcpyDirection_t,
                     int64_t dst_stride, int64_t src_stride, int64_t more) {
  for (int64_t r = 0; r <= more && bytes > 0; ++r)
    std::memcpy(static_cast<char*>(dst) + r * dst_stride,
                static_cast<const char*>(src) + r * src_stride, static_cast<size_t>(bytes));
}
inline void __memcpy_async(void* dst, const void* src, int64_t bytes, mluMemcpyDirection_t way) {
  __memcpy(dst, src, bytes, way);
}
inline void __memcpy_async(void* dst, const void* src, int64_t bytes, mluMemcpyDirection_t way,
                           int64_t dst_stride, int64_t src_stride, int64_t more) {
  __memcpy(dst, src, bytes, way, dst_stride, src_stride, more);
}

#define SHIM_UNARY(name, expression)                         \
  template <typename T>                                      \
  void name(T* d, T* a, int64_t n) {                         \
    shim::each(d, a, n, [](float x) { return expression; }); \
  }
SHIM_UNARY(__bang_active_exp, std::exp(x))
SHIM_UNARY(__bang_active_log, std::log(x))
SHIM_UNARY(__bang_active_sqrt, std::sqrt(x))
SHIM_UNARY(__bang_active_rsqrt, 1 / std::sqrt(x))
SHIM_UNARY(__bang_active_recip, 1 / x)
SHIM_UNARY(__bang_active_abs, std::fabs(x))
SHIM_UNARY(__bang_active_relu, x > 0 || x != x ? x : 0)
SHIM_UNARY(__bang_active_sigmoid, 1 / (1 + std::exp(-x)))
SHIM_UNARY(__bang_active_tanh, std::tanh(x))

#define SHIM_BINARY(name, expression)                                                             \
  template <typename T>                                                                           \
  void name(T* d, T* a, T* b, int64_t n) {                                                        \
    shim::each(d, a, b, n, std::max<int64_t>(n, 1), [](float x, float y) { return expression; }); \
  }
#define SHIM_CYCLE(name, expression)                                            \
  template <typename T>                                                         \
  void name(T* d, T* a, T* b, int64_t n, int64_t cycle) {                       \
    shim::each(d, a, b, n, cycle, [](float x, float y) { return expression; }); \
  }
#define SHIM_SCALAR(name, expression)                         \
  template <typename T>                                       \
  void name(T* d, T* a, T scalar, int64_t n) {                \
    const float y = scalar;                                   \
    shim::each(d, a, n, [y](float x) { return expression; }); \
  }
SHIM_BINARY(__bang_add, x + y)
SHIM_BINARY(__bang_sub, x - y)
SHIM_BINARY(__bang_mul, x* y)
SHIM_BINARY(__bang_div, x / y)
SHIM_BINARY(__bang_maxequal, x > y || x != x ? x : y)
SHIM_BINARY(__bang_minequal, x < y || x != x ? x : y)
SHIM_CYCLE(__bang_cycle_add, x + y)
SHIM_CYCLE(__bang_cycle_sub, x - y)
SHIM_CYCLE(__bang_cycle_mul, x* y)
SHIM_CYCLE(__bang_cycle_maxequal, x > y || x != x ? x : y)
SHIM_CYCLE(__bang_cycle_minequal, x < y || x != x ? x : y)
SHIM_SCALAR(__bang_add_scalar, x + y)
SHIM_SCALAR(__bang_sub_scalar, x - y)
SHIM_SCALAR(__bang_mul_scalar, x* y)
SHIM_SCALAR(__bang_maxeq_scalar, x > y || x != x ? x : y)
SHIM_SCALAR(__bang_mineq_scalar, x < y || x != x ? x : y)

template <typename T>
void __bang_write_value(T* d, int64_t n, T value) {
  std::fill_n(d, n, value);
}
inline void __bang_half2float(float* d, half* a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) d[i] = a[i];
}
inline void __bang_float2half_rn(half* d, float* a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) d[i] = half(a[i]);
}

// Integers exactly.
inline void __bang_add(int32_t* d, int32_t* a, int32_t* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) d[i] = shim::narrow<int32_t>(int64_t{a[i]} + b[i]);
}

// dst [h, w, co] = the windows of x [h, w, ci] times filter [co, kh, kw, ci]: reals are summed in
// float.
template <typename D, typename T>
void __bang_conv(D* dst, T* x, T* filter, int32_t ci, int32_t h, int32_t w, int32_t kernel_h,
                 int32_t kernel_w, int32_t stride_w, int32_t stride_h, int32_t co) {
  using Sum = typename std::conditional<shim::is_real<T>, float, int64_t>::type;
  const auto number = [](T v) {
    if constexpr (shim::is_real<T>)
      return shim::wide(v);
    else
      return static_cast<int64_t>(v);
  };
  const int32_t out_h = (h - kernel_h) / stride_h + 1, out_w = (w - kernel_w) / stride_w + 1;
  const int64_t k = int64_t{kernel_h} * kernel_w * ci, row_size = int64_t{kernel_w} * ci;
  constexpr int64_t kWide = 16;
  std::vector<Sum> columns(static_cast<size_t>(k * kWide)), row(static_cast<size_t>(k));
  for (int64_t first = 0; first < co; first += kWide) {
    const int64_t count = std::min<int64_t>(kWide, co - first);
    std::fill(columns.begin(), columns.end(), Sum{0});
    for (int64_t c = 0; c < count; ++c)
      for (int64_t i = 0; i < k; ++i)
        columns[static_cast<size_t>(i * kWide + c)] = number(filter[(first + c) * k + i]);
    for (int64_t oy = 0; oy < out_h; ++oy)
      for (int64_t ox = 0; ox < out_w; ++ox) {
        for (int64_t i = 0; i < k; ++i) {
          const int64_t y = oy * stride_h + i / row_size, z = ox * stride_w * ci + i % row_size;
          row[static_cast<size_t>(i)] = number(x[y * w * ci + z]);
        }
        Sum sums[kWide] = {};
        for (int64_t i = 0; i < k; ++i)
          for (int64_t c = 0; c < kWide; ++c)
            sums[c] += row[static_cast<size_t>(i)] * columns[static_cast<size_t>(i * kWide + c)];
        D* out = dst + (oy * out_w + ox) * co + first;
        for (int64_t c = 0; c < count; ++c) out[c] = shim::narrow<D>(sums[c]);
      }
  }
}

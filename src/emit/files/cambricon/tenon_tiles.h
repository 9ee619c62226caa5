// What the kernels of this folder call beside the vendor's own functions: rows of any stride,
// comparisons, reductions. What BANG C has nothing for, the scalar unit does, slowly.
// @STATUS@
#pragma once

#include <bang.h>
#include <cnrt.h>
#include <stdint.h>

#include "tenon_target.h"

// TENON_LAUNCH(kernel, dim, type, queue)(arguments…);
#ifdef TENON_HOST_SHIM
#define TENON_LAUNCH(kernel, dim, type, queue) shim::Launcher(dim, kernel)
#else
#define TENON_LAUNCH(kernel, dim, type, queue) kernel<<<dim, type, queue>>>
#endif

namespace tile {

static const int32_t kAlign = 128;  // bytes

enum Rounding { kEven, kFloor, kCeil, kTruncate, kAway };
enum Relation { kLess, kLessEqual, kEqual, kNotEqual, kGreaterEqual, kGreater };

static const float kInfinity = __builtin_inff();
static const float kNan = __builtin_nanf("");

template <typename T>
__mlu_func__ T Min(T a, T b) {
  return a < b ? a : b;
}
template <typename T>
__mlu_func__ T Max(T a, T b) {
  return a > b ? a : b;
}
template <typename A, typename B>
__mlu_func__ int64_t Min(A a, B b) {
  return Min<int64_t>(a, b);
}
template <typename A, typename B>
__mlu_func__ int64_t Max(A a, B b) {
  return Max<int64_t>(a, b);
}
__mlu_func__ inline int64_t Quotient(int64_t a, int64_t b) {
  return b <= 0 ? 0 : a / b;
}
__mlu_func__ inline int64_t Remainder(int64_t a, int64_t b) {
  return b <= 0 ? 0 : a % b;
}

// The clusters that so many tasks take: as many as a union may have, each with four cores.
struct Union {
  cnrtDim3_t dim;
  cnrtFunctionType_t type;
};
inline Union UnionOf(int32_t tasks) {
  Union u = {{4, 1, 1}, cnrtFuncTypeUnion1};
  const cnrtFunctionType_t types[] = {cnrtFuncTypeUnion1, cnrtFuncTypeUnion2, cnrtFuncTypeUnion4,
                                      cnrtFuncTypeUnion8, cnrtFuncTypeUnion16};
  for (int32_t i = 0; i < 5; ++i) {
    u.dim.x = 4u << i;
    u.type = types[i];
    if (static_cast<int32_t>(u.dim.x) >= tasks) break;
  }
  return u;
}

// ---- Elements that are not one beside the other ------------------------------------------------

template <typename T>
struct Strided {
  T* data;
  int32_t stride;
  __mlu_func__ T& operator[](int32_t i) const { return data[i * stride]; }
};
template <typename T>
__mlu_func__ Strided<T> Every(T* data, int32_t stride) {
  Strided<T> s = {data, stride};
  return s;
}
template <typename P>
struct ElementOf;
template <typename T>
struct ElementOf<T*> {
  typedef T Type;
};
template <typename T>
struct ElementOf<Strided<T>> {
  typedef T Type;
};

// ---- One element: reals in float, integers exactly and saturated --------------------------------

template <typename T>
struct Number {
  typedef int64_t Wide;
  static const bool kReal = false;
  __mlu_func__ static T From(int64_t x) {
    const bool is_signed = static_cast<T>(-1) < static_cast<T>(0);
    const int64_t most =
        sizeof(T) == 8 ? INT64_MAX
                       : (static_cast<int64_t>(1) << (sizeof(T) % 8 * 8 - (is_signed ? 1 : 0))) - 1;
    const int64_t least = is_signed ? -most - 1 : 0;
    return static_cast<T>(Min<int64_t>(Max<int64_t>(x, least), most));
  }
};
template <typename T>
struct RealNumber {
  typedef float Wide;
  static const bool kReal = true;
  __mlu_func__ static T From(float x) { return static_cast<T>(x); }
};
template <>
struct Number<float> : RealNumber<float> {};
template <>
struct Number<half> : RealNumber<half> {};
template <>
struct Number<bfloat16_t> : RealNumber<bfloat16_t> {};

__mlu_func__ inline float Rounded(float x, Rounding rounding) {
  if (x != x) return 0;
  if (Max(x, -x) >= 8388608.0f) return x;
  const float cut = static_cast<float>(static_cast<int32_t>(x));
  const float down = x < cut ? cut - 1 : cut;
  const float rest = x - down;
  switch (rounding) {
    case kFloor:
      return down;
    case kCeil:
      return rest > 0 ? down + 1 : down;
    case kTruncate:
      return cut;
    case kAway:
      return rest > 0.5f || (rest == 0.5f && x > 0) ? down + 1 : down;
    default:
      return rest > 0.5f || (rest == 0.5f && static_cast<int32_t>(down) % 2 != 0) ? down + 1 : down;
  }
}
template <typename D>
__mlu_func__ D Converted(float x, Rounding rounding, const float*) {
  if (Number<D>::kReal) return Number<D>::From(x);
  const float r = Rounded(x, rounding);
  return Number<D>::From(static_cast<int64_t>(Min(Max(r, -9.0e18f), 9.0e18f)));
}
template <typename D>
__mlu_func__ D Converted(int64_t x, Rounding, const int64_t*) {
  return Number<D>::From(static_cast<typename Number<D>::Wide>(x));
}

// ---- Any rows, element by element ---------------------------------------------------------------

// The scalar unit computes when all that was given to the queues is done.
#define TENON_EACH(expression)           \
  typedef typename ElementOf<D>::Type T; \
  typedef typename Number<T>::Wide Wide; \
  __sync();                              \
  for (int32_t i = 0; i < n; ++i) d[i] = Number<T>::From(static_cast<Wide>(expression))
#define TENON_UNARY(Name, expression)           \
  template <typename D, typename A>             \
  __mlu_func__ void Name(D d, A a, int32_t n) { \
    TENON_EACH(expression);                     \
  }
#define TENON_X (static_cast<Wide>(a[i]))
#define TENON_Y (static_cast<Wide>(b[i]))
TENON_UNARY(Exp, expf(TENON_X))
TENON_UNARY(Ln, logf(TENON_X))
TENON_UNARY(Sqrt, sqrtf(TENON_X))
TENON_UNARY(Rsqrt, 1 / sqrtf(TENON_X))
TENON_UNARY(Reciprocal, 1 / TENON_X)
TENON_UNARY(Abs, TENON_X < 0 ? -TENON_X : TENON_X)
TENON_UNARY(Relu, TENON_X > 0 || TENON_X != TENON_X ? TENON_X : 0)
TENON_UNARY(Sigmoid, 1 / (1 + expf(-TENON_X)))
TENON_UNARY(Tanh, tanhf(TENON_X))

#define TENON_BINARY(Name, expression)               \
  template <typename D, typename A, typename B>      \
  __mlu_func__ void Name(D d, A a, B b, int32_t n) { \
    TENON_EACH(expression);                          \
  }
TENON_BINARY(Add, TENON_X + TENON_Y)
TENON_BINARY(Sub, TENON_X - TENON_Y)
TENON_BINARY(Mul, TENON_X* TENON_Y)
TENON_BINARY(Div, Number<T>::kReal || TENON_Y != 0 ? TENON_X / TENON_Y : 0)
TENON_BINARY(Max, TENON_X > TENON_Y || TENON_X != TENON_X ? TENON_X : TENON_Y)
TENON_BINARY(Min, TENON_X < TENON_Y || TENON_X != TENON_X ? TENON_X : TENON_Y)

#define TENON_SCALAR(Name, expression)                                   \
  template <typename D, typename A, typename S>                          \
  __mlu_func__ void Name(D d, A a, S scalar, int32_t n) {                \
    const typename Number<typename ElementOf<D>::Type>::Wide y = scalar; \
    TENON_EACH(expression);                                              \
  }
TENON_SCALAR(Adds, TENON_X + y)
TENON_SCALAR(Muls, TENON_X* y)
TENON_SCALAR(Maxs, TENON_X > y || TENON_X != TENON_X ? TENON_X : y)
TENON_SCALAR(Mins, TENON_X < y || TENON_X != TENON_X ? TENON_X : y)

template <typename D, typename S>
__mlu_func__ void Fill(D d, S value, int32_t n) {
  typedef typename ElementOf<D>::Type T;
  __sync();
  for (int32_t i = 0; i < n; ++i) d[i] = static_cast<T>(value);
}
template <typename D, typename A>
__mlu_func__ void Convert(D d, A a, Rounding rounding, int32_t n) {
  typedef typename Number<typename ElementOf<A>::Type>::Wide Wide;
  __sync();
  for (int32_t i = 0; i < n; ++i)
    d[i] = Converted<typename ElementOf<D>::Type>(static_cast<Wide>(a[i]), rounding,
                                                  static_cast<const Wide*>(0));
}
template <typename D, typename A>
__mlu_func__ void ToBool(D d, A a, int32_t n) {
  typedef typename Number<typename ElementOf<A>::Type>::Wide Wide;
  __sync();
  for (int32_t i = 0; i < n; ++i) d[i] = static_cast<Wide>(a[i]) != 0 ? 1 : 0;
}
template <typename D, typename A, typename B>
__mlu_func__ void Compare(D d, A a, B b, Relation relation, int32_t n) {
  typedef typename Number<typename ElementOf<A>::Type>::Wide Wide;
  __sync();
  for (int32_t i = 0; i < n; ++i) {
    const Wide x = a[i], y = b[i];
    const bool holds = relation == kLess           ? x < y
                       : relation == kLessEqual    ? x <= y
                       : relation == kEqual        ? x == y
                       : relation == kNotEqual     ? x != y
                       : relation == kGreaterEqual ? x >= y
                                                   : x > y;
    d[i] = holds ? 1 : 0;
  }
}
template <typename D, typename C, typename A, typename B>
__mlu_func__ void Select(D d, C condition, A a, B b, int32_t n) {
  __sync();
  for (int32_t i = 0; i < n; ++i) d[i] = condition[i] != 0 ? a[i] : b[i];
}

// One result for each of `rows` rows of n elements, `step` apart; rows and results so many apart.
#define TENON_REDUCE(Name, start, expression)                                          \
  template <typename D, typename S>                                                    \
  __mlu_func__ void Name(D* d, int32_t d_stride, S* a, int32_t a_stride, int32_t step, \
                         int32_t rows, int32_t n) {                                    \
    typedef typename Number<S>::Wide Wide;                                             \
    __sync();                                                                          \
    for (int32_t r = 0; r < rows; ++r) {                                               \
      const S* row = a + r * a_stride;                                                 \
      Wide x = start;                                                                  \
      for (int32_t i = 0; i < n; ++i) {                                                \
        const Wide y = row[i * step];                                                  \
        x = expression;                                                                \
      }                                                                                \
      d[r * d_stride] = Number<D>::From(x);                                            \
    }                                                                                  \
  }
TENON_REDUCE(ReduceSum, 0, x + y)
TENON_REDUCE(ReduceMax, row[0], x > y || x != x ? x : y)
TENON_REDUCE(ReduceMin, row[0], x < y || x != x ? x : y)

// The row of a table that an index in NRAM says; zeros where there is none.
template <typename T, typename I>
__mlu_func__ void GatherRow(T* dst, T* table, int64_t stride, int64_t size, I* index, int32_t n) {
  __sync();
  const int64_t row = index[0];
  if (row >= 0 && row < size)
    __memcpy(dst, table + row * stride, n * sizeof(T), GDRAM2NRAM);
  else
    for (int32_t i = 0; i < n; ++i) dst[i] = static_cast<T>(0.0f);
}

// Into the row of a table that an index says, less `first`; nothing where there is none.
template <typename T, typename I>
__mlu_func__ void ScatterRow(T* table, int64_t stride, int64_t size, int64_t first, I* index,
                             T* src, int32_t n, bool accumulate) {
  __sync();
  const int64_t row = index[0] - first;
  if (row < 0 || row >= size) return;
  T* to = table + row * stride;
  if (accumulate)
    for (int32_t i = 0; i < n; ++i)
      to[i] = Number<T>::From(static_cast<typename Number<T>::Wide>(to[i]) +
                              static_cast<typename Number<T>::Wide>(src[i]));
  else
    __memcpy(to, src, n * sizeof(T), NRAM2GDRAM);
}

// ---- Convolutions that are no single call of the vendor's ---------------------------------------

// [h, w, c]; elements one beside the other, rows and columns so many apart.
struct Tile3 {
  int32_t h, w, c, stride_h, stride_w;
};
// [co, kh, kw, ci].
struct Filter {
  int32_t stride_co, stride_kh, stride_kw;
};
struct Window {
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left;
};

// No call has pads, dilation or partial sums. Where they are asked for, windows are gathered in
// `room` bytes of NRAM, as many columns of a row of results as fit, and are the channels of a
// convolution of 1x1. Where filters are further apart than they have channels (the last piece of
// channels may have fewer), that is done filter by filter and tap by tap.
template <typename D, typename T>
__mlu_func__ void Conv(D* dst, Tile3 to, T* x, Tile3 from, T* filter, Filter f, Window w,
                       bool accumulate, int8_t* nram, int32_t room) {
  if (to.h <= 0 || to.w <= 0) return;
  const int32_t taps = w.kernel_h * w.kernel_w, depth = taps * from.c;
  const bool dense =
      f.stride_kw == from.c && f.stride_kh == w.kernel_w * from.c && f.stride_co == depth;
  const bool simple = dense && w.top == 0 && w.left == 0 && w.dilation_h == 1 &&
                      w.dilation_w == 1 && !accumulate && from.stride_w == from.c &&
                      from.stride_h == from.w * from.c && to.stride_h == to.w * to.stride_w &&
                      (from.h - w.kernel_h) / w.stride_h + 1 == to.h &&
                      (from.w - w.kernel_w) / w.stride_w + 1 == to.w;
  if (simple) {
    // Pixels may be further apart than they have channels: the rest is computed, too.
    __bang_conv(dst, x, filter, from.c, from.h, from.w, w.kernel_h, w.kernel_w, w.stride_w,
                w.stride_h, to.stride_w);
    return;
  }
  const int32_t sums_bytes = static_cast<int32_t>(sizeof(D)) * to.c;
  const int32_t most = (room - 2 * kAlign) / (static_cast<int32_t>(sizeof(T)) * depth + sums_bytes +
                                              2 * static_cast<int32_t>(sizeof(D)));
  D* sums = (D*)nram;             // [columns, co]
  D* total = sums + most * to.c;  // [columns], of one filter
  D* part = total + most;
  T* windows =
      (T*)(nram + (most * (sums_bytes + 2 * static_cast<int32_t>(sizeof(D))) + kAlign - 1) /
                      kAlign * kAlign);
  for (int32_t oy = 0; oy < to.h; ++oy) {
    for (int32_t first = 0; first < to.w; first += most) {
      const int32_t n = Min<int32_t>(most, to.w - first);
      __bang_write_value(windows, n * depth, static_cast<T>(0));
      __sync_compute();
      for (int32_t tap = 0; tap < taps; ++tap) {
        const int32_t y = oy * w.stride_h + tap / w.kernel_w * w.dilation_h - w.top;
        // Of column `ox` it is the pixel ox * stride + shift: those inside of the image.
        const int32_t shift = tap % w.kernel_w * w.dilation_w - w.left;
        const int32_t last = from.w - 1 - shift;
        const int32_t least = shift < 0 ? (w.stride_w - 1 - shift) / w.stride_w : 0;
        const int32_t begin = Max<int32_t>(first, least);
        const int32_t end = Min<int32_t>(first + n, last < 0 ? 0 : last / w.stride_w + 1);
        if (y < 0 || y >= from.h || begin >= end) continue;
        // [columns, taps, ci], or [taps, columns, ci].
        const int32_t pixel = dense ? depth : from.c;
        __memcpy(windows + (begin - first) * pixel + tap * (dense ? from.c : n * from.c),
                 x + y * from.stride_h + (begin * w.stride_w + shift) * from.stride_w,
                 from.c * sizeof(T), NRAM2NRAM, pixel * sizeof(T),
                 w.stride_w * from.stride_w * sizeof(T), end - begin - 1);
      }
      __sync_move();
      if (dense) __bang_conv(sums, windows, filter, depth, 1, n, 1, 1, 1, 1, to.c);
      for (int32_t c = 0; c < to.c && !dense; ++c) {
        for (int32_t tap = 0; tap < taps; ++tap) {
          T* one = filter + c * f.stride_co + tap / w.kernel_w * f.stride_kh +
                   tap % w.kernel_w * f.stride_kw;
          __bang_conv(tap == 0 ? total : part, windows + tap * n * from.c, one, from.c, 1, n, 1, 1,
                      1, 1, 1);
          if (tap > 0) __bang_add(total, total, part, n);
        }
        __sync_compute();
        __memcpy(sums + c, total, sizeof(D), NRAM2NRAM, sums_bytes, sizeof(D), n - 1);
      }
      D* row = dst + oy * to.stride_h + first * to.stride_w;
      if (!accumulate) {
        __sync_compute();
        __memcpy(row, sums, sums_bytes, NRAM2NRAM, to.stride_w * sizeof(D), sums_bytes, n - 1);
      } else if (to.stride_w == to.c) {
        __bang_add(row, row, sums, n * to.c);
      } else {
        for (int32_t c = 0; c < n; ++c)
          __bang_add(row + c * to.stride_w, row + c * to.stride_w, sums + c * to.c, to.c);
      }
      __sync_compute();
    }
  }
}

}  // namespace tile

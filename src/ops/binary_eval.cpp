// Reference evaluation of the elementwise binary ops.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

#include "ops/binary.h"
#include "ops/broadcast.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

using Complex = std::complex<double>;

template <typename W>
bool compare(BinaryKind kind, const W& x, const W& y) {
  switch (kind) {
    case BinaryKind::equal:
      return x == y;
    case BinaryKind::not_equal:
      return x != y;
    case BinaryKind::less:
      return x < y;
    case BinaryKind::less_equal:
      return x <= y;
    case BinaryKind::greater:
      return x > y;
    default:
      return x >= y;
  }
}

template <typename W>
W int_pow(W base, W exponent) {
  uint64_t result = 1, factor = static_cast<uint64_t>(base);
  for (auto e = static_cast<uint64_t>(exponent); e != 0; e >>= 1, factor *= factor)
    if (e & 1) result *= factor;
  return static_cast<W>(result);
}

// W is int64_t or uint64_t: narrower types wrap when stored. Divisors are not zero.
template <typename W>
W int_value(BinaryKind kind, W x, W y, int width) {
  const auto ux = static_cast<uint64_t>(x), uy = static_cast<uint64_t>(y);
  // The one quotient that overflows.
  const bool minus_one = std::is_signed_v<W> && y == static_cast<W>(-1);
  const auto shift = [&] { return std::clamp<W>(y, 0, static_cast<W>(width - 1)); };
  switch (kind) {
    case BinaryKind::add:
      return static_cast<W>(ux + uy);
    case BinaryKind::sub:
      return static_cast<W>(ux - uy);
    case BinaryKind::mul:
      return static_cast<W>(ux * uy);
    case BinaryKind::div_no_nan:
      if (y == 0) return 0;
      [[fallthrough]];
    case BinaryKind::div:
      return minus_one ? static_cast<W>(0 - ux) : static_cast<W>(x / y);
    case BinaryKind::floor_div: {
      if (minus_one) return static_cast<W>(0 - ux);
      const W q = x / y, r = x % y;
      return r != 0 && (r < 0) != (y < 0) ? static_cast<W>(q - 1) : q;
    }
    case BinaryKind::floor_mod: {
      if (minus_one) return 0;
      const W r = x % y;
      return r != 0 && (r < 0) != (y < 0) ? static_cast<W>(r + y) : r;
    }
    case BinaryKind::trunc_mod:
      return minus_one ? 0 : static_cast<W>(x % y);
    case BinaryKind::pow:
      return int_pow(x, y);
    case BinaryKind::min:
      return std::min(x, y);
    case BinaryKind::max:
      return std::max(x, y);
    case BinaryKind::squared_difference:
      return static_cast<W>((ux - uy) * (ux - uy));
    case BinaryKind::logical_and:
    case BinaryKind::bitwise_and:
      return x & y;
    case BinaryKind::logical_or:
    case BinaryKind::bitwise_or:
      return x | y;
    case BinaryKind::logical_xor:
    case BinaryKind::bitwise_xor:
      return x ^ y;
    case BinaryKind::shift_left:
      return static_cast<W>(ux << shift());
    case BinaryKind::shift_right:
      return static_cast<W>(x >> shift());
    default:
      return 0;
  }
}

Complex complex_value(BinaryKind kind, Complex x, Complex y) {
  switch (kind) {
    case BinaryKind::add:
      return x + y;
    case BinaryKind::sub:
      return x - y;
    case BinaryKind::mul:
      return x * y;
    case BinaryKind::pow:
      return std::exp(y * std::log(x));
    case BinaryKind::squared_difference:
      return std::norm(x - y);
    case BinaryKind::div_no_nan:
      return y == 0.0 ? 0.0 : complex_quotient(x, y);
    default:
      return complex_quotient(x, y);
  }
}

// f(i, a, b) for each output element i and the elements a, b of the inputs it stems from.
template <typename F>
void each(EvalContext& context, F&& f) {
  const auto& out = context.out(0).dims();
  broadcast_each<2>(out, {context.in(0).dims(), context.in(1).dims()},
                    [&](int64_t i, const auto& at) { f(i, at[0], at[1]); });
}

Status check_ints(BinaryKind kind, EvalContext& context) {
  const Tensor& y = context.in(1);
  if (context.out(0).elements() == 0) return {};
  const bool divides = kind == BinaryKind::div || kind == BinaryKind::floor_div ||
                       kind == BinaryKind::floor_mod || kind == BinaryKind::trunc_mod;
  if (!divides && (kind != BinaryKind::pow || is_unsigned_int(y.dtype()))) return {};
  for (int64_t i = 0; i < y.elements(); ++i) {
    const int64_t v = y.int_at(i);
    if (divides && v == 0)
      return invalid_argument(
          fmt::format("integer division by zero in {}: element {} of the divisor is 0",
                      kBinaryInfos[static_cast<size_t>(kind)].name, i));
    if (!divides && v < 0)
      return invalid_argument(
          fmt::format("pow of integers needs exponents that are not negative; element {} is {}; "
                      "cast both operands to a floating-point type",
                      i, v));
  }
  return {};
}

template <typename T>
void eval_complex(BinaryKind kind, EvalContext& context) {
  const T* x = context.in(0).data<T>();
  const T* y = context.in(1).data<T>();
  if (is_comparison(kind)) {
    bool* out = context.out(0).mutable_data<bool>();
    each(context, [&](int64_t i, int64_t a, int64_t b) {
      out[i] = (x[a] == y[b]) == (kind == BinaryKind::equal);
    });
    return;
  }
  T* out = context.out(0).mutable_data<T>();
  each(context, [&](int64_t i, int64_t a, int64_t b) {
    out[i] = T(complex_value(kind, Complex(x[a]), Complex(y[b])));
  });
}

template <typename T>
void eval_float(BinaryKind kind, EvalContext& context) {
  const auto load = [](T v) { return static_cast<double>(static_cast<Arithmetic<T>>(v)); };
  const T* x = context.in(0).data<T>();
  const T* y = context.in(1).data<T>();
  if (is_comparison(kind)) {
    bool* out = context.out(0).mutable_data<bool>();
    each(context,
         [&](int64_t i, int64_t a, int64_t b) { out[i] = compare(kind, load(x[a]), load(y[b])); });
    return;
  }
  T* out = context.out(0).mutable_data<T>();
  each(context, [&](int64_t i, int64_t a, int64_t b) {
    double v = binary_value(kind, load(x[a]), load(y[b]));
    // The quotient is rounded to the type first: 1 / 0.1f is 10.
    if (kind == BinaryKind::floor_div)
      v = std::floor(load(T(static_cast<Arithmetic<T>>(load(x[a]) / load(y[b])))));
    out[i] = T(static_cast<Arithmetic<T>>(v));
  });
}

template <typename T>
void eval_int(BinaryKind kind, EvalContext& context) {
  using W = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  const T* x = context.in(0).data<T>();
  const T* y = context.in(1).data<T>();
  if (is_comparison(kind)) {
    bool* out = context.out(0).mutable_data<bool>();
    each(context, [&](int64_t i, int64_t a, int64_t b) {
      out[i] = compare<W>(kind, static_cast<W>(x[a]), static_cast<W>(y[b]));
    });
    return;
  }
  T* out = context.out(0).mutable_data<T>();
  each(context, [&](int64_t i, int64_t a, int64_t b) {
    out[i] = static_cast<T>(int_value<W>(kind, static_cast<W>(x[a]), static_cast<W>(y[b]),
                                         static_cast<int>(8 * sizeof(T))));
  });
}

void eval_string(BinaryKind kind, EvalContext& context) {
  const std::string* x = context.in(0).data<std::string>();
  const std::string* y = context.in(1).data<std::string>();
  Tensor& out = context.out(0);
  each(context, [&](int64_t i, int64_t a, int64_t b) {
    if (kind == BinaryKind::add)
      out.mutable_data<std::string>()[i] = x[a] + y[b];
    else
      out.mutable_data<bool>()[i] = (x[a] == y[b]) == (kind == BinaryKind::equal);
  });
}

}  // namespace

std::complex<double> complex_quotient(std::complex<double> x, std::complex<double> y) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  return y == 0.0 ? Complex(kNan, kNan) : x / y;
}

double binary_value(BinaryKind kind, double x, double y) {
  switch (kind) {
    case BinaryKind::add:
      return x + y;
    case BinaryKind::sub:
      return x - y;
    case BinaryKind::mul:
      return x * y;
    case BinaryKind::div:
      return x / y;
    case BinaryKind::floor_div:
      return std::floor(x / y);
    case BinaryKind::floor_mod: {
      const double r = std::fmod(x, y);
      return r != 0 && (r < 0) != (y < 0) ? r + y : r;
    }
    case BinaryKind::trunc_mod:
      return std::fmod(x, y);
    case BinaryKind::pow:
      return std::pow(x, y);
    case BinaryKind::min:
      return std::isnan(x) || x < y ? x : y;
    case BinaryKind::max:
      return std::isnan(x) || x > y ? x : y;
    case BinaryKind::atan2:
      return std::atan2(x, y);
    case BinaryKind::squared_difference:
      return (x - y) * (x - y);
    case BinaryKind::div_no_nan:
      return y == 0 ? 0 : x / y;
    default:
      return compare(kind, x, y) ? 1 : 0;
  }
}

Status eval_binary(BinaryKind kind, EvalContext& context) {
  const DType dtype = context.in(0).dtype();
  if (dtype == DType::string) {
    eval_string(kind, context);
  } else if (dtype == DType::c64) {
    eval_complex<std::complex<float>>(kind, context);
  } else if (dtype == DType::c128) {
    eval_complex<Complex>(kind, context);
  } else if (dtype == DType::boolean) {
    eval_int<bool>(kind, context);
  } else if (is_float(dtype)) {
    visit_float(dtype, [&](auto tag) { eval_float<typename decltype(tag)::type>(kind, context); });
  } else {
    TRY(check_ints(kind, context));
    visit_int(dtype, [&](auto tag) { eval_int<typename decltype(tag)::type>(kind, context); });
  }
  return {};
}

}  // namespace tenon

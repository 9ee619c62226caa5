#include "tensor/narrow.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace tenon {
namespace {

// A float of few bits: sign, exponent, mantissa. Code 0 is 0; codes grow with the value.
struct Format {
  int exponent_bits, mantissa_bits, bias;
  int largest;       // code of the largest finite value
  int overflow;      // code of what lies beyond it, without the sign; -1: there is nothing
  int nan;           // code of NaN; -1: there is none
  bool signed_zero;  // also: NaN may have either sign
};

Format format_of(DType dtype) {
  if (dtype == narrow::f8e4m3fn) return {4, 3, 7, 0x7e, 0x7f, 0x7f, true};
  if (dtype == narrow::f8e4m3fnuz) return {4, 3, 8, 0x7f, 0x80, 0x80, false};
  if (dtype == narrow::f8e5m2) return {5, 2, 15, 0x7b, 0x7c, 0x7e, true};
  if (dtype == narrow::f8e5m2fnuz) return {5, 2, 16, 0x7f, 0x80, 0x80, false};
  return {2, 1, 1, 0x7, -1, -1, true};  // f4e2m1
}

double magnitude(const Format& f, int code) {
  const int exponent = code >> f.mantissa_bits, mantissa = code & ((1 << f.mantissa_bits) - 1);
  const int scale = -f.bias - f.mantissa_bits;
  return exponent == 0 ? std::ldexp(mantissa, scale + 1)
                       : std::ldexp(mantissa + (1 << f.mantissa_bits), exponent + scale);
}

double float_value(DType dtype, int bits) {
  const Format f = format_of(dtype);
  const int sign_bit = 1 << (f.exponent_bits + f.mantissa_bits);
  if (!f.signed_zero && bits == f.nan) return std::numeric_limits<double>::quiet_NaN();
  const int code = bits & (sign_bit - 1);
  double value = 0;
  if (code <= f.largest)
    value = magnitude(f, code);
  else if (dtype == narrow::f8e5m2 && code == f.overflow)
    value = std::numeric_limits<double>::infinity();
  else
    value = std::numeric_limits<double>::quiet_NaN();
  return (bits & sign_bit) != 0 ? -value : value;
}

int to_float(DType dtype, double value, bool saturate) {
  const Format f = format_of(dtype);
  const int sign_bit = 1 << (f.exponent_bits + f.mantissa_bits);
  if (std::isnan(value)) {
    if (f.nan < 0) return sign_bit;
    return f.signed_zero && std::signbit(value) ? f.nan | sign_bit : f.nan;
  }
  const double size = std::abs(value);
  // The last code that is not above the value, then the nearer neighbour, the even one of two.
  int low = 0, high = f.largest + 1;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (magnitude(f, middle) <= size ? low : high) = middle;
  }
  const double below = size - magnitude(f, low), above = magnitude(f, low + 1) - size;
  int code = below > above || (below == above && low % 2 == 1) ? low + 1 : low;
  if (code > f.largest) code = saturate || f.overflow < 0 ? f.largest : f.overflow;
  if (code == 0 && !f.signed_zero) return 0;
  return std::signbit(value) ? code | sign_bit : code;
}

int to_power(double value, bool saturate, Rounding rounding) {
  constexpr int kNan = 0xff, kLargest = 0xfe;
  const auto single = std::bit_cast<uint32_t>(static_cast<float>(value));
  const int exponent = static_cast<int>(single >> 23 & 0xff);
  const uint32_t fraction = single & 0x7fffff, half = 0x400000;
  if (exponent == kNan) return kNan;
  bool up = rounding == Rounding::up && fraction != 0;
  if (rounding == Rounding::nearest) up = fraction > half || (fraction == half && exponent > 0);
  return up && !(saturate && exponent == kLargest) ? exponent + 1 : exponent;
}

}  // namespace

int narrow_bits(DType dtype) {
  if (dtype == narrow::i2 || dtype == narrow::u2) return 2;
  return dtype == narrow::i4 || dtype == narrow::u4 || dtype == narrow::f4e2m1 ? 4 : 8;
}

double narrow_value(DType dtype, uint8_t byte) {
  const int width = narrow_bits(dtype), bits = byte & ((1 << width) - 1);
  if (dtype == narrow::f8e8m0)
    return bits == 0xff ? std::numeric_limits<double>::quiet_NaN() : std::ldexp(1.0, bits - 127);
  if (is_narrow_float(dtype)) return float_value(dtype, bits);
  const bool has_sign = dtype == narrow::i4 || dtype == narrow::i2;
  return has_sign && bits >> (width - 1) != 0 ? bits - (1 << width) : bits;
}

uint8_t to_narrow(DType dtype, double value, bool saturate, Rounding rounding) {
  if (dtype == narrow::f8e8m0) return static_cast<uint8_t>(to_power(value, saturate, rounding));
  if (is_narrow_float(dtype)) return static_cast<uint8_t>(to_float(dtype, value, saturate));
  const int width = narrow_bits(dtype);
  const bool has_sign = dtype == narrow::i4 || dtype == narrow::i2;
  const double low = has_sign ? -(1 << (width - 1)) : 0, high = low + (1 << width) - 1;
  const int whole = std::isnan(value) ? 0 : static_cast<int>(std::clamp(value, low, high));
  return static_cast<uint8_t>(whole & ((1 << width) - 1));
}

}  // namespace tenon

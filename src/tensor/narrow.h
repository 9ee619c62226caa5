// The narrow element types: floats of 4 and 8 bits, integers of 2 and 4. An element is one byte in
// memory, its value in the low bits; the bits above are ignored when read and written as zero.
// Tensors of these types are stored, moved, compared bit by bit and cast; no arithmetic is done in
// them, so most code need not know them and they have a header of their own.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "tensor/dtype.h"

namespace tenon {

// They go on where DType ends; the numeric values are stored in .tenon files too.
namespace narrow {
inline constexpr DType f8e4m3fn = DType{17};
inline constexpr DType f8e4m3fnuz = DType{18};
inline constexpr DType f8e5m2 = DType{19};
inline constexpr DType f8e5m2fnuz = DType{20};
inline constexpr DType f8e8m0 = DType{21};
inline constexpr DType f4e2m1 = DType{22};
inline constexpr DType i4 = DType{23};
inline constexpr DType u4 = DType{24};
inline constexpr DType i2 = DType{25};
inline constexpr DType u2 = DType{26};
}  // namespace narrow
// One past the last element type there is.
constexpr int kDTypeEnd = 27;

constexpr bool is_narrow(DType t) {
  return t >= narrow::f8e4m3fn && t <= narrow::u2;
}
constexpr bool is_narrow_float(DType t) {
  return t >= narrow::f8e4m3fn && t <= narrow::f4e2m1;
}

// Where a value between two representable ones goes; the other types always round to nearest even.
enum class Rounding : uint8_t { nearest, up, down };
inline constexpr std::array<std::string_view, 3> kRoundingNames{"nearest", "up", "down"};
constexpr std::span<const std::string_view> enum_names(Rounding) {
  return kRoundingNames;
}

// Bits of the value of an element of a narrow type: 8, 4 or 2.
int narrow_bits(DType dtype);

// The value of an element. The dtype must be narrow.
double narrow_value(DType dtype, uint8_t bits);

// The element nearest to a value. What is beyond the largest becomes the largest when it is to
// saturate, else infinity, or NaN in types without one. Integers truncate and always saturate;
// types without NaN give -0 for it in floats, 0 in integers. `rounding` is for f8e8m0, the
// powers of two, which takes the exponent of a value and ignores its sign.
uint8_t to_narrow(DType dtype, double value, bool saturate = true,
                  Rounding rounding = Rounding::nearest);

}  // namespace tenon

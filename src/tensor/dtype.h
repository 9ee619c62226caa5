// Element types and their names.
#pragma once

#include <complex>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/half.h"

namespace tenon {

// The numeric values are stored in .tenon files: never renumber.
enum class DType : uint8_t {
  none = 0,  // the type of an optional operand that is absent
  f32 = 1,
  f64 = 2,
  f16 = 3,
  bf16 = 4,
  i8 = 5,
  i16 = 6,
  i32 = 7,
  i64 = 8,
  u8 = 9,
  u16 = 10,
  u32 = 11,
  u64 = 12,
  boolean = 13,  // one byte, 0 or 1
  string = 14,   // std::string elements, heap storage
  c64 = 15,      // complex of f32
  c128 = 16,
};
constexpr int kDTypeCount = 17;

// "f32", "bool", "str", …: the spelling of the text form.
std::string_view dtype_name(DType dtype);
// The spelling of NumPy, TensorFlow and ONNX users: "float32", "bool", "string", …
std::string_view dtype_long_name(DType dtype);
// Accepts both spellings.
std::optional<DType> parse_dtype(std::string_view name);

// Bytes of one element; sizeof(std::string) for strings, 0 for none.
size_t dtype_size(DType dtype);

constexpr bool is_float(DType t) {
  return t >= DType::f32 && t <= DType::bf16;
}
constexpr bool is_signed_int(DType t) {
  return t >= DType::i8 && t <= DType::i64;
}
constexpr bool is_unsigned_int(DType t) {
  return t >= DType::u8 && t <= DType::u64;
}
constexpr bool is_int(DType t) {
  return t >= DType::i8 && t <= DType::u64;
}
constexpr bool is_complex(DType t) {
  return t == DType::c64 || t == DType::c128;
}
constexpr bool is_number(DType t) {
  return is_float(t) || is_int(t) || is_complex(t);
}

template <typename T>
struct DTypeOf;
#define TENON_DTYPE(type, value)                  \
  template <>                                     \
  struct DTypeOf<type> {                          \
    static constexpr DType kValue = DType::value; \
  };
TENON_DTYPE(float, f32)
TENON_DTYPE(double, f64)
TENON_DTYPE(Half, f16)
TENON_DTYPE(BFloat16, bf16)
TENON_DTYPE(int8_t, i8)
TENON_DTYPE(int16_t, i16)
TENON_DTYPE(int32_t, i32)
TENON_DTYPE(int64_t, i64)
TENON_DTYPE(uint8_t, u8)
TENON_DTYPE(uint16_t, u16)
TENON_DTYPE(uint32_t, u32)
TENON_DTYPE(uint64_t, u64)
TENON_DTYPE(bool, boolean)
TENON_DTYPE(std::string, string)
TENON_DTYPE(std::complex<float>, c64)
TENON_DTYPE(std::complex<double>, c128)
#undef TENON_DTYPE

template <typename T>
constexpr DType dtype_of = DTypeOf<T>::kValue;

}  // namespace tenon

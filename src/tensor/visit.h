// Calling a generic function with the C++ type of a DType. Keep the visited code small: it is
// instantiated for every type of the class.
#pragma once

#include <complex>
#include <string>
#include <type_traits>

#include "tensor/dtype.h"

namespace tenon {

template <typename T>
struct TypeTag {
  using type = T;
};

// f(TypeTag<T>) for float, double, Half, BFloat16. The dtype must be a float.
template <typename F>
auto visit_float(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64:
      return f(TypeTag<double>{});
    case DType::f16:
      return f(TypeTag<Half>{});
    case DType::bf16:
      return f(TypeTag<BFloat16>{});
    default:
      return f(TypeTag<float>{});
  }
}

// f(TypeTag<T>) for the eight integer types. The dtype must be an integer.
template <typename F>
auto visit_int(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i8:
      return f(TypeTag<int8_t>{});
    case DType::i16:
      return f(TypeTag<int16_t>{});
    case DType::i32:
      return f(TypeTag<int32_t>{});
    case DType::u8:
      return f(TypeTag<uint8_t>{});
    case DType::u16:
      return f(TypeTag<uint16_t>{});
    case DType::u32:
      return f(TypeTag<uint32_t>{});
    case DType::u64:
      return f(TypeTag<uint64_t>{});
    default:
      return f(TypeTag<int64_t>{});
  }
}

// Floats and integers.
template <typename F>
auto visit_real(DType dtype, F&& f) {
  return is_float(dtype) ? visit_float(dtype, f) : visit_int(dtype, f);
}

// An unsigned integer type of the element's size, for moving elements whose meaning does not
// matter; std::complex<double> for 16 bytes, std::string for strings.
template <typename F>
auto visit_storage(DType dtype, F&& f) {
  if (dtype == DType::string) return f(TypeTag<std::string>{});
  switch (dtype_size(dtype)) {
    case 1:
      return f(TypeTag<uint8_t>{});
    case 2:
      return f(TypeTag<uint16_t>{});
    case 4:
      return f(TypeTag<uint32_t>{});
    case 8:
      return f(TypeTag<uint64_t>{});
    default:
      return f(TypeTag<std::complex<double>>{});
  }
}

// The type in which arithmetic on T is done: float for the 16-bit floats, T otherwise.
template <typename T>
using Arithmetic =
    std::conditional_t<std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>, float, T>;

}  // namespace tenon

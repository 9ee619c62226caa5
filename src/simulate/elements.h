// Elements of any type as floats or wide integers, and back with the chip's rounding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa/opcode.h"
#include "tensor/dtype.h"

namespace tenon::simulate {

// Elements `stride` apart (in elements) as floats or integers.
void load_floats(const std::byte* from, DType dtype, int64_t stride, int64_t count, float* to);
void load_ints(const std::byte* from, DType dtype, int64_t stride, int64_t count, int64_t* to);

// Floats to the type: floating point to nearest even, integers as `rounding` says, saturating; NaN
// becomes 0 in integers.
void store_floats(const float* from, int64_t count, isa::Rounding rounding, DType dtype,
                  int64_t stride, std::byte* to);
// Integers to the type, saturating.
void store_ints(const int64_t* from, int64_t count, DType dtype, int64_t stride, std::byte* to);

// Whether all arithmetic on the type is done in integers.
constexpr bool is_exact(DType dtype) {
  return is_int(dtype) || dtype == DType::boolean;
}

}  // namespace tenon::simulate

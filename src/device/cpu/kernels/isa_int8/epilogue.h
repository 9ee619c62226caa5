// What becomes of sums of products of bytes, for the inner loops of an instruction set.
#pragma once

#include "device/cpu/kernels/int8.h"
#include "device/cpu/kernels/isa_int8/vectors.h"

namespace tenon::cpu::TENON_INT8 {
namespace {

TENON_INLINE bool gives_bytes(const Int8Epilogue& e) {
  return e.result == Int8Result::kU8 || e.result == Int8Result::kI8;
}

// What sums are, column_add among them, as real numbers: columns [column, column + kLanes).
TENON_INLINE Floats unclipped(const Int8Epilogue& e, Ints sum, int64_t column) {
  return fma(to_real(sum), load_real(e.scale + column), load_real(e.bias + column));
}
TENON_INLINE Floats scaled(const Int8Epilogue& e, Ints sum, int64_t column) {
  return clip(unclipped(e, sum, column), splat_real(e.low), splat_real(e.high));
}
// Four vectors of real numbers as bytes.
TENON_INLINE Ints bytes_of(const Int8Epilogue& e, Floats (&real)[4]) {
  if (!e.saturates)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) real[i] = clip(real[i], splat_real(e.low), splat_real(e.high));
  Ints v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = to_int(real[i]);
  return packed_bytes(v, e.zero, e.result == Int8Result::kI8);
}
TENON_INLINE Ints without_zeros(const Int8Epilogue& e, Ints sum, int64_t column, int32_t row_sum) {
  if (e.weights_zero == nullptr) return sum;
  return sub(sum, mul(splat(row_sum), load(e.weights_zero + column)));
}

// Finishes a vector of sums, column_add among them and nothing left to do about zero points:
// columns [column, column + lanes) of a row.
TENON_INLINE void finish(const Int8Epilogue& e, Ints sum, int64_t column, char* row, int lanes) {
  if (e.result == Int8Result::kI32)
    store_part(row + 4 * column, sum, lanes);
  else if (e.result == Int8Result::kF32)
    store_part(row + 4 * column, bits(scaled(e, sum, column)), lanes);
  else
    store_bytes(row + column, add(to_int(scaled(e, sum, column)), splat(e.zero)), lanes);
}

}  // namespace
}  // namespace tenon::cpu::TENON_INT8

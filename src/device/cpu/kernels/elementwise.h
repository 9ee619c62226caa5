// Operations on contiguous arrays of n floats, for interpreters that walk tiles held in cache; one
// thread, no scratch. The output may be one of the inputs (same start), not overlap otherwise.
//
// Errors of the transcendental functions stay within a few units in the last place over the whole
// range, infinities and NaN included; min and max propagate NaN.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device/cpu/kernels/activation.h"
#include "device/cpu/kernels/kernel_table.h"

namespace tenon::cpu {

// Index into KernelTable::unary.
enum class UnaryOp : uint8_t {
  kNeg,
  kAbs,
  kSign,
  kExp,
  kExpm1,
  kLog,
  kLog1p,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kSquare,
  kTanh,
  kSigmoid,
  kErf,
  kFloor,
  kCeil,
  kRoundEven,
  kTrunc,
  kSin,
  kCos,
  kRelu,
  kRelu6,
  kSilu,
  kHardSwish,
  kGeluErf,
  kGeluTanh,
  kSoftplus,
  kSoftsign,
  kMish,
  kSelu,
  kCount,
};

// Index into KernelTable::binary, ::binary_vs (b is one float) and ::binary_sv (a is one float).
enum class BinaryOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMin,
  kMax,
  kPow,
  kSquaredDifference,
  kCount,
};

// y = activation(x) with the parameters of `activation`.
inline void activate(const Activation& activation, const float* x, float* y, size_t n,
                     const KernelTable& table = kernels()) {
  table.activate(activation, x, y, n);
}
inline void unary(UnaryOp op, const float* x, float* y, size_t n,
                  const KernelTable& table = kernels()) {
  table.unary[static_cast<size_t>(op)](x, y, n);
}

}  // namespace tenon::cpu

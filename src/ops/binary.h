// Elementwise functions of two tensors with NumPy broadcasting: arithmetic, logic, comparison.
#pragma once

#include <array>
#include <complex>

#include "ops/op.h"

namespace tenon {

enum class BinaryKind : uint8_t {
  add,
  sub,
  mul,
  div,
  floor_div,
  floor_mod,
  trunc_mod,
  pow,
  min,
  max,
  atan2,
  squared_difference,
  div_no_nan,
  logical_and,
  logical_or,
  logical_xor,
  bitwise_and,
  bitwise_or,
  bitwise_xor,
  shift_left,
  shift_right,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal
};

struct BinaryInfo {
  std::string_view name;
  std::string_view doc;
  bool commutative = false;
};
// In the order of BinaryKind.
inline constexpr std::array<BinaryInfo, 27> kBinaryInfos{{
    {"add", "x + y; concatenates strings"},
    {"sub", "x - y"},
    {"mul", "x * y", true},
    {"div", "x / y; integers truncate toward zero"},
    {"floor_div", "floor(x / y)"},
    {"floor_mod", "The remainder of floor_div: it has the sign of y"},
    {"trunc_mod", "The remainder of truncating division: it has the sign of x"},
    {"pow", "x to the power of y"},
    {"min", "The smaller; NaN when either is NaN", true},
    {"max", "The larger; NaN when either is NaN", true},
    {"atan2", "The angle of the point (y, x): atan2(x, y) of its operands"},
    {"squared_difference", "(x - y)^2", true},
    {"div_no_nan", "x / y, and 0 where y is 0"},
    {"logical_and", "Both, of booleans", true},
    {"logical_or", "Either, of booleans", true},
    {"logical_xor", "Exactly one, of booleans", true},
    {"bitwise_and", "Bits set in both", true},
    {"bitwise_or", "Bits set in either", true},
    {"bitwise_xor", "Bits set in exactly one", true},
    {"shift_left", "x moved left by y bits, y limited to the width - 1"},
    {"shift_right", "x moved right by y bits, y limited to the width - 1; signed x keeps its sign"},
    {"equal", "Whether x == y", true},
    {"not_equal", "Whether x != y", true},
    {"less", "Whether x < y"},
    {"less_equal", "Whether x <= y"},
    {"greater", "Whether x > y"},
    {"greater_equal", "Whether x >= y"},
}};

constexpr bool is_comparison(BinaryKind kind) {
  return kind >= BinaryKind::equal;
}

Result<TensorTypes> infer_binary(BinaryKind kind, const InferContext& context);
std::optional<SymInts> infer_binary_ints(BinaryKind kind, const InferContext& context);
Status eval_binary(BinaryKind kind, EvalContext& context);
// x / y; over 0 it is NaN, as in TensorFlow.
std::complex<double> complex_quotient(std::complex<double> x, std::complex<double> y);
// The function of two floating-point values; comparisons give 0 or 1.
double binary_value(BinaryKind kind, double x, double y);

template <BinaryKind K>
struct Binary {
  static constexpr BinaryKind kind = K;
  static const OpDef def;
  static constexpr std::string_view name = kBinaryInfos[static_cast<size_t>(K)].name;
  static constexpr std::string_view doc = kBinaryInfos[static_cast<size_t>(K)].doc;
  static constexpr Arity inputs{2};
  // add is not marked: on strings the order matters.
  static constexpr uint32_t traits =
      kPointwise | (kBinaryInfos[static_cast<size_t>(K)].commutative ? kCommutative : kNoTraits);
  Result<TensorTypes> infer(const InferContext& context) const { return infer_binary(K, context); }
  std::optional<SymInts> infer_ints(const InferContext& context) const {
    return infer_binary_ints(K, context);
  }
  Status eval(EvalContext& context) const { return eval_binary(K, context); }
};
template <BinaryKind K>
constinit const OpDef Binary<K>::def = define<Binary<K>>();

using Add = Binary<BinaryKind::add>;
using Sub = Binary<BinaryKind::sub>;
using Mul = Binary<BinaryKind::mul>;
using Div = Binary<BinaryKind::div>;

}  // namespace tenon

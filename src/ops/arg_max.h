// The index of the largest or smallest element along an axis.
#pragma once

#include "ops/op.h"

namespace tenon {

// NaN is never chosen unless it comes first.
template <bool Max>
struct ArgExtreme {
  int64_t axis = 0;
  bool keep_dims = false;
  DType dtype = DType::i64;
  bool select_last_index = false;

  static const OpDef def;
  static constexpr std::string_view name = Max ? "arg_max" : "arg_min";
  static constexpr std::string_view doc =
      Max ? "The index of the largest along an axis." : "The index of the smallest along an axis.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &ArgExtreme::axis},
        Field{2, "keep_dims", &ArgExtreme::keep_dims, "keep the axis with size 1"},
        Field{3, "dtype", &ArgExtreme::dtype, "integer type of the result"},
        Field{4, "select_last_index", &ArgExtreme::select_last_index, "of equal ones, the last"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};
template <>
const OpDef ArgExtreme<true>::def;
template <>
const OpDef ArgExtreme<false>::def;

using ArgMax = ArgExtreme<true>;
using ArgMin = ArgExtreme<false>;

}  // namespace tenon

// Running sums and products along an axis.
#pragma once

#include "ops/op.h"

namespace tenon {

template <bool Product>
struct Cumulative {
  int64_t axis = 0;
  bool exclusive = false;
  bool reverse = false;

  static const OpDef def;
  static constexpr std::string_view name = Product ? "cumprod" : "cumsum";
  static constexpr std::string_view doc =
      Product ? "The running product along an axis." : "The running sum along an axis.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &Cumulative::axis},
        Field{2, "exclusive", &Cumulative::exclusive, "leave the element itself out"},
        Field{3, "reverse", &Cumulative::reverse, "from the last element to the first"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};
template <>
const OpDef Cumulative<false>::def;
template <>
const OpDef Cumulative<true>::def;

using CumSum = Cumulative<false>;
using CumProd = Cumulative<true>;

}  // namespace tenon

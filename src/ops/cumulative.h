// Running sums and products along an axis, and sums of exponentials as their logarithms.
#pragma once

#include <array>

#include "ops/op.h"

namespace tenon {

enum class CumulativeKind : uint8_t { sum, product, log_sum_exp };

struct CumulativeInfo {
  std::string_view name, doc;
};
// In the order of CumulativeKind.
inline constexpr std::array<CumulativeInfo, 3> kCumulativeInfos{{
    {"cumsum", "The running sum along an axis."},
    {"cumprod", "The running product along an axis."},
    {"cumlogsumexp", "The logarithm of the running sum of exponentials along an axis."},
}};

template <CumulativeKind K>
struct Cumulative {
  int64_t axis = 0;
  bool exclusive = false;
  bool reverse = false;

  static const OpDef def;
  static constexpr std::string_view name = kCumulativeInfos[static_cast<size_t>(K)].name;
  static constexpr std::string_view doc = kCumulativeInfos[static_cast<size_t>(K)].doc;
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
const OpDef Cumulative<CumulativeKind::sum>::def;
template <>
const OpDef Cumulative<CumulativeKind::product>::def;
template <>
const OpDef Cumulative<CumulativeKind::log_sum_exp>::def;

using CumSum = Cumulative<CumulativeKind::sum>;
using CumProd = Cumulative<CumulativeKind::product>;
using CumLogSumExp = Cumulative<CumulativeKind::log_sum_exp>;

}  // namespace tenon

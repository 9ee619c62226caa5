// Writing elements or slices by index.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class ScatterReduction : uint8_t { none, add, mul, min, max, div };
inline constexpr std::array<std::string_view, 6> kScatterReductionNames{"none", "add", "mul",
                                                                        "min",  "max", "div"};
constexpr std::span<const std::string_view> enum_names(ScatterReduction) {
  return kScatterReductionNames;
}

struct ScatterNd {
  ScatterReduction reduction = ScatterReduction::none;

  static const OpDef def;
  static constexpr std::string_view name = "scatter_nd";
  static constexpr std::string_view doc =
      "scatter_nd(data, indices, updates): data with the elements or slices that the last "
      "dimension "
      "of indices addresses replaced by, or combined with, the updates.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "reduction", &ScatterNd::reduction, "how an update is combined"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ScatterElements {
  int64_t axis = 0;
  ScatterReduction reduction = ScatterReduction::none;

  static const OpDef def;
  static constexpr std::string_view name = "scatter_elements";
  static constexpr std::string_view doc =
      "scatter_elements(data, indices, updates): the inverse of gather_elements.";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &ScatterElements::axis, "the dimension indexed"},
        Field{2, "reduction", &ScatterElements::reduction, "how an update is combined"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

enum class SegmentReduction : uint8_t { sum, mean, max, min, prod };
inline constexpr std::array<std::string_view, 5> kSegmentReductionNames{"sum", "mean", "max", "min",
                                                                        "prod"};
constexpr std::span<const std::string_view> enum_names(SegmentReduction) {
  return kSegmentReductionNames;
}

struct SegmentReduce {
  SegmentReduction reduction = SegmentReduction::sum;

  static const OpDef def;
  static constexpr std::string_view name = "segment_reduce";
  static constexpr std::string_view doc =
      "segment_reduce(data, ids [, num]): combines the slices of data of one id; without num there "
      "are as many segments as the largest id tells. Negative ids are left out.";
  static constexpr Arity inputs{2, 3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "reduction", &SegmentReduce::reduction, "how slices are combined"}};
  }
  bool extreme() const {
    return reduction == SegmentReduction::max || reduction == SegmentReduction::min;
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

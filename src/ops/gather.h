// Picking slices or elements by index.
#pragma once

#include "ops/op.h"

namespace tenon {

// Indices may be negative: they count from the end.
struct Gather {
  int64_t axis = 0;
  int64_t batch_dims = 0;

  static const OpDef def;
  static constexpr std::string_view name = "gather";
  static constexpr std::string_view doc =
      "gather(x, indices): the slices of x along axis at the indices; negative ones count from the "
      "end.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &Gather::axis, "the dimension indexed"},
        Field{2, "batch_dims", &Gather::batch_dims, "leading dimensions x and indices share"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct GatherNd {
  int64_t batch_dims = 0;

  static const OpDef def;
  static constexpr std::string_view name = "gather_nd";
  static constexpr std::string_view doc =
      "gather_nd(x, indices): the last dimension of indices addresses elements or slices of x.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "batch_dims", &GatherNd::batch_dims, "leading dimensions x and indices share"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct GatherElements {
  int64_t axis = 0;

  static const OpDef def;
  static constexpr std::string_view name = "gather_elements";
  static constexpr std::string_view doc =
      "gather_elements(x, indices): y[i, j, …] is x at the same place, but at indices[i, j, …] "
      "along axis.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &GatherElements::axis, "the dimension indexed"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

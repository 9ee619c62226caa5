// Images from the columns of their patches.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Col2Im {
  std::vector<int64_t> strides;
  std::vector<int64_t> pads;
  std::vector<int64_t> dilations;

  static const OpDef def;
  static constexpr std::string_view name = "col2im";
  static constexpr std::string_view doc =
      "col2im(x [N, C * product(block), patches], image [k], block [k]): adds up the patches at "
      "their places in images [N, C, image…].";
  static constexpr Arity inputs{3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "strides", &Col2Im::strides, "per spatial dimension; empty means 1"},
        Field{2, "pads", &Col2Im::pads, "begins, then ends; empty means 0"},
        Field{3, "dilations", &Col2Im::dilations, "per spatial dimension; empty means 1"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

#include "ops/transpose.h"

#include <fmt/format.h>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> Transpose::infer(const InferContext& context) const {
  TRY(require_tensors(context, "transpose"));
  const Shape& x = context.shape(0);
  TensorType out = context.type(0);
  if (!x.ranked()) {
    if (!perm.empty()) out.shape = Shape::unknown_dims(static_cast<int>(perm.size()));
    return TensorTypes{out};
  }
  if (!perm.empty() && perm.size() != x.dims().size())
    return invalid_argument(fmt::format("transpose: perm [{}] does not fit {}",
                                        fmt::join(perm, ","), context.type(0).to_string()));
  const auto axes = TRY(normalize_axes(perm, x.rank(), "transpose"));
  for (int i = 0; i < x.rank(); ++i)
    out.shape[i] = perm.empty() ? x[x.rank() - 1 - i] : x[axes[static_cast<size_t>(i)]];
  return TensorTypes{out};
}

Status Transpose::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto strides = row_major_strides(x.dims());
  std::vector<int64_t> permuted(strides.rbegin(), strides.rend());
  for (size_t i = 0; i < perm.size(); ++i)
    permuted[i] = strides[static_cast<size_t>(perm[i] < 0 ? perm[i] + x.rank() : perm[i])];
  copy_strided(x, 0, permuted, context.out(0));
  return {};
}

constinit const OpDef Transpose::def = define<Transpose>();
OpDefs transpose_ops() {
  return {&Transpose::def};
}

}  // namespace tenon

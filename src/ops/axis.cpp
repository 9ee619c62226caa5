#include "ops/axis.h"

#include <fmt/format.h>

#include "ops/registry.h"

namespace tenon {

Result<TensorType> check_axis_operand(std::string_view op, const InferContext& context,
                                      int64_t axis, bool (*accepts)(DType)) {
  const TensorType& x = context.type(0);
  if (x.is_list || !accepts(x.dtype))
    return invalid_argument(fmt::format("{} does not take {}", op, x.to_string()));
  if (x.shape.ranked()) {
    const int rank = x.shape.rank();
    if (axis < -rank || axis >= rank)
      return invalid_argument(
          fmt::format("{} along axis {} of {}, which has {} axes", op, axis, x.to_string(), rank));
  }
  return x;
}

OpDefs axis_ops() {
  return {};
}

}  // namespace tenon

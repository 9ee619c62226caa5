#include "ops/bitcast.h"

#include <fmt/format.h>

#include <cstring>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/narrow.h"

namespace tenon {

Result<TensorTypes> Bitcast::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const TensorType& x = context.type(0);
  const auto fits = [](DType t) { return is_number(t) || is_narrow(t) || t == DType::boolean; };
  // Bytes other than 0 and 1 are no booleans.
  if (!fits(x.dtype) || !fits(to) || (to == DType::boolean && x.dtype != to))
    return invalid_argument(
        fmt::format("bitcast does not turn {} into {}", dtype_name(x.dtype), dtype_name(to)));
  TensorType y{to, x.shape};
  const auto from_size = static_cast<int64_t>(dtype_size(x.dtype));
  const auto to_size = static_cast<int64_t>(dtype_size(to));
  if (from_size == to_size || !x.shape.ranked()) return TensorTypes{y};
  std::vector<Dim> dims(x.shape.dims().begin(), x.shape.dims().end());
  if (from_size > to_size) {
    dims.push_back(from_size / to_size);
  } else {
    const int64_t part = to_size / from_size;
    if (dims.empty() || (dims.back().known() && dims.back().size() != part))
      return invalid_argument(fmt::format("bitcast to {} needs a last dimension of {}, not {}",
                                          dtype_name(to), part, x.to_string()));
    dims.pop_back();
  }
  y.shape = Shape(std::move(dims));
  return TensorTypes{y};
}

Status Bitcast::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (x.byte_size() > 0) std::memcpy(context.out(0).mutable_raw(), x.raw(), x.byte_size());
  return {};
}

constinit const OpDef Bitcast::def = define<Bitcast>();
OpDefs bitcast_ops() {
  return {&Bitcast::def};
}

}  // namespace tenon

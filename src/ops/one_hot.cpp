#include "ops/one_hot.h"

#include <fmt/format.h>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {

Result<TensorTypes> OneHot::infer(const InferContext& context) const {
  const TensorType& indices = context.type(0);
  if (indices.is_list || !is_int(indices.dtype) || !is_int(context.dtype(1)))
    return invalid_argument(fmt::format("one_hot needs integer indices and depth, not {} and {}",
                                        indices.to_string(), context.type(1).to_string()));
  if (context.dtype(2) != context.dtype(3) || context.type(2).is_none())
    return invalid_argument(
        fmt::format("one_hot needs on and off values of one element type, not {} and {}",
                    context.type(2).to_string(), context.type(3).to_string()));
  TensorType out{context.dtype(2), Shape::unranked()};
  if (!indices.shape.ranked()) return TensorTypes{out};
  const int rank = indices.shape.rank() + 1;
  const int at = TRY(normalize_axis(axis, rank));
  const auto depth = context.ints(1);
  if (depth && depth->size() != 1)
    return invalid_argument("one_hot needs depth as a scalar or a tensor of one element");
  if (depth && (*depth)[0].value && *(*depth)[0].value < 0)
    return invalid_argument(fmt::format("one_hot needs depth >= 0, not {}", *(*depth)[0].value));
  out.shape = indices.shape;
  out.shape.dims().insert(out.shape.dims().begin() + at,
                          depth ? (*depth)[0].as_dim() : Dim::unknown());
  return TensorTypes{out};
}

Status OneHot::eval(EvalContext& context) const {
  const Tensor& indices = context.in(0);
  for (int i = 1; i < 4; ++i)
    if (context.in(i).elements() != 1)
      return invalid_argument("one_hot needs depth, on and off as single values");
  const int64_t depth = context.in(1).int_at(0);
  if (depth < 0) return invalid_argument(fmt::format("one_hot needs depth >= 0, not {}", depth));
  std::vector<int64_t> dims = indices.dims();
  const auto at = static_cast<size_t>(axis < 0 ? axis + indices.rank() + 1 : axis);
  int64_t inner = 1;
  for (size_t i = at; i < dims.size(); ++i) inner *= dims[i];
  dims.insert(dims.begin() + static_cast<int64_t>(at), depth);
  TRY(context.allocate(0, context.in(2).dtype(), dims));
  visit_storage(context.in(2).dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T& on = static_cast<const T*>(context.in(2).raw())[0];
    const T& off = static_cast<const T*>(context.in(3).raw())[0];
    T* out = static_cast<T*>(context.out(0).mutable_raw());
    for (int64_t i = 0; i < context.out(0).elements(); ++i) out[i] = off;
    for (int64_t i = 0; i < indices.elements(); ++i) {
      int64_t index = indices.int_at(i);
      if (wrap_negative && index < 0) index += depth;
      if (index >= 0 && index < depth) out[(i / inner * depth + index) * inner + i % inner] = on;
    }
  });
  return {};
}

constinit const OpDef OneHot::def = define<OneHot>();
OpDefs one_hot_ops() {
  return {&OneHot::def};
}

}  // namespace tenon

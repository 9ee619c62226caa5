#include "ops/select.h"

#include <fmt/format.h>

#include "ops/broadcast.h"
#include "ops/ints.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {

Result<TensorTypes> Select::infer(const InferContext& context) const {
  const TensorType &c = context.type(0), &x = context.type(1), &y = context.type(2);
  if (c.is_list || c.dtype != DType::boolean)
    return invalid_argument(fmt::format("select needs a bool condition, not {}", c.to_string()));
  if (x.is_list || y.is_list || x.dtype != y.dtype || x.is_none())
    return invalid_argument(
        fmt::format("select needs two tensors of one element type, not {} and {}", x.to_string(),
                    y.to_string()));
  const Shape both = TRY(broadcast_shapes(x.shape, y.shape));
  return TensorTypes{{x.dtype, TRY(broadcast_shapes(c.shape, both))}};
}

std::optional<SymInts> Select::infer_ints(const InferContext& context) const {
  size_t n = 1;
  std::optional<SymInts> lists[3];
  for (int i = 0; i < 3; ++i) {
    if (!may_be_sizes(context, i)) return std::nullopt;
    lists[i] = context.ints(i);
    if (!lists[i]) return std::nullopt;
    const size_t size = lists[i]->size();
    if (size != 1 && n != 1 && size != n) return std::nullopt;
    if (size != 1) n = size;
  }
  const auto at = [&](int k, size_t i) { return (*lists[k])[lists[k]->size() == 1 ? 0 : i]; };
  SymInts result;
  for (size_t i = 0; i < n; ++i) {
    const SymInt c = at(0, i), x = at(1, i), y = at(2, i);
    if (c.value)
      result.push_back(*c.value != 0 ? x : y);
    else
      result.push_back(x.value && x.value == y.value ? x : SymInt{});
  }
  return result;
}

Status Select::eval(EvalContext& context) const {
  const bool* cond = context.in(0).data<bool>();
  Tensor& out = context.out(0);
  visit_storage(out.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = static_cast<const T*>(context.in(1).raw());
    const T* y = static_cast<const T*>(context.in(2).raw());
    T* z = static_cast<T*>(out.mutable_raw());
    broadcast_each<3>(out.dims(),
                      {context.in(0).dims(), context.in(1).dims(), context.in(2).dims()},
                      [&](int64_t i, const auto& at) { z[i] = cond[at[0]] ? x[at[1]] : y[at[2]]; });
  });
  return {};
}

constinit const OpDef Select::def = define<Select>();
OpDefs select_ops() {
  return {&Select::def};
}

}  // namespace tenon

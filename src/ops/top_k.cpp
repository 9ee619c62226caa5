#include "ops/top_k.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

bool orderable(DType t) {
  return is_float(t) || is_int(t);
}

}  // namespace

Result<TensorTypes> TopK::infer(const InferContext& context) const {
  TensorType values = TRY(check_axis_operand(name, context, axis, orderable));
  if (!is_int(context.dtype(1)) || context.type(1).is_list)
    return invalid_argument(
        fmt::format("top_k needs an integer k, not {}", context.type(1).to_string()));
  if (!is_int(index_dtype))
    return invalid_argument(
        fmt::format("top_k needs an integer index_dtype, not {}", dtype_name(index_dtype)));
  if (values.shape.ranked()) {
    const int rank = values.shape.rank();
    Dim& d = values.shape[static_cast<int>(axis < 0 ? axis + rank : axis)];
    const auto k = context.ints(1);
    if (k && k->size() != 1)
      return invalid_argument("top_k needs k as a scalar or a tensor of one element");
    if (k && (*k)[0].value && *(*k)[0].value < 0)
      return invalid_argument(fmt::format("top_k needs k >= 0, not {}", *(*k)[0].value));
    const Dim count = k ? (*k)[0].as_dim() : Dim::unknown();
    if (count.known() && d.known() && count.size() > d.size())
      return invalid_argument(fmt::format("top_k asks for {} elements along axis {} of {}",
                                          count.size(), axis, context.type(0).to_string()));
    d = count;
  }
  return TensorTypes{values, {index_dtype, values.shape}};
}

Status TopK::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const AxisView view = axis_view(x.dims(), axis);
  if (context.in(1).elements() != 1)
    return invalid_argument("top_k needs k as a scalar or a tensor of one element");
  const int64_t count = context.in(1).int_at(0);
  if (count < 0 || count > view.size)
    return invalid_argument(
        fmt::format("top_k asks for {} elements of an axis with {}", count, view.size));
  std::vector<int64_t> dims = x.dims();
  dims[static_cast<size_t>(axis < 0 ? axis + x.rank() : axis)] = count;
  TRY(context.allocate(0, x.dtype(), dims));
  TRY(context.allocate(1, index_dtype, dims));
  std::vector<int64_t> order(static_cast<size_t>(view.size));
  visit_real(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* values = context.out(0).mutable_data<T>();
    for (int64_t o = 0; o < view.outer; ++o)
      for (int64_t i = 0; i < view.inner; ++i) {
        const T* row = x.data<T>() + o * view.size * view.inner + i;
        const auto before = [&](int64_t p, int64_t q) {
          const auto a = static_cast<Arithmetic<T>>(row[p * view.inner]);
          const auto b = static_cast<Arithmetic<T>>(row[q * view.inner]);
          // x != x only for NaN.
          const bool a_nan = a != a, b_nan = b != b;
          const bool less = a_nan ? false : (b_nan ? true : a < b);
          const bool greater = b_nan ? false : (a_nan ? true : a > b);
          if (less != greater) return largest ? greater : less;
          return p < q;
        };
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
        for (int64_t k = 0; k < count; ++k) {
          const int64_t at = (o * count + k) * view.inner + i;
          const int64_t from = order[static_cast<size_t>(k)];
          values[at] = row[from * view.inner];
          visit_int(index_dtype, [&](auto index_tag) {
            using I = typename decltype(index_tag)::type;
            context.out(1).template mutable_data<I>()[at] = static_cast<I>(from);
          });
        }
      }
  });
  return {};
}

constinit const OpDef TopK::def = define<TopK>();
OpDefs top_k_ops() {
  return {&TopK::def};
}

}  // namespace tenon

#include "ops/top_k.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "ops/axis.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

bool orderable(DType t) {
  return is_float(t) || is_int(t);
}

template <typename T>
struct Row {
  const T* x;
  int64_t stride;
  T operator[](int64_t i) const { return x[i * stride]; }
};

// Larger for larger numbers, largest for NaN, equal for both zeros.
uint32_t rank_of(float x) {
  if (x != x) return ~uint32_t{0};
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

// The first `count` places of `order` become those of the row's first elements in order; equal
// ones keep theirs.
template <typename T>
void first_of(Row<T> row, bool largest, int64_t count, std::vector<int64_t>& order,
              std::vector<uint64_t>&) {
  const auto before = [&](int64_t p, int64_t q) {
    const auto a = static_cast<Arithmetic<T>>(row[p]);
    const auto b = static_cast<Arithmetic<T>>(row[q]);
    // x != x only for NaN.
    const bool a_nan = a != a, b_nan = b != b;
    const bool less = a_nan ? false : (b_nan ? true : a < b);
    const bool greater = b_nan ? false : (a_nan ? true : a > b);
    if (less != greater) return largest ? greater : less;
    return p < q;
  };
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
}
// Number and place in one integer, which compares at once.
void first_of(Row<float> row, bool largest, int64_t count, std::vector<int64_t>& order,
              std::vector<uint64_t>& keys) {
  const auto size = static_cast<int64_t>(order.size());
  if (size > std::numeric_limits<uint32_t>::max())
    return first_of<float>(row, largest, count, order, keys);
  keys.resize(order.size());
  const uint32_t flip = largest ? ~uint32_t{0} : 0;
  for (int64_t i = 0; i < size; ++i)
    keys[static_cast<size_t>(i)] =
        static_cast<uint64_t>(rank_of(row[i]) ^ flip) << 32 | static_cast<uint32_t>(i);
  std::partial_sort(keys.begin(), keys.begin() + count, keys.end());
  for (size_t k = 0; k < static_cast<size_t>(count); ++k)
    order[k] = static_cast<int64_t>(keys[k] & ~uint32_t{0});
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
  std::vector<uint64_t> keys;
  visit_real(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* values = context.out(0).mutable_data<T>();
    for (int64_t o = 0; o < view.outer; ++o)
      for (int64_t i = 0; i < view.inner; ++i) {
        const Row<T> row{x.data<T>() + o * view.size * view.inner + i, view.inner};
        first_of(row, largest, count, order, keys);
        for (int64_t k = 0; k < count; ++k) {
          const int64_t at = (o * count + k) * view.inner + i;
          const int64_t from = order[static_cast<size_t>(k)];
          values[at] = row[from];
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

#include "ops/range.h"

#include <fmt/format.h>

#include <cmath>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

Result<int64_t> int_count(int64_t start, int64_t limit, int64_t delta) {
  if (delta == 0) return invalid_argument("range needs a delta that is not 0");
  const bool up = delta > 0;
  if (up ? start >= limit : start <= limit) return int64_t{0};
  // Differences and the step's size in unsigned arithmetic cannot overflow.
  const uint64_t span = up ? static_cast<uint64_t>(limit) - static_cast<uint64_t>(start)
                           : static_cast<uint64_t>(start) - static_cast<uint64_t>(limit);
  const uint64_t step = up ? static_cast<uint64_t>(delta) : 0 - static_cast<uint64_t>(delta);
  const uint64_t count = (span - 1) / step + 1;
  if (count > static_cast<uint64_t>(kMaxTensorBytes))
    return invalid_argument(fmt::format("range of {} elements is too long", count));
  return static_cast<int64_t>(count);
}

Result<int64_t> count_of(const Tensor& start, const Tensor& limit, const Tensor& delta) {
  for (const Tensor* t : {&start, &limit, &delta})
    if (t->elements() != 1)
      return invalid_argument("range needs start, limit and delta as single values");
  if (is_int(start.dtype())) return int_count(start.int_at(0), limit.int_at(0), delta.int_at(0));
  const double count = std::ceil((limit.real_at(0) - start.real_at(0)) / delta.real_at(0));
  if (!std::isfinite(count))
    return invalid_argument("range needs finite bounds and a delta that is not 0");
  if (count > static_cast<double>(kMaxTensorBytes))
    return invalid_argument(fmt::format("range of {} elements is too long", count));
  return std::max<int64_t>(0, static_cast<int64_t>(count));
}

}  // namespace

Result<TensorTypes> Range::infer(const InferContext& context) const {
  const DType dtype = context.dtype(0);
  for (int i = 0; i < 3; ++i)
    if (context.type(i).is_list || context.dtype(i) != dtype || !(is_float(dtype) || is_int(dtype)))
      return invalid_argument(fmt::format(
          "range needs three numbers of one element type, not {}, {} and {}",
          context.type(0).to_string(), context.type(1).to_string(), context.type(2).to_string()));
  TensorType out{dtype, Shape::unknown_dims(1)};
  const auto constant = [&](int i) {
    const Tensor* t = context.constant(i);
    return t != nullptr && t->defined() ? t : nullptr;
  };
  if (constant(0) && constant(1) && constant(2)) {
    out.shape[0] = TRY(count_of(*constant(0), *constant(1), *constant(2)));
    return TensorTypes{out};
  }
  const auto start = context.ints(0), limit = context.ints(1), delta = context.ints(2);
  if (!is_int(dtype) || !start || !limit || !delta || start->size() != 1 || limit->size() != 1 ||
      delta->size() != 1)
    return TensorTypes{out};
  const SymInt s = (*start)[0], l = (*limit)[0], d = (*delta)[0];
  if (s.value && l.value && d.value)
    out.shape[0] = TRY(int_count(*s.value, *l.value, *d.value));
  else if (s.value == 0 && d.value == 1)
    out.shape[0] = l.as_dim();
  return TensorTypes{out};
}

std::optional<SymInts> Range::infer_ints(const InferContext& context) const {
  constexpr int64_t kSmall = 64;
  const auto start = context.known_ints(0), limit = context.known_ints(1),
             delta = context.known_ints(2);
  if (!is_int(context.dtype(0)) || !start || !limit || !delta || start->size() != 1 ||
      limit->size() != 1 || delta->size() != 1)
    return std::nullopt;
  const auto count = int_count((*start)[0], (*limit)[0], (*delta)[0]);
  if (!count || *count > kSmall) return std::nullopt;
  SymInts ints;
  for (int64_t i = 0; i < *count; ++i) ints.push_back({(*start)[0] + i * (*delta)[0]});
  return ints;
}

Status Range::eval(EvalContext& context) const {
  const Tensor& start = context.in(0);
  const Tensor& delta = context.in(2);
  const int64_t count = TRY(count_of(start, context.in(1), delta));
  TRY(context.allocate(0, start.dtype(), std::span(&count, 1)));
  Tensor& out = context.out(0);
  if (is_float(start.dtype())) {
    const double first = start.real_at(0), step = delta.real_at(0);
    visit_float(start.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < count; ++i)
        out.mutable_data<T>()[i] =
            T(static_cast<Arithmetic<T>>(first + static_cast<double>(i) * step));
    });
    return {};
  }
  const auto first = static_cast<uint64_t>(start.int_at(0));
  const auto step = static_cast<uint64_t>(delta.int_at(0));
  visit_int(start.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < count; ++i)
      out.mutable_data<T>()[i] = static_cast<T>(first + static_cast<uint64_t>(i) * step);
  });
  return {};
}

constinit const OpDef Range::def = define<Range>();
OpDefs range_ops() {
  return {&Range::def};
}

}  // namespace tenon

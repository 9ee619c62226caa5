#include "ops/band.h"

#include <algorithm>
#include <limits>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

Status require_matrices(const InferContext& context, std::string_view op) {
  TRY(require_tensors(context, op));
  if (context.shape(0).ranked() && context.shape(0).rank() < 2)
    return invalid_argument(std::string(op) + " needs matrices, not " +
                            context.type(0).to_string());
  for (int i = 1; i < context.size(); ++i) {
    if (!context.has(i)) continue;
    TRY(require_indices(context, i, op, "diagonals"));
    const auto n = context.shape(i).elements();
    if (n && *n != 1)
      return invalid_argument(std::string(op) + " needs one number of diagonals, not " +
                              context.type(i).to_string());
  }
  return {};
}

// Keeps the elements with low <= column - row <= high.
void keep_band(const Tensor& x, Tensor& y, int64_t low, int64_t high) {
  const int64_t columns = x.dim(x.rank() - 1), rows = x.dim(x.rank() - 2);
  visit_storage(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = static_cast<const T*>(x.raw());
    T* to = static_cast<T*>(y.mutable_raw());
    for (int64_t i = 0; i < x.elements(); ++i) {
      const int64_t diagonal = i % columns - i / columns % rows;
      to[i] = diagonal >= low && diagonal <= high ? from[i] : T{};
    }
  });
}

}  // namespace

Result<TensorTypes> BandPart::infer(const InferContext& context) const {
  TRY(require_matrices(context, name));
  return TensorTypes{context.type(0)};
}
Status BandPart::eval(EvalContext& context) const {
  const int64_t lower = context.in(1).int_at(0), upper = context.in(2).int_at(0);
  keep_band(context.in(0), context.out(0), lower < 0 ? -kAll : -lower, upper < 0 ? kAll : upper);
  return {};
}

Result<TensorTypes> Trilu::infer(const InferContext& context) const {
  TRY(require_matrices(context, name));
  return TensorTypes{context.type(0)};
}
Status Trilu::eval(EvalContext& context) const {
  const int64_t k = context.has(1) ? context.in(1).int_at(0) : 0;
  keep_band(context.in(0), context.out(0), upper ? k : -kAll, upper ? kAll : k);
  return {};
}

Result<TensorTypes> EyeLike::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TensorType out{dtype == DType::none ? context.dtype(0) : dtype, context.shape(0)};
  if (!is_float(out.dtype) && !is_int(out.dtype) && out.dtype != DType::boolean)
    return invalid_argument("eye_like cannot make a " + out.to_string());
  if (out.shape.ranked() && out.shape.rank() != 2)
    return invalid_argument("eye_like needs a matrix, not " + context.type(0).to_string());
  return TensorTypes{out};
}
Status EyeLike::eval(EvalContext& context) const {
  Tensor& y = context.out(0);
  const int64_t columns = y.dim(1);
  const auto fill = [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = y.mutable_data<T>();
    for (int64_t i = 0; i < y.elements(); ++i)
      to[i] = T(static_cast<Arithmetic<T>>(i % columns - i / columns == k ? 1 : 0));
  };
  if (y.dtype() == DType::boolean)
    fill(TypeTag<bool>{});
  else
    visit_real(y.dtype(), fill);
  return {};
}

constinit const OpDef BandPart::def = define<BandPart>();
constinit const OpDef Trilu::def = define<Trilu>();
constinit const OpDef EyeLike::def = define<EyeLike>();
OpDefs band_ops() {
  return {&BandPart::def, &Trilu::def, &EyeLike::def};
}

}  // namespace tenon

#include "ops/shape_of.h"

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Status require_index_dtype(DType dtype, std::string_view op) {
  if (dtype == DType::i32 || dtype == DType::i64) return {};
  return invalid_argument(std::string(op) + ": dtype must be i32 or i64");
}

void store(Tensor& y, int64_t i, int64_t value) {
  if (y.dtype() == DType::i32)
    y.mutable_data<int32_t>()[i] = static_cast<int32_t>(value);
  else
    y.mutable_data<int64_t>()[i] = value;
}

struct Bounds {
  int first;
  int last;
};
Bounds clamp_bounds(const ShapeOf& op, int rank) {
  const auto clamp = [&](int64_t v) {
    return static_cast<int>(std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank));
  };
  const int first = clamp(op.start);
  return {first, std::max(first, clamp(op.end))};
}

}  // namespace

Result<TensorTypes> ShapeOf::infer(const InferContext& context) const {
  TRY(require_tensors(context, "shape"));
  TRY(require_index_dtype(dtype, "shape"));
  const Shape& x = context.shape(0);
  if (!x.ranked()) return TensorTypes{{dtype, Shape::unknown_dims(1)}};
  const Bounds b = clamp_bounds(*this, x.rank());
  return TensorTypes{{dtype, Shape{Dim(b.last - b.first)}}};
}

std::optional<SymInts> ShapeOf::infer_ints(const InferContext& context) const {
  const Shape& x = context.shape(0);
  if (!x.ranked()) return std::nullopt;
  const Bounds b = clamp_bounds(*this, x.rank());
  SymInts ints;
  for (int i = b.first; i < b.last; ++i) ints.push_back(SymInt::of(x[i]));
  return ints;
}

Status ShapeOf::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const Bounds b = clamp_bounds(*this, x.rank());
  for (int i = b.first; i < b.last; ++i) store(context.out(0), i - b.first, x.dim(i));
  return {};
}

Result<TensorTypes> SizeOf::infer(const InferContext& context) const {
  TRY(require_tensors(context, "size"));
  TRY(require_index_dtype(dtype, "size"));
  return TensorTypes{{dtype, Shape()}};
}

std::optional<SymInts> SizeOf::infer_ints(const InferContext& context) const {
  return SymInts{SymInt::of(product_of(context.shape(0)))};
}

Status SizeOf::eval(EvalContext& context) const {
  store(context.out(0), 0, context.in(0).elements());
  return {};
}

constinit const OpDef ShapeOf::def = define<ShapeOf>();
constinit const OpDef SizeOf::def = define<SizeOf>();
OpDefs shape_of_ops() {
  return {&ShapeOf::def, &SizeOf::def};
}

}  // namespace tenon

#include "ops/reverse.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {

Result<TensorTypes> Reverse::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.shape(0).ranked()) TRY(normalize_axes(axes, context.shape(0).rank(), name));
  return TensorTypes{context.type(0)};
}

std::optional<SymInts> Reverse::infer_ints(const InferContext& context) const {
  auto ints = small_ints(context, 0);
  if (!ints || context.shape(0).rank() != 1) return std::nullopt;
  if (!axes.empty()) std::reverse(ints->begin(), ints->end());
  return ints;
}

Result<StridedView> Reverse::strided_view(const EvalContext& context) const {
  const Tensor& x = context.in(0);
  StridedView view{0, x.dims(), row_major_strides(x.dims())};
  for (const int axis : TRY(normalize_axes(axes, x.rank(), name))) {
    auto& stride = view.strides[static_cast<size_t>(axis)];
    view.offset += stride * std::max<int64_t>(x.dim(axis) - 1, 0);
    stride = -stride;
  }
  return view;
}

Status Reverse::eval(EvalContext& context) const {
  copy_view(context.in(0), TRY(strided_view(context)), context.out(0));
  return {};
}

Result<TensorTypes> ReverseSequence::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 1, name, "lengths", 1));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  const int64_t both[] = {batch_axis, time_axis};
  const auto axes = TRY(normalize_axes(both, out.shape.rank(), name));
  if (context.shape(1).ranked()) {
    const auto batch = merge_dims(out.shape[axes[0]], context.shape(1)[0]);
    if (!batch)
      return invalid_argument(fmt::format("reverse_sequence: lengths {} do not fit {}",
                                          context.type(1).to_string(), out.to_string()));
    out.shape[axes[0]] = *batch;
  }
  return TensorTypes{out};
}

Status ReverseSequence::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int batch = TRY(normalize_axis(batch_axis, x.rank()));
  const int time = TRY(normalize_axis(time_axis, x.rank()));
  const int64_t steps = x.dim(time);
  const auto lengths = context.in(1).to_ints();
  for (const int64_t n : lengths)
    if (n < 0 || n > steps)
      return invalid_argument(
          fmt::format("reverse_sequence: length {} is outside of [0, {}]", n, steps));
  const auto strides = row_major_strides(x.dims());
  const int inner_axis = std::max(batch, time);
  const int64_t run = product(x.dims(), inner_axis + 1, x.rank());
  if (x.elements() == 0) return {};
  for (int64_t at = 0; at < x.elements(); at += run) {
    const int64_t b = at / strides[static_cast<size_t>(batch)] % x.dim(batch);
    const int64_t t = at / strides[static_cast<size_t>(time)] % steps;
    const int64_t n = lengths[static_cast<size_t>(b)];
    const int64_t from = t < n ? n - 1 - t : t;
    copy_elements(context.out(0), at, x, at + (from - t) * strides[static_cast<size_t>(time)], run);
  }
  return {};
}

constinit const OpDef Reverse::def = define<Reverse>();
constinit const OpDef ReverseSequence::def = define<ReverseSequence>();
OpDefs reverse_ops() {
  return {&Reverse::def, &ReverseSequence::def};
}

}  // namespace tenon

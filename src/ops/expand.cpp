#include "ops/expand.h"

#include <fmt/format.h>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr size_t kMaxRank = 64;

// The value all elements have where the input is one integer and the result a short vector.
std::optional<SymInts> repeat_single(const InferContext& context, const TensorTypes& types) {
  constexpr int64_t kSmall = 64;
  const auto ints = small_ints(context, 0);
  const auto n = types[0].shape.elements();
  if (!ints || ints->size() != 1 || !n || *n > kSmall) return std::nullopt;
  return SymInts(static_cast<size_t>(*n), (*ints)[0]);
}

}  // namespace

Result<TensorTypes> Expand::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 1, name, "a shape", 1));
  const Shape& x = context.shape(0);
  TensorType out{context.dtype(0), Shape::unranked()};
  auto target = context.ints(1);
  if (!target) target = small_ints_or_unknown(context, 1);
  if (!target || !x.ranked()) return TensorTypes{out};
  if (target->size() > kMaxRank)
    return invalid_argument(fmt::format("expand: {} dimensions are too many", target->size()));
  Shape wanted;
  for (size_t i = 0; i < target->size(); ++i) {
    const SymInt& t = (*target)[i];
    Dim d = t.as_dim();
    if (t.value && *t.value < 0) {
      // TensorFlow's and PyTorch's way to keep a dimension.
      const int from = static_cast<int>(i) - static_cast<int>(target->size()) + x.rank();
      if (*t.value != -1 || from < 0)
        return invalid_argument(fmt::format("expand: {} is no dimension", *t.value));
      d = x[from];
    }
    wanted.dims().push_back(d);
  }
  out.shape = TRY(broadcast_shapes(x, wanted));
  return TensorTypes{out};
}

std::optional<SymInts> Expand::infer_ints(const InferContext& context) const {
  const auto types = infer(context);
  return types.ok() ? repeat_single(context, *types) : std::nullopt;
}

Result<StridedView> Expand::strided_view(const EvalContext& context) const {
  const Tensor &x = context.in(0), &y = context.out(0);
  const auto own = row_major_strides(x.dims());
  std::vector<int64_t> strides(static_cast<size_t>(y.rank()));
  for (int i = 0; i < x.rank(); ++i)
    if (x.dim(i) != 1)
      strides[static_cast<size_t>(i + y.rank() - x.rank())] = own[static_cast<size_t>(i)];
  return StridedView{0, y.dims(), std::move(strides)};
}

Status Expand::eval(EvalContext& context) const {
  copy_view(context.in(0), TRY(strided_view(context)), context.out(0));
  return {};
}

Result<TensorTypes> Tile::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 1, name, "repeats", 1));
  const Shape& x = context.shape(0);
  TensorType out{context.dtype(0), Shape::unranked()};
  if (!x.ranked()) return TensorTypes{out};
  out.shape = Shape::unknown_dims(x.rank());
  const auto repeats = context.ints(1);
  if (!repeats) return TensorTypes{out};
  if (static_cast<int>(repeats->size()) != x.rank())
    return invalid_argument(
        fmt::format("tile: {} repeats for {}", repeats->size(), context.type(0).to_string()));
  for (int i = 0; i < x.rank(); ++i) {
    const SymInt& r = (*repeats)[static_cast<size_t>(i)];
    if (r.value && *r.value < 0)
      return invalid_argument(
          fmt::format("tile: a dimension cannot be repeated {} times", *r.value));
    out.shape[i] = x[i] * r.as_dim();
    int64_t unused = 0;
    if (x[i].known() && r.value && __builtin_mul_overflow(x[i].size(), *r.value, &unused))
      return invalid_argument(fmt::format("tile: {} repeats are too many", *r.value));
  }
  return TensorTypes{out};
}

std::optional<SymInts> Tile::infer_ints(const InferContext& context) const {
  const auto types = infer(context);
  return types.ok() ? repeat_single(context, *types) : std::nullopt;
}

Result<StridedView> Tile::strided_view(const EvalContext& context) const {
  const Tensor &x = context.in(0), &y = context.out(0);
  const auto own = row_major_strides(x.dims());
  // Each dimension is seen as two: repeats of stride 0, then the dimension itself.
  StridedView view;
  for (int i = 0; i < x.rank(); ++i) {
    view.dims.push_back(x.dim(i) == 0 ? 0 : y.dim(i) / x.dim(i));
    view.dims.push_back(x.dim(i));
    view.strides.push_back(0);
    view.strides.push_back(own[static_cast<size_t>(i)]);
  }
  return view;
}

Status Tile::eval(EvalContext& context) const {
  copy_view(context.in(0), TRY(strided_view(context)), context.out(0));
  return {};
}

constinit const OpDef Expand::def = define<Expand>();
constinit const OpDef Tile::def = define<Tile>();
OpDefs expand_ops() {
  return {&Expand::def, &Tile::def};
}

}  // namespace tenon

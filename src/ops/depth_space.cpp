// Shape inference and reference evaluation of depth_to_space and space_to_depth.
#include "ops/depth_space.h"

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

Status check(const InferContext& context, std::string_view op, int64_t block) {
  if (context.type(0).is_list) return invalid_argument(fmt::format("{} needs a tensor", op));
  TRY(nn::expect_rank(context, op, 0, 4));
  if (block < 1 || block > 32768)
    return invalid_argument(fmt::format("{}: a block of {} is out of range", op, block));
  return {};
}

Result<Dim> divided(std::string_view op, const Shape& shape, int axis, int64_t by) {
  const Dim d = shape[axis];
  if (!d.known()) return by == 1 ? d : Dim::unknown();
  if (d.size() % by != 0)
    return invalid_argument(fmt::format("{}: dimension {} of {} must be a multiple of {}", op, axis,
                                        shape.to_string(), by));
  return Dim(d.size() / by);
}

// Copies between the wide side [N, H*b, W*b, C] and the deep side [N, H, W, C*b*b].
void move_blocks(const Tensor& from, Tensor& to, const Tensor& deep, int64_t b, bool to_space,
                 DepthMode mode) {
  const int64_t height = deep.dim(1), width = deep.dim(2), depth = deep.dim(3), c = depth / (b * b);
  visit_storage(from.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = static_cast<const T*>(from.raw());
    T* out = static_cast<T*>(to.mutable_raw());
    for (int64_t e = 0; e < from.elements(); ++e) {
      // e is the index on the wide side.
      const int64_t i = e % c, x = e / c % (width * b), y = e / c / (width * b) % (height * b),
                    n = e / c / (width * b) / (height * b);
      const int64_t tap = y % b * b + x % b;
      const int64_t channel = mode == DepthMode::dcr ? tap * c + i : i * b * b + tap;
      const int64_t d = ((n * height + y / b) * width + x / b) * depth + channel;
      out[to_space ? e : d] = in[to_space ? d : e];
    }
  });
}

}  // namespace

Result<TensorTypes> DepthToSpace::infer(const InferContext& context) const {
  TRY(check(context, name, block));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) out.shape = Shape::unknown_dims(4);
  out.shape[3] = TRY(divided(name, out.shape, 3, block * block));
  out.shape[1] = out.shape[1] * Dim(block);
  out.shape[2] = out.shape[2] * Dim(block);
  return TensorTypes{out};
}

Status DepthToSpace::eval(EvalContext& context) const {
  move_blocks(context.in(0), context.out(0), context.in(0), block, true, mode);
  return {};
}

Result<TensorTypes> SpaceToDepth::infer(const InferContext& context) const {
  TRY(check(context, name, block));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) out.shape = Shape::unknown_dims(4);
  for (const int axis : {1, 2}) out.shape[axis] = TRY(divided(name, out.shape, axis, block));
  out.shape[3] = out.shape[3] * Dim(block * block);
  return TensorTypes{out};
}

Status SpaceToDepth::eval(EvalContext& context) const {
  move_blocks(context.in(0), context.out(0), context.out(0), block, false, DepthMode::dcr);
  return {};
}

constinit const OpDef DepthToSpace::def = define<DepthToSpace>();
constinit const OpDef SpaceToDepth::def = define<SpaceToDepth>();
OpDefs depth_space_ops() {
  return {&DepthToSpace::def, &SpaceToDepth::def};
}

}  // namespace tenon

#include "ops/space_batch.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

struct Blocks {
  bool known = false;
  std::vector<int64_t> block;
  std::vector<int64_t> margins;  // begin and end of each spatial dimension
  int64_t batches = 1;           // product of block
};

Result<Blocks> read_blocks(const InferContext& context, std::string_view op) {
  TRY(require_tensors(context, op));
  TRY(require_indices(context, 1, op, "block", 1));
  TRY(require_indices(context, 2, op, "the margins"));
  Blocks b;
  const auto block = context.known_ints(1), margins = context.known_ints(2);
  if (!block || !margins) return b;
  constexpr int64_t kLimit = int64_t{1} << 40;
  bool fits = margins->size() == 2 * block->size();
  for (const int64_t v : *block)
    fits = fits && v >= 1 && v <= kLimit && !__builtin_mul_overflow(b.batches, v, &b.batches);
  for (const int64_t v : *margins) fits = fits && v >= 0 && v <= kLimit;
  const Shape& x = context.shape(0);
  if (x.ranked()) fits = fits && static_cast<int>(block->size()) < x.rank();
  if (!fits)
    return invalid_argument(fmt::format("{}: block [{}] with margins [{}] does not fit {}", op,
                                        fmt::join(*block, ","), fmt::join(*margins, ","),
                                        context.type(0).to_string()));
  b.known = true;
  b.block = *block;
  b.margins = *margins;
  return b;
}

// Walks the elements of the spread-out tensor: batch n, position p, the place it has in the packed
// tensor, whose dims are given. f(position in spread, offset in packed), both in slices.
struct Layout {
  std::vector<int64_t> spread;  // [N, spatial…]
  std::vector<int64_t> packed;  // [N * block…, spatial / block…]
  std::vector<int64_t> block;
  std::vector<int64_t> begins;  // where the spread tensor starts within the blocks
};

// The slice of `packed` that slice `at` of `spread` corresponds to.
int64_t packed_place(const Layout& layout, int64_t at) {
  int64_t place = 0, scale = 1, phase = 0, phase_scale = 1;
  for (size_t i = layout.block.size(); i-- > 0;) {
    const int64_t p = at % layout.spread[i + 1] + layout.begins[i];
    at /= layout.spread[i + 1];
    place += p / layout.block[i] * scale;
    scale *= layout.packed[i + 1];
    phase += p % layout.block[i] * phase_scale;
    phase_scale *= layout.block[i];
  }
  return (phase * layout.spread[0] + at) * scale + place;
}

Layout layout_of(const Tensor& spread, const Tensor& packed, const Tensor& block,
                 const Tensor& margins) {
  Layout layout{spread.dims(), packed.dims(), block.to_ints(), {}};
  for (size_t i = 0; i < layout.block.size(); ++i)
    layout.begins.push_back(margins.int_at(static_cast<int64_t>(2 * i)));
  return layout;
}

}  // namespace

Result<TensorTypes> SpaceToBatch::infer(const InferContext& context) const {
  const Blocks b = TRY(read_blocks(context, name));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  if (!b.known) return TensorTypes{{out.dtype, Shape::unknown_dims(out.shape.rank())}};
  out.shape[0] = out.shape[0] * Dim(b.batches);
  for (size_t i = 0; i < b.block.size(); ++i) {
    Dim& d = out.shape[static_cast<int>(i) + 1];
    const int64_t margin = b.margins[2 * i] + b.margins[2 * i + 1];
    if (!d.known()) {
      if (b.block[i] != 1 || margin != 0) d = Dim::unknown();
      continue;
    }
    const Dim padded = d + Dim(margin);
    if (!padded.known() || padded.size() % b.block[i] != 0)
      return invalid_argument(
          fmt::format("space_to_batch: dimension {} of {} padded by {} is no multiple of {}", i + 1,
                      context.type(0).to_string(), margin, b.block[i]));
    d = padded.size() / b.block[i];
  }
  return TensorTypes{out};
}

Status SpaceToBatch::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  visit_storage(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    std::fill_n(static_cast<T*>(y.mutable_raw()), y.elements(), T{});
  });
  const Layout layout = layout_of(x, y, context.in(1), context.in(2));
  const int spatial = static_cast<int>(layout.block.size());
  const int64_t slices = product(x.dims(), 0, spatial + 1);
  const int64_t run = product(x.dims(), spatial + 1, x.rank());
  for (int64_t i = 0; i < slices; ++i)
    copy_elements(y, packed_place(layout, i) * run, x, i * run, run);
  return {};
}

Result<TensorTypes> BatchToSpace::infer(const InferContext& context) const {
  const Blocks b = TRY(read_blocks(context, name));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  if (!b.known) return TensorTypes{{out.dtype, Shape::unknown_dims(out.shape.rank())}};
  if (out.shape[0].known()) {
    if (out.shape[0].size() % b.batches != 0)
      return invalid_argument(fmt::format("batch_to_space: the batch of {} is no multiple of {}",
                                          context.type(0).to_string(), b.batches));
    out.shape[0] = out.shape[0].size() / b.batches;
  } else if (b.batches != 1) {
    out.shape[0] = Dim::unknown();
  }
  for (size_t i = 0; i < b.block.size(); ++i) {
    Dim& d = out.shape[static_cast<int>(i) + 1];
    const int64_t margin = b.margins[2 * i] + b.margins[2 * i + 1];
    if (!d.known()) {
      if (b.block[i] != 1 || margin != 0) d = Dim::unknown();
      continue;
    }
    const Dim whole = d * Dim(b.block[i]);
    if (!whole.known() || whole.size() < margin)
      return invalid_argument(
          fmt::format("batch_to_space: crops of {} are too large for dimension {} of {}", margin,
                      i + 1, context.type(0).to_string()));
    d = whole.size() - margin;
  }
  return TensorTypes{out};
}

Status BatchToSpace::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const Layout layout = layout_of(y, x, context.in(1), context.in(2));
  const int spatial = static_cast<int>(layout.block.size());
  const int64_t slices = product(y.dims(), 0, spatial + 1);
  const int64_t run = product(y.dims(), spatial + 1, y.rank());
  for (int64_t i = 0; i < slices; ++i)
    copy_elements(y, i * run, x, packed_place(layout, i) * run, run);
  return {};
}

constinit const OpDef SpaceToBatch::def = define<SpaceToBatch>();
constinit const OpDef BatchToSpace::def = define<BatchToSpace>();
OpDefs space_batch_ops() {
  return {&SpaceToBatch::def, &BatchToSpace::def};
}

}  // namespace tenon

// Ops that only move elements: strided copies through the vector unit's memory, tile by tile.
#include "ops/movement.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/gather.h"
#include "lower/movement.h"
#include "lower/tiles.h"
#include "lower/vector_core.h"
#include "ops/concat.h"
#include "ops/depth_space.h"
#include "ops/expand.h"
#include "ops/pad.h"
#include "ops/reverse.h"
#include "ops/slice.h"
#include "ops/transpose.h"

namespace tenon::lower {
namespace {

// The buffer of a tensor that may have one already.
int buffer_of(KernelBuilder& builder, int tensor, isa::Buffer::Role role) {
  const std::vector<int>& known = builder.operands();
  const auto found = std::ranges::find(known, tensor);
  if (found != known.end()) return static_cast<int>(found - known.begin());
  return builder.bind(role == isa::Buffer::Role::output ? "y" : fmt::format("x{}", known.size()),
                      role, tensor);
}

// Strides of a tile in a local memory: what lies side by side in the tensor, so does here.
std::vector<Axis> packed_like(const std::vector<Axis>& tile, const std::vector<int64_t>& strides,
                              const std::vector<int64_t>& sizes) {
  std::vector<size_t> order(tile.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return std::abs(strides[a]) > std::abs(strides[b]); });
  std::vector<Axis> axes = tile;
  int64_t stride = 1;
  for (size_t k = order.size(); k-- > 0;) {
    const size_t i = order[k];
    if (strides[i] == 0) {
      axes[i].stride = 0;
      continue;
    }
    axes[i].stride = stride;
    stride *= sizes[i];
  }
  return axes;
}

}  // namespace

Status move_pieces(Lowering& lowering, const Node& node, std::string layer,
                   const std::vector<Piece>& pieces, std::optional<double> fill) {
  const isa::Architecture& a = lowering.architecture();
  const VectorCore core(a);
  KernelBuilder b(lowering, std::move(layer), "move");
  const DType dtype = lowering.tensor(pieces[0].to).dtype;
  int64_t most_tiles = 1;
  std::vector<Space> spaces;
  std::vector<Tiles> tiles;
  const int64_t room = b.free_bytes(core.memory) / bytes_of(dtype) / 5;
  for (const Piece& p : pieces) {
    if (std::ranges::any_of(p.from_strides, [](int64_t s) { return s < 0; }))
      return unsupported("chips do not read backwards");
    Space s{p.dims, {p.from_strides, p.to_strides}};
    if (s.dims.empty()) s = {{1}, {{1}, {1}}};
    s.simplify();
    tiles.push_back(cut(s, std::min<int64_t>(room, 32768), a.vector_cores));
    most_tiles = std::max(most_tiles, tiles.back().count);
    spaces.push_back(std::move(s));
  }
  b.set_blocks(std::min(a.vector_cores, most_tiles));
  int64_t largest = 1024;
  for (size_t i = 0; i < pieces.size(); ++i)
    largest = std::max(largest, tiles[i].elements(spaces[i]));
  // Pieces whose order changes are put in order by the vector unit between.
  const Ring in = b.ring(core.memory, largest * bytes_of(dtype), 2, {core.load, core.compute});
  const Ring out = b.ring(core.memory, largest * bytes_of(dtype), 2, {core.compute, core.store});
  int64_t before = 0;
  if (fill) {
    const int y = buffer_of(b, pieces[0].to, isa::Buffer::Role::output);
    const int64_t all = lowering.tensor(pieces[0].to).elements;
    const int64_t parts = (all + largest - 1) / largest;
    b.loop(turns(b, parts), [&](const Expr& turn) {
      const Expr first = (b.block() + turn * b.blocks()) * largest;
      const std::vector<Axis> axes{{min(largest, Expr(all) - first), 1}};
      out.enter(0, turn);
      b.emit(Opcode::fill, {b.local(core.memory, out.place(turn), dtype, axes)}, {}, *fill);
      out.leave(0, turn);
      out.enter(1, turn);
      b.emit(Opcode::copy,
             {b.global(y, first, axes), b.local(core.memory, out.place(turn), dtype, axes)});
      out.leave(1, turn);
    });
    b.barrier();
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& p = pieces[i];
    const Space& s = spaces[i];
    const int from = buffer_of(b, p.from, isa::Buffer::Role::input);
    const int to = buffer_of(b, p.to, isa::Buffer::Role::output);
    b.loop(turns(b, tiles[i].count), [&](const Expr& turn) {
      const TileView at(s, tiles[i], b.block() + turn * b.blocks());
      const auto source = at.global(s.strides[0], false), target = at.global(s.strides[1], false);
      std::vector<int64_t> from_strides, to_strides, sizes;
      for (size_t d = tiles[i].axis; d < s.dims.size(); ++d) {
        from_strides.push_back(s.strides[0][d]);
        to_strides.push_back(s.strides[1][d]);
        sizes.push_back(d == tiles[i].axis ? tiles[i].part : s.dims[d]);
      }
      const auto as_read = packed_like(source, from_strides, sizes);
      const auto as_written = packed_like(source, to_strides, sizes);
      const auto without_repeats = [](const std::vector<Axis>& axes, const std::vector<Axis>& by) {
        std::vector<Axis> kept;
        for (size_t d = 0; d < axes.size(); ++d)
          if (by[d].stride != Expr(0)) kept.push_back(axes[d]);
        return kept;
      };
      const Expr t = turn + before;
      in.enter(0, t);
      b.emit(Opcode::copy,
             {b.local(core.memory, in.place(t), dtype, without_repeats(as_read, as_read)),
              b.global(from, at.offset(s.strides[0]) + p.from_offset,
                       without_repeats(source, as_read))});
      in.leave(0, t);
      in.enter(1, t);
      out.enter(0, t);
      b.emit(Opcode::copy, {b.local(core.memory, out.place(t), dtype, as_written),
                            b.local(core.memory, in.place(t), dtype, as_read)});
      in.leave(1, t);
      out.leave(0, t);
      out.enter(1, t);
      b.emit(Opcode::copy, {b.global(to, at.offset(s.strides[1]) + p.to_offset, target),
                            b.local(core.memory, out.place(t), dtype, as_written)});
      out.leave(1, t);
    });
    before += (tiles[i].count + b.blocks() - 1) / b.blocks();
  }
  return lowering.add(node, b);
}

namespace {

Status move(Lowering& lowering, const Node& node, const std::vector<Piece>& pieces,
            std::optional<double> fill = std::nullopt) {
  return move_pieces(lowering, node, layer_of(node), pieces, fill);
}

Piece whole(Lowering& lowering, const Value* from, const Value* to) {
  const auto dims = dims_of(from);
  return {lowering.tensor_of(from),
          lowering.tensor_of(to),
          dims,
          row_major_strides(dims),
          row_major_strides(dims),
          0,
          0};
}

Status concat(Lowering& lowering, const Node& node, int64_t axis) {
  const auto y = row_major_strides(dims_of(node.output()));
  const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(y.size()) : axis);
  std::vector<Piece> pieces;
  int64_t at = 0;
  for (const Value* v : node.inputs()) {
    Piece p = whole(lowering, v, node.output());
    p.to_strides = y;
    p.to_offset = at * y[a];
    at += p.dims[a];
    if (count_of(p.dims) > 0) pieces.push_back(std::move(p));
  }
  return move(lowering, node, pieces);
}

Status split(Lowering& lowering, const Node& node, int64_t axis) {
  const auto x = row_major_strides(dims_of(node.input(0)));
  const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.size()) : axis);
  std::vector<Piece> pieces;
  int64_t at = 0;
  for (int i = 0; i < node.output_count(); ++i) {
    Piece p = whole(lowering, node.output(i), node.output(i));
    p.from = lowering.tensor_of(node.input(0));
    p.from_strides = x;
    p.from_offset = at * x[a];
    at += p.dims[a];
    if (count_of(p.dims) > 0) pieces.push_back(std::move(p));
  }
  return move(lowering, node, pieces);
}

// A view that goes backwards along some axes: forwards, then those axes turned.
Status backwards(Lowering& lowering, const Node& node, const StridedView& s) {
  const std::string layer = layer_of(node);
  const int to = lowering.tensor_of(node.output());
  const auto scratch = [&](const std::string& name) {
    return lowering.scratch(name, lowering.tensor(to).dtype, count_of(s.dims));
  };
  int now = scratch(layer + ".forwards");
  Piece p{lowering.tensor_of(node.input(0)), now,      s.dims, s.strides,
          row_major_strides(s.dims),         s.offset, 0};
  std::vector<size_t> turned;
  for (size_t a = 0; a < s.dims.size(); ++a) {
    if (s.strides[a] >= 0) continue;
    p.from_offset += (s.dims[a] - 1) * s.strides[a];
    p.from_strides[a] = -s.strides[a];
    turned.push_back(a);
  }
  TRY(move_pieces(lowering, node, layer + ".forwards", {p}));
  for (size_t k = 0; k < turned.size(); ++k) {
    const size_t a = turned[k];
    const bool is_last = k + 1 == turned.size();
    KnownPicks picks{is_last ? layer : fmt::format("{}.axis{}", layer, a),
                     now,
                     to,
                     count_of(std::span(s.dims).first(a)),
                     s.dims[a],
                     count_of(std::span(s.dims).subspan(a + 1)),
                     {}};
    if (!is_last) picks.to = scratch(picks.layer);
    now = picks.to;
    for (int64_t i = s.dims[a]; i-- > 0;) picks.numbers.push_back(i);
    TRY(pick_known(lowering, node, std::move(picks)));
  }
  return {};
}

// Ops whose result is a strided view of their operand.
template <typename Op>
Status view(Lowering& lowering, const Node& node, const Op& op) {
  std::vector<Tensor> inputs;
  for (int i = 0; i < node.input_count(); ++i) {
    const Value* v = node.input(i);
    if (v == nullptr) {
      inputs.emplace_back();
      continue;
    }
    const Tensor* constant = v->constant();
    const auto unknown = [](const SymInt& s) { return !s.value; };
    if (i > 0 && constant == nullptr && (!v->ints() || std::ranges::any_of(*v->ints(), unknown)))
      return unsupported(fmt::format("operand {} is no constant", i));
    if (i > 0 && constant == nullptr) {
      std::vector<int64_t> ints;
      for (const SymInt& s : *v->ints()) ints.push_back(*s.value);
      inputs.push_back(Tensor::vector(ints));
    } else {
      inputs.push_back(i > 0 ? *constant : Tensor::view(v->dtype(), dims_of(v), nullptr));
    }
  }
  std::vector<Tensor> outputs{
      Tensor::view(node.output()->dtype(), dims_of(node.output()), nullptr)};
  const StridedView s = TRY(op.strided_view(EvalContext(inputs, outputs)));
  if (std::ranges::any_of(s.strides, [](int64_t stride) { return stride < 0; }))
    return backwards(lowering, node, s);
  return move(lowering, node,
              {{lowering.tensor_of(node.input(0)), lowering.tensor_of(node.output()), s.dims,
                s.strides, row_major_strides(s.dims), s.offset, 0}});
}

Status transpose(Lowering& lowering, const Node& node, const Transpose& op) {
  const auto x = dims_of(node.input(0));
  const auto strides = row_major_strides(x), y = row_major_strides(dims_of(node.output()));
  Piece p{lowering.tensor_of(node.input(0)),
          lowering.tensor_of(node.output()),
          dims_of(node.output()),
          {},
          y,
          0,
          0};
  for (size_t i = 0; i < x.size(); ++i)
    p.from_strides.push_back(
        strides[op.perm.empty() ? x.size() - 1 - i : static_cast<size_t>(op.perm[i])]);
  return move(lowering, node, {p});
}

// A run of slices along an axis, as copies see it.
struct Run {
  int64_t from, to, count;
};

// Pads that repeat elements, axis by axis: runs of slices that lie side by side, or where those are
// many, slice by slice.
Status repeat_pads(Lowering& lowering, const Node& node, PadMode mode,
                   const std::vector<int64_t>& begins) {
  constexpr size_t kMostRuns = 96;
  auto dims = dims_of(node.input(0));
  const auto y = dims_of(node.output());
  std::vector<size_t> axes;
  for (size_t a = 0; a < dims.size(); ++a)
    if (dims[a] != y[a] || begins[a] != 0) axes.push_back(a);
  int from = lowering.tensor_of(node.input(0));
  if (axes.empty()) return move(lowering, node, {whole(lowering, node.input(0), node.output())});
  for (size_t k = 0; k < axes.size(); ++k) {
    const size_t a = axes[k];
    const int64_t outer = count_of(std::span(dims).first(a)), size = dims[a],
                  inner = count_of(std::span(dims).subspan(a + 1));
    std::vector<Run> runs;
    for (int64_t i = 0; i < y[a]; ++i) {
      const int64_t source = pad_source(mode, i - begins[a], size);
      if (!runs.empty() && runs.back().from + runs.back().count == source)
        ++runs.back().count;
      else
        runs.push_back({source, i, 1});
    }
    dims[a] = y[a];
    const std::string layer =
        layer_of(node) + (k + 1 == axes.size() ? "" : fmt::format(".axis{}", a));
    const int to = k + 1 == axes.size()
                       ? lowering.tensor_of(node.output())
                       : lowering.scratch(layer, lowering.tensor(from).dtype, count_of(dims));
    if (runs.size() > kMostRuns) {
      KnownPicks picks{layer, from, to, outer, size, inner, {}};
      for (int64_t i = 0; i < y[a]; ++i)
        picks.numbers.push_back(pad_source(mode, i - begins[a], size));
      TRY(pick_known(lowering, node, std::move(picks)));
      from = to;
      continue;
    }
    std::vector<Piece> pieces;
    pieces.reserve(runs.size());
    for (const Run& r : runs)
      pieces.push_back({from,
                        to,
                        {outer, r.count * inner},
                        {size * inner, 1},
                        {y[a] * inner, 1},
                        r.from * inner,
                        r.to * inner});
    TRY(move_pieces(lowering, node, layer, pieces));
    from = to;
  }
  return {};
}

Status pad(Lowering& lowering, const Node& node, const Pad& op) {
  const Tensor* amounts = node.input(1)->constant();
  if (amounts == nullptr) return unsupported("its pads are not known");
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  const auto begins = TRY(op.begins(static_cast<int>(x.size()), *amounts));
  if (op.mode != PadMode::constant) return repeat_pads(lowering, node, op.mode, begins);
  double value = 0;
  if (node.input(2) != nullptr) {
    if (node.input(2)->constant() == nullptr) return unsupported("its value is no constant");
    value = node.input(2)->constant()->real_at(0);
  }
  Piece p = whole(lowering, node.input(0), node.output());
  p.to_strides = row_major_strides(y);
  for (size_t i = 0; i < y.size(); ++i) {
    // Negative pads cut off.
    const int64_t first = std::max<int64_t>(-begins[i], 0), at = std::max<int64_t>(begins[i], 0);
    p.dims[i] = std::min(x[i] - first, y[i] - at);
    if (p.dims[i] <= 0) return unsupported("nothing but pads is left");
    p.from_offset += first * p.from_strides[i];
    p.to_offset += at * p.to_strides[i];
  }
  const bool covers = p.dims == y;
  return move(lowering, node, {p}, covers ? std::nullopt : std::optional(value));
}

// Between [N, H * b, W * b, C] and [N, H, W, C * b * b], seen from the deep side.
Status blocks(Lowering& lowering, const Node& node, int64_t b, DepthMode mode, bool to_space) {
  const auto deep = dims_of(to_space ? node.input(0) : node.output());
  const int64_t h = deep[1], w = deep[2], d = deep[3], c = d / (b * b);
  const bool crd = mode == DepthMode::crd;
  const std::vector<int64_t> dims{deep[0], h, b, w, b, c};
  const std::vector<int64_t> deep_strides{h * w * d, w * d,       crd ? b : b * c,
                                          d,         crd ? 1 : c, crd ? b * b : 1};
  const auto wide_strides = row_major_strides(dims);
  return move(
      lowering, node,
      {{lowering.tensor_of(node.input(0)), lowering.tensor_of(node.output()), dims,
        to_space ? deep_strides : wide_strides, to_space ? wide_strides : deep_strides, 0, 0}});
}

}  // namespace

Status lower_movement(Lowering& lowering, const Node& node) {
  if (node.output_count() == 0 || count_of(dims_of(node.output())) == 0)
    return unsupported("it has no elements");
  if (const auto* op = node.as<Concat>()) return concat(lowering, node, op->axis);
  if (const auto* op = node.as<Split>()) return split(lowering, node, op->axis);
  if (const auto* op = node.as<Transpose>()) return transpose(lowering, node, *op);
  if (const auto* op = node.as<Slice>()) return view(lowering, node, *op);
  if (const auto* op = node.as<StridedSlice>()) return view(lowering, node, *op);
  if (const auto* op = node.as<Expand>()) return view(lowering, node, *op);
  if (const auto* op = node.as<Tile>()) return view(lowering, node, *op);
  if (const auto* op = node.as<DepthToSpace>())
    return blocks(lowering, node, op->block, op->mode, true);
  if (const auto* op = node.as<SpaceToDepth>())
    return blocks(lowering, node, op->block, DepthMode::dcr, false);
  if (const auto* op = node.as<Pad>()) return pad(lowering, node, *op);
  return unsupported(fmt::format("chips have no '{}'", node.def().name));
}

}  // namespace tenon::lower

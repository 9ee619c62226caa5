// Writing by numbers: rows of a table, each where its number says. Every core has a part of the
// table to itself: it copies it, looks at all numbers, and writes the rows that are its own, in
// their order, so that of several at one place the last one is there.
#include "ops/scatter.h"

#include <fmt/format.h>

#include "lower/gather.h"
#include "lower/vector_core.h"
#include "ops/movement.h"

namespace tenon::lower {
namespace {

// A table [rows, width] or, without data, zeros, of which `count` rows of `updates` replace those
// of these numbers, or are added to them.
struct RowScatter {
  std::string layer;
  int data = -1, numbers = -1, updates = -1, to = -1;  // tensors
  int64_t rows = 1, width = 1, count = 1;
  bool adds = false;
};

Status scatter_rows(Lowering& lowering, const Node& node, const RowScatter& s) {
  // Parts smaller than this are not worth a core that reads all numbers.
  constexpr int64_t kLeastElements = 1024;
  const isa::Architecture& a = lowering.architecture();
  const VectorCore core(a);
  KernelBuilder b(lowering, s.layer, "scatter");
  const DType dtype = lowering.tensor(s.to).dtype;
  const int64_t room = (b.free_bytes(core.memory) - 4096) / 4, row = s.width * bytes_of(dtype);
  const int64_t tile = std::min(s.count, room / (row + 4));
  if (tile < 1)
    return unsupported(fmt::format("a row of {} elements does not fit on a core", s.width));
  const int64_t least = (kLeastElements + s.width - 1) / s.width;
  const int64_t part = std::max((s.rows + a.vector_cores - 1) / a.vector_cores, least);
  b.set_blocks((s.rows + part - 1) / part);
  const int data = s.data < 0 ? -1 : b.bind("x0", isa::Buffer::Role::input, s.data);
  const int numbers = b.bind("x1", isa::Buffer::Role::input, s.numbers);
  const int updates = b.bind("x2", isa::Buffer::Role::input, s.updates);
  const int to = b.bind("y", isa::Buffer::Role::output, s.to);
  const Expr first = b.block() * part, mine = min(part, Expr(s.rows) - first);

  const int64_t chunk = std::min(room / bytes_of(dtype), part * s.width);
  const int from_queue = data < 0 ? core.compute : core.load;
  const Ring copied = b.ring(core.memory, chunk * bytes_of(dtype), 2, {from_queue, core.store});
  b.loop((mine * s.width + (chunk - 1)) / chunk, [&](const Expr& turn) {
    const Expr at = turn * chunk;
    const std::vector<Axis> axes{{min(chunk, mine * s.width - at), 1}};
    const View here = b.local(core.memory, copied.place(turn), dtype, axes);
    copied.enter(0, turn);
    if (data < 0)
      b.emit(Opcode::fill, {here});
    else
      b.emit(Opcode::copy, {here, b.global(data, first * s.width + at, axes)});
    copied.leave(0, turn);
    copied.enter(1, turn);
    b.emit(Opcode::copy, {b.global(to, first * s.width + at, axes), here});
    copied.leave(1, turn);
  });

  const Ring index = b.ring(core.memory, tile * 4, 2, {core.load, core.store});
  const Ring values = b.ring(core.memory, tile * row, 2, {core.load, core.store});
  b.loop((s.count + tile - 1) / tile, [&](const Expr& turn) {
    const Expr from = turn * tile, n = min(tile, Expr(s.count) - from);
    const View at = b.local(core.memory, index.place(turn), DType::i32, {{n, 1}});
    const std::vector<Axis> axes{{n, s.width}, {s.width, 1}};
    const View rows = b.local(core.memory, values.place(turn), dtype, axes);
    index.enter(0, turn);
    values.enter(0, turn);
    b.emit(Opcode::copy, {at, b.global(numbers, from, {{n, 1}})});
    b.emit(Opcode::copy, {rows, b.global(updates, from * s.width, axes)});
    index.leave(0, turn);
    values.leave(0, turn);
    index.enter(1, turn);
    values.enter(1, turn);
    b.emit(Opcode::scatter,
           {b.global(to, first * s.width, {{mine, s.width}, {s.width, 1}}), rows, at},
           {first, Expr(s.adds ? 1 : 0)});
    index.leave(1, turn);
    values.leave(1, turn);
  });
  return lowering.add(node, b);
}

// Sums of slices: added to zeros at their segments' numbers; there is nothing below the first.
Status lower_segments(Lowering& lowering, const Node& node, const SegmentReduce& op) {
  if (op.reduction != SegmentReduction::sum)
    return unsupported(fmt::format("it combines slices by {}",
                                   enum_names(op.reduction)[static_cast<size_t>(op.reduction)]));
  const auto y = dims_of(node.output());
  RowScatter s;
  s.layer = layer_of(node);
  s.adds = true;
  s.updates = lowering.tensor_of(node.input(0)), s.numbers = lowering.tensor_of(node.input(1));
  if (lowering.tensor(s.numbers).dtype != DType::i32)
    return unsupported("its numbers are not of 32 bits");
  s.rows = y[0], s.width = count_of(std::span(y).subspan(1));
  s.count = count_of(dims_of(node.input(1)));
  s.to = lowering.tensor_of(node.output());
  return scatter_rows(lowering, node, s);
}

}  // namespace

Status lower_scatter(Lowering& lowering, const Node& node) {
  if (const auto* op = node.as<SegmentReduce>()) return lower_segments(lowering, node, *op);
  const auto x = dims_of(node.input(0)), indices = dims_of(node.input(1));
  const auto* elements = node.as<ScatterElements>();
  ScatterReduction reduction = ScatterReduction::none;
  if (elements != nullptr)
    reduction = elements->reduction;
  else if (const auto* slices = node.as<ScatterNd>())
    reduction = slices->reduction;
  if (reduction != ScatterReduction::none && reduction != ScatterReduction::add)
    return unsupported(fmt::format("it combines what it writes by {}",
                                   enum_names(reduction)[static_cast<size_t>(reduction)]));
  RowScatter s;
  s.layer = layer_of(node);
  s.adds = reduction == ScatterReduction::add;
  const int numbers = lowering.tensor_of(node.input(1));
  if (lowering.tensor(numbers).dtype != DType::i32)
    return unsupported("its numbers are not of 32 bits");
  Count c;
  c.layer = s.layer + ".numbers";
  if (elements != nullptr) {
    const auto axis = static_cast<size_t>(
        elements->axis < 0 ? elements->axis + static_cast<int64_t>(x.size()) : elements->axis);
    const auto to = row_major_strides(x), from = row_major_strides(indices);
    s.rows = count_of(x), s.count = count_of(indices);
    c.dims = {s.count};
    c.terms = {{numbers, {1}, 0, x[axis], to[axis]}};
    c.base = [=](int64_t i) {
      int64_t at = 0;
      for (size_t d = 0; d < indices.size(); ++d)
        if (d != axis) at += i / from[d] % indices[d] * to[d];
      return at;
    };
  } else {
    const auto k = static_cast<size_t>(indices.back());
    if (k == 0) return unsupported("its numbers name no dimension");
    const auto strides = row_major_strides(std::span(x).first(k));
    s.rows = count_of(std::span(x).first(k)), s.width = count_of(std::span(x).subspan(k));
    s.count = count_of(indices) / indices.back();
    c.dims = {s.count};
    for (size_t i = 0; i < k; ++i)
      c.terms.push_back({numbers, {indices.back()}, static_cast<int64_t>(i), x[i], strides[i]});
  }
  TRY(check_count(s.rows));
  s.data = lowering.tensor_of(node.input(0)), s.updates = lowering.tensor_of(node.input(2));
  s.to = lowering.tensor_of(node.output());
  s.numbers = TRY(count_through(lowering, node, c));
  return scatter_rows(lowering, node, s);
}

}  // namespace tenon::lower

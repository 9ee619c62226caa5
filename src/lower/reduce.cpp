// Sums, means and extremes over adjacent axes: chunks of what is reduced come in one by one, and
// what they give is gathered on the core.
#include "ops/reduce.h"

#include <fmt/format.h>

#include <limits>

#include "lower/lowering.h"
#include "lower/vector_code.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

// A tensor as [outer, reduced, inner].
struct Shape3 {
  int64_t outer = 1, reduced = 1, inner = 1;
};

Result<Shape3> shape_of(const std::vector<int64_t>& dims, std::vector<int64_t> axes) {
  const auto rank = static_cast<int64_t>(dims.size());
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  for (int64_t& a : axes) a = a < 0 ? a + rank : a;
  std::ranges::sort(axes);
  Shape3 s;
  size_t at = 0;
  while (at < dims.size() && (axes.empty() || static_cast<int64_t>(at) != axes[0]))
    s.outer *= dims[at++];
  for (const int64_t a : axes) {
    // Axes of size 1 between do not count.
    while (static_cast<int64_t>(at) < a && dims[at] == 1) ++at;
    if (static_cast<int64_t>(at) != a) return unsupported("its axes are not adjacent");
    s.reduced *= dims[at++];
  }
  while (at < dims.size()) s.inner *= dims[at++];
  return s;
}

struct Reduction {
  Opcode within, across;
  double identity;
};

Status emit(Lowering& lowering, const Node& node, const Shape3& s, const Reduction& r, bool mean) {
  const isa::Architecture& a = lowering.architecture();
  const VectorCore core(a);
  const DType real = lowering.real();
  ProgramBuilder b(a, layer_of(node), "reduce");
  // What is kept side by side in a tile: rows where nothing is inside, else a part of the inside.
  const bool by_rows = s.inner == 1;
  const int64_t kept_all = by_rows ? s.outer : s.inner;
  const int64_t others = by_rows ? 1 : s.outer;
  const int64_t most = std::min<int64_t>(16384, b.free_bytes(core.memory) / (bytes_of(real) * 4));
  const int64_t share = std::max<int64_t>(1, kept_all * others / a.vector_cores);
  int64_t chunk = std::min<int64_t>(
      s.reduced, by_rows ? most : std::max<int64_t>(1, most / std::min<int64_t>(kept_all, 512)));
  const int64_t kept = std::clamp<int64_t>(
      most / chunk, 1, std::min<int64_t>({kept_all, std::max<int64_t>(share, 16), 2048}));
  const int64_t parts = (kept_all + kept - 1) / kept, tiles = parts * others;
  const int64_t chunks = (s.reduced + chunk - 1) / chunk;
  b.set_blocks(std::min(a.vector_cores, tiles));
  const int x = b.buffer("x", isa::Buffer::Role::input, real, s.outer * s.reduced * s.inner);
  const int y = b.buffer("y", isa::Buffer::Role::output, real, s.outer * s.inner);
  const Ring in = b.ring(core.memory, kept * chunk * bytes_of(real), 2, {core.load, core.compute});
  const Ring out = b.ring(core.memory, kept * bytes_of(real), 2, {core.compute, core.store});
  VectorCode code(b, core.memory, kept * 4, DType::f32);
  b.loop(turns(b, tiles), [&](const Expr& turn) {
    const Expr tile = b.block() + turn * b.blocks();
    const Expr part = tile % parts * kept, other = tile / parts;
    const Expr n = kept_all % kept == 0 ? Expr(kept) : min(kept, Expr(kept_all) - part);
    code.set_tile({{n, 1}, {1, 1}});
    const Register sum = code.temporary(DType::f32);
    code.emit_fill(sum, r.identity);
    b.loop(chunks, [&](const Expr& c) {
      const Expr at = turn * chunks + c;
      const Expr m = s.reduced % chunk == 0 ? Expr(chunk) : min(chunk, Expr(s.reduced) - c * chunk);
      in.enter(0, at);
      const Expr from =
          by_rows ? part * s.reduced + c * chunk : (other * s.reduced + c * chunk) * s.inner + part;
      // In memory as in the tensor, what lies side by side innermost.
      const std::vector<Axis> local =
          by_rows ? std::vector<Axis>{{n, chunk}, {m, 1}} : std::vector<Axis>{{n, 1}, {m, kept}};
      const std::vector<Axis> global = by_rows ? std::vector<Axis>{{n, s.reduced}, {m, 1}}
                                               : std::vector<Axis>{{n, 1}, {m, s.inner}};
      b.emit(Opcode::copy,
             {b.local(core.memory, in.place(at), real, local), b.global(x, from, global)});
      in.leave(0, at);
      in.enter(1, at);
      const Register of_chunk = code.temporary(DType::f32);
      b.emit(r.within, {of_chunk.view, b.local(core.memory, in.place(at), real, local)});
      in.leave(1, at);
      b.emit(r.across, {sum.view, sum.view, of_chunk.view});
    });
    Register result = sum;
    if (mean)
      result = code.binary(Opcode::mul, sum, {{}, 1.0 / static_cast<double>(s.reduced), nullptr});
    out.enter(0, turn);
    code.store(result, b.local(core.memory, out.place(turn), real, {{n, 1}, {1, 1}}));
    out.leave(0, turn);
    out.enter(1, turn);
    b.emit(Opcode::copy, {b.global(y, other * s.inner + part, {{n, 1}}),
                          b.local(core.memory, out.place(turn), real, {{n, 1}})});
    out.leave(1, turn);
  });
  return lowering.add(node, b,
                      {lowering.tensor_of(node.input(0)), lowering.tensor_of(node.output())});
}

}  // namespace

Status lower_reduce(Lowering& lowering, const Node& node) {
  if (!is_float(node.output()->dtype())) return unsupported("it is not of reals");
  const auto dims = dims_of(node.input(0));
  if (count_of(dims) == 0) return unsupported("it has no elements");
  constexpr double kLargest = std::numeric_limits<double>::infinity();
  const auto with = [&](const std::vector<int64_t>& axes, const Reduction& r, bool mean) -> Status {
    return emit(lowering, node, TRY(shape_of(dims, axes)), r, mean);
  };
  const Reduction sum{Opcode::reduce_sum, Opcode::add, 0};
  if (const auto* op = node.as<Reduce<ReduceKind::sum>>()) return with(op->axes, sum, false);
  if (const auto* op = node.as<Reduce<ReduceKind::mean>>()) return with(op->axes, sum, true);
  if (const auto* op = node.as<Reduce<ReduceKind::max>>())
    return with(op->axes, {Opcode::reduce_max, Opcode::max, -kLargest}, false);
  if (const auto* op = node.as<Reduce<ReduceKind::min>>())
    return with(op->axes, {Opcode::reduce_min, Opcode::min, kLargest}, false);
  return unsupported(fmt::format("chips have no '{}'", node.def().name));
}

}  // namespace tenon::lower

// Picking by numbers: whole rows of a table come from memory one by one. What is no row is made
// one: tables are transposed, numbers of several dimensions are counted through.
#include "lower/gather.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/elementwise.h"
#include "lower/movement.h"
#include "lower/vector_core.h"
#include "ops/gather.h"
#include "ops/movement.h"
#include "ops/reverse.h"

namespace tenon::lower {
namespace {

// Numbers that are known, with those that count from the end counted from the beginning.
int counted_numbers(Lowering& lowering, const std::string& layer, const Tensor& known,
                    int64_t rows) {
  const auto make = [numbers = known, rows]() -> Result<Tensor> {
    std::vector<int32_t> counted;
    for (const int64_t i : numbers.to_ints())
      counted.push_back(static_cast<int32_t>(i < 0 ? i + rows : i));
    return Tensor::vector(counted);
  };
  return lowering.constant(layer + ".rows", DType::i32, known.elements(), make);
}

// The same on the vector unit, of a tile of numbers: those below 0 grow by the number of rows.
class RowCounter {
 public:
  RowCounter(ProgramBuilder& builder, const VectorCore& core, int64_t tile, int64_t rows)
      : builder_(builder), memory_(core.memory), rows_(rows) {
    zeros_ = builder.allocate(memory_, tile * 4);
    below_ = builder.allocate(memory_, tile);
    added_ = builder.allocate(memory_, tile * 4);
  }
  void count(const View& numbers) {
    const auto tile = [&](int64_t place, DType dtype) {
      return builder_.local(memory_, place, dtype, numbers.axes);
    };
    const View zeros = tile(zeros_, DType::i32), below = tile(below_, DType::boolean),
               added = tile(added_, DType::i32);
    builder_.emit(Opcode::fill, {zeros});
    builder_.emit(Opcode::compare, {below, numbers, zeros},
                  {static_cast<int64_t>(isa::Relation::less)});
    builder_.emit(Opcode::convert, {added, below}, {0});
    builder_.emit(Opcode::muls, {added, added}, {}, static_cast<double>(rows_));
    builder_.emit(Opcode::add, {numbers, numbers, added});
  }

 private:
  ProgramBuilder& builder_;
  int memory_;
  int64_t rows_, zeros_ = 0, below_ = 0, added_ = 0;
};

}  // namespace

Status gather_rows(Lowering& lowering, const Node& node, const RowGather& g) {
  const isa::Architecture& a = lowering.architecture();
  const VectorCore core(a);
  KernelBuilder b(lowering, g.layer, "gather");
  const DType dtype = lowering.tensor(g.to).dtype;
  const int64_t room = (b.free_bytes(core.memory) - 4096) / 3,
                most = room / (g.width * bytes_of(dtype) + 9);
  const int64_t rows = std::clamp<int64_t>((g.count + a.vector_cores - 1) / a.vector_cores, 1,
                                           std::max<int64_t>(most, 1));
  // Rows that have no room on a core come in pieces.
  const int64_t piece = most > 0 ? g.width
                                 : std::min((room - 9) / bytes_of(dtype),
                                            (g.width + a.vector_cores - 1) / a.vector_cores);
  const int64_t pieces = (g.width + piece - 1) / piece;
  const int64_t tiles = (g.count + rows - 1) / rows * pieces;
  b.set_blocks(std::min(a.vector_cores, tiles));
  const int from = b.bind("x0", isa::Buffer::Role::input, g.table);
  const int at = b.bind("x1", isa::Buffer::Role::input, g.numbers);
  const int to = b.bind("y", isa::Buffer::Role::output, g.to);
  const Ring numbers = g.counted
                           ? b.ring(core.memory, rows * 4, 2, {core.load})
                           : b.ring(core.memory, rows * 4, 2, {core.load, core.compute, core.load});
  RowCounter counter(b, core, rows, g.rows);
  const Ring picked =
      b.ring(core.memory, rows * piece * bytes_of(dtype), 2, {core.load, core.store});
  b.loop(turns(b, tiles), [&](const Expr& turn) {
    const Expr tile = b.block() + turn * b.blocks();
    const Expr first = (pieces == 1 ? tile : tile / pieces) * rows,
               column = pieces == 1 ? Expr(0) : tile % pieces * piece,
               width = pieces == 1 ? Expr(piece) : min(piece, Expr(g.width) - column);
    const Expr count = min(rows, Expr(g.count) - first);
    const View index = b.local(core.memory, numbers.place(turn), DType::i32, {{count, 1}});
    numbers.enter(0, turn);
    b.emit(Opcode::copy, {index, b.global(at, first, {{count, 1}})});
    numbers.leave(0, turn);
    if (!g.counted) {
      numbers.enter(1, turn);
      counter.count(index);
      numbers.leave(1, turn);
      numbers.enter(2, turn);
    }
    picked.enter(0, turn);
    const View rows_here =
        b.local(core.memory, picked.place(turn), dtype, {{count, piece}, {width, 1}});
    b.emit(Opcode::gather,
           {rows_here, b.global(from, column, {{g.rows, g.width}, {width, 1}}), index});
    if (!g.counted) numbers.leave(2, turn);
    picked.leave(0, turn);
    picked.enter(1, turn);
    b.emit(Opcode::copy,
           {b.global(to, first * g.width + column, {{count, g.width}, {width, 1}}), rows_here});
    picked.leave(1, turn);
  });
  return lowering.add(node, b);
}

namespace {

// [d0, d1, d2] as [d1, d0, d2].
Status swap_outer(Lowering& lowering, const Node& node, std::string layer, int from, int to,
                  std::array<int64_t, 3> d) {
  return move_pieces(
      lowering, node, std::move(layer),
      {{from, to, {d[1], d[0], d[2]}, {d[2], d[1] * d[2], 1}, {d[0] * d[2], d[2], 1}}});
}

// Slices along an inner axis, by few numbers that are constant: runs of them are copied.
std::optional<std::vector<Piece>> constant_runs(Lowering& lowering, const Node& node,
                                                const Tensor& indices, int64_t outer, int64_t size,
                                                int64_t inner) {
  constexpr size_t kMostRuns = 64;
  const int64_t n = indices.elements();
  const auto at = [&](int64_t i) {
    const int64_t v = indices.int_at(i);
    return v < 0 ? v + size : v;
  };
  std::vector<Piece> pieces;
  for (int64_t i = 0; i < n;) {
    int64_t run = 1;
    while (i + run < n && at(i + run) == at(i) + run) ++run;
    if (at(i) < 0 || at(i) + run > size || pieces.size() == kMostRuns) return std::nullopt;
    pieces.push_back({lowering.tensor_of(node.input(0)),
                      lowering.tensor_of(node.output()),
                      {outer, run * inner},
                      {size * inner, 1},
                      {n * inner, 1},
                      at(i) * inner,
                      i * inner});
    i += run;
  }
  return pieces;
}

}  // namespace

Result<int> count_through(Lowering& lowering, const Node& node, const Count& c) {
  const int64_t n = count_of(c.dims);
  const int to = lowering.scratch(c.layer, DType::i32, n);
  Elementwise work;
  work.dims = c.dims;
  work.strides = row_major_strides(c.dims);
  for (const Count::Term& t : c.terms)
    work.operands.push_back({"numbers", t.tensor, t.strides, t.offset});
  if (c.base) {
    const auto make = [n, base = c.base]() -> Result<Tensor> {
      std::vector<int32_t> all;
      for (int64_t i = 0; i < n; ++i) all.push_back(static_cast<int32_t>(base(i)));
      return Tensor::vector(all);
    };
    work.operands.push_back(
        {"base", lowering.constant(c.layer + ".base", DType::i32, n, make), work.strides, 0});
  }
  work.results = {to};
  work.wide = true;
  work.compute = [&c](VectorCode& code,
                      std::span<const Register> in) -> Result<std::vector<Register>> {
    const auto number = [](int64_t x) { return Register{{}, static_cast<double>(x), nullptr}; };
    Register sum;
    for (size_t k = 0; k < c.terms.size(); ++k) {
      const Register below =
          code.tile(code.compare(isa::Relation::less, in[k], number(0)), DType::i32);
      Register at =
          code.binary(Opcode::add, in[k], code.binary(Opcode::mul, below, number(c.terms[k].size)));
      if (c.terms[k].stride != 1) at = code.binary(Opcode::mul, at, number(c.terms[k].stride));
      sum = k == 0 ? at : code.binary(Opcode::add, sum, at);
    }
    if (c.base) sum = code.binary(Opcode::add, sum, in.back());
    return std::vector{sum};
  };
  TRY(lower_elementwise(lowering, node, work));
  return to;
}

Status pick_known(Lowering& lowering, const Node& node, KnownPicks picks) {
  RowGather g;
  g.layer = std::move(picks.layer);
  g.table = picks.from, g.to = picks.to;
  g.rows = picks.outer * picks.size, g.width = picks.inner, g.counted = true;
  g.count = picks.outer * std::ssize(picks.numbers);
  const auto make = [outer = picks.outer, size = picks.size,
                     numbers = std::move(picks.numbers)]() -> Result<Tensor> {
    std::vector<int32_t> all;
    for (int64_t o = 0; o < outer; ++o)
      for (const int64_t i : numbers) all.push_back(static_cast<int32_t>(o * size + i));
    return Tensor::vector(all);
  };
  g.numbers = lowering.constant(g.layer + ".rows", DType::i32, g.count, make);
  return gather_rows(lowering, node, g);
}

Status check_count(int64_t rows) {
  if (rows >= int64_t{1} << 24) return unsupported("it picks from a very large table");
  return {};
}

Status lower_gather(Lowering& lowering, const Node& node) {
  const auto& op = *node.as<Gather>();
  const auto x = dims_of(node.input(0)), indices = dims_of(node.input(1));
  if (x.empty()) return unsupported("it picks from one number");
  const auto rank = static_cast<int64_t>(x.size());
  const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + rank : op.axis);
  const int64_t batch_dims =
      op.batch_dims < 0 ? op.batch_dims + static_cast<int64_t>(indices.size()) : op.batch_dims;
  const int64_t outer = count_of(std::span(x).first(axis)), size = x[axis],
                inner = count_of(std::span(x).subspan(axis + 1)), n = count_of(indices);
  const Tensor* known = node.input(1)->constant();
  const std::string layer = layer_of(node);
  RowGather g{layer, lowering.tensor_of(node.input(0)),
              -1,    lowering.tensor_of(node.output()),
              size,  inner,
              n,     known != nullptr};
  if (batch_dims > 0) {
    if (batch_dims != static_cast<int64_t>(axis)) return unsupported("it picks from batches");
    TRY(check_count(outer * size));
    Count c;
    c.layer = layer + ".numbers";
    c.dims = {outer, n / outer};
    c.terms = {{lowering.tensor_of(node.input(1)), {n / outer, 1}, 0, size, 1}};
    c.base = [per = n / outer, size](int64_t i) { return i / per * size; };
    g.numbers = TRY(count_through(lowering, node, c));
    g.rows = outer * size, g.counted = true;
    return gather_rows(lowering, node, g);
  }
  if (outer > 1 && known != nullptr)
    if (const auto pieces = constant_runs(lowering, node, *known, outer, size, inner))
      return move_pieces(lowering, node, layer, *pieces);
  g.numbers = known == nullptr ? lowering.tensor_of(node.input(1))
                               : counted_numbers(lowering, layer, *known, size);
  if (lowering.tensor(g.numbers).dtype != DType::i32)
    return unsupported("its numbers are not of 32 bits");
  if (outer == 1) return gather_rows(lowering, node, g);
  // The axis first, and back.
  const DType dtype = lowering.tensor(g.table).dtype;
  const int table = lowering.scratch(layer + ".table", dtype, outer * size * inner);
  const int picked = lowering.scratch(layer + ".picked", dtype, outer * n * inner);
  TRY(swap_outer(lowering, node, layer + ".table", g.table, table, {outer, size, inner}));
  const int to = g.to;
  g.table = table, g.to = picked, g.width = outer * inner;
  TRY(gather_rows(lowering, node, g));
  return swap_outer(lowering, node, layer + ".result", picked, to, {n, outer, inner});
}

Status lower_gather_nd(Lowering& lowering, const Node& node) {
  const auto x = dims_of(node.input(0)), indices = dims_of(node.input(1));
  if (node.as<GatherNd>()->batch_dims != 0) return unsupported("it picks from batches");
  const auto k = static_cast<size_t>(indices.back());
  const int numbers = lowering.tensor_of(node.input(1));
  if (lowering.tensor(numbers).dtype != DType::i32 || k == 0)
    return unsupported("its numbers are not of 32 bits");
  const int64_t n = count_of(indices) / static_cast<int64_t>(k);
  const auto strides = row_major_strides(std::span(x).first(k));
  RowGather g;
  g.layer = layer_of(node);
  g.rows = count_of(std::span(x).first(k)), g.width = count_of(std::span(x).subspan(k));
  TRY(check_count(g.rows));
  Count c;
  c.layer = g.layer + ".numbers";
  c.dims = {n};
  for (size_t i = 0; i < k; ++i)
    c.terms.push_back(
        {numbers, {static_cast<int64_t>(k)}, static_cast<int64_t>(i), x[i], strides[i]});
  g.table = lowering.tensor_of(node.input(0)), g.to = lowering.tensor_of(node.output());
  g.count = n, g.counted = true;
  g.numbers = TRY(count_through(lowering, node, c));
  return gather_rows(lowering, node, g);
}

Status lower_byte_lookup(Lowering& lowering, const Node& node) {
  constexpr int64_t kBytes = 256;
  RowGather g;
  g.layer = layer_of(node);
  g.table = lowering.tensor_of(node.input(1)), g.to = lowering.tensor_of(node.output());
  g.rows = kBytes, g.count = count_of(dims_of(node.input(0)));
  g.numbers = lowering.scratch(g.layer + ".numbers", DType::i32, g.count);
  g.counted = true;
  const double lowest = node.input(0)->dtype() == DType::i8 ? kBytes / 2 : 0;
  Elementwise work;
  work.dims = {g.count};
  work.strides = {1};
  work.operands = {{"x", lowering.tensor_of(node.input(0)), {1}, 0}};
  work.results = {g.numbers};
  work.wide = true;
  work.compute = [lowest](VectorCode& code,
                          std::span<const Register> in) -> Result<std::vector<Register>> {
    const Register x = code.tile(in[0], DType::i32);
    return std::vector{code.binary(Opcode::add, x, {{}, lowest, nullptr})};
  };
  TRY(lower_elementwise(lowering, node, work));
  return gather_rows(lowering, node, g);
}

Status lower_gather_elements(Lowering& lowering, const Node& node) {
  const auto x = dims_of(node.input(0)), y = dims_of(node.output());
  const int64_t axis = node.as<GatherElements>()->axis;
  const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(x.size()) : axis);
  const int numbers = lowering.tensor_of(node.input(1));
  if (lowering.tensor(numbers).dtype != DType::i32)
    return unsupported("its numbers are not of 32 bits");
  const auto from = row_major_strides(x), to = row_major_strides(y);
  RowGather g;
  g.layer = layer_of(node);
  g.rows = count_of(x), g.count = count_of(y);
  TRY(check_count(g.rows));
  Count c;
  c.layer = g.layer + ".numbers";
  c.dims = {g.count};
  c.terms = {{numbers, {1}, 0, x[a], from[a]}};
  c.base = [=](int64_t i) {
    int64_t at = 0;
    for (size_t d = 0; d < y.size(); ++d)
      if (d != a) at += i / to[d] % y[d] * from[d];
    return at;
  };
  g.table = lowering.tensor_of(node.input(0)), g.to = lowering.tensor_of(node.output());
  g.counted = true;
  g.numbers = TRY(count_through(lowering, node, c));
  return gather_rows(lowering, node, g);
}

// Rows behind the last axis that is reversed, by numbers that are known.
Status lower_reverse(Lowering& lowering, const Node& node) {
  const auto dims = dims_of(node.input(0));
  std::vector<bool> reversed(dims.size(), false);
  size_t last = 0;
  for (const int64_t axis : node.as<Reverse>()->axes) {
    const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(dims.size()) : axis);
    reversed[a] = true;
    last = std::max(last, a);
  }
  RowGather g;
  g.layer = layer_of(node);
  g.table = lowering.tensor_of(node.input(0)), g.to = lowering.tensor_of(node.output());
  g.rows = g.count = count_of(std::span(dims).first(std::min(last + 1, dims.size())));
  g.width = count_of(dims) / g.count;
  g.counted = true;
  const auto make = [n = g.rows, dims, reversed, last]() -> Result<Tensor> {
    std::vector<int32_t> numbers;
    for (int64_t i = 0; i < n; ++i) {
      int64_t from = 0, stride = 1, rest = i;
      for (size_t a = std::min(last + 1, dims.size()); a-- > 0; stride *= dims[a], rest /= dims[a])
        from += (reversed[a] ? dims[a] - 1 - rest % dims[a] : rest % dims[a]) * stride;
      numbers.push_back(static_cast<int32_t>(from));
    }
    return Tensor::vector(numbers);
  };
  g.numbers = lowering.constant(g.layer + ".rows", DType::i32, g.rows, make);
  return gather_rows(lowering, node, g);
}

}  // namespace tenon::lower

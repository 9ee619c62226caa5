// Selections along an axis: arg_max, arg_min, top_k of few, one_hot. Numbers of elements are
// compared and chosen like values: in f32, which is exact for rows that fit on a core.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "lower/movement.h"
#include "lower/row_kernel.h"
#include "ops/arg_max.h"
#include "ops/one_hot.h"
#include "ops/top_k.h"

namespace tenon::lower {
namespace {

constexpr double kNone = 16777216;  // beyond every number of an element

// 0, 1, 2, …
int count_up(Lowering& lowering, std::string name, DType dtype, int64_t n) {
  return lowering.constant(std::move(name), dtype, n, [n, dtype]() -> Result<Tensor> {
    if (dtype == DType::i32) {
      std::vector<int32_t> all(static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) all[static_cast<size_t>(i)] = static_cast<int32_t>(i);
      return Tensor::vector(all);
    }
    std::vector<float> all(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) all[static_cast<size_t>(i)] = static_cast<float>(i);
    return Tensor::vector(all);
  });
}

// A tensor as [outer, size, inner] around an axis.
struct Around {
  int64_t outer = 1, size = 1, inner = 1;
};
Around around(const std::vector<int64_t>& dims, int64_t axis) {
  const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(dims.size()) : axis);
  return {count_of(std::span(dims).first(a)), dims[a], count_of(std::span(dims).subspan(a + 1))};
}

// The operand with the axis last.
Result<int> axis_last(Lowering& lowering, const Node& node, const Around& s) {
  const int from = lowering.tensor_of(node.input(0));
  if (s.inner == 1) return from;
  const std::string layer = layer_of(node) + ".transposed";
  const int to = lowering.scratch(layer, lowering.tensor(from).dtype, s.outer * s.size * s.inner);
  TRY(move_pieces(lowering, node, layer,
                  {{from,
                    to,
                    {s.outer, s.inner, s.size},
                    {s.size * s.inner, 1, s.inner},
                    {s.size * s.inner, s.size, 1}}}));
  return to;
}

// One value per row of x, as an operand for whole rows.
struct RowValue {
  Register kept, spread;
};
RowValue reduced(VectorCode& code, Opcode op, const Register& x, const Expr& rows, int64_t width,
                 DType dtype) {
  code.set_tile({{rows, 1}, {1, 1}});
  RowValue v{code.temporary(dtype), {}};
  code.emit(op, v.kept, x);
  code.set_tile({{rows, width}, {width, 1}});
  v.spread = v.kept;
  v.spread.view.axes = {{rows, 1}, {width, 0}};
  return v;
}

Status arg_extreme(Lowering& lowering, const Node& node, int64_t axis, bool max, bool last) {
  const Around s = around(dims_of(node.input(0)), axis);
  RowKernel k;
  k.layer = layer_of(node), k.algorithm = "rows";
  k.rows = s.outer * s.inner, k.width = s.size;
  const int x = TRY(axis_last(lowering, node, s));
  k.operands = {{x, s.size, false},
                {count_up(lowering, k.layer + ".numbers", DType::f32, s.size), s.size, true}};
  k.results = {{lowering.tensor_of(node.output()), 1, 1, 0}};
  k.compute = [=, dtype = lowering.tensor(x).dtype](
                  VectorCode& code, std::span<const Register> in,
                  const Expr& rows) -> Result<std::vector<Register>> {
    const RowValue best =
        reduced(code, max ? Opcode::reduce_max : Opcode::reduce_min, in[0], rows, s.size, dtype);
    const Register is_best = code.compare(isa::Relation::equal, in[0], best.spread);
    const Register numbers = code.select(is_best, in[1], {{}, last ? -1 : kNone, nullptr});
    return std::vector{reduced(code, last ? Opcode::reduce_max : Opcode::reduce_min, numbers, rows,
                               s.size, DType::f32)
                           .kept};
  };
  return add_row_kernel(lowering, node, k);
}

Status top_k(Lowering& lowering, const Node& node, const TopK& op) {
  constexpr int64_t kMost = 32;
  const Around s = around(dims_of(node.input(0)), op.axis);
  const int64_t n = around(dims_of(node.output(0)), op.axis).size;
  if (s.inner != 1) return unsupported("its axis is not the last");
  if (n > kMost) return unsupported(fmt::format("it takes more than {}", kMost));
  if (!is_float(node.input(0)->dtype())) return unsupported("it is not of reals");
  RowKernel k;
  k.layer = layer_of(node), k.algorithm = "rows";
  k.rows = s.outer, k.width = s.size;
  k.operands = {{lowering.tensor_of(node.input(0)), s.size, false},
                {count_up(lowering, k.layer + ".numbers", DType::f32, s.size), s.size, true}};
  for (int i = 0; i < 2; ++i)
    for (int64_t j = 0; j < n; ++j)
      k.results.push_back({lowering.tensor_of(node.output(i)), 1, n, j});
  const bool largest = op.largest;
  k.compute = [=, real = lowering.real()](VectorCode& code, std::span<const Register> in,
                                          const Expr& rows) -> Result<std::vector<Register>> {
    constexpr double kLargest = std::numeric_limits<double>::infinity();
    std::vector<Register> values, numbers;
    Register x = in[0];
    for (int64_t j = 0; j < n; ++j) {
      const RowValue best =
          reduced(code, largest ? Opcode::reduce_max : Opcode::reduce_min, x, rows, s.size, real);
      const Register is_best = code.compare(isa::Relation::equal, x, best.spread);
      const RowValue at =
          reduced(code, Opcode::reduce_min, code.select(is_best, in[1], {{}, kNone, nullptr}), rows,
                  s.size, DType::f32);
      values.push_back(best.kept), numbers.push_back(at.kept);
      if (j + 1 == n) break;
      const Register taken = code.compare(isa::Relation::equal, in[1], at.spread);
      Register rest = code.temporary(real);
      code.emit_fill(rest, largest ? -kLargest : kLargest);
      x = code.select(taken, rest, x);
    }
    values.insert(values.end(), numbers.begin(), numbers.end());
    return values;
  };
  return add_row_kernel(lowering, node, k);
}

Status one_hot(Lowering& lowering, const Node& node, const OneHot& op) {
  const auto y = dims_of(node.output());
  const Around s = around(y, op.axis);
  const Tensor *on = node.input(2)->constant(), *off = node.input(3)->constant();
  if (on == nullptr || off == nullptr) return unsupported("its values are no constants");
  const int numbers = lowering.tensor_of(node.input(0));
  if (lowering.tensor(numbers).dtype != DType::i32)
    return unsupported("its numbers are not of 32 bits");
  RowKernel k;
  k.layer = layer_of(node), k.algorithm = "rows";
  k.rows = s.outer * s.inner, k.width = s.size;
  k.operands = {{numbers, 1, false},
                {count_up(lowering, k.layer + ".numbers", DType::i32, s.size), s.size, true}};
  const int result = lowering.tensor_of(node.output());
  const DType dtype = lowering.tensor(result).dtype;
  const std::string rows_layer = k.layer + (s.inner == 1 ? "" : ".rows");
  const int rows_to = s.inner == 1 ? result : lowering.scratch(rows_layer, dtype, k.rows * s.size);
  k.results = {{rows_to, s.size, s.size, 0}};
  k.compute = [=, yes = on->real_at(0), no = off->real_at(0), wraps = op.wrap_negative](
                  VectorCode& code, std::span<const Register> in,
                  const Expr& rows) -> Result<std::vector<Register>> {
    Register at = in[0];
    if (wraps) {
      code.set_tile({{rows, 1}, {1, 1}});
      const Register counted = code.binary(Opcode::add, at, {{}, static_cast<double>(s.size), {}});
      Register zero = code.temporary(DType::i32);
      code.emit_fill(zero, 0);
      at = code.select(code.compare(isa::Relation::less, at, zero), counted, at);
      code.set_tile({{rows, s.size}, {s.size, 1}});
    }
    at.view.axes = {{rows, 1}, {s.size, 0}};
    const Register is_there = code.compare(isa::Relation::equal, in[1], at);
    return std::vector{code.select(is_there, code.tile({{}, yes, nullptr}, dtype),
                                   code.tile({{}, no, nullptr}, dtype))};
  };
  const std::string layer = std::exchange(k.layer, rows_layer);
  TRY(add_row_kernel(lowering, node, k));
  if (s.inner == 1) return {};
  return move_pieces(lowering, node, layer,
                     {{rows_to,
                       result,
                       {s.outer, s.size, s.inner},
                       {s.size * s.inner, 1, s.size},
                       {s.size * s.inner, s.inner, 1}}});
}

}  // namespace

Status lower_selection(Lowering& lowering, const Node& node) {
  if (const auto* op = node.as<ArgMax>())
    return arg_extreme(lowering, node, op->axis, true, op->select_last_index);
  if (const auto* op = node.as<ArgMin>())
    return arg_extreme(lowering, node, op->axis, false, op->select_last_index);
  if (const auto* op = node.as<TopK>()) return top_k(lowering, node, *op);
  if (const auto* op = node.as<OneHot>()) return one_hot(lowering, node, *op);
  return unsupported(fmt::format("chips have no '{}'", node.def().name));
}

}  // namespace tenon::lower

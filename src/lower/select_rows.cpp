// Selections along an axis: arg_max, arg_min, one_hot. Numbers of elements are
// compared and chosen like values: in f32, which is exact for rows that fit on a core.
#include "lower/select_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "lower/long_rows.h"
#include "lower/movement.h"
#include "lower/row_kernel.h"
#include "ops/arg_max.h"
#include "ops/one_hot.h"

namespace tenon::lower {

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

Around around(const std::vector<int64_t>& dims, int64_t axis) {
  const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(dims.size()) : axis);
  return {count_of(std::span(dims).first(a)), dims[a], count_of(std::span(dims).subspan(a + 1))};
}

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

Register numbers_of_best(VectorCode& code, bool largest, const Register& x, const Register& best,
                         const Register& numbers, const Register& none) {
  const Register is_behind =
      code.compare(largest ? isa::Relation::less : isa::Relation::greater, x, best);
  return code.select(is_behind, none, numbers);
}

Status axis_back(Lowering& lowering, const Node& node, const Around& s, int from, int to) {
  return move_pieces(lowering, node, layer_of(node),
                     {{from,
                       to,
                       {s.outer, s.size, s.inner},
                       {s.size * s.inner, 1, s.size},
                       {s.size * s.inner, s.inner, 1}}});
}

namespace {

Status arg_extreme(Lowering& lowering, const Node& node, int64_t axis, bool max, bool last) {
  const Around s = around(dims_of(node.input(0)), axis);
  const int x = TRY(axis_last(lowering, node, s)), y = lowering.tensor_of(node.output());
  const auto in_whole_rows = [&] {
    RowKernel k;
    k.layer = layer_of(node), k.algorithm = "rows";
    k.rows = s.outer * s.inner, k.width = s.size;
    k.operands = {{x, s.size, false},
                  {count_up(lowering, k.layer + ".numbers", DType::f32, s.size), s.size, true}};
    k.results = {{y, 1, 1, 0}};
    k.compute = [=, dtype = lowering.tensor(x).dtype](
                    VectorCode& code, std::span<const Register> in,
                    const Expr& rows) -> Result<std::vector<Register>> {
      const RowValue best =
          reduced(code, max ? Opcode::reduce_max : Opcode::reduce_min, in[0], rows, s.size, dtype);
      const Register numbers = numbers_of_best(code, max, in[0], best.spread, in[1],
                                               {{}, last ? -1 : kNoElement, nullptr});
      return std::vector{reduced(code, last ? Opcode::reduce_max : Opcode::reduce_min, numbers,
                                 rows, s.size, DType::f32)
                             .kept};
    };
    return add_row_kernel(lowering, node, k);
  };
  auto draft = lowering.draft(in_whole_rows);
  if (!draft.ok())
    return place_in_long_rows(lowering, node, {layer_of(node), x, y, s.outer * s.inner, s.size},
                              max, last);
  lowering.accept(std::move(*draft));
  return {};
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
  k.layer = rows_layer;
  TRY(add_row_kernel(lowering, node, k));
  if (s.inner == 1) return {};
  return axis_back(lowering, node, s, rows_to, result);
}

}  // namespace

Status lower_selection(Lowering& lowering, const Node& node) {
  if (const auto* op = node.as<ArgMax>())
    return arg_extreme(lowering, node, op->axis, true, op->select_last_index);
  if (const auto* op = node.as<ArgMin>())
    return arg_extreme(lowering, node, op->axis, false, op->select_last_index);
  if (const auto* op = node.as<OneHot>()) return one_hot(lowering, node, *op);
  return unsupported(fmt::format("chips have no '{}'", node.def().name));
}

}  // namespace tenon::lower

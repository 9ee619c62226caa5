#include <algorithm>

#include "emit/bang_writer.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Opcode;

struct VectorForm {
  Opcode op;
  std::string_view bang;    // n elements, one beside the other
  std::string_view cycle;   // the second operand again and again
  std::string_view scalar;  // one element of the second operand for all
  std::string_view tile;    // any rows (tenon_tiles.h)
};
constexpr VectorForm kVector[] = {
    {Opcode::exp, "__bang_active_exp", "", "", "Exp"},
    {Opcode::ln, "__bang_active_log", "", "", "Ln"},
    {Opcode::sqrt, "__bang_active_sqrt", "", "", "Sqrt"},
    {Opcode::rsqrt, "__bang_active_rsqrt", "", "", "Rsqrt"},
    {Opcode::reciprocal, "__bang_active_recip", "", "", "Reciprocal"},
    {Opcode::abs, "__bang_active_abs", "", "", "Abs"},
    {Opcode::relu, "__bang_active_relu", "", "", "Relu"},
    {Opcode::sigmoid, "__bang_active_sigmoid", "", "", "Sigmoid"},
    {Opcode::tanh, "__bang_active_tanh", "", "", "Tanh"},
    {Opcode::add, "__bang_add", "__bang_cycle_add", "__bang_add_scalar", "Add"},
    {Opcode::sub, "__bang_sub", "__bang_cycle_sub", "__bang_sub_scalar", "Sub"},
    {Opcode::mul, "__bang_mul", "__bang_cycle_mul", "__bang_mul_scalar", "Mul"},
    {Opcode::div, "__bang_div", "", "", "Div"},
    {Opcode::max, "__bang_maxequal", "__bang_cycle_maxequal", "__bang_maxeq_scalar", "Max"},
    {Opcode::min, "__bang_minequal", "__bang_cycle_minequal", "__bang_mineq_scalar", "Min"},
    {Opcode::adds, "__bang_add_scalar", "", "", "Adds"},
    {Opcode::muls, "__bang_mul_scalar", "", "", "Muls"},
    {Opcode::maxs, "__bang_maxeq_scalar", "", "", "Maxs"},
    {Opcode::mins, "__bang_mineq_scalar", "", "", "Mins"},
    {Opcode::reduce_sum, "", "", "", "ReduceSum"},
    {Opcode::reduce_max, "", "", "", "ReduceMax"},
    {Opcode::reduce_min, "", "", "", "ReduceMin"}};
constexpr std::string_view kRounding[] = {"kEven", "kFloor", "kCeil", "kTruncate", "kAway"};
constexpr std::string_view kRelation[] = {"kLess",     "kLessEqual",    "kEqual",
                                          "kNotEqual", "kGreaterEqual", "kGreater"};

const VectorForm* form_of(Opcode op) {
  const auto* found = std::ranges::find(kVector, op, &VectorForm::op);
  return found == std::end(kVector) ? nullptr : found;
}

}  // namespace

std::string BangWriter::plain_call(const Instruction& i, const std::vector<std::string>& o,
                                   const std::string& n) const {
  const DType to = i.views[0].dtype, from = i.views.size() > 1 ? i.views[1].dtype : to;
  if (i.op == Opcode::fill)
    return fmt::format("__bang_write_value({}, {}, {});", o[0], n, scalar_text(i.scalar, to));
  if (i.op == Opcode::convert || i.op == Opcode::copy) {
    if (to == DType::f32 && from == DType::f16)
      return fmt::format("__bang_half2float({}, {}, {});", o[0], o[1], n);
    if (to == DType::f16 && from == DType::f32)
      return fmt::format("__bang_float2half_rn({}, {}, {});", o[0], o[1], n);
    return {};
  }
  const VectorForm* form = form_of(i.op);
  const bool real = to == DType::f16 || to == DType::f32;
  if (form == nullptr || form->bang.empty() || !real) return {};
  std::string list;
  for (const std::string& operand : o) list += operand + ", ";
  if (isa::info(i.op).has_scalar) list += scalar_text(i.scalar, to) + ", ";
  return fmt::format("{}({}{});", form->bang, list, n);
}

std::string BangWriter::tile_call(const Instruction& i, const std::vector<std::string>& o,
                                  const std::string& n) const {
  const DType to = i.views[0].dtype;
  std::string list;
  for (const std::string& operand : o) list += operand + ", ";
  if (i.op == Opcode::fill)
    return fmt::format("tile::Fill({}{}, {});", list, scalar_text(i.scalar, to), n);
  if (i.op == Opcode::copy) return fmt::format("tile::Convert({}tile::kEven, {});", list, n);
  if (i.op == Opcode::convert && to == DType::boolean)
    return fmt::format("tile::ToBool({}{});", list, n);
  if (i.op == Opcode::convert)
    return fmt::format("tile::Convert({}tile::{}, {});", list,
                       kRounding[static_cast<size_t>(i.numbers[0].value())], n);
  if (i.op == Opcode::compare)
    return fmt::format("tile::Compare({}tile::{}, {});", list,
                       kRelation[static_cast<size_t>(i.numbers[0].value())], n);
  if (i.op == Opcode::select) return fmt::format("tile::Select({}{});", list, n);
  const VectorForm* form = form_of(i.op);
  if (form == nullptr) return {};
  if (isa::info(i.op).has_scalar) list += scalar_text(i.scalar, to) + ", ";
  return fmt::format("tile::{}({}{});", form->tile, list, n);
}

// The second operand again and again for the rows of the first: one call.
bool BangWriter::cycle(const Instruction& i, const Nest& nest) {
  const VectorForm* form = form_of(i.op);
  if (form == nullptr || form->cycle.empty() || nest.rank() < 2 || !is_float(i.views[0].dtype))
    return false;
  const size_t row = nest.rank() - 2;
  const Expr& n = nest.size.back();
  const auto is = [&](size_t v, const Expr& stride) {
    return nest.stride[v].back() == Expr(1) && nest.stride[v][row] == stride;
  };
  if (!is(0, n) || !is(1, n) || !is(2, 0)) return false;
  const auto variables = open_axes(nest, row);
  line("{}({}, {}, {}, {}, {});", form->cycle, operand(i.views[0], nest, 0, variables),
       operand(i.views[1], nest, 1, variables), operand(i.views[2], nest, 2, variables),
       text(nest.size[row] * n), text(n));
  close_axes(row);
  return true;
}

Status BangWriter::vector(const Instruction& i) {
  const Nest nest(i.views);
  if (cycle(i, nest)) return {};
  const size_t outer = nest.rank() == 0 ? 0 : nest.rank() - 1;
  const auto inner = [&](size_t v) { return nest.rank() == 0 ? Expr(1) : nest.stride[v].back(); };
  bool plain = true;
  for (size_t v = 0; v < i.views.size(); ++v) plain = plain && inner(v) == Expr(1);
  const VectorForm* form = form_of(i.op);
  const bool one_for_all = form != nullptr && !form->scalar.empty() && i.views.size() == 3 &&
                           inner(0) == Expr(1) && inner(1) == Expr(1) && inner(2) == Expr(0) &&
                           is_float(i.views[0].dtype);
  const auto variables = open_axes(nest, outer);
  const std::string n = nest.rank() == 0 ? "1" : text(nest.size.back());
  std::vector<std::string> operands;
  for (size_t v = 0; v < i.views.size(); ++v)
    operands.push_back(operand(i.views[v], nest, v, variables));
  std::string call;
  if (one_for_all)
    call = fmt::format("{}({}, {}, {}[{}], {});", form->scalar, operands[0], operands[1],
                       tensor_name(i.views[2]), index(i.views[2], nest, 2, variables), n);
  else if (plain)
    call = plain_call(i, operands, n);
  if (call.empty()) {
    for (size_t v = 0; v < i.views.size(); ++v)
      if (inner(v) != Expr(1))
        operands[v] = fmt::format("tile::Every({}, {})", operands[v], text(inner(v)));
    call = tile_call(i, operands, n);
  }
  if (call.empty()) return no_form(i, "the emitter has no BANG C for this instruction");
  add(call);
  close_axes(outer);
  return {};
}

// Row by row: one result a row.
Status BangWriter::reduce(const Instruction& i) {
  const Nest nest(i.views, 1);
  const size_t inner = std::min<size_t>(nest.rank(), 2);
  const bool has_rows = inner == 2;
  const size_t row = nest.rank() - inner;
  const auto variables = open_axes(nest, row);
  line("tile::{}({}, {}, {}, {}, {}, {}, {});", form_of(i.op)->tile,
       operand(i.views[0], nest, 0, variables), has_rows ? text(nest.stride[0][row]) : "0",
       operand(i.views[1], nest, 1, variables), has_rows ? text(nest.stride[1][row]) : "0",
       text(i.views[1].axes.back().stride), has_rows ? text(nest.size[row]) : "1",
       text(i.views[1].axes.back().size));
  close_axes(row);
  return {};
}

}  // namespace tenon::emit

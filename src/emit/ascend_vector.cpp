// The vector unit in Ascend C.
#include <algorithm>

#include "emit/ascend_writer.h"

namespace tenon::emit {
namespace {

using isa::Expr;
using isa::Instruction;
using isa::Opcode;
using isa::OpcodeClass;
using isa::View;

// What the vector unit's instructions are called; tile:: has the same names for rows that are not
// contiguous or not aligned (tenon_tiles.h).
constexpr std::pair<Opcode, std::string_view> kVector[] = {{Opcode::exp, "Exp"},
                                                           {Opcode::ln, "Ln"},
                                                           {Opcode::sqrt, "Sqrt"},
                                                           {Opcode::rsqrt, "Rsqrt"},
                                                           {Opcode::abs, "Abs"},
                                                           {Opcode::reciprocal, "Reciprocal"},
                                                           {Opcode::relu, "Relu"},
                                                           {Opcode::add, "Add"},
                                                           {Opcode::sub, "Sub"},
                                                           {Opcode::mul, "Mul"},
                                                           {Opcode::div, "Div"},
                                                           {Opcode::max, "Max"},
                                                           {Opcode::min, "Min"},
                                                           {Opcode::adds, "Adds"},
                                                           {Opcode::muls, "Muls"},
                                                           {Opcode::maxs, "Maxs"},
                                                           {Opcode::mins, "Mins"},
                                                           {Opcode::fill, "Duplicate"},
                                                           {Opcode::convert, "Cast"},
                                                           {Opcode::reduce_sum, "ReduceSum"},
                                                           {Opcode::reduce_max, "ReduceMax"},
                                                           {Opcode::reduce_min, "ReduceMin"}};
constexpr std::string_view kRounding[] = {"CAST_RINT", "CAST_FLOOR", "CAST_CEIL", "CAST_TRUNC",
                                          "CAST_ROUND"};
constexpr std::string_view kRelation[] = {"LT", "LE", "EQ", "NE", "GE", "GT"};

std::string_view vector_name(Opcode op) {
  const auto found = std::ranges::find(kVector, op, [](const auto& e) { return e.first; });
  return found == std::end(kVector) ? "" : found->second;
}

// Whether the vector unit's own function takes operands of the types; else the scalar unit does it.
bool has_vector_form(const Instruction& i) {
  const DType to = i.views[0].dtype, from = i.views.back().dtype;
  if (i.op == Opcode::copy && to == from) return true;
  if (i.op == Opcode::fill) return dtype_size(to) == 2 || dtype_size(to) == 4;
  if (i.op == Opcode::convert || i.op == Opcode::copy) {
    constexpr std::pair<DType, DType> kCasts[] = {
        {DType::f32, DType::f16}, {DType::f16, DType::f32}, {DType::i32, DType::f32},
        {DType::f32, DType::i32}, {DType::f16, DType::i8},  {DType::f16, DType::u8},
        {DType::i8, DType::f16},  {DType::u8, DType::f16},  {DType::f32, DType::bf16},
        {DType::bf16, DType::f32}};
    return std::ranges::find(kCasts, std::pair{to, from}) != std::end(kCasts);
  }
  return to == DType::f16 || to == DType::f32;
}

}  // namespace

// Whether every row along the axes that loops go over begins at a block.
bool AscendWriter::is_aligned(const View& view, const Nest& nest, size_t operand,
                              size_t axes) const {
  const auto bytes = static_cast<int64_t>(dtype_size(view.dtype));
  for (size_t k = 0; k < axes; ++k)
    if (!is_multiple(nest.stride[operand][k] * bytes, kAscendBlock)) return false;
  return true;
}

std::string AscendWriter::vector_call(const Instruction& i, const std::vector<std::string>& o,
                                      const std::string& n, bool plain) const {
  const std::string_view name = vector_name(i.op);
  const std::string scope = plain ? "" : "tile::";
  switch (isa::info(i.op).kind) {
    case OpcodeClass::move:
      if (i.op == Opcode::fill)
        return fmt::format("{}{}({}, {}, {});", scope, name, o[0],
                           scalar_text(i.scalar, i.views[0].dtype), n);
      if (i.views[0].dtype == i.views[1].dtype)
        return fmt::format("{}({}, {}, {});", plain ? "DataCopy" : "tile::Copy", o[0], o[1], n);
      return fmt::format("{}Cast({}, {}, RoundMode::CAST_RINT, {});", scope, o[0], o[1], n);
    case OpcodeClass::unary:
      if (i.op != Opcode::convert) break;
      if (i.views[0].dtype == DType::boolean)
        return fmt::format("tile::ToBool({}, {}, {});", o[0], o[1], n);
      return fmt::format("{}Cast({}, {}, RoundMode::{}, {});", scope, o[0], o[1],
                         is_float(i.views[0].dtype)
                             ? dtype_size(i.views[0].dtype) > dtype_size(i.views[1].dtype)
                                   ? "CAST_NONE"
                                   : "CAST_RINT"
                             : kRounding[static_cast<size_t>(i.numbers[0].value())],
                         n);
    case OpcodeClass::scalar:
      return fmt::format("{}{}({}, {}, {}, {});", scope, name, o[0], o[1],
                         scalar_text(i.scalar, i.views[0].dtype), n);
    case OpcodeClass::compare:
      return fmt::format("tile::Compare<CMPMODE::{}>({}, {}, {}, {});",
                         kRelation[static_cast<size_t>(i.numbers[0].value())], o[0], o[1], o[2], n);
    case OpcodeClass::select:
      return fmt::format("tile::Select({}, {}, {}, {}, {});", o[0], o[1], o[2], o[3], n);
    default:
      break;
  }
  if (name.empty()) return {};
  std::string list;
  for (const std::string& operand : o) list += operand + ", ";
  return fmt::format("{}{}({}{});", scope, name, list, n);
}

Status AscendWriter::vector(const Instruction& i) {
  const Nest nest(i.views);
  const size_t outer = nest.rank() == 0 ? 0 : nest.rank() - 1;
  bool plain = nest.rank() > 0 && has_vector_form(i);
  for (size_t v = 0; v < i.views.size(); ++v)
    plain = plain && nest.stride[v].back() == Expr(1) && is_aligned(i.views[v], nest, v, outer);
  // Copies within UB are of whole blocks.
  if (i.op == Opcode::copy && nest.rank() > 0)
    plain =
        plain && is_multiple(nest.size.back() * static_cast<int64_t>(dtype_size(i.views[0].dtype)),
                             kAscendBlock);
  const auto variables = open_axes(nest, outer);
  std::vector<std::string> operands;
  for (size_t v = 0; v < i.views.size(); ++v) {
    std::string o = operand(i.views[v], nest, v, variables);
    if (nest.rank() > 0 && nest.stride[v].back() == Expr(0))
      o = fmt::format("tile::Same({})", o);
    else if (nest.rank() > 0 && nest.stride[v].back() != Expr(1))
      o = fmt::format("tile::Every({}, {})", o, text(nest.stride[v].back()));
    operands.push_back(std::move(o));
  }
  const std::string call =
      vector_call(i, operands, nest.rank() == 0 ? "1" : text(nest.size.back()), plain);
  if (call.empty()) return no_form(i, "the emitter has no Ascend C for this instruction");
  add(call);
  close_axes(outer);
  return {};
}

// Row by row: one result a row.
Status AscendWriter::reduce(const Instruction& i) {
  const std::string_view name = vector_name(i.op);
  const Nest nest(i.views, 1);
  // The sizes are the result's; the row's is the operand's.
  const Expr& n = i.views[1].axes.back().size;
  const size_t inner = std::min<size_t>(nest.rank(), 2);
  const bool has_rows = inner == 2;
  const auto variables = open_axes(nest, nest.rank() - inner);
  const size_t row = nest.rank() - inner;
  line("tile::{}({}, {}, {}, {}, {}, {}, {});", name, operand(i.views[0], nest, 0, variables),
       has_rows ? text(nest.stride[0][row]) : "0", operand(i.views[1], nest, 1, variables),
       has_rows ? text(nest.stride[1][row]) : "0", text(i.views[1].axes.back().stride),
       has_rows ? text(nest.size[row]) : "1", text(n));
  close_axes(nest.rank() - inner);
  return {};
}

}  // namespace tenon::emit

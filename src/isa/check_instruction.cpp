// The part of the verifier that looks at one instruction, not at values.
#include <fmt/format.h>

#include <algorithm>

#include "isa/check_program.h"
#include "isa/text.h"

namespace tenon::isa {
namespace {

constexpr size_t kMaxAxes = 16;

bool is_bits(DType t) {
  return t == DType::boolean || t == DType::u8;
}

Error refuse(std::string message) {
  return invalid_model(std::move(message));
}

Status check_view(const View& view, const Program& program, const Architecture& a) {
  if (view.memory < 0 || view.memory >= std::ssize(a.memories))
    return refuse(fmt::format("there is no memory {}", view.memory));
  if (view.memory == 0 && (view.buffer < 0 || view.buffer >= std::ssize(program.buffers)))
    return refuse(fmt::format("there is no buffer {}", view.buffer));
  if (view.memory != 0 && view.buffer != -1)
    return refuse(fmt::format("only {} has buffers", a.memories[0].name));
  if (view.memory == 0) {
    const Buffer& buffer = program.buffers[static_cast<size_t>(view.buffer)];
    if (buffer.dtype != view.dtype)
      return refuse(fmt::format("buffer '{}' is of {}, not of {}", buffer.name,
                                dtype_name(buffer.dtype), dtype_name(view.dtype)));
  }
  if (!is_tile_dtype(view.dtype))
    return refuse(fmt::format("no chip computes with elements of {}", dtype_name(view.dtype)));
  if (view.axes.size() > kMaxAxes)
    return refuse(fmt::format("a view has at most {} axes", kMaxAxes));
  return {};
}

Status check_route(const Instruction& instruction, const Architecture& a) {
  const OpcodeInfo& opcode = info(instruction.op);
  if (const Route* route = a.route(instruction.op, instruction.views)) {
    if (route->queue == instruction.queue) return {};
    return refuse(fmt::format("{} between these memories is a matter of queue {}", opcode.name,
                              a.queues[static_cast<size_t>(route->queue)]));
  }
  std::string known;
  for (const Route& route : a.routes) {
    if (route.op != instruction.op) continue;
    known += known.empty() ? "" : "; ";
    for (size_t i = 0; i < route.memories.size(); ++i)
      known += (i == 0   ? ""
                : i == 1 ? " <- "
                         : ", ") +
               a.memories[static_cast<size_t>(route.memories[i])].name;
  }
  if (known.empty()) return refuse(fmt::format("{} has no {}", a.name, opcode.name));
  return refuse(
      fmt::format("{} has no {} between these memories; it has: {}", a.name, opcode.name, known));
}

// Direct memory access moves bytes; the vector unit, and what leaves the accumulators, converts.
bool may_convert(const Instruction& instruction, const Architecture& a) {
  const auto of = [&](Opcode op) { return std::ranges::find(a.routes, op, &Route::op); };
  const auto vector = of(Opcode::add), product = of(Opcode::mmad);
  return (vector != a.routes.end() && vector->queue == instruction.queue) ||
         (product != a.routes.end() && product->memories[0] == instruction.views[1].memory);
}

Status check_product(const Instruction& instruction) {
  const DType acc = instruction.views[0].dtype, x = instruction.views[1].dtype,
              w = instruction.views[2].dtype;
  const bool bytes = (x == DType::i8 || x == DType::u8) && (w == DType::i8 || w == DType::u8);
  const bool fine = is_float(x) ? x == w && (acc == DType::f32 || acc == DType::f16 || acc == x)
                                : bytes && (acc == DType::i32 || instruction.op == Opcode::conv);
  if (fine) return {};
  return refuse(fmt::format("no product of {} and {} gives {}", dtype_name(x), dtype_name(w),
                            dtype_name(acc)));
}

Status same_types(const Instruction& instruction, size_t first) {
  for (size_t i = first; i < instruction.views.size(); ++i)
    if (i > 0 && instruction.views[i].dtype != instruction.views[first].dtype)
      return refuse(fmt::format("operands are to be of one type, not {} and {}",
                                dtype_name(instruction.views[first].dtype),
                                dtype_name(instruction.views[i].dtype)));
  return {};
}

Status check_types(const Instruction& instruction, const Architecture& a) {
  const std::vector<View>& views = instruction.views;
  switch (info(instruction.op).kind) {
    case OpcodeClass::move:
      if (instruction.op == Opcode::copy && views[0].dtype != views[1].dtype &&
          !may_convert(instruction, a))
        return refuse("this queue moves bytes, it does not convert types");
      if (instruction.op == Opcode::img2col && views[0].dtype != views[1].dtype)
        return refuse("img2col does not convert types");
      if ((instruction.op == Opcode::gather || instruction.op == Opcode::scatter) &&
          (views[0].dtype != views[1].dtype ||
           (views[2].dtype != DType::i32 && views[2].dtype != DType::i64)))
        return refuse(fmt::format("{} takes indices of i32 or i64 and does not convert elements",
                                  info(instruction.op).name));
      return {};
    case OpcodeClass::product:
      return check_product(instruction);
    case OpcodeClass::unary:
      if (instruction.op == Opcode::convert) return {};
      if (instruction.op != Opcode::abs && instruction.op != Opcode::relu &&
          !is_float(views[0].dtype))
        return refuse(fmt::format("{} is for floating point", info(instruction.op).name));
      return same_types(instruction, 0);
    case OpcodeClass::binary:
    case OpcodeClass::scalar:
      return same_types(instruction, 0);
    case OpcodeClass::compare:
      if (!is_bits(views[0].dtype)) return refuse("compare gives bool or u8");
      return same_types(instruction, 1);
    case OpcodeClass::select:
      if (!is_bits(views[1].dtype)) return refuse("the condition is to be bool or u8");
      if (views[0].dtype != views[2].dtype || views[0].dtype != views[3].dtype)
        return refuse("operands are to be of one type");
      return {};
    case OpcodeClass::reduce:
      if (views[0].dtype == DType::f32 && is_float(views[1].dtype)) return {};
      return same_types(instruction, 0);
    case OpcodeClass::order:
      break;
  }
  return {};
}

// How many axes each view has.
Status check_axes(const Instruction& instruction) {
  const std::vector<View>& views = instruction.views;
  const auto expect = [&](std::initializer_list<size_t> counts) -> Status {
    for (size_t i = 0; i < counts.size(); ++i)
      if (views[i].axes.size() != counts.begin()[i])
        return refuse(fmt::format("operand {} of {} is to have {} axes, not {}", i,
                                  info(instruction.op).name, counts.begin()[i],
                                  views[i].axes.size()));
    return {};
  };
  switch (instruction.op) {
    case Opcode::img2col:
      return expect({4, 4});
    case Opcode::mmad:
      return expect({4, 4, 4});
    case Opcode::conv:
      return expect({3, 3, 4});
    case Opcode::gather:
      if (views[1].axes.empty()) return refuse("the table is to have an axis");
      return expect({views[1].axes.size() + views[2].axes.size() - 1});
    case Opcode::scatter:
      if (views[0].axes.empty()) return refuse("the table is to have an axis");
      return expect({views[0].axes.size(), views[0].axes.size() + views[2].axes.size() - 1});
    default:
      break;
  }
  for (const View& view : views)
    if (view.axes.size() != views[0].axes.size())
      return refuse("operands are to have the same axes");
  if (info(instruction.op).kind == OpcodeClass::reduce && views[0].axes.empty())
    return refuse("there is no axis to reduce");
  return {};
}

Status check_order(const Instruction& instruction, const Architecture& a) {
  const auto is_queue = [&](const Expr& e) {
    return e.is_number() && e.value() >= 0 && e.value() < std::ssize(a.queues);
  };
  if (instruction.op == Opcode::barrier) return {};
  if (instruction.op == Opcode::sync) {
    if (instruction.numbers[0] == Expr(-1) || is_queue(instruction.numbers[0])) return {};
    return refuse("there is no such queue to wait for");
  }
  const Expr &from = instruction.numbers[0], &to = instruction.numbers[1];
  if (!is_queue(from) || !is_queue(to) || from == to)
    return refuse("a flag is between two different queues");
  const Expr& own = instruction.op == Opcode::set_flag ? from : to;
  if (own.value() == instruction.queue) return {};
  return refuse("set_flag is in its first queue, wait_flag in its second");
}

// Numbers that choose among cases are written out.
Status check_choices(const Instruction& instruction) {
  const int64_t choices = instruction.op == Opcode::convert   ? 5
                          : instruction.op == Opcode::compare ? 6
                          : instruction.op == Opcode::scatter ? 2
                                                              : 0;
  if (choices == 0) return {};
  // The last number of each.
  const Expr& number = instruction.numbers.back();
  if (number.is_number() && number.value() >= 0 && number.value() < choices) return {};
  return refuse(
      fmt::format("{} is a number from 0 to {}", info(instruction.op).numbers.back(), choices - 1));
}

}  // namespace

bool is_tile_dtype(DType dtype) {
  switch (dtype) {
    case DType::f16:
    case DType::bf16:
    case DType::f32:
    case DType::i8:
    case DType::u8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::boolean:
      return true;
    default:
      return false;
  }
}

Status check_instruction(const Instruction& instruction, const Program& program,
                         const Architecture& architecture) {
  const OpcodeInfo& opcode = info(instruction.op);
  if (instruction.queue < 0 || instruction.queue >= std::ssize(architecture.queues))
    return refuse(fmt::format("there is no queue {}", instruction.queue));
  if (std::ssize(instruction.views) != opcode.views)
    return refuse(fmt::format("{} has {} operands, not {}", opcode.name, opcode.views,
                              instruction.views.size()));
  if (instruction.numbers.size() != opcode.numbers.size())
    return refuse(fmt::format("{} has {} numbers, not {}", opcode.name, opcode.numbers.size(),
                              instruction.numbers.size()));
  if (opcode.kind == OpcodeClass::order) return check_order(instruction, architecture);
  for (const View& view : instruction.views) TRY(check_view(view, program, architecture));
  TRY(check_route(instruction, architecture));
  TRY(check_types(instruction, architecture));
  TRY(check_choices(instruction));
  return check_axes(instruction);
}

Error at_instruction(Error error, const Instruction& instruction, const Program& program,
                     const Architecture& architecture) {
  Error placed =
      std::move(error)
          .at(fmt::format("{}:{}", program.name.empty() ? "program" : program.name,
                          line_of(program, &instruction)))
          .note(fmt::format("in {}", print_instruction(instruction, program, architecture)));
  if (instruction.line == 0) return placed;
  return std::move(placed).note(
      fmt::format("made of line {} of its kernel file", instruction.line));
}

}  // namespace tenon::isa

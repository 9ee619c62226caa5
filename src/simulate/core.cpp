#include "simulate/core.h"

#include <fmt/format.h>

#include "base/check.h"
#include "isa/check_program.h"
#include "isa/text.h"
#include "simulate/move.h"
#include "simulate/overlap.h"
#include "simulate/product.h"
#include "simulate/vector.h"

namespace tenon::simulate {

using isa::Instruction;
using isa::Opcode;
using isa::OpcodeClass;

Core::Core(const isa::Program& program, const isa::Architecture& architecture, GlobalMemory& global,
           const RunOptions& options, int64_t block)
    : program_(program),
      arch_(architecture),
      global_(global),
      options_(options),
      variables_(static_cast<size_t>(program.variables)),
      memories_(architecture.memories.size()),
      order_(static_cast<int>(architecture.queues.size()), architecture.flag_ids),
      peaks_(architecture.memories.size()) {
  variables_[0] = block;
  frames_.push_back({&program.body, 0, nullptr, 1});
}

Error Core::error_at(const Instruction& instruction, Error error, bool with_loops) const {
  std::string where = fmt::format("in block {}", variables_[0]);
  for (const Frame& frame : frames_)
    if (frame.loop != nullptr && with_loops) {
      const auto variable = static_cast<size_t>(frame.loop->variable);
      where += fmt::format(", {} = {}", isa::Expr::variable(frame.loop->variable).to_string(),
                           variables_[variable]);
    }
  return isa::at_instruction(std::move(error), instruction, program_, arch_).note(std::move(where));
}

void Core::enter(const isa::Loop& loop) {
  const int64_t count = at(loop.count);
  if (count <= 0) return;
  variables_[static_cast<size_t>(loop.variable)] = 0;
  frames_.push_back({&loop.body, 0, &loop, count});
}

Status Core::advance() {
  at_barrier_ = false;
  while (!frames_.empty() && !at_barrier_) {
    Frame& frame = frames_.back();
    if (frame.next == frame.body->size()) {
      if (frame.loop != nullptr &&
          ++variables_[static_cast<size_t>(frame.loop->variable)] < frame.count) {
        frame.next = 0;
        ++work_;
        continue;
      }
      frames_.pop_back();
      continue;
    }
    if (work_ > options_.max_work)
      return resource_exhausted(fmt::format("block {} of '{}' takes more than {} steps",
                                            variables_[0], program_.name, options_.max_work));
    const isa::Statement& statement = (*frame.body)[frame.next++];
    if (const auto* loop = std::get_if<isa::Loop>(&statement)) {
      enter(*loop);
      continue;
    }
    const auto& instruction = std::get<Instruction>(statement);
    if (auto status = execute(instruction); !status.ok())
      return error_at(instruction, std::move(status).error());
  }
  if (!frames_.empty()) return {};
  const Instruction* culprit = nullptr;
  if (auto status = order_.finish(culprit); !status.ok())
    return error_at(*culprit, std::move(status).error(), false);
  memories_.clear();
  return {};
}

Status Core::execute(const Instruction& instruction) {
  numbers_.clear();
  for (const isa::Expr& e : instruction.numbers) numbers_.push_back(at(e));
  const OpcodeClass kind = isa::info(instruction.op).kind;
  ++work_;
  if (kind == OpcodeClass::order) return execute_order(instruction);
  operands_.clear();
  for (const isa::View& view : instruction.views) operands_.push_back(TRY(resolve(view)));
  TRY(check_sizes(instruction));
  TRY(check_numbers(instruction));
  access_ = order_.issue(instruction.queue, instruction);
  noted_ = false;
  for (const Operand& o : operands_) {
    int64_t& peak = peaks_[static_cast<size_t>(o.memory)];
    if (o.memory != 0) peak = std::max(peak, o.end());
    // Reductions and products write less than they read.
    const int64_t elements = o.elements();
    if (elements > options_.max_work - work_)
      return resource_exhausted("the program touches more elements than it may");
    work_ += elements;
  }
  if (options_.check_order) {
    TRY(check_places());
    TRY(check_overlap(instruction));
    TRY(note_accesses(instruction));
  }
  compute(instruction);
  if (options_.check_order) copy_written(instruction);
  return {};
}

Status Core::execute_order(const Instruction& instruction) {
  if (instruction.op == Opcode::barrier) {
    order_.sync(-1);
    at_barrier_ = true;
    return {};
  }
  if (instruction.op == Opcode::sync) {
    order_.sync(static_cast<int>(numbers_[0]));
    return {};
  }
  const int64_t id = numbers_[2];
  if (id < 0 || id >= arch_.flag_ids) return invalid_model(fmt::format("there is no flag {}", id));
  const auto from = static_cast<int>(numbers_[0]), to = static_cast<int>(numbers_[1]);
  return instruction.op == Opcode::set_flag ? order_.set_flag(instruction, from, to, id)
                                            : order_.wait_flag(instruction, from, to, id);
}

Core::LocalMemory& Core::memory(int index) {
  LocalMemory& m = memories_[static_cast<size_t>(index)];
  if (m.bytes == nullptr) {
    // Pages that are never touched take no memory.
    const int64_t bytes = arch_.memories[static_cast<size_t>(index)].bytes;
    m.bytes.reset(
        static_cast<std::byte*>(std::calloc(static_cast<size_t>(std::max<int64_t>(bytes, 1)), 1)));
    TENON_CHECK(m.bytes != nullptr);
    m.shadow = std::make_unique<Shadow>(bytes);
  }
  return m;
}

std::string Core::name_of(const Operand& o) const {
  return o.memory == 0
             ? fmt::format("buffer '{}'", program_.buffers[static_cast<size_t>(o.buffer)].name)
             : arch_.memories[static_cast<size_t>(o.memory)].name;
}

Result<Operand> Core::resolve(const isa::View& view) {
  Operand o;
  o.memory = view.memory;
  o.buffer = view.buffer;
  o.dtype = view.dtype;
  o.element = static_cast<int64_t>(dtype_size(view.dtype));
  o.offset = at(view.offset);
  o.rank = static_cast<int>(view.axes.size());
  const isa::Memory& memory = arch_.memories[static_cast<size_t>(view.memory)];
  int64_t bytes = memory.bytes;
  if (view.memory == 0) {
    o.data = global_.buffer(view.buffer).bytes.data();
    bytes =
        program_.buffers[static_cast<size_t>(view.buffer)].elements *
        static_cast<int64_t>(dtype_size(program_.buffers[static_cast<size_t>(view.buffer)].dtype));
  } else {
    o.data = this->memory(view.memory).bytes.get();
  }
  using Wide = __int128;
  Wide low = o.offset, high = o.offset;
  bool empty = false;
  for (size_t i = 0; i < view.axes.size(); ++i) {
    o.size[i] = at(view.axes[i].size);
    // An axis of one element takes no step, whatever is written.
    o.stride[i] = o.size[i] > 1 ? at(view.axes[i].stride) : 0;
    if (o.size[i] < 0) return invalid_model(fmt::format("a size is {}", o.size[i]));
    empty |= o.size[i] == 0;
    const Wide extent = Wide{o.size[i] - 1} * o.stride[i] * o.element;
    (extent < 0 ? low : high) += extent;
  }
  if (o.offset % std::max(memory.align, o.element) != 0)
    return invalid_model(fmt::format("misaligned: offsets in {} are multiples of {} bytes, not {}",
                                     name_of(o), std::max(memory.align, o.element), o.offset));
  if (!empty && (low < 0 || high > Wide{bytes} - o.element))
    return invalid_model(fmt::format("out of bounds: bytes {} to {} of {}, which has {}",
                                     static_cast<int64_t>(low),
                                     static_cast<int64_t>(high) + o.element, name_of(o), bytes));
  return o;
}

// The verifier cannot be sure of all of it, and nothing below looks again.
Status Core::check_sizes(const Instruction& instruction) const {
  const Operand& dst = operands_[0];
  const OpcodeClass kind = isa::info(instruction.op).kind;
  const auto same = [](int64_t a, int64_t b) -> Status {
    if (a == b) return {};
    return invalid_model(fmt::format("sizes of operands differ: {} and {}", a, b));
  };
  const auto axes = static_cast<size_t>(dst.rank);
  if (kind == OpcodeClass::product || instruction.op == Opcode::img2col) return {};
  if (instruction.op == Opcode::gather || instruction.op == Opcode::scatter) {
    const bool from_table = instruction.op == Opcode::gather;
    const Operand &rows = operands_[from_table ? 0 : 1], &table = operands_[from_table ? 1 : 0];
    const auto lead = static_cast<size_t>(operands_[2].rank);
    for (size_t i = 0; i < static_cast<size_t>(rows.rank); ++i)
      TRY(same(rows.size[i], i < lead ? operands_[2].size[i] : table.size[i - lead + 1]));
    return {};
  }
  const size_t equal = kind == OpcodeClass::reduce ? axes - 1 : axes;
  if (kind == OpcodeClass::reduce && dst.elements() > 0) TRY(same(dst.size[equal], 1));
  for (size_t o = 1; o < operands_.size(); ++o)
    for (size_t i = 0; i < equal; ++i) TRY(same(dst.size[i], operands_[o].size[i]));
  return {};
}

Status Core::check_numbers(const Instruction& instruction) const {
  // Beyond this no chip has a size; below it, products of two do not overflow.
  constexpr int64_t kMost = int64_t{1} << 30;
  for (size_t i = 0; i < numbers_.size(); ++i)
    if (numbers_[i] < -kMost || numbers_[i] > kMost)
      return invalid_model(
          fmt::format("{} is out of range: {}", isa::info(instruction.op).numbers[i], numbers_[i]));
  const auto at_least = [&](size_t i, int64_t least) -> Status {
    if (numbers_[i] >= least) return {};
    return invalid_model(fmt::format("{} is to be at least {}, not {}",
                                     isa::info(instruction.op).numbers[i], least, numbers_[i]));
  };
  const Operand &c = operands_[0], &a = operands_[std::min<size_t>(1, operands_.size() - 1)],
                &b = operands_.back();
  const auto held = [&](int64_t count, const Operand& o, size_t outer, size_t inner) -> Status {
    if (count <= o.size[outer] * o.size[inner]) return {};
    return invalid_model(
        fmt::format("an operand holds {} of {}", o.size[outer] * o.size[inner], count));
  };
  switch (instruction.op) {
    case Opcode::mmad:
      for (size_t i = 0; i < 3; ++i) TRY(at_least(i, 0));
      if (c.size[2] != a.size[2] || c.size[3] != b.size[2] || a.size[3] != b.size[3])
        return invalid_model("the operands' fractals differ");
      TRY(held(numbers_[0], c, 1, 2));
      TRY(held(numbers_[0], a, 0, 2));
      TRY(held(numbers_[1], a, 1, 3));
      TRY(held(numbers_[1], b, 0, 3));
      TRY(held(numbers_[2], c, 0, 3));
      return held(numbers_[2], b, 1, 2);
    case Opcode::conv:
      for (size_t i = 0; i < 6; ++i) TRY(at_least(i, 1));
      if (c.size[2] != b.size[0] || a.size[2] != b.size[3] || numbers_[0] != b.size[1] ||
          numbers_[1] != b.size[2])
        return invalid_model("the operands' sizes differ");
      return {};
    case Opcode::img2col:
      for (const size_t i : {0, 1, 2, 3, 4, 5, 8}) TRY(at_least(i, 1));
      TRY(at_least(9, 0));
      if (a.size[3] == 0) return invalid_model("the image has no channels");
      return at_least(10, 0);
    default:
      return {};
  }
}

void Core::compute(const Instruction& instruction) {
  if (operands_[0].elements() == 0) return;
  switch (instruction.op) {
    case Opcode::copy:
      if (operands_[0].dtype == operands_[1].dtype) return run_copy(operands_[0], operands_[1]);
      return run_elementwise(instruction.op, operands_, 0, 0);
    case Opcode::gather:
      return run_gather(operands_[0], operands_[1], operands_[2]);
    case Opcode::scatter:
      return run_scatter(operands_[0], operands_[1], operands_[2], numbers_[0], numbers_[1] != 0);
    case Opcode::img2col:
      return run_img2col(operands_[0], operands_[1], numbers_, instruction.scalar);
    case Opcode::mmad:
      return run_mmad(operands_[0], operands_[1], operands_[2], numbers_[0], numbers_[1],
                      numbers_[2], numbers_[3] != 0);
    case Opcode::conv:
      return run_conv(operands_[0], operands_[1], operands_[2], numbers_);
    default:
      break;
  }
  if (isa::info(instruction.op).kind == OpcodeClass::reduce)
    return run_reduction(instruction.op, operands_[0], operands_[1]);
  run_elementwise(instruction.op, operands_, numbers_.empty() ? 0 : numbers_[0],
                  instruction.scalar);
}

}  // namespace tenon::simulate

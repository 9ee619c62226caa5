// What an instruction touches, against what the core knows of its memories.
#include <fmt/format.h>

#include "isa/text.h"
#include "simulate/core.h"
#include "simulate/move.h"
#include "simulate/pairs.h"

namespace tenon::simulate {
namespace {

using isa::Instruction;
using isa::Opcode;

// The first `count` of a dimension that is two axes of an operand, as at most two operands.
template <typename F>
Status first_of(const Operand& o, int outer, int inner, int64_t count, const F& f) {
  const int64_t block = o.size[static_cast<size_t>(inner)];
  if (block <= 0 || count <= 0) return {};
  if (count >= block) TRY(f(o.part(outer, 0, count / block)));
  if (count % block == 0) return {};
  return f(o.part(outer, count / block, 1).part(inner, 0, count % block));
}

// Pure movements within a core take bytes along that nobody wrote.
bool carries(const Instruction& instruction, const std::vector<Operand>& operands) {
  return (instruction.op == Opcode::copy || instruction.op == Opcode::img2col) &&
         operands[0].memory != 0 && operands[1].memory != 0 &&
         operands[0].dtype == operands[1].dtype;
}

}  // namespace

Status Core::note_accesses(const Instruction& instruction) {
  if (operands_[0].elements() == 0) return {};
  if (instruction.op == Opcode::mmad) return note_product(numbers_[3] != 0);
  if (instruction.op == Opcode::conv && numbers_[8] != 0) TRY(must_be_written(operands_[0]));
  for (size_t i = 1; i < operands_.size(); ++i) {
    if (carries(instruction, operands_))
      (void)TRY(note_read(operands_[i]));
    else
      TRY(must_be_written(operands_[i]));
  }
  return note_write(operands_[0]);
}

Status Core::note_product(bool accumulate) {
  const int64_t m = numbers_[0], k = numbers_[1], n = numbers_[2];
  const auto both = [&](const Operand& o, std::pair<int, int> first, int64_t first_count,
                        std::pair<int, int> second, int64_t second_count, const auto& f) {
    return first_of(o, first.first, first.second, first_count, [&](const Operand& part) {
      return first_of(part, second.first, second.second, second_count, f);
    });
  };
  // What fills the last fractal of columns is computed with what is there, if anything is.
  int64_t& columns = numbers_[2];
  const int64_t whole = (n + 15) / 16 * 16;
  bool filled = true;
  if (whole > n)
    TRY(both(operands_[2].part(1, n / 16, 1).part(2, n % 16, whole - n), {0, 3}, k, {1, 2},
             whole - n, [&](const Operand& o) -> Status {
               filled &= TRY(note_read(o));
               return {};
             }));
  if (filled) columns = whole;
  const auto read = [&](const Operand& o) { return must_be_written(o); };
  TRY(both(operands_[1], {0, 2}, m, {1, 3}, k, read));
  TRY(both(operands_[2], {0, 3}, k, {1, 2}, n, read));
  return both(operands_[0], {1, 2}, m, {0, 3}, columns, [&](const Operand& o) -> Status {
    if (accumulate && k > 0) TRY(must_be_written(o));
    return note_write(o);
  });
}

Status Core::must_be_written(const Operand& o) {
  if (TRY(note_read(o))) return {};
  // The first byte of them, for the message.
  int64_t at = -1;
  for_each_run(o, [&](int64_t begin, int64_t length) {
    for (int64_t i = begin; i < begin + length && at < 0; ++i)
      if (o.memory == 0 ? !global_.all_written(o.buffer, i, 1)
                        : !memory(o.memory).shadow->written(i, 1))
        at = i;
  });
  return invalid_model(
      fmt::format("uninitialised: reads byte {} of {}, which nothing wrote", at, name_of(o)));
}

Result<bool> Core::note_read(const Operand& o) {
  bool all = true;
  if (o.memory == 0) {
    if (!global_.is_written(o.buffer)) {
      for_each_run(o, [&](int64_t begin, int64_t length) {
        all &= global_.all_written(o.buffer, begin, length);
      });
      return all;
    }
    if (!noted_) notes_.begin(access_, order_.now(access_.queue));
    noted_ = true;
    for_each_run(o, [&](int64_t begin, int64_t length) {
      all &= global_.all_written(o.buffer, begin, length);
      notes_.add(o.buffer, begin, length, false);
    });
    return all;
  }
  Shadow& shadow = *memory(o.memory).shadow;
  const Clock& now = order_.now(access_.queue);
  Status status;
  for_each_run(o, [&](int64_t begin, int64_t length) {
    const auto earlier = shadow.read(access_, now, begin, length);
    if (earlier && status.ok()) status = unordered(o, *earlier, begin, length);
    all &= shadow.written(begin, length);
  });
  if (!status.ok()) return std::move(status).error();
  return all;
}

Status Core::note_write(const Operand& o) {
  if (o.memory == 0) {
    if (!noted_) notes_.begin(access_, order_.now(access_.queue));
    noted_ = true;
    for_each_run(o, [&](int64_t begin, int64_t length) {
      global_.mark_written(o.buffer, begin, length);
      notes_.add(o.buffer, begin, length, true);
    });
    return {};
  }
  Shadow& shadow = *memory(o.memory).shadow;
  const Clock& now = order_.now(access_.queue);
  Status status;
  for_each_run(o, [&](int64_t begin, int64_t length) {
    const auto earlier = shadow.write(access_, now, begin, length);
    if (earlier && status.ok()) status = unordered(o, *earlier, begin, length);
  });
  return status;
}

Status Core::unordered(const Operand& o, Access earlier, int64_t begin, int64_t length) const {
  const Instruction& other = order_.instruction(earlier);
  return invalid_model(fmt::format(
      "race: bytes {} to {} of {} are touched without waiting for line {}, '{}': no flag or sync "
      "from {} to {} orders them",
      begin, begin + length, name_of(o), isa::line_of(program_, &other),
      isa::print_instruction(other, program_, arch_), arch_.queues[earlier.queue],
      arch_.queues[access_.queue]));
}

void Core::copy_written(const Instruction& instruction) {
  if (!carries(instruction, operands_) || operands_[0].elements() == 0) return;
  const Operand &dst = operands_[0], &source = operands_[1];
  const Shadow& from = *memory(source.memory).shadow;
  Shadow& to = *memory(dst.memory).shadow;
  bool all = true;
  for_each_run(source, [&](int64_t begin, int64_t length) { all &= from.written(begin, length); });
  if (all) return;
  if (instruction.op == Opcode::copy)
    for_each_pair(dst, source, [&](int64_t begin, int64_t at, int64_t bytes) {
      to.copy_written(from, at, begin, bytes);
    });
  else
    for_each_window_run(dst, source, numbers_, [&](const WindowRun& run) {
      if (run.source >= 0) to.copy_written(from, run.source, run.dst, run.bytes);
    });
}

}  // namespace tenon::simulate

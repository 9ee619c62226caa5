// What an instruction touches, against what the core knows of its memories.
#include <fmt/format.h>

#include <algorithm>

#include "isa/text.h"
#include "simulate/core.h"
#include "simulate/move.h"
#include "simulate/overlap.h"
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

// Whether each element of the result lies on an element that only it depends on: of what is
// computed element by element the one it is computed of, of a row that is reduced the first.
bool is_in_place(const Instruction& instruction, const Operand& dst, const Operand& source) {
  switch (isa::info(instruction.op).kind) {
    case isa::OpcodeClass::move:
      return instruction.op == Opcode::copy && is_same_place(dst, source);
    case isa::OpcodeClass::product:
    case isa::OpcodeClass::order:
      return false;
    case isa::OpcodeClass::reduce: {
      Operand first = source.part(source.rank - 1, 0, 1);
      first.stride[static_cast<size_t>(source.rank - 1)] = 0;
      return is_same_place(dst, first);
    }
    default:
      return is_same_place(dst, source);
  }
}

// Pure movements within a core take bytes along that nobody wrote.
bool carries(const Instruction& instruction, const std::vector<Operand>& operands) {
  return (instruction.op == Opcode::copy || instruction.op == Opcode::img2col) &&
         operands[0].memory != 0 && operands[1].memory != 0 &&
         operands[0].dtype == operands[1].dtype;
}

}  // namespace

Status Core::check_places() const {
  if (options_.places.empty()) return {};
  for (size_t i = 0; i < operands_.size(); ++i) {
    const Operand& o = operands_[i];
    const ByteRange bytes = hull(o);
    const auto holds = [&](const isa::Place& p) {
      return p.memory == o.memory && p.begin <= bytes.begin && bytes.end <= p.end;
    };
    if (o.memory == 0 || bytes.begin == bytes.end || std::ranges::any_of(options_.places, holds))
      continue;
    return invalid_model(fmt::format(
        "out of place: operand {} reaches bytes {} to {} of {}, beyond the place it begins in", i,
        bytes.begin, bytes.end, name_of(o)));
  }
  return {};
}

Status Core::check_overlap(const Instruction& instruction) const {
  const Operand& dst = operands_[0];
  if (const auto bytes = repeated_bytes(dst))
    return invalid_model(
        fmt::format("overlap: bytes {} to {} of {} are written by several elements", bytes->begin,
                    bytes->end, name_of(dst)));
  for (size_t i = 1; i < operands_.size(); ++i) {
    const Operand& source = operands_[i];
    if (is_in_place(instruction, dst, source)) continue;
    if (const auto bytes = common_bytes(dst, source))
      return invalid_model(
          fmt::format("overlap: bytes {} to {} of {} are written while operand {} is read from "
                      "them: a result lies beside what it is made of, or exactly on it",
                      bytes->begin, bytes->end, name_of(dst), i));
  }
  return {};
}

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
  if (instruction.op == Opcode::scatter) {
    // Only the rows that are there now.
    Status status;
    for_each_row(operands_[1], operands_[0], operands_[2], numbers_[0],
                 [&](const Operand&, const Operand* row) {
                   if (row == nullptr || !status.ok()) return;
                   if (numbers_[1] != 0) status = must_be_written(*row);
                   if (status.ok()) status = note_write(*row);
                 });
    return status;
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

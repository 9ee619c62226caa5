// One core with its memories, running one block of a program.
#pragma once

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "simulate/global_memory.h"
#include "simulate/operand.h"
#include "simulate/order.h"
#include "simulate/run_program.h"
#include "simulate/shadow.h"

namespace tenon::simulate {

class Core {
 public:
  Core(const isa::Program& program, const isa::Architecture& architecture, GlobalMemory& global,
       const RunOptions& options, int64_t block);

  // Runs to the next barrier or to the end.
  Status advance();
  bool is_done() const { return frames_.empty(); }
  BlockNotes& notes() { return notes_; }
  // Per memory, the first byte behind what was touched.
  std::span<const int64_t> peaks() const { return peaks_; }
  const isa::Instruction& instruction(Access access) const { return order_.instruction(access); }
  // The error as one of this instruction, in this block.
  Error error_at(const isa::Instruction& instruction, Error error, bool with_loops = true) const;

 private:
  struct Frame {
    const std::vector<isa::Statement>* body;
    size_t next;
    const isa::Loop* loop;
    int64_t count;
  };
  struct LocalMemory {
    struct Free {
      void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte, Free> bytes;
    std::unique_ptr<Shadow> shadow;
  };

  void enter(const isa::Loop& loop);
  Status execute(const isa::Instruction& instruction);
  Status execute_order(const isa::Instruction& instruction);
  Result<Operand> resolve(const isa::View& view);
  Status check_sizes(const isa::Instruction& instruction) const;
  Status check_numbers(const isa::Instruction& instruction) const;
  // What is written lies apart from what is read, or exactly on it.
  Status check_overlap(const isa::Instruction& instruction) const;
  // What is in this core's memories is within one of the places that are known.
  Status check_places() const;

  // Notes what the instruction touches; errors are races and reads of what nobody wrote.
  Status note_accesses(const isa::Instruction& instruction);
  Status note_product(bool accumulate);
  // All of an operand; of a pure movement within the core, what was never written may be read.
  Result<bool> note_read(const Operand& o);
  Status must_be_written(const Operand& o);
  Status note_write(const Operand& o);
  Status unordered(const Operand& o, Access earlier, int64_t begin, int64_t length) const;
  void copy_written(const isa::Instruction& instruction);
  void compute(const isa::Instruction& instruction);

  int64_t at(const isa::Expr& expr) const { return expr.at(variables_); }
  LocalMemory& memory(int index);
  std::string name_of(const Operand& o) const;

  const isa::Program& program_;
  const isa::Architecture& arch_;
  GlobalMemory& global_;
  const RunOptions& options_;
  std::vector<int64_t> variables_;
  std::vector<Frame> frames_;
  std::vector<LocalMemory> memories_;  // [0], the global memory, is empty
  Order order_;
  BlockNotes notes_;
  bool at_barrier_ = false;
  int64_t work_ = 0;
  std::vector<int64_t> peaks_;
  // Of the instruction that runs.
  Access access_;
  std::vector<Operand> operands_;
  std::vector<int64_t> numbers_;
  bool noted_ = false;  // has its moment in notes_
};

}  // namespace tenon::simulate

// Writes tile programs: buffers, loops and instructions, places in the memories of a core, and the
// flags between its queues.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "isa/architecture.h"
#include "isa/program.h"

namespace tenon::lower {

using isa::Axis;
using isa::Expr;
using isa::Opcode;
using isa::View;

class ProgramBuilder;

// A few equal places in a memory that data passes through, stage by stage, each stage a queue: as
// `depth` of them are in use at once, the queues work side by side. Turn t uses place t % depth.
// Between enter(k, t) and leave(k, t) the place is that of stage k's instructions alone.
class Ring {
 public:
  void enter(size_t stage, const Expr& turn) const;
  void leave(size_t stage, const Expr& turn) const;
  // Where the place of this turn begins, in bytes.
  Expr place(const Expr& turn) const;
  int memory() const { return memory_; }
  int64_t bytes() const { return bytes_; }

 private:
  friend class ProgramBuilder;
  void flag(Opcode op, size_t from, const Expr& id) const;
  void prepare() const;  // every place is free for the first stage
  void finish() const;   // takes back what is raised at the end

  ProgramBuilder* builder_ = nullptr;
  int memory_ = 0;
  int64_t base_ = 0, bytes_ = 0, depth_ = 1;
  std::vector<int> queues_;
  std::vector<int64_t> ids_;  // of the flags from stage k to the next
};

class ProgramBuilder {
 public:
  ProgramBuilder(const isa::Architecture& architecture, std::string name, std::string algorithm);

  const isa::Architecture& architecture() const { return architecture_; }
  // Each an index of what the architecture has; it must have it.
  int memory(std::string_view name) const { return *architecture_.memory(name); }
  int queue(std::string_view name) const { return *architecture_.queue(name); }
  int64_t free_bytes(int memory) const;
  // Bytes in use, by memory.
  const std::vector<int64_t>& used() const { return used_; }
  // What was allocated, and each place of the rings.
  const std::vector<isa::Place>& places() const { return places_; }

  int buffer(std::string name, isa::Buffer::Role role, DType dtype, int64_t elements);
  Expr block() const { return Expr::variable(0); }
  void set_blocks(int64_t blocks) { program_.blocks = blocks; }
  int64_t blocks() const { return program_.blocks; }

  // A place in a memory of a core for the whole program, in bytes. What does not fit shows in
  // take().
  int64_t allocate(int memory, int64_t bytes);
  // Rings are made before the loops that use them.
  Ring ring(int memory, int64_t bytes, int64_t depth, std::vector<int> queues);

  void loop(const Expr& count, const std::function<void(const Expr&)>& body);
  void emit(Opcode op, std::vector<View> views, std::vector<Expr> numbers = {}, double scalar = 0);
  // Every block waits for all.
  void barrier();
  // Nothing more is issued until the queue has done what it was given.
  void sync(int queue);
  // Makes the last instruction write to `to`, if it is one that wrote to `from`.
  bool retarget_last(const View& from, const View& to);
  // Offsets of global views are in elements, of local ones in bytes.
  View global(int buffer, const Expr& offset, std::vector<Axis> axes) const;
  View local(int memory, const Expr& offset, DType dtype, std::vector<Axis> axes) const;

  // The program. Errors: what was placed or emitted and the chip cannot have, as internal errors.
  Result<isa::Program> take();

 private:
  friend class Ring;
  void fail(std::string message);
  int64_t reserve(int memory, int64_t bytes);

  const isa::Architecture& architecture_;
  isa::Program program_;
  std::vector<std::vector<isa::Statement>*> open_;  // the bodies around the next instruction
  std::vector<int64_t> used_;                       // bytes, per memory
  std::map<std::pair<int, int>, int64_t> flags_;    // ids in use, per pair of queues
  std::vector<Ring> rings_;
  std::vector<isa::Place> places_;
  std::string error_;
};

}  // namespace tenon::lower

// Tile programs: what one kernel does on a chip, instruction by instruction, over explicit memories
// and queues. The same form serves every family; what an architecture has (memories, queues, which
// instruction may connect what) is data (architecture.h).
//
// A program runs as `blocks` blocks, each on a core of its own, all the same code. A core issues
// its instructions in order; each goes to a queue. A queue works in order, queues among each other
// do not: flags and sync say what waits for what.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "isa/expr.h"
#include "isa/opcode.h"
#include "tensor/dtype.h"

namespace tenon::isa {

// One axis of a view: so many elements, so far apart (in elements).
struct Axis {
  Expr size;
  Expr stride;
  bool operator==(const Axis&) const = default;
};

// What an instruction reads or writes: strided elements in a memory. A stride of 0 repeats.
struct View {
  int memory = 0;   // index into Architecture::memories; 0 is the global memory
  int buffer = -1;  // in the global memory: index into Program::buffers
  DType dtype = DType::f16;
  Expr offset;             // in bytes, from the beginning of the memory or buffer
  std::vector<Axis> axes;  // outermost first; none: one element
  bool operator==(const View&) const = default;
};

struct Instruction {
  Opcode op = Opcode::copy;
  // Index into Architecture::queues. That of set_flag is `from`, that of wait_flag `to`, that of
  // sync and barrier 0.
  int queue = 0;
  std::vector<View> views;    // the destination first
  std::vector<Expr> numbers;  // as OpcodeInfo::numbers names them
  double scalar = 0;          // where OpcodeInfo::has_scalar
  int64_t line = 0;           // of the user's kernel that it was made of; 0: of none
  bool operator==(const Instruction&) const = default;
};

struct Statement;

struct Loop {
  int variable = 0;  // runs from 0 to count - 1
  Expr count;
  std::vector<Statement> body;
  bool operator==(const Loop&) const;
};

struct Statement : std::variant<Instruction, Loop> {
  using std::variant<Instruction, Loop>::variant;
};

inline bool Loop::operator==(const Loop& other) const {
  return variable == other.variable && count == other.count && body == other.body;
}

// What a program keeps one thing at a time in, of a core's own memory. It is known of programs that
// were lowered here, their text does not say it.
struct Place {
  int memory = 0;
  int64_t begin = 0, end = 0;  // in bytes
};

// A tensor in the global memory that the program reads or writes.
struct Buffer {
  enum class Role : uint8_t { input, output, constant, scratch };
  std::string name;
  Role role = Role::input;
  DType dtype = DType::f16;
  int64_t elements = 0;
  bool operator==(const Buffer&) const = default;
};

struct Program {
  std::string name;                  // the layer, in the source model's words
  std::string algorithm;             // "img2col", "vector", …: what explain and emit call it
  std::vector<std::string> origins;  // names of the source model's nodes
  int64_t blocks = 1;
  int variables = 1;  // how many there are, the block among them
  std::vector<Buffer> buffers;
  std::vector<Statement> body;
  bool operator==(const Program&) const = default;
};

}  // namespace tenon::isa

// Where an instruction writes what it still reads, or writes twice: units work on many elements at
// once and in no order that a program could rely on.
#pragma once

#include <optional>

#include "simulate/operand.h"

namespace tenon::simulate {

// ByteRange of a memory.
struct ByteRange {
  int64_t begin = 0, end = 0;
};

// From the first to the last of an operand's bytes; empty where it has none.
ByteRange hull(const Operand& o);
// Whether both are the same elements, each in the same place of the same size.
bool is_same_place(const Operand& a, const Operand& b);
// Some bytes that both have.
std::optional<ByteRange> common_bytes(const Operand& a, const Operand& b);
// Some bytes that several elements have.
std::optional<ByteRange> repeated_bytes(const Operand& o);

}  // namespace tenon::simulate

// The instructions of tile programs, of all families. What a family lacks has no route in its
// architecture.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace tenon::isa {

enum class Opcode : uint8_t {
  // Movement.
  copy,
  fill,
  gather,
  scatter,
  img2col,
  // Products.
  mmad,
  conv,
  // One operand, element by element.
  convert,
  exp,
  ln,
  sqrt,
  rsqrt,
  reciprocal,
  abs,
  relu,
  sigmoid,
  tanh,
  // Two operands; then an operand and a scalar.
  add,
  sub,
  mul,
  div,
  max,
  min,
  adds,
  muls,
  maxs,
  mins,
  compare,
  select,
  // Over the innermost axis.
  reduce_sum,
  reduce_max,
  reduce_min,
  // Order.
  set_flag,
  wait_flag,
  sync,
  barrier,
};
constexpr int kOpcodes = static_cast<int>(Opcode::barrier) + 1;

enum class OpcodeClass : uint8_t {
  move,
  product,
  unary,
  binary,
  scalar,
  compare,
  select,
  reduce,
  order
};

struct OpcodeInfo {
  Opcode op;
  std::string_view name;
  OpcodeClass kind;
  int views;  // the destination and the operands
  std::span<const std::string_view> numbers;
  bool has_scalar;
  std::string_view doc;
};

const OpcodeInfo& info(Opcode op);
std::optional<Opcode> parse_opcode(std::string_view name);

// What `compare` compares by, its number `relation`.
enum class Relation : int64_t { less, less_equal, equal, not_equal, greater_equal, greater };
// How `convert` rounds to integers, its number `rounding`. To floating point it is to even.
enum class Rounding : int64_t { even, floor, ceil, truncate, away };

}  // namespace tenon::isa

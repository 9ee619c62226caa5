// Mutations of protobuf messages at the borders of their fields, so that the mutant still parses
// and what lies behind the parser is reached.
#pragma once

#include <string>
#include <string_view>

#include "fuzz/mutate.h"

namespace tenon::fuzz {

// `message` with one field, at any depth, removed, repeated, moved, replaced by that of a sibling,
// or its value changed; the lengths around it are right. Unchanged where the bytes are no message.
std::string mutated_message(std::string_view message, Random& random);

// A value that code seldom expects: limits, powers of two, small numbers.
uint64_t extreme_value(Random& random);
std::string varint(uint64_t value);

}  // namespace tenon::fuzz

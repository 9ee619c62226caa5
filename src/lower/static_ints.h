// Whole numbers that the compiler knows though no constant holds them: what is left of shape
// arithmetic.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace tenon::lower {

// What the value's elements are, where all are known.
std::optional<Tensor> known_ints(const Value& value);

// Whether nothing computes the node: who reads its result is given a constant.
bool is_static_int(const Node& node);

}  // namespace tenon::lower

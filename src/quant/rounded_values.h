// What is computed between products in bf16 and need not be kept in f32.
#pragma once

#include <unordered_map>
#include <vector>

#include "ir/graph.h"

namespace tenon::quant {

// Of values of f32, what they are rounded to bf16.
using RoundedValues = std::unordered_map<const Value*, Value*>;

// `products` multiply in bf16, in the order of the graph; `rounded` has what they read.
//
// What only moves elements, or takes the largest of them, moves rounded ones where all who read
// them can do with that: rounding before or after is the same. What a product gives is kept
// rounded where everything that reads it rounds, moves, averages or normalises it, adds it to what
// a product gives, or is a chain of ops on single elements, each of which widens what it reads.
Status keep_rounded(Graph& graph, RoundedValues& rounded, const std::vector<const Node*>& products);

}  // namespace tenon::quant

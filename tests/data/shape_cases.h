// Graphs of one op each, or of a few that are fused, over tensors of many sizes: one element and
// several tiles a core, primes, inner dimensions of 1, ranks 1 to 5, operands that are broadcast in
// every way.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace tenon::data_tests {

struct ShapeCase {
  std::string name;
  std::function<std::string(uint32_t seed)> graph;  // its text
};

// Every op that is neither a product nor recurrent.
std::vector<ShapeCase> shape_cases();

}  // namespace tenon::data_tests

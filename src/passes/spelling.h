// Sums and products read through the many ways in which models write them.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon {

// One summand of a sum.
struct Term {
  Value* value = nullptr;
  bool is_negated = false;
};

// The summands behind add, sub and neg; more than four are not looked for. A value that is no sum
// is one itself, and `whole` is not looked into.
std::vector<Term> sum_of(Value* value, Value* whole = nullptr);

// factor * the product of the terms.
struct Product {
  double factor = 1;
  std::vector<Value*> terms;
};

// What is multiplied: through mul, div by a constant, neg, square and pow with a small exponent;
// constants of equal elements are in the factor. More than four terms are not looked for.
// `whole` is not looked into.
Product product_of(Value* value, Value* whole = nullptr);
// The value behind products with constants and negations: value = factor * x. `only_one`: behind
// the first of them.
Value* unscaled(Value* value, double& factor, bool only_one = false);

// scale * x + shift, by constants of equal elements: one of each at most, or x alone.
struct Line {
  Value* x = nullptr;
  double scale = 1, shift = 0;
};
Line line_of(Value* value);

// The names in the user's model of `root` and of what it reads before `end`, in the order of the
// model: a few nodes.
std::vector<std::string> origins_between(const Node& root, Value* end);

}  // namespace tenon

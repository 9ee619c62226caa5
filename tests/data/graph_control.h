// Branches and loops for random graphs.
#pragma once

#include "ir/graph.h"

namespace tenon::data_tests {

// if (the first element of x is positive) a tanh(x) else b relu(x).
Result<Value*> add_branch(Builder& builder, Value* x, double a, double b);

struct LoopPlan {
  int64_t trips = 0;
  double constant = 0;
  std::string_view function;  // of y
  bool swaps = false;         // x and y change places at each step
};

// for (i = 0; i < trips; ++i) x = tanh(x + constant), y = function(y); the constant is handed on.
// Results: i, x, y, the constant.
Result<Node*> add_loop(Builder& builder, Value* x, Value* y, const LoopPlan& plan);

}  // namespace tenon::data_tests

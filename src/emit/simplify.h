// A tile program as it reads best: bounds of loops taken into the expressions, loops of one turn
// gone, conditions told apart from loops. It computes the same.
#pragma once

#include <string>
#include <vector>

#include "isa/program.h"
#include "isa/range.h"

namespace tenon::emit {

// What the variables of a program are known to be; grows loop by loop.
using Ranges = std::vector<isa::Range>;

// A loop of at most one turn keeps its count and has nothing left of its variable.
isa::Program simplified(const isa::Program& program);

// The ranges of all variables of a program.
Ranges ranges_of(const isa::Program& program);

isa::Expr simplified(const isa::Expr& e, const Ranges& ranges);

// e / divisor, where every value of e is a multiple of it; stays a division where that is not seen.
isa::Expr divided(const isa::Expr& e, int64_t divisor);

// The axes of views over equal sizes with what lies evenly in all of them joined, outermost first.
struct Nest {
  std::vector<isa::Expr> size;
  std::vector<std::vector<isa::Expr>> stride;  // per view, in elements

  Nest() = default;
  // The last `kept` axes stay as they are.
  explicit Nest(const std::vector<isa::View>& views, size_t kept = 0);
  size_t rank() const { return size.size(); }
};

}  // namespace tenon::emit

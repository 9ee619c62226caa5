// What is known of an expression when its variables are in ranges: bounds, and a number that every
// value is a multiple of.
#pragma once

#include <span>

#include "isa/expr.h"

namespace tenon::isa {

struct Range {
  int64_t low = 0, high = 0;  // both possible, within ±2^62
  int64_t step = 0;           // every value is a multiple of it; 0: the value is 0

  static Range of(int64_t value);
  static Range between(int64_t low, int64_t high);  // every integer there
  bool is_one() const { return low == high; }
};

Range operator+(const Range& a, const Range& b);
Range operator*(const Range& a, const Range& b);

// Holds for all values of the variables in their ranges; bounds may be wider than what occurs.
Range range_of(const Expr& expr, std::span<const Range> variables);

}  // namespace tenon::isa

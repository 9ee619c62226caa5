// Whole numbers divided into parts.
#pragma once

#include <cstdint>

namespace tenon {

// How many parts of size b hold a; b > 0.
constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
// The smallest multiple of `unit` that is not below n.
constexpr int64_t round_up(int64_t n, int64_t unit) {
  return ceil_div(n, unit) * unit;
}

}  // namespace tenon

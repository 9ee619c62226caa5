// Two operands of equal sizes side by side.
#pragma once

#include "simulate/operand.h"

namespace tenon::simulate {

// Calls f(offset in a, offset in b, bytes) for runs that are contiguous in both; a and b have
// elements of one size.
template <typename F>
void for_each_pair(const Operand& a, const Operand& b, const F& f) {
  std::array<int64_t, Operand::kMaxAxes> size{}, step_a{}, step_b{}, index{};
  int rank = 0;
  for (size_t i = 0; i < static_cast<size_t>(a.rank); ++i) {
    if (a.size[i] <= 0) return;
    if (a.size[i] == 1) continue;
    const auto last = static_cast<size_t>(rank - 1);
    const int64_t in_a = a.stride[i] * a.element, in_b = b.stride[i] * b.element;
    const bool even =
        rank > 0 && step_a[last] == a.size[i] * in_a && step_b[last] == a.size[i] * in_b;
    const size_t at = even ? last : static_cast<size_t>(rank++);
    size[at] = even ? size[at] * a.size[i] : a.size[i];
    step_a[at] = in_a;
    step_b[at] = in_b;
  }
  int64_t run = a.element;
  if (rank > 0 && step_a[static_cast<size_t>(rank - 1)] == run &&
      step_b[static_cast<size_t>(rank - 1)] == run)
    run *= size[static_cast<size_t>(--rank)];
  int64_t at_a = a.offset, at_b = b.offset;
  for (;;) {
    f(at_a, at_b, run);
    int axis = rank - 1;
    for (; axis >= 0; --axis) {
      const auto k = static_cast<size_t>(axis);
      at_a += step_a[k];
      at_b += step_b[k];
      if (++index[k] < size[k]) break;
      at_a -= step_a[k] * size[k];
      at_b -= step_b[k] * size[k];
      index[k] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace tenon::simulate

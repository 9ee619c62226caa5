// Reductions of tensors that may be no values of the graph.
#pragma once

#include <optional>
#include <string>

#include "lower/lowering.h"

namespace tenon::lower {

struct Reduction {
  enum class Kind : uint8_t { sum, max, min };
  std::string layer;
  Kind kind = Kind::sum;
  int from = -1, to = -1;  // [outer, reduced, inner] and [outer, inner]
  int64_t outer = 1, reduced = 1, inner = 1;
  int centre = -1;                      // [outer, inner] in f32, taken off every element; -1: none
  bool square = false;                  // of what is reduced
  bool exponential = false;             // of what is reduced; the result: log(sum) + centre
  bool finite = false;                  // the result: infinities are the largest numbers
  double scale = 1;                     // of the result,
  std::optional<double> rsqrt_epsilon;  // and then 1 / sqrt(result + epsilon)
};

Status add_reduction(Lowering& lowering, const Node& node, const Reduction& r);

}  // namespace tenon::lower

// Which bytes of a memory a view touches, whatever the variables are within their ranges.
#pragma once

#include <span>

#include "isa/program.h"
#include "isa/range.h"

namespace tenon::isa {

// From the first byte to behind the last one; equal where nothing is touched.
struct Extent {
  int64_t begin = 0, end = 0;
};

// What it cannot exceed.
Extent bound_of(const View& view, std::span<const Range> variables);

// Exact but for views whose place and size depend on each other in ways that a few thousand trials
// do not show: then what it cannot exceed.
Extent extent_of(const View& view, std::span<const Range> variables);

}  // namespace tenon::isa

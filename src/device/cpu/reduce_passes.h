// How a reduction over any axes is done: one pass for each run of neighbouring reduced dimensions.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "device/cpu/kernel.h"

namespace tenon::cpu {

// x[outer, reduce, inner] to [outer, inner].
struct ReducePass {
  int64_t outer = 1, reduce = 1, inner = 1;
  int64_t elements() const { return outer * inner; }
};

// In the order they run; the result of each is the input of the next. At least one.
inline std::vector<ReducePass> reduce_passes(const StepInfo& s) {
  const std::vector<int64_t> x = s.inputs[0].shape.sizes();
  // `axes` is the first field of every reduction; empty means all.
  const auto axes = std::get<std::vector<int64_t>>(s.op.get(0));
  std::vector<bool> reduced(x.size(), axes.empty());
  for (const int64_t a : axes)
    reduced[static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(x.size()) : a)] = true;
  // Kept and reduced extents in turn, kept first.
  std::vector<int64_t> sizes = {1};
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 1) continue;
    if ((sizes.size() % 2 == 0) != reduced[i]) sizes.push_back(1);
    sizes.back() *= x[i];
  }
  if (sizes.size() == 1) sizes = {1, 1, sizes[0]};
  std::vector<ReducePass> passes;
  int64_t inner = 1;
  for (size_t i = sizes.size(); i-- > 0;) {
    if (i % 2 == 0) {
      inner *= sizes[i];
      continue;
    }
    ReducePass pass{1, sizes[i], inner};
    for (size_t k = 0; k < i; ++k) pass.outer *= sizes[k];
    passes.push_back(pass);
  }
  return passes;
}

}  // namespace tenon::cpu

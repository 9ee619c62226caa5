// Strides of broadcast operands, and loops over several operands with as few dimensions as
// possible.
#pragma once

#include <cstdint>
#include <vector>

namespace tenon::cpu {

// Element strides of a dense tensor of `dims` read under the shape `target` (NumPy broadcasting): 0
// where it is repeated.
inline std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& dims,
                                              const std::vector<int64_t>& target) {
  std::vector<int64_t> strides(target.size(), 0);
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    const size_t at = target.size() - dims.size() + i;
    strides[at] = dims[i] == 1 ? 0 : stride;
    stride *= dims[i];
  }
  return strides;
}

// A loop nest over `shape`, outermost first, with each operand's strides.
struct Loops {
  std::vector<int64_t> shape;
  std::vector<std::vector<int64_t>> strides;
};

// Drops dimensions of size 1 and merges neighbours that every operand walks alike.
inline Loops collapse(const std::vector<int64_t>& shape,
                      const std::vector<std::vector<int64_t>>& strides) {
  Loops loops;
  loops.strides.resize(strides.size());
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool merge = !loops.shape.empty();
    for (size_t k = 0; k < strides.size() && merge; ++k)
      merge = loops.strides[k].back() == strides[k][d] * shape[d];
    if (merge) {
      loops.shape.back() *= shape[d];
      for (size_t k = 0; k < strides.size(); ++k) loops.strides[k].back() = strides[k][d];
      continue;
    }
    loops.shape.push_back(shape[d]);
    for (size_t k = 0; k < strides.size(); ++k) loops.strides[k].push_back(strides[k][d]);
  }
  return loops;
}

}  // namespace tenon::cpu

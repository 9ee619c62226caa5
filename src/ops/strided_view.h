// The results of ops that only pick elements of their first operand, as strides into it.
#pragma once

#include <cstdint>
#include <vector>

namespace tenon {

// Output 0, dense and seen under `dims` (of as many elements as it has), is
// y[i0, i1, …] = x[offset + i0 * strides[0] + i1 * strides[1] + …]. Ops that have one give it by
// `strided_view(context)`, which reads the dims of x and of the output and the values of the other
// operands.
struct StridedView {
  int64_t offset = 0;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
};

}  // namespace tenon

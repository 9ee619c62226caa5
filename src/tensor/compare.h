// How far two tensors are apart.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace tenon {

struct Difference {
  std::string mismatch;    // why they cannot be compared by number: dtype, shape; else empty
  double max_abs = 0;      // largest difference of two elements; infinite where one is not finite
  double relative_l2 = 0;  // |a - b| / |b|; |a - b| where b is zero; infinite for unequal integers
  double cosine = 1;
  int64_t differing = 0;  // elements that are not equal; all that counts for strings

  // By relative L2, which is infinite where integers, booleans or strings differ at all.
  bool within(double tolerance) const;
  std::string to_string() const;
};

// Differences of `actual` from `expected`. Two NaN are equal. Lists are compared item by item.
Difference compare(const Tensor& actual, const Tensor& expected);

}  // namespace tenon

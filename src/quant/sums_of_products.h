// Sums of products of two matrices' columns, the inner loops of fitting weights to data.
#pragma once

#include <cstdint>

namespace tenon::quant {

// A matrix whose rows are the terms of the sums.
struct Terms {
  const float* data;
  int64_t stride;  // from row to row
  int64_t columns;
};

// to[i, j] += the sum over `count` rows of a[., i] * b[., j]; the sums are of f32, so that rows
// should not be many at once. Where `upper` is set only j >= i is sure to be added to.
void add_products(Terms a, Terms b, int64_t count, double* to, int64_t stride, bool upper = false);

// to[j] += factor * from[j].
void add_multiple(double factor, const double* from, double* to, int64_t count);

}  // namespace tenon::quant

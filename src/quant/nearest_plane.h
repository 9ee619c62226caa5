// Rounds a vector of numbers to bytes so that a quadratic form of the errors is small: one number
// after the other, each making up for what the ones before it did (Babai's nearest plane).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tenon::quant {

class NearestPlane {
 public:
  // `form` [terms, terms]: what products of pairs of errors count, j >= i of it is read. `trust`:
  // the part of the mean of its diagonal that is added to the diagonal, as it is of few samples.
  NearestPlane(std::span<const double> form, int64_t terms, double trust);

  struct Rounded {
    std::vector<int8_t> integers;
    double error = 0;  // the form of what was lost, with what was added to its diagonal
  };
  // Numbers next to the ends of what bytes hold, -127 and 127, or past them become the ends.
  Rounded round(std::span<const double> exact) const;

 private:
  int64_t terms_;
  // The form of x is the sum over k of (the sum over i >= k of root[k, i] * x[order[i]])^2.
  std::vector<int64_t> order_;
  std::vector<double> root_;
};

}  // namespace tenon::quant

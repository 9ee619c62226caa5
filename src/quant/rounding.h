// Weights rounded up or down so that the results of a layer change least on the inputs it had,
// where rounding each to the nearest looks at that weight alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/weights.h"

namespace tenon::quant {

// How the inputs of the sums of a product go together: sums of products of what each pair of
// weights is multiplied by, about the mean. One matrix per group.
class Correlations {
 public:
  // Where it is of a size that is affordable.
  static bool is_affordable(const Node& product);
  explicit Correlations(const Node& product);

  // The product's input of one run; windows are taken evenly, `windows` at most.
  Status add(const Tensor& input, int64_t windows);
  bool empty() const { return count_ == 0; }

  // The integers of these weights, improved; scales stay. Deterministic.
  Result<QuantizedWeights> round(const Tensor& weights, QuantizedWeights nearest) const;

 private:
  void take(const float* x, const std::vector<int64_t>& dims, int64_t position);

  const Node* product_;
  int64_t terms_ = 0, groups_ = 1;
  std::vector<int64_t> kernel_, strides_, dilations_, pads_;
  std::vector<double> products_, sums_;  // [groups, terms, terms], [groups, terms]
  std::vector<float> row_;
  int64_t count_ = 0;
};

}  // namespace tenon::quant

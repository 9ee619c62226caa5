// Weights rounded up or down so that the results of a layer change least on the inputs it had,
// where rounding each to the nearest looks at that weight alone; and so that they come nearest to
// what the layer gives in f32, where its inputs are not those that it has there.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/weights.h"

namespace tenon::quant {

// How the inputs of the sums of a product go together: sums of products of what each pair of
// weights is multiplied by, about the mean, one matrix per group; and with the results wanted.
class Correlations {
 public:
  // Where it is of a size that is affordable.
  static bool is_affordable(const Node& product);
  explicit Correlations(const Node& product);
  // Of a matrix [terms, columns], whose inputs are rows of terms.
  Correlations(int64_t terms, int64_t columns);

  // The product's input of one run; windows are taken evenly, `windows` at most. `wanted`: what the
  // product should give without its activation; null: what its weights give for this input.
  Status add(const Tensor& input, int64_t windows, const Tensor* wanted = nullptr);
  bool empty() const { return count_ == 0; }

  // The integers of these weights, improved; scales stay. Deterministic.
  Result<QuantizedWeights> round(const Tensor& weights, QuantizedWeights nearest);
  // The same where no bias makes up for what is taken from the mean of the results, by
  // NearestPlane, with the scale of each column, of those there are or smaller, that loses least;
  // the largest of a column stays 127 or -127, so that its scale can be found again.
  Result<QuantizedWeights> fit(const Tensor& weights, QuantizedWeights nearest);
  // The bias with which these weights give the wanted results in the mean.
  Tensor biases(const QuantizedWeights& weights);

 private:
  void take(const float* x, const std::vector<int64_t>& dims, int64_t position,
            const float* wanted);
  // Adds the windows that wait to the sums.
  void add_windows();
  struct Covariance;
  Covariance covariance(int64_t group) const;
  void descend(const Covariance& h, const Tensor& weights, const QuantizedWeights& nearest,
               int64_t first, int64_t columns, int8_t* integers) const;
  // The place of a weight of column `c`.
  int64_t place(int64_t c, int64_t term) const {
    return is_transposed_ ? c * terms_ + term : term * columns_ + c;
  }

  void make_room();

  int64_t terms_ = 0, groups_ = 1, columns_ = 0;
  bool is_transposed_ = false;
  std::vector<int64_t> kernel_, strides_, dilations_, pads_;
  std::vector<double> products_, sums_;       // [groups, terms, terms]: j >= i; [groups, terms]
  std::vector<double> wanted_, wanted_sums_;  // [terms, columns], [columns]; empty: as they are
  // Windows that are not in the sums yet: added one by one each would go through all of them, which
  // no cache holds. [groups, windows, terms], [windows, columns].
  static constexpr int64_t kWaiting = 64;
  std::vector<float> windows_, results_;
  int64_t waiting_ = 0;
  int64_t count_ = 0;
};

}  // namespace tenon::quant

// What the tensors of a graph held while it ran on calibration data: extremes, histograms, means of
// channels. A file of it is readable and can be used again.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "tensor/tensor.h"

namespace tenon::quant {

// Counts of values in bins [(first + i) * width, (first + i + 1) * width). The width is a power of
// two that doubles as values grow apart: one pass, bounded memory, the result does not depend on
// the order but for the width.
class Histogram {
 public:
  static constexpr int64_t kMaxBins = 2048;

  Histogram() = default;
  Histogram(double width, int64_t first, std::vector<uint64_t> counts);

  // Finite values; low and high are their extremes.
  void add(std::span<const float> values, double low, double high);

  bool empty() const { return counts_.empty(); }
  double width() const { return width_; }
  int64_t first() const { return first_; }
  const std::vector<uint64_t>& counts() const { return counts_; }
  double centre(size_t bin) const {
    return (static_cast<double>(first_ + static_cast<int64_t>(bin)) + 0.5) * width_;
  }

 private:
  void cover(double low, double high);
  void halve();

  double width_ = 0;
  int64_t first_ = 0;
  std::vector<uint64_t> counts_;
};

struct TensorStatistics {
  int64_t count = 0;
  int64_t batches = 0;
  double min = 0, max = 0;
  double average_min = 0, average_max = 0;  // exponential moving averages over the batches
  double sum = 0, sum_squares = 0;
  int64_t not_finite = 0;  // values left out
  Histogram histogram;
  // Along the last dimension, where it has a size that does not change.
  std::vector<double> channel_sum;
  std::vector<float> channel_max_abs;
  int64_t channel_count = 0;  // values per channel

  void add(const Tensor& tensor);
  // Whether all values were the same.
  bool is_constant() const { return count > 0 && min == max; }
};

// Of one function of a model.
struct FunctionStatistics {
  std::string graph;    // hash of the graph that was run
  std::string data;     // what was run: where it came from, and how it was prepared
  int64_t samples = 0;  // how many have been run
  bool complete = false;
  std::map<std::string, TensorStatistics> tensors;  // by name in the user's model
};

using Statistics = std::map<std::string, FunctionStatistics>;  // by signature

std::string to_json(const Statistics& statistics);
// Errors: invalid_argument for what is no such file or damaged.
Result<Statistics> parse_statistics(std::string_view text);
// A file that is not there is no error: empty.
Result<Statistics> read_statistics(const std::string& path);
Status write_statistics(const std::string& path, const Statistics& statistics);

}  // namespace tenon::quant

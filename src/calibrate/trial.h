// What a way to quantise does to a model's outputs, measured on a few samples.
#pragma once

#include <string>
#include <vector>

#include "calibrate/dataset.h"
#include "compiler/compile.h"
#include "ir/named_graph.h"

namespace tenon {

// Of all elements of an output over all samples, against those in f32.
struct Accuracy {
  double cosine = 1;
  double sqnr_db = 0;  // of the signal to what was lost; 200 where nothing was
  double relative_l2 = 0;
  double max_abs = 0;
  double same_top1 = 1;  // part of the rows whose largest element is the same one
};

class AccuracyMeter {
 public:
  void add(const Tensor& actual, const Tensor& expected);
  Accuracy result() const;

 private:
  double error_ = 0, power_ = 0, other_power_ = 0, product_ = 0, max_abs_ = 0;
  int64_t rows_ = 0, same_ = 0;
};

// Of each sample, in the order of the graph.
using Outputs = std::vector<std::vector<Tensor>>;

class Trial {
 public:
  // `function` is prepared (quant::prepare). Runs it in f32 for what to compare with.
  static Result<Trial> make(const NamedGraph& function, std::vector<Sample> samples,
                            const runtime::LoadOptions& load);
  size_t samples() const { return samples_.size(); }
  const std::vector<Sample>& all_samples() const { return samples_; }
  const Outputs& expected() const { return expected_; }
  // Outputs that a softmax gives are what it reads.
  const Outputs& expected_before_softmax() const { return expected_before_softmax_; }
  const NamedGraph& function() const { return *function_; }
  // What the graph takes for a sample: its inputs, then what the variables begin with.
  std::vector<Tensor> inputs(size_t sample) const;
  std::vector<Tensor> with_variables(std::vector<Tensor> inputs) const;
  const runtime::LoadOptions& load() const { return load_; }
  // Seconds that the reference would take for the samples, roughly.
  double estimated_cost() const { return estimated_cost_; }

  // What to choose by: the relative L2 of the outputs, or of what goes into the softmax that they
  // come from, which shows what is lost also where that is sure of itself.
  Result<double> loss(const quant::FunctionStatistics& statistics,
                      const quant::QuantizeOptions& options) const;
  // The same of a function that computes what this one does, against this one in f32.
  Result<double> loss_of_other(const NamedGraph& function,
                               const quant::FunctionStatistics& statistics,
                               const quant::QuantizeOptions& options) const;

  // All outputs that are real, of the model quantised so.
  Result<Accuracy> run(const quant::FunctionStatistics& statistics,
                       const quant::QuantizeOptions& options) const;
  // What it gives then.
  Result<Outputs> outputs(const quant::FunctionStatistics& statistics,
                          const quant::QuantizeOptions& options) const;
  Result<Outputs> outputs_before_softmax(const quant::FunctionStatistics& statistics,
                                         const quant::QuantizeOptions& options) const;

 private:
  Result<Outputs> before_softmax_of(const NamedGraph& function,
                                    const quant::FunctionStatistics& statistics,
                                    const quant::QuantizeOptions& options) const;
  Result<Outputs> outputs_of(const Graph& graph) const;

  const NamedGraph* function_ = nullptr;
  std::vector<Sample> samples_;
  std::vector<Tensor> variables_;
  Outputs expected_, expected_before_softmax_;
  runtime::LoadOptions load_;
  double estimated_cost_ = 0;
};

}  // namespace tenon

// The data-driven tests: cases are text files under tests/, the code here only runs them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "ir/named_graph.h"
#include "lower/device_program.h"
#include "tensor/compare.h"

namespace tenon::data_tests {

struct Options {
  std::string filter;  // a word the names must contain
  bool bless = false;  // rewrite what golden tests expect
  uint32_t random_graphs = 300;
  size_t shard = 0, shards = 1;  // run this one of so many parts of the tests
};

// Runs tests by name and counts them.
class Runner {
 public:
  explicit Runner(Options options) : options_(std::move(options)) {}

  const Options& options() const { return options_; }
  bool wanted(const std::string& name) const;
  // Runs the test unless the filter leaves it out; an error is a failure and is printed.
  void run(const std::string& name, const std::function<Status()>& test);
  void skip(const std::string& name, const std::string& reason);
  // "N passed, N failed, N skipped"; the exit status.
  int finish() const;

 private:
  Options options_;
  int passed_ = 0, failed_ = 0, skipped_ = 0;
};

// Sorted paths of the files in tests/FOLDER that end so.
std::vector<std::string> files_in(const std::string& folder, const std::string& ending);
std::vector<std::string> split_lines(const std::string& text);

// Inputs for a graph: open dimensions are 3 (the first) or 2; values from the seed.
Result<std::vector<Tensor>> random_inputs(const Graph& graph, uint32_t seed);
// What must hold of any graph: its text and its file read back as the same graph.
Status check_round_trips(const Graph& graph);
// Runs the graph on the CPU device, through the bytes of a .tenon file.
Result<std::vector<Tensor>> run_on_cpu(const Graph& graph, std::span<const Tensor> inputs);
// Runs the graph on a simulated chip, through tile programs. Where an algorithm is asked for, some
// kernel must be of it; with `whole` it is an error that a node is left to the host.
Result<std::vector<Tensor>> run_on_chip(const Graph& graph, std::span<const Tensor> inputs,
                                        const std::string& target, const LowerOptions& options,
                                        bool whole = false);
Status expect_close(std::span<const Tensor> actual, std::span<const Tensor> expected,
                    double tolerance, const std::string& what);

// What a tile program of tests/isa is to print.
Result<std::string> check_tile_program(const std::string& input);

// One function per kind of test.
void run_op_cases(Runner& runner);       // tests/ops/*.test
void run_tf_op_cases(Runner& runner);    // tests/tf_ops/*.cases
void run_golden_cases(Runner& runner);   // tests/{ir,passes,isa}, tests/import
void run_chip_products(Runner& runner);  // conv and matmul of all sizes on simulated chips
void run_chip_shapes(Runner& runner);    // all other ops, likewise
void run_random_graphs(Runner& runner);  // optimised graphs compute what they did before

}  // namespace tenon::data_tests

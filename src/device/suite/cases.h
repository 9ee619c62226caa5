// The cases of the suite, by kind. Internal to suite/.
#pragma once

#include <functional>

#include "device/suite/suite.h"

namespace tenon::device {

// An opened device, and what cases ask of it.
class Bench {
 public:
  static Result<std::unique_ptr<Bench>> open(const Description& description, double tolerance);
  ~Bench();

  const tenon_device_api& api() const { return description.plugin->api(); }
  Status status(tenon_device_error* error) const { return description.plugin->status(error); }
  // Ok where the call failed with this code.
  Status refused(tenon_device_error* error, Code code, std::string_view what) const;

  const Description& description;
  double tolerance = 0;
  tenon_device* device = nullptr;

 private:
  explicit Bench(const Description& d) : description(d) {}
};

struct Case {
  std::string name;
  std::function<Status(Bench&)> run;
};

std::vector<Case> interface_cases();  // handshake, memory, streams, events
std::vector<Case> load_cases();       // good and bad files and inputs, counters, threads
std::vector<Case> execute_cases();    // models of many ops against the reference

// What a case found wrong.
Error wrong(std::string what);
// A model of one function "main" as a file in memory.
Result<Blob> file_of(std::string_view graph);
// Inputs from a seed for the inputs of the graph; open sizes are `open`.
Result<std::vector<Tensor>> inputs_for(std::string_view graph, int64_t open, uint32_t seed);
// What the reference computes.
Result<std::vector<Tensor>> expected_of(std::string_view graph, std::span<const Tensor> inputs);
Result<std::shared_ptr<LoadedProgram>> loaded(Bench& bench, const Blob& file);
Status compare_all(Bench& bench, std::span<const Tensor> results, std::span<const Tensor> expected);

}  // namespace tenon::device

// A model or a compiled file that can be run, by the reference or by the runtime.
#pragma once

#include <functional>
#include <memory>

#include "compiler/compile.h"
#include "runtime/state.h"
#include "tensor/compare.h"

namespace tenon::tool {

// The graphs of a model, or those in a .tenon file, whose custom ops are in `code`. Errors: of
// import and of read_model.
Result<std::vector<NamedGraph>> load_graphs(const std::string& path, const ImportOptions& options,
                                            const CustomOpOptions& code = {});
// The graph of this signature; empty: "serving_default", or the first one.
Result<NamedGraph> load_graph(const std::string& path, const std::string& signature,
                              const runtime::LoadOptions& options = {});

enum class Engine : uint8_t { kRuntime, kReference };

struct Runnable {
  std::string key;  // the signature
  std::vector<runtime::PortInfo> inputs, outputs;
  std::function<Result<std::vector<Tensor>>(std::span<const Tensor>)> run;
  std::shared_ptr<const Graph> graph;     // what the reference interprets; null for the runtime
  std::shared_ptr<runtime::State> state;  // the variables that runs read and write
  std::shared_ptr<const runtime::Function> function;  // of the runtime; null for the reference
};

// "images f32[?batch,8,8,1], mask bool[?]", for errors.
std::string listed(std::span<const runtime::PortInfo> ports);

// A .tenon file in the runtime, on a device.
Result<Runnable> open_file(const std::string& path, const std::string& signature,
                           const runtime::LoadOptions& options,
                           const runtime::DeviceChoice& device = {});
// A model given to the runtime is compiled in memory first.
Result<Runnable> open_runnable(const std::string& path, const std::string& signature, Engine engine,
                               const runtime::LoadOptions& options = {},
                               const runtime::DeviceChoice& device = {});

// Tensors in the order of the inputs from NAME=FILE.npy (or FILE.npy for the only input), where
// `x:0` is also `x`; the elements of a list in the order given. From the seed where none are given.
Result<std::vector<Tensor>> read_inputs(std::span<const runtime::PortInfo> ports,
                                        const std::vector<std::string>& texts, int64_t batch = 1,
                                        uint32_t seed = 1);

// Names of ports as those of files: without TensorFlow's ":0", with "_" for what a file name cannot
// hold. Names that become equal are told apart by a number.
std::vector<std::string> file_names(std::span<const runtime::PortInfo> ports);

// The inputs followed by what the variables begin with: what the graph itself takes.
std::vector<Tensor> with_initial_state(const NamedGraph& graph, std::span<const Tensor> inputs);
// Sets the variables whose values are in the folder, as NAME.npy; empty: none.
Status read_state(const Runnable& runnable, const std::string& folder);
// Writes the value of every variable there; the folder is made if missing. Empty: nothing.
Status write_state(const Runnable& runnable, const std::string& folder);

struct OutputDifference {
  std::string name;
  Difference difference;
};

// Prints the differences and fails when one is beyond the tolerance.
Status report_differences(std::span<const OutputDifference> differences, double tolerance,
                          bool json);

// Compares what `path` (opened as `runnable`) computes with an .npz archive of outputs and layers
// by their names in the user's model, and fails where one is beyond the tolerance, naming the
// first. Inputs that are not given in `texts` are taken from the archive.
Status compare_with_recorded(const std::string& path, const std::string& signature,
                             const Runnable& runnable, const std::vector<std::string>& texts,
                             const std::string& archive, double tolerance, bool json,
                             const runtime::LoadOptions& options);

}  // namespace tenon::tool

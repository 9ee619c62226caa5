// The compiler as one call: import, optimise, encode. The command line and Python stand on it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "encode/encode.h"
#include "format/model_file.h"
#include "import/importer.h"
#include "quant/config.h"
#include "quant/narrow.h"
#include "quant/precision.h"
#include "quant/quantize.h"
#include "rewrite/pass.h"

namespace tenon {

// What quantising a function takes: what its tensors held on calibration data, and the choices.
struct QuantizationInput {
  quant::FunctionStatistics statistics;
  quant::QuantizeOptions options;
  // The function's graph with other weights, of which the statistics are; null: as it is.
  std::unique_ptr<Graph> graph;
};
// Finds it for a function whose graph is prepared (quant::prepare), of a model imported so; appends
// what the user should know, and which rules of the config match.
using CalibrateFunction = std::function<Result<QuantizationInput>(
    const NamedGraph& function, const ImportReport& import, quant::RuleUse& use,
    std::vector<std::string>& warnings)>;

// Layers of a canonical graph whose products are better of f32 than of this precision, which takes
// no ranges, with the reason.
using BetterInF32 = std::function<Result<std::map<const Node*, std::string>>(
    const Graph& graph, quant::LayerPrecision precision)>;

struct CompileOptions {
  ImportOptions import;
  std::string target = "cpu";
  std::string precision = "fp32";       // one of those quant::parse_precision() takes
  std::optional<quant::Config> config;  // what single layers are, where that differs
  CalibrateFunction calibrate;  // needed where the precision is of integers (calibrate/calibrate.h)
  BetterInF32 better_in_f32;    // may be empty: none
  std::set<std::string, std::less<>> disabled;  // rules and passes switched off, by name
  bool optimize = true;
  // Leaves the graphs as they were imported in the result, for verify_compiled().
  bool keep_imported = false;
  // Carries the libraries of custom ops that are used in the file, for who trusts it (LoadOptions).
  bool embed_custom_ops = false;
  // Written into the file: on the CPU no algorithm that rounds otherwise than the sums themselves.
  bool strict = false;
  // Written into the file: iterations after which a loop is an error; 0: the runtime's default.
  int64_t max_loop_iterations = 0;
  // Told the name of each stage as it begins; may be empty.
  std::function<void(const std::string& stage)> progress;
};

struct FunctionReport {
  std::string key;
  size_t nodes_imported = 0;
  size_t nodes_compiled = 0;
  std::vector<Firing> firings;
  // Where the precision is of integers: how each product and tensor was quantised.
  std::optional<quant::QuantizeReport> quantization;
  // Where weights are of fewer bits or products in bf16: what became of each layer.
  std::vector<quant::NarrowedLayer> narrowed;
};

struct CompileReport {
  ImportReport import;
  std::vector<FunctionReport> functions;
  std::vector<std::string> warnings;
};

struct Compiled {
  FileModel model;
  CompileReport report;
  std::vector<std::unique_ptr<Graph>> imported;  // one for each function, where it was asked for
};

// MODEL is a SavedModel folder, .pb, .pbtxt, .onnx or .tn. Errors: those of import; `unsupported`
// listing every node without a mapping; `invalid_argument` for an unknown target, precision or
// rule. Thread-safe.
Result<ImportedModel> import_model(const std::string& path, const ImportOptions& options);
// A .tn file's text (ir/text.h); `file` is for errors.
Result<ImportedModel> import_text(std::string_view text, std::string_view file,
                                  const ImportOptions& options);
// An ONNX or GraphDef file held in memory.
Result<ImportedModel> import_model(Blob blob, const ImportOptions& options);

// Whether products are to be of integers by ranges, which CompileOptions::calibrate has to find.
bool needs_calibration(const CompileOptions& options, const quant::Precision& precision);
// The ops of the nodes of the user's model, by their names.
std::map<std::string, std::string> source_ops_of(const ImportReport& import);

// The error compile_model would give for the target, the precision and the rules switched off.
Status check_options(const CompileOptions& options);

Result<Compiled> compile_model(const std::string& path, const CompileOptions& options);
Result<Compiled> compile_model(Blob blob, const CompileOptions& options);

// Writes what the failed pass was given to a .tn file with the pipeline in its first line, and says
// so in the error. Other errors stay as they are.
Error write_reproducer(Error error, const PassContext& context,
                       const std::string& path = "repro.tn");

}  // namespace tenon

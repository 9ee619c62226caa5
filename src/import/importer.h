// The door of the importers: a model of the user in, graphs and a report out. Nothing of a foreign
// format passes it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "import/report.h"
#include "ir/named_graph.h"

namespace tenon {

class CustomOps;

struct ImportOptions {
  std::string signature;            // SavedModel: the signature key; empty: all there are
  std::vector<std::string> inputs;  // GraphDef and ONNX: names; empty: the model's own
  std::vector<std::string> outputs;
  // Sizes to assume for inputs, by name; -1 keeps a dimension open. An empty name with a single
  // input means that input.
  std::vector<std::pair<std::string, std::vector<int64_t>>> input_shapes;
  // Ops of the user's own (import/custom_ops.h), preferred to what the importers have; null: none.
  std::shared_ptr<const CustomOps> custom_ops = nullptr;
};

using ImportedFunction = NamedGraph;

struct ImportedModel {
  // Empty of functions when the report has unsupported nodes in all of them.
  std::vector<ImportedFunction> functions;
  ImportReport report;
  // Why a signature other than the default one was left out, in words.
  std::vector<std::string> warnings;
};

// Sizes for one input: merges what the user gave for `name` into `declared`.
// Errors: contradiction, naming the input and both shapes.
Result<Shape> apply_input_shape(const ImportOptions& options, const std::string& name,
                                const Shape& declared, size_t input_count);

namespace tf {
// A SavedModel directory, a .pb GraphDef or a .pbtxt of either. `path` is never written to.
Result<ImportedModel> import_tensorflow(const std::string& path, const ImportOptions& options);
// A serialized GraphDef held in memory.
Result<ImportedModel> import_graph_def(Blob blob, const ImportOptions& options);
// The ops that have a rule, sorted: tensors in, tensors out; control flow, variables and tables are
// not among them.
std::vector<std::string> imported_ops();
}  // namespace tf

namespace onnx {
// An .onnx file; external data is looked for beside it.
Result<ImportedModel> import_onnx(const std::string& path, const ImportOptions& options);
// A serialized ModelProto held in memory; external data cannot be found then.
Result<ImportedModel> import_onnx(Blob blob, const ImportOptions& options);
// The ops that have a rule, sorted; "DOMAIN.OP" where the domain is not ai.onnx.
std::vector<std::string> imported_ops();
}  // namespace onnx

}  // namespace tenon

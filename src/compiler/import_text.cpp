// A .tn file as a model.
#include <fmt/format.h>

#include "compiler/compile.h"
#include "import/custom_ops.h"
#include "ir/text.h"
#include "ir/verify.h"

namespace tenon {
namespace {

Status apply_shapes(ImportedFunction& function, const ImportOptions& options) {
  if (options.input_shapes.empty()) return {};
  const auto& inputs = function.graph->inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    TensorType type = inputs[i]->type();
    type.shape =
        TRY(apply_input_shape(options, function.input_names[i], type.shape, inputs.size()));
    inputs[i]->set_type(std::move(type));
  }
  return function.graph->infer_all();
}

}  // namespace

Result<ImportedModel> import_text(std::string_view text, std::string_view file,
                                  const ImportOptions& options) {
  if (!options.inputs.empty() || !options.outputs.empty())
    return unsupported("a .tn file cannot be cut with --inputs and --outputs; edit its text");
  ImportedModel model;
  model.report.format = "Tenon text";
  std::string keys;
  const CustomLibraries* libraries =
      options.custom_ops == nullptr ? nullptr : &options.custom_ops->libraries();
  for (NamedGraph& function : TRY(parse_graphs(text, file, libraries))) {
    keys += " " + function.key;
    if (!options.signature.empty() && function.key != options.signature) continue;
    TRY(apply_shapes(function, options));
    if (Status s = verify(*function.graph); !s.ok()) {
      // What is written in a file is not our bug.
      Error error = std::move(s).error();
      error.code = Code::invalid_model;
      return std::move(error).note(fmt::format("while reading {}", file));
    }
    for (const auto& node : function.graph->nodes())
      model.report.nodes.push_back(
          {node->origins.empty() ? node->output_count() > 0 ? node->output()->name : std::string()
                                 : node->origins[0],
           std::string(node->def().name),
           Fate::mapped,
           {}});
    model.functions.push_back(std::move(function));
  }
  if (model.functions.empty())
    return not_found(fmt::format("there is no signature '{}' in {}; there are:{}",
                                 options.signature, file, keys));
  return model;
}

}  // namespace tenon

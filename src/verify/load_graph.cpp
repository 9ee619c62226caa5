#include "verify/load_graph.h"

#include <fmt/format.h>

#include "compiler/compile.h"

namespace tenon {

Result<runtime::Function> load_graph(const Graph& graph, const runtime::LoadOptions& options) {
  FileModel file;
  FileFunction& f = file.functions.emplace_back();
  f.key = "graph";
  f.graph = encode_graph(graph);
  for (size_t i = 0; i < graph.inputs().size(); ++i)
    f.input_names.push_back(fmt::format("input {}", i));
  for (size_t i = 0; i < graph.outputs().size(); ++i)
    f.output_names.push_back(fmt::format("output {}", i));
  auto bytes = std::make_shared<std::vector<std::byte>>(TRY(encode_model(file)));
  return TRY(runtime::Model::load(Blob{*bytes, bytes}, options)).function();
}

}  // namespace tenon

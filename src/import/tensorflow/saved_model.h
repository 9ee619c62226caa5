// A TensorFlow model on disk, before any of it is understood as a graph: a SavedModel folder with
// the meta graph chosen, the graph of a checkpoint, or a single GraphDef file.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "import/tensorflow/bundle.h"
#include "import/tensorflow/proto.h"

namespace tenon::tf {

struct LoadedModel {
  std::string path;  // the folder or the file
  bool saved_model = false;
  bool meta_graph = false;            // PREFIX.meta of a checkpoint
  MetaGraphDef meta;                  // for a GraphDef file only meta.graph is filled
  std::shared_ptr<const void> owner;  // keeps what `meta` views
  std::optional<CheckpointBundle> variables;

  const SignatureDef* signature(std::string_view key) const;
  // A file of assets/, by its name there; not_found when it is missing, invalid_argument when the
  // name leads out of the folder.
  Result<std::string> asset_path(std::string_view filename) const;
};

// Whether `path` is a folder with a saved_model.pb or saved_model.pbtxt, or one of those files.
bool is_saved_model(const std::string& path);

// Reads a SavedModel folder, a GraphDef (.pb, or text: .pbtxt, .prototxt) or a PREFIX.meta with the
// checkpoint beside it. `tag` picks the meta graph: of those that carry it the one of the fewest
// tags, else one without any; a model with a single meta graph needs not carry it.
Result<LoadedModel> load_model(const std::string& path, std::string_view tag = "serve");
// The same from memory: an encoded GraphDef or a text one.
Result<LoadedModel> load_graph(Blob bytes, const std::string& name);

// "serving_default(x: float32[-1,3]) -> (y: float32[-1,10])"
std::string describe_signature(std::string_view key, const SignatureDef& signature);

}  // namespace tenon::tf

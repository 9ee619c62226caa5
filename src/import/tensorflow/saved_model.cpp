#include "import/tensorflow/saved_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#include "import/tensorflow/text_format.h"

namespace tenon::tf {
namespace {

namespace fs = std::filesystem;

// Text by its name or, as no binary message begins with a letter, by its first byte.
bool is_text(const std::string& path, Bytes content) {
  const std::string extension = fs::path(path).extension().string();
  return extension == ".pbtxt" || extension == ".prototxt" || extension == ".textproto" ||
         (!content.empty() && std::isalpha(static_cast<unsigned char>(content[0])));
}

bool file_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The encoded message of a binary or text file, and what keeps it alive.
Result<Blob> encoded_message(const std::string& path, std::string_view root) {
  auto mapped = TRY(MappedFile::open(path));
  if (mapped->bytes().empty()) return invalid_model("the file is empty").at(path);
  if (!is_text(path, mapped->bytes())) return Blob{mapped->bytes(), mapped};
  auto wire =
      std::make_shared<std::string>(TRY(text_to_wire(as_text(mapped->bytes()), root, path)));
  const Bytes bytes = as_bytes(*wire);
  return Blob{bytes, std::move(wire)};
}

// How far tags are from those of a graph to run on a CPU; nothing when they are of another kind. A
// model may hold graphs for other devices beside it, all tagged `serve`, and an old TF-Hub module
// has its graph for inference under no tag at all.
std::optional<size_t> distance_of(const std::vector<std::string_view>& tags, std::string_view tag) {
  if (std::ranges::find(tags, tag) != tags.end()) return tags.size() - 1;
  if (tags.empty()) return std::numeric_limits<size_t>::max();
  return std::nullopt;
}

Status choose_meta_graph(LoadedModel& model, Bytes encoded, std::string_view tag) {
  const SavedModelProto proto = TRY(decode_saved_model(encoded));
  if (proto.meta_graphs.empty())
    return invalid_model("the SavedModel holds no graph").at(model.path);
  std::vector<std::string> available;
  const Bytes* chosen = nullptr;
  size_t least = 0;
  for (const Bytes& meta : proto.meta_graphs) {
    const auto tags = TRY(decode_meta_graph_tags(meta));
    available.push_back(fmt::format("[{}]", fmt::join(tags, ", ")));
    const auto distance = distance_of(tags, tag);
    if (!distance || (chosen != nullptr && *distance >= least)) continue;
    chosen = &meta;
    least = *distance;
  }
  if (!chosen && proto.meta_graphs.size() == 1) chosen = &proto.meta_graphs[0];
  if (!chosen) {
    return not_found(fmt::format("the SavedModel has no graph tagged '{}'; the tags there are {}",
                                 tag, fmt::join(available, " and ")))
        .at(model.path);
  }
  model.meta = TRY(decode_meta_graph(*chosen));
  return ok_status();
}

Status open_variables(LoadedModel& model) {
  const fs::path folder = fs::path(model.path) / "variables";
  const std::string prefix = (folder / "variables").string();
  if (file_exists(prefix + ".index") || file_exists(prefix)) {
    model.variables = TRY(CheckpointBundle::open(prefix));
    return ok_status();
  }
  // Data without an index cannot be read; a folder without either is a model without variables.
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder, error)) {
    if (file.path().filename().string().starts_with("variables.data-"))
      return not_found(
          fmt::format("'{}.index' is missing beside '{}'; copy the whole variables folder", prefix,
                      file.path().filename().string()));
  }
  return ok_status();
}

Result<LoadedModel> load_saved_model(const std::string& folder, std::string_view tag) {
  LoadedModel model;
  model.path = folder;
  model.saved_model = true;
  const fs::path binary = fs::path(folder) / "saved_model.pb";
  const fs::path text = fs::path(folder) / "saved_model.pbtxt";
  const std::string file = (file_exists(binary) ? binary : text).string();
  const auto note = [&](Error&& error) { return std::move(std::move(error).at(file)); };
  auto blob = encoded_message(file, "SavedModel");
  if (!blob.ok()) return note(std::move(blob).error());
  model.owner = blob->owner;
  if (auto status = choose_meta_graph(model, blob->bytes, tag); !status.ok())
    return note(std::move(status).error());
  TRY(open_variables(model));
  return model;
}

bool is_meta_graph(const std::string& path) {
  return fs::path(path).extension() == ".meta" && file_exists(path);
}

// Checkpoints hold the values of variables and no graph: what to do about a file of one (its
// index, a shard, the list of the newest ones), a prefix of their names, or a folder of them.
std::optional<Error> refuse_checkpoint(const fs::path& path) {
  const std::string name = path.filename().string();
  const auto is_part = [](const std::string& file) {
    return file == "checkpoint" || file.ends_with(".index") ||
           (file.find(".data-") != std::string::npos && file.find("-of-") != std::string::npos);
  };
  std::error_code ignored;
  bool found = is_part(name) || file_exists(path.string() + ".index");
  const bool is_folder = fs::is_directory(path, ignored);
  if (is_folder)
    for (const auto& entry : fs::directory_iterator(path, ignored))
      found |= is_part(entry.path().filename().string());
  if (!found) return std::nullopt;
  std::set<std::string> graphs;
  const fs::path folder = is_folder ? path : path.has_parent_path() ? path.parent_path() : ".";
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (is_meta_graph(entry.path().string())) graphs.insert(entry.path().string());
  if (!graphs.empty())
    return invalid_argument(
               fmt::format("a checkpoint of TensorFlow 1 has its graph in a .meta file; "
                           "give that: {}",
                           *graphs.rbegin()))
        .at(path.string());
  return unsupported(
             "this is a TensorFlow checkpoint: it holds the values of variables and no graph; "
             "restore it into the model and write a SavedModel, with model.export('folder') in "
             "Keras or tf.saved_model.save(…)")
      .at(path.string());
}

// PREFIX.meta of a checkpoint of TensorFlow 1: its graph, with the values of its variables in the
// files beside it.
Result<LoadedModel> load_meta_graph(const std::string& path) {
  LoadedModel model;
  model.path = path;
  model.meta_graph = true;
  const Blob blob = TRY(encoded_message(path, "MetaGraphDef"));
  model.owner = blob.owner;
  auto meta = decode_meta_graph(blob.bytes);
  if (!meta.ok()) return std::move(std::move(meta).error().at(path));
  model.meta = std::move(*meta);
  if (model.meta.graph.nodes.empty())
    return invalid_model("the file holds no graph: no node was found in it").at(path);
  const std::string prefix = fs::path(path).replace_extension().string();
  if (file_exists(prefix + ".index") || file_exists(prefix))
    model.variables = TRY(CheckpointBundle::open(prefix));
  return model;
}

Result<LoadedModel> decode_single_graph(const Blob& blob, const std::string& path) {
  // Field 1 is a node in a GraphDef, but the version number in a SavedModel and a length-delimited
  // meta_info_def (whose first field is not a node's name) in a MetaGraphDef.
  if (!blob.bytes.empty() && blob.bytes[0] == std::byte{0x08}) {
    return invalid_argument(
               "this is a saved_model.pb, which needs its folder: give the folder that holds "
               "saved_model.pb and variables/")
        .at(path);
  }
  LoadedModel model;
  model.path = path;
  model.owner = blob.owner;
  auto graph = decode_graph(blob.bytes);
  if (!graph.ok()) return std::move(std::move(graph).error().at(path));
  model.meta.graph = std::move(*graph);
  const auto& nodes = model.meta.graph.nodes;
  if (nodes.empty())
    return invalid_model("the file holds no graph: no node was found in it").at(path);
  if (nodes.front().op.empty()) {
    return invalid_model(
               "the file is not a GraphDef: its first node has no operation; is it the "
               "MetaGraphDef of a checkpoint, whose name ends in .meta?")
        .at(path);
  }
  return model;
}

}  // namespace

bool is_saved_model(const std::string& path) {
  const fs::path given(path);
  std::error_code ignored;
  if (fs::is_directory(given, ignored))
    return file_exists(given / "saved_model.pb") || file_exists(given / "saved_model.pbtxt");
  return given.filename() == "saved_model.pb" || given.filename() == "saved_model.pbtxt";
}

Result<LoadedModel> load_model(const std::string& path, std::string_view tag) {
  std::error_code ignored;
  if (is_saved_model(path)) {
    if (fs::is_directory(path, ignored)) return load_saved_model(path, tag);
    const std::string folder = fs::path(path).parent_path().string();
    return load_saved_model(folder.empty() ? "." : folder, tag);
  }
  if (fs::is_directory(path, ignored)) {
    std::vector<std::string> versions;
    for (const auto& entry : fs::directory_iterator(path, ignored))
      if (entry.is_directory(ignored) && is_saved_model(entry.path().string()))
        versions.push_back(entry.path().string());
    std::sort(versions.begin(), versions.end());
    if (auto error = refuse_checkpoint(path); error && versions.empty()) return *std::move(error);
    const std::string hint =
        versions.empty() ? "" : fmt::format("; did you mean {}?", fmt::join(versions, " or "));
    return not_found(
        fmt::format("folder '{}' holds no saved_model.pb or saved_model.pbtxt{}", path, hint));
  }
  if (is_meta_graph(path)) return load_meta_graph(path);
  if (is_meta_graph(path + ".meta")) return load_meta_graph(path + ".meta");
  if (auto error = refuse_checkpoint(path)) return *std::move(error);
  const Blob blob = TRY(encoded_message(path, "GraphDef"));
  return decode_single_graph(blob, path);
}

Result<LoadedModel> load_graph(Blob bytes, const std::string& name) {
  if (is_text(name, bytes.bytes)) {
    auto wire =
        std::make_shared<std::string>(TRY(text_to_wire(as_text(bytes.bytes), "GraphDef", name)));
    const Bytes view = as_bytes(*wire);
    bytes = Blob{view, std::move(wire)};
  }
  return decode_single_graph(bytes, name);
}

const SignatureDef* LoadedModel::signature(std::string_view key) const {
  for (const auto& [name, signature] : meta.signatures)
    if (name == key) return &signature;
  return nullptr;
}

Result<std::string> LoadedModel::asset_path(std::string_view filename) const {
  const fs::path relative(filename);
  const bool escapes =
      relative.is_absolute() || std::find(relative.begin(), relative.end(), "..") != relative.end();
  if (filename.empty() || escapes)
    return invalid_argument(
        fmt::format("the asset name '{}' leads out of the model's assets folder", filename));
  const fs::path full = fs::path(path) / "assets" / relative;
  if (!file_exists(full))
    return not_found(
        fmt::format("asset '{}' is missing; copy the model's assets folder too", full.string()));
  return full.string();
}

std::string describe_signature(std::string_view key, const SignatureDef& signature) {
  const auto list = [](const auto& tensors) {
    std::string text;
    for (const auto& [name, info] : tensors) {
      if (!text.empty()) text += ", ";
      text += fmt::format("{}: {}{}", name, info.components.empty() ? "" : "composite ",
                          dtype_name(info.dtype) + info.shape.to_string());
    }
    return text;
  };
  return fmt::format("{}({}) -> ({})", key, list(signature.inputs), list(signature.outputs));
}

}  // namespace tenon::tf

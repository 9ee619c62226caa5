#include "model_arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <limits>

#include "import/custom_ops.h"
#include "run_arguments.h"

namespace tenon::tool {
namespace {

// NAME:1,224,224,3 (or 1,224,224,3 for a model with one input); -1 or ? keeps a dimension open.
Result<std::pair<std::string, std::vector<int64_t>>> parse_shape(const std::string& text) {
  const size_t colon = text.rfind(':');
  std::string name = colon == std::string::npos ? "" : text.substr(0, colon);
  std::string_view list = text;
  if (colon != std::string::npos) list.remove_prefix(colon + 1);
  std::vector<int64_t> dims;
  while (!list.empty()) {
    const std::string_view item = list.substr(0, list.find_first_of(",x"));
    int64_t d = -1;
    const auto [p, error] = std::from_chars(item.data(), item.data() + item.size(), d);
    if (item != "?" && (error != std::errc() || p != item.data() + item.size() || d < -1))
      return invalid_argument(fmt::format("'{}' is not of the form NAME:1,224,224,3", text));
    dims.push_back(d);
    list.remove_prefix(std::min(item.size() + 1, list.size()));
  }
  return std::pair{std::move(name), std::move(dims)};
}

}  // namespace

void add_input_shapes(CLI::App& command, std::vector<std::string>& shapes) {
  command
      .add_option("--input-shape", shapes,
                  "NAME:1,224,224,3, or the sizes alone for a model with one input; repeatable; -1 "
                  "keeps a dimension open")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        const auto shape = parse_shape(text);
        return shape.ok() ? std::string() : shape.error().message;
      });
}

void add_cuts(CLI::App& command, ModelArguments& a) {
  command
      .add_option("--inputs", a.inputs,
                  "a,b: cut a GraphDef or ONNX graph there; x and x:0 are the same")
      ->allow_extra_args(false)
      ->delimiter(',');
  command.add_option("--outputs", a.outputs, "a,b: stop there; what lies behind is left out")
      ->allow_extra_args(false)
      ->delimiter(',');
}

void add_model_arguments(CLI::App& command, ModelArguments& a) {
  command.add_option("MODEL", a.model, "SavedModel folder, .pb, .pbtxt, .onnx or .tn")->required();
  command.add_option("--signature", a.signature, "only this signature (default: all)");
  add_input_shapes(command, a.shapes);
  add_cuts(command, a);
  add_custom_ops(command, a.custom_ops);
  command.add_flag("--json", a.json, "machine-readable output");
}

void add_calibration(CLI::App& command, CalibrationSettings& settings) {
  const auto check = [](CalibrationSettings s) {
    const Status status = check_calibration(s);
    return status.ok() ? std::string() : status.error().message;
  };
  command.add_option("--calibration", settings.data,
                     "for int8: .npy, .npz, .tfrecord file or a folder of them or of pictures, "
                     "typical of what the model will be given (default: made-up numbers)");
  std::string methods;
  for (const auto& info : quant::kMethodInfos)
    methods += (methods.empty() ? "" : ", ") + std::string(info.name);
  command.add_option("--calibration-method", settings.method, "how ranges are chosen: " + methods)
      ->check([check](const std::string& method) { return check({.method = method}); });
  command
      .add_option("--preprocess", settings.preprocess,
                  "pictures: resize=256,crop=224,scale=1/255,mean=A;B;C,std=A;B;C,layout=nchw,"
                  "channels=bgr")
      ->check([check](const std::string& text) { return check({.preprocess = text}); });
  command
      .add_option("--samples", settings.samples, "of the calibration data, at most (default: 256)")
      ->check(CLI::Range(int64_t{1}, std::numeric_limits<int64_t>::max(), "one or more"));
  command.add_option("--config", settings.config,
                     "TOML file of the precision of single layers (docs/quantization.md)");
  command
      .add_option("--report", settings.report,
                  "FILE.html or FILE.json: what integers do to each layer, and it to the outputs")
      ->check([check](const std::string& file) { return check({.report = file}); });
  command.add_flag("--force-precision", settings.force_precision,
                   "the precision also in layers where it is predicted to be slower on this CPU");
  command.add_option("--statistics", settings.statistics,
                     "file in which what the calibration found is kept and looked for");
}

void add_output(CLI::App& command, std::string& output) {
  command.add_option("-o,--output", output, "file to write (default: MODEL.tenon)")
      ->check([](const std::string& file) {
        std::error_code error;
        if (file.empty()) return std::string("a file cannot have an empty name");
        if (!std::filesystem::is_directory(file, error)) return std::string();
        return fmt::format("'{0}' is a folder; give a file, such as {0}/model.tenon", file);
      });
}

Result<std::string> output_file(const std::string& output, const std::string& model) {
  std::error_code error;
  std::filesystem::path path = output;
  if (output.empty()) {
    path = std::filesystem::path(model).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    if (path.filename() == "." || path.filename() == "..")
      path = std::filesystem::weakly_canonical(path, error);
    path += ".tenon";
  }
  const auto folder = path.parent_path();
  if (folder.empty() || std::filesystem::is_directory(folder, error)) return path.string();
  return io_error(fmt::format("cannot create '{}': there is no folder '{}'; make it first",
                              path.string(), folder.string()));
}

Result<ImportOptions> import_options(const ModelArguments& a) {
  ImportOptions options;
  options.signature = a.signature;
  options.inputs = a.inputs;
  options.outputs = a.outputs;
  for (const std::string& shape : a.shapes) options.input_shapes.push_back(TRY(parse_shape(shape)));
  if (!a.custom_ops.empty()) options.custom_ops = TRY(CustomOps::load(a.custom_ops));
  return options;
}

}  // namespace tenon::tool

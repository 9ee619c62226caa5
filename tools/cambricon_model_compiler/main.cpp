// `cambricon_model_compiler`: the command line that users of the chip know, on top of the compiler.
// Exit status as of `tenon`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <exception>
#include <new>

#include "base/version.h"
#include "calibrate/settings.h"
#include "compiler/compile.h"

namespace tenon::tool {
namespace {

struct Arguments {
  std::string model_type = "tensorflow", saved_model_dir, input_model, output_model;
  std::string precision = "fp32", shapes, signature;
  std::vector<std::string> input_names, output_names, for_chip;
  CalibrationSettings calibration;
};

using NamedShape = std::pair<std::string, std::vector<int64_t>>;

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" ,;");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

Result<std::vector<int64_t>> parse_sizes(std::string_view list, std::string_view whole) {
  std::vector<int64_t> sizes;
  while (!(list = trimmed(list)).empty()) {
    const std::string_view item = list.substr(0, list.find_first_of(", "));
    int64_t size = -1;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), size);
    if (item != "?" && (error != std::errc() || end != item.data() + item.size() || size < -1))
      return invalid_argument(fmt::format(
          "--input_shapes={}: '{}' is no size; expected e.g. [1,224,224,3]", whole, item));
    sizes.push_back(size);
    list.remove_prefix(item.size());
  }
  return sizes;
}

// [1,224,224,3], several of them apart by commas or in one more pair of brackets, each with NAME:
// before it if wanted; or sizes without brackets for a model with one input.
Result<std::vector<NamedShape>> parse_shapes(std::string_view whole) {
  std::string_view text = trimmed(whole);
  std::vector<NamedShape> shapes;
  if (text.find('[') == std::string_view::npos) {
    if (!text.empty()) shapes.emplace_back("", TRY(parse_sizes(text, whole)));
    return shapes;
  }
  if (text.starts_with("[[") && text.ends_with("]]")) text = text.substr(1, text.size() - 2);
  while (!(text = trimmed(text)).empty()) {
    const size_t open = text.find('['), close = text.find(']');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open ||
        (open > 0 && text[open - 1] != ':'))
      return invalid_argument(fmt::format(
          "--input_shapes={} is not of the form [1,224,224,3] or NAME:[1,224,224,3]", whole));
    shapes.emplace_back(std::string(text.substr(0, open > 0 ? open - 1 : 0)),
                        TRY(parse_sizes(text.substr(open + 1, close - open - 1), whole)));
    text.remove_prefix(close + 1);
  }
  return shapes;
}

// The model's path, by the type that was said.
Result<std::string> model_path(const Arguments& a) {
  const bool tensorflow = a.model_type == "tensorflow" || a.model_type == "tf";
  if (!tensorflow && a.model_type != "onnx")
    return unsupported(
        fmt::format("--model_type={} is not there; there are: tensorflow, onnx", a.model_type));
  if (!tensorflow && !a.saved_model_dir.empty())
    return invalid_argument("--input_saved_model_dir needs --model_type=tensorflow");
  if (a.saved_model_dir.empty() == a.input_model.empty())
    return invalid_argument(
        tensorflow ? "give either --input_saved_model_dir=FOLDER or --input_model=FILE.pb"
                   : "give --input_model=FILE.onnx");
  return a.saved_model_dir.empty() ? a.input_model : a.saved_model_dir;
}

// Several shapes without names go by the order of the model's inputs.
Status name_shapes(const std::string& path, ImportOptions& options) {
  auto& shapes = options.input_shapes;
  size_t unnamed = 0;
  for (const NamedShape& shape : shapes) unnamed += shape.first.empty();
  if (unnamed == 0 || shapes.size() == 1) return {};
  std::vector<std::string> names = options.inputs;
  if (names.empty()) {
    ImportOptions without = options;
    without.input_shapes.clear();
    const ImportedModel model = TRY(import_model(path, without));
    for (const ImportedFunction& f : model.functions)
      if (names.empty() || f.key == "serving_default") names = f.input_names;
  }
  if (unnamed != shapes.size() || names.size() != shapes.size())
    return invalid_argument(
        fmt::format("{} shapes are given for {} inputs ({}); give one for each in this order, or "
                    "NAME:[1,224,224,3]",
                    shapes.size(), names.size(), fmt::join(names, ", ")));
  for (size_t i = 0; i < names.size(); ++i) shapes[i].first = names[i];
  return {};
}

// What can be said of the line without the model.
Status check_usage(const Arguments& a) {
  TRY(model_path(a));
  TRY(parse_shapes(a.shapes));
  TRY(check_calibration(a.calibration));
  return check_options({.precision = a.precision});
}

Status compile(const Arguments& a) {
  const std::string path = TRY(model_path(a));
  if (!a.for_chip.empty())
    fmt::print(
        stderr,
        "warning: --mlu_arch and --dev_id have no effect: the file runs on the CPU and on each of "
        "`tenon devices`\n");
  CompileOptions options;
  options.precision = a.precision;
  options.import.signature = a.signature;
  options.import.inputs = a.input_names;
  options.import.outputs = a.output_names;
  options.import.input_shapes = TRY(parse_shapes(a.shapes));
  TRY(name_shapes(path, options.import));
  TRY(apply_calibration(a.calibration, {}, {}, options));
  const Compiled compiled = TRY(compile_model(path, options));
  TRY(write_model(a.output_model, compiled.model));
  for (const std::string& warning : compiled.report.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  fmt::print("{}\n", a.output_model);
  return {};
}

void add_options(CLI::App& app, Arguments& a) {
  app.add_option("--model_type", a.model_type, "tensorflow or onnx");
  app.add_option("--input_saved_model_dir", a.saved_model_dir, "SavedModel folder");
  app.add_option("--input_model,--input_graph_def", a.input_model, "frozen GraphDef or ONNX file");
  app.add_option("--output_model", a.output_model, "file to write")->required();
  app.add_option("--precision", a.precision,
                 "force_float32 (fp32), force_float16, bf16, int8, qint8_mixed_float32, "
                 "qint8_mixed_float16, or another name that tenon compile takes");
  app.add_option("--calibration,--calibration_data_path", a.calibration.data,
                 "for int8: .npy, .npz, .tfrecord file, or a folder of them or of pictures");
  app.add_option("--calibration_method", a.calibration.method, "as of tenon compile");
  app.add_option("--calibration_samples", a.calibration.samples, "at most (default: 256)");
  app.add_option("--config", a.calibration.config, "precisions of single layers, a TOML file");
  app.add_option("--preprocess", a.calibration.preprocess, "of pictures, as of tenon compile");
  app.add_option("--input_shapes", a.shapes, "[1,224,224,3], or NAME:[1,224,224,3] for each input");
  app.add_option("--input_names", a.input_names, "inputs of a GraphDef or ONNX graph")
      ->allow_extra_args(false)
      ->delimiter(',');
  app.add_option("--output_names", a.output_names, "outputs of a GraphDef or ONNX graph")
      ->allow_extra_args(false)
      ->delimiter(',');
  app.add_option("--signature", a.signature, "signature of a SavedModel (default: all)");
  app.add_option(
         "--mlu_arch,--dev_id", a.for_chip,
         "accepted without effect: the file holds the portable graph, which the CPU and each of "
         "`tenon devices` runs; `tenon compile --target` adds programs for chips")
      ->allow_extra_args(false);
  app.set_version_flag("--version", fmt::format("tenon {}", version()));
  app.footer(
      "Example:\n  cambricon_model_compiler --model_type=tensorflow "
      "--input_saved_model_dir=resnet_tiny \\\n    --output_model=model.cambricon "
      "--precision=fp32 --input_shapes=[1,224,224,3]");
}

}  // namespace
}  // namespace tenon::tool

int main(int argc, char** argv) {
  CLI::App app{"Compiles a trained TensorFlow or ONNX model into one file."};
  tenon::tool::Arguments arguments;
  tenon::tool::add_options(app, arguments);
  try {
    app.parse(argc, argv);
    const tenon::Status usage = tenon::tool::check_usage(arguments);
    const tenon::Status status = usage.ok() ? tenon::tool::compile(arguments) : usage;
    if (status.ok()) return 0;
    std::fprintf(stderr, "cambricon_model_compiler: %s\n", status.error().to_string().c_str());
    return usage.ok() ? tenon::exit_status(status.error().code) : 2;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::bad_alloc&) {
    std::fputs("cambricon_model_compiler: resource_exhausted: out of memory\n", stderr);
    return tenon::exit_status(tenon::Code::resource_exhausted);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cambricon_model_compiler: internal: %s\n", error.what());
    return 70;
  }
}

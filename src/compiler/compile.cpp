#include "compiler/compile.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/nearest.h"
#include "base/version.h"
#include "compiler/stored_layouts.h"
#include "format/custom_ops.h"
#include "import/custom_ops.h"
#include "passes/passes.h"
#include "quant/byte_layers.h"

namespace tenon {
namespace {

bool is_directory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// An ONNX ModelProto begins with its ir_version (field 1, varint); a GraphDef with a node (field 1,
// length-delimited).
bool looks_like_onnx(Bytes bytes) {
  return !bytes.empty() && bytes[0] == std::byte{0x08};
}

// Files of other tools, by how they begin: what they are and how to get to a model Tenon reads.
Status refuse_other_formats(Bytes bytes) {
  using std::string_view_literals::operator""sv;
  struct Format {
    size_t offset;
    std::string_view magic, message;
  };
  static constexpr std::string_view kPickle =
      "this is a pickled Python object; load it in Python and write a SavedModel or an ONNX file";
  static constexpr Format kFormats[] = {
      {0, "\x89HDF\r\n\x1a\n"sv,
       "this is a Keras HDF5 file; load it with Keras and write a SavedModel with "
       "model.export('folder')"},
      {0, "PK\x03\x04"sv,
       "this is a zip archive, such as Keras' .keras or PyTorch's .pt; write a SavedModel with "
       "model.export('folder') in Keras, an ONNX file with torch.onnx.export in PyTorch"},
      {4, "TFL3"sv,
       "this is a TensorFlow Lite file; give the SavedModel or ONNX file it was converted from"},
      {0, "TENON\r\n\x1a"sv, "this file is compiled already; use it with `tenon run`"},
      {0, "\x1f\x8b"sv, "this file is compressed with gzip; unpack it first"},
      {257, "ustar"sv, "this is a tar archive; unpack it first"},
      {0, "{"sv,
       "this is JSON, such as Keras' model.to_json(), which holds no weights; load the model with "
       "Keras and write a SavedModel with model.export('folder')"},
      {0, "\x80\x02"sv, kPickle},
      {0, "\x80\x03"sv, kPickle},
      {0, "\x80\x04"sv, kPickle},
      {0, "\x80\x05"sv, kPickle},
      {0, "version https://git-lfs"sv,
       "this is a Git LFS pointer, not the model; fetch it with `git lfs pull`"},
  };
  if (bytes.empty()) return invalid_model("the file is empty");
  for (const Format& format : kFormats)
    if (bytes.size() >= format.offset &&
        as_text(bytes.subspan(format.offset)).starts_with(format.magic))
      return unsupported(std::string(format.message));
  return {};
}

Error unsupported_nodes(const ImportReport& report) {
  std::string list;
  int shown = 0;
  constexpr int kShown = 10;
  for (const NodeReport& node : report.nodes) {
    if (node.fate != Fate::unsupported || ++shown > kShown) continue;
    list += fmt::format("\n  node '{}' ({}): {}", node.name, node.op, node.reason);
  }
  if (shown > kShown) list += fmt::format("\n  … and {} more", shown - kShown);
  return unsupported(
      fmt::format("{} nodes of the model have no mapping:{}\n  run `tenon check MODEL` for "
                  "the whole list and the ways out (--custom-ops, --outputs)",
                  shown, list));
}

// What `tenon explain` prints of the passes: each place, and behind it a line for each rule that
// fired there, "TAB rule TAB times TAB nodes TAB bytes". Places have long names.
std::string firings_note(const std::vector<Firing>& firings) {
  struct Sum {
    int64_t times = 0, nodes = 0, bytes = 0;
  };
  std::vector<std::pair<std::string_view, std::map<std::string_view, Sum>>> places;
  std::unordered_map<std::string_view, size_t> index;
  for (const Firing& f : firings) {
    const auto [at, is_new] = index.try_emplace(f.where, places.size());
    if (is_new) places.emplace_back(f.where, std::map<std::string_view, Sum>());
    Sum& sum = places[at->second].second[f.rule];
    ++sum.times;
    sum.nodes += f.nodes;
    sum.bytes += f.bytes;
  }
  std::string text;
  for (const auto& [place, rules] : places) {
    text += fmt::format("{}\n", place);
    for (const auto& [rule, sum] : rules)
      text += fmt::format("\t{}\t{}\t{}\t{}\n", rule, sum.times, sum.nodes, sum.bytes);
  }
  return text;
}

// Notes where the custom ops come from, and embeds the libraries that are used.
Status add_custom_ops(FileModel& model, const CompileOptions& options) {
  std::string list;
  std::vector<std::string> used;
  for (const CustomOpUse& use : custom_ops_of(model)) {
    list += fmt::format("{}{} from {}", list.empty() ? "" : ", ", use.op, use.library);
    if (std::ranges::find(used, use.library) == used.end()) used.push_back(use.library);
  }
  if (list.empty()) return {};
  model.notes.emplace_back("custom_ops", list);
  if (!options.embed_custom_ops || options.import.custom_ops == nullptr) return {};
  for (const auto& library : options.import.custom_ops->libraries().all) {
    if (std::ranges::find(used, library->name()) == used.end()) continue;
    auto file = TRY(MappedFile::open(library->path()));
    const Bytes bytes = file->bytes();
    model.libraries.push_back({library->name(), {bytes, std::move(file)}});
  }
  return {};
}

// Integers in place of the products of reals, by what the tensors hold on calibration data. `exact`
// gets the nodes of the products whose weights are to stay as they are.
Status quantize(ImportedFunction& function, PassContext& context, const CompileOptions& options,
                CompileReport& all, FunctionReport& report, quant::RuleUse& use,
                std::set<std::string>& exact) {
  if (Status s = canonicalize(*function.graph, context); !s.ok())
    return write_reproducer(std::move(s).error(), context);
  TRY(quant::prepare(*function.graph));
  if (!options.calibrate) return internal_error("int8 needs a way to calibrate");
  if (options.progress) options.progress("calibrate " + function.key);
  QuantizationInput input = TRY(options.calibrate(function, all.import, use, all.warnings));
  if (input.graph) function.graph = std::move(input.graph);
  if (options.progress) options.progress("quantise " + function.key);
  if (options.disabled.contains("bias-correction")) input.options.bias_correction = false;
  report.quantization = TRY(quant::quantize(*function.graph, input.statistics, input.options));
  const auto& made = *report.quantization;
  for (const quant::LayerChoice& layer : made.layers)
    if (input.options.exact.contains(layer.name)) exact.insert(layer.node);
  all.warnings.insert(all.warnings.end(), made.warnings.begin(), made.warnings.end());
  return {};
}

// The range of each tensor and how it was chosen, for reports on the file: a line for each.
std::string ranges_note(const CompileReport& report) {
  std::string text;
  for (const FunctionReport& f : report.functions)
    if (f.quantization)
      for (const quant::TensorChoice& t : f.quantization->tensors)
        if (t.bits == 8)
          text += fmt::format("{} {:.9g} {} {}\n", quant::method_name(t.range.method),
                              t.params.scale, t.params.zero, t.name);
  return text;
}

// Weights of fewer bits, and products in bf16, as the options have it.
Result<std::vector<quant::NarrowedLayer>> narrow(Graph& graph, const CompileOptions& options,
                                                 const quant::Precision& precision,
                                                 const ImportReport& import,
                                                 const std::set<std::string>& exact,
                                                 quant::RuleUse& use) {
  // What was to be of integers and could not be, is of what the rest is; at least its weights are.
  const bool integers = precision.products == quant::LayerPrecision::int8;
  const bool quantised = needs_calibration(options, precision);
  const quant::LayerPrecision rest =
      precision.rest == quant::LayerPrecision::fp32 ? quant::LayerPrecision::int8 : precision.rest;
  quant::LayerPrecision otherwise = integers ? rest : precision.products;
  quant::LayerDecisions decisions;
  if (otherwise == quant::LayerPrecision::int8_dynamic ||
      (options.config && quant::mentions(*options.config, quant::LayerPrecision::int8_dynamic)))
    TRY(quant::prepare(graph));
  if (options.config) {
    // Integers were decided on before: what they are of now has other names.
    decisions = TRY(quant::decide_layers(*options.config, otherwise, graph, source_ops_of(import),
                                         quantised ? nullptr : &use));
    for (auto& [node, decision] : decisions)
      if (decision.precision == quant::LayerPrecision::int8) decision = {rest, {}};
    if (options.config->precision && options.config->precision != quant::LayerPrecision::int8)
      otherwise = *options.config->precision;
  }
  // Recurrent layers that could multiply bytes do already: of the others the weights are.
  for (const auto& node : graph.nodes()) {
    if (!quantised || !quant::is_recurrent(*node)) continue;
    const auto [it, is_new] =
        decisions.try_emplace(node.get(), quant::LayerDecision{otherwise, {}});
    if (it->second.precision == quant::LayerPrecision::int8)
      it->second.precision = quant::LayerPrecision::int8_weights;
  }
  // What was kept in fp32 for its accuracy stays so.
  for (const auto& node : graph.nodes())
    if (std::ranges::any_of(node->origins, [&](const auto& o) { return exact.contains(o); }))
      decisions[node.get()] = {quant::LayerPrecision::fp32, {}};
  // What a rule of the user's names is as it says.
  if (options.better_in_f32)
    for (auto& [node, reason] : TRY(options.better_in_f32(graph, otherwise))) {
      const auto [it, is_new] = decisions.try_emplace(node, quant::LayerDecision{otherwise, {}});
      if (it->second.precision == otherwise && !it->second.is_named)
        it->second.better_in_f32 = std::move(reason);
    }
  return quant::narrow(graph, otherwise, decisions);
}

Result<Compiled> compile_imported(ImportedModel imported, const CompileOptions& options) {
  Compiled compiled;
  const quant::Precision precision = TRY(quant::parse_precision(options.precision));
  const bool integers = needs_calibration(options, precision);
  std::vector<std::pair<std::string, std::string>> rule_notes;
  compiled.report.import = std::move(imported.report);
  compiled.report.warnings = std::move(imported.warnings);
  if (imported.functions.empty()) return unsupported_nodes(compiled.report.import);
  quant::RuleUse use(imported.functions.size());
  for (ImportedFunction& function : imported.functions) {
    if (options.progress) options.progress("optimise " + function.key);
    FunctionReport report;
    report.key = function.key;
    report.nodes_imported = function.graph->node_count();
    if (options.keep_imported) compiled.imported.push_back(function.graph->clone());
    PassContext context;
    context.disabled = options.disabled;
    std::set<std::string> exact;
    if (integers) TRY(quantize(function, context, options, compiled.report, report, use, exact));
    const bool narrows = options.config || precision != quant::Precision();
    if (options.optimize || narrows) {
      Status s = canonicalize(*function.graph, context);
      if (s.ok() && narrows)
        report.narrowed =
            TRY(narrow(*function.graph, options, precision, compiled.report.import, exact, use));
      if (s.ok()) s = finish(*function.graph, context);
      if (!s.ok()) return write_reproducer(std::move(s).error(), context);
    }
    report.nodes_compiled = function.graph->node_count();
    report.firings = std::move(context.firings);
    rule_notes.emplace_back("rules." + function.key, firings_note(report.firings));
    compiled.report.functions.push_back(std::move(report));
    compiled.model.functions.push_back({function.key,
                                        encode_graph(*function.graph),
                                        std::move(function.input_names),
                                        std::move(function.output_names),
                                        {}});
    choose_layouts(compiled.model.functions.back().graph);
    for (StateVariable& s : function.state)
      compiled.model.functions.back().state.push_back(
          {std::move(s.name), std::move(s.initial), s.is_written});
  }
  compiled.model.producer = fmt::format("tenon {}", version());
  compiled.model.notes = {{"source.format", compiled.report.import.format},
                          {"precision", precision.to_string()},
                          {"target", options.target}};
  std::string disabled;
  for (const std::string& name : options.disabled) disabled += (disabled.empty() ? "" : " ") + name;
  if (!disabled.empty()) compiled.model.notes.emplace_back("disabled", disabled);
  if (options.strict) compiled.model.notes.emplace_back(kStrictNote, "yes");
  if (options.max_loop_iterations > 0)
    compiled.model.notes.emplace_back(kMaxLoopIterationsNote,
                                      std::to_string(options.max_loop_iterations));
  if (std::string ranges = ranges_note(compiled.report); !ranges.empty())
    compiled.model.notes.emplace_back("ranges", std::move(ranges));
  TRY(add_custom_ops(compiled.model, options));
  compiled.model.notes.insert(compiled.model.notes.end(), rule_notes.begin(), rule_notes.end());
  return compiled;
}

Result<ImportedModel> import_by_kind(const std::string& path, const ImportOptions& options) {
  if (is_directory(path)) return tf::import_tensorflow(path, options);
  auto opened = MappedFile::open(path);
  if (!opened.ok() && MappedFile::open(path + ".index").ok())  // the prefix of a checkpoint
    return tf::import_tensorflow(path, options);
  auto file = TRY(std::move(opened));
  if (Status s = refuse_other_formats(file->bytes()); !s.ok()) return std::move(s).error().at(path);
  if (path.ends_with(".onnx")) return onnx::import_onnx(path, options);
  if (path.ends_with(".tn")) return import_text(TRY(read_text_file(path)), path, options);
  if (path.ends_with(".pb") || path.ends_with(".pbtxt") || path.ends_with(".meta"))
    return tf::import_tensorflow(path, options);
  if (looks_like_onnx(file->bytes())) return onnx::import_onnx(path, options);
  return tf::import_tensorflow(path, options);
}

std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

// A signature or an input that was named and is not there is a mistake, never without effect.
Result<ImportedModel> with_known_names(Result<ImportedModel> model, const ImportOptions& options) {
  if (!model.ok() || model->functions.empty()) return model;
  std::vector<std::string> keys, inputs;
  for (const ImportedFunction& function : model->functions) {
    keys.push_back(function.key);
    for (const std::string& name : function.input_names)
      if (std::ranges::find(inputs, name) == inputs.end()) inputs.push_back(name);
  }
  if (!options.signature.empty() && std::ranges::find(keys, options.signature) == keys.end())
    return not_found(fmt::format("there is no signature '{}'; there are: {}", options.signature,
                                 fmt::join(keys, ", ")));
  for (const auto& [name, sizes] : options.input_shapes)
    if (!name.empty() && std::ranges::find(inputs, bare(name), bare) == inputs.end())
      return not_found(fmt::format("there is no input '{}' to give a shape{}; there are: {}", name,
                                   did_you_mean(name, inputs), fmt::join(inputs, ", ")));
  return model;
}

}  // namespace

bool needs_calibration(const CompileOptions& options, const quant::Precision& precision) {
  return (options.config && quant::mentions(*options.config, quant::LayerPrecision::int8)) ||
         (precision.products == quant::LayerPrecision::int8 &&
          (!options.config || !options.config->precision ||
           *options.config->precision == quant::LayerPrecision::int8));
}

std::map<std::string, std::string> source_ops_of(const ImportReport& import) {
  std::map<std::string, std::string> ops;
  for (const NodeReport& node : import.nodes) ops[node.name] = node.op;
  return ops;
}

Status check_options(const CompileOptions& options) {
  if (options.target != "cpu")
    return unsupported(fmt::format(
        "target '{}' is not there; the portable graph is compiled for: cpu", options.target));
  TRY(quant::parse_precision(options.precision));
  std::vector<std::string> names;
  for (const Pass& p : all_passes()) names.emplace_back(p.name);
  for (const Rule& r : all_rules()) names.emplace_back(r.name);
  for (const quant::Technique& t : quant::kTechniques) names.emplace_back(t.name);
  for (const std::string& name : options.disabled)
    if (std::ranges::find(names, name) == names.end())
      return invalid_argument(
          fmt::format("there is no rule '{}' to disable{}; `tenon docs rules` lists all", name,
                      did_you_mean(name, names)));
  return {};
}

Result<ImportedModel> import_model(const std::string& path, const ImportOptions& options) {
  return with_known_names(import_by_kind(path, options), options);
}

Result<ImportedModel> import_model(Blob blob, const ImportOptions& options) {
  TRY(refuse_other_formats(blob.bytes));
  return with_known_names(looks_like_onnx(blob.bytes)
                              ? onnx::import_onnx(std::move(blob), options)
                              : tf::import_graph_def(std::move(blob), options),
                          options);
}

Result<Compiled> compile_model(const std::string& path, const CompileOptions& options) {
  TRY(check_options(options));
  if (options.progress) options.progress("import");
  return compile_imported(TRY(import_model(path, options.import)), options);
}

Result<Compiled> compile_model(Blob blob, const CompileOptions& options) {
  TRY(check_options(options));
  return compile_imported(TRY(import_model(std::move(blob), options.import)), options);
}

}  // namespace tenon

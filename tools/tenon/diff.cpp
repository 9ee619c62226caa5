// `tenon diff`: how two models or files differ, in structure or in what they compute.
#include <fmt/format.h>

#include <map>
#include <optional>

#include "calibrate/calibrate.h"
#include "calibrate/layer_diff.h"
#include "calibrate/settings.h"
#include "commands.h"
#include "format/model_file.h"
#include "ir/hash.h"
#include "ir/text.h"
#include "layer_table.h"
#include "number_arguments.h"
#include "progress.h"
#include "run_arguments.h"
#include "runnable.h"
#include "verify/layers.h"

namespace tenon::tool {
namespace {

struct DiffArguments : RunLimits {
  std::string a, b, signature;
  std::vector<std::string> inputs;
  CalibrationSettings data;     // what of it says where samples are from, and the report
  std::optional<double> bound;  // as given
  double tolerance = 1e-4;      // that, or for what is a verdict
  int64_t batch = 1;
  uint32_t seed = 1;
  bool structure = false, layers = false, reference = false, json = false;
};

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The lines with "- ", "+ " or "  " before them, along a longest common subsequence; what both
// begin and end with is left out of the quadratic part.
std::vector<std::string> line_diff(const std::vector<std::string>& a,
                                   const std::vector<std::string>& b) {
  constexpr size_t kMaxCells = size_t{1} << 26;
  size_t begin = 0, end = 0;
  while (begin < a.size() && begin < b.size() && a[begin] == b[begin]) ++begin;
  while (end < a.size() - begin && end < b.size() - begin &&
         a[a.size() - 1 - end] == b[b.size() - 1 - end])
    ++end;
  const size_t n = a.size() - begin - end, m = b.size() - begin - end;
  std::vector<std::string> out;
  for (size_t i = 0; i < begin; ++i) out.push_back("  " + a[i]);
  size_t i = 0, j = 0;
  if (n > 0 && m > 0 && (n + 1) <= kMaxCells / (m + 1)) {
    std::vector<uint32_t> length((n + 1) * (m + 1));
    const auto at = [&](size_t x, size_t y) -> uint32_t& { return length[x * (m + 1) + y]; };
    for (size_t x = n; x-- > 0;)
      for (size_t y = m; y-- > 0;)
        at(x, y) = a[begin + x] == b[begin + y] ? at(x + 1, y + 1) + 1
                                                : std::max(at(x + 1, y), at(x, y + 1));
    while (i < n && j < m) {
      if (a[begin + i] == b[begin + j]) {
        out.push_back("  " + a[begin + i]);
        ++i, ++j;
      } else if (at(i + 1, j) >= at(i, j + 1)) {
        out.push_back("- " + a[begin + i++]);
      } else {
        out.push_back("+ " + b[begin + j++]);
      }
    }
  }
  while (i < n) out.push_back("- " + a[begin + i++]);
  while (j < m) out.push_back("+ " + b[begin + j++]);
  for (size_t k = a.size() - end; k < a.size(); ++k) out.push_back("  " + a[k]);
  return out;
}

Status diff_structure(const DiffArguments& args) {
  NamedGraph a = TRY(load_graph(args.a, args.signature, load_options(args)));
  NamedGraph b = TRY(load_graph(args.b, args.signature, load_options(args)));
  // Names of stages and of the graph itself are no difference.
  a.graph->stage = b.graph->stage;
  a.graph->name = b.graph->name;
  const bool same = graph_hash(*a.graph) == graph_hash(*b.graph);
  if (args.json) {
    fmt::print("{}\n", to_text(nlohmann::json{{"same", same},
                                              {"nodes_a", a.graph->node_count()},
                                              {"nodes_b", b.graph->node_count()}}));
  } else if (same) {
    fmt::print("the graphs are equal: {} nodes\n", a.graph->node_count());
  } else {
    for (const std::string& line :
         line_diff(lines_of(print_graph(*a.graph)), lines_of(print_graph(*b.graph))))
      if (!line.starts_with(' ')) fmt::print("{}\n", line);
  }
  if (same) return {};
  return invalid_model("the graphs differ");
}

// The layers of a side, by the reference or by the runtime.
Result<Layers> layers_of(const std::string& path, const DiffArguments& args,
                         std::span<const Tensor> inputs) {
  const NamedGraph named = TRY(load_graph(path, args.signature, load_options(args)));
  const auto all = with_initial_state(named, inputs);
  return args.reference ? layers_by_reference(*named.graph, all)
                        : layers_by_runtime(*named.graph, all, load_options(args));
}

// Where two sides that differ begin to: said on stderr, since the outputs have been shown.
void say_first_difference(const DiffArguments& args, std::span<const Tensor> inputs) {
  const auto a = layers_of(args.a, args, inputs), b = layers_of(args.b, args, inputs);
  if (!a.ok() || !b.ok()) return;
  const auto layers = compare_layers(*a, *b);
  if (const auto* first = first_difference(layers, args.tolerance))
    fmt::print(stderr, "the first layer that differs: {}: {}\n", first->name,
               first->difference.to_string());
}

Status diff_recorded(const DiffArguments& args) {
  const runtime::LoadOptions options = load_options(args);
  const Runnable a = TRY(open_runnable(
      args.a, args.signature, args.reference ? Engine::kReference : Engine::kRuntime, options));
  return compare_with_recorded(args.a, args.signature, a, args.inputs, args.b, args.tolerance,
                               args.json, options);
}

// Layer by layer on the user's data, with a report.
Status diff_on_data(const DiffArguments& args) {
  const runtime::LoadOptions options = load_options(args);
  auto progress = std::make_unique<Progress>();
  progress->stage("load");
  const NamedGraph a = TRY(load_graph(args.a, args.signature, options));
  const NamedGraph b = TRY(load_graph(args.b, args.signature, options));
  if (a.graph->inputs().size() != b.graph->inputs().size())
    return invalid_model(
        fmt::format("{} inputs against {}", a.graph->inputs().size(), b.graph->inputs().size()));
  CalibrationOptions data;
  data.data = args.data.data;
  data.preprocess = TRY(parse_preprocess(args.data.preprocess));
  const auto samples = TRY(some_samples(b, data, args.data.samples));
  NotedRanges ranges;
  if (args.a.ends_with(".tenon"))
    for (const auto& [key, value] : TRY(read_model_file(args.a)).notes)
      if (key == kRangesNote) ranges = parse_ranges(value);
  progress->stage("run layer by layer");
  CalibrationFindings findings;
  findings.layers.push_back(
      TRY(diff_layers(a, b, samples, options, ranges, findings.statistics[a.key])));
  progress.reset();
  TRY(write_report(args.data, findings));
  const LayerReport& report = findings.layers.front();
  if (args.json)
    fmt::print("{}\n", report_json(findings));
  else
    print_layer_table(report);
  // A report of what is lost says that it is; only the user knows what would be too much.
  if (!args.bound || report.outputs.relative_l2 <= *args.bound) return {};
  return invalid_model(
      fmt::format("the outputs differ by {:.3g} (relative L2), more than --tolerance {:g}",
                  report.outputs.relative_l2, *args.bound));
}

Status diff_values(const DiffArguments& args) {
  if (!args.data.data.empty()) return diff_on_data(args);
  if (args.b.ends_with(".npz")) return diff_recorded(args);
  const Engine engine = args.reference ? Engine::kReference : Engine::kRuntime;
  auto progress = std::make_unique<Progress>();
  progress->stage("load " + args.a);
  const Runnable a = TRY(open_runnable(args.a, args.signature, engine, load_options(args)));
  progress->stage("load " + args.b);
  const Runnable b = TRY(open_runnable(args.b, args.signature, engine, load_options(args)));
  const auto inputs = TRY(read_inputs(b.inputs, args.inputs, args.batch, args.seed));
  if (a.inputs.size() != b.inputs.size() || a.outputs.size() != b.outputs.size())
    return invalid_model(fmt::format("{} inputs and {} outputs against {} and {}", a.inputs.size(),
                                     a.outputs.size(), b.inputs.size(), b.outputs.size()));
  std::vector<OutputDifference> differences;
  if (args.layers) progress->stage("run layer by layer");
  if (args.layers)
    for (LayerDifference& layer :
         compare_layers(TRY(layers_of(args.a, args, inputs)), TRY(layers_of(args.b, args, inputs))))
      differences.push_back({"layer " + layer.name, layer.difference});
  progress->stage("run " + args.a);
  const auto actual = TRY(a.run(inputs));
  progress->stage("run " + args.b);
  const auto expected = TRY(b.run(inputs));
  progress.reset();
  for (size_t i = 0; i < actual.size() && i < expected.size(); ++i)
    differences.push_back({b.outputs[i].name, compare(actual[i], expected[i])});
  Status status = report_differences(differences, args.tolerance, args.json);
  if (!status.ok() && !args.layers) say_first_difference(args, inputs);
  return status;
}

}  // namespace

void add_diff(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand(
      "diff", "Compare what two models or .tenon files compute, or their graphs");
  auto a = std::make_shared<DiffArguments>();
  command->add_option("A", a->a, "model or .tenon file")->required();
  command
      ->add_option("B", a->b,
                   "model or .tenon file that A should agree with, or an .npz of recorded layers "
                   "and outputs")
      ->required();
  command->add_option("--signature", a->signature, "signature (default: serving_default)");
  command->add_option("--input", a->inputs, "NAME=FILE.npy; made-up inputs where none is given")
      ->allow_extra_args(false);
  command->add_option("--batch", a->batch, "size of an open first dimension of made-up inputs")
      ->check(positive_number())
      ->excludes(command->get_option("--input"));
  command->add_option("--seed", a->seed, "of made-up inputs");
  command
      ->add_option("--tolerance", a->bound,
                   "relative L2 that is no difference (default: 1e-4; none with --data, which "
                   "reports); more is exit status 1")
      ->check(non_negative_number());
  command->add_flag("--structure", a->structure, "compare the graphs, not what they compute");
  command->add_flag("--layers", a->layers, "compare layers of the same name, too");
  command->add_option("--data", a->data.data,
                      "with --layers: samples to compare on, as of tenon compile --calibration");
  command->add_option("--preprocess", a->data.preprocess, "of pictures, as of tenon compile");
  a->data.samples = 32;
  command->add_option("--samples", a->data.samples, "of the data, at most (default: 32)")
      ->check(positive_number());
  command
      ->add_option("--report", a->data.report, "with --data: FILE.html or FILE.json with all of it")
      ->check([](const std::string& file) {
        const Status status = check_calibration({.report = file});
        return status.ok() ? std::string() : status.error().message;
      });
  command->get_option("--data")->needs(command->get_option("--layers"));
  for (const char* name : {"--preprocess", "--samples", "--report"})
    command->get_option(name)->needs(command->get_option("--data"));
  command->add_flag("--reference", a->reference, "run both by the reference of each op");
  add_run_limits(*command, *a);
  command->add_flag("--json", a->json, "machine-readable output");
  command->footer(
      "Example:\n  tenon diff digits.tenon examples/digits/saved_model\n"
      "  tenon diff --structure before.tenon after.tenon\n"
      "  tenon diff --layers int8.tenon fp32.tenon --data x.npy --report layers.html\n"
      "  tenon diff model.tenon recorded.npz --input x=x.npy");
  command->callback([a, &action] {
    a->tolerance = a->bound.value_or(a->tolerance);
    action = [a] { return a->structure ? diff_structure(*a) : diff_values(*a); };
  });
}

}  // namespace tenon::tool

// `tenon compile`.
#include "compiler/compile.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>

#include "calibrate/settings.h"
#include "chip/deploy.h"
#include "chip_report.h"
#include "commands.h"
#include "format/model_file.h"
#include "layer_table.h"
#include "model_arguments.h"
#include "progress.h"
#include "run_arguments.h"
#include "tensor/npy.h"
#include "tune.h"
#include "verify/verify.h"

namespace tenon::tool {
namespace {

constexpr size_t kLayersShown = 5;

struct CompileArguments : ModelArguments {
  std::string output, precision = "fp32", chip_precision = "fp16";
  std::vector<std::string> targets{"cpu"};
  std::vector<int64_t> batches{1};
  std::vector<std::string> disabled;
  bool embed_custom_ops = false, verify = false, no_verify = false;
  std::string verify_inputs;
  int64_t max_loop_iterations = 0;
  CalibrationSettings calibration;
  TuneArguments tune;
};

int64_t file_bytes(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

nlohmann::json firings_of(const FunctionReport& f) {
  std::map<std::string, int> counts;
  for (const Firing& firing : f.firings) ++counts[std::string(firing.rule)];
  return counts;
}

nlohmann::json to_json(const quant::QuantizeReport& q) {
  nlohmann::json layers = nlohmann::json::array(), tensors = nlohmann::json::array();
  for (const auto& l : q.layers)
    layers.push_back({{"name", l.node},
                      {"result", l.name},
                      {"op", l.op},
                      {"integer", l.integer},
                      {"reason", l.reason}});
  for (const auto& t : q.tensors)
    tensors.push_back({{"name", t.name},
                       {"low", t.range.low},
                       {"high", t.range.high},
                       {"method", quant::method_name(t.range.method)},
                       {"scale", t.params.scale},
                       {"zero", t.params.zero},
                       {"saturation", t.saturation},
                       {"sqnr_db", t.sqnr_db}});
  return {{"layers", layers}, {"tensors", tensors}};
}

nlohmann::json to_json(const std::vector<TechniqueGain>& gains) {
  nlohmann::json json = nlohmann::json::array();
  for (const TechniqueGain& g : gains)
    json.push_back({{"name", g.name},
                    {"used", g.used},
                    {"relative_l2_without", g.without},
                    {"relative_l2_with", g.with}});
  return json;
}

// How many layers have weights of which precision, and how many multiply in it.
void print_narrowed(const FunctionReport& f) {
  std::map<std::string_view, std::pair<int, int>> counts;
  for (const auto& l : f.narrowed) {
    auto& [stored, multiplied] = counts[quant::name_of(l.precision)];
    ++stored;
    multiplied += l.multiplies_narrow;
  }
  for (const auto& [precision, count] : counts)
    fmt::print("{}: {} weights of {} layers, {} of which multiply in it\n", f.key, precision,
               count.first, count.second);
}

void print_function(const FunctionReport& f) {
  fmt::print("{}: {} nodes -> {} nodes\n", f.key, f.nodes_imported, f.nodes_compiled);
  print_narrowed(f);
  if (!f.quantization) return;
  const auto& layers = f.quantization->layers;
  fmt::print("{}: int8: {} of {} convolutions and matrix products\n", f.key,
             std::ranges::count_if(layers, [](const auto& l) { return l.integer; }), layers.size());
  for (const auto& l : layers)
    if (!l.integer) fmt::print("  {} ({}) stays in fp32: {}\n", l.node, l.op, l.reason);
}

// MODEL.tenon beside the model; a folder such as . goes by its real name.
std::string output_of(const CompileArguments& a) {
  if (!a.output.empty()) return a.output;
  std::error_code error;
  std::filesystem::path path = std::filesystem::path(a.model).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.filename() == "." || path.filename() == "..")
    path = std::filesystem::weakly_canonical(path, error);
  return path.string() + ".tenon";
}

// Before the work, not after it.
Status check_folder(const std::string& output) {
  std::error_code error;
  const auto folder = std::filesystem::path(output).parent_path();
  if (folder.empty() || std::filesystem::is_directory(folder, error)) return {};
  return io_error(fmt::format("cannot create '{}': there is no folder '{}'; make it first", output,
                              folder.string()));
}

std::string no_folder(const std::string& output) {
  std::error_code error;
  if (!std::filesystem::is_directory(output, error)) return {};
  return fmt::format("'{0}' is a folder; give a file, such as {0}/model.tenon", output);
}

// The message of an option that the compiler refuses; empty for one it takes.
std::string refusal(const CompileOptions& options) {
  const Status status = check_options(options);
  return status.ok() ? std::string() : status.error().message;
}

Status compile(const CompileArguments& a) {
  const auto begin = std::chrono::steady_clock::now();
  CompileOptions options;
  options.import = TRY(import_options(a));
  options.precision = a.precision;
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  options.embed_custom_ops = a.embed_custom_ops;
  options.max_loop_iterations = a.max_loop_iterations;
  options.keep_imported = !a.no_verify;
  VerifyOptions verify;
  verify.always = a.verify || !a.verify_inputs.empty();
  verify.load.custom_ops.libraries = a.custom_ops;
  verify.load.max_loop_iterations = a.max_loop_iterations;
  if (!a.verify_inputs.empty()) verify.inputs = TRY(read_npz(a.verify_inputs));
  const std::string output = output_of(a);
  TRY(check_folder(output));
  auto progress = std::make_unique<Progress>();
  options.progress = [&](const std::string& stage) { progress->stage(stage); };
  const auto findings = std::make_shared<CalibrationFindings>();
  TRY(apply_calibration(
      a.calibration, verify.load,
      [&](int64_t done, int64_t total) { progress->part("calibrate", done, total); }, options,
      findings));
  const MachineCatalog catalog = TRY(MachineCatalog::load());
  const auto chips = TRY(chips_named(catalog, a.targets));
  Compiled compiled = TRY(compile_model(a.model, options));
  std::vector<Verification> verifications;
  if (!a.no_verify) {
    progress->stage("verify");
    verifications = TRY(verify_compiled(compiled, verify));
  }
  if (!chips.empty()) progress->stage(fmt::format("lower for {} chips", chips.size()));
  const auto reports = TRY(add_chip_programs(compiled.model, chips, a.batches, a.chip_precision));
  progress->stage("write " + output);
  TRY(write_model(output, compiled.model));
  std::vector<Tuned> tuned;
  if (a.tune.tune) {
    progress->stage("tune");
    tuned = TRY(tune_model(
        output, a.tune, verify.load,
        [&](int64_t done, int64_t total) { progress->part("tune", done, total); }, compiled.model,
        compiled.report.warnings));
    TRY(write_model(output, compiled.model));
  }
  TRY(write_report(a.calibration, *findings));
  progress.reset();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (a.json) {
    nlohmann::json json{{"output", output},
                        {"file_bytes", file_bytes(output)},
                        {"seconds", seconds},
                        {"warnings", compiled.report.warnings},
                        {"verified", nlohmann::json::array()}};
    for (const Verification& v : verifications)
      json["verified"].push_back({{"signature", v.key},
                                  {"verified", v.verified},
                                  {"reason", v.reason},
                                  {"relative_l2", v.relative_l2}});
    for (const FunctionReport& f : compiled.report.functions) {
      json["functions"].push_back({{"signature", f.key},
                                   {"nodes_imported", f.nodes_imported},
                                   {"nodes_compiled", f.nodes_compiled},
                                   {"rules", firings_of(f)}});
      if (f.quantization) json["functions"].back()["quantization"] = to_json(*f.quantization);
      for (const auto& l : f.narrowed)
        json["functions"].back()["narrowed"].push_back({{"name", l.name},
                                                        {"op", l.op},
                                                        {"precision", quant::name_of(l.precision)},
                                                        {"multiplies_narrow", l.multiplies_narrow},
                                                        {"reason", l.reason}});
    }
    for (const Tuned& t : tuned)
      json["tuned"].push_back({{"signature", t.key},
                               {"batch", t.batch},
                               {"threads", t.threads},
                               {"steps", t.steps},
                               {"changed", t.changed},
                               {"before_ms", t.before_ms},
                               {"after_ms", t.after_ms}});
    json["targets"] = chips_to_json(reports);
    for (const FunctionAccuracy& f : findings->functions)
      json["accuracy"].push_back({{"signature", f.key},
                                  {"samples", f.samples},
                                  {"cosine", f.accuracy.cosine},
                                  {"sqnr_db", f.accuracy.sqnr_db},
                                  {"relative_l2", f.accuracy.relative_l2},
                                  {"max_abs", f.accuracy.max_abs},
                                  {"same_top1", f.accuracy.same_top1},
                                  {"techniques", to_json(f.gains)}});
    fmt::print("{}\n", to_text(json));
    return {};
  }
  for (const std::string& warning : compiled.report.warnings)
    fmt::print(stderr, "warning: {}\n", warning);
  for (const FunctionReport& f : compiled.report.functions) print_function(f);
  for (const FunctionAccuracy& f : findings->functions)
    fmt::print(
        "{}: against fp32 on {} samples: cosine {:.5f}, SQNR {:.1f} dB, same top-1 {:.1f} %\n",
        f.key, f.samples, f.accuracy.cosine, f.accuracy.sqnr_db, 100 * f.accuracy.same_top1);
  if (findings->layers.empty())
    for (const FunctionAccuracy& f : findings->functions) print_layers({.gains = f.gains}, 0);
  for (const LayerReport& report : findings->layers) print_layers(report, kLayersShown);
  for (const Verification& v : verifications)
    if (v.verified)
      fmt::print("{}: verified against the reference, relative L2 {:.2g}\n", v.key, v.relative_l2);
    else
      fmt::print("{}: not verified: {}\n", v.key, v.reason);
  for (const Tuned& t : tuned)
    fmt::print(
        "{}: tuned for batch {} on {}: another kernel in {} of {} steps with a choice, {:.3f} ms "
        "-> "
        "{:.3f} ms\n",
        t.key, t.batch,
        t.threads == 0   ? "all cores"
        : t.threads == 1 ? "1 thread"
                         : fmt::format("{} threads", t.threads),
        t.changed, t.steps, t.before_ms, t.after_ms);
  print_reports(reports);
  fmt::print("{}: {} bytes, {:.2f} s\n", output, file_bytes(output), seconds);
  return {};
}

}  // namespace

void add_compile(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compile", "Compile a trained model into one .tenon file");
  auto a = std::make_shared<CompileArguments>();
  add_model_arguments(*command, *a);
  command->add_option("-o,--output", a->output, "file to write (default: MODEL.tenon)")
      ->check(no_folder);
  command
      ->add_option("--target", a->targets,
                   "cpu, chips or families of chips (`tenon targets list`), separated by commas: "
                   "programs for them go into the file beside the portable graph")
      ->delimiter(',')
      ->check([](const std::string& target) {
        const auto catalog = MachineCatalog::load();
        const auto chips = catalog.ok() ? chips_named(*catalog, std::span(&target, 1))
                                        : Result<std::vector<const Machine*>>(catalog.error());
        return chips.ok() ? std::string() : chips.error().message;
      });
  command
      ->add_option("--batch", a->batches,
                   "sizes of the first dimension that chips' programs are made for, where it is "
                   "open (default: 1); others are made when they are run")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--chip-precision", a->chip_precision,
                   "of real numbers on chips: fp16 (default) or fp32")
      ->check([](const std::string& precision) {
        const auto real = device_real(precision);
        return real.ok() ? std::string() : real.error().message;
      });
  command
      ->add_option("--precision", a->precision,
                   "fp32, fp16, bf16, int8 (products of 8-bit integers), int8_fp16, int8_bf16, or "
                   "the names of other compilers for them (docs/quantization.md)")
      ->check([](const std::string& precision) { return refusal({.precision = precision}); });
  add_calibration(*command, a->calibration);
  command
      ->add_option("--disable", a->disabled,
                   "switch a rule or pass off; repeatable; `tenon docs rules` lists them")
      ->allow_extra_args(false)
      ->check([](const std::string& name) { return refusal({.disabled = {name}}); });
  auto* yes = command->add_flag(
      "--verify", a->verify,
      "compare the file with the reference interpreter, however long that takes; without it, where "
      "that takes less than about a second");
  command->add_option("--verify-inputs", a->verify_inputs,
                      "FILE.npz with the inputs to verify on, by name (default: made-up ones)");
  command->add_flag("--no-verify", a->no_verify, "do not compare")->excludes(yes);
  command->add_flag(
      "--embed-custom-ops", a->embed_custom_ops,
      "put the libraries of --custom-ops that are used into the file; who loads it must "
      "allow their code (--allow-embedded-code)");
  add_max_loop_iterations(*command, a->max_loop_iterations);
  add_tune(*command, a->tune);
  command->footer(
      "Example:\n  tenon compile examples/digits/saved_model -o digits.tenon\n"
      "  tenon compile examples/digits/saved_model --precision int8 \\\n"
      "    --calibration examples/digits/digits.npy -o digits_int8.tenon\n"
      "  tenon compile examples/digits/saved_model --target cpu,ascend310p3,mlu370-s4 \\\n"
      "    --batch 1,8 -o digits_chips.tenon");
  command->callback([a, &action] { action = [a] { return compile(*a); }; });
}

}  // namespace tenon::tool

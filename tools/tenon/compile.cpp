// `tenon compile`.
#include "compiler/compile.h"

#include <fmt/format.h>

#include <chrono>

#include "calibrate/settings.h"
#include "chip/deploy.h"
#include "commands.h"
#include "compile_cache.h"
#include "compile_report.h"
#include "file_arguments.h"
#include "format/model_file.h"
#include "model_arguments.h"
#include "number_arguments.h"
#include "progress.h"
#include "run_arguments.h"
#include "tensor/npy.h"
#include "verify/prepack.h"
#include "verify/verify.h"

namespace tenon::tool {
namespace {

struct CompileArguments : ModelArguments {
  std::string output, precision = "fp32", chip_precision = "fp16";
  std::vector<std::string> targets{"cpu"};
  std::vector<int64_t> batches{1};
  std::vector<std::string> disabled;
  bool embed_custom_ops = false, verify = false, no_verify = false;
  std::string verify_inputs;
  int64_t max_loop_iterations = 0;
  bool strict = false;
  CalibrationSettings calibration;
  TuneArguments tune;
  bool prepack = false;
  std::vector<int64_t> prepack_batches{1};
  std::string cache;
  const CLI::App* command = nullptr;
};

// The message of an option that the compiler refuses; empty for one it takes.
std::string refusal(const CompileOptions& options) {
  const Status status = check_options(options);
  return status.ok() ? std::string() : status.error().message;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return milliseconds_since(begin) / 1000;
}

// Off where nobody asked for it, and where the command writes more than the model.
Result<CompileCache> open_cache(const CompileArguments& a) {
  const bool only_file = a.calibration.report.empty() && a.calibration.statistics.empty();
  return CompileCache::open(only_file ? a.cache : "", *a.command,
                            {"--output", "--json", "--cache", "--help"});
}

void show_kept(const CompileArguments& a, const std::string& output, double seconds,
               nlohmann::json& report) {
  report["output"] = output;
  report["seconds"] = seconds;
  report["cached"] = true;
  if (a.json) {
    fmt::print("{}\n", to_text(report));
    return;
  }
  for (const auto& warning : report["warnings"])
    fmt::print(stderr, "warning: {}\n", warning.get<std::string>());
  fmt::print("{}: {} bytes, {:.2f} s, from the cache\n", output,
             report["file_bytes"].get<int64_t>(), seconds);
}

Status prepack(const CompileArguments& a, const runtime::LoadOptions& load, Progress& progress,
               CompileOutcome& o) {
  progress.stage("prepack");
  o.prepacked_bytes =
      TRY(tenon::prepack(o.compiled.model, a.prepack_batches, load, o.compiled.report.warnings));
  return {};
}

Status compile(const CompileArguments& a) {
  const auto begin = std::chrono::steady_clock::now();
  CompileOutcome o;
  o.output = TRY(output_file(a.output, a.model));
  const CompileCache cache = TRY(open_cache(a));
  if (auto report = cache.find(o.output)) {
    show_kept(a, o.output, seconds_since(begin), *report);
    return {};
  }
  CompileOptions options;
  options.import = TRY(import_options(a));
  options.precision = a.precision;
  options.disabled.insert(a.disabled.begin(), a.disabled.end());
  options.embed_custom_ops = a.embed_custom_ops;
  options.max_loop_iterations = a.max_loop_iterations;
  options.strict = a.strict;
  options.keep_imported = !a.no_verify;
  VerifyOptions verify;
  verify.always = a.verify || !a.verify_inputs.empty();
  verify.load.custom_ops.libraries = a.custom_ops;
  verify.load.max_loop_iterations = a.max_loop_iterations;
  if (!a.verify_inputs.empty()) verify.inputs = TRY(read_npz(a.verify_inputs));
  auto progress = std::make_unique<Progress>();
  options.progress = [&](const std::string& stage) { progress->stage(stage); };
  TRY(apply_calibration(
      a.calibration, verify.load,
      [&](int64_t done, int64_t total) { progress->part("calibrate", done, total); }, options,
      o.findings));
  const MachineCatalog catalog = TRY(MachineCatalog::load());
  const auto chips = TRY(chips_named(catalog, a.targets));
  if (chips.empty() &&
      (a.command->count("--batch") > 0 || a.command->count("--chip-precision") > 0))
    return invalid_argument(
        "--batch and --chip-precision are of programs for chips: give --target");
  o.compiled = TRY(compile_model(a.model, options));
  if (!a.no_verify) {
    progress->stage("verify");
    o.verifications = TRY(verify_compiled(o.compiled, verify));
  }
  if (!chips.empty()) progress->stage(fmt::format("lower for {} chips", chips.size()));
  o.chips = TRY(add_chip_programs(o.compiled.model, chips, a.batches, a.chip_precision));
  if (a.prepack && !a.tune.tune) TRY(prepack(a, verify.load, *progress, o));
  progress->stage("write " + o.output);
  TRY(write_model(o.output, o.compiled.model));
  if (a.tune.tune) {
    progress->stage("tune");
    o.tuned = TRY(tune_model(
        o.output, a.tune, verify.load,
        [&](int64_t done, int64_t total) { progress->part("tune", done, total); }, o.compiled.model,
        o.compiled.report.warnings));
    // By the kernels that are the fastest now.
    if (a.prepack) TRY(prepack(a, verify.load, *progress, o));
    TRY(write_model(o.output, o.compiled.model));
  }
  TRY(write_report(a.calibration, *o.findings));
  progress.reset();
  o.seconds = seconds_since(begin);
  const nlohmann::json report = report_json(o);
  cache.keep(o.output, report);
  if (a.json)
    fmt::print("{}\n", to_text(report));
  else
    print_report(o);
  return {};
}

}  // namespace

void add_compile(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("compile", "Compile a trained model into one .tenon file");
  auto a = std::make_shared<CompileArguments>();
  add_model_arguments(*command, *a);
  add_output(*command, a->output);
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
      ->check(positive_number());
  command
      ->add_option("--chip-precision", a->chip_precision,
                   "of real numbers on chips: fp16 (default), fp32, or bf16 where the chip has it")
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
  auto* inputs =
      command->add_option("--verify-inputs", a->verify_inputs,
                          "FILE.npz with the inputs to verify on, by name (default: made-up ones)");
  command->add_flag("--no-verify", a->no_verify, "do not compare")->excludes(yes)->excludes(inputs);
  command
      ->add_flag("--embed-custom-ops", a->embed_custom_ops,
                 "put the libraries of --custom-ops that are used into the file; who loads it must "
                 "allow their code (--allow-embedded-code)")
      ->needs(command->get_option("--custom-ops"));
  command->add_flag("--strict", a->strict,
                    "on the CPU no algorithm that rounds otherwise than the sums themselves "
                    "(Winograd's convolution, Strassen's product): slower");
  add_max_loop_iterations(*command, a->max_loop_iterations);
  add_tune(*command, a->tune);
  auto* prepack = command->add_flag(
      "--prepack", a->prepack,
      "keep weights in the file also as this processor's kernels read them, so that loading is "
      "faster; the file is larger, and runs everywhere as before");
  command
      ->add_option("--prepack-batch", a->prepack_batches,
                   "sizes of an open first dimension to keep them for (default: 1)")
      ->delimiter(',')
      ->check(positive_number())
      ->needs(prepack);
  a->command = command;
  command
      ->add_option("--cache", a->cache,
                   "folder of what was compiled before: the same model and options give the same "
                   "file at once (default: TENON_CACHE_DIR, or none)")
      ->envname("TENON_CACHE_DIR");
  command->footer(
      "Example:\n  tenon compile examples/digits/saved_model -o digits.tenon\n"
      "  tenon compile examples/digits/saved_model --precision int8 \\\n"
      "    --calibration examples/digits/digits.npy -o digits_int8.tenon\n"
      "  tenon compile examples/digits/saved_model --target cpu,ascend310p3,mlu370-s4 \\\n"
      "    --batch 1,8 -o digits_chips.tenon");
  command->callback([a, &action] { action = [a] { return compile(*a); }; });
}

}  // namespace tenon::tool

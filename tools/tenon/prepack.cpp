#include "prepack.h"

#include <fmt/format.h>

#include "number_arguments.h"
#include "verify/sample_inputs.h"

namespace tenon::tool {
namespace {

Status run_once(const runtime::Model& model, const std::string& key, int64_t batch) {
  const auto function = TRY(model.function(key));
  const auto inputs =
      TRY(sample_inputs(function.inputs(), {.batch = batch, .other = batch, .image = kUsualImage}));
  TRY(function.run(inputs, {}));
  return {};
}

}  // namespace

void add_prepack(CLI::App& command, PrepackArguments& a) {
  auto* prepack = command.add_flag(
      "--prepack", a.prepack,
      "keep weights in the file also as this processor's kernels read them, so that loading is "
      "faster; the file is larger, and runs everywhere as before");
  command
      .add_option("--prepack-batch", a.batches,
                  "sizes of an open first dimension to keep them for (default: 1)")
      ->delimiter(',')
      ->check(positive_number())
      ->needs(prepack);
}

Result<int64_t> prepack_model(const std::string& path, const PrepackArguments& arguments,
                              runtime::LoadOptions load, FileModel& model,
                              std::vector<std::string>& warnings) {
  load.verify = false;
  const auto loaded = TRY(runtime::Model::load(path, load));
  for (const FileFunction& f : model.functions)
    for (const int64_t batch : arguments.batches)
      if (const Status ran = run_once(loaded, f.key, batch); !ran.ok())
        warnings.push_back(
            fmt::format("{}: not prepacked for batch {}: {}", f.key, batch, ran.error().message));
  model.prepacked = loaded.prepacked();
  int64_t bytes = 0;
  for (const PrepackedWeight& weight : model.prepacked)
    bytes += static_cast<int64_t>(weight.bytes.bytes.size());
  return bytes;
}

}  // namespace tenon::tool

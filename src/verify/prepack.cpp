#include "verify/prepack.h"

#include <fmt/format.h>

#include <memory>

#include "verify/sample_inputs.h"

namespace tenon {
namespace {

Status run_once(const runtime::Model& model, const std::string& key, int64_t batch) {
  const auto function = TRY(model.function(key));
  const auto inputs =
      TRY(sample_inputs(function.inputs(), {.batch = batch, .other = batch, .image = kUsualImage}));
  TRY(function.run(inputs, {}));
  return {};
}

}  // namespace

Result<int64_t> prepack(FileModel& model, std::span<const int64_t> batches,
                        const runtime::LoadOptions& load, std::vector<std::string>& warnings) {
  // As a file, so that constants are what they will be when it is loaded.
  const auto file = std::make_shared<std::vector<std::byte>>(TRY(encode_model(model)));
  runtime::LoadOptions options = load;
  options.verify = false;
  const auto loaded = TRY(runtime::Model::load({*file, file}, options));
  for (const FileFunction& f : model.functions)
    for (const int64_t batch : batches)
      if (const Status ran = run_once(loaded, f.key, batch); !ran.ok())
        warnings.push_back(
            fmt::format("{}: not prepacked for batch {}: {}", f.key, batch, ran.error().message));
  model.prepacked = loaded.prepacked();
  int64_t bytes = 0;
  for (const PrepackedWeight& weight : model.prepacked)
    bytes += static_cast<int64_t>(weight.bytes.bytes.size());
  return bytes;
}

}  // namespace tenon

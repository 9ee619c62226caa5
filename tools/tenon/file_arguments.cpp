#include "file_arguments.h"

#include <fmt/format.h>

namespace tenon::tool {

void add_file_arguments(CLI::App& command, FileArguments& a) {
  command.add_option("FILE", a.file, ".tenon file")->required();
  command.add_option("--signature", a.signature, "signature to run (default: serving_default)");
  command.add_option("--threads", a.threads, "threads (default: one per core)")
      ->check(CLI::PositiveNumber);
  command.add_flag("--json", a.json, "machine-readable output");
}

double milliseconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

Result<std::vector<Tensor>> sample_inputs(std::span<const runtime::PortInfo> ports, int64_t batch,
                                          uint32_t seed) {
  std::vector<Tensor> inputs;
  uint32_t state = seed;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const runtime::PortInfo& port : ports) {
    if (!port.type.shape.ranked() || port.type.is_list)
      return unsupported(
          fmt::format("data for input '{0}' ({1}) cannot be made up; give --input {0}=FILE.npy",
                      port.name, port.type.to_string()));
    std::vector<int64_t> dims;
    for (int i = 0; i < port.type.shape.rank(); ++i)
      dims.push_back(port.type.shape[i].size_or(i == 0 ? batch : 1));
    Tensor t = TRY(Tensor::zeros(port.type.dtype, dims));
    if (t.dtype() == DType::f32)
      for (int64_t i = 0; i < t.elements(); ++i)
        t.mutable_data<float>()[i] = static_cast<float>(next()) * 0x1p-24f;
    inputs.push_back(std::move(t));
  }
  return inputs;
}

}  // namespace tenon::tool

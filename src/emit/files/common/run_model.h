// Runs a model: `model INPUTS OUTPUTS` reads INPUTS/NAME.bin and writes OUTPUTS/NAME.bin;
// `model --check FOLDER` runs FOLDER/inputs and compares with FOLDER/expected. Included by host.h.
// @STATUS@
#pragma once

#include <functional>

struct HostTensor {
  std::vector<uint8_t> bytes;
};
struct Part {
  size_t address, bytes;
};
using HostLayer = void (*)(const std::vector<HostTensor>& in, std::vector<HostTensor>& out);

// A layer between two kernels: its tensors come to the host, its results go back.
inline void RunOnHost(HostLayer layer, uint8_t* memory, Stream stream, const std::vector<Part>& in,
                      const std::vector<Part>& out) {
  Device::Wait(stream);
  std::vector<HostTensor> inputs, outputs;
  for (const Part& part : in) {
    inputs.push_back({std::vector<uint8_t>(part.bytes)});
    Device::Read(inputs.back().bytes, memory + part.address);
  }
  for (const Part& part : out) outputs.push_back({std::vector<uint8_t>(part.bytes)});
  layer(inputs, outputs);
  for (size_t i = 0; i < out.size(); ++i) Device::Write(memory + out[i].address, outputs[i].bytes);
}

[[noreturn]] inline void NotWritten(const char* layer, const char* reason) {
  std::fprintf(stderr, "layer '%s' is left to the host (%s): write it in host_layers.cpp\n", layer,
               reason);
  std::exit(1);
}

inline int RunModel(int argc, char** argv, const ModelInfo& model,
                    const std::function<void(uint8_t*, Stream)>& layers) {
  const bool check = argc == 3 && std::strcmp(argv[1], "--check") == 0;
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s INPUTS OUTPUTS | --check FOLDER\n", argv[0]);
    return 2;
  }
  const std::string inputs = check ? std::string(argv[2]) + "/inputs" : argv[1];
  const Device device(model.memory);
  const std::vector<uint8_t> weights = ReadFile("weights.bin");
  size_t offset = 0;
  for (const TensorInfo& w : model.weights) {
    if (offset + w.bytes > weights.size()) {
      std::fprintf(stderr, "weights.bin ends within %s\n", w.name);
      return 1;
    }
    const auto first = weights.begin() + static_cast<std::ptrdiff_t>(offset);
    Device::Write(device.memory() + w.address,
                  {first, first + static_cast<std::ptrdiff_t>(w.bytes)});
    offset += w.bytes;
  }
  for (const TensorInfo& t : model.inputs) {
    const std::vector<uint8_t> bytes = ReadFile(inputs + "/" + t.name + ".bin");
    if (bytes.size() != t.bytes) {
      std::fprintf(stderr, "%s/%s.bin has %zu bytes, not %zu\n", inputs.c_str(), t.name,
                   bytes.size(), t.bytes);
      return 1;
    }
    Device::Write(device.memory() + t.address, bytes);
  }
  layers(device.memory(), device.stream());
  Device::Wait(device.stream());
  bool fine = true;
  for (const TensorInfo& t : model.outputs) {
    std::vector<uint8_t> bytes(t.bytes);
    Device::Read(bytes, device.memory() + t.address);
    if (!check) {
      WriteFile(std::string(argv[2]) + "/" + t.name + ".bin", bytes);
      continue;
    }
    const double difference =
        Difference(bytes, t.type, ReadFile(std::string(argv[2]) + "/expected/" + t.name + ".bin"));
    const bool within = difference <= model.tolerance;
    std::printf("%s: relative L2 %.3g, %s %.3g\n", t.name, difference,
                within ? "within" : "NOT WITHIN", model.tolerance);
    fine = fine && within;
  }
  return fine ? 0 : 1;
}

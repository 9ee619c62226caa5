// What lives where and when while a chip runs a model: tensors in the global memory from step to
// step, and what a core's memories hold within each kernel.
#pragma once

#include <string>
#include <vector>

#include "isa/footprint.h"
#include "lower/device_program.h"
#include "predict/predict.h"

namespace tenon {

// A tensor in the global memory. Steps are counted from 0; what is there for good lives from the
// first to the last.
struct TensorLife {
  std::string name;  // in the user's model, or of the layer that makes it
  DeviceTensor::Role role = DeviceTensor::Role::activation;
  int64_t address = 0, bytes = 0;
  size_t first = 0, last = 0;
};

struct MemoryMap {
  std::vector<std::string> layers;  // by step: its name
  std::vector<TensorLife> tensors;  // by address, then by time
  std::vector<int64_t> live;        // by step: bytes of the tensors that are there, of no gaps
  size_t fullest = 0;               // the step where that is most
  // By step, what a core's memories hold; none where the host computes.
  std::vector<std::vector<isa::Resident>> cores;
  // By step, the names of its kernel's buffers.
  std::vector<std::vector<std::string>> buffers;
};

MemoryMap memory_map(const DeviceProgram& program);

// What a part of a core's memory is there for, in words: "x", "sums of mmad".
std::string contents_of(const isa::Resident& resident, const std::vector<std::string>& buffers);

// A page without anything to load from elsewhere: the tensors as boxes over time and address, how
// much of the memory is in use at each step, and a table of every layer's traffic and spills.
std::string memory_page(const std::string& model, const MemoryMap& map,
                        const Prediction& prediction);

}  // namespace tenon

// A lowered graph as a .tenon file holds it, and back: tile programs as text, constants as recipes
// over the model's weights.
#pragma once

#include <memory>

#include "format/model_file.h"
#include "ir/graph.h"
#include "lower/device_program.h"

namespace tenon {

// Of the description of a chip: programs made for another one are of no use.
uint64_t machine_hash(const Machine& machine);

// `function`, `precision` and `batch` are left to the caller. Constants that are made of no weight
// are made now. Errors: those of making them.
Result<FileDeviceProgram> encode_program(const Graph& graph, const DeviceProgram& program);

// A program that was read, with the graph it was made of.
struct StoredProgram {
  std::unique_ptr<Graph> graph;
  DeviceProgram program;
};
// Tile programs are parsed and verified, places of tensors are within the chip's memory and those
// of one step do not overlap where it writes. Errors: invalid_model naming the layer, the line and
// the instruction.
Result<StoredProgram> decode_program(const FileDeviceProgram& file, const Machine& machine);

}  // namespace tenon

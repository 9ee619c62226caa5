// What lives where and when on a chip, and what is spilled: as JSON, and as lines.
#pragma once

#include <nlohmann/json.hpp>

#include "predict/memory_map.h"

namespace tenon::tool {

// Everything in bytes: `tensors` of the global memory with the layers from which to which they are
// there, and `layers` with what each moves, spills and keeps in a core's memories.
nlohmann::json memory_json(const MemoryMap& map, const Prediction& prediction);

// The tensors of the global memory, and what is moved in all.
void print_memory(const MemoryMap& map, const Prediction& prediction);

// What step `step` moves, spills and keeps in a core's memories.
void print_layer_memory(const MemoryMap& map, const Prediction& prediction, size_t step);

}  // namespace tenon::tool

// What a chip's cores have: memories, queues, and which instruction connects what at which rate.
// Made from the numbers of the machine (machine/chips.h); everything that reads programs (verifier,
// simulators, lowering, text) sees a chip through this.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "isa/opcode.h"
#include "isa/program.h"
#include "machine/machine.h"

namespace tenon::isa {

struct Memory {
  std::string name;   // "gm", "l1", …
  int64_t bytes = 0;  // per core; 0 for the global memory: what the chip has
  int64_t align = 1;  // of offsets, in bytes
};

// An instruction that may be issued: its queue by the memories of its views. Instructions of the
// vector unit have all views in one memory.
struct Route {
  Opcode op = Opcode::copy;
  int queue = 0;
  std::vector<int> memories;   // one per view
  double bytes_per_cycle = 0;  // of movements; 0 where the unit decides
};

struct Architecture {
  std::string name;  // the machine's
  std::string_view family;
  std::vector<Memory> memories;  // [0] is the global memory
  std::vector<std::string> queues;
  std::vector<Route> routes;
  int64_t cores = 1;         // that run blocks
  int64_t vector_cores = 1;  // that run blocks of vector instructions only; may be the same
  int64_t flag_ids = 0;      // flags per ordered pair of queues
  double clock = 0;          // Hz
  int64_t block = 1;         // bytes that the vector unit and DMA move at least

  std::optional<int> memory(std::string_view name) const;
  std::optional<int> queue(std::string_view name) const;
  // The route of an instruction over these memories; null where the chip has none.
  const Route* route(Opcode op, const std::vector<View>& views) const;
};

Architecture architecture_of(const Machine& machine);

}  // namespace tenon::isa

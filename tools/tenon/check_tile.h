// Tile programs as files, checked, run and timed.
#pragma once

#include <string>

#include "machine/machine.h"
#include "simulate/timing.h"

namespace tenon::tool {

struct TileTime {
  std::string chip;  // that the program is for
  simulate::KernelTime time;
};

// How long the chip that the program of a file is for would take for it, simulated. Errors: those
// of reading it; what breaks a limit of the chip, a race, a read of what nobody wrote, each with
// the line and the instruction.
Result<TileTime> check_tile(const std::string& file, const MachineCatalog& catalog);

}  // namespace tenon::tool

// Tile programs as files, checked, run and timed.
#pragma once

#include <string>

#include "machine/machine.h"

namespace tenon::tool {

// Prints how long the chip that the program of a file is for would take for it, simulated. Errors:
// those of reading it; what breaks a limit of the chip, a race, a read of what nobody wrote, each
// with the line and the instruction.
Status check_tile(const std::string& file, const MachineCatalog& catalog);

}  // namespace tenon::tool

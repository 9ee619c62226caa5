// The chips of targets/ as devices: programs of the file, or made of its graph when they are first
// needed, run by the functional simulator; the time they would take is predicted. Nothing here runs
// on silicon.
#pragma once

#include "device/abi/backend.h"

namespace tenon::device {

// Null where the descriptions of the chips cannot be read.
Backend* simulated_backend();

}  // namespace tenon::device

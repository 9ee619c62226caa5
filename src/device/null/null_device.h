// The device that accepts everything and computes nothing: results have the types of the model's
// outputs and are zeros. For measuring what a host costs by itself, for testing hosts without a
// device, and to begin a new device from (docs/how_to_add_a_device.md).
#pragma once

#include "device/abi/backend.h"

namespace tenon::device {

Backend* null_backend();

}  // namespace tenon::device

// libtenon_device_simulated.so.
#include "device/simulated/simulated_device.h"

const tenon_device_api* tenon_device_plugin(uint32_t) noexcept {
  return tenon::device::make_api("simulated", tenon::device::simulated_backend);
}

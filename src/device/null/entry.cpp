// libtenon_device_null.so.
#include "device/null/null_device.h"

const tenon_device_api* tenon_device_plugin(uint32_t) noexcept {
  return tenon::device::make_api("null", tenon::device::null_backend);
}

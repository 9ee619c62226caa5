// The part of the C interface (include/tenon/runtime.h) that is about devices.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "device/plugin/plugin.h"
#include "runtime/c_api.h"

using tenon::invalid_argument;
using tenon::Status;
using tenon::runtime::guarded;
namespace device = tenon::device;
namespace runtime = tenon::runtime;

extern "C" {

tenon_error* tenon_model_function_on(const tenon_model* model,
                                     const tenon_function_options* options,
                                     tenon_function** function) noexcept {
  return guarded([&]() -> Status {
    if (model == nullptr || function == nullptr)
      return invalid_argument("model or function is null");
    tenon_function_options given{};
    if (options != nullptr)
      std::memcpy(&given, options, std::min(options->struct_size, sizeof given));
    *function = nullptr;
    runtime::DeviceChoice device;
    if (given.device != nullptr) device.name = given.device;
    if (given.precision != nullptr) device.precision = given.precision;
    return runtime::hand_out(
        model->model.function(given.key == nullptr ? "" : given.key,
                              given.state == nullptr ? nullptr : given.state->state, device),
        function);
  });
}

const char* tenon_device_name(size_t index) noexcept {
  if (index == 0) return "cpu";
  const char* name = nullptr;
  tenon_error* error = guarded([&]() -> Status {
    const auto& devices = device::installed().devices;
    if (index <= devices.size()) name = devices[index - 1].name.c_str();
    return {};
  });
  tenon_error_free(error);
  return name;
}

const char* tenon_function_device(const tenon_function* function) noexcept {
  return function == nullptr ? "" : function->function.device().c_str();
}
size_t tenon_function_counter_count(const tenon_function* function) noexcept {
  size_t count = 0;
  tenon_error* error = guarded([&]() -> Status {
    if (function != nullptr) count = TRY(function->function.counters()).size();
    return {};
  });
  tenon_error_free(error);
  return count;
}
tenon_error* tenon_function_counter(const tenon_function* function, size_t index,
                                    tenon_counter* counter) noexcept {
  return guarded([&]() -> Status {
    if (function == nullptr || counter == nullptr || counter->struct_size < sizeof(tenon_counter))
      return invalid_argument("function or counter is null, or struct_size is not set");
    const auto all = TRY(function->function.counters());
    if (index >= all.size())
      return invalid_argument(
          fmt::format("there are {} counters, no number {}", all.size(), index));
    const std::lock_guard lock(function->mutex);
    const auto kept = [&](const std::string& text) {
      return function->names.insert(text).first->c_str();
    };
    *counter = {counter->struct_size, kept(all[index].name), kept(all[index].unit),
                all[index].value};
    return {};
  });
}
const char* tenon_function_notice(const tenon_function* function, size_t index) noexcept {
  const char* text = nullptr;
  tenon_error* error = guarded([&]() -> Status {
    if (function == nullptr) return {};
    const auto all = function->function.notices();
    const std::lock_guard lock(function->mutex);
    for (size_t i = function->notices.size(); i < all.size(); ++i)
      function->notices.push_back(all[i]);
    if (index < function->notices.size()) text = function->notices[index].c_str();
    return {};
  });
  tenon_error_free(error);
  return text;
}

}  // extern "C"

// Plug-ins from the host's side: loading and checking them, the devices that are installed, and
// programs run through the interface (include/tenon/device.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "device/abi/backend.h"

namespace tenon::device {

class Plugin;

// A device that a plug-in has.
struct Description : Info {
  std::shared_ptr<const Plugin> plugin;
  size_t index = 0;  // there
};

// A library with devices, checked: it stays loaded as long as the process.
class Plugin : public std::enable_shared_from_this<Plugin> {
 public:
  // Errors: not_found; invalid_argument for what is no plug-in, or crashes; unsupported for another
  // version of the interface.
  static Result<std::shared_ptr<const Plugin>> open(const std::string& path);

  const tenon_device_api& api() const { return *api_; }
  const std::string& path() const { return path_; }
  Result<std::vector<Description>> devices() const;

  // The error of a call, taken over; ok where there is none.
  Status status(tenon_device_error* error) const;

 private:
  Status check(const tenon_device_api* api);
  std::string path_;
  const tenon_device_api* api_ = nullptr;
};

// What is found beside the program or its library and in the folders and files of the environment
// variable TENON_DEVICE_PATH, separated by colons.
struct Installed {
  std::vector<Description> devices;
  std::vector<std::string> problems;  // of plug-ins that cannot be used
};
// Looked for once, by the first call. Thread-safe.
const Installed& installed();
// By name or alias, without regard to case, '-' and '_'. Error: unsupported, with the nearest and
// all names, the CPU among them.
Result<const Description*> find_device(std::string_view name);
// Whether the name is that of the CPU, which is no plug-in.
bool is_cpu(std::string_view name);

// A function of a model on an opened device. Thread-safe.
class LoadedProgram {
 public:
  // `load.model` is kept as long as this.
  static Result<std::shared_ptr<LoadedProgram>> load(const Description& device, int threads,
                                                     const Load& load);
  ~LoadedProgram();
  LoadedProgram(const LoadedProgram&) = delete;
  LoadedProgram& operator=(const LoadedProgram&) = delete;

  // Undefined tensors are absent inputs. The results are copies in the memory of the host.
  Result<std::vector<Tensor>> run(std::span<const Tensor> inputs, const Interrupted& interrupted);
  Result<std::vector<Counter>> counters() const;
  std::vector<std::string> notices() const;
  const Description& device() const { return description_; }

 private:
  explicit LoadedProgram(Description description) : description_(std::move(description)) {}

  Description description_;
  Blob model_;
  tenon_device* device_ = nullptr;
  tenon_program* program_ = nullptr;
};

}  // namespace tenon::device

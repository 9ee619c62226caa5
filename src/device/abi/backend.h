// What a device of ours implements, and the C interface (include/tenon/device.h) made of it. The
// memory of such devices is the host's; operations are done when their call returns.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "tenon/device.h"
#include "tensor/tensor.h"

namespace tenon::device {

struct Info {
  std::string name, title, family, aliases, checked;
  uint32_t flags = 0;
  uint64_t memory_bytes = 0;
};

// tenon_load, checked.
struct Load {
  Blob model;
  Bytes section;  // empty: the file has none for this device
  std::string function, precision;
  bool verify_weights = true;
  int64_t max_loop_iterations = 0;
  std::vector<std::string> custom_ops;
  bool allow_embedded_code = false;
};

struct Counter {
  std::string name, unit;
  double value = 0;
};

using Interrupted = std::function<bool()>;

// A loaded function. Thread-safe.
class Program {
 public:
  virtual ~Program() = default;
  // Absent optional inputs are undefined tensors.
  virtual Result<std::vector<Tensor>> execute(std::span<const Tensor> inputs,
                                              const Interrupted& interrupted) = 0;
  // Those every device has but for bytes_in and bytes_out, which are counted around it, and others;
  // always the same names in the same order.
  virtual std::vector<Counter> counters() = 0;
  // Only ever grows at the end.
  virtual std::vector<std::string> notices() = 0;
};

// An opened device. Thread-safe.
class Device {
 public:
  virtual ~Device() = default;
  virtual Result<std::unique_ptr<Program>> load(const Load& load) = 0;
};

// All devices of a plug-in. Thread-safe; lives as long as the library.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::span<const Info> devices() const = 0;
  virtual Result<std::unique_ptr<Device>> open(size_t index, int threads) = 0;
};

// The table of a plug-in whose devices are those of `backend`, which is called on demand: what it
// throws or cannot make is a plug-in without devices. There is one backend to a library. Behind
// `name` comes the version of Tenon.
const tenon_device_api* make_api(const char* name, Backend* (*backend)());

}  // namespace tenon::device

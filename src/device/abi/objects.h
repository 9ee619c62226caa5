// What the handles of the device interface are, for devices of ours.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <exception>
#include <mutex>
#include <new>

#include "device/abi/backend.h"

struct tenon_device_error {
  tenon::Error error;
  std::string message;  // with the notes
};

struct tenon_device {
  tenon::device::Info info;
  std::unique_ptr<tenon::device::Device> device;
  std::mutex mutex;  // of the counts
  uint64_t used = 0, peak = 0;
};

struct tenon_buffer {
  tenon_device* device = nullptr;     // null: a view of a result
  std::shared_ptr<const void> owner;  // of the bytes
  std::byte* data = nullptr;
  uint64_t bytes = 0;
};

// Operations are done when they return: what is left are errors that nobody was told of.
struct tenon_stream {
  tenon_device* device = nullptr;
};

struct tenon_event {
  std::mutex mutex;
  std::chrono::steady_clock::time_point time;
};

struct tenon_program {
  std::unique_ptr<tenon::device::Program> program;
  std::atomic<uint64_t> bytes_in{0}, bytes_out{0};
  std::mutex mutex;               // of what follows
  std::deque<std::string> texts;  // names that callers were given
  std::deque<std::string> notices;
};

struct tenon_execution {
  std::vector<tenon::Tensor> results;
  std::vector<std::vector<tenon_string>> strings;
  std::vector<tenon_buffer> buffers;
};

namespace tenon::device {

// Given out where there is no memory for an error of its own; never freed.
inline tenon_device_error& out_of_memory() {
  static tenon_device_error error{resource_exhausted("out of memory"), "out of memory"};
  return error;
}

inline tenon_device_error* error_of(Error error) {
  std::string message = error.message;
  for (const std::string& note : error.notes) message += "\n  " + note;
  return new tenon_device_error{std::move(error), std::move(message)};
}

// Runs what may fail; nothing throws past it.
template <typename F>
tenon_device_error* guarded(F&& body) noexcept {
  try {
    Status status = body();
    return status.ok() ? nullptr : error_of(std::move(status).error());
  } catch (const std::bad_alloc&) {
    return &out_of_memory();
  } catch (const Error& e) {  // of a backend that cannot be made
    return error_of(e);
  } catch (const std::exception& e) {
    return new (std::nothrow) tenon_device_error{internal_error(e.what()), e.what()};
  }
}

}  // namespace tenon::device

// Buffers, streams and events of devices of ours.
#include "device/abi/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace tenon::device {
namespace {

constexpr uint64_t kAlignment = 64;

Status check_range(const tenon_buffer& buffer, uint64_t offset, uint64_t bytes) {
  if (offset <= buffer.bytes && bytes <= buffer.bytes - offset) return {};
  return invalid_argument(fmt::format("bytes {} to {} are beyond a buffer of {}", offset,
                                      offset + bytes, buffer.bytes));
}

}  // namespace

tenon_device_error* memory(tenon_device* device, tenon_device_memory* memory) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr || memory == nullptr || memory->struct_size < sizeof *memory)
      return invalid_argument("device or memory is null, or struct_size is not set");
    const std::lock_guard lock(device->mutex);
    *memory = {memory->struct_size, device->info.memory_bytes, device->used, device->peak,
               kAlignment};
    return {};
  });
}

tenon_device_error* allocate(tenon_device* device, uint64_t bytes, tenon_buffer** out) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr || out == nullptr) return invalid_argument("device or buffer is null");
    const auto no_room = [&](uint64_t used) {
      return resource_exhausted(
          fmt::format("a buffer of {} bytes does not fit into the {} of {}, "
                      "of which {} are in use",
                      bytes, device->info.memory_bytes, device->info.name, used));
    };
    {
      const std::lock_guard lock(device->mutex);
      const uint64_t total = device->info.memory_bytes;
      if (bytes > total || device->used > total - bytes) return no_room(device->used);
      device->used += bytes;
      device->peak = std::max(device->peak, device->used);
    }
    auto buffer = std::make_unique<tenon_buffer>();
    const auto data = allocate_aligned(std::max<uint64_t>(bytes, 1));
    if (data == nullptr) {
      const std::lock_guard lock(device->mutex);
      device->used -= bytes;
      return no_room(device->used);
    }
    buffer->device = device;
    buffer->data = data.get();
    buffer->owner = data;
    buffer->bytes = bytes;
    *out = buffer.release();
    return {};
  });
}

void free_buffer(tenon_buffer* buffer) noexcept {
  if (buffer == nullptr || buffer->device == nullptr) return;  // results belong to the execution
  {
    const std::lock_guard lock(buffer->device->mutex);
    buffer->device->used -= buffer->bytes;
  }
  delete buffer;
}

tenon_device_error* copy_in(tenon_buffer* buffer, uint64_t offset, const void* from, uint64_t bytes,
                            tenon_stream*) noexcept {
  return guarded([&]() -> Status {
    if (buffer == nullptr || (from == nullptr && bytes > 0))
      return invalid_argument("buffer or data is null");
    TRY(check_range(*buffer, offset, bytes));
    if (bytes > 0) std::memcpy(buffer->data + offset, from, bytes);
    return {};
  });
}

tenon_device_error* copy_out(const tenon_buffer* buffer, uint64_t offset, void* to, uint64_t bytes,
                             tenon_stream*) noexcept {
  return guarded([&]() -> Status {
    if (buffer == nullptr || (to == nullptr && bytes > 0))
      return invalid_argument("buffer or data is null");
    TRY(check_range(*buffer, offset, bytes));
    if (bytes > 0) std::memcpy(to, buffer->data + offset, bytes);
    return {};
  });
}

tenon_device_error* stream_create(tenon_device* device, tenon_stream** stream) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr || stream == nullptr) return invalid_argument("device or stream is null");
    *stream = std::make_unique<tenon_stream>(tenon_stream{device}).release();
    return {};
  });
}
void stream_destroy(tenon_stream* stream) noexcept {
  delete stream;
}
tenon_device_error* stream_wait(tenon_stream*) noexcept {
  return nullptr;
}
tenon_device_error* stream_wait_event(tenon_stream*, tenon_event* event) noexcept {
  return guarded([&]() -> Status {
    if (event == nullptr) return invalid_argument("event is null");
    return {};
  });
}

tenon_device_error* event_create(tenon_device* device, tenon_event** event) noexcept {
  return guarded([&]() -> Status {
    if (device == nullptr || event == nullptr) return invalid_argument("device or event is null");
    *event = std::make_unique<tenon_event>().release();
    return {};
  });
}
void event_destroy(tenon_event* event) noexcept {
  delete event;
}
tenon_device_error* event_record(tenon_event* event, tenon_stream*) noexcept {
  return guarded([&]() -> Status {
    if (event == nullptr) return invalid_argument("event is null");
    const std::lock_guard lock(event->mutex);
    event->time = std::chrono::steady_clock::now();
    return {};
  });
}
tenon_device_error* event_done(tenon_event* event, int32_t* done) noexcept {
  return guarded([&]() -> Status {
    if (event == nullptr || done == nullptr) return invalid_argument("event or done is null");
    *done = 1;
    return {};
  });
}
tenon_device_error* event_wait(tenon_event* event) noexcept {
  return guarded([&]() -> Status {
    if (event == nullptr) return invalid_argument("event is null");
    return {};
  });
}
tenon_device_error* event_seconds(tenon_event* from, tenon_event* to, double* seconds) noexcept {
  return guarded([&]() -> Status {
    if (from == nullptr || to == nullptr || seconds == nullptr)
      return invalid_argument("an event or seconds is null");
    const auto time_of = [](tenon_event* e) {
      const std::lock_guard lock(e->mutex);
      return e->time;
    };
    const auto begin = time_of(from), end = time_of(to);
    if (begin == decltype(begin){} || end == decltype(end){})
      return invalid_argument("an event was never recorded");
    *seconds = std::chrono::duration<double>(end - begin).count();
    return {};
  });
}

}  // namespace tenon::device

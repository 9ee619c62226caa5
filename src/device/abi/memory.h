// The entries of the device interface for memory, streams and events (memory.cpp).
#pragma once

#include "device/abi/objects.h"

namespace tenon::device {

tenon_device_error* memory(tenon_device* device, tenon_device_memory* memory) noexcept;
tenon_device_error* allocate(tenon_device* device, uint64_t bytes, tenon_buffer** out) noexcept;
void free_buffer(tenon_buffer* buffer) noexcept;
tenon_device_error* copy_in(tenon_buffer* buffer, uint64_t offset, const void* from, uint64_t bytes,
                            tenon_stream* stream) noexcept;
tenon_device_error* copy_out(const tenon_buffer* buffer, uint64_t offset, void* to, uint64_t bytes,
                             tenon_stream* stream) noexcept;
tenon_device_error* stream_create(tenon_device* device, tenon_stream** stream) noexcept;
void stream_destroy(tenon_stream* stream) noexcept;
tenon_device_error* stream_wait(tenon_stream* stream) noexcept;
tenon_device_error* stream_wait_event(tenon_stream* stream, tenon_event* event) noexcept;
tenon_device_error* event_create(tenon_device* device, tenon_event** event) noexcept;
void event_destroy(tenon_event* event) noexcept;
tenon_device_error* event_record(tenon_event* event, tenon_stream* stream) noexcept;
tenon_device_error* event_done(tenon_event* event, int32_t* done) noexcept;
tenon_device_error* event_wait(tenon_event* event) noexcept;
tenon_device_error* event_seconds(tenon_event* from, tenon_event* to, double* seconds) noexcept;

}  // namespace tenon::device

// The handshake, memory, streams and events.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "device/suite/cases.h"

namespace tenon::device {
namespace {

// Owners of what a case makes.
struct Buffer {
  Bench& bench;
  tenon_buffer* handle = nullptr;
  explicit Buffer(Bench& b) : bench(b) {}
  ~Buffer() { bench.api().free(handle); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Status allocate(uint64_t bytes) {
    return bench.status(bench.api().allocate(bench.device, bytes, &handle));
  }
};
struct Stream {
  Bench& bench;
  tenon_stream* handle = nullptr;
  explicit Stream(Bench& b) : bench(b) {}
  ~Stream() { bench.api().stream_destroy(handle); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  Status create() { return bench.status(bench.api().stream_create(bench.device, &handle)); }
};
struct Event {
  Bench& bench;
  tenon_event* handle = nullptr;
  explicit Event(Bench& b) : bench(b) {}
  ~Event() { bench.api().event_destroy(handle); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  Status create() { return bench.status(bench.api().event_create(bench.device, &handle)); }
};

std::vector<uint8_t> pattern(size_t size, uint8_t first) {
  std::vector<uint8_t> bytes(size);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}

Status same(const std::vector<uint8_t>& given, const std::vector<uint8_t>& expected) {
  const auto at = std::ranges::mismatch(given, expected).in1 - given.begin();
  if (given == expected) return {};
  return wrong(fmt::format("byte {} is {}, expected {}", at, given[static_cast<size_t>(at)],
                           expected[static_cast<size_t>(at)]));
}

Status table(Bench& bench) {
  const tenon_device_api& api = bench.api();
  if (api.name == nullptr || *api.name == '\0') return wrong("the plug-in has no name");
  if (api.struct_size < sizeof(tenon_device_api)) return wrong("struct_size is too small");
  return {};
}

Status infos(Bench& bench) {
  const size_t count = bench.api().device_count();
  std::set<std::string> names;
  for (const Description& d : TRY(bench.description.plugin->devices())) {
    if (!names.insert(d.name).second) return wrong(fmt::format("'{}' is there twice", d.name));
    for (const char c : d.name)
      if ((c >= 'A' && c <= 'Z') || c == ' ')
        return wrong(fmt::format("name '{}' is not of lower case without spaces", d.name));
    if (d.title.empty() || d.checked.empty())
      return wrong(fmt::format("'{}' has no title or does not say how it was checked", d.name));
    if (d.memory_bytes == 0) return wrong(fmt::format("'{}' has no memory", d.name));
  }
  tenon_device_info info{};
  info.struct_size = sizeof info;
  TRY(bench.refused(bench.api().device_info(count, &info), Code::invalid_argument,
                    "a device beyond the last"));
  tenon_device* device = nullptr;
  TRY(bench.refused(bench.api().open(count, nullptr, &device), Code::invalid_argument,
                    "opening a device beyond the last"));
  info.struct_size = 0;
  return bench.refused(bench.api().device_info(0, &info), Code::invalid_argument,
                       "an info without struct_size");
}

Status open_twice(Bench& bench) {
  const tenon_device_options options{sizeof options, 1};
  tenon_device* second = nullptr;
  TRY(bench.status(bench.api().open(bench.description.index, &options, &second)));
  bench.api().close(second);
  const tenon_device_options negative{sizeof negative, -1};
  return bench.refused(bench.api().open(bench.description.index, &negative, &second),
                       Code::invalid_argument, "a negative number of threads");
}

Status copies(Bench& bench) {
  Buffer buffer(bench);
  TRY(buffer.allocate(1000));
  const auto all = pattern(1000, 1), part = pattern(100, 77);
  const auto& api = bench.api();
  TRY(bench.status(api.copy_in(buffer.handle, 0, all.data(), all.size(), nullptr)));
  TRY(bench.status(api.copy_in(buffer.handle, 333, part.data(), part.size(), nullptr)));
  std::vector<uint8_t> back(1000), expected = all;
  std::ranges::copy(part, expected.begin() + 333);
  TRY(bench.status(api.copy_out(buffer.handle, 0, back.data(), back.size(), nullptr)));
  TRY(bench.status(api.stream_wait(nullptr)));
  TRY(same(back, expected));
  back.resize(50);
  TRY(bench.status(api.copy_out(buffer.handle, 350, back.data(), back.size(), nullptr)));
  TRY(bench.status(api.stream_wait(nullptr)));
  return same(back, {expected.begin() + 350, expected.begin() + 400});
}

Status beyond(Bench& bench) {
  Buffer buffer(bench);
  TRY(buffer.allocate(64));
  const auto before = pattern(64, 5), other = pattern(64, 99);
  const auto& api = bench.api();
  TRY(bench.status(api.copy_in(buffer.handle, 0, before.data(), 64, nullptr)));
  TRY(bench.status(api.stream_wait(nullptr)));
  std::vector<uint8_t> back(64);
  TRY(bench.refused(api.copy_in(buffer.handle, 1, other.data(), 64, nullptr),
                    Code::invalid_argument, "copying beyond a buffer"));
  TRY(bench.refused(api.copy_out(buffer.handle, 65, back.data(), 1, nullptr),
                    Code::invalid_argument, "copying from beyond a buffer"));
  TRY(bench.refused(api.copy_in(buffer.handle, UINT64_MAX, other.data(), 8, nullptr),
                    Code::invalid_argument, "an offset that overflows"));
  TRY(bench.status(api.copy_out(buffer.handle, 0, back.data(), 64, nullptr)));
  TRY(bench.status(api.stream_wait(nullptr)));
  return same(back, before);
}

Result<tenon_device_memory> memory_of(Bench& bench) {
  tenon_device_memory memory{};
  memory.struct_size = sizeof memory;
  TRY(bench.status(bench.api().memory(bench.device, &memory)));
  return memory;
}

Status counts(Bench& bench) {
  const tenon_device_memory before = TRY(memory_of(bench));
  if (before.total_bytes == 0 || before.alignment == 0) return wrong("no memory or alignment");
  {
    Buffer a(bench), b(bench);
    TRY(a.allocate(4096));
    TRY(b.allocate(100));
    const tenon_device_memory during = TRY(memory_of(bench));
    if (during.used_bytes < before.used_bytes + 4196)
      return wrong(fmt::format("{} bytes in use after {} and 4196 more", during.used_bytes,
                               before.used_bytes));
    if (during.peak_bytes < during.used_bytes) return wrong("the peak is below what is in use");
  }
  const tenon_device_memory after = TRY(memory_of(bench));
  if (after.used_bytes != before.used_bytes)
    return wrong(
        fmt::format("{} bytes in use before, {} after", before.used_bytes, after.used_bytes));
  return {};
}

Status too_much(Bench& bench) {
  const tenon_device_memory memory = TRY(memory_of(bench));
  tenon_buffer* buffer = nullptr;
  TRY(bench.refused(bench.api().allocate(bench.device, memory.total_bytes + 1, &buffer),
                    Code::resource_exhausted, "a buffer larger than the memory"));
  return bench.refused(bench.api().allocate(bench.device, UINT64_MAX, &buffer),
                       Code::resource_exhausted, "the largest buffer there could be");
}

Status nothing(Bench& bench) {
  Buffer buffer(bench);
  TRY(buffer.allocate(0));
  if (buffer.handle == nullptr) return wrong("no buffer of zero bytes");
  TRY(bench.status(bench.api().copy_in(buffer.handle, 0, nullptr, 0, nullptr)));
  bench.api().free(nullptr);  // does nothing
  return {};
}

// Many copies to the same place: the last one is seen.
Status in_order(Bench& bench) {
  Stream stream(bench);
  Buffer buffer(bench);
  TRY(stream.create());
  TRY(buffer.allocate(1 << 16));
  std::vector<std::vector<uint8_t>> sources;
  for (uint8_t i = 0; i < 20; ++i) sources.push_back(pattern(1 << 16, i));
  for (const auto& source : sources)
    TRY(bench.status(
        bench.api().copy_in(buffer.handle, 0, source.data(), source.size(), stream.handle)));
  std::vector<uint8_t> back(1 << 16);
  TRY(bench.status(
      bench.api().copy_out(buffer.handle, 0, back.data(), back.size(), stream.handle)));
  TRY(bench.status(bench.api().stream_wait(stream.handle)));
  return same(back, sources.back());
}

Status events(Bench& bench) {
  Stream writer(bench), reader(bench);
  Event event(bench), later(bench);
  Buffer buffer(bench);
  TRY(writer.create());
  TRY(reader.create());
  TRY(event.create());
  TRY(later.create());
  TRY(buffer.allocate(1 << 16));
  const auto& api = bench.api();
  int32_t done = 0;
  TRY(bench.status(api.event_done(event.handle, &done)));
  if (done == 0) return wrong("an event that was never recorded is not done");
  for (uint8_t i = 0; i < 10; ++i) {
    const auto source = pattern(1 << 16, i);
    std::vector<uint8_t> back(1 << 16);
    TRY(bench.status(api.copy_in(buffer.handle, 0, source.data(), source.size(), writer.handle)));
    TRY(bench.status(api.event_record(event.handle, writer.handle)));
    TRY(bench.status(api.stream_wait_event(reader.handle, event.handle)));
    TRY(bench.status(api.copy_out(buffer.handle, 0, back.data(), back.size(), reader.handle)));
    TRY(bench.status(api.event_record(later.handle, reader.handle)));
    TRY(bench.status(api.event_wait(later.handle)));
    TRY(bench.status(api.event_done(later.handle, &done)));
    if (done == 0) return wrong("an event is not done after it was waited for");
    TRY(same(back, source));
    double seconds = -1;
    TRY(bench.status(api.event_seconds(event.handle, later.handle, &seconds)));
    if (!(seconds >= 0)) return wrong("time runs backwards between two events");
  }
  return {};
}

}  // namespace

std::vector<Case> interface_cases() {
  return {{"handshake/the table", table},
          {"handshake/devices", infos},
          {"handshake/a device opened twice", open_twice},
          {"memory/copies", copies},
          {"memory/beyond a buffer", beyond},
          {"memory/counts", counts},
          {"memory/more than there is", too_much},
          {"memory/zero bytes", nothing},
          {"streams/in order", in_order},
          {"streams/events", events}};
}

}  // namespace tenon::device

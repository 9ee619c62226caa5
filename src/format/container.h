// The outer layer of a .tenon file: header and section table.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"

namespace tenon::container {

constexpr char kMagic[8] = {'T', 'E', 'N', 'O', 'N', '\r', '\n', '\x1a'};
constexpr uint64_t kAlignment = 64;
constexpr uint32_t kMaxSections = 1024;
constexpr uint64_t aligned(uint64_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

// A library of custom ops: u64 length of its name, the name, its bytes; one section each.
// Programs for a device: u64 length of its name, the name, zeros up to a multiple of 64, and what
// is the device's own: of chips a FlatBuffer (DeviceSection in model.fbs).
enum Kind : uint32_t {
  kMetadata = 1,
  kWeights = 2,
  kCustomOps = 3,
  kDevice = 4,
  kPacked = 5,
  kPrepacked = 6
};
enum Flags : uint32_t { kRequired = 1 };  // a reader that does not know the kind must refuse

// All integers little-endian. `header_hash` is XXH3-64 of the header with this field zero, followed
// by the section table.
struct Header {
  char magic[8];
  uint16_t major;
  uint16_t minor;
  uint32_t section_count;
  uint64_t header_hash;
};
static_assert(sizeof(Header) == 24);

struct Section {
  uint32_t kind;
  uint32_t flags;
  uint64_t offset;
  uint64_t size;
  uint64_t hash;  // XXH3-64 of its bytes
};
static_assert(sizeof(Section) == 32);

// Maps a file to read. Errors: those of MappedFile::open; of a folder, how a file is made of it.
Result<std::shared_ptr<const MappedFile>> map_file(const std::string& path);

}  // namespace tenon::container

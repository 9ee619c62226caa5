// Protocol buffers that ops read while a model runs: the fields of one message after the other.
#pragma once

#include <cstdint>
#include <string_view>

namespace tenon {

// Reads the fields of one message; `fine` turns false at damage and stays so.
struct ProtoFields {
  std::string_view data;
  bool fine = true;
  uint32_t field = 0, kind = 0;
  uint64_t number = 0;     // kind 0
  std::string_view bytes;  // kinds 1, 2 and 5

  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !data.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(data[0]);
      data.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return fine = false;
  }
  bool next() {
    uint64_t tag = 0;
    if (data.empty() || !varint(tag)) return false;
    field = static_cast<uint32_t>(tag >> 3);
    kind = static_cast<uint32_t>(tag & 7);
    if (kind == 0) return varint(number);
    uint64_t size = kind == 1 ? 8 : 4;
    if (kind == 2 && !varint(size)) return false;
    if ((kind != 1 && kind != 2 && kind != 5) || size > data.size()) return fine = false;
    bytes = data.substr(0, static_cast<size_t>(size));
    data.remove_prefix(static_cast<size_t>(size));
    return true;
  }
};

}  // namespace tenon

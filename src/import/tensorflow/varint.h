// Base-128 integers at the front of a byte range, as LevelDB tables and string tensors hold them.
#pragma once

#include "base/bytes.h"

namespace tenon::tf {

// Takes a varint off the front of `in`. False when it is cut short or longer than 64 bits.
inline bool take_varint(Bytes& in, uint64_t& value) {
  value = 0;
  for (size_t i = 0; i < in.size() && i < 10; ++i) {
    const uint64_t byte = static_cast<uint8_t>(in[i]);
    if (i == 9 && byte > 1) return false;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      in = in.subspan(i + 1);
      return true;
    }
  }
  return false;
}

}  // namespace tenon::tf

// The sorted string table that holds a checkpoint's index (LevelDB's table format as TensorFlow
// writes it). Reads everything: an index is small.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tenon::tf {

// TensorFlow stores CRCs rotated and offset, so that a CRC of CRCs does not degenerate.
inline uint32_t mask_crc(uint32_t crc) {
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

using TableEntries = std::vector<std::pair<std::string, std::string>>;

// All entries, in key order. Errors: invalid_model when the magic, a checksum, a length or the
// order of the keys is wrong.
Result<TableEntries> read_table(Bytes file);

}  // namespace tenon::tf

// Unpacking what zlib packed.
#pragma once

#include <string>

#include "base/bytes.h"

namespace tenon {

enum class Packing : uint8_t { zlib, gzip, deflate };  // deflate: without a header

// All bytes of the stream (of several gzip members one behind the other). Errors: invalid_argument
// for damaged or cut off data, resource_exhausted where it holds more than `most` bytes.
Result<std::string> inflate_bytes(Bytes packed, Packing packing, size_t most);

// The checksum of zip and gzip.
uint32_t crc32_of(Bytes bytes);

}  // namespace tenon

// Content hashes: XXH3 for our own formats, CRC-32C for TensorFlow's. Not cryptographic.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tenon {

uint64_t hash64(Bytes bytes, uint64_t seed = 0);

// hash64 of bytes that come in parts.
class StreamHash64 {
 public:
  StreamHash64();
  ~StreamHash64();
  StreamHash64(const StreamHash64&) = delete;
  StreamHash64& operator=(const StreamHash64&) = delete;
  void add(Bytes bytes);
  uint64_t digest() const;

 private:
  void* state_;
};

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`, continuing from `crc`.
uint32_t crc32c(Bytes bytes, uint32_t crc = 0);

}  // namespace tenon

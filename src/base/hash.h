// Content hashes: XXH3 for our own formats, CRC-32C for TensorFlow's. Not cryptographic.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace tenon {

uint64_t hash64(Bytes bytes, uint64_t seed = 0);

// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `bytes`, continuing from `crc`.
uint32_t crc32c(Bytes bytes, uint32_t crc = 0);

}  // namespace tenon

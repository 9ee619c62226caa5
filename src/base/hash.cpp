#include "base/hash.h"

#include <nmmintrin.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tenon {

uint64_t hash64(Bytes bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

StreamHash64::StreamHash64() : state_(XXH3_createState()) {
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}
StreamHash64::~StreamHash64() {
  XXH3_freeState(static_cast<XXH3_state_t*>(state_));
}
void StreamHash64::add(Bytes bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}
uint64_t StreamHash64::digest() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

uint32_t crc32c(Bytes bytes, uint32_t crc) {
  const std::byte* p = bytes.data();
  size_t left = bytes.size();
  uint64_t state = ~crc;
  for (; left >= 8; left -= 8, p += 8) state = _mm_crc32_u64(state, load_le<uint64_t>(p));
  for (; left > 0; --left, ++p)
    state = _mm_crc32_u8(static_cast<uint32_t>(state), static_cast<uint8_t>(*p));
  return ~static_cast<uint32_t>(state);
}

}  // namespace tenon

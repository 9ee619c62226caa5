// The hashes of strings that models are trained with: FarmHash's Fingerprint64, SipHash-2-4 and
// MurmurHash64A with TensorFlow's seed.
#pragma once

#include <cstdint>
#include <string_view>

namespace tenon {

uint64_t farm_fingerprint(std::string_view text);
uint64_t murmur_hash(std::string_view text);
uint64_t sip_hash(std::string_view text, uint64_t key0, uint64_t key1);

}  // namespace tenon

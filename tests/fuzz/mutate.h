// Seeded mutations of byte strings: the same seed, corpus and index give the same mutant anywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tenon::fuzz {

// A small generator (SplitMix64) whose whole state is one number.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  // In [0, bound); 0 for a bound of 0.
  uint64_t below(uint64_t bound) { return bound == 0 ? 0 : next() % bound; }

 private:
  uint64_t state_;
};

enum class Form : uint8_t {
  bytes,
  text,
  message,  // protobuf
};

// One to six of: bits flipped, bytes set, little-endian integers and varints replaced by extreme
// ones, chunks erased, repeated, swapped, spliced in from another seed, the end cut off; for text
// also digits and words replaced, for messages mostly fields (mutate_message.h). Never longer than
// twice the seed plus 64 bytes.
std::string mutant_of(std::span<const std::string> corpus, Random& random, Form form);

}  // namespace tenon::fuzz

// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), with numbers
// made of its words as TensorFlow makes them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace tenon::philox {

using Words = std::array<uint32_t, 4>;

// One block of the function.
Words scramble(Words counter, uint64_t key);

// In [0, 1): the low bits become the fraction of a number in [1, 2).
inline float to_float(uint32_t word) {
  return static_cast<float>(word & 0x7FFFFF) * 0x1p-23F;
}
// The first word gives the upper bits.
inline double to_double(uint32_t first, uint32_t second) {
  return static_cast<double>(static_cast<uint64_t>(first & 0xFFFFF) << 32 | second) * 0x1p-52;
}

// Two normally distributed values from two uniform ones (Box and Muller).
template <typename T>
std::array<T, 2> box_muller(T u, T v) {
  constexpr T kLeast = static_cast<T>(1e-7), kPi = static_cast<T>(3.14159265358979323846);
  const T radius = std::sqrt(T{-2} * std::log(std::max(u, kLeast)));
  return {std::sin(2 * kPi * v) * radius, std::cos(2 * kPi * v) * radius};
}

// The words in order, 32 or 64 bits at a time.
class Stream {
 public:
  // The counter's lower and upper half; `skip` is added to it.
  Stream(uint64_t key, uint64_t low, uint64_t high, uint64_t skip = 0)
      : key_(key), low_(low + skip), high_(high + (low + skip < low ? 1 : 0)) {}

  // The next whole block; what is left of the last one is dropped.
  Words block() {
    used_ = 4;
    const Words words = scramble({static_cast<uint32_t>(low_), static_cast<uint32_t>(low_ >> 32),
                                  static_cast<uint32_t>(high_), static_cast<uint32_t>(high_ >> 32)},
                                 key_);
    high_ += ++low_ == 0 ? 1 : 0;
    return words;
  }
  uint32_t next() {
    if (used_ == 4) {
      words_ = block();
      used_ = 0;
    }
    return words_[used_++];
  }
  uint64_t next64() {
    const uint64_t low = next();
    return low | static_cast<uint64_t>(next()) << 32;
  }
  float next_float() { return to_float(next()); }
  double next_double() {
    const uint32_t first = next();
    return to_double(first, next());
  }

 private:
  uint64_t key_, low_, high_;
  Words words_{};
  size_t used_ = 4;
};

}  // namespace tenon::philox

#include "base/string_hash.h"

#include <bit>
#include <cstring>
#include <utility>

namespace tenon {
namespace {

constexpr uint64_t k0 = 0xc3a5c85c97cb3127, k1 = 0xb492b66fbe98f273, k2 = 0x9ae16a3b2f90404f;

using Pair = std::pair<uint64_t, uint64_t>;

uint64_t load64(const char* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
uint64_t load32(const char* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
uint64_t right(uint64_t v, int by) {
  return std::rotr(v, by);
}
uint64_t fold(uint64_t v) {
  return v ^ (v >> 47);
}
uint64_t mix(uint64_t u, uint64_t v, uint64_t mul) {
  const uint64_t a = fold((u ^ v) * mul);
  return fold((v ^ a) * mul) * mul;
}

uint64_t hash_short(const char* s, size_t n) {
  const uint64_t mul = k2 + n * 2;
  if (n >= 8) {
    const uint64_t a = load64(s) + k2, b = load64(s + n - 8);
    return mix(right(b, 37) * mul + a, (right(a, 25) + b) * mul, mul);
  }
  if (n >= 4) return mix(n + (load32(s) << 3), load32(s + n - 4), mul);
  if (n == 0) return k2;
  const auto byte = [&](size_t i) { return static_cast<uint64_t>(static_cast<uint8_t>(s[i])); };
  const uint64_t y = byte(0) + (byte(n >> 1) << 8), z = n + (byte(n - 1) << 2);
  return fold(y * k2 ^ z * k0) * k2;
}

uint64_t hash_to_32(const char* s, size_t n) {
  const uint64_t mul = k2 + n * 2;
  const uint64_t a = load64(s) * k1, b = load64(s + 8), c = load64(s + n - 8) * mul,
                 d = load64(s + n - 16) * k2;
  return mix(right(a + b, 43) + right(c, 30) + d, a + right(b + k2, 18) + c, mul);
}

uint64_t hash_to_64(const char* s, size_t n) {
  const uint64_t mul = k2 + n * 2;
  const uint64_t a = load64(s) * k2, b = load64(s + 8), c = load64(s + n - 8) * mul,
                 d = load64(s + n - 16) * k2;
  const uint64_t y = right(a + b, 43) + right(c, 30) + d;
  const uint64_t z = mix(y, a + right(b + k2, 18) + c, mul);
  const uint64_t e = load64(s + 16) * mul, f = load64(s + 24), g = (y + load64(s + n - 32)) * mul,
                 h = (z + load64(s + n - 24)) * mul;
  return mix(right(e + f, 43) + right(g, 30) + h, e + right(f + a, 18) + g, mul);
}

Pair hash_32_with_seeds(const char* s, uint64_t a, uint64_t b) {
  const uint64_t w = load64(s), x = load64(s + 8), y = load64(s + 16), z = load64(s + 24);
  a += w;
  b = right(b + a + z, 21);
  const uint64_t c = a;
  a += x + y;
  b += right(a, 44);
  return {a + z, b + c};
}

}  // namespace

uint64_t farm_fingerprint(std::string_view text) {
  const char* s = text.data();
  const size_t n = text.size();
  if (n <= 16) return hash_short(s, n);
  if (n <= 32) return hash_to_32(s, n);
  if (n <= 64) return hash_to_64(s, n);
  constexpr uint64_t kSeed = 81;
  uint64_t x = kSeed * k2 + load64(s), y = kSeed * k1 + 113, z = fold(y * k2 + 113) * k2;
  Pair v{0, 0}, w{0, 0};
  const char* const last = s + n - 64;
  // One round over the 64 bytes at s; the last one weighs two terms.
  const auto round = [&](uint64_t mul, uint64_t a, uint64_t b) {
    x = right(x + y + v.first + load64(s + 8), 37) * mul;
    y = right(y + v.second + load64(s + 48), 42) * mul;
    x ^= w.second * a;
    y += v.first * b + load64(s + 40);
    z = right(z + w.first, 33) * mul;
    v = hash_32_with_seeds(s, v.second * mul, x + w.first);
    w = hash_32_with_seeds(s + 32, z + w.second, y + load64(s + 16));
    std::swap(z, x);
  };
  for (size_t blocks = (n - 1) / 64; blocks > 0; --blocks, s += 64) round(k1, 1, 1);
  const uint64_t mul = k1 + ((z & 0xff) << 1);
  s = last;
  w.first += (n - 1) & 63;
  v.first += w.first;
  w.first += v.first;
  round(mul, 9, 9);
  return mix(mix(v.first, w.first, mul) + fold(y) * k0 + z, mix(v.second, w.second, mul) + x, mul);
}

uint64_t sip_hash(std::string_view text, uint64_t key0, uint64_t key1) {
  uint64_t v[4] = {key0 ^ 0x736f6d6570736575, key1 ^ 0x646f72616e646f6d, key0 ^ 0x6c7967656e657261,
                   key1 ^ 0x7465646279746573};
  const auto rounds = [&](int count) {
    for (int i = 0; i < count; ++i) {
      v[0] += v[1], v[1] = std::rotl(v[1], 13) ^ v[0], v[0] = std::rotl(v[0], 32);
      v[2] += v[3], v[3] = std::rotl(v[3], 16) ^ v[2];
      v[0] += v[3], v[3] = std::rotl(v[3], 21) ^ v[0];
      v[2] += v[1], v[1] = std::rotl(v[1], 17) ^ v[2], v[2] = std::rotl(v[2], 32);
    }
  };
  const auto absorb = [&](uint64_t word) {
    v[3] ^= word;
    rounds(2);
    v[0] ^= word;
  };
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) absorb(load64(text.data() + at));
  uint64_t tail = static_cast<uint64_t>(text.size()) << 56;
  for (size_t i = 0; at + i < text.size(); ++i)
    tail |= static_cast<uint64_t>(static_cast<uint8_t>(text[at + i])) << (8 * i);
  absorb(tail);
  v[2] ^= 0xff;
  rounds(4);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t murmur_hash(std::string_view text) {
  constexpr uint64_t kMul = 0xc6a4a7935bd1e995, kSeed = 0xdecafcaffe;
  uint64_t hash = kSeed ^ (text.size() * kMul);
  for (; text.size() >= 8; text.remove_prefix(8))
    hash = (hash ^ fold(load64(text.data()) * kMul) * kMul) * kMul;
  if (!text.empty()) {
    uint64_t rest = 0;
    for (size_t i = text.size(); i-- > 0;) rest = rest << 8 | static_cast<uint8_t>(text[i]);
    hash = (hash ^ rest) * kMul;
  }
  return fold(fold(hash) * kMul);
}

}  // namespace tenon

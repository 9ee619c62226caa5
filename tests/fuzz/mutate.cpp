#include "fuzz/mutate.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "fuzz/mutate_message.h"

namespace tenon::fuzz {
namespace {

constexpr std::array<uint64_t, 16> kExtremes{0,
                                             1,
                                             2,
                                             0x7f,
                                             0x80,
                                             0xff,
                                             0x7fff,
                                             0xffff,
                                             0x7fffffff,
                                             0x80000000,
                                             0xffffffff,
                                             uint64_t{1} << 40,
                                             0x7fffffffffffffff,
                                             0x8000000000000000,
                                             0xffffffffffffffff,
                                             0xfffffffffffffffe};
constexpr std::array<std::string_view, 12> kWords{
    "0",   "-1", "9223372036854775807", "1099511627776", "1e309", "nan", "{", "}", "\"", "[",
    "\\x", "%"};

size_t place(const std::string& s, Random& random) {
  return static_cast<size_t>(random.below(s.size()));
}

void change_numbers(std::string& s, Random& random) {
  const size_t at = place(s, random);
  const uint64_t value = extreme_value(random);
  if (random.below(2) == 0) {
    const size_t width = std::min<size_t>(size_t{1} << random.below(4), s.size() - at);
    std::memcpy(s.data() + at, &value, width);
    return;
  }
  size_t end = at;
  while (end < s.size() && end - at < 9 && (s[end] & 0x80) != 0) ++end;
  s.replace(at, std::min(end + 1, s.size()) - at, varint(value));
}

void change_text(std::string& s, Random& random) {
  const size_t at = place(s, random);
  size_t end = at;
  const auto word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  while (end < s.size() && word(s[end])) ++end;
  s.replace(at, end - at, kWords[random.below(kWords.size())]);
}

void move_chunks(std::string& s, std::span<const std::string> corpus, Random& random) {
  const size_t at = place(s, random);
  const size_t length = std::min<size_t>(s.size() - at, 1 + random.below(1 + s.size() / 8));
  switch (random.below(5)) {
    case 0:
      s.erase(at, length);
      break;
    case 1:
      s.insert(place(s, random), s.substr(at, length));
      break;
    case 2: {
      const std::string& other = corpus[random.below(corpus.size())];
      if (other.empty()) break;
      const size_t from = place(other, random);
      s.replace(at, length, other.substr(from, 1 + random.below(256)));
      break;
    }
    case 3: {
      const size_t to = std::min(place(s, random), s.size() - length);
      std::swap_ranges(s.begin() + static_cast<ptrdiff_t>(std::min(at, to)),
                       s.begin() + static_cast<ptrdiff_t>(
                                       std::min({std::min(at, to) + length, std::max(at, to)})),
                       s.begin() + static_cast<ptrdiff_t>(std::max(at, to)));
      break;
    }
    default:
      s.resize(at);
  }
}

}  // namespace

uint64_t Random::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t extreme_value(Random& random) {
  return kExtremes[random.below(kExtremes.size())];
}

std::string mutant_of(std::span<const std::string> corpus, Random& random, Form form) {
  const std::string& seed = corpus[random.below(corpus.size())];
  std::string s = seed;
  const uint64_t changes = 1 + random.below(6);
  // Most mutants of a message stay one: bytes changed at random seldom get past the parser.
  const bool by_field = form == Form::message && random.below(4) != 0;
  for (uint64_t i = 0; i < changes && !s.empty(); ++i) {
    if (by_field) {
      s = mutated_message(s, random);
      continue;
    }
    switch (random.below(form == Form::text ? 5 : 4)) {
      case 0:
        s[place(s, random)] ^= static_cast<char>(1u << random.below(8));
        break;
      case 1:
        s[place(s, random)] = static_cast<char>(random.below(256));
        break;
      case 2:
        change_numbers(s, random);
        break;
      case 3:
        move_chunks(s, corpus, random);
        break;
      default:
        change_text(s, random);
    }
  }
  s.resize(std::min(s.size(), 2 * seed.size() + 64));
  return s;
}

}  // namespace tenon::fuzz

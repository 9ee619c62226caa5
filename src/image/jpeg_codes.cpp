#include "image/jpeg_codes.h"

#include <algorithm>

namespace tenon::image {
namespace {

constexpr int kLongestCode = 16;

// Codes of more than 16 bits, as the tree of counts may have, become shorter, two by two (K.2).
void shorten(int (&lengths)[257]) {
  for (int size = 256; size > kLongestCode; --size)
    while (lengths[size] > 0) {
      int shorter = size - 2;
      while (lengths[shorter] == 0) --shorter;
      lengths[size] -= 2;
      lengths[size - 1] += 1;
      lengths[shorter + 1] += 2;
      lengths[shorter] -= 1;
    }
}

}  // namespace

Codes codes_of(const JHUFF_TBL& table) {
  Codes codes{};
  unsigned code = 0;
  int symbol = 0;
  for (int size = 1; size <= kLongestCode; ++size, code <<= 1)
    for (int i = 0; i < table.bits[size] && symbol < 256; ++i, ++symbol, ++code)
      codes.of[table.huffval[symbol]] = {static_cast<uint16_t>(code), static_cast<uint16_t>(size)};
  return codes;
}

void make_table(const Counts& counts, JHUFF_TBL& table) {
  uint64_t count[257];
  int size[257] = {}, next[257], lengths[257] = {};
  std::copy_n(counts.of, 256, count);
  std::fill_n(next, 257, -1);
  count[256] = 1;  // no code is ones alone: this one would be
  const auto rarest = [&](int but) {
    int best = -1;
    for (int i = 0; i <= 256; ++i)
      if (i != but && count[i] != 0 && (best < 0 || count[i] <= count[best])) best = i;
    return best;
  };
  for (int a = rarest(-1), b = rarest(a); b >= 0; a = rarest(-1), b = rarest(a)) {
    count[a] += count[b];
    count[b] = 0;
    int end = a;
    for (++size[end]; next[end] >= 0; ++size[end]) end = next[end];
    next[end] = b;
    for (end = b; end >= 0; end = next[end]) ++size[end];
  }
  for (const int length : size) ++lengths[length];
  lengths[0] = 0;
  shorten(lengths);
  int longest = kLongestCode;
  while (longest > 1 && lengths[longest] == 0) --longest;
  --lengths[longest];
  for (int i = 0; i <= kLongestCode; ++i) table.bits[i] = static_cast<UINT8>(lengths[i]);
  UINT8* symbol = table.huffval;
  for (int length = 1; length <= 256; ++length)
    for (int i = 0; i < 256; ++i)
      if (size[i] == length) *symbol++ = static_cast<UINT8>(i);
  table.sent_table = FALSE;
}

}  // namespace tenon::image

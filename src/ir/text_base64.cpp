#include "ir/text_base64.h"

#include <array>

namespace tenon::text {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> base64_digits() {
  std::array<int8_t, 256> digits{};
  for (int8_t& d : digits) d = -1;
  for (size_t i = 0; i < kBase64.size(); ++i)
    digits[static_cast<unsigned char>(kBase64[i])] = static_cast<int8_t>(i);
  return digits;
}

}  // namespace

std::string base64(Bytes bytes) {
  std::string out;
  out.reserve(bytes.size() / 3 * 4 + 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? std::to_integer<uint32_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k)
      out += i + k > bytes.size() ? '=' : kBase64[group >> (18 - 6 * k) & 63];
  }
  return out;
}

bool decode_base64(std::string_view text, std::byte* out, size_t size) {
  static constexpr std::array<int8_t, 256> kDigits = base64_digits();
  if (text.size() != (size + 2) / 3 * 4) return false;
  size_t done = 0;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    for (size_t k = 0; k < 4; ++k) {
      const int digit = kDigits[static_cast<unsigned char>(text[i + k])];
      const bool padding = text[i + k] == '=' && i + 4 == text.size() && k >= 2;
      if (digit < 0 && !padding) return false;
      group = group << 6 | (padding ? 0 : static_cast<uint32_t>(digit));
    }
    for (size_t k = 0; k < 3 && done < size; ++k)
      out[done++] = static_cast<std::byte>(group >> (16 - 8 * k) & 0xff);
  }
  return true;
}

}  // namespace tenon::text

// Encodings of text beside UTF-8, one character at a time.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "base/utf8.h"

namespace tenon {

enum class TextEncoding : uint8_t {
  utf_8,
  utf_16_be,
  utf_16_le,
  utf_32_be,
  utf_32_le,
  latin_1,
  ascii
};
inline constexpr std::array<std::string_view, 7> kTextEncodingNames{
    "utf_8", "utf_16_be", "utf_16_le", "utf_32_be", "utf_32_le", "latin_1", "ascii"};
constexpr std::span<const std::string_view> enum_names(TextEncoding) {
  return kTextEncodingNames;
}

inline bool is_code_point(int64_t point) {
  return point >= 0 && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
}

struct Character {
  uint32_t point = 0xFFFD;
  size_t length = 1;  // in bytes, at least 1
  bool valid = false;
};

// The character that begins at byte `at` < text.size().
Character decode_character(std::string_view text, size_t at, TextEncoding encoding);
// Appends a code point; false where the encoding has none of that number.
bool append_character(std::string& text, uint32_t point, TextEncoding encoding);

}  // namespace tenon

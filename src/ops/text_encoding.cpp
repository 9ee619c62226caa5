#include "ops/text_encoding.h"

namespace tenon {
namespace {

bool is_big_endian(TextEncoding e) {
  return e == TextEncoding::utf_16_be || e == TextEncoding::utf_32_be;
}

uint32_t load_unit(std::string_view bytes, bool big_endian) {
  uint32_t unit = 0;
  for (size_t i = 0; i < bytes.size(); ++i)
    unit = unit << 8 | static_cast<uint8_t>(bytes[big_endian ? i : bytes.size() - 1 - i]);
  return unit;
}

void store_unit(std::string& text, uint32_t unit, size_t size, bool big_endian) {
  for (size_t i = 0; i < size; ++i)
    text += static_cast<char>(unit >> 8 * (big_endian ? size - 1 - i : i));
}

Character decode_utf16(std::string_view text, size_t at, bool big_endian) {
  const auto unit = [&](size_t i) { return load_unit(text.substr(i, 2), big_endian); };
  if (at + 2 > text.size()) return {.length = text.size() - at};
  const uint32_t first = unit(at);
  if (first < 0xD800 || first > 0xDFFF) return {first, 2, true};
  if (first > 0xDBFF) return {.length = 2};
  if (at + 4 > text.size()) return {.length = text.size() - at};
  const uint32_t second = unit(at + 2);
  if (second < 0xDC00 || second > 0xDFFF) return {.length = 2};
  return {0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00), 4, true};
}

}  // namespace

Character decode_character(std::string_view text, size_t at, TextEncoding encoding) {
  const auto byte = static_cast<uint8_t>(text[at]);
  switch (encoding) {
    case TextEncoding::utf_8: {
      const auto [point, length] = utf8::decode(text, at);
      return {point, length, point != 0xFFFD || length != 1};
    }
    case TextEncoding::utf_16_be:
    case TextEncoding::utf_16_le:
      return decode_utf16(text, at, is_big_endian(encoding));
    case TextEncoding::utf_32_be:
    case TextEncoding::utf_32_le: {
      if (at + 4 > text.size()) return {.length = text.size() - at};
      const uint32_t point = load_unit(text.substr(at, 4), is_big_endian(encoding));
      return is_code_point(point) ? Character{point, 4, true} : Character{.length = 4};
    }
    case TextEncoding::ascii:
      return byte < 0x80 ? Character{byte, 1, true} : Character{};
    case TextEncoding::latin_1:
      break;
  }
  return {byte, 1, true};
}

bool append_character(std::string& text, uint32_t point, TextEncoding encoding) {
  const bool big_endian = is_big_endian(encoding);
  switch (encoding) {
    case TextEncoding::utf_8:
      utf8::append(text, point);
      return true;
    case TextEncoding::utf_16_be:
    case TextEncoding::utf_16_le:
      if (point < 0x10000) {
        store_unit(text, point, 2, big_endian);
      } else {
        store_unit(text, 0xD800 + ((point - 0x10000) >> 10), 2, big_endian);
        store_unit(text, 0xDC00 + ((point - 0x10000) & 0x3FF), 2, big_endian);
      }
      return true;
    case TextEncoding::utf_32_be:
    case TextEncoding::utf_32_le:
      store_unit(text, point, 4, big_endian);
      return true;
    case TextEncoding::latin_1:
    case TextEncoding::ascii:
      break;
  }
  if (point > (encoding == TextEncoding::ascii ? 0x7FU : 0xFFU)) return false;
  text += static_cast<char>(point);
  return true;
}

}  // namespace tenon

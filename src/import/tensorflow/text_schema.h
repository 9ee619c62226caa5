// The schema that drives the text format parser: field names, public numbers and types.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace tenon::tf {

enum class FieldType {
  int_varint,
  bool_varint,
  enum_varint,
  float32,
  float64,
  fixed32,
  text,
  message
};

struct FieldSchema {
  std::string_view name;
  uint32_t number;
  FieldType type;
  std::string_view message = {};  // type == message: the name of its schema
};

struct MessageSchema {
  std::string_view name;
  std::span<const FieldSchema> fields;
  bool open = false;  // unknown fields are skipped
};

// Null when there is no message of that name.
const MessageSchema* find_message_schema(std::string_view name);
// The number of an enum value by its name ("DT_FLOAT", "V2"). False when unknown.
bool find_enum_value(std::string_view name, int64_t& value);

}  // namespace tenon::tf

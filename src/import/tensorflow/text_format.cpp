#include "import/tensorflow/text_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "import/tensorflow/text_schema.h"

namespace tenon::tf {
namespace {

constexpr int kMaxDepth = 100;

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}
void append_key(std::string& out, uint32_t number, uint32_t wire_type) {
  append_varint(out, uint64_t{number} << 3 | wire_type);
}
template <typename T>
void append_fixed(std::string& out, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  out.append(raw, sizeof raw);
}
void append_bytes(std::string& out, uint32_t number, std::string_view content) {
  append_key(out, number, 2);
  append_varint(out, content.size());
  out.append(content);
}

bool is_word_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '+' ||
         c == '-';
}

class TextParser {
 public:
  TextParser(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  Result<std::string> parse(const MessageSchema& root) {
    std::string out;
    TRY(parse_fields(root, '\0', out, 0));
    return out;
  }

 private:
  Error error_here(std::string message) const {
    return invalid_model(std::move(message)).at(fmt::format("{}:{}", file_, line_));
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == '\n') {
        ++line_, ++at_;
      } else if (c == ' ' || c == '\t' || c == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (at_end() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool at_end() {
    skip_space();
    return at_ >= text_.size();
  }
  std::string_view word() {
    skip_space();
    const size_t start = at_;
    while (at_ < text_.size() && is_word_char(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  std::string found() {
    if (at_end()) return "the end of the file";
    return fmt::format("'{}'", text_[at_]);
  }

  // Fields up to `close` ('\0': the end of the text).
  Status parse_fields(const MessageSchema& schema, char close, std::string& out, int depth) {
    if (depth > kMaxDepth)
      return error_here(fmt::format("messages are nested deeper than {}", kMaxDepth));
    while (true) {
      if (at_end()) {
        if (close == '\0') return ok_status();
        return error_here(
            fmt::format("'{}' of a {} is missing at the end of the file", close, schema.name));
      }
      if (close != '\0' && accept(close)) return ok_status();
      if (schema.open && accept('[')) {  // an Any or an extension
        at_ = std::min(text_.find(']', at_), text_.size());
        if (!accept(']')) return error_here("']' of a type name is missing");
        TRY(skip_field(depth));
        continue;
      }
      const std::string_view name = word();
      if (name.empty())
        return error_here(
            fmt::format("a field name of {} is expected, found {}", schema.name, found()));
      const auto field = std::find_if(schema.fields.begin(), schema.fields.end(),
                                      [&](const FieldSchema& f) { return f.name == name; });
      if (field != schema.fields.end()) {
        TRY(parse_field(*field, out, depth));
      } else if (schema.open) {
        TRY(skip_field(depth));
      } else {
        return error_here(fmt::format("{} has no field '{}'", schema.name, name));
      }
      if (!accept(',')) accept(';');
    }
  }

  Status parse_field(const FieldSchema& field, std::string& out, int depth) {
    const bool colon = accept(':');
    if (!colon && field.type != FieldType::message)
      return error_here(fmt::format("':' is expected after '{}', found {}", field.name, found()));
    if (!accept('[')) return parse_value(field, out, depth);
    if (accept(']')) return ok_status();
    while (true) {
      TRY(parse_value(field, out, depth));
      if (accept(']')) return ok_status();
      if (!accept(','))
        return error_here(fmt::format("',' or ']' is expected in the list of '{}', found {}",
                                      field.name, found()));
    }
  }

  Status parse_value(const FieldSchema& field, std::string& out, int depth) {
    switch (field.type) {
      case FieldType::message: {
        const char close = peek() == '<' ? '>' : '}';
        if (!accept('{') && !accept('<'))
          return error_here(
              fmt::format("'{{' is expected after '{}', found {}", field.name, found()));
        std::string inner;
        TRY(parse_fields(*find_message_schema(field.message), close, inner, depth + 1));
        append_bytes(out, field.number, inner);
        return ok_status();
      }
      case FieldType::text: {
        std::string content;
        TRY(parse_string(field, content));
        append_bytes(out, field.number, content);
        return ok_status();
      }
      case FieldType::float32:
        append_key(out, field.number, 5);
        append_fixed(out, static_cast<float>(TRY(parse_real(field))));
        return ok_status();
      case FieldType::float64:
        append_key(out, field.number, 1);
        append_fixed(out, TRY(parse_real(field)));
        return ok_status();
      case FieldType::fixed32:
        append_key(out, field.number, 5);
        append_fixed(out, static_cast<uint32_t>(TRY(parse_integer(field))));
        return ok_status();
      default:
        append_key(out, field.number, 0);
        append_varint(out, TRY(parse_integer(field)));
        return ok_status();
    }
  }

  Result<uint64_t> parse_integer(const FieldSchema& field) {
    const std::string_view token = word();
    if (field.type == FieldType::bool_varint) {
      if (token == "true" || token == "True" || token == "t" || token == "1") return uint64_t{1};
      if (token == "false" || token == "False" || token == "f" || token == "0") return uint64_t{0};
      return error_here(fmt::format("'{}' takes true or false, not '{}'", field.name, token));
    }
    int64_t enum_value = 0;
    if (field.type == FieldType::enum_varint && find_enum_value(token, enum_value))
      return static_cast<uint64_t>(enum_value);
    std::string_view digits = token;
    const bool negative = digits.starts_with('-');
    if (negative) digits.remove_prefix(1);
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
      base = 16;
      digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
      base = 8;
    }
    uint64_t value = 0;
    const auto [end, status] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (digits.empty() || status != std::errc{} || end != digits.data() + digits.size())
      return error_here(
          fmt::format("'{}' takes {}, not '{}'", field.name,
                      field.type == FieldType::enum_varint ? "a known name" : "an integer", token));
    return negative ? ~value + 1 : value;
  }

  Result<double> parse_real(const FieldSchema& field) {
    std::string_view token = word();
    const std::string_view given = token;
    const bool negative = token.starts_with('-');
    if (negative) token.remove_prefix(1);
    double value = 0;
    if (token == "inf" || token == "infinity" || token == "Infinity") {
      value = std::numeric_limits<double>::infinity();
    } else if (token == "nan" || token == "NaN") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else {
      if (token.ends_with('f') || token.ends_with('F')) token.remove_suffix(1);
      const auto [end, status] = std::from_chars(token.data(), token.data() + token.size(), value);
      const bool whole = !token.empty() && end == token.data() + token.size();
      if (!whole || (status != std::errc{} && status != std::errc::result_out_of_range))
        return error_here(fmt::format("'{}' takes a number, not '{}'", field.name, given));
    }
    return negative ? -value : value;
  }

  // One or more quoted pieces, which are joined.
  Status parse_string(const FieldSchema& field, std::string& out) {
    if (peek() != '"' && peek() != '\'')
      return error_here(fmt::format("'{}' takes a quoted string, found {}", field.name, found()));
    while (peek() == '"' || peek() == '\'') TRY(parse_quoted(out));
    return ok_status();
  }

  Status parse_quoted(std::string& out) {
    const char quote = text_[at_++];
    while (true) {
      if (at_ >= text_.size() || text_[at_] == '\n')
        return error_here("a quoted string is not closed on its line");
      const char c = text_[at_++];
      if (c == quote) return ok_status();
      if (c == '\\') {
        TRY(parse_escape(out));
      } else {
        out.push_back(c);
      }
    }
  }

  Status parse_escape(std::string& out) {
    if (at_ >= text_.size()) return error_here("a quoted string is not closed");
    const char c = text_[at_++];
    constexpr std::string_view kNames = "abfnrtv\\'\"?";
    constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\'\"?";
    if (const size_t i = kNames.find(c); i != std::string_view::npos) {
      out.push_back(kValues[i]);
      return ok_status();
    }
    if (c >= '0' && c <= '7') {
      --at_;
      out.push_back(static_cast<char>(parse_digits(8, 3)));
      return ok_status();
    }
    if (c == 'x' || c == 'X') {
      if (at_ < text_.size() && std::isxdigit(static_cast<unsigned char>(text_[at_]))) {
        out.push_back(static_cast<char>(parse_digits(16, 2)));
        return ok_status();
      }
    }
    return error_here(fmt::format("the escape '\\{}' is not known", c));
  }

  unsigned parse_digits(int base, size_t most) {
    const char* begin = text_.data() + at_;
    unsigned value = 0;
    const auto [end, status] =
        std::from_chars(begin, begin + std::min(most, text_.size() - at_), value, base);
    at_ += static_cast<size_t>(end - begin);
    return value;
  }

  // A field of no interest: a scalar, a list, or a message.
  Status skip_field(int depth) {
    const bool colon = accept(':');
    if (accept('[')) {
      while (!accept(']')) {
        TRY(skip_value(depth));
        if (!accept(',') && peek() != ']') return error_here("',' or ']' is expected in a list");
      }
      return ok_status();
    }
    if (!colon && peek() != '{' && peek() != '<')
      return error_here(fmt::format("':' is expected after a field name, found {}", found()));
    return skip_value(depth);
  }
  Status skip_value(int depth) {
    const char c = peek();
    if (c == '{' || c == '<') {
      ++at_;
      std::string ignored;
      return parse_fields(*find_message_schema("Any"), c == '{' ? '}' : '>', ignored, depth + 1);
    }
    if (c == '"' || c == '\'') {
      std::string ignored;
      return parse_string({"value", 1, FieldType::text}, ignored);
    }
    if (word().empty()) return error_here(fmt::format("a value is expected, found {}", found()));
    return ok_status();
  }

  std::string_view text_;
  std::string_view file_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace

Result<std::string> text_to_wire(std::string_view text, std::string_view root,
                                 std::string_view file) {
  const MessageSchema* schema = find_message_schema(root);
  if (!schema) return internal_error(fmt::format("no text schema for '{}'", root));
  return TextParser(text, file).parse(*schema);
}

}  // namespace tenon::tf

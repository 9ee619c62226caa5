#include "tensor/text_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tenon::text {
namespace {

constexpr int kMaxRank = 64;

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '/' || c == '-';
}

// Length of the UTF-8 sequence that begins the text; 0 when it is none.
size_t utf8_length(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const size_t n = byte(0) < 0x80                       ? 1
                   : byte(0) >= 0xc2 && byte(0) <= 0xdf ? 2
                   : byte(0) >= 0xe0 && byte(0) <= 0xef ? 3
                   : byte(0) >= 0xf0 && byte(0) <= 0xf4 ? 4
                                                        : 0;
  if (n > s.size()) return 0;
  for (size_t i = 1; i < n; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  return n;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

bool is_plain_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, is_name_char);
}

bool is_digits(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

std::string quoted(std::string_view raw) {
  std::string out = "\"";
  for (size_t i = 0; i < raw.size();) {
    const char c = raw[i];
    const size_t n = utf8_length(raw.substr(i));
    if (n > 1) {
      out += raw.substr(i, n);
      i += n;
      continue;
    }
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (c == '\n')
      out += "\\n";
    else if (n == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      out += c;
    ++i;
  }
  return out + "\"";
}

std::string name_text(std::string_view name) {
  return is_plain_name(name) ? std::string(name) : quoted(name);
}

std::string type_text(const TensorType& type) {
  if (type.is_none()) return type.is_list ? "list<none>" : "none";
  std::string out(dtype_name(type.dtype));
  if (!type.shape.ranked()) {
    out += "[*]";
  } else {
    out += '[';
    for (int i = 0; i < type.shape.rank(); ++i) {
      if (i > 0) out += ',';
      const Dim d = type.shape[i];
      out += d.is_symbol() ? "?" + name_text(d.name()) : d.to_string();
    }
    out += ']';
  }
  return type.is_list ? "list<" + out + ">" : out;
}

std::string double_text(double value) {
  if (std::isnan(value)) return "nan";
  std::string out = fmt::format("{}", value);
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

Error Lexer::fail_at(size_t position, std::string message) const {
  const std::string_view before = text_.substr(0, position);
  const auto line = std::ranges::count(before, '\n') + 1;
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  return invalid_model(std::move(message))
      .at(fmt::format("{}:{}:{}", file_.empty() ? "text" : file_, line, column));
}

Error Lexer::expected(std::string_view what) {
  skip();
  if (position_ >= text_.size()) return fail(fmt::format("expected {}, found the end", what));
  constexpr size_t kShown = 24;
  std::string_view rest = text_.substr(position_, kShown);
  rest = rest.substr(0, rest.find('\n'));
  return fail(fmt::format("expected {}, found {}", what, quoted(rest)));
}

void Lexer::skip() {
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
      ++position_;
    else if (text_.substr(position_, 2) == "//")
      position_ = std::min(text_.find('\n', position_), text_.size());
    else
      return;
  }
}

bool Lexer::at_end() {
  skip();
  return position_ >= text_.size();
}

char Lexer::peek() {
  skip();
  return position_ < text_.size() ? text_[position_] : '\0';
}

bool Lexer::take(char c) {
  if (peek() != c || c == '\0') return false;
  ++position_;
  return true;
}

Status Lexer::expect(char c) {
  if (take(c)) return {};
  return expected(fmt::format("'{}'", c));
}

bool Lexer::take_word(std::string_view wanted) {
  skip();
  const size_t before = position_;
  if (word() == wanted) return true;
  position_ = before;
  return false;
}

std::string_view Lexer::word() {
  skip();
  const size_t begin = position_;
  while (position_ < text_.size() && is_name_char(text_[position_])) ++position_;
  return text_.substr(begin, position_ - begin);
}

Result<std::string> Lexer::name(bool* plain) {
  const bool in_quotes = position_ < text_.size() && text_[position_] == '"';
  if (plain != nullptr) *plain = !in_quotes;
  if (in_quotes) return string();
  const size_t begin = position_;
  while (position_ < text_.size() && is_name_char(text_[position_])) ++position_;
  if (position_ == begin) return expected("a name");
  return std::string(text_.substr(begin, position_ - begin));
}

Result<std::string> Lexer::string() {
  TRY(expect('"'));
  const size_t begin = position_ - 1;
  std::string out;
  while (position_ < text_.size() && text_[position_] != '\n') {
    const char c = text_[position_++];
    if (c == '"') return out;
    if (c != '\\') {
      out += c;
      continue;
    }
    const char escape = position_ < text_.size() ? text_[position_++] : '\0';
    if (escape == 'n') {
      out += '\n';
    } else if (escape == '"' || escape == '\\') {
      out += escape;
    } else if (escape == 'x' && position_ + 2 <= text_.size() && hex_digit(text_[position_]) >= 0 &&
               hex_digit(text_[position_ + 1]) >= 0) {
      out += static_cast<char>(hex_digit(text_[position_]) * 16 + hex_digit(text_[position_ + 1]));
      position_ += 2;
    } else {
      return fail_at(position_, "unknown escape; there are \\\\ \\\" \\n and \\x00 to \\xff");
    }
  }
  return fail_at(begin, "the string does not end on its line");
}

std::string_view Lexer::number() {
  skip();
  const size_t begin = position_;
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (!is_name_char(c) && c != '+') break;
    if (c == '/' || c == '_') break;
    ++position_;
  }
  return text_.substr(begin, position_ - begin);
}

Result<int64_t> Lexer::integer() {
  skip();
  const size_t begin = position_;
  const std::string_view token = number();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error == std::errc() && end == token.data() + token.size() && !token.empty()) return value;
  position_ = begin;
  return expected("an integer");
}

std::string_view Lexer::identifier() {
  skip();
  const size_t begin = position_;
  while (position_ < text_.size() && is_name_char(text_[position_]) && text_[position_] != '.' &&
         text_[position_] != '/' && text_[position_] != '-')
    ++position_;
  return text_.substr(begin, position_ - begin);
}

Result<int64_t> Lexer::digits() {
  skip();
  const std::string_view rest = text_.substr(position_);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc()) return expected("an integer");
  position_ += static_cast<size_t>(end - rest.data());
  return value;
}

Result<double> Lexer::real() {
  skip();
  const size_t begin = position_;
  const std::string_view token = number();
  double value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error == std::errc() && end == token.data() + token.size() && !token.empty()) return value;
  position_ = begin;
  return expected("a number");
}

Result<Dim> Lexer::dim() {
  if (take('?')) {
    const char next = position_ < text_.size() ? text_[position_] : '\0';
    if (next == '"' || is_name_char(next)) return Dim::symbol(TRY(name()));
    return Dim::unknown();
  }
  const int64_t size = TRY(integer());
  if (size < 0) return fail("a dimension cannot be negative");
  return Dim(size);
}

Result<TensorType> Lexer::type() {
  skip();
  const size_t begin = position_;
  const std::string_view head = word();
  TensorType type;
  if (head == "none") return type;
  if (head == "list") {
    TRY(expect('<'));
    if (peek() == 'l') return fail("a list of lists has no type; write list<f32[*]>");
    type = TRY(this->type());
    TRY(expect('>'));
    type.is_list = true;
    return type;
  }
  const auto dtype = parse_dtype(head);
  if (!dtype || *dtype == DType::none || peek() != '[') {
    position_ = begin;
    return expected("a type such as f32[?n,3]");
  }
  type.dtype = *dtype;
  TRY(expect('['));
  if (take('*')) {
    TRY(expect(']'));
    type.shape = Shape::unranked();
    return type;
  }
  while (!take(']')) {
    if (!type.shape.dims().empty()) TRY(expect(','));
    if (type.shape.rank() == kMaxRank)
      return fail(fmt::format("a shape has at most {} dimensions", kMaxRank));
    type.shape.dims().push_back(TRY(dim()));
  }
  return type;
}

Status Lexer::skip_brackets() {
  skip();
  const size_t begin = position_;
  int depth = 0;
  while (position_ < text_.size()) {
    const char c = text_[position_];
    if (c == '"') {
      TRY(string());
      continue;
    }
    depth += c == '<' || c == '(';
    depth -= c == '>' || c == ')';
    ++position_;
    if (depth <= 0) return {};
  }
  return fail_at(begin, "the bracket is not closed");
}

}  // namespace tenon::text

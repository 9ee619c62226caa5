// Reading the tokens of text forms (graphs, tile programs). Every failure says line and column.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "tensor/shape.h"

namespace tenon::text {

// Whether a name can stand without quotes.
bool is_plain_name(std::string_view name);
bool is_digits(std::string_view name);
// The text in quotes, with escapes; valid UTF-8 stays as it is.
std::string quoted(std::string_view raw);
// The name as it is, or in quotes.
std::string name_text(std::string_view name);
// A type; like TensorType::to_string, but dimensions with unusual names are quoted.
std::string type_text(const TensorType& type);
// The shortest text that reads back as the same double and is seen to be none of an integer.
std::string double_text(double value);

class Lexer {
 public:
  Lexer(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  size_t position() const { return position_; }
  void seek(size_t position) { position_ = position; }
  Error fail(std::string message) const { return fail_at(position_, std::move(message)); }
  Error fail_at(size_t position, std::string message) const;
  // "expected X, found Y".
  Error expected(std::string_view what);

  // Skips blanks and comments (from // to the end of the line).
  void skip();
  bool at_end();
  // The next character, 0 at the end.
  char peek();
  bool take(char c);
  Status expect(char c);
  // Takes the word only if it is the next one.
  bool take_word(std::string_view word);

  // Letters, digits and _ . / - from here on; empty if there are none.
  std::string_view word();
  // A word or a quoted string, after a sigil. `plain` tells which.
  Result<std::string> name(bool* plain = nullptr);
  Result<std::string> string();
  // A number's token, unread: digits, letters and + - . from here on.
  std::string_view number();
  Result<int64_t> integer();
  // Letters, digits and _ from here on: a name inside of an expression; empty if there are none.
  std::string_view identifier();
  // Digits after an optional sign, whatever follows: a number inside of an expression.
  Result<int64_t> digits();
  Result<double> real();
  Result<TensorType> type();
  // Skips what is in brackets from here on, strings and nested brackets too.
  Status skip_brackets();

 private:
  Result<Dim> dim();

  std::string_view text_;
  std::string_view file_;
  size_t position_ = 0;
};

}  // namespace tenon::text

// Kernel files (.mlu) as tokens, constants of `#define` put in place; and errors that show the
// line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tenon::bang {

struct Token {
  enum class Kind : uint8_t { end, name, integer, real, string, sign };
  Kind kind = Kind::end;
  uint32_t at = 0;        // byte of the source; of what a constant stands for: where it is used
  std::string_view text;  // of strings: what is between the quotes
  int64_t integer = 0;
  double real = 0;
};

struct Source {
  std::string text, file;

  // What is wrong, as an error with file:line:column, the line and a mark below it.
  Error error(uint32_t at, std::string message) const;
  // "leaky.mlu:12:5".
  std::string place(uint32_t at) const;
};

// The tokens up to and with the end. They point into the source. Errors: characters and directives
// that the language has not, a file too large.
Result<std::vector<Token>> tokenize(const Source& source);

}  // namespace tenon::bang

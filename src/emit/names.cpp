#include "emit/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace tenon::emit {
namespace {

// Words of C++ and of the vendors' headers that a name of a layer may be.
constexpr std::string_view kReserved[] = {
    "and",       "asm",      "auto",     "bool",     "break",    "case",    "catch",     "char",
    "class",     "const",    "continue", "default",  "delete",   "do",      "double",    "else",
    "enum",      "explicit", "export",   "extern",   "false",    "float",   "for",       "friend",
    "goto",      "half",     "if",       "inline",   "int",      "long",    "main",      "mutable",
    "namespace", "new",      "not",      "operator", "or",       "private", "protected", "public",
    "register",  "return",   "short",    "signed",   "sizeof",   "static",  "struct",    "switch",
    "template",  "this",     "throw",    "true",     "try",      "typedef", "typename",  "union",
    "unsigned",  "using",    "virtual",  "void",     "volatile", "while",   "xor",       "block",
    "tiling",    "pipe",     "memory",   "stream",   "queue",    "exp",     "log",       "sqrt",
    "abs",       "tanh",     "div",      "max",      "min",      "tile",    "std",       "at"};

}  // namespace

std::string identifier(std::string_view name) {
  constexpr size_t kMost = 40;
  std::string out;
  for (const char c : name) {
    const bool fine = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (fine)
      out += c;
    else if (!out.empty() && out.back() != '_')
      out += '_';
  }
  while (!out.empty() && out.back() == '_') out.pop_back();
  // The last words of a long path.
  while (out.size() > kMost) {
    const size_t word = out.find('_');
    out = word == std::string::npos || word + 1 >= out.size() ? out.substr(out.size() - kMost)
                                                              : out.substr(word + 1);
  }
  while (!out.empty() && out.front() == '_') out.erase(0, 1);
  if (out.empty()) out = "layer";
  if (std::isdigit(static_cast<unsigned char>(out[0])) != 0) out = "layer_" + out;
  if (std::ranges::find(kReserved, out) != std::end(kReserved)) out += "_";
  return out;
}

std::string Names::unique(std::string_view name) {
  const std::string first = identifier(name);
  std::string out = first;
  for (int i = 2; !taken_.insert(out).second; ++i)
    out = fmt::format("{}{}{}", first, first.ends_with('_') ? "" : "_", i);
  return out;
}

std::string comment_text(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < ' ' || c == '\\' ? '?' : c;
  return out;
}

std::string literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < ' ' || c == '?')
      out += fmt::format("\\{:03o}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + "\"";
}

}  // namespace tenon::emit

// Identifiers for the names of the user's model: what C++ takes, each once.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace tenon::emit {

// "block1/conv:0" as block1_conv_0. Never empty, never a keyword.
std::string identifier(std::string_view name);

class Names {
 public:
  // The identifier itself, or with a number where it is taken.
  std::string unique(std::string_view name);

 private:
  std::set<std::string, std::less<>> taken_;
};

// Text that is safe in a comment of one line.
std::string comment_text(std::string_view text);
// A string literal of C++.
std::string literal(std::string_view text);

}  // namespace tenon::emit

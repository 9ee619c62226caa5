// Checks of numbers on the command line, whose errors say what is wrong with them.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

namespace tenon::tool {

inline CLI::Validator number_from(double least, bool above, const char* name, const char* words) {
  return {[=](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool is_number = !text.empty() && *end == '\0';
            if (is_number && (above ? value > least : value >= least)) return std::string();
            return fmt::format("'{}' is no number {}", text, words);
          },
          name};
}
// Numbers above 0, and those from 0.
inline CLI::Validator positive_number() {
  return number_from(0, true, "POSITIVE", "above 0");
}
inline CLI::Validator non_negative_number() {
  return number_from(0, false, "NONNEGATIVE", "from 0 up");
}

}  // namespace tenon::tool

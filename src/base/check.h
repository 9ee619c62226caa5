// Invariants of our own. A failure is a bug in Tenon, never the user's doing.
#pragma once

#include <string_view>

namespace tenon {
// Prints the broken invariant and aborts.
[[noreturn]] void check_failed(std::string_view condition, const char* file, int line);
}  // namespace tenon

#define TENON_CHECK(condition)                               \
  do {                                                       \
    if (!(condition)) [[unlikely]]                           \
      ::tenon::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

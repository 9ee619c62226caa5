#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace tenon {
void check_failed(std::string_view condition, const char* file, int line) {
  std::fprintf(stderr, "tenon: internal error: %.*s does not hold (%s:%d)\n",
               static_cast<int>(condition.size()), condition.data(), file, line);
  std::abort();
}
}  // namespace tenon

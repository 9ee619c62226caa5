// Places the values of a plan in one arena so that values alive at the same time never overlap.
#pragma once

#include <cstdint>
#include <span>

namespace tenon::runtime {

constexpr int64_t kArenaAlignment = 64;

struct ArenaRequest {
  int64_t bytes = 0;
  int first = 0;       // the step that writes it
  int last = 0;        // the last step that reads it
  int64_t offset = 0;  // the result
};

// Sets the offsets (largest first, best fitting gap); returns the arena's size.
int64_t place(std::span<ArenaRequest> requests);

}  // namespace tenon::runtime

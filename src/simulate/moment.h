// A moment of a simulated run, and what the way to it was made of: as the longest way through a
// program is followed, time is counted by the cause that it passed for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tenon::simulate {

enum class Cause : uint8_t {
  product,        // the cube, or the convolution unit, at its rate
  product_start,  // before each of its instructions
  vector,
  reduce,  // the vector unit's sums and extremes within rows
  vector_start,
  move,        // copies between memories of a core
  memory,      // the global memory's own rate
  cluster,     // what a cluster may take of it
  port,        // a core's way to the cache or memory
  copy_start,  // of copies from and to the global memory
  latency,     // until their first byte is there
  issue,       // of instructions to queues
  barrier,
};
constexpr size_t kCauses = 13;
constexpr std::array<std::string_view, kCauses> kCauseNames{
    "product", "product_start", "vector",     "reduce",  "vector_start", "move",   "memory",
    "cluster", "port",          "copy_start", "latency", "issue",        "barrier"};

using Causes = std::array<double, kCauses>;  // seconds

struct Moment {
  double at = 0;
  Causes by{};  // adds up to `at`

  void spend(Cause cause, double seconds) {
    at += seconds;
    by[static_cast<size_t>(cause)] += seconds;
  }
  void wait_for(const Moment& other) {
    if (other.at > at) *this = other;
  }
  void shift(double seconds, const Causes& causes) {
    at += seconds;
    for (size_t i = 0; i < kCauses; ++i) by[i] += causes[i];
  }
};

}  // namespace tenon::simulate

// The choice among several ways to compute a node: each is lowered and timed by simulation, the
// fastest is kept, and of the others is kept why not.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "lower/lowering.h"

namespace tenon::lower {

// One way to compute a node.
struct Candidate {
  std::string algorithm;  // as its programs call it
  // Adds its kernels. Error: unsupported, saying why it is not possible.
  std::function<Status()> lower;
};

// A problem with other sizes, what these are in words, and how it would be computed.
struct Variant {
  std::string sizes;
  Candidate candidate;
};

// Lowers the node the fastest way, or the one that the options ask for where it is possible. Nodes
// of one `problem` are timed once. Where the options ask for advice, `variants` are timed too.
// Errors: unsupported where none is possible: why not the first.
Status lower_fastest(Lowering& lowering, const std::string& problem,
                     std::span<const Candidate> candidates, std::span<const Variant> variants);

// What the kernels of a draft take one after the other.
Result<double> seconds_of(const Lowering& lowering, const Lowering::Draft& draft);

constexpr double kHostStart = 20e-6;  // seconds to hand a node to the host
// Handing a node to the host, which reads and writes so many bytes of the chip's, and goes through
// them at a modest rate.
double host_seconds(const Machine& machine, int64_t bytes);

}  // namespace tenon::lower

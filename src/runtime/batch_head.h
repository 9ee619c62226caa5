// The first steps of a graph, run for a part of the batch at a time.
//
// Layer after layer over a whole batch, every activation goes out to the slowest cache and comes
// back; part after part, what lies between the layers is still in a fast one when it is read
// ("depth first"). The price: weights are read for every part. Classifiers begin with large
// activations and end with large weights, so that a first run of steps is what gains.
#pragma once

#include <span>
#include <vector>

#include "runtime/plan.h"

namespace tenon::runtime {

struct HeadChoice {
  size_t steps = 0;   // 0: the batch is run as a whole
  int64_t part = 0;   // samples at a time, a divisor of
  int64_t batch = 0;  // all of them
};

// How many steps from the first on can be run by parts: those where each row of the results, along
// the first dimension, comes from the same row of the operands that come from batched inputs. The
// plan's values have types; its steps need no kernels yet.
size_t steps_by_parts(const Plan& plan);

// Chooses for such a plan. Where `part` is given, it is that size if it divides the batch, and
// every step that allows it, whatever it costs.
HeadChoice choose_batch_head(const Plan& plan, int threads, int64_t part = 0);

// Whether so many parts are run side by side, each by one thread; else all threads run each part.
bool runs_beside(int64_t parts, int threads);

// The inputs that have the batch as their first dimension: those of the first input's size.
std::vector<bool> batched_inputs(std::span<const TensorType> inputs);

// A type with another size as its first dimension.
TensorType with_rows(TensorType type, int64_t rows);

// Whether a plan for a part has the types of the whole one but for the batch: the last word, as
// shape arithmetic may do anything.
bool is_part_of(const Plan& part, const Plan& whole, const HeadChoice& head);

}  // namespace tenon::runtime

// What can be said of values before anything runs: small integers that sizes decide, and the types
// that follow from them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "format/model_file.h"
#include "ops/op.h"

namespace tenon::runtime {

// What is known of a step's results.
struct Foreseen {
  std::vector<Tensor> values;   // all of them, or none
  std::optional<SymInts> ints;  // of the first, some of whose elements are known
};

// Shape arithmetic is done at once, so that what depends on it has a type: results that are small
// integers of known operands, and views of what is known.
Foreseen foresee(const FileStep& step, std::span<const OperandInfo> operands,
                 const TensorTypes& results);

// The region that a branch takes for this value of what it chooses by.
size_t branch_taken(const FileStep& step, int64_t chosen_by);
// The same before it runs, where what it chooses by is known; none for what is no branch.
std::optional<size_t> decided_branch(const FileStep& step, std::span<const OperandInfo> operands);

// The types of a region's results, following what is known of its operands, also into branches
// that are decided by it. Errors: of the ops' inference.
Result<TensorTypes> infer_region(const FileGraph& region, std::span<const OperandInfo> operands);

}  // namespace tenon::runtime

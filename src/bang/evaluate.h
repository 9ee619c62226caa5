// A kernel run on the CPU, as one task (taskDim is 1): every call of a vector function is a loop
// over its elements. Reads and writes are checked against the arrays and tensors they are in.
#pragma once

#include <span>

#include "bang/kernel.h"
#include "bang/shape_rule.h"
#include "tensor/tensor.h"

namespace tenon::bang {

struct EvaluateOptions {
  // Statements and iterations; what takes more is taken to never end. Seconds.
  int64_t max_steps = 500'000'000;
};

// `sizes` is complete, the tensors have its types. Errors: invalid_argument with the line of the
// kernel.
Status evaluate(const Kernel& kernel, const Sizes& sizes, std::span<const Tensor> inputs,
                std::span<Tensor> outputs, const EvaluateOptions& options = {});

}  // namespace tenon::bang

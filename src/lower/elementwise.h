// Elementwise kernels of the vector unit: operands come in tile by tile, results go out, everything
// between stays on the core.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lower/lowering.h"
#include "lower/vector_code.h"

namespace tenon::lower {

struct Elementwise {
  struct Operand {
    std::string name;
    int tensor;
    std::vector<int64_t> strides;  // under the dimensions of the results, in elements
    int64_t offset = 0;            // of its first element
  };
  // Results of a tile, from tiles of the operands in their order.
  using Compute =
      std::function<Result<std::vector<Register>>(VectorCode&, std::span<const Register>)>;

  std::vector<int64_t> dims;     // of every result,
  std::vector<int64_t> strides;  // and its strides
  int64_t offset = 0;            // and its first element
  std::vector<Operand> operands;
  std::vector<int> results;   // tensors
  bool wide = false;          // in f32 what f16 would lose much of, see VectorCode::set_wide
  std::optional<DType> real;  // of numbers and temporaries, where it is not the chip's
  Compute compute;
};

// Adds the kernel. Errors: those of `compute`.
Status lower_elementwise(Lowering& lowering, const Node& node, const Elementwise& work);

}  // namespace tenon::lower

// Kernels over rows that are in the vector unit's memory whole: several operands and results, each
// a run of elements per row.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "lower/lowering.h"
#include "lower/vector_code.h"

namespace tenon::lower {

struct RowKernel {
  struct Operand {
    int tensor = -1;
    int64_t width = 1;    // elements of a row
    bool shared = false;  // one row for all
  };
  // Every row's elements, `offset` and then `row` apart.
  struct Result {
    int tensor = -1;
    int64_t width = 1, row = 1, offset = 0;
  };
  // Results of a tile of `rows` rows.
  using Compute = std::function<tenon::Result<std::vector<Register>>(
      VectorCode&, std::span<const Register>, const Expr& rows)>;

  std::string layer, algorithm;
  int64_t rows = 1;
  int64_t width = 1;  // of temporary tiles
  std::vector<Operand> operands;
  std::vector<Result> results;
  Compute compute;
};

// Errors: unsupported where a row has no room, and those of `compute`.
Status add_row_kernel(Lowering& lowering, const Node& node, const RowKernel& kernel);

}  // namespace tenon::lower

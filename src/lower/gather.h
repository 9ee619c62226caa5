// Picking whole rows of a table by numbers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lower/lowering.h"

namespace tenon::lower {

// Rows [count, width] of a table [rows, width] by numbers in i32, of which those below 0 count from
// the end unless they are known to be counted. Table, numbers and result are tensors.
struct RowGather {
  std::string layer;
  int table = -1, numbers = -1, to = -1;
  int64_t rows = 1, width = 1, count = 1;
  bool counted = false;
};

Status gather_rows(Lowering& lowering, const Node& node, const RowGather& gather);

// [outer, size, inner] with the slices of these numbers in place of its own, as they are known.
struct KnownPicks {
  std::string layer;
  int from = -1, to = -1;  // tensors
  int64_t outer = 1, size = 1, inner = 1;
  std::vector<int64_t> numbers;
};
Status pick_known(Lowering& lowering, const Node& node, KnownPicks picks);

// The number of a row: the sum over k of numbers[k] (counted from the beginning) * strides[k] +
// base, in i32.
struct Count {
  struct Term {
    int tensor;
    std::vector<int64_t> strides;  // under the dims
    int64_t offset = 0, size = 1, stride = 1;
  };
  std::string layer;
  std::vector<int64_t> dims;
  std::vector<Term> terms;
  std::function<int64_t(int64_t)> base;  // by the place of the number; may be empty
};
// The tensor they are in.
Result<int> count_through(Lowering& lowering, const Node& node, const Count& count);

// Numbers of rows are computed in f32. Errors: unsupported where that does not hold them.
Status check_count(int64_t rows);

}  // namespace tenon::lower

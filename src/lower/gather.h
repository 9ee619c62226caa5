// Picking whole rows of a table by numbers.
#pragma once

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

// Errors: unsupported where a row has no room on a core.
Status gather_rows(Lowering& lowering, const Node& node, const RowGather& gather);

// [outer, size, inner] with the slices of these numbers in place of its own, as they are known.
struct KnownPicks {
  std::string layer;
  int from = -1, to = -1;  // tensors
  int64_t outer = 1, size = 1, inner = 1;
  std::vector<int64_t> numbers;
};
Status pick_known(Lowering& lowering, const Node& node, KnownPicks picks);

// Numbers of rows are computed in f32. Errors: unsupported where that does not hold them.
Status check_count(int64_t rows);

}  // namespace tenon::lower

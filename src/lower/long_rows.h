// Rows that have no room on a core: reductions over their chunks, then every element by what those
// gave. Tensors are [count, width].
#pragma once

#include <string>

#include "lower/lowering.h"

namespace tenon::lower {

struct LongRows {
  std::string layer;
  int from = -1, to = -1;  // tensors
  int64_t count = 1, width = 1;
};

// `hides`: rows that are -inf throughout give zeros.
Status softmax_of_long_rows(Lowering& lowering, const Node& node, const LongRows& rows,
                            bool logarithm, bool hides);

struct LongNorm {
  bool centred = true;  // else the mean is left in
  double epsilon = 0;
  int scale = -1, bias = -1;  // tensors [width]; -1: none
};
Status norm_of_long_rows(Lowering& lowering, const Node& node, const LongRows& rows,
                         const LongNorm& norm);

// The place of each row's largest or smallest element, the last or the first of several.
Status place_in_long_rows(Lowering& lowering, const Node& node, const LongRows& rows, bool largest,
                          bool last);

}  // namespace tenon::lower

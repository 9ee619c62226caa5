// Softmax over rows of tensors that are no values of the graph.
#pragma once

#include "lower/lowering.h"

namespace tenon::lower {

// to [count, width] = softmax of each row of from; with `hides` a row that is -inf throughout gives
// zeros instead of NaN.
Status lower_softmax(Lowering& lowering, const Node& node, std::string layer, int from, int to,
                     int64_t count, int64_t width, bool hides);

}  // namespace tenon::lower

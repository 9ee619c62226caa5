// Strided copies between tensors of the chip, for lowerings whose kernels leave results in another
// order.
#pragma once

#include <optional>

#include "lower/lowering.h"

namespace tenon::lower {

// One strided copy: elements of `dims` from a tensor to another or a part of it; strides and
// offsets in elements.
struct Piece {
  int from = -1, to = -1;  // tensors
  std::vector<int64_t> dims;
  std::vector<int64_t> from_strides, to_strides;
  int64_t from_offset = 0, to_offset = 0;
};

// All pieces as one kernel, one after the other on every core. With `fill` the result is this value
// where no piece writes.
Status move_pieces(Lowering& lowering, const Node& node, std::string layer,
                   const std::vector<Piece>& pieces, std::optional<double> fill = std::nullopt);

}  // namespace tenon::lower

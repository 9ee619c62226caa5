// What a convolution or a matrix product multiplies: what the features of its time are made of.
#pragma once

#include <optional>

#include "ir/graph.h"

namespace tenon::cost {

// Of a tensor; dimensions that are not known count as 1. 0 for null and unranked ones.
double elements(const Value* v);
double round_up(double v, double step);

// A product as so many of [rows, terms] by [terms, columns].
struct Product {
  double rows = 0, columns = 0, terms = 0;
  double groups = 1, taps = 1;
  double batch = 1, height = 1, width = 1;  // of the result of a convolution over two dimensions
  double kernel_height = 0, kernel_width = 0;
  bool unit_stride = true, is_dense = true;
  double stride = 1;  // of the last dim
  double inside = 1;  // of the taps, as a share: what lies in the padding is left out
};

// Of a convolution, a transposed or a quantised one, and of a matrix product; none of other nodes.
std::optional<Product> product_of(const Node& node);

// Winograd's algorithm as the kernels have it: tiles of four outputs of three taps, or of three of
// four, in one dim or in both, longer kernels by groups of taps; or of six outputs of three by
// three.
struct Tiling {
  bool is_line = false;
  double groups = 1, tiles = 0;
  double inputs = 6;  // of a tile, in each dim

  double frequencies() const { return is_line ? inputs : inputs * inputs; }
  // Cycles for the ends of a tile of sixteen channels.
  double transform() const { return is_line ? 45 : inputs == 8 ? 330 : 180; }
};

// What the kernels take, where they take it.
Tiling tiling_of(const Product& p, DType dtype);
// Whether the kernels take it: as they decide it themselves.
bool takes_winograd(const Product& p, DType dtype);

}  // namespace tenon::cost

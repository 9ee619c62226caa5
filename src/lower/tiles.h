// Elementwise work cut into tiles: a space of dimensions that some tensors are broadcast to, of
// which a tile is a run of the innermost.
#pragma once

#include <cstdint>
#include <vector>

#include "lower/program_builder.h"

namespace tenon::lower {

// The dimensions of a result, and of each operand the strides under them (0: broadcast), in
// elements. Dimensions that all step through alike are one.
struct Space {
  std::vector<int64_t> dims;
  std::vector<std::vector<int64_t>> strides;

  int64_t elements() const;
  // Joins adjacent dimensions where every operand allows it, and drops those of size 1.
  void simplify();
};

// Strides of a row-major tensor of `dims` broadcast to `result`.
std::vector<int64_t> broadcast_strides(const std::vector<int64_t>& dims,
                                       const std::vector<int64_t>& result);

// Tiles are `part` of dimension `axis` and all of those after it.
struct Tiles {
  size_t axis = 0;
  int64_t part = 1;
  int64_t parts = 1;  // along the axis
  int64_t count = 1;

  int64_t elements(const Space& space) const;
};

// Tiles of at most `most` elements, at least `cores` of them where the space is not small.
Tiles cut(const Space& space, int64_t most, int64_t cores);

// A tile's number as offset and axes of an operand.
class TileView {
 public:
  TileView(const Space& space, const Tiles& tiles, const Expr& number);

  Expr offset(const std::vector<int64_t>& strides) const;
  // The axes of the tile in an operand in the global memory; `used_only`: without broadcast ones.
  std::vector<Axis> global(const std::vector<int64_t>& strides, bool used_only) const;
  // The axes of a tile as it lies densely in a local memory; broadcast ones do not step.
  std::vector<Axis> local(const std::vector<int64_t>& strides, bool used_only) const;
  // Elements of the densely stored tile of an operand, at most.
  int64_t stored(const std::vector<int64_t>& strides) const;
  // Whether all tiles read the same part of an operand.
  bool is_fixed(const std::vector<int64_t>& strides) const;

 private:
  Expr size(size_t axis) const;
  const Space& space_;
  const Tiles& tiles_;
  std::vector<Expr> index_;  // of the dimensions before the axis
  Expr first_;               // along the axis
};

}  // namespace tenon::lower

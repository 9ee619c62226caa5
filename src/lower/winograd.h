// Winograd's convolutions F(m x m, 3 x 3): of every tile of m by m results, the (m + 2)^2 input
// pixels are transformed, multiplied by the transformed filter position by position, which sums
// over channels as matrix products, and transformed back. A result takes (m + 2)^2 / m^2
// multiplications a channel instead of 9.
#pragma once

#include <functional>

#include "lower/product.h"
#include "lower/program_builder.h"

namespace tenon::lower {

// How far a tile of m results reaches.
inline int64_t winograd_reach(int64_t m) {
  return m + 2;
}

// Why a product is not computed so. Errors: unsupported.
Status check_winograd(const Product& p, int64_t m, DType real);

// A filter [3, 3, C, M] as [(m + 2)^2, C, M] in f32.
Result<Tensor> winograd_filter(const Tensor& w, int64_t m);

// What a vector of a tile goes through, in instructions: inputs are registers 0 …, outputs kOut …,
// temporaries kTemporary ….
struct TransformStep {
  Opcode op;
  int to, a, b;
  double number;
};
struct Transform {
  static constexpr int kOut = 8, kTemporary = 16;
  std::span<const TransformStep> steps;
  int64_t temporaries;
};
Transform input_transform(int64_t m);
Transform output_transform(int64_t m);

// Tiles side by side in the vector unit's memory, and the channels of a part of them: `blocks`
// blocks of `size`, of each `count`.
struct WinogradTiles {
  int64_t m = 2;
  int64_t rows = 1, columns = 1;  // tiles, at most
  Expr n_rows = 1;                // of rows those that are there
  int64_t blocks = 1, size = 16;
  Expr n_blocks = 1, count = 16;
  int memory = 0;
  DType real = DType::f16;

  int64_t reach() const { return winograd_reach(m); }
  int64_t tiles() const { return rows * columns; }
  int64_t in_rows() const { return m * rows + 2; }
  int64_t in_width() const { return m * columns + 2; }
  // Elements of what there is.
  int64_t in_elements() const { return blocks * in_rows() * in_width() * size; }
  int64_t out_elements() const { return blocks * tiles() * m * m * size; }
  int64_t positions_elements() const { return reach() * reach() * blocks * tiles() * size; }
  // Of what is between, and of one temporary.
  int64_t work_elements(bool input) const;
  int64_t temporary_elements(bool input) const;
};

// Where the positions of tiles are: [position][block][tile][channel] with these strides.
struct Positions {
  Expr place;  // in bytes
  int64_t position = 0, block = 0, pixel = 0;
};

// Places of a transform, in bytes.
struct TransformPlaces {
  Expr pixels;  // [block][row][column][channel]
  Expr work, temporaries;
};

// From an input tile with its border to positions.
void emit_input_transform(ProgramBuilder& builder, const WinogradTiles& t,
                          const TransformPlaces& places, const Positions& to);
// From positions to results.
void emit_output_transform(ProgramBuilder& builder, const WinogradTiles& t,
                           const TransformPlaces& places, const Positions& from);

Status lower_winograd_cambricon(Lowering& lowering, const Node& node, const Product& p, int64_t m);
// Ascend: within a core where it has both units, else in three kernels.
Status lower_winograd_cube(Lowering& lowering, const Node& node, const Product& p, int64_t m);
Status lower_winograd_ascend(Lowering& lowering, const Node& node, const Product& p, int64_t m);

}  // namespace tenon::lower

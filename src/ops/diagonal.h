// Diagonals of matrices: read, written, made into matrices.
#pragma once

#include "ops/op.h"

namespace tenon {

// Diagonals are numbered as in TensorFlow: 0 is the main one, positive ones are above it. One
// diagonal is a vector [..., length]; several, from `low` to `high`, are rows [..., count, longest]
// with the highest first, shorter ones aligned and filled up.
struct DiagonalBand {
  int64_t low = 0;
  int64_t high = 0;
  bool left_above = false;  // align diagonals above the main one to the left, else to the right
  bool left_below = true;   // the same below it (and for the main one)
};

#define TENON_BAND_FIELDS(Op)                                                                      \
  Field{1, "low", &Op::low, "the lowest diagonal"},                                                \
      Field{2, "high", &Op::high, "the highest diagonal"},                                         \
      Field{3, "left_above", &Op::left_above, "shorter rows above the main: to the left"}, Field { \
    4, "left_below", &Op::left_below, "shorter rows below the main: to the left"                   \
  }

struct DiagPart : DiagonalBand {
  static const OpDef def;
  static constexpr std::string_view name = "diag_part";
  static constexpr std::string_view doc =
      "diag_part(x [, fill]): the diagonals from low to high of matrices, short ones filled up.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() { return std::tuple{TENON_BAND_FIELDS(DiagPart)}; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct SetDiag : DiagonalBand {
  static const OpDef def;
  static constexpr std::string_view name = "set_diag";
  static constexpr std::string_view doc =
      "set_diag(x, diagonals): matrices with the diagonals from low to high replaced.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() { return std::tuple{TENON_BAND_FIELDS(SetDiag)}; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

#undef TENON_BAND_FIELDS

}  // namespace tenon

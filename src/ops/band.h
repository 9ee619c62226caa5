// Triangles, bands and identities of matrices.
#pragma once

#include "ops/op.h"

namespace tenon {

struct BandPart {
  static const OpDef def;
  static constexpr std::string_view name = "band_part";
  static constexpr std::string_view doc =
      "band_part(x, lower, upper): matrices with all but the diagonal and so many diagonals below "
      "and above it set to 0; a negative number keeps all.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Trilu {
  bool upper = true;

  static const OpDef def;
  static constexpr std::string_view name = "trilu";
  static constexpr std::string_view doc =
      "trilu(x [, k]): the upper or lower triangle of matrices from diagonal k on, the rest 0.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "upper", &Trilu::upper, "the upper triangle, else the lower"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct EyeLike {
  int64_t k = 0;
  DType dtype = DType::none;

  static const OpDef def;
  static constexpr std::string_view name = "eye_like";
  static constexpr std::string_view doc =
      "A matrix of the shape of x with ones on diagonal k, zeros elsewhere.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "k", &EyeLike::k, "above the main diagonal when positive"},
                      Field{2, "dtype", &EyeLike::dtype, "none: that of x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

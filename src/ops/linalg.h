// Dense linear algebra on the last two dimensions: Cholesky's factor, systems, determinants.
// Leading dimensions are a batch; numbers are real or complex.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Cholesky {
  static const OpDef def;
  static constexpr std::string_view name = "cholesky";
  static constexpr std::string_view doc =
      "The lower triangular L with L L^H = x, of symmetric or Hermitian positive definite "
      "matrices.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

// y = solution of op(a) y = b.
struct MatrixSolve {
  bool transpose_a = false;

  static const OpDef def;
  static constexpr std::string_view name = "matrix_solve";
  static constexpr std::string_view doc = "matrix_solve(a, b): the y with a y = b, a square.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "transpose_a", &MatrixSolve::transpose_a, "a is used transposed"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct TriangularSolve {
  bool lower = true;
  bool transpose_a = false;

  static const OpDef def;
  static constexpr std::string_view name = "triangular_solve";
  static constexpr std::string_view doc =
      "triangular_solve(a, b): the y with a y = b, a being triangular; its other triangle is not "
      "read.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "lower", &TriangularSolve::lower, "a is its lower triangle, else its upper"},
        Field{2, "transpose_a", &TriangularSolve::transpose_a, "a is used transposed"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct LogDeterminant {
  static const OpDef def;
  static constexpr std::string_view name = "log_determinant";
  static constexpr std::string_view doc =
      "The sign of the determinant and the logarithm of its magnitude (0 and -inf where singular).";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Det {
  static const OpDef def;
  static constexpr std::string_view name = "det";
  static constexpr std::string_view doc = "The determinants of the matrices x [..., n, n].";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

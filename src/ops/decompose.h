// Factorisations and functions of matrices, the last two dimensions of an operand; leading ones are
// a batch. Numbers are real or complex.
#pragma once

#include "ops/op.h"

namespace tenon {

struct Svd {
  bool full_matrices = false;

  static const OpDef def;
  static constexpr std::string_view name = "svd";
  static constexpr std::string_view doc =
      "The singular values s, descending, and the matrices u and v with x = u diag(s) v^H. The "
      "signs of matching columns of u and v are not determined.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{3};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "full_matrices", &Svd::full_matrices, "u and v are square, else cut to s"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Qr {
  bool full_matrices = false;

  static const OpDef def;
  static constexpr std::string_view name = "qr";
  static constexpr std::string_view doc =
      "The unitary q and the upper triangular r with x = q r, signs as LAPACK has them.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "full_matrices", &Qr::full_matrices,
                            "q is square, else both are cut to the smaller size of x"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Lu {
  DType index_dtype = DType::i32;

  static const OpDef def;
  static constexpr std::string_view name = "lu";
  static constexpr std::string_view doc =
      "Of square matrices: l (below the diagonal, 1 on it) and u in one matrix, and the order p of "
      "the rows: x[p] = l u.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{Field{1, "index_dtype", &Lu::index_dtype, "i32 or i64: of p"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct EigenHermitian {
  static const OpDef def;
  static constexpr std::string_view name = "eigen_hermitian";
  static constexpr std::string_view doc =
      "The eigenvalues, ascending, and the eigenvectors (columns) of symmetric or Hermitian "
      "matrices, of which the lower triangle is read.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct Eigen {
  static const OpDef def;
  static constexpr std::string_view name = "eigen";
  static constexpr std::string_view doc =
      "The complex eigenvalues and eigenvectors (columns of length 1) of square matrices.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

enum class MatrixFunctionKind : uint8_t { sqrt, log };
inline constexpr std::array<std::string_view, 2> kMatrixFunctionKindNames{"sqrt", "log"};
constexpr std::span<const std::string_view> enum_names(MatrixFunctionKind) {
  return kMatrixFunctionKindNames;
}

struct MatrixFunction {
  MatrixFunctionKind kind = MatrixFunctionKind::sqrt;

  static const OpDef def;
  static constexpr std::string_view name = "matrix_function";
  static constexpr std::string_view doc =
      "The principal square root or logarithm of square matrices; of real matrices the real part.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "kind", &MatrixFunction::kind, "which function"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

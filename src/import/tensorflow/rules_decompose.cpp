// Rules of factorisations of matrices and of what is made with them.
#include <numeric>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

std::vector<Value*> outputs_of(Node* node) {
  std::vector<Value*> all;
  all.reserve(static_cast<size_t>(node->output_count()));
  for (int i = 0; i < node->output_count(); ++i) all.push_back(node->output(i));
  return all;
}

Values svd(RuleContext& c) {
  Node* node =
      TRY(c.builder.node("svd", {c.inputs[0]},
                         {{"full_matrices", TRY(c.node.attrs.get_bool("full_matrices", false))}}));
  auto out = outputs_of(node);
  // Without them, u and v are empty.
  if (!TRY(c.node.attrs.get_bool("compute_uv", true)))
    out[1] = out[2] = TRY(filled(c, 0, c.inputs[0]->dtype(), c.builder.ints({0})));
  return out;
}

Values qr(RuleContext& c) {
  return outputs_of(
      TRY(c.builder.node("qr", {c.inputs[0]},
                         {{"full_matrices", TRY(c.node.attrs.get_bool("full_matrices", false))}})));
}

Values lu(RuleContext& c) {
  return outputs_of(
      TRY(c.builder.node("lu", {c.inputs[0]},
                         {{"index_dtype", TRY(dtype_attr(c, "output_idx_type", DataType::i32))}})));
}

Values eigen(RuleContext& c) {
  const bool hermitian = c.node.op != "Eig";
  auto out =
      outputs_of(TRY(c.builder.node(hermitian ? "eigen_hermitian" : "eigen", {c.inputs[0]})));
  if (!TRY(c.node.attrs.get_bool("compute_v", true)))
    out[1] = TRY(filled(c, 0, out[1]->dtype(), c.builder.ints({0})));
  return out;
}

// The first form of SelfAdjointEig: the eigenvalues as a row above the vectors.
Values eigen_joined(RuleContext& c) {
  const auto out = outputs_of(TRY(c.builder.node("eigen_hermitian", {c.inputs[0]})));
  Value* row = TRY(c.builder.op("expand_dims", {out[0]}, {{"axes", std::vector<int64_t>{-2}}}));
  return one(join(c, {row, out[1]}, -2));
}

template <OpName kKind>
Values matrix_function(RuleContext& c) {
  return one(c.builder.op("matrix_function", {c.inputs[0]}, {{"kind", std::string(kKind.text)}}));
}

// Transposed and conjugated.
Result<Value*> adjoint(RuleContext& c, Value* x) {
  const int rank = TRY(rank_of(x));
  if (rank < 2) return invalid_model("a matrix is expected");
  std::vector<int64_t> perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  Value* y = TRY(c.builder.op("transpose", {x}, {{"perm", perm}}));
  return is_complex(y->dtype()) ? c.builder.op("conj", {y}) : y;
}

// The least squares solution of a y = b of the smallest norm: by the singular values that are not
// next to nothing.
Result<Value*> least_squares(RuleContext& c, Value* a, Value* b_side) {
  Builder& b = c.builder;
  const auto usv = outputs_of(TRY(b.node("svd", {a})));
  const DType t = a->dtype();
  if (is_complex(t)) return unsupported("fast=False only of real matrices");
  Value* largest =
      TRY(b.op("reduce_max", {usv[0]}, {{"axes", std::vector<int64_t>{-1}}, {"keep_dims", true}}));
  Value* least = TRY(b.op("mul", {largest, TRY(number(c, t == DType::f64 ? 1e-14 : 1e-6, t))}));
  Value* inverse = TRY(b.op("select", {TRY(b.op("greater", {usv[0], least})),
                                       TRY(b.op("reciprocal", {usv[0]})), TRY(number(c, 0, t))}));
  Value* y = TRY(b.op("matmul", {TRY(adjoint(c, usv[1])), b_side}));
  Value* column = TRY(b.op("expand_dims", {inverse}, {{"axes", std::vector<int64_t>{-1}}}));
  return b.op("matmul", {usv[2], TRY(b.op("mul", {column, y}))});
}

// fast: of m x n matrices a, (a^H a + l)^-1 a^H b where m >= n, else a^H (a a^H + l)^-1 b.
Values solve_least_squares(RuleContext& c) {
  Builder& b = c.builder;
  Value *a = c.inputs[0], *right = c.inputs[1];
  if (!TRY(c.node.attrs.get_bool("fast", true))) return one(least_squares(c, a, right));
  Value* h = TRY(adjoint(c, a));
  const int rank = TRY(rank_of(a));
  const Dim m = a->shape()[rank - 2], n = a->shape()[rank - 1];
  if (!m.known() || !n.known()) return unsupported("the size of the matrix must be known");
  const bool tall = m.size() >= n.size();
  Value* square = TRY(b.op("matmul", {tall ? h : a, tall ? a : h}));
  Value* l2 = TRY(cast_to(c, c.inputs[2], a->dtype()));
  Value* diagonal = TRY(b.op("add", {TRY(b.op("diag_part", {square})), l2}));
  square = TRY(b.op("set_diag", {square, diagonal}));
  if (tall) return one(b.op("matrix_solve", {square, TRY(b.op("matmul", {h, right}))}));
  return one(b.op("matmul", {h, TRY(b.op("matrix_solve", {square, right}))}));
}

// A square matrix of zeros but for the diagonals `low` to `high`, rows of `diagonals` from the
// highest one down.
Result<Value*> banded(RuleContext& c, Value* diagonals, int64_t low, int64_t high, bool left_above,
                      bool left_below) {
  Builder& b = c.builder;
  const int rank = TRY(rank_of(diagonals));
  if (rank < 2) return invalid_model("diagonals are expected as rows");
  Value* n = TRY(shape_of(c, diagonals, rank - 1, rank));
  Value* shape = TRY(join(c, {TRY(shape_of(c, diagonals, 0, rank - 2)), n, n}));
  Value* zeros = TRY(filled(c, 0, diagonals->dtype(), shape));
  return b.op(
      "set_diag", {zeros, diagonals},
      {{"low", low}, {"high", high}, {"left_above", left_above}, {"left_below", left_below}});
}

Values tridiagonal_solve(RuleContext& c) {
  Value* a = TRY(banded(c, c.inputs[0], -1, 1, true, false));
  return one(c.builder.op("matrix_solve", {a, c.inputs[1]}));
}

Values banded_solve(RuleContext& c) {
  const int rank = TRY(rank_of(c.inputs[0]));
  if (rank < 2 || !c.inputs[0]->shape()[rank - 2].known())
    return unsupported("the number of bands must be known");
  const int64_t others = c.inputs[0]->shape()[rank - 2].size() - 1;
  const bool lower = TRY(c.node.attrs.get_bool("lower", true));
  Value* a = TRY(banded(c, c.inputs[0], lower ? -others : 0, lower ? 0 : others, true, false));
  const bool transposed = TRY(c.node.attrs.get_bool("adjoint", false));
  if (transposed && is_complex(a->dtype())) a = TRY(c.builder.op("conj", {a}));
  return one(c.builder.op("triangular_solve", {a, c.inputs[1]},
                          {{"lower", lower}, {"transpose_a", transposed}}));
}

// Three diagonals (super, main, sub, each [..., 1, n]) times a matrix [..., n, k].
Values tridiagonal_product(RuleContext& c) {
  Value* bands = TRY(join(c, {c.inputs[0], c.inputs[1], c.inputs[2]}, -2));
  return one(c.builder.op("matmul", {TRY(banded(c, bands, -1, 1, true, false)), c.inputs[3]}));
}

constexpr RuleEntry kRules[] = {
    {"BandedTriangularSolve", banded_solve, 2},
    {"BatchMatrixSolveLs", solve_least_squares, 3},
    {"BatchSelfAdjointEig", eigen_joined},
    {"BatchSelfAdjointEigV2", eigen},
    {"BatchSvd", svd},
    {"Eig", eigen},
    {"Lu", lu},
    {"MatrixLogarithm", matrix_function<"log">},
    {"MatrixSolveLs", solve_least_squares, 3},
    {"MatrixSquareRoot", matrix_function<"sqrt">},
    {"Qr", qr},
    {"SelfAdjointEig", eigen_joined},
    {"SelfAdjointEigV2", eigen},
    {"Svd", svd},
    {"TridiagonalMatMul", tridiagonal_product, 4},
    {"TridiagonalSolve", tridiagonal_solve, 2},
};

}  // namespace

std::span<const RuleEntry> decompose_rules() {
  return kRules;
}

}  // namespace tenon::tf

// Rules of linear algebra: bands and diagonals of matrices, factorisation, systems.
#include <algorithm>

#include "import/einsum.h"
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// Diagonals `low` to `high` and how short ones are aligned, for the V2 and V3 forms, whose operand
// `at` is k; the first form has the main diagonal only.
Result<std::vector<Builder::Attr>> band_attrs(RuleContext& c, size_t at) {
  int64_t low = 0, high = 0;
  const bool v2 = c.node.op.ends_with("V2"), v3 = c.node.op.ends_with("V3");
  if (v2 || v3) {
    if (c.inputs.size() <= at) return invalid_model("the operand k is missing");
    const auto k = TRY(c.ints(static_cast<int>(at)));
    if (k.empty() || k.size() > 2) return invalid_model("k must be one or two integers");
    low = k.front();
    high = k.back();
  }
  // V2 aligns all to the left.
  const std::string_view align =
      TRY(c.node.attrs.get_string("align", v3 ? "RIGHT_LEFT" : "LEFT_LEFT"));
  return std::vector<Builder::Attr>{{"low", low},
                                    {"high", high},
                                    {"left_above", align.starts_with("LEFT")},
                                    {"left_below", align.ends_with("_LEFT")}};
}

Values diag_part(RuleContext& c) {
  std::vector<Value*> in{c.inputs[0]};
  auto attrs = TRY(band_attrs(c, 1));
  if (c.inputs.size() > 2) in.push_back(c.inputs[2]);
  return one(c.builder.op("diag_part", in, std::move(attrs)));
}

Values set_diag(RuleContext& c) {
  return one(c.builder.op("set_diag", {c.inputs[0], c.inputs[1]}, TRY(band_attrs(c, 2))));
}

// A matrix of the fill value whose diagonals are replaced.
Values diag(RuleContext& c) {
  Builder& b = c.builder;
  Value* d = c.inputs[0];
  auto attrs = TRY(band_attrs(c, 1));
  const int64_t low = std::get<int64_t>(attrs[0].value), high = std::get<int64_t>(attrs[1].value);
  const int rank = TRY(rank_of(d));
  const int batch = rank - (low == high ? 1 : 2);
  if (batch < 0) return invalid_model("the diagonals have too few dimensions");
  // The smallest square matrix that has these diagonals, unless a size is given.
  Value* length = TRY(shape_of(c, d, rank - 1, rank));
  const int64_t below = std::max<int64_t>(-high, 0), above = std::max<int64_t>(low, 0);
  Value* square = TRY(b.op("add", {length, b.ints({std::max(below, above)})}));
  Value* sizes[2] = {square, square};
  if (c.inputs.size() > 3) {
    const auto rows = TRY(c.ints(2)), columns = TRY(c.ints(3));
    if (rows.size() != 1 || columns.size() != 1)
      return invalid_model("one number of rows expected");
    const bool given[2] = {rows[0] != -1, columns[0] != -1};
    if (given[0] && !given[1]) sizes[1] = TRY(b.op("add", {length, b.ints({above})}));
    if (given[1] && !given[0]) sizes[0] = TRY(b.op("add", {length, b.ints({below})}));
    if (given[0]) sizes[0] = b.ints({rows[0]});
    if (given[1]) sizes[1] = b.ints({columns[0]});
  }
  Value* shape = TRY(join(c, {TRY(shape_of(c, d, 0, batch)), sizes[0], sizes[1]}));
  Value* fill = c.inputs.size() > 4 ? c.inputs[4] : TRY(number(c, 0, d->dtype()));
  return one(b.op("set_diag", {TRY(b.op("expand", {fill, shape})), d}, std::move(attrs)));
}

// tf.linalg.tensor_diag: the diagonal of a tensor whose dimensions are x's twice.
Values tensor_diag(RuleContext& c) {
  Value* shape = TRY(shape_of(c, c.inputs[0]));
  c.inputs[0] = TRY(flatten(c, c.inputs[0]));
  Value* y = TRY(diag(c))[0];
  return one(c.builder.op("reshape", {y, TRY(join(c, {shape, shape}))}, {{"allow_zero", true}}));
}

// Its inverse.
Values tensor_diag_part(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const int rank = TRY(rank_of(x));
  if (rank == 0 || rank % 2 != 0)
    return invalid_model("its dimensions must be those of two halves");
  Value* half = TRY(shape_of(c, x, 0, rank / 2));
  Value* size = TRY(b.op("prod", {half}, {{"keep_dims", true}}));
  c.inputs[0] = TRY(b.op("reshape", {x, TRY(join(c, {size, size}))}, {{"allow_zero", true}}));
  Value* y = TRY(diag_part(c))[0];
  return one(b.op("reshape", {y, half}, {{"allow_zero", true}}));
}

// The solution of a system, of the conjugated transpose of a where the node says so.
Result<Value*> solved(RuleContext& c, const char* op, Value* a, Value* right,
                      std::vector<Builder::Attr> attrs = {}) {
  const bool adjoint = TRY(c.node.attrs.get_bool("adjoint", false));
  if (adjoint && is_complex(a->dtype())) a = TRY(c.builder.op("conj", {a}));
  attrs.push_back({"transpose_a", adjoint});
  return c.builder.op(op, {a, right}, std::move(attrs));
}

Values inverse(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  const int rank = TRY(rank_of(x));
  if (rank < 2) return invalid_model("a matrix is expected");
  Value* n = TRY(b.op("squeeze", {TRY(shape_of(c, x, rank - 1, rank))}));
  Value* range =
      TRY(b.op("range", {TRY(number(c, 0, DType::i64)), n, TRY(number(c, 1, DType::i64))}));
  Value* eye = TRY(
      b.op("one_hot", {range, n, TRY(number(c, 1, x->dtype())), TRY(number(c, 0, x->dtype()))}));
  Value* identity = TRY(b.op("expand", {eye, TRY(shape_of(c, x))}));
  return one(solved(c, "matrix_solve", x, identity));
}

// The batches of two matrices made the same: triangular systems broadcast.
Status share_batch(RuleContext& c, Value*& x, Value*& y) {
  const int rx = TRY(rank_of(x)), ry = TRY(rank_of(y));
  if (rx < 2 || ry < 2) return invalid_model("matrices are expected");
  bool same = rx == ry;
  for (int i = 0; same && i < rx - 2; ++i) same = x->shape()[i].same(y->shape()[i]);
  if (same) return {};
  // Broadcasting columns of ones shows the common batch.
  const auto batch_of = [&](Value* v, int rank) -> Result<Value*> {
    Value* shape = TRY(join(c, {TRY(shape_of(c, v, 0, rank - 2)), c.builder.ints({1, 1})}));
    return filled(c, 0, DType::f32, shape);
  };
  Value* both = TRY(c.builder.op("add", {TRY(batch_of(x, rx)), TRY(batch_of(y, ry))}));
  Value* batch = TRY(shape_of(c, both, 0, std::max(rx, ry) - 2));
  x = TRY(c.builder.op("expand", {x, TRY(join(c, {batch, TRY(shape_of(c, x, rx - 2))}))}));
  y = TRY(c.builder.op("expand", {y, TRY(join(c, {batch, TRY(shape_of(c, y, ry - 2))}))}));
  return {};
}

Values solve(RuleContext& c) {
  return one(solved(c, "matrix_solve", c.inputs[0], c.inputs[1]));
}

Values triangular_solve(RuleContext& c) {
  Value *a = c.inputs[0], *b = c.inputs[1];
  TRY(share_batch(c, a, b));
  return one(
      solved(c, "triangular_solve", a, b, {{"lower", TRY(c.node.attrs.get_bool("lower", true))}}));
}

Values log_determinant(RuleContext& c) {
  Node* node = TRY(c.builder.node("log_determinant", {c.inputs[0]}));
  return std::vector<Value*>{node->output(0), node->output(1)};
}

// The cross product of vectors of three.
Values cross(RuleContext& c) {
  Builder& b = c.builder;
  const auto turned = [&](Value* v, int64_t by) -> Result<Value*> {
    return b.op("gather", {v, b.ints({by % 3, (by + 1) % 3, (by + 2) % 3})},
                {{"axis", int64_t{-1}}});
  };
  Value *x = c.inputs[0], *y = c.inputs[1];
  Value* plus = TRY(b.op("mul", {TRY(turned(x, 1)), TRY(turned(y, 2))}));
  Value* minus = TRY(b.op("mul", {TRY(turned(x, 2)), TRY(turned(y, 1))}));
  return one(b.op("sub", {plus, minus}));
}

Values einsum(RuleContext& c) {
  return one(add_einsum(c.builder, TRY(c.node.attrs.get_string("equation")), c.inputs));
}

constexpr RuleEntry kRules[] = {
    {"BatchCholesky", same<"cholesky">},
    {"BatchMatrixBandPart", same<"band_part">, 3},
    {"BatchMatrixDeterminant", same<"det">},
    {"BatchMatrixDiag", diag},
    {"BatchMatrixDiagPart", diag_part},
    {"BatchMatrixInverse", inverse},
    {"BatchMatrixSetDiag", set_diag, 2},
    {"BatchMatrixSolve", solve, 2},
    {"BatchMatrixTriangularSolve", triangular_solve, 2},
    {"Cholesky", same<"cholesky">},
    {"Cross", cross, 2},
    {"Diag", tensor_diag},
    {"DiagPart", tensor_diag_part},
    {"Einsum", einsum},
    {"LogMatrixDeterminant", log_determinant},
    {"MatrixBandPart", same<"band_part">, 3},
    {"MatrixDeterminant", same<"det">},
    {"MatrixDiag", diag},
    {"MatrixDiagPart", diag_part},
    {"MatrixDiagPartV2", diag_part, 2},
    {"MatrixDiagPartV3", diag_part, 2},
    {"MatrixDiagV2", diag, 2},
    {"MatrixDiagV3", diag, 2},
    {"MatrixInverse", inverse},
    {"MatrixSetDiag", set_diag, 2},
    {"MatrixSetDiagV2", set_diag, 3},
    {"MatrixSetDiagV3", set_diag, 3},
    {"MatrixSolve", solve, 2},
    {"MatrixTriangularSolve", triangular_solve, 2},
};

}  // namespace

std::span<const RuleEntry> linalg_rules() {
  return kRules;
}

}  // namespace tenon::tf

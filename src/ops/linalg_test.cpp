// Linear algebra and diagonals where they can go wrong.
#include "ops/linalg.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/decompose.h"
#include "ops/diagonal.h"
#include "ops/special.h"

namespace tenon {
namespace {

using Ints = std::vector<int64_t>;
using Reals = std::vector<double>;

Tensor matrix(const Reals& values, Ints dims) {
  return Tensor::vector(values).reshaped(std::move(dims));
}

template <typename T>
Reals run(const T& op, std::vector<Tensor> inputs) {
  const auto result = evaluate(*make_op(op), inputs);
  if (!result.ok()) return {};
  Reals values;
  for (int64_t i = 0; i < (*result)[0].elements(); ++i) values.push_back((*result)[0].real_at(i));
  return values;
}

TEST(Linalg, SolvesWithRowExchanges) {
  const Tensor a = matrix({0, 2, 1, 0}, {2, 2}), b = matrix({4, 3}, {2, 1});
  EXPECT_EQ(run(MatrixSolve{}, {a, b}), (Reals{3, 2}));
  EXPECT_EQ(run(MatrixSolve{true}, {a, b}), (Reals{1.5, 4}));
  EXPECT_TRUE(run(MatrixSolve{}, {matrix({1, 2, 2, 4}, {2, 2}), b}).empty());
  EXPECT_TRUE(run(MatrixSolve{}, {a, matrix({1, 2, 3}, {3, 1})}).empty());
}

TEST(Linalg, TriangularSolveReadsOneTriangle) {
  const Tensor a = matrix({2, 99, 1, 4}, {2, 2}), b = matrix({4, 10}, {2, 1});
  EXPECT_EQ(run(TriangularSolve{true, false}, {a, b}), (Reals{2, 2}));
  EXPECT_EQ(run(TriangularSolve{true, true}, {a, b}), (Reals{0.75, 2.5}));
}

TEST(Linalg, CholeskyRefusesIndefiniteMatrices) {
  EXPECT_EQ(run(Cholesky{}, {matrix({4, 2, 2, 5}, {2, 2})}), (Reals{2, 0, 1, 2}));
  EXPECT_TRUE(run(Cholesky{}, {matrix({1, 2, 2, 1}, {2, 2})}).empty());
}

TEST(Linalg, FactorisationsRefuseWhatHasNone) {
  EXPECT_EQ(run(Lu{}, {matrix({0, 2, 1, 0}, {2, 2})}), (Reals{1, 0, 0, 2}));
  EXPECT_TRUE(run(Lu{}, {matrix({1, 2, 2, 4}, {2, 2})}).empty());
  EXPECT_TRUE(run(MatrixFunction{}, {matrix({NAN, 1, 1, 1}, {2, 2})}).empty());
  // No real logarithm of 0, but no endless loop either.
  EXPECT_TRUE(run(MatrixFunction{MatrixFunctionKind::log}, {matrix({0, 0, 0, 0}, {2, 2})}).empty());
}

TEST(Linalg, DiagonalsOfOblongMatrices) {
  const Tensor x = matrix({1, 2, 3, 4, 5, 6}, {2, 3});
  DiagPart part;
  part.low = -1, part.high = 1;
  EXPECT_EQ(run(part, {x}), (Reals{2, 6, 1, 5, 4, 0}));
  part.low = part.high = 2;
  EXPECT_EQ(run(part, {x}), (Reals{3}));
  part.low = part.high = 5;
  EXPECT_EQ(run(part, {x}), Reals{});
  SetDiag set;
  set.low = set.high = -1;
  EXPECT_EQ(run(set, {x, Tensor::vector(Reals{9})}), (Reals{1, 2, 3, 9, 5, 6}));
  EXPECT_TRUE(run(set, {x, Tensor::vector(Reals{9, 9})}).empty());
}

TEST(Special, FunctionsAtKnownPoints) {
  const auto at = [](auto op, double x) { return run(op, {Tensor::vector(Reals{x})})[0]; };
  EXPECT_NEAR(at(Special<SpecialKind::digamma>{}, 1), -0.5772156649015329, 1e-12);
  EXPECT_NEAR(at(Special<SpecialKind::digamma>{}, -1.5), 0.7031566406452432, 1e-12);
  for (const double y : {-0.999999, -0.3, 1e-9, 0.5, 0.9999})
    EXPECT_NEAR(std::erf(at(Special<SpecialKind::erfinv>{}, y)), y, 1e-14);
  EXPECT_TRUE(std::isinf(at(Special<SpecialKind::erfinv>{}, 1)));
  EXPECT_NEAR(at(Special<SpecialKind::bessel_i0e>{}, 2), 0.30850832255367104, 1e-12);
  EXPECT_NEAR(at(Special<SpecialKind::bessel_i1e>{}, -50), -0.05599312389289543, 1e-8);
}

}  // namespace
}  // namespace tenon

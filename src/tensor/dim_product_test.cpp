#include "tensor/dim_product.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

TEST(DimProduct, IsTheSameInAnyOrder) {
  const Dim n = Dim::symbol("n"), m = Dim::symbol("m");
  EXPECT_EQ(Dim(4) * n * m, m * (n * Dim(4)));
  EXPECT_EQ((Dim(2) * n) * Dim(3), Dim(6) * n);
  EXPECT_EQ(Dim(1) * n, n);
  EXPECT_EQ(Dim(0) * n, Dim(0));
  EXPECT_NE(n * n, n);
  EXPECT_EQ((Dim(4) * n).to_string(), "?4·n");
  EXPECT_FALSE((n * Dim::unknown()).is_symbol());
  EXPECT_FALSE((Dim(int64_t{1} << 62) * Dim(4) * n).is_symbol());
}

TEST(DimProduct, IsReadBackFromItsName) {
  const Dim whole = Dim(4) * Dim::symbol("n") * Dim::symbol("m");
  EXPECT_EQ(Dim::symbol(whole.name()), whole);
  EXPECT_EQ(factors(whole), (std::vector<Dim>{4, Dim::symbol("m"), Dim::symbol("n")}));
}

TEST(DimProduct, Quotient) {
  const Dim n = Dim::symbol("n"), m = Dim::symbol("m");
  EXPECT_EQ(Dim(12) * n * m / (Dim(4) * n), Dim(3) * m);
  EXPECT_EQ(n / n, Dim(1));
  EXPECT_EQ(n / m, Dim::unknown());
  EXPECT_EQ(n / Dim(2), Dim::unknown());
  EXPECT_EQ(Dim(4) * n / Dim(0), Dim::unknown());
}

}  // namespace
}  // namespace tenon

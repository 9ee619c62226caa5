// Ops whose attributes are operands.
#include "ops/with_attr.h"

#include "ops/nn_test_util.h"

namespace tenon {
namespace {

const Tensor kMatrix = f32({2, 3}, {1, 2, 3, 4, 5, 6});

TEST(WithAttr, TakesListsAndSingleIntegers) {
  const WithAttr sum{.op = "sum", .attr = "axes", .attrs = {"keep_dims=true"}};
  expect_values(run(sum, {kMatrix, Tensor::vector<int64_t>({1})})[0], {2, 1}, {6, 15});
  expect_values(run(sum, {kMatrix, Tensor::vector<int64_t>({0, -1})})[0], {1, 1}, {21});
  const WithAttr running{.op = "cumsum", .attr = "axis", .attrs = {"reverse=true"}};
  expect_values(run(running, {kMatrix, Tensor::scalar<int32_t>(0)})[0], {2, 3}, {5, 7, 9, 4, 5, 6});
}

TEST(WithAttr, TakesNumbersAndNames) {
  const WithAttr resize{.op = "resize",
                        .attr = "scales",
                        .attrs = {"mode=nearest", "coordinate=asymmetric", "nearest_rounding=floor",
                                  "cubic_coeff=-0.5"}};
  const Tensor sizes = Tensor::vector<int64_t>({4});
  expect_values(run(resize, {f32({1, 2, 1}, {1, 2}), sizes, Tensor::vector<float>({2})})[0],
                {1, 4, 1}, {1, 1, 2, 2});
}

TEST(WithAttr, SaysWhatIsKnownOfTheShape) {
  WithAttr sum{.op = "sum", .attr = "axes", .attrs = {"keep_dims=true"}};
  EXPECT_EQ(inferred(sum, {"f32[2,3]", "i64[1]"}), "f32[*]");
  sum.hint = ShapeHint::rank;
  EXPECT_EQ(inferred(sum, {"f32[2,3]", "i64[1]"}), "f32[?,?]");
  const WithAttr running{.op = "cumsum", .attr = "axis", .hint = ShapeHint::same};
  EXPECT_EQ(inferred(running, {"f32[2,3]", "i64[]"}), "f32[2,3]");
}

TEST(WithAttr, RefusesWhatDoesNotFit) {
  const auto fails = [](WithAttr op, const Tensor& value) {
    return !evaluate(*make_op(std::move(op)), std::vector{kMatrix, value}).ok();
  };
  const Tensor axis = Tensor::vector<int64_t>({0});
  EXPECT_TRUE(fails({.op = "nonsense", .attr = "axes"}, axis));
  EXPECT_TRUE(fails({.op = "with_attr", .attr = "attrs"}, axis));
  EXPECT_TRUE(fails({.op = "sum", .attr = "nonsense"}, axis));
  EXPECT_TRUE(fails({.op = "sum", .attr = "axes", .attrs = {"keep_dims"}}, axis));
  EXPECT_TRUE(fails({.op = "sum", .attr = "axes", .attrs = {"keep_dims=1"}}, axis));
  EXPECT_TRUE(fails({.op = "sum", .attr = "axes"}, Tensor::vector<int64_t>({7})));
  EXPECT_TRUE(fails({.op = "sum", .attr = "axes"}, Tensor::vector<float>({0})));
  EXPECT_TRUE(fails({.op = "cumsum", .attr = "axis"}, Tensor::vector<int64_t>({0, 1})));
  EXPECT_FALSE(fails({.op = "sum", .attr = "axes"}, axis));
}

}  // namespace
}  // namespace tenon

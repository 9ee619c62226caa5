#include "ops/tree_ensemble.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tenon {
namespace {

// x[0] <= 1 ? 10 : (x[1] < 5 ? 20 : 30), and a tree of one leaf that gives 1 to target 1.
TreeEnsemble two_trees() {
  TreeEnsemble trees;
  trees.roots = {0, 5};
  trees.modes = {2, 0, 1, 0, 0, 0};
  trees.features = {0, 0, 1, 0, 0, 0};
  trees.thresholds = {1, 0, 5, 0, 0, 0};
  trees.yes = {1, 0, 3, 0, 0, 0};
  trees.no = {2, 0, 4, 0, 0, 0};
  trees.weight_nodes = {1, 3, 4, 5};
  trees.weight_targets = {0, 0, 0, 1};
  trees.weights = {10, 20, 30, 1};
  trees.base = {0.5, 0};
  trees.targets = 2;
  return trees;
}

Result<std::vector<Tensor>> eval(const TreeEnsemble& trees, const std::vector<float>& x) {
  const Tensor in = Tensor::vector(x).reshaped({static_cast<int64_t>(x.size()) / 2, 2});
  const auto op = make_op(trees);
  return evaluate(*op, std::vector<Tensor>{in});
}

TEST(TreeEnsemble, WalksToLeaves) {
  auto y = eval(two_trees(), {1, 9, 2, 4, 2, 5});
  ASSERT_TRUE(y.ok()) << y.error().to_string();
  EXPECT_EQ(std::vector<float>((*y)[0].span<float>().begin(), (*y)[0].span<float>().end()),
            (std::vector<float>{10.5f, 1, 20.5f, 1, 30.5f, 1}));
}

TEST(TreeEnsemble, SendsNanWhereTheNodeSays) {
  TreeEnsemble trees = two_trees();
  EXPECT_EQ((*eval(trees, {NAN, 9}))[0].real_at(0), 30.5);
  trees.missing = {1, 0, 0, 0, 0, 0};
  EXPECT_EQ((*eval(trees, {NAN, 9}))[0].real_at(0), 10.5);
}

TEST(TreeEnsemble, AggregatesOtherwise) {
  TreeEnsemble trees = two_trees();
  trees.weight_targets = {0, 0, 0, 0};
  trees.base = {};
  trees.aggregate = TreeAggregate::max;
  EXPECT_EQ((*eval(trees, {1, 9}))[0].real_at(0), 10);
  trees.aggregate = TreeAggregate::min;
  EXPECT_EQ((*eval(trees, {1, 9}))[0].real_at(0), 1);
  trees.aggregate = TreeAggregate::average;
  EXPECT_EQ((*eval(trees, {1, 9}))[0].real_at(0), 5.5);
}

TEST(TreeEnsemble, RefusesDamage) {
  TreeEnsemble trees = two_trees();
  trees.yes[0] = 9;
  EXPECT_FALSE(eval(trees, {1, 9}).ok());
  trees = two_trees();
  trees.yes[0] = 0;
  auto y = eval(trees, {1, 9});
  ASSERT_FALSE(y.ok());
  EXPECT_NE(y.error().message.find("cycle"), std::string::npos);
  trees = two_trees();
  trees.features[2] = 2;
  EXPECT_FALSE(eval(trees, {1, 9}).ok());
}

}  // namespace
}  // namespace tenon

// Rules of decision trees: TreeEnsembleRegressor, TreeEnsembleClassifier and TreeEnsemble of
// ai.onnx.ml become the core op tree_ensemble.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "import/onnx/graph_importer.h"
#include "import/onnx/ml.h"
#include "ops/tree_ensemble.h"

namespace tenon::onnx {
namespace {

constexpr std::string_view kDomain = "ai.onnx.ml";
using NodeId = std::pair<int64_t, int64_t>;  // tree, node in it

// Weights sorted by their leaf, as the core op wants them.
void sort_weights(TreeEnsemble& trees) {
  std::vector<size_t> order(trees.weights.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return trees.weight_nodes[i]; });
  const TreeEnsemble old = trees;
  for (size_t i = 0; i < order.size(); ++i) {
    trees.weight_nodes[i] = old.weight_nodes[order[i]];
    trees.weight_targets[i] = old.weight_targets[order[i]];
    trees.weights[i] = old.weights[order[i]];
  }
}

Result<int64_t> mode_of(const std::string& name) {
  constexpr std::string_view kNames[] = {"LEAF",       "BRANCH_LT", "BRANCH_LEQ", "BRANCH_GT",
                                         "BRANCH_GTE", "BRANCH_EQ", "BRANCH_NEQ"};
  const auto* it = std::ranges::find(kNames, name);
  if (it == std::end(kNames))
    return invalid_model(fmt::format("attribute 'nodes_modes' has the element '{}'", name));
  return it - std::begin(kNames);
}

// Numbers as a list of floats, or as a tensor of doubles.
Result<std::vector<double>> reals(const RuleContext& c, const std::string& name) {
  if (!c.has_attr(name + "_as_tensor")) return c.get_floats(name);
  const Tensor t = TRY(c.get_tensor(name + "_as_tensor"));
  if (!is_float(t.dtype())) return invalid_model(fmt::format("'{}_as_tensor' is no float", name));
  std::vector<double> values;
  for (int64_t i = 0; i < t.elements(); ++i) values.push_back(t.real_at(i));
  return values;
}

Result<TreeAggregate> aggregate_of(const std::string& name) {
  if (name == "SUM") return TreeAggregate::sum;
  if (name == "AVERAGE") return TreeAggregate::average;
  if (name == "MIN") return TreeAggregate::min;
  if (name == "MAX") return TreeAggregate::max;
  return invalid_model(fmt::format("attribute 'aggregate_function' is '{}'", name));
}

// The nodes of the older ops, which name trees and nodes; `prefix` is "target" or "class".
Result<TreeEnsemble> named_trees(const RuleContext& c, const std::string& prefix) {
  TreeEnsemble trees;
  const auto tree_ids = TRY(c.get_ints("nodes_treeids"));
  const auto node_ids = TRY(c.get_ints("nodes_nodeids"));
  const auto modes = TRY(c.get_strings("nodes_modes"));
  const auto yes = TRY(c.get_ints("nodes_truenodeids"));
  const auto no = TRY(c.get_ints("nodes_falsenodeids"));
  trees.features = TRY(c.get_ints("nodes_featureids"));
  trees.thresholds = TRY(reals(c, "nodes_values"));
  trees.missing = TRY(c.get_ints("nodes_missing_value_tracks_true"));
  const size_t n = node_ids.size();
  for (const size_t size : {tree_ids.size(), modes.size(), yes.size(), no.size(),
                            trees.features.size(), trees.thresholds.size()})
    if (size != n) return invalid_model("the lists of nodes differ in length");
  std::map<NodeId, int64_t> index;
  for (size_t i = 0; i < n; ++i)
    if (!index.emplace(NodeId{tree_ids[i], node_ids[i]}, static_cast<int64_t>(i)).second)
      return invalid_model(
          fmt::format("node {} of tree {} is there twice", node_ids[i], tree_ids[i]));
  const auto find = [&](int64_t tree, int64_t node) -> Result<int64_t> {
    const auto it = index.find({tree, node});
    if (it == index.end()) return invalid_model(fmt::format("tree {} has no node {}", tree, node));
    return it->second;
  };
  std::vector<bool> is_child(n, false);
  for (size_t i = 0; i < n; ++i) {
    trees.modes.push_back(TRY(mode_of(modes[i])));
    const bool leaf = trees.modes.back() == 0;
    trees.yes.push_back(leaf ? 0 : TRY(find(tree_ids[i], yes[i])));
    trees.no.push_back(leaf ? 0 : TRY(find(tree_ids[i], no[i])));
    if (leaf) continue;
    is_child[static_cast<size_t>(trees.yes.back())] = true;
    is_child[static_cast<size_t>(trees.no.back())] = true;
  }
  for (size_t i = 0; i < n; ++i)
    if (!is_child[i]) trees.roots.push_back(static_cast<int64_t>(i));
  const auto trees_of = TRY(c.get_ints(prefix + "_treeids"));
  const auto nodes_of = TRY(c.get_ints(prefix + "_nodeids"));
  trees.weight_targets = TRY(c.get_ints(prefix + "_ids"));
  trees.weights = TRY(reals(c, prefix + "_weights"));
  if (trees_of.size() != nodes_of.size()) return invalid_model("the weights differ in length");
  for (size_t i = 0; i < nodes_of.size(); ++i)
    trees.weight_nodes.push_back(TRY(find(trees_of[i], nodes_of[i])));
  if (trees.weight_targets.size() != nodes_of.size() || trees.weights.size() != nodes_of.size())
    return invalid_model("the weights differ in length");
  sort_weights(trees);
  trees.base = TRY(reals(c, "base_values"));
  return trees;
}

Result<Value*> matrix(const RuleContext& c) {
  if (TRY(c.rank(0)) == 1) return c.reshape(c.in(0), {1, -1});
  return c.in(0);
}

Result<Values> regressor(RuleContext& c) {
  TreeEnsemble trees = TRY(named_trees(c, "target"));
  trees.targets = TRY(c.get_int("n_targets", 1));
  trees.aggregate = TRY(aggregate_of(TRY(c.get_string("aggregate_function", "SUM"))));
  Value* y = TRY(c.builder.op(std::move(trees), {TRY(matrix(c))}));
  return one(transformed(c, TRY(c.cast(y, DType::f32))));
}

// Two classes told apart by the weights of one: the score of the other follows.
Result<Values> two_classes(RuleContext& c, TreeEnsemble trees, Value* labels) {
  const bool positive = std::ranges::all_of(trees.weights, [](double w) { return w >= 0; });
  std::ranges::fill(trees.weight_targets, 0);
  if (trees.base.size() > 1) trees.base.erase(trees.base.begin());
  trees.targets = 1;
  Value* score = TRY(c.builder.op(std::move(trees), {TRY(matrix(c))}));
  score = TRY(c.cast(score, DType::f32));
  const std::string how = TRY(c.get_string("post_transform", "NONE"));
  Value* other = positive && how != "LOGISTIC"
                     ? TRY(c.op("sub", {TRY(c.scalar_like(score, 1)), score}))
                     : TRY(c.op("neg", {score}));
  Value* is_second = TRY(c.op("greater", {score, TRY(c.scalar_like(score, positive ? 0.5 : 0))}));
  is_second = TRY(c.op("squeeze", {is_second}, {{"axes", std::vector<int64_t>{1}}}));
  Value* best = TRY(c.cast(is_second, DType::i64));
  Value* scores = TRY(c.op("concat", {other, score}, {{"axis", int64_t{1}}}));
  return Values{TRY(c.op("gather", {labels, best}, {{"axis", int64_t{0}}})),
                TRY(transformed(c, scores))};
}

Result<Values> classifier(RuleContext& c) {
  size_t count = 0;
  Value* labels = TRY(labels_of(c, "classlabels_int64s", count));
  TreeEnsemble trees = TRY(named_trees(c, "class"));
  const bool is_single = std::ranges::all_of(
      trees.weight_targets, [&](int64_t t) { return t == trees.weight_targets[0]; });
  if (count == 2 && is_single && !trees.weights.empty())
    return two_classes(c, std::move(trees), labels);
  trees.targets = static_cast<int64_t>(count);
  Value* scores = TRY(c.builder.op(std::move(trees), {TRY(matrix(c))}));
  scores = TRY(c.cast(scores, DType::f32));
  return Values{TRY(best_label(c, labels, scores)), TRY(transformed(c, scores))};
}

// One list from a tensor attribute.
Result<std::vector<double>> tensor_reals(const RuleContext& c, std::string_view name) {
  if (!c.has_attr(name)) return std::vector<double>{};
  const Tensor t = TRY(c.get_tensor(name));
  if (!is_float(t.dtype()) && !is_int(t.dtype()))
    return invalid_model(fmt::format("attribute '{}' holds no numbers", name));
  std::vector<double> values;
  for (int64_t i = 0; i < t.elements(); ++i) values.push_back(t.real_at(i));
  return values;
}

// Adds a chain of comparisons with the members of a set in place of one node.
void expand_members(TreeEnsemble& trees, size_t at, const std::vector<double>& members) {
  const int64_t yes = trees.yes[at], no = trees.no[at];
  for (size_t i = 0; i < members.size(); ++i) {
    const size_t node = i == 0 ? at : trees.modes.size();
    if (i > 0) {
      trees.no[i == 1 ? at : node - 1] = static_cast<int64_t>(node);
      trees.modes.push_back(0);
      trees.features.push_back(trees.features[at]);
      trees.thresholds.push_back(0);
      trees.yes.push_back(yes);
      trees.no.push_back(no);
      trees.missing.push_back(trees.missing[at]);
    }
    trees.modes[node] = static_cast<int64_t>(TreeNodeMode::equal);
    trees.thresholds[node] = members[i];
    trees.no[node] = no;
  }
}

// The newer op: children by position among the inner nodes or the leaves.
Result<Values> ensemble(RuleContext& c) {
  TreeEnsemble trees;
  const auto modes = TRY(tensor_reals(c, "nodes_modes"));
  trees.features = TRY(c.get_ints("nodes_featureids"));
  trees.thresholds = TRY(tensor_reals(c, "nodes_splits"));
  trees.yes = TRY(c.get_ints("nodes_truenodeids"));
  trees.no = TRY(c.get_ints("nodes_falsenodeids"));
  const auto yes_leaf = TRY(c.get_ints("nodes_trueleafs"));
  const auto no_leaf = TRY(c.get_ints("nodes_falseleafs"));
  trees.missing = TRY(c.get_ints("nodes_missing_value_tracks_true"));
  const auto leaf_targets = TRY(c.get_ints("leaf_targetids"));
  trees.weights = TRY(tensor_reals(c, "leaf_weights"));
  trees.roots = TRY(c.get_ints("tree_roots"));
  trees.targets = TRY(c.get_int("n_targets", 1));
  const size_t n = modes.size(), leaves = leaf_targets.size();
  for (const size_t size : {trees.features.size(), trees.thresholds.size(), trees.yes.size(),
                            trees.no.size(), yes_leaf.size(), no_leaf.size()})
    if (size != n) return invalid_model("the lists of nodes differ in length");
  if (trees.weights.size() != leaves) return invalid_model("the lists of leaves differ in length");
  const auto child = [&](int64_t id, int64_t is_leaf) -> Result<int64_t> {
    const auto end = static_cast<int64_t>(is_leaf != 0 ? leaves : n);
    if (id < 0 || id >= end) return invalid_model(fmt::format("there is no node {}", id));
    return is_leaf != 0 ? id + static_cast<int64_t>(n) : id;
  };
  for (size_t i = 0; i < n; ++i) {
    trees.yes[i] = TRY(child(trees.yes[i], yes_leaf[i]));
    trees.no[i] = TRY(child(trees.no[i], no_leaf[i]));
  }
  // <=, <, >=, >, ==, != and membership, as the op numbers them.
  constexpr int64_t kModes[] = {2, 1, 4, 3, 5, 6, 0};
  for (const double mode : modes) {
    if (!(mode >= 0 && mode < 7)) return invalid_model("attribute 'nodes_modes' is out of range");
    trees.modes.push_back(kModes[static_cast<size_t>(mode)]);
  }
  trees.missing.resize(n, 0);
  for (size_t i = 0; i < leaves; ++i) {
    trees.weight_nodes.push_back(static_cast<int64_t>(n + i));
    trees.weight_targets.push_back(leaf_targets[i]);
    for (auto* list : {&trees.modes, &trees.features, &trees.yes, &trees.no, &trees.missing})
      list->push_back(0);
    trees.thresholds.push_back(0);
  }
  // The sets of membership nodes follow each other, NaN between them.
  const auto members = TRY(tensor_reals(c, "membership_values"));
  auto next = members.begin();
  for (size_t i = 0; i < n; ++i) {
    if (modes[i] != 6) continue;
    const auto end = std::find_if(next, members.end(), [](double v) { return v != v; });
    if (next == end) return invalid_model("the members of a node's set are missing");
    expand_members(trees, i, {next, end});
    next = end == members.end() ? end : end + 1;
  }
  constexpr std::string_view kAggregates[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  const int64_t how = TRY(c.get_int("aggregate_function", 1));
  if (how < 0 || how > 3)
    return invalid_model(fmt::format("attribute 'aggregate_function' is {}", how));
  trees.aggregate = TRY(aggregate_of(std::string(kAggregates[how])));
  constexpr int64_t kNoTransform = 0;
  if (TRY(c.get_int("post_transform", 0)) != kNoTransform)
    return unsupported("a post_transform of TreeEnsemble");
  Value* y = TRY(c.builder.op(std::move(trees), {TRY(matrix(c))}));
  return one(c.cast(y, c.in(0)->dtype()));
}

constexpr Rule kRules[] = {
    {"TreeEnsemble", 1, ensemble, 1, kDomain},
    {"TreeEnsembleClassifier", 1, classifier, 1, kDomain},
    {"TreeEnsembleRegressor", 1, regressor, 1, kDomain},
};

}  // namespace

std::span<const Rule> tree_rules() {
  return kRules;
}

}  // namespace tenon::onnx

// Decision trees: boosted ensembles and random forests.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class TreeAggregate : uint8_t { sum, average, min, max };
inline constexpr std::array<std::string_view, 4> kTreeAggregateNames{"sum", "average", "min",
                                                                     "max"};
constexpr std::span<const std::string_view> enum_names(TreeAggregate) {
  return kTreeAggregateNames;
}

// How a node compares x[feature] with its threshold; a leaf ends the walk.
enum class TreeNodeMode : int64_t {
  leaf,
  less,
  less_equal,
  greater,
  greater_equal,
  equal,
  not_equal
};

// tree_ensemble(x [N, F]) with the nodes of all trees in lists of one length. From each root one
// walks to `yes` where the comparison holds, else to `no`, down to a leaf, whose weights go to
// their targets: the result [N, targets] is f64 for f64 and f32 otherwise.
struct TreeEnsemble {
  std::vector<int64_t> roots;
  std::vector<int64_t> modes;
  std::vector<int64_t> features;
  std::vector<double> thresholds;
  std::vector<int64_t> yes;
  std::vector<int64_t> no;
  std::vector<int64_t> missing;
  std::vector<int64_t> weight_nodes;
  std::vector<int64_t> weight_targets;
  std::vector<double> weights;
  std::vector<double> base;
  int64_t targets = 1;
  TreeAggregate aggregate = TreeAggregate::sum;

  static const OpDef def;
  static constexpr std::string_view name = "tree_ensemble";
  static constexpr std::string_view doc =
      "tree_ensemble(x [N, F]): the weights of the leaves that the rows of x reach in each "
      "decision "
      "tree, aggregated per target: [N, targets].";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    using T = TreeEnsemble;
    return std::tuple{
        Field{1, "roots", &T::roots, "the first node of each tree"},
        Field{2, "modes", &T::modes, "per node: 0 leaf, 1 <, 2 <=, 3 >, 4 >=, 5 ==, 6 !="},
        Field{3, "features", &T::features, "per node: the column compared"},
        Field{4, "thresholds", &T::thresholds, "per node: what it is compared with"},
        Field{5, "yes", &T::yes, "per node: where to go when it holds"},
        Field{6, "no", &T::no, "per node: where to go when it does not"},
        Field{7, "missing", &T::missing, "per node: whether NaN goes to yes; empty: none does"},
        Field{8, "weight_nodes", &T::weight_nodes, "per weight: its leaf, ascending"},
        Field{9, "weight_targets", &T::weight_targets, "per weight: its target"},
        Field{10, "weights", &T::weights, "what the leaves give"},
        Field{11, "base", &T::base, "per target: added at last; empty: 0"},
        Field{12, "targets", &T::targets, "columns of the result"},
        Field{13, "aggregate", &T::aggregate, "how the trees' weights are combined"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

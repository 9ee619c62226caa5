#include "ops/tree_ensemble.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMaxTargets = 1 << 20;

bool holds(TreeNodeMode mode, double x, double threshold) {
  switch (mode) {
    case TreeNodeMode::less:
      return x < threshold;
    case TreeNodeMode::less_equal:
      return x <= threshold;
    case TreeNodeMode::greater:
      return x > threshold;
    case TreeNodeMode::greater_equal:
      return x >= threshold;
    case TreeNodeMode::equal:
      return x == threshold;
    case TreeNodeMode::not_equal:
      return x != threshold;
    default:
      return false;
  }
}

bool all_within(const std::vector<int64_t>& values, int64_t end) {
  return std::ranges::all_of(values, [&](int64_t v) { return v >= 0 && v < end; });
}

// One target of one row.
struct Total {
  double value = 0;
  bool is_set = false;

  void add(TreeAggregate how, double v) {
    if (how == TreeAggregate::min && is_set) v = std::min(v, value);
    if (how == TreeAggregate::max && is_set) v = std::max(v, value);
    value = how == TreeAggregate::min || how == TreeAggregate::max ? v : value + v;
    is_set = true;
  }
};

}  // namespace

Result<TensorTypes> TreeEnsemble::infer(const InferContext& context) const {
  const TensorType& x = context.type(0);
  if (x.is_list || !(is_float(x.dtype) || is_int(x.dtype)))
    return invalid_argument(
        fmt::format("tree_ensemble needs a matrix of numbers, not {}", x.to_string()));
  TRY(nn::expect_rank(context, name, 0, 2));
  const size_t n = modes.size();
  for (const size_t size : {features.size(), thresholds.size(), yes.size(), no.size(),
                            missing.empty() ? n : missing.size()})
    if (size != n) return invalid_argument("tree_ensemble: the lists of nodes differ in length");
  if (weight_nodes.size() != weights.size() || weight_targets.size() != weights.size())
    return invalid_argument("tree_ensemble: the lists of weights differ in length");
  if (targets < 1 || targets > kMaxTargets || (!base.empty() && base.size() != size_t(targets)))
    return invalid_argument(
        fmt::format("tree_ensemble: {} targets, {} base values", targets, base.size()));
  const auto nodes = static_cast<int64_t>(n);
  if (!all_within(roots, nodes) || !all_within(yes, nodes) || !all_within(no, nodes) ||
      !all_within(weight_nodes, nodes) || !all_within(weight_targets, targets) ||
      !all_within(modes, 7) || !std::ranges::is_sorted(weight_nodes))
    return invalid_argument("tree_ensemble: an index of a node or target is out of range");
  const Dim width = x.shape.ranked() ? x.shape[1] : Dim::unknown();
  for (size_t i = 0; i < n; ++i)
    if (modes[i] != 0 && (features[i] < 0 || (width.known() && features[i] >= width.size())))
      return invalid_argument(
          fmt::format("tree_ensemble: there is no feature {} in {}", features[i], x.to_string()));
  const Dim rows = x.shape.ranked() ? x.shape[0] : Dim::unknown();
  return TensorTypes{{x.dtype == DType::f64 ? DType::f64 : DType::f32, Shape{rows, targets}}};
}

Status TreeEnsemble::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int64_t rows = x.dim(0), width = x.dim(1);
  std::vector<double> values(static_cast<size_t>(rows * targets));
  std::vector<Total> totals(static_cast<size_t>(targets));
  for (int64_t row = 0; row < rows; ++row) {
    std::ranges::fill(totals, Total{});
    for (const int64_t root : roots) {
      auto at = static_cast<size_t>(root);
      for (size_t steps = 0; modes[at] != 0; ++steps) {
        if (features[at] >= width || steps > modes.size())
          return invalid_argument("tree_ensemble: a tree has a cycle, or asks for more features");
        const double v = x.real_at(row * width + features[at]);
        const bool taken = std::isnan(v)
                               ? !missing.empty() && missing[at] != 0
                               : holds(static_cast<TreeNodeMode>(modes[at]), v, thresholds[at]);
        at = static_cast<size_t>(taken ? yes[at] : no[at]);
      }
      const auto [begin, end] =
          std::equal_range(weight_nodes.begin(), weight_nodes.end(), static_cast<int64_t>(at));
      for (auto it = begin; it != end; ++it) {
        const auto w = static_cast<size_t>(it - weight_nodes.begin());
        totals[static_cast<size_t>(weight_targets[w])].add(aggregate, weights[w]);
      }
    }
    for (size_t t = 0; t < totals.size(); ++t) {
      double v = totals[t].value;
      if (aggregate == TreeAggregate::average) v /= static_cast<double>(roots.size());
      values[static_cast<size_t>(row * targets) + t] = v + (base.empty() ? 0 : base[t]);
    }
  }
  nn::store_reals(context.out(0), values);
  return {};
}

constinit const OpDef TreeEnsemble::def = define<TreeEnsemble>();
OpDefs tree_ensemble_ops() {
  return {&TreeEnsemble::def};
}

}  // namespace tenon

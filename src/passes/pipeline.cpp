#include "passes/passes.h"

namespace tenon {
namespace {

Result<bool> simplify(Graph& graph, PassContext& context) {
  return apply_rules(graph, simplify_rules(), context);
}
Result<bool> fuse(Graph& graph, PassContext& context) {
  return apply_rules(graph, fuse_rules(), context);
}
Result<bool> recognise(Graph& graph, PassContext& context) {
  return apply_rules(graph, recognise_rules(), context);
}
Result<bool> sink_transposes(Graph& graph, PassContext& context) {
  return apply_rules(graph, transpose_rules(), context);
}
Result<bool> remove_dead(Graph& graph, PassContext&) {
  return remove_dead_nodes(graph) > 0;
}

constexpr Pass kPasses[] = {
    {"dead-code", "removes nodes whose results nobody reads", remove_dead},
    {"fold-constants", "evaluates what depends on constants alone", fold_constants},
    {"simplify", "local identities", simplify},
    {"common-subexpressions", "computes equal things once", eliminate_common_subexpressions},
    {"recognise", "norms, activations and softmax written out in small ops", recognise},
    {"sink-transposes", "moves transposes down, where they meet and cancel", sink_transposes},
    {"fuse", "bias, batch normalisation, residual and activation into conv and matmul", fuse},
};
constexpr int kMaxRounds = 8;

}  // namespace

std::span<const Pass> all_passes() {
  return kPasses;
}

std::vector<Rule> all_rules() {
  std::vector<Rule> rules;
  for (const auto group : {simplify_rules(), recognise_rules(), transpose_rules(), fuse_rules()})
    rules.insert(rules.end(), group.begin(), group.end());
  return rules;
}

Status optimize(Graph& graph, PassContext& context) {
  TRY(graph.infer_all());
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    for (const Pass& pass : kPasses) {
      if (!context.enabled(pass.name)) continue;
      changed |= TRY(run_pass(graph, pass, context));
    }
    if (!changed) break;
  }
  graph.stage = "canonical";
  return {};
}

}  // namespace tenon

// The default pipeline: which passes there are, in which order, until when.
#include <algorithm>

#include "passes/passes.h"

namespace tenon {
namespace {

Result<bool> simplify(Graph& graph, PassContext& context) {
  const bool once = TRY(apply_rules(graph, repeat_rules(), context));
  const bool assigned = TRY(apply_rules(graph, assignment_rules(), context)) || once;
  const bool simpler = TRY(apply_rules(graph, simplify_rules(), context)) || assigned;
  return TRY(apply_rules(graph, stack_rules(), context)) || simpler;
}
Result<bool> fuse(Graph& graph, PassContext& context) {
  return apply_rules(graph, fuse_rules(), context);
}
Result<bool> merge_branches(Graph& graph, PassContext& context) {
  return apply_rules(graph, branch_rules(), context);
}
Result<bool> take_in_padding(Graph& graph, PassContext& context) {
  return apply_rules(graph, padding_rules(), context);
}
Result<bool> recognise(Graph& graph, PassContext& context) {
  const bool found = TRY(apply_rules(graph, norm_rules(), context));
  return TRY(apply_rules(graph, recognise_rules(), context)) || found;
}
Result<bool> drop_neutral(Graph& graph, PassContext& context) {
  return apply_rules(graph, neutral_rules(), context);
}
Result<bool> sink_transposes(Graph& graph, PassContext& context) {
  return apply_rules(graph, transpose_rules(), context);
}
Result<bool> recognise_attention(Graph& graph, PassContext& context) {
  return apply_rules(graph, attention_rules(), context);
}
Result<bool> loops(Graph& graph, PassContext& context) {
  return apply_rules(graph, loop_rules(), context);
}
Result<bool> directions(Graph& graph, PassContext& context) {
  return apply_rules(graph, sequence_rules(), context);
}
Result<bool> use_integers(Graph& graph, PassContext& context) {
  const bool of_bytes = TRY(apply_rules(graph, byte_rules(), context));
  return TRY(apply_rules(graph, quantized_rules(), context)) || of_bytes;
}
Result<bool> straighten(Graph& graph, PassContext& context) {
  return apply_rules(graph, linear_rules(), context);
}
Result<bool> expand(Graph& graph, PassContext& context) {
  return apply_rules(graph, expand_rules(), context);
}
Result<bool> flatten_concats(Graph& graph, PassContext& context) {
  return apply_rules(graph, concat_rules(), context);
}
Result<bool> remove_dead(Graph& graph, PassContext&) {
  return remove_dead_nodes(graph) > 0;
}

constexpr Pass kPasses[] = {
    {"dead-code", "removes nodes whose results nobody reads", remove_dead},
    // Before folding, which would turn quantised weights into floats.
    {"integers", "work on dequantised integers, products above all, as work on integers",
     use_integers},
    {"fold-constants", "evaluates what depends on constants alone", fold_constants},
    {"simplify", "local identities", simplify},
    {"common-subexpressions", "computes equal things once", eliminate_common_subexpressions},
    {"loops", "loops that are recurrent layers, constants in loops, branches known", loops},
    {"directions", "recurrent layers read sequences the way round they are", directions},
    {"recognise", "norms, activations and softmax written out in small ops", recognise},
    {"neutral", "operands that change nothing, once patterns have been looked for", drop_neutral},
    {"sink-transposes", "moves transposes down, where they meet and cancel", sink_transposes},
    {"straighten", "products and convolutions without reshapes and transposes around", straighten},
    {"attention", "softmax(q k^T) v as one op", recognise_attention},
    {"padding", "padding into convolutions and pools", take_in_padding},
    {"fuse", "bias, batch normalisation, residual and activation into conv and matmul", fuse},
    {"branches", "sums of convolutions that read one tensor as one", merge_branches},
    {"expand", "compound ops that are pointwise in the end, for the next pass", expand},
    {"fuse-pointwise", "chains of pointwise ops into one kernel", fuse_pointwise},
    {"concats", "concats of concats that one kernel reads", flatten_concats},
};
// The passes before this one run until nothing changes, those from it on once, after them.
constexpr std::string_view kFirstFinalPass = "expand";
constexpr int kMaxRounds = 8;

Result<bool> run_enabled(Graph& graph, const Pass& pass, PassContext& context) {
  return context.enabled(pass.name) ? run_pass(graph, pass, context) : false;
}

const Pass* first_final_pass() {
  return std::ranges::find(kPasses, kFirstFinalPass, &Pass::name);
}

}  // namespace

std::span<const Pass> all_passes() {
  return kPasses;
}

std::vector<Rule> all_rules() {
  std::vector<Rule> rules;
  for (const auto group :
       {simplify_rules(), repeat_rules(), assignment_rules(), stack_rules(), norm_rules(),
        recognise_rules(), neutral_rules(), transpose_rules(), loop_rules(), sequence_rules(),
        linear_rules(), attention_rules(), padding_rules(), fuse_rules(), branch_rules(),
        expand_rules(), concat_rules(), byte_rules(), quantized_rules()})
    rules.insert(rules.end(), group.begin(), group.end());
  return rules;
}

Status canonicalize(Graph& graph, PassContext& context) {
  TRY(graph.infer_all());
  const Pass* final = first_final_pass();
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    for (const Pass* pass = kPasses; pass != final; ++pass)
      changed |= TRY(run_enabled(graph, *pass, context));
    if (!changed) break;
  }
  return {};
}

Status optimize(Graph& graph, PassContext& context) {
  TRY(canonicalize(graph, context));
  return finish(graph, context);
}

Status finish(Graph& graph, PassContext& context) {
  for (const Pass* pass = first_final_pass(); pass != std::end(kPasses); ++pass)
    TRY(run_enabled(graph, *pass, context));
  graph.stage = "canonical";
  return {};
}

}  // namespace tenon

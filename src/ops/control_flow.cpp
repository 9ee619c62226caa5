#include "ops/control_flow.h"

#include <fmt/format.h>

#include "ops/registry.h"

namespace tenon {
namespace {

// The types that cover both lists of types. `what` names them for the error.
Result<TensorTypes> join(const TensorTypes& a, const TensorTypes& b, std::string_view op,
                         std::string_view what) {
  if (a.size() != b.size())
    return invalid_argument(
        fmt::format("{}: {} differ in number: {} and {}", op, what, a.size(), b.size()));
  TensorTypes joined = a;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].dtype != b[i].dtype || a[i].is_list != b[i].is_list)
      return invalid_argument(fmt::format("{}: {} differ in type at {}: {} and {}", op, what, i,
                                          a[i].to_string(), b[i].to_string()));
    joined[i].shape = join_shapes(a[i].shape, b[i].shape);
  }
  return joined;
}

Result<TensorTypes> join_branches(const InferContext& context, std::string_view op) {
  const auto branches = context.region_results();
  if (branches.empty()) return invalid_argument(fmt::format("{} needs sub-graphs", op));
  if (context.type(0).is_list)
    return invalid_argument(fmt::format("{} cannot choose by a list", op));
  TensorTypes types = branches[0];
  for (size_t i = 1; i < branches.size(); ++i)
    types = TRY(join(types, branches[i], op, "the results of its branches"));
  return types;
}

}  // namespace

Result<TensorTypes> If::infer(const InferContext& context) const {
  if (context.region_results().size() != 2)
    return invalid_argument("if needs two sub-graphs: then and else");
  return join_branches(context, name);
}

Result<TensorTypes> Case::infer(const InferContext& context) const {
  if (!is_int(context.dtype(0)))
    return invalid_argument("case needs an integer index, not " + context.type(0).to_string());
  return join_branches(context, name);
}

Result<TensorTypes> While::infer(const InferContext& context) const {
  const auto regions = context.region_results();
  if (regions.size() != 2)
    return invalid_argument("while needs two sub-graphs: condition and body");
  if (regions[0].size() != 1 || regions[0][0].is_list)
    return invalid_argument("while: the condition must have one result, true or false");
  TensorTypes state;
  for (int i = 0; i < context.size(); ++i) state.push_back(context.type(i));
  return join(state, regions[1], name, "loop variables and results of the body");
}

Result<TensorTypes> Fused::infer(const InferContext& context) const {
  if (context.region_results().size() != 1) return invalid_argument("fused needs one sub-graph");
  return context.region_results()[0];
}

constinit const OpDef If::def = define<If>();
constinit const OpDef Case::def = define<Case>();
constinit const OpDef While::def = define<While>();
constinit const OpDef Fused::def = define<Fused>();
OpDefs control_flow_ops() {
  return {&If::def, &Case::def, &While::def, &Fused::def};
}

}  // namespace tenon

#include <fmt/format.h>

#include "ir/hash.h"
#include "ir/verify.h"
#include "rewrite/pass.h"

namespace tenon {
namespace {

Result<bool> run_checked(Graph& graph, const Pass& pass, PassContext& context) {
  const uint64_t before = graph_hash(graph, ConstantHash::kStorage);
  const bool changed = TRY(pass.run(graph, context));
  TRY(verify(graph));
  if (!changed && graph_hash(graph, ConstantHash::kStorage) != before)
    return internal_error("the pass says that nothing changed, but the graph did");
  return changed;
}

}  // namespace

Result<bool> run_pass(Graph& graph, const Pass& pass, PassContext& context) {
  auto input = graph.clone();
  auto changed = run_checked(graph, pass, context);
  if (!changed.ok()) {
    if (changed.error().code == Code::internal) {
      context.failed_pass = pass.name;
      context.failed_input = std::move(input);
    }
    return std::move(changed).error().note(fmt::format("while running pass '{}'", pass.name));
  }
  if (context.observer) TRY(context.observer(pass, graph, *changed));
  return changed;
}

}  // namespace tenon

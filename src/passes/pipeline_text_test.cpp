#include "passes/pipeline_text.h"

#include <gtest/gtest.h>

#include "ir/hash.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "passes/reduce.h"

namespace tenon {
namespace {

std::unique_ptr<Graph> chain() {
  return parse_graph(
             "graph @main (%x: f32[2], %z: f32[2]) { %a = neg(%x) %b = exp(%a) %c = abs(%b) "
             "%d = add(%c, %z) %e = relu(%d) %f = tanh(%z) return (%e, %f) }")
      .value();
}

TEST(Pipeline, ReadsWhatItPrints) {
  const std::string text = "fold-constants,fuse{disable=fuse-bias;fuse-pad},default";
  const auto steps = parse_pipeline(text);
  ASSERT_TRUE(steps.ok()) << steps.error().to_string();
  EXPECT_EQ(pipeline_text(*steps), text);
  EXPECT_EQ(pipeline_text(parse_pipeline(" fuse , dead-code ").value()), "fuse,dead-code");
  EXPECT_EQ(pipeline_of_text("// opt: a,b\ngraph"), "a,b");
  for (const std::string_view bad :
       {"nope", "fuse{", "fuse{disable=nope}", "fuse fuse", "fuse{on}", "fuse{disable=fuse-bias}x"})
    EXPECT_FALSE(parse_pipeline(bad).ok()) << bad;
}

TEST(RunPass, APassThatBreaksTheGraphLeavesWhatItWasGiven) {
  const Pass breaks{"breaks", "a result of another type than inference gives",
                    [](Graph& graph, PassContext&) -> Result<bool> {
                      graph.nodes().front()->output()->set_type({DType::f64, Shape{2}});
                      return true;
                    }};
  auto graph = chain();
  const std::string before = print_graph(*graph);
  PassContext context;
  const auto ran = run_pass(*graph, breaks, context);
  ASSERT_FALSE(ran.ok());
  EXPECT_EQ(ran.error().code, Code::internal);
  EXPECT_EQ(context.failed_pass, "breaks");
  ASSERT_NE(context.failed_input, nullptr);
  EXPECT_EQ(print_graph(*context.failed_input), before);
}

TEST(RunPass, APassMustNotHideItsChanges) {
  const Pass hides{"hides", "changes the graph and denies it",
                   [](Graph& graph, PassContext&) -> Result<bool> {
                     graph.set_outputs({graph.outputs()[0]});
                     return false;
                   }};
  auto graph = chain();
  PassContext context;
  EXPECT_FALSE(run_pass(*graph, hides, context).ok());
}

TEST(Hash, SeesStructureAndNotNames) {
  auto a = chain(), b = chain();
  b->nodes().front()->output()->name = "other";
  b->nodes().front()->origins = {"somewhere"};
  EXPECT_EQ(graph_hash(*a), graph_hash(*b));
  b->set_outputs({b->outputs()[1], b->outputs()[0]});
  EXPECT_NE(graph_hash(*a), graph_hash(*b));
}

TEST(Verify, SeesUsesOfWhatIsNotThere) {
  auto graph = chain();
  EXPECT_TRUE(verify(*graph).ok());
  auto other = chain();
  graph->set_outputs({other->outputs()[0]});
  EXPECT_FALSE(verify(*graph).ok());
  graph = chain();
  graph->stage = "strange";
  EXPECT_FALSE(verify(*graph).ok());
}

TEST(Reduce, KeepsOnlyWhatFails) {
  auto graph = chain();
  const int steps = reduce_graph(graph, [](const Graph& g) {
    for (const auto& node : g.nodes())
      if (node->is("abs")) return true;
    return false;
  });
  EXPECT_GT(steps, 0);
  EXPECT_EQ(graph->node_count(), 1u);
  EXPECT_EQ(graph->inputs().size(), 1u);
  EXPECT_EQ(graph->outputs().size(), 1u);
}

}  // namespace
}  // namespace tenon

#include "passes/reduce.h"

#include <unordered_map>

#include "ir/verify.h"
#include "rewrite/pass.h"

namespace tenon {
namespace {

// A copy of a graph in which values may be replaced; nodes without readers go.
class Candidate {
 public:
  explicit Candidate(const Graph& original) : graph_(original.clone()) {
    for (const auto& node : graph_->nodes()) nodes_.push_back(node.get());
  }
  Node* node(size_t i) { return nodes_[i]; }
  Graph& graph() { return *graph_; }
  std::unique_ptr<Graph> finish() {
    remove_dead_nodes(*graph_);
    if (!graph_->infer_all().ok() || !verify(*graph_).ok()) return nullptr;
    return without_unused_inputs(*graph_);
  }

 private:
  std::unique_ptr<Graph> graph_;
  std::vector<Node*> nodes_;
};

class Reducer {
 public:
  Reducer(std::unique_ptr<Graph>& graph, const StillFails& still_fails)
      : graph_(graph), still_fails_(still_fails) {}

  int run() {
    for (int before = -1; before != steps_;) {
      before = steps_;
      outputs();
      for (size_t i = graph_->node_count(); i-- > 0;) {
        if (i >= graph_->node_count()) continue;
        if (!bypass(i)) cut(i);
        if (i < graph_->node_count()) end_at(i);
      }
    }
    return steps_;
  }

 private:
  bool take(std::unique_ptr<Graph> smaller) {
    if (smaller == nullptr || !still_fails_(*smaller)) return false;
    graph_ = std::move(smaller);
    ++steps_;
    return true;
  }

  void outputs() {
    for (size_t i = graph_->outputs().size(); i-- > 0 && graph_->outputs().size() > 1;) {
      Candidate c(*graph_);
      std::vector<Value*> rest = c.graph().outputs();
      rest.erase(rest.begin() + static_cast<ptrdiff_t>(i));
      c.graph().set_outputs(std::move(rest));
      take(c.finish());
    }
  }

  // An operand of the node's type stands for its result.
  bool bypass(size_t i) {
    for (int k = 0; i < graph_->node_count(); ++k) {
      Candidate c(*graph_);
      Node* node = c.node(i);
      if (node->output_count() == 0 || k >= node->input_count()) return false;
      Value* operand = node->input(k);
      if (operand == nullptr || operand->type() != node->output()->type()) continue;
      c.graph().replace_all_uses(node->output(), operand);
      if (take(c.finish())) return true;
    }
    return false;
  }

  // The node's results become inputs.
  bool cut(size_t i) {
    Candidate c(*graph_);
    Node* node = c.node(i);
    if (node->is("const")) return false;
    for (int k = 0; k < node->output_count(); ++k) {
      Value* result = node->output(k);
      if (result->uses().empty() && !c.graph().is_output(result)) continue;
      c.graph().replace_all_uses(result, c.graph().add_input(result->type(), result->name));
    }
    return take(c.finish());
  }

  // The graph ends with this node's result.
  bool end_at(size_t i) {
    Candidate c(*graph_);
    Node* node = c.node(i);
    if (node->output_count() == 0 || node->is("const")) return false;
    if (c.graph().outputs() == std::vector<Value*>{node->output()}) return false;
    c.graph().set_outputs({node->output()});
    std::unique_ptr<Graph> smaller = c.finish();
    if (smaller == nullptr || smaller->node_count() >= graph_->node_count()) return false;
    return take(std::move(smaller));
  }

  std::unique_ptr<Graph>& graph_;
  const StillFails& still_fails_;
  int steps_ = 0;
};

}  // namespace

std::unique_ptr<Graph> without_unused_inputs(const Graph& graph) {
  auto copy = std::make_unique<Graph>(graph.name);
  copy->stage = graph.stage;
  std::unordered_map<const Value*, Value*> map;
  for (const auto& input : graph.inputs())
    if (!input->uses().empty() || graph.is_output(input.get()))
      map[input.get()] = copy->add_input(input->type(), input->name);
  for (const auto& node : graph.nodes()) {
    std::vector<Value*> operands;
    for (const Value* v : node->inputs()) operands.push_back(v == nullptr ? nullptr : map.at(v));
    std::vector<std::unique_ptr<Graph>> regions;
    for (const auto& region : node->regions()) regions.push_back(region->clone());
    auto added = copy->add(node->op().clone(), std::move(operands), std::move(regions));
    if (!added.ok() || (*added)->output_count() != node->output_count()) return graph.clone();
    (*added)->origins = node->origins;
    for (int i = 0; i < node->output_count(); ++i) {
      (*added)->output(i)->name = node->output(i)->name;
      map[node->output(i)] = (*added)->output(i);
    }
  }
  std::vector<Value*> outputs;
  for (const Value* v : graph.outputs()) outputs.push_back(map.at(v));
  copy->set_outputs(std::move(outputs));
  return copy;
}

int reduce_graph(std::unique_ptr<Graph>& graph, const StillFails& still_fails) {
  return Reducer(graph, still_fails).run();
}

}  // namespace tenon

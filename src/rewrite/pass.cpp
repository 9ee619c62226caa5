// The driver that applies rules until none fires, and what passes share.
#include "rewrite/pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <unordered_set>

namespace tenon {
namespace {

constexpr int kMaxSweeps = 100;
// Rules that undo each other must not hang the compiler.
constexpr size_t kMaxFiringsPerNode = 50;

std::string place_of(const Node& node) {
  return node.origins.empty() ? std::string(node.def().name) : node.origins.front();
}

bool is_dead(const Graph& graph, const Node& node) {
  for (int i = 0; i < node.output_count(); ++i)
    if (!node.output(i)->uses().empty() || graph.is_output(node.output(i))) return false;
  return true;
}

std::vector<Node*> readers_of(const Node& node) {
  std::vector<Node*> readers;
  for (int i = 0; i < node.output_count(); ++i)
    for (const Use& use : node.output(i)->uses()) readers.push_back(use.user);
  return readers;
}

bool same_ints(const std::optional<SymInts>& a, const std::optional<SymInts>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a || std::equal(a->begin(), a->end(), b->begin(), b->end(),
                          [](const SymInt& x, const SymInt& y) {
                            return x.value == y.value && (x.value || x.dim == y.dim);
                          });
}

// Visits every node, and again whatever a firing touched. Types are inferred anew only where they
// may have changed, and what nobody needs is removed at once, so that uses are counted right.
class Driver {
 public:
  Driver(Graph& graph, std::span<const Rule> rules, PassContext& context)
      : graph_(graph), rules_(rules), context_(context) {
    graph_.set_journal(&added_);
  }
  ~Driver() { graph_.set_journal(nullptr); }

  Result<bool> run() {
    const size_t budget = (graph_.node_count() + 100) * kMaxFiringsPerNode;
    // First: rules ask who reads a value, and readers that nobody needs would answer.
    bool any = remove_dead_nodes(graph_) > 0;
    for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
      for (const auto& node : graph_.nodes()) push(node.get());
      bool changed = false;
      while (!queue_.empty()) {
        Node* node = queue_.front();
        queue_.pop_front();
        if (queued_.erase(node) == 0) continue;  // erased since, or visited already
        if (node->is("const")) continue;
        if (is_dead(graph_, *node)) {
          erase_dead({node}, nullptr);
          any = true;
        } else {
          changed |= TRY(visit(*node));
        }
        if (firings_ > budget) return true;
      }
      any |= remove_dead_nodes(graph_) > 0 || changed;
      if (!changed) break;
    }
    return any;
  }

 private:
  void push(Node* node) {
    if (queued_.insert(node).second) queue_.push_back(node);
  }

  // Applies the first rule that fires at the node.
  Result<bool> visit(Node& node) {
    const std::string where = place_of(node);
    const std::vector<Value*> operands = node.inputs();
    const std::vector<Node*> readers = readers_of(node);
    for (const Rule& rule : rules_) {
      if (!context_.enabled(rule.name)) continue;
      added_.clear();
      auto fired = rule.apply(graph_, node);
      Status settled;
      if (fired.ok() && *fired)
        settled = settle(node, operands, readers, {rule.name, where});
      else
        take_back();
      if (!fired.ok() || !settled.ok())
        return (fired.ok() ? std::move(settled).error() : std::move(fired).error())
            .note(fmt::format("while applying rule '{}' at '{}'", rule.name, where));
      if (*fired) return true;
    }
    return false;
  }

  // After a rule fired at `node`, which had these operands and readers before.
  Status settle(Node& node, const std::vector<Value*>& operands, const std::vector<Node*>& readers,
                Firing firing) {
    ++firings_;
    std::vector<Node*> touched = added_;
    std::vector<Node*> stale = readers;
    for (const Node* n : added_) {
      firing.nodes -= !n->is("const");
      firing.bytes -= intermediate_bytes(*n);
      for (Node* reader : readers_of(*n)) stale.push_back(reader);
    }
    if (!is_dead(graph_, node)) stale.push_back(&node);
    if (std::find(touched.begin(), touched.end(), &node) == touched.end()) touched.push_back(&node);
    for (const Value* v : operands)
      if (v != nullptr && v->producer() != nullptr) touched.push_back(v->producer());
    for (Node* n : touched) push(n);
    for (Node* n : stale) push(n);
    TRY(refresh(std::move(stale)));
    erase_dead(std::move(touched), &firing);
    context_.firings.push_back(std::move(firing));
    return {};
  }

  // Infers these nodes again, and their readers as far as types change.
  Status refresh(std::vector<Node*> stale) {
    std::deque<Node*> pending(stale.begin(), stale.end());
    std::unordered_set<Node*> waiting(stale.begin(), stale.end());
    while (!pending.empty()) {
      Node* node = pending.front();
      pending.pop_front();
      if (waiting.erase(node) == 0 || node->output_count() == 0) continue;
      TensorTypes before;
      for (int i = 0; i < node->output_count(); ++i) before.push_back(node->output(i)->type());
      const auto ints = node->output(0)->ints();
      if (Status s = graph_.infer(*node); !s.ok())
        return std::move(s).error().at("node '" + place_of(*node) + "'");
      bool changed = !same_ints(ints, node->output(0)->ints());
      for (int i = 0; i < node->output_count(); ++i)
        changed |= before[static_cast<size_t>(i)] != node->output(i)->type();
      if (!changed) continue;
      push(node);
      for (Node* reader : readers_of(*node)) {
        push(reader);
        if (waiting.insert(reader).second) pending.push_back(reader);
      }
    }
    return {};
  }

  // Erases what a rule added before it declined. The graph is as it was, so nobody is visited
  // again: a rule that tries and declines would wake itself for ever.
  void take_back() {
    for (auto it = added_.rbegin(); it != added_.rend(); ++it)
      if (is_dead(graph_, **it)) graph_.erase(*it);
  }

  // Erases those of the nodes that nobody needs, and what only they needed.
  void erase_dead(std::vector<Node*> candidates, Firing* firing) {
    std::unordered_set<Node*> gone;
    while (!candidates.empty()) {
      Node* node = candidates.back();
      candidates.pop_back();
      if (gone.contains(node) || !is_dead(graph_, *node)) continue;
      const std::vector<Value*> operands = node->inputs();
      for (const Value* v : operands)
        if (v != nullptr && v->producer() != nullptr) {
          candidates.push_back(v->producer());
          push(v->producer());
        }
      if (firing != nullptr) {
        firing->nodes += !node->is("const");
        firing->bytes += intermediate_bytes(*node);
      }
      gone.insert(node);
      queued_.erase(node);
      graph_.erase(node);
      // A value that only one node reads now may be what a rule has waited for.
      for (const Value* v : operands)
        if (v != nullptr && v->uses().size() == 1) push(v->uses()[0].user);
    }
  }

  Graph& graph_;
  std::span<const Rule> rules_;
  PassContext& context_;
  std::vector<Node*> added_;  // by the rule being applied
  std::deque<Node*> queue_;
  std::unordered_set<Node*> queued_;
  size_t firings_ = 0;
};

}  // namespace

int64_t intermediate_bytes(const Node& node) {
  if (node.is("const") || node.def().has(kView)) return 0;
  int64_t total = 0;
  for (int i = 0; i < node.output_count(); ++i) {
    TensorType type = node.output(i)->type();
    for (Dim& d : type.shape.dims()) d = d.size_or(1);
    total += type.is_list ? 0 : type.byte_size().value_or(0);
  }
  return total;
}

int remove_dead_nodes(Graph& graph) {
  int removed = 0;
  for (auto it = graph.nodes().end(); it != graph.nodes().begin();) {
    --it;
    Node* node = it->get();
    for (const auto& region : node->regions()) removed += remove_dead_nodes(*region);
    if (!is_dead(graph, *node)) continue;
    ++it;
    graph.erase(node);
    ++removed;
  }
  return removed;
}

Result<bool> apply_rules(Graph& graph, std::span<const Rule> rules, PassContext& context) {
  bool any = false;
  for (const auto& node : graph.nodes())
    for (const auto& region : node->regions()) any |= TRY(apply_rules(*region, rules, context));
  any |= TRY(Driver(graph, rules, context).run());
  return any;
}

bool has_single_use(const Graph& graph, const Value* value) {
  return value->uses().size() == 1 && !graph.is_output(value);
}

std::vector<std::string> merge_origins(std::initializer_list<const Node*> nodes) {
  std::vector<std::string> merged;
  for (const Node* node : nodes)
    for (const std::string& origin : node->origins)
      if (std::find(merged.begin(), merged.end(), origin) == merged.end()) merged.push_back(origin);
  return merged;
}

void replace_node(Graph& graph, Node& node, Value* value) {
  if (Node* producer = value->producer(); producer != nullptr && !producer->is("const"))
    producer->origins = merge_origins({producer, &node});
  graph.replace_all_uses(node.output(), value);
}

}  // namespace tenon

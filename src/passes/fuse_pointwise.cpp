// Groups connected pointwise ops into `fused` nodes, which devices run as one kernel: intermediate
// results stay in registers and caches. Runs last: everything else wants to see the single ops.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

constexpr size_t kMaxNodes = 64;
constexpr size_t kMaxOperands = 12;
constexpr size_t kMaxResults = 4;
// Casts between other types keep a kernel of their own, but for those that widen bf16.
bool is_fusable_type(const TensorType& type) {
  return !type.is_list && type.shape.ranked() &&
         (type.dtype == DType::f32 || type.dtype == DType::boolean);
}

bool is_byte(const Value* v) {
  return !v->type().is_list && v->shape().ranked() &&
         (v->dtype() == DType::i8 || v->dtype() == DType::u8);
}

bool is_rounded(const Value* v) {
  return !v->type().is_list && v->shape().ranked() && v->dtype() == DType::bf16;
}

// Between f32 and bytes by constant scalars.
bool is_fusable_quantisation(const Node& node) {
  const bool quantize = node.is("quantize_linear");
  if (!quantize && !node.is("dequantize_linear")) return false;
  const Value* real = quantize ? node.input(0) : node.output();
  if (!is_byte(quantize ? node.output() : node.input(0)) || !is_fusable_type(real->type()))
    return false;
  for (int i = 1; i < node.input_count(); ++i) {
    const Value* v = node.input(i);
    if (v == nullptr || v->constant() == nullptr || v->constant()->elements() != 1 ||
        v->shape().rank() != 0)
      return false;
  }
  return true;
}

bool is_fusable(const Node& node) {
  if (is_fusable_quantisation(node)) return true;
  if (!node.def().has(kPointwise) || node.def().has(kRandom) || node.output_count() != 1 ||
      node.input_count() == 0 || !is_fusable_type(node.output()->type()))
    return false;
  for (const Value* v : node.inputs())
    if (v == nullptr || (!is_fusable_type(v->type()) && !(node.is("cast") && is_rounded(v))))
      return false;
  return true;
}

// As far as can be told before running. The kernel checks the sizes it meets.
bool same_shape(const Value& a, const Value& b) {
  return a.shape() == b.shape();
}

class Fuser {
 public:
  Fuser(Graph& graph, PassContext& context) : graph_(graph), context_(context) {}

  Result<bool> run() {
    number();
    std::vector<Node*> order;
    for (const auto& node : graph_.nodes()) order.push_back(node.get());
    bool changed = false;
    for (auto it = order.rbegin(); it != order.rend(); ++it) {
      Node* root = *it;
      if (grouped_.contains(root) || !is_fusable(*root)) continue;
      grow(*root);
      if (members_.size() < 2) continue;
      TRY(build(*root));
      changed = true;
    }
    return remove_dead_nodes(graph_) > 0 || changed;
  }

 private:
  void number() {
    int64_t position = 0;
    position_.clear();
    for (const auto& node : graph_.nodes()) position_[node.get()] = position++;
  }

  // Collects the group that ends in `root`, going up.
  void grow(Node& root) {
    root_ = &root;
    members_ = {&root};
    std::vector<Node*> frontier{&root};
    while (!frontier.empty() && members_.size() < kMaxNodes) {
      Node* node = frontier.back();
      frontier.pop_back();
      for (const Value* v : node->inputs()) {
        Node* producer = v->producer();
        if (producer == nullptr || members_.contains(producer) || grouped_.contains(producer) ||
            !is_fusable(*producer) || ends_group(*producer) || !same_shape(*v, *root.output()))
          continue;
        members_.insert(producer);
        if (members_.size() <= kMaxNodes &&
            (is_repeated(*producer) || reads_in_place(*producer, root)) && fits()) {
          frontier.push_back(producer);
          continue;
        }
        members_.erase(producer);
      }
    }
  }

  // Whether the group, moved to the place of its root, still comes before every reader outside
  // that needs the producer: no such reader may lead back into the group.
  bool reads_in_place(const Node& producer, const Node& root) const {
    constexpr size_t kMaxSearch = 200;
    const int64_t end = position_.at(&root);
    std::vector<Node*> pending;
    std::unordered_set<Node*> seen;
    for (const Use& use : producer.output()->uses())
      if (!members_.contains(use.user) && position_.at(use.user) <= end)
        pending.push_back(use.user);
    while (!pending.empty()) {
      const Node* node = pending.back();
      pending.pop_back();
      for (int i = 0; i < node->output_count(); ++i)
        for (const Use& use : node->output(i)->uses()) {
          if (members_.contains(use.user)) return false;
          if (position_.at(use.user) <= end && seen.insert(use.user).second)
            pending.push_back(use.user);
        }
      if (seen.size() > kMaxSearch) return false;
    }
    return true;
  }

  bool is_inner(const Value* v) const {
    return v->producer() != nullptr && members_.contains(v->producer());
  }
  // Scalars become part of the program.
  static bool is_immediate(const Value* v) {
    return v->constant() != nullptr && v->constant()->elements() == 1;
  }
  // Bytes take little time to write and to read, and kernels for sums of bytes round once.
  static bool ends_group(const Node& node) { return node.is("quantize_linear"); }
  // Reading bytes again is cheaper than reading the reals that someone else made of them.
  bool is_repeated(const Node& node) const {
    return &node != root_ && node.is("dequantize_linear");
  }
  bool is_read_outside(const Node& node) const {
    if (graph_.is_output(node.output())) return true;
    for (const Use& use : node.output()->uses())
      if (!members_.contains(use.user)) return true;
    return false;
  }
  bool is_result(const Node& node) const { return !is_repeated(node) && is_read_outside(node); }

  bool fits() const {
    std::unordered_set<const Value*> operands;
    size_t results = 0;
    for (const Node* node : members_) {
      for (const Value* v : node->inputs())
        if (!is_inner(v) && !is_immediate(v)) operands.insert(v);
      results += is_result(*node);
    }
    // A producer that is taken in last may still have readers outside that come in later.
    return operands.size() <= kMaxOperands && results <= kMaxResults;
  }

  // The operand that is computed last, or null: it comes first, where the runtime looks for steps
  // that are computed together.
  Value* last_operand(const std::vector<Node*>& nodes) const {
    Value* last = nullptr;
    for (Node* node : nodes)
      for (Value* v : node->inputs()) {
        if (is_inner(v) || v->constant() != nullptr || !position_.contains(v->producer())) continue;
        if (last == nullptr || position_.at(v->producer()) > position_.at(last->producer()))
          last = v;
      }
    return last;
  }

  Status build(Node& root) {
    std::vector<Node*> nodes(members_.begin(), members_.end());
    std::sort(nodes.begin(), nodes.end(),
              [&](const Node* a, const Node* b) { return position_.at(a) < position_.at(b); });
    auto region = std::make_unique<Graph>("fused");
    std::unordered_map<const Value*, Value*> inside;
    std::vector<Value*> operands, results, region_results;
    std::vector<std::string> origins;
    Firing firing{"fuse-pointwise",
                  root.origins.empty() ? std::string(root.def().name) : root.origins.front()};
    if (Value* const last = last_operand(nodes); last != nullptr) {
      inside[last] = region->add_input(last->type());
      operands.push_back(last);
    }
    for (Node* node : nodes) {
      std::vector<Value*> inputs;
      for (Value* v : node->inputs()) {
        Value*& mapped = inside[v];
        if (mapped == nullptr && is_immediate(v))
          mapped = Builder(*region).constant(*v->constant());
        if (mapped == nullptr) {
          mapped = region->add_input(v->type());
          operands.push_back(v);
        }
        inputs.push_back(mapped);
      }
      Node* copy = TRY(region->add(node->op().clone(), std::move(inputs)));
      copy->origins = node->origins;
      inside[node->output()] = copy->output();
      for (const std::string& name : node->origins)
        if (std::find(origins.begin(), origins.end(), name) == origins.end())
          origins.push_back(name);
      if (is_result(*node)) {
        results.push_back(node->output());
        region_results.push_back(copy->output());
      } else {
        firing.bytes += intermediate_bytes(*node);
      }
    }
    region->set_outputs(region_results);
    std::vector<std::unique_ptr<Graph>> regions;
    regions.push_back(std::move(region));
    Builder builder(graph_, &root);
    builder.set_origins(std::move(origins));
    Node* fused = TRY(builder.node("fused", operands, {}, std::move(regions)));
    grouped_.insert(fused);
    const int64_t place = position_.at(&root);
    bool in_order = true;
    for (const Value* v : results)
      for (const Use& use : v->uses())
        in_order &= members_.contains(use.user) || grouped_.contains(use.user) ||
                    position_.at(use.user) > place;
    for (size_t i = 0; i < results.size(); ++i)
      graph_.replace_all_uses(results[i], fused->output(static_cast<int>(i)));
    for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
      if (is_repeated(**it) && is_read_outside(**it)) continue;
      grouped_.insert(*it);
      position_.erase(*it);
      graph_.erase(*it);
    }
    position_[fused] = place;
    if (!in_order) {
      graph_.sort();
      number();
    }
    firing.nodes = static_cast<int64_t>(nodes.size()) - 1;
    context_.firings.push_back(std::move(firing));
    return {};
  }

  Graph& graph_;
  PassContext& context_;
  std::unordered_map<const Node*, int64_t> position_;
  const Node* root_ = nullptr;
  std::unordered_set<Node*> members_;
  std::unordered_set<const Node*> grouped_;
};

}  // namespace

Result<bool> fuse_pointwise(Graph& graph, PassContext& context) {
  bool changed = false;
  for (const auto& node : graph.nodes())
    if (!node->is("fused"))
      for (const auto& region : node->regions()) changed |= TRY(fuse_pointwise(*region, context));
  changed |= TRY(Fuser(graph, context).run());
  return changed;
}

}  // namespace tenon

#include "quant/rounded_values.h"

#include <algorithm>
#include <array>
#include <span>
#include <unordered_set>

#include "ops/attention.h"
#include "ops/cast.h"
#include "ops/concat.h"
#include "ops/depth_space.h"
#include "ops/expand.h"
#include "ops/norm.h"
#include "ops/pad.h"
#include "ops/pool.h"
#include "ops/reverse.h"
#include "ops/slice.h"
#include "ops/transpose.h"
#include "rewrite/pass.h"

namespace tenon::quant {
namespace {

// The operand of a product that is added to its sums.
constexpr int kAdded = 3;

bool is_real(const Value* v) {
  return !v->type().is_list && v->dtype() == DType::f32;
}

// Whether what the op gives are numbers of its operand, and which of these.
bool moves_elements(const Node& node) {
  if (const auto* pad = node.as<Pad>())
    return pad->mode == PadMode::constant && node.input(2) == nullptr;
  constexpr std::array kNames = {Concat::name,       Split::name,       Slice::name,
                                 StridedSlice::name, Transpose::name,   Expand::name,
                                 Tile::name,         Reverse::name,     MaxPool::name,
                                 DepthToSpace::name, SpaceToDepth::name};
  if (node.is(MaxPool::name) && node.output_count() > 1) return false;
  return node.def().has(kView) || std::ranges::find(kNames, node.def().name) != kNames.end();
}
// How many operands, from the first on, the elements are of.
int moved_operands(const Node& node) {
  if (node.is(Attention::name)) return 3;
  return node.is(Concat::name) ? node.input_count() : 1;
}
// What reads few of the elements.
bool selects(const Node& node) {
  return node.is(Slice::name) || node.is(StridedSlice::name);
}

bool is_elementwise(const Node& node) {
  return node.output_count() == 1 && (node.def().has(kPointwise) || node.is(BatchNorm::name));
}
bool is_norm(const Node& node) {
  return node.is(LayerNorm::name) || node.is(RmsNorm::name);
}
// Kernels read its operand in bf16.
bool averages(const Node& node) {
  return node.is(AvgPool::name) || node.is("mean");
}

class Keeper {
 public:
  Keeper(Graph& graph, RoundedValues& rounded, const std::vector<const Node*>& products)
      : graph_(graph), rounded_(rounded), products_(products.begin(), products.end()) {}

  Status run() {
    std::vector<Node*> order;
    for (const auto& node : graph_.nodes()) {
      position_[node.get()] = order.size();
      order.push_back(node.get());
    }
    for (auto it = order.rbegin(); it != order.rend(); ++it)
      if (moves_elements(**it) ? moves_rounded(**it) : attends_rounded(**it)) moves_.insert(*it);
    for (Node* node : order) {
      if (products_.contains(node) && is_worth_it(*node->output()) &&
          is_read_rounded(*node->output()))
        TRY(keep(*node->output()));
      if (moves_.contains(node)) TRY(move(*node));
    }
    for (auto it = order.rbegin(); it != order.rend(); ++it)
      if (moves_.contains(*it)) graph_.erase(*it);
    add_rounded();
    remove_dead_nodes(graph_);
    return {};
  }

 private:
  bool is_rounding(const Node* user, const Value& x) const {
    const auto found = rounded_.find(&x);
    return found != rounded_.end() && found->second->producer() == user;
  }
  bool is_moved(const Use& use) const {
    return moves_.contains(use.user) && use.index < moved_operands(*use.user);
  }
  bool adds(const Use& use) const { return use.index == kAdded && products_.contains(use.user); }

  // Whether anything else reads x that gains by reading it rounded: to compute with few numbers
  // takes as long in f32.
  bool is_worth_it(const Value& x) const {
    constexpr int64_t kLeast = 16 << 10;
    int64_t elements = 1;
    for (int d = 0; d < x.shape().rank(); ++d) elements *= x.shape()[d].size_or(1);
    bool is_read = false, is_computed_with = false;
    for (const Use& use : x.uses()) {
      if (is_rounding(use.user, x)) continue;
      is_read = true;
      is_computed_with |= !adds(use) && !moves_.contains(use.user);
    }
    return is_read && (elements >= kLeast || !is_computed_with);
  }

  bool is_read_rounded(const Value& x) const {
    if (graph_.is_output(&x) || x.uses().empty() || !x.shape().ranked()) return false;
    int chains = 0, sums = 0, norms = 0;
    for (const Use& use : x.uses()) {
      const Node& user = *use.user;
      if (is_rounding(&user, x)) continue;
      if (adds(use))
        ++sums;
      else if (is_elementwise(user))
        ++chains;
      else if (is_norm(user) && use.index == 0)
        ++norms;
      else if (!is_moved(use) && !averages(user))
        return false;
    }
    // Of a sum that is normalised for a branch and added to what that gives, block after block,
    // the errors would add up.
    return chains <= 1 && (norms == 0 || sums + chains == 0);
  }

  bool moves_rounded(const Node& node) const {
    for (int i = 0; i < node.output_count(); ++i)
      if (!is_real(node.output(i)) || !is_read_rounded(*node.output(i))) return false;
    return node.is(Concat::name) || is_real(node.input(0));
  }

  // Attention between products multiplies in bf16, too; where anything else reads what it gives all
  // of it stays f32.
  bool attends_rounded(const Node& node) const {
    const Shape* q = node.is(Attention::name) ? &node.input(0)->shape() : nullptr;
    if (q == nullptr || !q->ranked() || !(*q)[3].known() || (*q)[3].size() % 2 != 0) return false;
    const Value& y = *node.output();
    return is_real(&y) && is_read_rounded(y) &&
           std::ranges::all_of(
               y.uses(),
               [&](const Use& use) { return is_rounding(use.user, y) || is_moved(use); }) &&
           std::ranges::all_of(std::span(node.inputs()).first(3),
                               [&](const Value* x) { return is_of_product(x); });
  }
  // Whether a product in bf16 gives x, perhaps moved or, as positions are put into queries,
  // computed with element by element.
  bool is_of_product(const Value* x, int steps = 10) const {
    const Node* node = x == nullptr ? nullptr : x->producer();
    if (node == nullptr || steps == 0) return false;
    if (products_.contains(node)) return true;
    if (moves_elements(*node)) return is_of_product(node->input(0), steps - 1);
    return is_elementwise(*node) && std::ranges::any_of(node->inputs(), [&](const Value* v) {
             return is_of_product(v, steps - 1);
           });
  }

  bool is_of_bf16(const Value* x) const {
    return products_.contains(x->producer()) || moves_.contains(x->producer());
  }
  // Whether a product reads x rounded, perhaps moved.
  bool is_wanted_rounded(const Value& x) const {
    return std::ranges::any_of(x.uses(), [&](const Use& use) {
      return is_rounding(use.user, x) || adds(use) || (is_moved(use) && is_wanted_of(*use.user));
    });
  }
  bool is_wanted_of(const Node& node) const {
    for (int i = 0; i < node.output_count(); ++i)
      if (is_wanted_rounded(*node.output(i))) return true;
    return false;
  }
  // Whether it is better to round before moving: the operand is rounded anyway, or a product wants
  // what is moved, and nothing else the operand in f32 unless it comes of products. Not else: what
  // is moved may be compared with what is not, as the peaks of a map are found.
  bool gains(const Node& node) const {
    if (node.is(Attention::name)) return true;
    if (node.is(Concat::name))
      return std::ranges::any_of(node.inputs(), [&](const Value* x) { return is_of_bf16(x); });
    const Value* x = node.input(0);
    if (kept_.contains(x) || moves_.contains(x->producer())) return true;
    const bool alone = x->uses().size() == 1 && !graph_.is_output(x) && !selects(node) &&
                       x->constant() == nullptr && x->producer() != nullptr;
    return (alone || products_.contains(x->producer())) && is_wanted_of(node);
  }

  void replace(const Value& x, Value* y) {
    Value*& known = rounded_[&x];
    if (known != nullptr) {
      Node* before = known->producer();
      graph_.replace_all_uses(known, y);
      graph_.erase(before);
    }
    known = y;
  }

  // x rounded before `place`, or earlier.
  Result<Value*> rounded_at(Value& x, Node& place) {
    const auto known = rounded_.find(&x);
    if (known != rounded_.end() && position_[known->second->producer()] <= position_[&place])
      return known->second;
    Builder builder(graph_, &place);
    if (x.producer() != nullptr) builder.set_origins(x.producer()->origins);
    Value* y = TRY(builder.op("cast", {&x}, {{"to", DType::bf16}}));
    position_[y->producer()] = position_[&place];
    replace(x, y);
    return y;
  }

  // All that read x read it rounded.
  Status keep(Value& x) {
    kept_.insert(&x);
    const std::vector<Use> uses = x.uses();
    Node* first = std::ranges::min_element(uses, {}, [&](const Use& use) {
                    return position_[use.user];
                  })->user;
    return read(x, TRY(rounded_at(x, *first)));
  }
  Status read(Value& x, Value* y) {
    std::vector<Use> uses;  // as they are now: they change below
    uses.assign(x.uses().begin(), x.uses().end());
    for (const Use& use : uses) {
      if (use.user == y->producer() || moves_.contains(use.user)) continue;
      if (adds(use)) {
        use.user->set_input(use.index, y);
        continue;
      }
      Builder builder(graph_, use.user);
      builder.set_origins(x.producer()->origins);
      Value* wide = TRY(builder.op("cast", {y}, {{"to", DType::f32}}));
      position_[wide->producer()] = position_[use.user];
      use.user->set_input(use.index, wide);
    }
    return {};
  }

  Status move(Node& node) {
    if (!gains(node)) {
      moves_.erase(&node);
      return {};
    }
    std::vector<Value*> operands = node.inputs();
    for (int i = 0; i < moved_operands(node); ++i)
      operands[static_cast<size_t>(i)] = TRY(rounded_at(*node.input(i), node));
    Builder builder(graph_, &node);
    builder.set_origins(node.origins);
    Node* moves = TRY(builder.add(node.op().clone(), std::move(operands)));
    position_[moves] = position_[&node];
    for (int i = 0; i < node.output_count(); ++i) {
      replace(*node.output(i), moves->output(i));
      TRY(read(*node.output(i), moves->output(i)));
    }
    return {};
  }

  // Where x is rounded by now and else only added to what products give, they add it rounded.
  void add_rounded() {
    std::unordered_set<const Value*> so_far;
    for (const auto& node : graph_.nodes()) {
      if (node->is(Cast::name) && is_rounding(node.get(), *node->input(0)))
        so_far.insert(node->input(0));
      Value* x = products_.contains(node.get()) ? node->input(kAdded) : nullptr;
      if (x == nullptr || !so_far.contains(x) || graph_.is_output(x)) continue;
      if (std::ranges::all_of(
              x->uses(), [&](const Use& use) { return is_rounding(use.user, *x) || adds(use); }))
        node->set_input(kAdded, rounded_[x]);
    }
  }

  Graph& graph_;
  RoundedValues& rounded_;
  std::unordered_set<const Node*> products_;
  std::unordered_set<const Node*> moves_;
  std::unordered_set<const Value*> kept_;  // of products, read rounded by everything
  std::unordered_map<const Node*, size_t> position_;
};

}  // namespace

Status keep_rounded(Graph& graph, RoundedValues& rounded,
                    const std::vector<const Node*>& products) {
  return Keeper(graph, rounded, products).run();
}

}  // namespace tenon::quant

// Loops over the rows of a tensor whose items depend on a row each, as distances to samples are
// written: all rows at once.
#include <algorithm>
#include <vector>

#include "ops/gather.h"
#include "passes/loop.h"
#include "passes/passes.h"
#include "rewrite/match.h"

namespace tenon {
namespace {

// Elements of what is computed for all rows, as far as sizes are known: beyond, the loop needs less
// memory.
constexpr int64_t kMostElements = 1 << 16;

// A value of the body, outside.
struct Mapped {
  Value* value = nullptr;
  bool has_rows = false;  // one for each row, along a first dimension
};

class RowMap {
 public:
  RowMap(Graph& graph, Node& place, const Node& loop)
      : graph_(graph), loop_(loop), builder_(graph, &place) {
    builder_.set_origins(place.origins);
  }

  // `item` for all rows; null where it is not one item of each.
  Result<Value*> run(const Value* item) {
    const Mapped all = TRY(map(item));
    bool ends_early = false;
    if (all.value != nullptr && all.has_rows && loop_.runs(rows_, nullptr, ends_early) &&
        !ends_early)
      return all.value;
    for (auto it = made_.rbegin(); it != made_.rend(); ++it) graph_.erase(*it);
    return nullptr;
  }

 private:
  Result<Mapped> map(const Value* v) {
    if (v == nullptr || !v->shape().ranked()) return Mapped{};
    if (const int state = loop_.state_of(v); state >= 0)
      return Mapped{loop_.is_invariant(state) ? loop_.initial(state) : nullptr, false};
    if (v->constant() != nullptr) return Mapped{builder_.constant(*v->constant()), false};
    const auto known = std::ranges::find(mapped_, v, &std::pair<const Value*, Mapped>::first);
    if (known != mapped_.end()) return known->second;
    const Mapped y = TRY(map_result(*v));
    mapped_.emplace_back(v, y);
    return y;
  }

  Result<Mapped> map_result(const Value& v) {
    const Node* node = v.producer();
    if (node == nullptr || node->output_count() != 1) return Mapped{};
    if (const Gather* gather = node->as<Gather>()) return row(*gather, *node);
    constexpr std::string_view kReductions[] = {"sum", "mean", "reduce_max", "reduce_min",
                                                "sum_square"};
    const bool reduces = std::ranges::find(kReductions, node->def().name) != std::end(kReductions);
    if (!reduces && (!node->def().has(kPointwise) || node->def().has(kRandom))) return Mapped{};
    std::vector<Value*> operands;
    Mapped y;
    for (const Value* x : node->inputs()) {
      const Mapped operand = TRY(map(x));
      if (operand.value == nullptr) return Mapped{};
      operands.push_back(operand.value);
      y.has_rows |= operand.has_rows;
      // Rows broadcast against what is larger than one.
      const int missing = v.shape().rank() - x->shape().rank();
      if (!operand.has_rows || reduces || missing <= 0) continue;
      std::vector<int64_t> axes;
      for (int64_t axis = 1; axis <= missing; ++axis) axes.push_back(axis);
      operands.back() = TRY(builder_.op("expand_dims", {operand.value}, {{"axes", axes}}));
      made_.push_back(operands.back()->producer());
    }
    auto op = node->op().clone();
    if (reduces && y.has_rows) {
      auto axes = std::get<std::vector<int64_t>>(op->get(0));
      if (axes.empty()) return Mapped{};
      for (int64_t& axis : axes) axis += axis >= 0 ? 1 : 0;
      TRY(set_attr(*op, "axes", axes));
    }
    y.value = made_.emplace_back(TRY(builder_.add(std::move(op), std::move(operands))))->output();
    int64_t elements = 1;
    for (const Dim& d : y.value->shape().dims()) elements *= d.size_or(1);
    return y.has_rows && elements > kMostElements ? Mapped{} : y;
  }

  // x[counter] is x, for all rows.
  Result<Mapped> row(const Gather& gather, const Node& node) {
    const Value* x = node.input(0);
    const int counter = loop_.state_of(node.input(1));
    if (counter < 0 || !loop_.is_counter(counter) || gather.batch_dims != 0 ||
        !x->shape().ranked() || (gather.axis != 0 && gather.axis != -x->shape().rank()) ||
        !x->shape()[0].known() || (rows_.known() && rows_ != x->shape()[0]))
      return Mapped{};
    const Mapped all = TRY(map(x));
    if (all.has_rows) return Mapped{};
    rows_ = x->shape()[0];
    return Mapped{all.value, true};
  }

  Graph& graph_;
  Loop loop_;
  Builder builder_;
  Dim rows_ = Dim::unknown();
  std::vector<std::pair<const Value*, Mapped>> mapped_;
  std::vector<Node*> made_;
};

}  // namespace

Result<bool> map_loop(Graph& graph, Node& node) {
  if (!node.is("list_stack") || !is(node.input(0), "while")) return false;
  const Node& loop = *node.input(0)->producer();
  if (loop.regions().size() != 2 ||
      static_cast<int>(loop.regions()[1]->outputs().size()) != loop.input_count())
    return false;
  int k = 0;
  while (loop.output(k) != node.input(0)) ++k;
  const Loop states(loop);
  if (!is(states.initial(k), "list_empty") || !is(states.out(k), "list_push") ||
      operand(states.out(k), 0) != states.in(k))
    return false;
  Value* all = TRY(RowMap(graph, node, loop).run(operand(states.out(k), 1)));
  if (all == nullptr || !is_compatible(node.output()->type(), all->type())) return false;
  replace_node(graph, node, all);
  return true;
}

}  // namespace tenon

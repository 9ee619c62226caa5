// Unsigned bytes as signed ones, 128 less: those are what chips multiply, and others they would
// have to copy first.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "ops/byte_lookup.h"
#include "ops/quantize.h"
#include "ops/quantized_product.h"
#include "passes/bytes.h"
#include "passes/passes.h"

namespace tenon {
namespace {

constexpr int64_t kShift = 128;
enum Operand : int { kX = 0, kZero = 2, kYZero = 7 };  // kZero: also of x in products

bool is_product(const Node& node) {
  return node.as<QuantizedConv>() != nullptr || node.as<QuantizedMatmul>() != nullptr;
}

bool is_unsigned(const Value* v) {
  return v != nullptr && !v->type().is_list && v->dtype() == DType::u8;
}

bool has_known_zero(const Node& node, int operand) {
  const Value* zero = node.input(operand);
  const bool quantises = node.is(QuantizeLinear::name) || node.is(DequantizeLinear::name);
  if (quantises && !is_single(node.input(1))) return false;
  return zero == nullptr || (zero->constant() != nullptr && zero->constant()->elements() == 1);
}

bool is_data(const Node& mover, int operand) {
  return operand == kX || mover.is("concat");
}

class Signer {
 public:
  explicit Signer(Graph& graph) : graph_(graph) {}

  Result<bool> run() {
    for (const auto& node : graph_.nodes())
      for (int i = 0; i < node->output_count(); ++i) {
        Value* v = node->output(i);
        if (is_unsigned(v) && !graph_.is_output(v) && is_made(*node, i)) chosen_.insert(v);
      }
    while (drop_unsuited()) {
    }
    if (chosen_.empty()) return false;
    std::vector<Node*> nodes;
    for (const auto& node : graph_.nodes()) nodes.push_back(node.get());
    for (Node* node : nodes)
      if (touches(*node)) TRY(rebuild(*node));
    remove_dead_nodes(graph_);
    return true;
  }

 private:
  bool is_chosen(const Value* v) const { return chosen_.contains(v); }

  // Whether a node can make this result of signed bytes.
  static bool is_made(const Node& node, int output) {
    if (node.is(QuantizeLinear::name)) return has_known_zero(node, kZero);
    if (is_product(node)) return has_known_zero(node, kYZero);
    if (node.as<ByteLookup>() != nullptr) return node.input(1)->constant() != nullptr;
    if (node.is("fused")) {
      const Value* v = node.regions()[0]->outputs()[static_cast<size_t>(output)];
      return v->producer() != nullptr && v->producer()->is(QuantizeLinear::name) &&
             v->uses().empty() && has_known_zero(*v->producer(), kZero);
    }
    return moves_elements(node) && (!node.is("pad") || has_known_zero(node, kZero));
  }

  // Whether a node can take signed bytes there.
  static bool is_taken(const Use& use) {
    const Node& node = *use.user;
    if (node.is(DequantizeLinear::name)) return use.index == kX && has_known_zero(node, kZero);
    if (is_product(node)) return use.index == kX && has_known_zero(node, kZero);
    if (node.as<ByteLookup>() != nullptr) return use.index == kX;
    if (node.is("fused")) {
      const Value* inner = node.regions()[0]->inputs()[static_cast<size_t>(use.index)].get();
      return std::ranges::all_of(inner->uses(), [](const Use& u) {
        return u.index == kX && u.user->is(DequantizeLinear::name) &&
               has_known_zero(*u.user, kZero);
      });
    }
    return moves_elements(node) && is_data(node, use.index);
  }

  // What is moved is of one type before and after.
  bool is_consistent(const Node& mover) const {
    for (int i = 0; i < mover.output_count(); ++i)
      if (!is_chosen(mover.output(i))) return false;
    for (int i = 0; i < mover.input_count(); ++i)
      if (is_data(mover, i) && mover.input(i)->constant() == nullptr && !is_chosen(mover.input(i)))
        return false;
    return true;
  }

  bool drop_unsuited() {
    return std::erase_if(chosen_, [&](const Value* v) {
             const Node& producer = *v->producer();
             const bool is_moved = !producer.is("fused") && moves_elements(producer);
             if (is_moved && !is_consistent(producer)) return true;
             return !std::ranges::all_of(v->uses(), [&](const Use& use) {
               const bool moves = !use.user->is("fused") && moves_elements(*use.user);
               return is_taken(use) && (!moves || is_consistent(*use.user));
             });
           }) > 0;
  }

  bool touches(const Node& node) const {
    if (std::ranges::any_of(node.inputs(), [&](const Value* v) { return is_chosen(v); }))
      return true;
    for (int i = 0; i < node.output_count(); ++i)
      if (is_chosen(node.output(i))) return true;
    return false;
  }

  static Value* signed_zero(Builder& b, const Value* zero) {
    const int64_t at = zero == nullptr ? 0 : zero->constant()->int_at(0);
    return b.constant(Tensor::scalar(static_cast<int8_t>(at - kShift)));
  }

  static Result<Value*> signed_constant(Builder& b, const Tensor& t) {
    Tensor out = TRY(Tensor::allocate(DType::i8, t.dims()));
    for (int64_t i = 0; i < t.elements(); ++i)
      out.mutable_data<int8_t>()[i] = static_cast<int8_t>(t.int_at(i) - kShift);
    return b.constant(std::move(out));
  }

  // The same node with another zero point.
  static Result<Node*> with_zero(Builder& b, const Node& node, std::vector<Value*> operands,
                                 int at) {
    operands.resize(std::max(operands.size(), static_cast<size_t>(at) + 1), nullptr);
    operands[static_cast<size_t>(at)] = signed_zero(b, node.input(at));
    auto op = node.op().clone();
    if (const auto* quantise = node.as<QuantizeLinear>())
      op = make_op(QuantizeLinear{.axis = quantise->axis});  // of the type of zero
    return b.add(std::move(op), std::move(operands));
  }

  Status rebuild(Node& node) {
    Builder b(graph_, &node);
    b.set_origins(node.origins);
    std::vector<Value*> operands = node.inputs();
    for (Value*& v : operands)
      if (is_chosen(v)) v = now_.at(v);
    const bool takes = is_chosen(node.input(kX)), makes = is_chosen(node.output());
    Node* made = nullptr;
    if (node.is("fused")) {
      made = TRY(rebuild_fused(b, node, std::move(operands)));
    } else if (node.is(QuantizeLinear::name) || node.is(DequantizeLinear::name)) {
      made = TRY(with_zero(b, node, std::move(operands), kZero));
    } else if (is_product(node)) {
      if (takes) operands[kZero] = signed_zero(b, node.input(kZero));
      if (makes) operands[kYZero] = signed_zero(b, node.input(kYZero));
      made = TRY(b.add(node.op().clone(), std::move(operands)));
    } else if (node.as<ByteLookup>() != nullptr) {
      if (makes) operands[1] = TRY(signed_constant(b, *node.input(1)->constant()));
      made = TRY(b.add(node.op().clone(), std::move(operands)));
    } else {
      for (int i = 0; i < node.input_count(); ++i)
        if (is_data(node, i) && node.input(i)->constant() != nullptr)
          operands[static_cast<size_t>(i)] = TRY(signed_constant(b, *node.input(i)->constant()));
      made = node.is("pad") ? TRY(with_zero(b, node, std::move(operands), kZero))
                            : TRY(b.add(node.op().clone(), std::move(operands)));
    }
    for (int i = 0; i < node.output_count(); ++i) {
      if (is_chosen(node.output(i)))
        now_[node.output(i)] = made->output(i);
      else
        graph_.replace_all_uses(node.output(i), made->output(i));
    }
    return {};
  }

  Result<Node*> rebuild_fused(Builder& b, const Node& node, std::vector<Value*> operands) {
    auto region = node.regions()[0]->clone();
    const auto change_zero = [&](Node& inner) -> Status {
      Builder inside(*region, &inner);
      inside.set_origins(inner.origins);
      const Node* with = TRY(with_zero(inside, inner, inner.inputs(), kZero));
      region->replace_all_uses(inner.output(), with->output());
      return {};
    };
    for (int i = 0; i < node.input_count(); ++i) {
      if (!is_chosen(node.input(i))) continue;
      Value* inner = region->inputs()[static_cast<size_t>(i)].get();
      TensorType type = inner->type();
      type.dtype = DType::i8;
      inner->set_type(std::move(type));
      for (const Use& use : std::vector<Use>(inner->uses())) TRY(change_zero(*use.user));
    }
    for (int i = 0; i < node.output_count(); ++i)
      if (is_chosen(node.output(i)))
        TRY(change_zero(*region->outputs()[static_cast<size_t>(i)]->producer()));
    remove_dead_nodes(*region);
    std::vector<std::unique_ptr<Graph>> regions;
    regions.push_back(std::move(region));
    return b.add(node.op().clone(), std::move(operands), std::move(regions));
  }

  Graph& graph_;
  std::unordered_set<const Value*> chosen_;
  std::unordered_map<const Value*, Value*> now_;  // what there is instead
};

}  // namespace

Result<bool> use_signed_bytes(Graph& graph, PassContext&) {
  return Signer(graph).run();
}

}  // namespace tenon

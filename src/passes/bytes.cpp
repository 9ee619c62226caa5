// What lies between a dequantisation and a quantisation as work on bytes. Models that arrive
// quantised have such a pair around every op.
#include "passes/bytes.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "ops/byte_lookup.h"
#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/pad.h"
#include "ops/quantize.h"
#include "ops/resize.h"
#include "passes/passes.h"

namespace tenon {

bool is_byte(DType t) {
  return t == DType::i8 || t == DType::u8;
}

bool is_single(const Value* v) {
  return v->shape().is_static() && v->shape().rank() <= 1 && v->shape().elements() == 1;
}

namespace {

bool has_constant_parameters(const Node& node) {
  const Value *scale = node.input(1), *zero = node.input(2);
  return is_single(scale) && scale->constant() != nullptr && scale->dtype() == DType::f32 &&
         (zero == nullptr || (is_single(zero) && zero->constant() != nullptr));
}

}  // namespace

bool quantises_by_constants(const Node* node) {
  return node != nullptr && node->is(QuantizeLinear::name) && is_byte(node->output()->dtype()) &&
         node->input(0)->dtype() == DType::f32 && has_constant_parameters(*node) &&
         node->input(1)->constant()->real_at(0) > 0;
}

bool dequantises_by_constants(const Node* node) {
  return node != nullptr && node->is(DequantizeLinear::name) && is_byte(node->input(0)->dtype()) &&
         node->output()->dtype() == DType::f32 && has_constant_parameters(*node);
}

bool moves_elements(const Node& node) {
  constexpr std::string_view kMoves[] = {
      "max_pool",       "reshape",        "expand_dims", "squeeze", "identity",     "transpose",
      "slice",          "split",          "concat",      "pad",     "reverse",      "expand",
      "depth_to_space", "space_to_depth", "tile",        "gather",  "strided_slice"};
  if (const auto* resize = node.as<Resize>())
    return resize->mode == ResizeMode::nearest &&
           resize->coordinate != ResizeCoordinate::tf_crop_and_resize;
  return std::ranges::find(kMoves, node.def().name) != std::end(kMoves);
}

bool becomes_integers(const Value* v) {
  // Moves part and meet again: each value is looked at once.
  std::unordered_set<const Value*> seen{v};
  std::vector<const Value*> left{v};
  while (!left.empty()) {
    const Value* value = left.back();
    left.pop_back();
    for (const Use& use : value->uses()) {
      const Node& user = *use.user;
      if (user.as<Conv>() != nullptr || user.as<Matmul>() != nullptr) {
        if (use.index < 2) return true;
      } else if (user.is(QuantizeLinear::name)) {
        if (use.index == 0 && is_byte(user.output()->dtype())) return true;
      } else if (moves_elements(user) && (use.index == 0 || user.is("concat"))) {
        for (int i = 0; i < user.output_count(); ++i)
          if (seen.insert(user.output(i)).second) left.push_back(user.output(i));
      }
    }
  }
  return false;
}

namespace {

Tensor as_scalar(const Value& v) {
  return v.constant()->reshaped({});
}

// Parameters of one element are scalars, which is what pointwise fusion takes.
Result<bool> scalar_parameters(Graph& graph, Node& node) {
  if (!quantises_by_constants(&node) && !dequantises_by_constants(&node)) return false;
  Builder builder(graph, &node);
  bool changed = false;
  for (const int i : {1, 2})
    if (Value* const v = node.input(i); v != nullptr && v->shape().rank() == 1) {
      node.set_input(i, builder.constant(as_scalar(*v)));
      changed = true;
    }
  return changed;
}

// The zero point of unsigned bytes that are 128 more than those of `zero`.
Value* unsigned_zero(Builder& builder, const Value* zero) {
  const int64_t signed_zero = zero == nullptr ? 0 : zero->constant()->int_at(0);
  return builder.constant(Tensor::scalar(static_cast<uint8_t>(signed_zero + 128)));
}

// Products read unsigned bytes where they lie, signed ones only after a copy.
Result<bool> use_unsigned(Graph& graph, Node& node) {
  if (!quantises_by_constants(&node) || node.output()->dtype() != DType::i8 ||
      node.output()->uses().empty() || graph.is_output(node.output()))
    return false;
  const std::vector<Use> uses = node.output()->uses();
  if (!std::ranges::all_of(uses, [](const Use& use) {
        return use.index == 0 && dequantises_by_constants(use.user);
      }))
    return false;
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  Value* bytes = TRY(builder.op(
      QuantizeLinear{}, {node.input(0), node.input(1), unsigned_zero(builder, node.input(2))}));
  for (const Use& use : uses) {
    Builder at_use(graph, use.user);
    at_use.set_origins(use.user->origins);
    Value* real = TRY(at_use.op(DequantizeLinear{}, {bytes, use.user->input(1),
                                                     unsigned_zero(at_use, use.user->input(2))}));
    graph.replace_all_uses(use.user->output(), real);
  }
  return true;
}

// What a quantisation gives as a function of the bytes of one tensor.
class Table {
 public:
  // Null: there is no such tensor.
  Value* base_of(const Node& quantise) {
    root_ = &quantise;
    return follow(quantise.input(0)) ? base_ : nullptr;
  }

  // Its results for all bytes in turn.
  Result<Tensor> results() {
    Tensor bytes = TRY(Tensor::allocate(base_->dtype(), std::vector<int64_t>{256}));
    const int lowest = base_->dtype() == DType::i8 ? -128 : 0;
    for (int i = 0; i < 256; ++i)
      static_cast<uint8_t*>(bytes.mutable_raw())[i] = static_cast<uint8_t>(lowest + i);
    known_[base_] = bytes;
    return value_of(*root_->output());
  }

 private:
  static constexpr size_t kMostNodes = 64;

  bool follow(Value* v) {
    if (v->constant() != nullptr) return v->constant()->elements() == 1;
    Node* node = v->producer();
    if (node == nullptr || v->type().is_list) return false;
    if (!seen_.insert(node).second) return true;
    if (seen_.size() > kMostNodes) return false;
    if (dequantises_by_constants(node)) return follow_bytes(node->input(0));
    if (!node->def().has(kPointwise) || node->def().has(kRandom) || node->output_count() != 1 ||
        node->input_count() == 0 || (v->dtype() != DType::f32 && v->dtype() != DType::boolean))
      return false;
    return std::ranges::all_of(node->inputs(), [&](Value* x) { return x != nullptr && follow(x); });
  }

  // Bytes that are looked up by others are a function of those.
  bool follow_bytes(Value* v) {
    while (v->producer() != nullptr && v->producer()->is(ByteLookup::name) &&
           v->producer()->input(1)->constant() != nullptr) {
      seen_.insert(v->producer());
      v = v->producer()->input(0);
    }
    if (base_ == nullptr && v->constant() == nullptr && v->shape() == root_->output()->shape())
      base_ = v;
    return base_ == v;
  }

  Result<Tensor> value_of(const Value& v) {
    if (const auto it = known_.find(&v); it != known_.end()) return it->second;
    if (const Tensor* constant = v.constant())
      return constant->elements() == 1 ? constant->reshaped({}) : *constant;
    const Node& node = *v.producer();
    std::vector<Tensor> operands;
    for (const Value* x : node.inputs())
      operands.push_back(x == nullptr ? Tensor() : TRY(value_of(*x)));
    return known_[&v] = TRY(evaluate(node.op(), operands))[0];
  }

  const Node* root_ = nullptr;
  Value* base_ = nullptr;
  std::unordered_set<const Node*> seen_;
  std::unordered_map<const Value*, Tensor> known_;
};

bool is_identity(const Tensor& table, DType from) {
  if (table.dtype() != from) return false;
  const int64_t lowest = from == DType::i8 ? -128 : 0;
  for (int64_t i = 0; i < table.elements(); ++i)
    if (table.int_at(i) != lowest + i) return false;
  return true;
}

Result<bool> use_table(Graph& graph, Node& node) {
  if (!quantises_by_constants(&node)) return false;
  Table table;
  Value* const base = table.base_of(node);
  if (base == nullptr) return false;
  const Tensor results = TRY(table.results());
  if (results.elements() != 256) return false;
  if (is_identity(results, base->dtype())) {
    graph.replace_all_uses(node.output(), base);
    return true;
  }
  Builder builder(graph, &node);
  builder.set_origins(node.origins);
  graph.replace_all_uses(node.output(),
                         TRY(builder.op(ByteLookup{}, {base, builder.constant(results)})));
  return true;
}

// Each part of a concatenation is quantised for itself: mostly it is bytes already.
Result<bool> quantise_parts(Graph& graph, Node& node) {
  if (!quantises_by_constants(&node)) return false;
  const Node* concat = node.input(0)->producer();
  if (concat == nullptr || !concat->is("concat") || !has_single_use(graph, node.input(0)))
    return false;
  if (!std::ranges::all_of(concat->inputs(), [](const Value* v) {
        return v->constant() != nullptr || dequantises_by_constants(v->producer());
      }))
    return false;
  Builder builder(graph, &node);
  builder.set_origins(merge_origins({concat, &node}));
  std::vector<Value*> parts;
  for (Value* v : concat->inputs())
    parts.push_back(
        TRY(builder.add(node.op().clone(), {v, node.input(1), node.input(2)}))->output());
  graph.replace_all_uses(node.output(),
                         TRY(builder.add(concat->op().clone(), std::move(parts)))->output());
  return true;
}

constexpr Rule kRules[] = {
    {"integer-scalars", "scales and zero points of one element are scalars", scalar_parameters},
    {"integer-unsigned", "dequantize(quantize(x)) by signed bytes = the same by unsigned ones",
     use_unsigned},
    {"integer-table", "quantize(f(dequantize(x))) = byte_lookup(x), or x where it is that",
     use_table},
    {"integer-concat", "quantize(concat(dequantize(x), …)) = concat(quantize(dequantize(x)), …)",
     quantise_parts},
};

}  // namespace

std::span<const Rule> byte_rules() {
  return kRules;
}

}  // namespace tenon

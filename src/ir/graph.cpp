#include "ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ops/constant.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Sizes that no tensor can have are found where they arise, by what is known of the shape.
Status check_size(const TensorType& type) {
  if (type.is_none() || type.is_list || !type.shape.ranked()) return {};
  std::vector<int64_t> known;
  for (const Dim d : type.shape.dims())
    if (d.known()) known.push_back(d.size());
  if (checked_elements(known, dtype_size(type.dtype)).ok()) return {};
  return invalid_model(
      fmt::format("its result {} is larger than a tensor can be ({} GiB); check the sizes in the "
                  "model and those given with --input-shape",
                  type.to_string(), kMaxTensorBytes >> 30));
}

}  // namespace

const Tensor* Value::constant() const {
  if (producer_ == nullptr) return nullptr;
  const auto* c = producer_->as<Constant>();
  return c == nullptr ? nullptr : &c->value;
}

void Node::set_input(int i, Value* value) {
  Value*& slot = inputs_[static_cast<size_t>(i)];
  if (slot != nullptr) std::erase(slot->uses_, Use{this, i});
  slot = value;
  if (value != nullptr) value->uses_.push_back({this, i});
}

Value* Graph::add_input(TensorType type, std::string input_name) {
  auto value = std::make_unique<Value>();
  value->type_ = std::move(type);
  value->index_ = static_cast<int>(inputs_.size());
  value->name = std::move(input_name);
  inputs_.push_back(std::move(value));
  return inputs_.back().get();
}

bool Graph::is_output(const Value* value) const {
  return std::find(outputs_.begin(), outputs_.end(), value) != outputs_.end();
}

Result<Node*> Graph::add(std::unique_ptr<Op> op, std::vector<Value*> inputs,
                         std::vector<std::unique_ptr<Graph>> regions, Node* before) {
  auto node = std::make_unique<Node>();
  node->op_ = std::move(op);
  node->regions_ = std::move(regions);
  node->graph_ = this;
  node->inputs_ = std::move(inputs);
  while (!node->inputs_.empty() && node->inputs_.back() == nullptr) node->inputs_.pop_back();
  const OpDef& def = node->def();
  if (!def.inputs.accepts(node->input_count()))
    return invalid_model(
        fmt::format("op '{}' does not take {} operands", def.name, node->input_count()));
  TRY(infer(*node));
  Node* raw = node.get();
  for (int i = 0; i < raw->input_count(); ++i)
    if (Value* v = raw->input(i)) v->uses_.push_back({raw, i});
  const auto position = before == nullptr ? nodes_.end() : before->position_;
  raw->position_ = nodes_.insert(position, std::move(node));
  if (journal_ != nullptr) journal_->push_back(raw);
  return raw;
}

Result<TensorTypes> Graph::infer_types(const Node& node, std::optional<SymInts>* ints) {
  std::vector<OperandInfo> operands(node.inputs_.size());
  for (size_t i = 0; i < operands.size(); ++i)
    if (const Value* v = node.inputs_[i])
      operands[i] = {v->type_, v->constant(), v->ints_ ? &*v->ints_ : nullptr};
  std::vector<TensorTypes> region_results;
  for (const auto& region : node.regions_) {
    TensorTypes types;
    for (const Value* v : region->outputs()) types.push_back(v->type());
    region_results.push_back(std::move(types));
  }
  const InferContext context(operands, region_results);
  TensorTypes types = TRY(node.op_->infer(context));
  for (const TensorType& type : types) TRY(check_size(type));
  if (ints != nullptr) *ints = node.op_->infer_ints(context);
  return types;
}

Status Graph::infer(Node& node) {
  std::optional<SymInts> ints;
  TensorTypes types = TRY(infer_types(node, &ints));
  while (node.outputs_.size() < types.size()) {
    auto value = std::make_unique<Value>();
    value->producer_ = &node;
    value->index_ = static_cast<int>(node.outputs_.size());
    node.outputs_.push_back(std::move(value));
  }
  for (size_t i = 0; i < types.size(); ++i) node.outputs_[i]->type_ = std::move(types[i]);
  if (!node.outputs_.empty()) node.outputs_[0]->ints_ = std::move(ints);
  return {};
}

namespace {

// Gives the variables of a loop the types they begin with, as far as the body hands these on: a
// size that changes from turn to turn is open, all others are what is known before the loop.
// Errors: those of inference, with what the first turns have; the loop need not turn at all.
Status narrow_loop(Node& loop, TensorTypes types) {
  for (bool grows = true; grows;) {
    for (const auto& region : loop.regions()) {
      for (size_t i = 0; i < types.size(); ++i) region->inputs()[i]->set_type(types[i]);
      TRY(region->infer_all());
    }
    grows = false;
    const auto& next = loop.regions()[1]->outputs();
    for (size_t i = 0; i < types.size(); ++i) {
      Shape joined = join_shapes(types[i].shape, next[i]->type().shape);
      if (joined == types[i].shape) continue;
      types[i].shape = std::move(joined);
      grows = true;
    }
  }
  return {};
}

Status narrow_loop(Node& loop) {
  const auto n = static_cast<size_t>(loop.input_count());
  if (loop.regions().size() != 2 || loop.regions()[1]->outputs().size() != n) return {};
  TensorTypes types, before;
  for (size_t i = 0; i < n; ++i) {
    const Value* v = loop.input(static_cast<int>(i));
    for (const auto& region : loop.regions())
      if (v == nullptr || region->inputs().size() != n) return {};
    types.push_back(v->type());
    before.push_back(loop.regions()[1]->inputs()[i]->type());
  }
  if (types == before || narrow_loop(loop, types).ok()) return {};
  for (const auto& region : loop.regions())
    for (size_t i = 0; i < n; ++i) region->inputs()[i]->set_type(before[i]);
  return {};
}

}  // namespace

Status Graph::infer_all() {
  for (const auto& node : nodes_) {
    // What a fused region takes are the node's operands.
    if (node->is("fused") && !node->regions_.empty()) {
      const auto& inner = node->regions_[0]->inputs();
      for (size_t i = 0; i < inner.size() && std::cmp_less(i, node->input_count()); ++i)
        if (const Value* v = node->input(static_cast<int>(i))) inner[i]->set_type(v->type());
    }
    if (node->is("while")) TRY(narrow_loop(*node));
    for (const auto& region : node->regions_) TRY(region->infer_all());
    if (Status s = infer(*node); !s.ok())
      return std::move(s).error().at(node->origins.empty() ? std::string(node->def().name)
                                                           : "node '" + node->origins[0] + "'");
  }
  return {};
}

void Graph::replace_all_uses(Value* from, Value* to) {
  if (from == to) return;
  const std::vector<Use> uses = from->uses_;
  for (const Use& use : uses) use.user->set_input(use.index, to);
  for (Value*& output : outputs_)
    if (output == from) output = to;
  if (to->name.empty()) to->name = from->name;
}

void Graph::erase(Node* node) {
  if (journal_ != nullptr) std::erase(*journal_, node);
  for (const auto& output : node->outputs_) TENON_CHECK(output->uses_.empty());
  for (int i = 0; i < node->input_count(); ++i) node->set_input(i, nullptr);
  nodes_.erase(node->position_);
}

void Graph::sort() {
  std::unordered_set<const Node*> placed;
  std::vector<Node*> order, pending;
  for (const auto& node : nodes_) {
    pending.push_back(node.get());
    while (!pending.empty()) {
      Node* next = pending.back();
      const size_t before = pending.size();
      if (!placed.contains(next))
        for (const Value* v : next->inputs_)
          if (v != nullptr && v->producer_ != nullptr && !placed.contains(v->producer_))
            pending.push_back(v->producer_);
      if (pending.size() > before) continue;
      pending.pop_back();
      if (placed.insert(next).second) order.push_back(next);
    }
  }
  for (Node* node : order) nodes_.splice(nodes_.end(), nodes_, node->position_);
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>(name);
  copy->stage = stage;
  std::unordered_map<const Value*, Value*> map;
  for (const auto& input : inputs_) map[input.get()] = copy->add_input(input->type_, input->name);
  for (const auto& node : nodes_) {
    auto twin = std::make_unique<Node>();
    twin->op_ = node->op_->clone();
    twin->graph_ = copy.get();
    twin->origins = node->origins;
    for (const auto& region : node->regions_) twin->regions_.push_back(region->clone());
    for (const auto& output : node->outputs_) {
      auto value = std::make_unique<Value>(*output);
      value->producer_ = twin.get();
      value->uses_.clear();
      map[output.get()] = value.get();
      twin->outputs_.push_back(std::move(value));
    }
    for (Value* input : node->inputs_) {
      Value* mapped = input == nullptr ? nullptr : map.at(input);
      if (mapped != nullptr)
        mapped->uses_.push_back({twin.get(), static_cast<int>(twin->inputs_.size())});
      twin->inputs_.push_back(mapped);
    }
    Node* raw = twin.get();
    raw->position_ = copy->nodes_.insert(copy->nodes_.end(), std::move(twin));
  }
  for (const Value* output : outputs_) copy->outputs_.push_back(map.at(output));
  return copy;
}

Result<Node*> Builder::add(std::unique_ptr<Op> op, std::vector<Value*> inputs,
                           std::vector<std::unique_ptr<Graph>> regions) {
  Node* node = TRY(graph_.add(std::move(op), std::move(inputs), std::move(regions), before_));
  node->origins = origins_;
  return node;
}

Result<Node*> Builder::node(std::string_view name, std::vector<Value*> inputs,
                            std::vector<Attr> attrs, std::vector<std::unique_ptr<Graph>> regions) {
  auto op = create_op(name);
  if (op == nullptr) return unsupported(fmt::format("there is no op '{}'", name));
  for (Attr& attr : attrs) TRY(set_attr(*op, attr.name, std::move(attr.value)));
  return add(std::move(op), std::move(inputs), std::move(regions));
}

Result<Value*> Builder::op(std::string_view name, std::vector<Value*> inputs,
                           std::vector<Attr> attrs) {
  Node* n = TRY(node(name, std::move(inputs), std::move(attrs)));
  return n->output();
}

Value* Builder::constant(Tensor tensor) {
  auto result = add(make_op(Constant{std::move(tensor)}), {});
  TENON_CHECK(result.ok());
  return (*result)->output();
}

}  // namespace tenon

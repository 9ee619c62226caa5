#include "import/tensorflow/node_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tenon::tf {
namespace {

struct ParsedReference {
  std::string_view node;
  std::string_view output;  // the name of the output argument, in functions
  int64_t index = 0;
  bool valid = true;
};

ParsedReference parse_reference(std::string_view text) {
  ParsedReference r;
  const size_t first = text.find(':');
  r.node = text.substr(0, first);
  if (first == std::string_view::npos) return r;
  std::string_view rest = text.substr(first + 1);
  if (const size_t second = rest.find(':'); second != std::string_view::npos) {
    r.output = rest.substr(0, second);
    rest = rest.substr(second + 1);
  }
  const char* end = rest.data() + rest.size();
  const auto parsed = std::from_chars(rest.data(), end, r.index);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    // "node:output" of a function with a single tensor under that name.
    r.valid = r.output.empty() && !rest.empty();
    r.output = rest;
    r.index = 0;
  }
  if (r.index < 0 || r.index > kMaxOutputs) r.valid = false;
  return r;
}

}  // namespace

NodeGraph::NodeGraph(const std::vector<NodeDef>& nodes, const FunctionDef* function,
                     const FunctionLibrary& library)
    : function_(function), library_(library) {
  if (function != nullptr)
    for (const ArgDef& argument : function->inputs) items_.push_back({nullptr, argument.name});
  arguments_ = static_cast<int>(items_.size());
  for (const NodeDef& node : nodes) items_.push_back({&node, node.name});
  for (size_t i = 0; i < items_.size(); ++i) by_name_.emplace(items_[i].name, static_cast<int>(i));
  for (Item& item : items_) {
    if (item.node == nullptr) continue;
    for (const std::string_view input : item.node->inputs) {
      if (input.starts_with("^")) {
        if (const int control = find(input.substr(1)); control >= 0)
          item.controls.push_back(control);
        continue;
      }
      auto ref = resolve(input);
      item.inputs.push_back(ref.ok() ? *ref : Ref());
    }
  }
  find_loops();
}

int NodeGraph::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? -1 : it->second;
}

Result<Ref> NodeGraph::resolve(std::string_view reference) const {
  const ParsedReference r = parse_reference(reference);
  const int i = find(r.node);
  if (!r.valid || i < 0)
    return invalid_model(fmt::format("'{}' is used but not defined in the {}", reference,
                                     function_ == nullptr ? "graph" : "function"));
  int64_t index = r.index;
  const NodeDef* node = item(i).node;
  if (!r.output.empty() && node != nullptr) {
    if (const FunctionDef* callee = library_.find(node->op)) {
      const auto output = std::ranges::find(callee->outputs, r.output, &ArgDef::name);
      index += output - callee->outputs.begin();
    } else {
      auto offset = output_offset(*node, r.output, library_.find_op(node->op));
      if (!offset.ok())
        return std::move(
            std::move(offset).error().note(fmt::format("while reading '{}'", reference)));
      index += *offset;
    }
  }
  return Ref{i, static_cast<int>(index)};
}

Error NodeGraph::undefined_input(const Item& item, size_t k) const {
  for (const std::string_view input : item.node->inputs)
    if (!input.starts_with("^") && k-- == 0) {
      auto ref = resolve(input);
      if (!ref.ok()) return std::move(ref).error();
    }
  return invalid_model("an input is not defined in the graph");
}

Ref NodeGraph::through_identities(Ref ref) const {
  // No chain is longer than the graph; a cycle ends here too.
  for (size_t steps = 0; ref.defined() && steps < items_.size(); ++steps) {
    const Item& at = item(ref.item);
    if (!is_pass_through(at.op()) || static_cast<size_t>(ref.output) >= at.inputs.size()) break;
    ref = at.inputs[static_cast<size_t>(ref.output)];
  }
  return ref;
}

const FrameLoop* NodeGraph::loop_of_merge(int item) const {
  const auto it = merges_.find(item);
  return it == merges_.end() ? nullptr : it->second;
}

bool NodeGraph::is_loop_switch(int i) const {
  const Item& at = item(i);
  if (at.op() != "Switch" && at.op() != "RefSwitch") return false;
  if (at.inputs.size() != 2) return false;
  const Ref pred = through_identities(at.inputs[1]);
  return pred.defined() && item(pred.item).op() == "LoopCond";
}

void NodeGraph::find_loops() {
  const auto is = [&](Ref r, std::string_view op) {
    if (!r.defined()) return false;
    const std::string_view actual = item(r.item).op();
    return actual == op || (actual.starts_with("Ref") && actual.substr(3) == op);
  };
  std::unordered_map<std::string_view, FrameLoop*> by_frame;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& merge = items_[i];
    if ((merge.op() != "Merge" && merge.op() != "RefMerge") || merge.inputs.size() != 2) continue;
    const size_t enter = is(merge.inputs[0], "Enter") ? 0 : 1;
    if (!is(merge.inputs[enter], "Enter") || !is(merge.inputs[1 - enter], "NextIteration"))
      continue;
    const auto frame = item(merge.inputs[enter].item).node->attrs.get_string("frame_name");
    if (!frame.ok()) continue;
    FrameLoop*& loop = by_frame[*frame];
    if (loop == nullptr) {
      loops_.push_back(std::make_unique<FrameLoop>());
      loop = loops_.back().get();
      loop->name = *frame;
    }
    loop->variables.push_back(
        {static_cast<int>(i), merge.inputs[enter].item, merge.inputs[1 - enter].item});
    merges_[static_cast<int>(i)] = loop;
  }
  for (size_t i = 0; i < items_.size(); ++i) {
    if (!is_loop_switch(static_cast<int>(i))) continue;
    const Ref data = items_[i].inputs[0];
    if (!data.defined()) continue;
    if (const auto it = merges_.find(data.item); it != merges_.end())
      by_frame[it->second->name]->condition = through_identities(items_[i].inputs[1]).item;
  }
}

FunctionLibrary::FunctionLibrary(const std::vector<FunctionDef>& functions,
                                 const std::vector<OpDef>& ops) {
  for (const FunctionDef& f : functions) functions_.emplace(f.name, &f);
  for (const OpDef& op : ops) ops_.emplace(op.name, &op);
}

const OpDef* FunctionLibrary::find_op(std::string_view name) const {
  const auto it = ops_.find(name);
  return it == ops_.end() ? nullptr : it->second;
}

const FunctionDef* FunctionLibrary::find(std::string_view name) const {
  const auto it = functions_.find(name);
  return it == functions_.end() ? nullptr : it->second;
}

const NodeGraph& FunctionLibrary::body(const FunctionDef& function) const {
  auto& body = bodies_[&function];
  if (body == nullptr) body = std::make_unique<NodeGraph>(function.nodes, &function, *this);
  return *body;
}

std::span<const std::string_view> pass_through_ops() {
  static constexpr std::string_view kOps[] = {"CheckNumerics",
                                              "CheckNumericsV2",
                                              "Copy",
                                              "CopyHost",
                                              "DeepCopy",
                                              "EnsureShape",
                                              "GuaranteeConst",
                                              "Identity",
                                              "IdentityN",
                                              "OptimizationBarrier",
                                              "PreventGradient",
                                              "Print",
                                              "RefIdentity",
                                              "Snapshot",
                                              "StopGradient",
                                              "XlaOptimizationBarrier",
                                              "XlaSharding",
                                              "_EagerConst"};
  return kOps;
}

bool is_pass_through(std::string_view op) {
  return std::ranges::find(pass_through_ops(), op) != pass_through_ops().end();
}

}  // namespace tenon::tf

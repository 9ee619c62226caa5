// Calls, branches and loops that are functions: calls are inlined, the others become regions. A
// region sees only its inputs, so what a branch or body reads is handed in; constants, variables
// and tables are repeated inside instead.
#include <fmt/format.h>

#include <algorithm>

#include "import/tensorflow/graph_importer.h"

namespace tenon::tf {
namespace {

// Types of loop variables that go on changing after so many tries lose their shape.
constexpr int kShapeTries = 6;
// Operations on constants that may be done to know a condition.
constexpr int kMaxFolded = 32;

// The value where it is known at import: a constant or shape arithmetic.
std::optional<Tensor> known_value(const Value& value) {
  if (const Tensor* constant = value.constant()) return *constant;
  if (!value.ints() || !is_int(value.dtype()) || !value.shape().is_static()) return std::nullopt;
  auto tensor = Tensor::allocate(value.dtype(), value.shape().sizes());
  if (!tensor.ok() || tensor->elements() != static_cast<int64_t>(value.ints()->size()))
    return std::nullopt;
  for (size_t i = 0; i < value.ints()->size(); ++i) {
    const auto& element = (*value.ints())[i].value;
    if (!element) return std::nullopt;
    if (value.dtype() == DType::i32)
      tensor->mutable_data<int32_t>()[i] = static_cast<int32_t>(*element);
    else if (value.dtype() == DType::i64)
      tensor->mutable_data<int64_t>()[i] = *element;
    else
      return std::nullopt;
  }
  return *tensor;
}

// The values regions take from around them.
class Captured {
 public:
  void add(const Operand& operand) {
    if (operand.kind == Operand::Kind::value && !known_value(*operand.value) &&
        index_.emplace(operand.value, values_.size()).second)
      values_.push_back(operand.value);
  }
  const std::vector<Value*>& values() const { return values_; }
  void add_inputs(Graph& region) const {
    for (const Value* v : values_) region.add_input(v->type(), v->name);
  }
  // What the operand is inside a region.
  Operand inside(Region& region, const Operand& operand) const {
    if (operand.kind != Operand::Kind::value) return operand;
    if (const auto it = index_.find(operand.value); it != index_.end())
      return Operand::of(region.graph.inputs()[it->second].get());
    Value*& constant = region.constants[operand.value];
    if (constant == nullptr)
      constant = Builder(region.graph).constant(*known_value(*operand.value));
    return Operand::of(constant);
  }

 private:
  std::vector<Value*> values_;
  std::unordered_map<const Value*, size_t> index_;
};

Result<Value*> as_condition(Builder& builder, Value* value) {
  if (value->dtype() == DType::boolean || is_int(value->dtype())) return value;
  return builder.op("cast", {value}, {{"to", DType::boolean}});
}

// A list reserved for items that are not known yet: variants in TensorFlow.
bool is_open_list(const TensorType& type) {
  return type.is_list && type.is_none();
}

// The value itself, or such a list for items of this type.
Result<Value*> of_type(Builder& builder, Value* value, const TensorType& type) {
  if (!is_open_list(value->type()) || type.is_none()) return value;
  const Node* reserve = value->producer();
  if (reserve == nullptr || !reserve->is("list_reserve"))
    return unsupported("a list of ragged rows that is filled in several loops");
  return builder.op("list_reserve", {reserve->input(0)},
                    {{"element", TensorType{type.dtype, type.shape}}});
}

Operands failures(size_t n) {
  return n == 1 ? Operands{Operand::failure()}
                : Operands(std::max<size_t>(n, 1), Operand::failure());
}

// What the branches give for one output; nullopt where that is a value to be joined.
Result<std::optional<Operand>> common_result(std::span<const Operands> results, size_t k) {
  bool values = true, same = true;
  for (const Operands& branch : results) {
    if (branch[k].failed()) return std::optional(Operand::failure());
    values = values && branch[k].kind == Operand::Kind::value;
    same = same && branch[k].kind == results[0][k].kind &&
           branch[k].resource == results[0][k].resource;
  }
  if (values) return std::optional<Operand>();
  if (!same) return unsupported("its branches give different variables or tables as one result");
  return std::optional(results[0][k]);
}

}  // namespace

std::optional<Tensor> computed_value(const Value& value, int& budget) {
  if (auto known = known_value(value)) return known;
  const Node* node = value.producer();
  if (node == nullptr || --budget < 0 || !node->def().has_eval || node->def().has(kRandom))
    return std::nullopt;
  std::vector<Tensor> operands;
  for (const Value* input : node->inputs()) {
    if (input == nullptr || input->shape().elements().value_or(16) > 8) return std::nullopt;
    auto operand = computed_value(*input, budget);
    if (!operand) return std::nullopt;
    operands.push_back(std::move(*operand));
  }
  auto results = tenon::evaluate(node->op(), operands, node->output_count());
  if (!results.ok()) return std::nullopt;
  return (*results)[static_cast<size_t>(value.index())];
}

Result<Operands> GraphImporter::call(Region& region, const std::string& prefix,
                                     std::string_view function, const Operands& arguments) {
  const FunctionDef* def = library_.find(function);
  if (def == nullptr)
    return invalid_model(fmt::format("function '{}' is not in the model", function));
  if (std::ranges::find(calls_, def) != calls_.end())
    return invalid_model(fmt::format(
        "function '{}' calls itself; a recursion cannot be compiled, write it as a loop",
        function));
  if (arguments.size() != def->inputs.size())
    return invalid_model(fmt::format("function '{}' takes {} arguments, {} are given", function,
                                     def->inputs.size(), arguments.size()));
  const NodeGraph& body = library_.body(*def);
  Frame frame(body, region, prefix);
  for (size_t i = 0; i < arguments.size(); ++i) frame.results[static_cast<int>(i)] = {arguments[i]};
  std::vector<Ref> outputs;
  for (const ArgDef& output : def->outputs) {
    const auto it = std::ranges::find(def->ret, output.name,
                                      &std::pair<std::string_view, std::string_view>::first);
    if (it == def->ret.end())
      return invalid_model(
          fmt::format("function '{}' does not say what its output '{}' is", function, output.name));
    outputs.push_back(TRY(body.resolve(it->second)));
  }
  calls_.push_back(def);
  auto results = evaluate(frame, outputs);
  calls_.pop_back();
  if (!results.ok())
    return std::move(results).error().note(fmt::format("while importing function '{}'", function));
  return results;
}

Result<Operands> GraphImporter::choose(Frame& frame, const NodeDef& node, std::string_view op,
                                       const Operand& selector, const Operands& arguments,
                                       std::span<const RegionBody> branches) {
  if (branches.empty()) return invalid_model("it has no branches");
  const auto state = TRY(state_among(arguments));
  int budget = kMaxFolded;
  if (selector.kind == Operand::Kind::value)
    if (const auto known = computed_value(*selector.value, budget);
        known && known->elements() == 1 &&
        (known->dtype() == DType::boolean || is_int(known->dtype()))) {
      const auto n = static_cast<int64_t>(branches.size());
      int64_t choice = known->int_at(0);
      if (op == "if") choice = choice != 0 ? 0 : 1;
      return branches[static_cast<size_t>(choice < 0 || choice >= n ? n - 1 : choice)](frame.region,
                                                                                       arguments);
    }
  Captured captured;
  for (const Operand& a : arguments) captured.add(a);
  Operands before;
  for (const Resource* variable : state) {
    before.push_back(Operand::of(TRY(state_value(frame.region, *variable))));
    captured.add(before.back());
  }
  std::vector<std::unique_ptr<Graph>> regions;
  std::vector<Operands> results;
  std::vector<bool> changed(state.size());
  for (const RegionBody& branch : branches) {
    regions.push_back(std::make_unique<Graph>(std::string(op)));
    Region region(*regions.back());
    captured.add_inputs(region.graph);
    Operands inside;
    for (const Operand& a : arguments) inside.push_back(captured.inside(region, a));
    for (size_t s = 0; s < state.size(); ++s)
      region.state[state[s]] = captured.inside(region, before[s]).value;
    const auto at_first = region.state;
    results.push_back(TRY(branch(region, inside)));
    for (size_t s = 0; s < state.size(); ++s) {
      changed[s] = changed[s] || region.state[state[s]] != at_first.at(state[s]);
      results.back().push_back(Operand::of(region.state[state[s]]));
    }
    if (results.back().size() != results[0].size())
      return invalid_model("its branches differ in the number of results");
  }
  Operands outputs;
  bool failed = selector.failed();
  std::vector<std::vector<Value*>> values(branches.size());
  const size_t plain = results[0].size() - state.size();
  for (size_t k = 0; k < results[0].size(); ++k) {
    if (k >= plain && !changed[k - plain]) {
      outputs.push_back(before[k - plain]);
      continue;
    }
    const auto common = TRY(common_result(results, k));
    outputs.push_back(common.value_or(Operand()));
    failed |= outputs.back().failed();
    for (size_t b = 0; !common && b < branches.size(); ++b)
      values[b].push_back(results[b][k].value);
  }
  if (failed) return failures(plain);
  if (selector.kind != Operand::Kind::value) return unsupported("its condition is no tensor");
  for (size_t b = 0; b < branches.size(); ++b) regions[b]->set_outputs(values[b]);
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  std::vector<Value*> operands{TRY(as_condition(builder, selector.value))};
  operands.insert(operands.end(), captured.values().begin(), captured.values().end());
  const Node* made = TRY(builder.node(op, std::move(operands), {}, std::move(regions)));
  int next = 0;
  for (Operand& output : outputs)
    if (output.kind == Operand::Kind::none && next < made->output_count())
      output = Operand::of(made->output(next++));
  for (size_t s = 0; s < state.size(); ++s) frame.region.state[state[s]] = outputs[plain + s].value;
  outputs.resize(plain);
  return outputs;
}

// The variables that are state become loop variables behind the others. Where the condition assigns
// one, it is tested before the loop and at the end of the body, and its outcome is one more
// variable.
Result<Operands> GraphImporter::loop(Frame& frame, const NodeDef& node, const Operands& variables,
                                     const std::vector<bool>& invariant,
                                     const RegionBody& condition, const RegionBody& body) {
  const auto state = TRY(state_among(variables));
  if (state.empty()) return plain_loop(frame, node, variables, invariant, condition, body);
  const auto plain = static_cast<ptrdiff_t>(variables.size());
  const auto count = static_cast<ptrdiff_t>(state.size());
  Operands all = variables;
  std::vector<bool> fixed = invariant, changed(state.size());
  for (const Resource* variable : state) {
    all.push_back(Operand::of(TRY(state_value(frame.region, *variable))));
    fixed.push_back(false);
  }
  // What a part gives for the loop's own variables, then the state behind it.
  const auto with_state = [&](const RegionBody& part, Region& region,
                              const Operands& arguments) -> Result<Operands> {
    for (ptrdiff_t s = 0; s < count; ++s)
      region.state[state[size_t(s)]] = arguments[size_t(plain + s)].value;
    Operands results = TRY(part(region, Operands(arguments.begin(), arguments.begin() + plain)));
    for (const Resource* variable : state) results.push_back(Operand::of(region.state[variable]));
    return results;
  };
  const auto run_body = [&](Region& region, const Operands& arguments) -> Result<Operands> {
    Operands results = TRY(with_state(body, region, arguments));
    for (size_t s = 0; s < state.size() && results.size() == all.size(); ++s)
      changed[s] = results[size_t(plain) + s].value != arguments[size_t(plain) + s].value;
    return results;
  };
  bool assigns = false;
  const auto test = [&](Region& region, const Operands& arguments) -> Result<Operands> {
    Operands results = TRY(with_state(condition, region, arguments));
    for (size_t s = 0; s < state.size() && results.size() > state.size(); ++s)
      assigns = assigns || results[results.size() - state.size() + s].value !=
                               arguments[size_t(plain) + s].value;
    results.resize(results.size() - state.size());
    return results;
  };
  const size_t notes = report_.nodes.size();
  auto tried = plain_loop(frame, node, all, fixed, test, run_body);
  if (assigns) {
    report_.nodes.resize(notes);
    // The state that the condition leaves, then its outcome.
    const auto last_of = [&](Operands results) -> Result<Operands> {
      if (results.size() != state.size() + 1)
        return invalid_model("its condition must have one result");
      std::rotate(results.begin(), results.begin() + 1, results.end());
      return results;
    };
    const Operands first = TRY(last_of(TRY(with_state(condition, frame.region, all))));
    all.resize(size_t(plain));
    all.insert(all.end(), first.begin(), first.end());
    fixed.push_back(false);
    changed.assign(state.size(), true);
    tried = plain_loop(
        frame, node, all, fixed,
        [](Region&, const Operands& arguments) { return Operands{arguments.back()}; },
        [&](Region& region, const Operands& arguments) -> Result<Operands> {
          Operands results = TRY(with_state(body, region, arguments));
          if (results.size() != all.size() - 1)
            return invalid_model("its body must have as many results as the loop variables");
          const Operands next = TRY(last_of(TRY(with_state(condition, region, results))));
          results.resize(size_t(plain));
          results.insert(results.end(), next.begin(), next.end());
          return results;
        });
  }
  Operands results = TRY(std::move(tried));
  for (size_t s = 0; s < state.size() && results.size() == all.size(); ++s)
    if (changed[s] && results[size_t(plain) + s].kind == Operand::Kind::value)
      frame.region.state[state[s]] = results[size_t(plain) + s].value;
  results.resize(size_t(plain));
  return results;
}

Result<Operands> GraphImporter::plain_loop(Frame& frame, const NodeDef& node,
                                           const Operands& variables,
                                           const std::vector<bool>& invariant,
                                           const RegionBody& condition, const RegionBody& body) {
  // What the loop hands on: values that change, or are not known.
  std::vector<size_t> state;
  TensorTypes types;
  bool failed = false;
  for (size_t k = 0; k < variables.size(); ++k) {
    failed |= variables[k].failed();
    if (variables[k].kind != Operand::Kind::value) continue;
    if (invariant[k] && known_value(*variables[k].value)) continue;
    state.push_back(k);
    types.push_back(variables[k].value->type());
  }
  const size_t notes = report_.nodes.size();
  std::unique_ptr<Graph> regions[2];
  for (int attempt = 0;; ++attempt) {
    report_.nodes.resize(notes);
    Operands inside[2], results[2];
    for (const int r : {0, 1}) {
      regions[r] = std::make_unique<Graph>(r == 0 ? "condition" : "body");
      Region region(*regions[r]);
      inside[r] = variables;
      for (size_t s = 0; s < state.size(); ++s)
        inside[r][state[s]] =
            Operand::of(region.graph.add_input(types[s], variables[state[s]].value->name));
      const Captured none;
      for (size_t k = 0; k < variables.size(); ++k)
        if (std::ranges::find(state, k) == state.end())
          inside[r][k] = none.inside(region, variables[k]);
      results[r] = TRY((r == 0 ? condition : body)(region, inside[r]));
      if (results[r].size() != (r == 0 ? 1 : variables.size()))
        return invalid_model(r == 0 ? "its condition must have one result"
                                    : "its body must have as many results as the loop variables");
      for (const Operand& result : results[r]) failed |= result.failed();
      if (r == 0 && !failed) {
        if (results[0][0].value == nullptr) return unsupported("its condition is no tensor");
        Builder builder(region.graph);
        results[0][0].value = TRY(as_condition(builder, results[0][0].value));
      }
    }
    if (failed) return failures(variables.size());
    std::vector<Value*> next;
    bool stable = true;
    for (size_t s = 0; s < state.size(); ++s) {
      const size_t k = state[s];
      const Operand& result = invariant[k] ? inside[1][k] : results[1][k];
      if (result.kind != Operand::Kind::value)
        return unsupported(fmt::format("loop variable {} becomes a handle in the body", k));
      const TensorType& type = result.value->type();
      if (is_open_list(types[s]) && type.is_list && !type.is_none()) {
        types[s] = type;
        stable = false;
        continue;
      }
      if (type.dtype != types[s].dtype || type.is_list != types[s].is_list)
        return invalid_model(fmt::format("loop variable {} is {} and becomes {} in the body", k,
                                         types[s].to_string(), type.to_string()));
      Shape joined = join_shapes(types[s].shape, type.shape);
      if (attempt >= kShapeTries && joined != types[s].shape) joined = Shape::unranked();
      stable = stable && joined == types[s].shape;
      types[s].shape = std::move(joined);
      next.push_back(result.value);
    }
    if (!stable) continue;
    regions[0]->set_outputs({results[0][0].value});
    regions[1]->set_outputs(std::move(next));
    break;
  }
  Builder builder(frame.region.graph);
  builder.set_origins({frame.prefix + std::string(node.name)});
  std::vector<Value*> operands;
  for (size_t s = 0; s < state.size(); ++s)
    operands.push_back(TRY(of_type(builder, variables[state[s]].value, types[s])));
  std::vector<std::unique_ptr<Graph>> bodies;
  for (auto& region : regions) bodies.push_back(std::move(region));
  const Node* made = TRY(builder.node("while", std::move(operands), {}, std::move(bodies)));
  Operands results = variables;
  for (size_t s = 0; s < state.size(); ++s)
    if (!invariant[state[s]]) results[state[s]] = Operand::of(made->output(static_cast<int>(s)));
  return results;
}

bool is_structured_op(std::string_view op) {
  constexpr std::string_view kOps[] = {
      "PartitionedCall", "StatefulPartitionedCall", "BatchFunction", "If",           "StatelessIf",
      "While",           "StatelessWhile",          "Case",          "StatelessCase"};
  return std::ranges::find(kOps, op) != std::end(kOps);
}

Result<Operands> GraphImporter::import_structured(Frame& frame, const NodeDef& node,
                                                  const Operands& inputs) {
  const std::string path = frame.prefix + std::string(node.name) + "/";
  const auto function = [&](std::string_view attr) -> Result<std::string_view> {
    const AttrValue value = TRY(node.attrs.get(attr));
    if (value.kind != AttrValue::Kind::function || value.function.name.empty())
      return invalid_model(fmt::format("attribute '{}' must name a function", attr));
    return value.function.name;
  };
  const auto body = [&](std::string_view name, std::string_view part) -> RegionBody {
    return [this, name, prefix = path + std::string(part)](Region& region, const Operands& args) {
      return call(region, prefix, name, args);
    };
  };
  std::string_view op = node.op;
  if (op.starts_with("Stateless")) op.remove_prefix(9);
  if (op != "If" && op != "While" && op != "Case") {
    note(frame, node, Fate::folded);
    const bool by_name = !op.ends_with("PartitionedCall") && op != "BatchFunction";
    return call(frame.region, path, by_name ? op : TRY(function("f")), inputs);
  }
  note(frame, node, Fate::mapped);
  if (op == "While") {
    const std::string_view name = TRY(function("body"));
    std::vector<bool> invariant(inputs.size(), false);
    if (const FunctionDef* def = library_.find(name)) {
      const NodeGraph& nodes = library_.body(*def);
      for (size_t k = 0; k < inputs.size() && k < def->outputs.size(); ++k)
        for (const auto& [output, source] : def->ret) {
          if (output != def->outputs[k].name) continue;
          const auto ref = nodes.resolve(source);
          invariant[k] = ref.ok() && nodes.through_identities(*ref) == Ref{static_cast<int>(k), 0};
        }
    }
    return loop(frame, node, inputs, invariant, body(TRY(function("cond")), "cond/"),
                body(name, "body/"));
  }
  if (inputs.empty()) return invalid_model("it has no condition");
  const Operands arguments(inputs.begin() + 1, inputs.end());
  std::vector<RegionBody> branches;
  if (op == "If") {
    branches = {body(TRY(function("then_branch")), "then/"),
                body(TRY(function("else_branch")), "else/")};
    return choose(frame, node, "if", inputs[0], arguments, branches);
  }
  const AttrValue list = TRY(node.attrs.get("branches"));
  for (const FunctionRef& f : list.functions)
    branches.push_back(body(f.name, fmt::format("branch{}/", branches.size())));
  return choose(frame, node, "case", inputs[0], arguments, branches);
}

}  // namespace tenon::tf

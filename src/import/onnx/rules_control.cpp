// Rules of control flow: branches and loops over sub-graphs.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "import/onnx/loop.h"

namespace tenon::onnx {
namespace {

Result<Values> if_(RuleContext& c) {
  const GraphProto* yes = TRY(c.get_graph("then_branch"));
  const GraphProto* no = TRY(c.get_graph("else_branch"));
  const Value* given = c.in(0);
  if (given->type().is_list || given->dtype() != DType::boolean)
    return invalid_model(
        fmt::format("the condition is {}, not a boolean", given->type().to_string()));
  if (const Tensor* known = given->constant(); known != nullptr && known->elements() == 1) {
    const GraphProto* taken = known->int_at(0) != 0 ? yes : no;
    return c.importer.inline_graph(c, *taken, {}, TRY(c.importer.captures(c, {taken})));
  }
  const auto captures = TRY(c.importer.captures(c, {yes, no}));
  std::vector<std::unique_ptr<Graph>> regions;
  bool is_complete = true;
  for (const GraphProto* branch : {yes, no}) {
    Region region = TRY(c.importer.region(c, *branch, {}, captures));
    is_complete &= region.is_complete;
    regions.push_back(std::move(region.graph));
  }
  if (!is_complete) return unsupported("nodes of its branches have no mapping");
  Values operands{TRY(as_scalar(c, c.in(0)))};
  for (Value* v : GraphImporter::capture_operands(captures)) operands.push_back(v);
  return all(c.builder.node("if", operands, {}, std::move(regions)));
}

// x with its first dimension moved to `axis`.
Result<Value*> first_to(const RuleContext& c, Value* x, int64_t axis) {
  if (axis == 0) return x;
  if (!x->shape().ranked()) return unsupported("the number of dimensions is not known");
  const int rank = x->shape().rank();
  std::vector<int64_t> perm;
  for (int64_t i = 1; i < rank; ++i) perm.push_back(i);
  perm.insert(perm.begin() + TRY(normalize_axis(axis, rank)), 0);
  return c.transpose(x, std::move(perm));
}

// Lists of what each step gave as tensors with a new first dimension.
Result<Values> stacked(const RuleContext& c, const LoopResults& loop) {
  Values tensors;
  for (size_t i = 0; i < loop.lists.size(); ++i)
    tensors.push_back(TRY(c.op("list_stack", {loop.lists[i]}, {{"element", loop.items[i]}})));
  return tensors;
}

Result<Values> loop(RuleContext& c) {
  Loop loop;
  loop.body = TRY(c.get_graph("body"));
  loop.gives_condition = true;
  if (c.has(0)) loop.trips = TRY(as_scalar(c, TRY(c.cast(c.in(0), DType::i64))));
  if (c.has(1)) loop.condition = TRY(as_scalar(c, c.in(1)));
  for (int i = 2; i < c.input_count(); ++i) {
    if (!c.has(i)) return invalid_model(fmt::format("its input {} is missing", i));
    loop.state.push_back(c.in(i));
  }
  const size_t own = loop.state.size() + 1;
  if (loop.body->outputs.size() < own)
    return invalid_model(fmt::format("its body has {} outputs, but {} or more are expected",
                                     loop.body->outputs.size(), own));
  loop.collected = static_cast<int>(loop.body->outputs.size() - own);
  loop.inputs = [](const RuleContext& in, const Step& step) -> Result<Values> {
    Values values{step.index, step.condition};
    if (step.condition == nullptr) values[1] = in.builder.constant(Tensor::scalar(true));
    values.insert(values.end(), step.state.begin(), step.state.end());
    return values;
  };
  LoopResults results = TRY(build_loop(c, loop));
  Values values = std::move(results.state);
  for (Value* v : TRY(stacked(c, results))) values.push_back(v);
  return values;
}

// One entry per scan input or output; empty means all zeros.
Result<std::vector<int64_t>> per_scan(const RuleContext& c, std::string_view name, size_t n) {
  auto values = TRY(c.get_ints(name));
  if (values.empty()) values.assign(n, 0);
  if (values.size() != n)
    return invalid_model(
        fmt::format("attribute '{}' has {} elements, but {} are expected", name, values.size(), n));
  return values;
}

// Slice `index` of each of the sequences along its axis.
Result<Values> slices(const RuleContext& in, const Step& step, const std::vector<int64_t>& axes) {
  Values values = step.state;
  for (size_t i = 0; i < step.constants.size(); ++i)
    values.push_back(TRY(in.op("gather", {step.constants[i], step.index}, {{"axis", axes[i]}})));
  return values;
}

// States, then sequences along an axis each.
struct Scanned {
  Values states;
  Values sequences;
  std::vector<int64_t> axes;
  std::vector<int64_t> directions;  // not 0: from the end
};

// The last states, then what the steps gave with the steps as a new first dimension.
Result<Values> run_scan(RuleContext& c, Scanned scanned) {
  Loop loop;
  loop.body = TRY(c.get_graph("body"));
  loop.state = scanned.states;
  loop.constants = scanned.sequences;
  auto& axes = scanned.axes;
  for (size_t i = 0; i < axes.size(); ++i) {
    Value*& x = loop.constants[i];
    if (!x->shape().ranked())
      return unsupported("the number of dimensions of a scanned input is not known");
    axes[i] = TRY(normalize_axis(axes[i], x->shape().rank()));
    if (scanned.directions[i] != 0)
      x = TRY(c.op("reverse", {x}, {{"axes", std::vector<int64_t>{axes[i]}}}));
  }
  loop.trips = TRY(c.dim(loop.constants[0], static_cast<int>(axes[0])));
  if (loop.body->outputs.size() < loop.state.size())
    return invalid_model("its body has fewer outputs than there are states");
  loop.collected = static_cast<int>(loop.body->outputs.size() - loop.state.size());
  loop.inputs = [&](const RuleContext& in, const Step& step) { return slices(in, step, axes); };
  LoopResults results = TRY(build_loop(c, loop));
  Values values = std::move(results.state);
  for (Value* v : TRY(stacked(c, results))) values.push_back(v);
  return values;
}

// The operands from `first` on: states, and as many sequences as the attribute says.
Result<Scanned> scanned_of(const RuleContext& c, int first) {
  Scanned scanned;
  const int64_t scans = TRY(c.get_int("num_scan_inputs"));
  const int given = c.input_count();
  if (scans < 1 || scans > given - first)
    return invalid_model(fmt::format("attribute 'num_scan_inputs' is {} of {}", scans, given));
  for (int i = first; i < given; ++i) {
    if (!c.has(i) || c.in(i)->type().is_list)
      return invalid_model(fmt::format("its input {} is missing or no tensor", i));
    (i < given - scans ? scanned.states : scanned.sequences).push_back(c.in(i));
  }
  return scanned;
}

Result<Values> scan(RuleContext& c) {
  Scanned scanned = TRY(scanned_of(c, 0));
  const size_t states = scanned.states.size();
  scanned.axes = TRY(per_scan(c, "scan_input_axes", scanned.sequences.size()));
  scanned.directions = TRY(per_scan(c, "scan_input_directions", scanned.sequences.size()));
  Values values = TRY(run_scan(c, std::move(scanned)));
  const auto axes = TRY(per_scan(c, "scan_output_axes", values.size() - states));
  const auto directions = TRY(per_scan(c, "scan_output_directions", values.size() - states));
  for (size_t i = 0; i < axes.size(); ++i) {
    Value*& y = values[states + i];
    if (directions[i] != 0) y = TRY(c.op("reverse", {y}, {{"axes", std::vector<int64_t>{0}}}));
    y = TRY(first_to(c, y, axes[i]));
  }
  return values;
}

// Opset 8: everything has a batch in front, and the examples are scanned one by one.
Result<Values> scan_batched(RuleContext& c) {
  constexpr int64_t kMaxBatch = 64;
  const Scanned all_examples = TRY(scanned_of(c, 1));
  if (c.has(0)) return unsupported("Scan with sequence lengths; convert the model to opset 9");
  const Shape& shape = all_examples.sequences[0]->shape();
  if (!shape.ranked() || shape.rank() < 2 || !shape[0].known() || shape[0].size() < 1 ||
      shape[0].size() > kMaxBatch)
    return unsupported("Scan of opset 8 needs a small, known batch; convert the model to opset 9");
  std::vector<Values> rows;
  for (int64_t b = 0; b < shape[0].size(); ++b) {
    Scanned example;
    const auto pick = [&](const Values& from, Values& to) -> Status {
      for (Value* v : from)
        to.push_back(TRY(c.op("gather", {v, c.int_scalar(b)}, {{"axis", int64_t{0}}})));
      return {};
    };
    TRY(pick(all_examples.states, example.states));
    TRY(pick(all_examples.sequences, example.sequences));
    example.axes.assign(example.sequences.size(), 0);
    example.directions = TRY(per_scan(c, "directions", example.sequences.size()));
    const size_t reported = c.importer.report_size();
    rows.push_back(TRY(run_scan(c, std::move(example))));
    if (b > 0) c.importer.truncate_report(reported);
  }
  Values values;
  for (size_t i = 0; i < rows[0].size(); ++i) {
    Values parts;
    for (const Values& row : rows)
      parts.push_back(TRY(c.op("expand_dims", {row[i]}, {{"axes", std::vector<int64_t>{0}}})));
    values.push_back(TRY(c.op("concat", parts, {{"axis", int64_t{0}}})));
  }
  return values;
}

// Sequences are read item by item, tensors are the same for every step.
Result<Values> sequence_map(RuleContext& c) {
  Loop loop;
  loop.body = TRY(c.get_graph("body"));
  loop.constants = c.inputs;
  for (int i = 0; i < c.input_count(); ++i)
    if (!c.has(i)) return invalid_model(fmt::format("its input {} is missing", i));
  if (!c.in(0)->type().is_list) return invalid_model("its first input is not a sequence");
  loop.trips = TRY(c.op("list_length", {c.in(0)}, {{"dtype", DType::i64}}));
  loop.collected = static_cast<int>(loop.body->outputs.size());
  loop.inputs = [](const RuleContext& in, const Step& step) -> Result<Values> {
    Values values;
    for (Value* v : step.constants)
      values.push_back(v->type().is_list ? TRY(in.op("list_get", {v, step.index})) : v);
    return values;
  };
  return TRY(build_loop(c, loop)).lists;
}

constexpr Rule kRules[] = {
    {"If", 1, if_},
    {"Loop", {0, kVariadic}, loop},
    {"Scan", {0, kVariadic}, scan_batched, 8},
    {"Scan", {1, kVariadic}, scan, 9},
    {"SequenceMap", {1, kVariadic}, sequence_map},
};

}  // namespace

std::span<const Rule> control_rules() {
  return kRules;
}

}  // namespace tenon::onnx

#include "runtime/loop.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/list.h"

namespace tenon::runtime {
namespace {

bool is_change(const FileStep& step) {
  const std::string_view op = step.op->def().name;
  return op == ListSet::name || op == ListPush::name;
}

// Whether a step keeps nothing of a list that it reads but items, which do not change.
bool is_reader(const FileStep& step) {
  const std::string_view op = step.op->def().name;
  return op == ListGet::name || op == ListLength::name || op == ListStack::name ||
         op == ListConcat::name;
}

// The steps that a list goes through from an input of the body to the output of the same place;
// empty where it does not, or where another value might be the same list.
std::vector<size_t> changes_of(const FileGraph& body, size_t state) {
  if (state >= body.outputs.size()) return {};
  std::vector<size_t> changes;
  int v = body.inputs[state];
  while (v != body.outputs[state]) {
    if (std::ranges::count(body.outputs, v) > 0) return {};
    size_t last = body.steps.size();
    for (size_t i = 0; i < body.steps.size(); ++i) {
      const FileStep& step = body.steps[i];
      const auto uses = std::ranges::count(step.inputs, v);
      if (uses == 0) continue;
      if (last < body.steps.size() && !is_reader(body.steps[last])) return {};
      if (!is_reader(step) && (!is_change(step) || step.inputs[0] != v || uses > 1)) return {};
      last = i;
    }
    if (last == body.steps.size() || !is_change(body.steps[last])) return {};
    changes.push_back(last);
    v = body.steps[last].outputs[0];
  }
  const bool read_only = std::ranges::all_of(body.steps, [v](const FileStep& step) {
    return std::ranges::count(step.inputs, v) == 0 || is_reader(step);
  });
  if (!read_only || std::ranges::count(body.outputs, v) != 1) return {};
  return changes;
}

bool is_same_type(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.is_list() == b.is_list() && a.dims() == b.dims();
}

// The condition or the body, with the plan for the state as it is, and tensors that nobody has any
// more to take its results.
class Part {
 public:
  Part(GraphState& graph, const Machine& machine)
      : graph_(graph), machine_(machine), results_(graph.file->outputs.size()) {}

  // To be called when types of the state have changed.
  void forget_plan() { plan_ = nullptr; }

  // The results are valid until the next run.
  Result<std::span<Tensor>> run(std::span<const Tensor> state) {
    if (plan_ == nullptr) {
      plan_ = graph_.find_plan(state);
      if (plan_ == nullptr) {
        TensorTypes types;
        for (const Tensor& t : state) types.push_back(t.type());
        plan_ = TRY(graph_.plan(types, machine_.kernels));
      }
    }
    for (size_t i = 0; i < results_.size(); ++i)
      if (!takes(i, results_[i])) results_[i] = Tensor();
    TRY(run_plan(*plan_, state, results_, machine_));
    return std::span(results_);
  }

 private:
  bool takes(size_t i, const Tensor& t) const {
    const PlanValue& v = plan_->values[static_cast<size_t>(plan_->outputs[i])];
    return v.place == Place::kOutput && t.defined() && t.owner().use_count() == 1 &&
           is_of_type(t, v.type);
  }

  GraphState& graph_;
  const Machine& machine_;
  std::vector<Tensor> results_;
  std::shared_ptr<Plan> plan_;
};

// The state as the loop changes it, and whether its types do.
class LoopState {
 public:
  LoopState(std::vector<Tensor> values, const ListsInPlace& in_place)
      : values_(std::move(values)), types_(values_.size()), is_ours_(values_.size()) {
    for (const size_t i : in_place.states)
      if (i < values_.size() && values_[i].is_list()) {
        values_[i] = Tensor::list(values_[i].dtype(), values_[i].items());
        is_ours_[i] = true;
      }
    for (size_t i = 0; i < values_.size(); ++i)
      if (values_[i].is_list()) types_[i] = values_[i].type();
  }

  std::span<const Tensor> values() const { return values_; }
  std::vector<Tensor> take() { return std::move(values_); }

  // Goes on to what the body gave, which gets what was the state instead. True where all types are
  // what they were.
  Result<bool> advance(std::span<Tensor> results) {
    bool same = true;
    for (size_t i = 0; i < values_.size(); ++i) {
      Tensor& next = results[i];
      if (next.is_list()) {
        same &= values_[i].is_list() && keeps_type(i, next);
      } else {
        // Nothing that outlives the run may point into its arena.
        if (next.defined() && next.owner() == nullptr) next = TRY(next.clone());
        same &= is_same_type(values_[i], next);
      }
      std::swap(values_[i], next);
      // What came from outside may be in use there.
      if (is_first_ || next.is_list()) next = Tensor();
    }
    is_first_ = false;
    return same;
  }

 private:
  bool keeps_type(size_t i, const Tensor& next) {
    if (!is_ours_[i] && &next.items() == &values_[i].items()) return true;
    TensorType type = next.type();
    const bool same = type == types_[i];
    types_[i] = std::move(type);
    return same;
  }

  std::vector<Tensor> values_;
  TensorTypes types_;  // of lists
  std::vector<bool> is_ours_;
  bool is_first_ = true;
};

}  // namespace

ListsInPlace lists_in_place(const FileGraph& body) {
  ListsInPlace lists;
  for (size_t i = 0; i < body.inputs.size(); ++i) {
    const std::vector<size_t> changes = changes_of(body, i);
    if (changes.empty()) continue;
    lists.states.push_back(i);
    lists.steps.resize(body.steps.size());
    for (const size_t step : changes) lists.steps[step] = true;
  }
  return lists;
}

Result<Tensor> change_list(const FileStep& step, const Tensor& list, const Tensor& operand,
                           const Tensor& index) {
  // Nobody else has the list: lists_in_place().
  auto& items = const_cast<std::vector<Tensor>&>(list.items());
  if (step.op->def().name == ListSet::name)
    TRY(ListSet::set(items, index.int_at(0), operand));
  else
    TRY(ListPush::push(items, operand));
  return Tensor::list(list.dtype(), std::move(items));
}

Result<std::vector<Tensor>> run_loop(GraphState& condition, GraphState& body,
                                     std::vector<Tensor> initial, const Machine& machine) {
  if (body.file->outputs.size() < initial.size())
    return invalid_model(fmt::format("the sub-graph gives {} values, {} are needed",
                                     body.file->outputs.size(), initial.size()));
  LoopState state(std::move(initial), body.in_place);
  Part decide(condition, machine), compute(body, machine);
  const int64_t limit = machine.control.max_loop_iterations();
  for (int64_t i = 0;; ++i) {
    TRY(machine.control.check());
    const auto decision = TRY(decide.run(state.values()));
    if (decision.empty() || decision[0].is_list() || decision[0].elements() < 1)
      return invalid_model("the condition of a loop gives no value");
    if (decision[0].int_at(0) == 0) return state.take();
    if (i >= limit)
      return invalid_model(
          fmt::format("the loop has not ended after {} iterations, the most that "
                      "--max-loop-iterations allows",
                      limit));
    const auto results = TRY(compute.run(state.values()));
    if (TRY(state.advance(results))) continue;
    decide.forget_plan();
    compute.forget_plan();
  }
}

}  // namespace tenon::runtime

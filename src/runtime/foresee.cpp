#include "runtime/foresee.h"

#include <algorithm>

#include "runtime/plan.h"

namespace tenon::runtime {
namespace {

constexpr int64_t kMostBytes = 1024;

bool is_small_integers(const TensorType& type) {
  return !type.is_list && !type.is_none() && type.shape.is_static() &&
         (is_int(type.dtype) || type.dtype == DType::boolean) &&
         type.byte_size().value_or(kMostBytes + 1) <= kMostBytes;
}

// The value of fully known integers of this type; undefined where it cannot be built.
Tensor tensor_of(const SymInts& ints, const TensorType& type) {
  if (!is_small_integers(type) || (type.dtype != DType::i64 && type.dtype != DType::i32)) return {};
  const std::vector<int64_t> sizes = type.shape.sizes();
  auto t = Tensor::allocate(type.dtype, sizes);
  if (!t.ok() || t->elements() != static_cast<int64_t>(ints.size())) return {};
  for (size_t i = 0; i < ints.size(); ++i) {
    if (!ints[i].value) return {};
    if (type.dtype == DType::i64)
      t->mutable_data<int64_t>()[i] = *ints[i].value;
    else
      t->mutable_data<int32_t>()[i] = static_cast<int32_t>(*ints[i].value);
  }
  return std::move(*t);
}

// What is known of the values of a region.
class Region {
 public:
  explicit Region(const FileGraph& graph)
      : graph_(graph),
        types_(graph.values.size()),
        known_(graph.values.size()),
        ints_(graph.values.size()) {}

  Result<TensorTypes> run(std::span<const OperandInfo> operands) {
    if (graph_.inputs.size() != operands.size())
      return invalid_model("the sub-graph does not take the operands of its step");
    for (size_t i = 0; i < operands.size(); ++i) {
      const auto v = static_cast<size_t>(graph_.inputs[i]);
      types_[v] = operands[i].type;
      if (operands[i].constant != nullptr) known_[v] = *operands[i].constant;
      if (operands[i].ints != nullptr) ints_[v] = *operands[i].ints;
    }
    for (const FileConstant& c : graph_.constants) set_known(c.value, c.tensor);
    for (const FileStep& step : graph_.steps) TRY(follow(step));
    TensorTypes results;
    for (const int v : graph_.outputs)
      results.push_back(v < 0 ? TensorType() : types_[static_cast<size_t>(v)]);
    return results;
  }

 private:
  void set_known(int v, Tensor t) {
    types_[static_cast<size_t>(v)] = t.type();
    known_[static_cast<size_t>(v)] = std::move(t);
  }

  OperandInfo info_of(int v) const {
    if (v < 0) return {};
    const auto at = static_cast<size_t>(v);
    return {types_[at], known_[at].defined() ? &known_[at] : nullptr,
            ints_[at] ? &*ints_[at] : nullptr};
  }

  Status follow(const FileStep& step) {
    std::vector<OperandInfo> infos;
    for (const int v : step.inputs) infos.push_back(info_of(v));
    TensorTypes types = TRY(infer_step(step, infos));
    types.resize(std::max(types.size(), step.outputs.size()));
    Foreseen foreseen;
    if (step.regions.empty()) foreseen = foresee(step, infos, types);
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const auto v = static_cast<size_t>(step.outputs[i]);
      types_[v] = types[i];
      if (!foreseen.values.empty() && foreseen.values[i].defined())
        set_known(step.outputs[i], foreseen.values[i]);
    }
    if (foreseen.ints) ints_[static_cast<size_t>(step.outputs[0])] = foreseen.ints;
    return {};
  }

  const FileGraph& graph_;
  TensorTypes types_;
  std::vector<Tensor> known_;
  std::vector<std::optional<SymInts>> ints_;
};

}  // namespace

Foreseen foresee(const FileStep& step, std::span<const OperandInfo> operands,
                 const TensorTypes& results) {
  Foreseen foreseen;
  if (step.op->def().has(kRandom) || step.outputs.empty()) return foreseen;
  if (auto ints = step.op->infer_ints(InferContext(operands))) {
    Tensor t = tensor_of(*ints, results[0]);
    if (t.defined() && step.outputs.size() == 1) {
      foreseen.values.push_back(std::move(t));
      return foreseen;
    }
    foreseen.ints = std::move(*ints);
  }
  const bool all_known = std::ranges::all_of(operands, [](const OperandInfo& info) {
    return info.constant != nullptr || info.type.is_none();
  });
  if (!all_known || !step.op->def().has_eval) return foreseen;
  if (step.op->def().has(kView) && results[0].shape.is_static() && !results[0].is_list &&
      operands[0].constant != nullptr && results[0].byte_size() == operands[0].type.byte_size() &&
      results[0].dtype == operands[0].type.dtype && step.outputs.size() == 1) {
    foreseen.values.push_back(operands[0].constant->reshaped(results[0].shape.sizes()));
    return foreseen;
  }
  for (size_t i = 0; i < step.outputs.size(); ++i)
    if (!is_small_integers(results[i])) return foreseen;
  std::vector<Tensor> values;
  for (const OperandInfo& info : operands) {
    values.push_back(info.constant == nullptr ? Tensor() : *info.constant);
    if (values.back().is_list() || static_cast<int64_t>(values.back().byte_size()) > kMostBytes)
      return foreseen;
  }
  auto computed = evaluate(*step.op, values, static_cast<int>(step.outputs.size()));
  if (computed.ok()) foreseen.values = std::move(*computed);
  return foreseen;
}

size_t branch_taken(const FileStep& step, int64_t chosen_by) {
  const auto branches = static_cast<int64_t>(step.regions.size());
  if (step.op->def().name == "if") chosen_by = chosen_by != 0 ? 0 : 1;
  // TensorFlow's Case takes the last branch for an index outside.
  return static_cast<size_t>(chosen_by < 0 || chosen_by >= branches ? branches - 1 : chosen_by);
}

std::optional<size_t> decided_branch(const FileStep& step, std::span<const OperandInfo> operands) {
  const std::string_view name = step.op->def().name;
  if (step.regions.empty() || name == "while" || name == "fused" || operands.empty())
    return std::nullopt;
  const Tensor* chooser = operands[0].constant;
  if (chooser == nullptr || chooser->elements() == 0) return std::nullopt;
  return branch_taken(step, chooser->int_at(0));
}

Result<TensorTypes> infer_region(const FileGraph& region, std::span<const OperandInfo> operands) {
  return Region(region).run(operands);
}

}  // namespace tenon::runtime

#include "runtime/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/quantized_product.h"
#include "ops/recurrent.h"
#include "runtime/batch_head.h"
#include "runtime/execute.h"
#include "runtime/foresee.h"
#include "runtime/join.h"
#include "runtime/memory_plan.h"

namespace tenon::runtime {
namespace {

bool is_static(const TensorType& type) {
  return !type.is_list && !type.is_none() && type.shape.is_static();
}

// Kernels multiply sizes without looking, also those beside a zero.
Status check_sizes(std::span<const TensorType> types) {
  for (const TensorType& t : types)
    if (is_static(t)) TRY(checked_elements(t.shape.sizes(), dtype_size(t.dtype)));
  return {};
}

// Whether an op's kernels ask for their constants packed and nothing else looks into them.
bool packs_weights(const Op& op) {
  const std::string_view name = op.def().name;
  return name == Conv::name || name == Matmul::name || name == Lstm::name || name == Gru::name ||
         name == Rnn::name || name == QuantizedConv::name || name == QuantizedMatmul::name;
}

class Planner {
 public:
  // Plans the first `steps` steps, whose results `outputs` are handed out.
  Planner(GraphState& graph, const cpu::KernelSettings& settings, size_t steps,
          std::vector<int> outputs)
      : graph_(graph), file_(*graph.file), settings_(settings) {
    plan_->graph = &graph_;
    plan_->values.resize(file_.values.size());
    plan_->steps.resize(steps);
    plan_->outputs = std::move(outputs);
    ints_.resize(file_.values.size());
  }

  Result<std::shared_ptr<Plan>> run(std::span<const TensorType> inputs) {
    TRY(check_sizes(inputs));
    for (size_t i = 0; i < file_.inputs.size(); ++i) {
      PlanValue& v = value(file_.inputs[i]);
      v.place = inputs[i].is_none() ? Place::kAbsent : Place::kInput;
      v.type = inputs[i];
    }
    for (const FileConstant& c : file_.constants) set_known(c.value, c.tensor);
    for (size_t i = 0; i < plan_->steps.size(); ++i) {
      const Status status = type_step(i);
      if (!status.ok()) return Error(status.error()).at(step_place(file_.steps[i]));
    }
    const bool measures = settings_.tuning != nullptr && settings_.tuning->take;
    if (plan_->steps.size() == file_.steps.size() && !measures) plan_head(inputs);
    for (size_t i = plan_->head.steps; i < plan_->steps.size(); ++i) TRY(choose_kernel(i));
    for (const int v : plan_->outputs)
      if (v >= 0) make_dense(v);
    if (!measures) join_steps(*plan_);
    place_values();
    return plan_;
  }

 private:
  PlanValue& value(int i) { return plan_->values[static_cast<size_t>(i)]; }
  void set_known(int i, Tensor t) {
    value(i).place = Place::kKnown;
    value(i).type = t.type();
    value(i).known = std::move(t);
  }
  OperandInfo info_of(int v) {
    if (v < 0) return {};
    const auto& ints = ints_[static_cast<size_t>(v)];
    return {value(v).type, value(v).place == Place::kKnown ? &value(v).known : nullptr,
            ints ? &*ints : nullptr};
  }
  void set_heap(int i, TensorType type) {
    value(i).place = Place::kHeap;
    value(i).type = std::move(type);
  }

  // What a step computes: where its results live and of which types they are.
  Status type_step(size_t index) {
    const FileStep& step = file_.steps[index];
    PlanStep& out = plan_->steps[index];
    out.step = &step;
    if (!step.regions.empty()) {
      make_dense(step);
      return type_fused(index) ? Status() : plan_regions(index);
    }
    if (!packs_weights(*step.op)) make_dense(step);
    bool all_typed = true;
    std::vector<OperandInfo> infos;
    for (const int v : step.inputs) {
      infos.push_back(info_of(v));
      all_typed &= v < 0 || value(v).place == Place::kAbsent || is_static(value(v).type);
    }
    TensorTypes results = TRY(step.op->infer(InferContext(infos)));
    results.resize(std::max(results.size(), step.outputs.size()));
    if (step.outputs.empty()) return {};
    if (try_known(step, infos, results)) return {};
    const bool typed = all_typed && std::all_of(step.outputs.begin(), step.outputs.end(),
                                                [&, i = size_t{0}](int) mutable {
                                                  const TensorType& t = results[i++];
                                                  return t.is_none() || is_static(t);
                                                });
    TRY(check_sizes(results));
    if (typed && try_view(step, results[0], out)) return {};
    const bool on_heap = !typed || step.op->def().has(kDataDependent) ||
                         std::any_of(results.begin(), results.end(),
                                     [](const auto& t) { return t.dtype == DType::string; });
    out.kind = on_heap ? StepKind::kDynamic : StepKind::kStatic;
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      if (results[i].is_none()) continue;
      if (on_heap)
        set_heap(step.outputs[i], results[i]);
      else
        value(step.outputs[i]).place = Place::kArena, value(step.outputs[i]).type = results[i];
    }
    return {};
  }

  // What computes it.
  Status choose_kernel(size_t index) {
    const FileStep& step = file_.steps[index];
    PlanStep& out = plan_->steps[index];
    uint32_t taken = 0;
    if (out.kind == StepKind::kStatic) {
      TensorTypes types, results;
      std::vector<const Tensor*> constants;
      for (const int v : step.inputs) {
        types.push_back(v < 0 ? TensorType() : value(v).type);
        constants.push_back(v >= 0 && value(v).place == Place::kKnown ? &value(v).known : nullptr);
      }
      for (const int v : step.outputs) results.push_back(value(v).type);
      const bool fused = !step.regions.empty();
      const cpu::Region region = fused ? region_of(step) : cpu::Region();
      out.choice =
          cpu::choose_kernel({*step.op, types, results, constants, settings_.packs,
                              settings_.threads, fused ? &region : nullptr, settings_.tuning,
                              fused ? nullptr : &taken, settings_.strict});
      if (fused && out.choice.kernel == nullptr) return plan_regions(index);
    }
    if (packs_weights(*step.op)) make_dense(step, taken);
    return {};
  }

  // What a step's operands stand for is there when it runs, except for those that its kernel has
  // `taken` in another form.
  void make_dense(const FileStep& step, uint32_t taken = 0) {
    for (size_t i = 0; i < step.inputs.size(); ++i)
      if ((i >= 32 || (taken >> i & 1) == 0) && step.inputs[i] >= 0) make_dense(step.inputs[i]);
  }
  void make_dense(int v) {
    if (value(v).place == Place::kKnown) settings_.packs.make_dense(value(v).known);
  }

  bool try_known(const FileStep& step, std::span<const OperandInfo> infos,
                 const TensorTypes& results) {
    Foreseen foreseen = foresee(step, infos, results);
    if (foreseen.ints) ints_[static_cast<size_t>(step.outputs[0])] = std::move(foreseen.ints);
    for (size_t i = 0; i < foreseen.values.size(); ++i)
      if (foreseen.values[i].defined()) set_known(step.outputs[i], std::move(foreseen.values[i]));
    return !foreseen.values.empty();
  }

  bool try_view(const FileStep& step, const TensorType& result, PlanStep& out) {
    if (!step.op->def().has(kView) || step.outputs.size() != 1 || step.inputs[0] < 0) return false;
    const PlanValue& source = value(step.inputs[0]);
    if (source.type.dtype != result.dtype || source.type.byte_size() != result.byte_size())
      return false;
    PlanValue& v = value(step.outputs[0]);
    v.place = Place::kView;
    v.type = result;
    v.source = source.place == Place::kView ? source.source : step.inputs[0];
    out.kind = StepKind::kView;
    return true;
  }

  // As one kernel, should there be one, where all types are known.
  bool type_fused(size_t index) {
    const FileStep& step = file_.steps[index];
    if (step.op->def().name != "fused") return false;
    std::vector<OperandInfo> infos;
    for (const int v : step.inputs) {
      if (v < 0 || !is_static(value(v).type)) return false;
      const bool known = value(v).place == Place::kKnown;
      infos.push_back({value(v).type, known ? &value(v).known : nullptr, nullptr});
    }
    const auto results = infer_step(step, infos);
    if (!results.ok() || results->size() != step.outputs.size() ||
        !std::all_of(results->begin(), results->end(), is_static) || !check_sizes(*results).ok())
      return false;
    plan_->steps[index].kind = StepKind::kStatic;
    for (size_t i = 0; i < step.outputs.size(); ++i)
      value(step.outputs[i]).place = Place::kArena, value(step.outputs[i]).type = (*results)[i];
    return true;
  }

  // The first steps by parts of the batch, where that is thought to be faster. What later steps
  // read of them is whole again.
  void plan_head(std::span<const TensorType> inputs) {
    // For trying things out: the size of a part, whatever it costs.
    static const char* const part_size = std::getenv("TENON_BATCH_PART");
    const HeadChoice choice = choose_batch_head(*plan_, settings_.threads,
                                                part_size == nullptr ? 0 : std::atoll(part_size));
    if (choice.steps == 0) return;
    PlanHead head{choice.steps, nullptr, choice.batch / choice.part, batched_inputs(inputs), false};
    head.side_by_side = runs_beside(head.parts, settings_.threads);
    TensorTypes part_inputs;
    for (size_t i = 0; i < inputs.size(); ++i)
      part_inputs.push_back(head.splits[i] ? with_rows(inputs[i], choice.part) : inputs[i]);
    std::vector<char> is_made(plan_->values.size()), is_read(plan_->values.size());
    const auto read = [&](std::span<const int> values) {
      for (const int v : values)
        if (v >= 0) is_read[static_cast<size_t>(root(v))] = 1;
    };
    for (size_t i = 0; i < plan_->steps.size(); ++i)
      if (i >= choice.steps)
        read(file_.steps[i].inputs);
      else if (plan_->steps[i].kind == StepKind::kStatic)
        for (const int v : file_.steps[i].outputs) is_made[static_cast<size_t>(v)] = 1;
    read(file_.outputs);
    std::vector<int> handed_on;
    for (size_t v = 0; v < is_made.size(); ++v)
      if (is_made[v] && is_read[v]) handed_on.push_back(static_cast<int>(v));
    cpu::KernelSettings settings = settings_;
    if (head.side_by_side) settings.threads = 1;
    const auto part = Planner(graph_, settings, choice.steps, handed_on).run(part_inputs);
    if (!part.ok() || !is_part_of(**part, *plan_, choice)) return;
    for (size_t i = 0; i < choice.steps; ++i) {
      StepKind& kind = plan_->steps[i].kind;
      const int v = file_.steps[i].outputs.empty() ? -1 : root(file_.steps[i].outputs[0]);
      const bool inside =
          v >= 0 && is_made[static_cast<size_t>(v)] && !is_read[static_cast<size_t>(v)];
      if (kind == StepKind::kStatic || inside) kind = StepKind::kNothing;
    }
    for (size_t v = 0; v < is_made.size(); ++v) {
      const auto r = static_cast<size_t>(root(static_cast<int>(v)));
      if (is_made[r] && !is_read[r]) plan_->values[v].place = Place::kAbsent;
    }
    head.plan = *part;
    plan_->head = std::move(head);
  }

  Status plan_regions(size_t index) {
    const FileStep& step = file_.steps[index];
    plan_->steps[index].kind = StepKind::kRegions;
    plan_->steps[index].choice.name = "control flow";
    const bool loop = step.op->def().name == "while";
    TensorTypes types;
    std::vector<OperandInfo> infos;
    bool known = true;
    for (const int v : step.inputs) {
      infos.push_back(info_of(v));
      types.push_back(infos.back().type);
    }
    if (!loop && step.op->def().name != "fused" && !types.empty()) types.erase(types.begin());
    for (const TensorType& type : types) known &= type.is_none() || is_static(type);
    const std::optional<size_t> taken = decided_branch(step, infos);
    // Results have types here only where every branch that may be taken gives the same ones.
    TensorTypes results;
    for (size_t r = loop ? 1 : taken.value_or(0); known && r < step.regions.size(); ++r) {
      auto plan = graph_.regions[index][r]->plan(types, settings_);
      if (!plan.ok()) {
        known = false;
        break;
      }
      TensorTypes these;
      for (const int v : step.regions[r].outputs)
        these.push_back((*plan)->values[static_cast<size_t>(v)].type);
      if (loop ? these != types : !results.empty() && these != results) known = false;
      results = std::move(these);
      if (taken) break;
    }
    if (taken)
      if (auto inferred = infer_step(step, infos); inferred.ok()) {
        results = std::move(*inferred);
        known = true;
      }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const TensorType& declared = file_.values[static_cast<size_t>(step.outputs[i])].type;
      TensorType unknown{declared.dtype, Shape::unranked(), declared.is_list};
      if (declared.shape.ranked()) unknown.shape = Shape::unknown_dims(declared.shape.rank());
      set_heap(step.outputs[i], known && i < results.size() ? results[i] : unknown);
    }
    return {};
  }

  int root(int v) { return value(v).place == Place::kView ? value(v).source : v; }

  void place_values() {
    std::vector<ArenaRequest> lives(plan_->values.size());
    for (const int v : plan_->outputs)
      if (v >= 0 && value(root(v)).place == Place::kArena) value(root(v)).place = Place::kOutput;
    // Values of the head that are still in the arena are there before the first step.
    if (plan_->head.plan != nullptr)
      for (const int v : plan_->head.plan->outputs)
        lives[static_cast<size_t>(v)].bytes = value(v).type.byte_size().value_or(0);
    int64_t scratch = 0;
    for (size_t i = 0; i < plan_->steps.size(); ++i) {
      const FileStep& step = file_.steps[i];
      for (const int v : plan_->steps[i].inputs())
        if (v >= 0) lives[static_cast<size_t>(root(v))].last = static_cast<int>(i);
      if (plan_->steps[i].kind != StepKind::kStatic) continue;
      for (const int v : step.outputs) {
        ArenaRequest& r = lives[static_cast<size_t>(v)];
        r.first = r.last = static_cast<int>(i);
        r.bytes = value(v).type.byte_size().value_or(0);
      }
      if (const auto& kernel = plan_->steps[i].choice.kernel)
        scratch = std::max(scratch, kernel->scratch_bytes());
    }
    std::vector<ArenaRequest> requests;
    std::vector<int> owners;
    for (size_t v = 0; v < lives.size(); ++v)
      if (plan_->values[v].place == Place::kArena) {
        requests.push_back(lives[v]);
        owners.push_back(static_cast<int>(v));
      }
    for (size_t v = 0; v < lives.size(); ++v)
      if (plan_->values[v].place != Place::kKnown && plan_->values[v].place != Place::kArena)
        plan_->transient.push_back(static_cast<int>(v));
    plan_->scratch_offset = place(requests);
    plan_->arena_bytes = plan_->scratch_offset + scratch;
    for (size_t i = 0; i < owners.size(); ++i) value(owners[i]).offset = requests[i].offset;
  }

  GraphState& graph_;
  const FileGraph& file_;
  const cpu::KernelSettings& settings_;
  std::shared_ptr<Plan> plan_ = std::make_shared<Plan>();
  std::vector<std::optional<SymInts>> ints_;
};

}  // namespace

Result<std::shared_ptr<Plan>> make_plan(GraphState& graph, std::span<const TensorType> inputs,
                                        const cpu::KernelSettings& settings) {
  return Planner(graph, settings, graph.file->steps.size(), graph.file->outputs).run(inputs);
}

Result<TensorTypes> infer_step(const FileStep& step, std::span<const OperandInfo> operands) {
  if (step.regions.empty()) return step.op->infer(InferContext(operands));
  if (step.op->def().name == "fused") return infer_region(step.regions[0], operands);
  const auto taken = decided_branch(step, operands);
  if (!taken) return invalid_model("the types of control flow depend on data");
  return infer_region(step.regions[*taken], operands.subspan(1));
}

cpu::Region region_of(const FileStep& step) {
  const FileGraph& graph = step.regions[0];
  cpu::Region region;
  region.values = graph.values.size();
  region.inputs = graph.inputs;
  region.outputs = graph.outputs;
  for (const FileConstant& c : graph.constants) region.constants.push_back({c.value, &c.tensor});
  for (const FileStep& inner : graph.steps)
    region.steps.push_back({inner.op.get(), inner.inputs, inner.outputs});
  return region;
}

std::string step_place(const FileStep& step) {
  return fmt::format("node '{}' ({})", step.origins.empty() ? "" : step.origins[0],
                     step.op->def().name);
}

}  // namespace tenon::runtime

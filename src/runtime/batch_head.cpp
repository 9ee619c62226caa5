#include "runtime/batch_head.h"

#include <algorithm>
#include <optional>

#include "base/cpu_features.h"
#include "device/cpu/conv.h"
#include "ops/reduce.h"

namespace tenon::runtime {
namespace {

// An operand or a result of a step: what has a type of no rank has no rows.
struct Rows {
  TensorType type;
  bool batched = false;

  int rank() const { return type.shape.ranked() ? type.shape.rank() : -1; }
  // Of a tensor that does not come from the inputs: it is the same for every row.
  bool is_shared_by_rows_of(const Rows& y) const {
    return type.is_none() || rank() < y.rank() || (rank() == y.rank() && type.shape[0].size() == 1);
  }
};

template <typename T>
std::optional<T> attribute(const Op& op, std::string_view name) {
  const auto& fields = op.def().fields;
  for (size_t i = 0; i < fields.size(); ++i)
    if (fields[i].name == name) {
      const AttrValue value = op.get(i);
      if (const T* t = std::get_if<T>(&value)) return *t;
    }
  return std::nullopt;
}

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

// Where `axes` names none that is the first, counted from the front or from the end.
bool spares_rows(std::span<const int64_t> axes, int rank) {
  return std::ranges::none_of(axes, [&](int64_t a) { return a == 0 || a == -rank; });
}

bool none_batched(std::span<const Rows> operands) {
  return std::ranges::none_of(operands, &Rows::batched);
}

bool is_row_wise_pointwise(std::span<const Rows> in, const Rows& y) {
  return std::ranges::all_of(in, [&](const Rows& x) {
    return x.batched ? x.rank() == y.rank() : x.is_shared_by_rows_of(y);
  });
}

// Rows of a are rows of the batch, or its matrices are.
bool is_row_wise_product(const Op& op, std::span<const Rows> in, const Rows& y) {
  const Rows &a = in[0], &b = in[1];
  const bool matrices = y.rank() >= 3;
  if (!matrices && attribute<bool>(op, "transpose_a").value_or(false)) return false;
  const auto fits = [&](const Rows& x) {
    return x.batched ? matrices && x.rank() == y.rank()
                     : x.rank() == 2 || (matrices && x.is_shared_by_rows_of(y));
  };
  if (!(matrices ? fits(a) && fits(b) : a.batched && !b.batched)) return false;
  return op.def().name == "matmul" ? is_row_wise_pointwise(in.subspan(2), y)
                                   : none_batched(in.subspan(2));
}

// Ops of images: rows of the first operand, everything else the same for all, but a residual.
bool is_row_wise_image_op(std::span<const Rows> in, const Rows& y) {
  if (!in[0].batched || in[0].rank() < 2) return false;
  for (size_t i = 1; i < in.size(); ++i)
    if (in[i].batched && (i != 3 || in[i].type.shape != y.type.shape)) return false;
  return true;
}

bool is_row_wise(const FileStep& step, std::span<const Rows> in, std::span<const Rows> out);

// A region's steps, one by one.
bool is_row_wise_region(const FileGraph& region, std::span<const Rows> in,
                        std::span<const Rows> out) {
  std::vector<Rows> values(region.values.size());
  if (region.inputs.size() != in.size()) return false;
  for (size_t i = 0; i < in.size(); ++i) values[static_cast<size_t>(region.inputs[i])] = in[i];
  for (const FileConstant& c : region.constants)
    values[static_cast<size_t>(c.value)].type = c.tensor.type();
  const int64_t rows = out[0].type.shape[0].size();
  for (const FileStep& step : region.steps) {
    std::vector<Rows> operands, results;
    std::vector<OperandInfo> infos;
    for (const int v : step.inputs) {
      operands.push_back(v < 0 ? Rows() : values[static_cast<size_t>(v)]);
      infos.push_back({operands.back().type, nullptr, nullptr});
    }
    const auto types = infer_step(step, infos);
    if (!types.ok()) return false;
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const TensorType type = i < types->size() ? (*types)[i] : TensorType();
      if (!type.shape.is_static()) return false;
      results.push_back({type, !none_batched(operands)});
      if (results.back().batched && (type.shape.rank() == 0 || type.shape[0].size() != rows))
        return false;
      values[static_cast<size_t>(step.outputs[i])] = results.back();
    }
    if (!none_batched(operands) && !is_row_wise(step, operands, results)) return false;
  }
  return std::ranges::all_of(
      region.outputs, [&](int v) { return v >= 0 && values[static_cast<size_t>(v)].batched; });
}

// Some operand and every result is batched; results have the rows of the batch.
bool is_row_wise(const FileStep& step, std::span<const Rows> in, std::span<const Rows> out) {
  static constexpr std::string_view kImageOps[] = {"conv",
                                                   "conv_transpose",
                                                   "max_pool",
                                                   "max_pool_index",
                                                   "avg_pool",
                                                   "resize",
                                                   "lrn",
                                                   "batch_norm",
                                                   "instance_norm",
                                                   "group_norm",
                                                   "depth_to_space",
                                                   "space_to_depth",
                                                   "quantized_conv",
                                                   "quantize_linear",
                                                   "dequantize_linear",
                                                   "byte_lookup"};
  static constexpr std::string_view kAxisOps[] = {"softmax",  "log_softmax", "layer_norm",
                                                  "rms_norm", "concat",      "split"};
  const Op& op = *step.op;
  const std::string_view name = op.def().name;
  const Rows& y = out[0];
  if (name == "fused") return is_row_wise_region(step.regions[0], in, out);
  if (!step.regions.empty() || op.def().has(kRandom) || in.empty()) return false;
  if (op.def().has(kView)) return in[0].batched && none_batched(in.subspan(1));
  if (op.def().has(kPointwise)) return is_row_wise_pointwise(in, y);
  if (is_one_of(name, kImageOps)) return is_row_wise_image_op(in, y);
  if (name == "matmul" || name == "quantized_matmul") return is_row_wise_product(op, in, y);
  if (name == "attention")
    return std::ranges::all_of(in.first(3), &Rows::batched) &&
           is_row_wise_pointwise(in.subspan(3), y);
  if (is_one_of(name, kAxisOps)) {
    const auto axis = attribute<int64_t>(op, "axis");
    if (!axis || !in[0].batched || !spares_rows({&*axis, 1}, in[0].rank())) return false;
    return name == "concat" ? std::ranges::all_of(in, &Rows::batched) : none_batched(in.subspan(1));
  }
  if (name == "transpose") {
    const auto perm = attribute<std::vector<int64_t>>(op, "perm");
    return perm && !perm->empty() && (*perm)[0] == 0;
  }
  if (std::ranges::find(kReduceInfos, name, &ReduceInfo::name) != kReduceInfos.end()) {
    const auto axes = attribute<std::vector<int64_t>>(op, "axes");
    return axes && !axes->empty() && spares_rows(*axes, in[0].rank());
  }
  if (name == "gather")  // of a table
    return !in[0].batched && attribute<int64_t>(op, "axis") == 0 &&
           attribute<int64_t>(op, "batch_dims").value_or(0) == 0;
  return false;
}

// What a step touches and does for one sample, and the weights that it reads each time.
struct Load {
  int64_t bytes = 0, flops = 0, weight_bytes = 0;
  bool of_bytes = false;           // a product of bytes
  const FileStep* step = nullptr;  // of all samples, with its operands and results
  std::vector<Rows> in, out;
};

// Steps from the first on that can be run by parts, with their loads; none for those that only name
// memory. Empty where the inputs have no common batch.
std::vector<Load> loads_by_parts(const Plan& plan, int64_t& batch) {
  const FileGraph& file = *plan.graph->file;
  TensorTypes inputs;
  for (const int v : file.inputs) inputs.push_back(plan.values[static_cast<size_t>(v)].type);
  const std::vector<bool> are_batched = batched_inputs(inputs);
  std::vector<char> batched(plan.values.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!are_batched[i]) continue;
    batched[static_cast<size_t>(file.inputs[i])] = 1;
    batch = inputs[i].shape[0].size();
  }
  const auto rows_of = [&](std::span<const int> values) {
    std::vector<Rows> rows;
    for (const int v : values) {
      const auto i = static_cast<size_t>(v);
      rows.push_back(v < 0 ? Rows() : Rows{plan.values[i].type, batched[i] != 0});
    }
    return rows;
  };
  std::vector<Load> loads;
  for (size_t i = 0; batch > 1 && i < plan.steps.size(); ++i) {
    const FileStep& step = file.steps[i];
    const StepKind kind = plan.steps[i].kind;
    Load& load = loads.emplace_back();
    if (kind == StepKind::kNothing) continue;
    const std::vector<Rows> in = rows_of(step.inputs), out = rows_of(step.outputs);
    const auto has_rows = [&](const Rows& y) {
      return y.rank() >= 1 && y.type.shape.is_static() && y.type.shape[0].size() == batch;
    };
    if ((kind != StepKind::kStatic && kind != StepKind::kView) || none_batched(in) ||
        !std::ranges::all_of(out, has_rows) || !is_row_wise(step, in, out)) {
      loads.pop_back();
      break;
    }
    for (const int v : step.outputs) batched[static_cast<size_t>(v)] = 1;
    if (kind == StepKind::kView) continue;
    TensorTypes in_types, out_types;
    const bool is_table = step.op->def().name == "gather";  // of which only some rows are read
    load.step = &step;
    load.in = in;
    load.out = out;
    for (const Rows& x : in) {
      in_types.push_back(x.type);
      if (x.batched || !is_table)
        (x.batched ? load.bytes : load.weight_bytes) += x.type.byte_size().value_or(0);
    }
    for (const Rows& y : out) {
      out_types.push_back(y.type);
      load.bytes += y.type.byte_size().value_or(0);
    }
    load.bytes /= batch;
    load.flops = step.op->flops(in_types, out_types) / batch;
    load.of_bytes = step.op->def().name.starts_with("quantized_");
  }
  return loads;
}

// A model of the caches, good enough to tell gains of some per cent from losses.
class Costs {
 public:
  // Seconds for what a step of so many samples moves, beyond what it computes.
  double move(const Load& load, int64_t samples) const {
    const int64_t bytes = load.bytes * samples;
    if (bytes <= l2_) return 0;
    return static_cast<double>(bytes) / (bytes <= kShared ? kNear : kFar);
  }
  // Seconds for what a step of so many samples computes, beyond what it would as a part of `batch`.
  double compute_more(const Load& load, int64_t samples, int64_t batch) const {
    if (load.step == nullptr) return 0;
    const double more = share(load, samples) - share(load, batch);
    return std::max(0.0, more) * compute(load, samples);
  }
  // Seconds to read the weights for so many samples, beyond what is computed meanwhile. Products of
  // bytes wait for them even where they come from near.
  double read_weights(const Load& load, int64_t samples) const {
    if (load.weight_bytes <= l2_ / 4) return 0;
    const auto bytes = static_cast<double>(load.weight_bytes);
    return std::max(load.of_bytes ? bytes / kNear : 0, bytes / kFar - compute(load, samples));
  }
  double compute(const Load& load, int64_t samples) const {
    return static_cast<double>(load.flops * samples) / (load.of_bytes ? kByteFlops : kFlops);
  }
  static double share(const Load& load, int64_t samples) {
    const auto types_of = [&](const std::vector<Rows>& rows) {
      TensorTypes types;
      for (const Rows& x : rows) types.push_back(x.batched ? with_rows(x.type, samples) : x.type);
      return types;
    };
    TensorTypes out = types_of(load.out);
    for (TensorType& y : out) y = with_rows(y, samples);
    return cpu::multiplied_share(*load.step->op, types_of(load.in), out);
  }
  static constexpr double kStart = 5e-7;  // seconds for a step to begin
  // Seconds in which threads find what a step has for them and wait for the last one.
  static constexpr double kJoin = 3e-6;

 private:
  static constexpr double kNear = 80e9, kFar = 20e9, kFlops = 300e9, kByteFlops = 1e12;  // a second
  // What may be counted on of a cache that is shared with other cores and their programs.
  static constexpr int64_t kShared = int64_t{8} << 20;
  int64_t l2_ = cpu_features().l2_bytes;
};

}  // namespace

size_t steps_by_parts(const Plan& plan) {
  int64_t batch = 0;
  return loads_by_parts(plan, batch).size();
}

bool runs_beside(int64_t parts, int threads) {
  return threads > 1 && parts % threads == 0;
}

HeadChoice choose_batch_head(const Plan& plan, int threads, int64_t part) {
  static const Costs costs;
  constexpr double kLeast = 0.03;  // of the time: what is less is not worth another plan
  constexpr int64_t kMostParts = 4096;
  int64_t batch = 0;
  const std::vector<Load> loads = loads_by_parts(plan, batch);
  HeadChoice best{0, 0, batch};
  if (part > 0)
    return part >= batch || batch % part != 0 || batch / part > kMostParts
               ? best
               : HeadChoice{loads.size(), part, batch};
  double best_gain = 0;
  for (int64_t parts = std::min(batch, kMostParts); parts > 1 && !loads.empty(); --parts) {
    if (batch % parts != 0) continue;
    part = batch / parts;
    const auto more = static_cast<double>(parts);
    const bool beside = runs_beside(parts, threads);
    const double join = threads > 1 ? Costs::kJoin : 0;
    // What it costs more to begin a step for every part, of which threads run some each.
    const double begin =
        beside ? more / threads * Costs::kStart - join : more * Costs::kStart + (more - 1) * join;
    double gain = beside ? -join : 0, whole = 0;
    for (size_t i = 0; i < loads.size(); ++i) {
      const Load& load = loads[i];
      const double moved = costs.move(load, batch);
      whole += moved + costs.compute(load, batch) / threads;
      gain += moved - more * costs.move(load, part) - (more - 1) * costs.read_weights(load, part);
      gain -= more * costs.compute_more(load, part, batch) / threads;
      if (load.bytes > 0) gain -= begin;
      if (gain <= best_gain || gain < kLeast * whole) continue;
      best_gain = gain;
      best = {i + 1, part, batch};
    }
  }
  return best;
}

std::vector<bool> batched_inputs(std::span<const TensorType> inputs) {
  const auto rows = [](const TensorType& t) {
    const bool has = !t.is_list && !t.is_none() && t.dtype != DType::string &&
                     t.shape.is_static() && t.shape.rank() > 0;
    return has ? t.shape[0].size() : 0;
  };
  const auto first = std::ranges::find_if(inputs, [&](const TensorType& t) { return rows(t) > 0; });
  std::vector<bool> batched;
  for (const TensorType& t : inputs) batched.push_back(rows(t) > 0 && rows(t) == rows(*first));
  return batched;
}

TensorType with_rows(TensorType type, int64_t rows) {
  type.shape[0] = rows;
  return type;
}

bool is_part_of(const Plan& part, const Plan& whole, const HeadChoice& head) {
  const FileGraph& file = *whole.graph->file;
  for (size_t i = 0; i < head.steps; ++i) {
    const StepKind kind = whole.steps[i].kind;
    if (kind == StepKind::kNothing) continue;
    if (part.steps[i].kind == StepKind::kDynamic || part.steps[i].kind == StepKind::kRegions)
      return false;
    for (const int v : file.steps[i].outputs)
      if (part.values[static_cast<size_t>(v)].type !=
          with_rows(whole.values[static_cast<size_t>(v)].type, head.part))
        return false;
  }
  return true;
}

}  // namespace tenon::runtime

#include "quant/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "ops/conv.h"
#include "ops/matmul.h"
#include "quant/byte_layers.h"
#include "quant/two_bytes.h"
#include "quant/weights.h"
#include "rewrite/pass.h"

namespace tenon::quant {

std::string product_refusal(const Node& node) {
  const Value* x = node.input(0);
  if (x->dtype() != DType::f32 || !x->shape().ranked()) return "the rank of its input is not known";
  if (x->constant() != nullptr) return "its input is constant";
  if (node.input(3) != nullptr) return "it has a residual";
  if (std::string reason = weights_refusal(node); !reason.empty()) return reason;
  const Value* bias = node.input(2);
  if (const auto* matmul = node.as<Matmul>()) {
    if (matmul->transpose_a) return "its input is used transposed";
    if (matmul->alpha != 1) return "its product is scaled";
    if (matmul->activation > ActivationKind::clip) return "its activation";
    if (bias != nullptr && (!bias->shape().ranked() || bias->shape().rank() != 1))
      return "its bias is not one value per column";
    return {};
  }
  return node.as<Conv>()->activation > ActivationKind::clip ? "its activation" : "";
}

namespace {

// Values that must have the same parameters.
class Groups {
 public:
  const Value* find(const Value* v) {
    while (true) {
      const auto it = parent_.find(v);
      if (it == parent_.end()) return v;
      v = it->second;
    }
  }
  void join(const Value* a, const Value* b) {
    a = find(a);
    b = find(b);
    if (a != b) parent_[b] = a;
  }

 private:
  std::unordered_map<const Value*, const Value*> parent_;
};

// What `v` is where the values in `known` are those given.
Result<Tensor> evaluate_chain(const Value& v, std::unordered_map<const Value*, Tensor>& known) {
  if (const auto it = known.find(&v); it != known.end()) return it->second;
  const Node* node = v.producer();
  if (node == nullptr) return internal_error("a chain that does not end");
  if (const Tensor* constant = v.constant()) return constant->reshaped({});
  std::vector<Tensor> operands;
  for (const Value* x : node->inputs()) operands.push_back(TRY(evaluate_chain(*x, known)));
  Tensor y = TRY(evaluate(node->op(), operands))[0];
  known[&v] = y;
  return y;
}

class Planner {
 public:
  Planner(const Graph& graph, const FunctionStatistics& statistics, const QuantizeOptions& options)
      : graph_(graph), statistics_(statistics), options_(options) {}

  Result<Plan> run() {
    for (NamedValue& v : observed_values(graph_)) plan_.names[v.value] = std::move(v.name);
    for (const auto& node : graph_.nodes()) plan_.order.push_back(node.get());
    TRY(choose_products());
    choose_between();
    find_bases();
    find_bytes();
    TRY(choose_ranges());
    TRY(make_tables());
    return std::move(plan_);
  }

 private:
  Status choose_products() {
    for (const Node* node : plan_.order) {
      if (!is_candidate(*node)) {
        if (const Support s = support_of(*node); s != Support::none) plan_.supports[node] = s;
        continue;
      }
      LayerChoice layer{plan_.names[node->output()]};
      layer.op = node->def().name;
      layer.node = node->origins.empty() ? layer.name : node->origins.front();
      layer.reason = is_recurrent(*node) ? TRY(recurrent_refusal(*node)) : product_refusal(*node);
      const auto x = statistics_.tensors.find(plan_.names[node->input(0)]);
      if (layer.reason.empty() && x != statistics_.tensors.end() && x->second.count == 0)
        layer.reason = "its input held no finite value on the calibration data";
      if (const auto kept = options_.keep_float.find(layer.name);
          layer.reason.empty() && kept != options_.keep_float.end())
        layer.reason = kept->second;
      layer.integer = layer.reason.empty();
      if (layer.integer && is_dense(*node) && options_.two_bytes.contains(layer.name) &&
          x != statistics_.tensors.end())
        plan_.two_bytes[node] = &x->second;
      else if (layer.integer)
        (is_recurrent(*node) ? plan_.recurrent : plan_.integer).insert(node);
      if (layer.integer && is_product(*node) && options_.bias_correction &&
          x != statistics_.tensors.end() && x->second.channel_count > 0) {
        auto& means = plan_.input_means[node] = x->second.channel_sum;
        for (double& mean : means) mean /= static_cast<double>(x->second.channel_count);
      }
      plan_.report.layers.push_back(std::move(layer));
    }
    return {};
  }

  // Nodes whose result a product of integers needs, and that are given integers.
  void choose_between() {
    std::unordered_set<const Value*> needed;
    const auto is_needed = [&](const Node& node) {
      for (int i = 0; i < node.output_count(); ++i)
        if (needed.contains(node.output(i))) return true;
      return false;
    };
    for (auto it = plan_.order.rbegin(); it != plan_.order.rend(); ++it) {
      const Node* node = *it;
      if (plan_.is_integer(node)) needed.insert(node->input(0));
      const Support s = plan_.support(*node);
      if (s == Support::none || !is_needed(*node)) continue;
      for (const Value* v : data_operands(*node, s)) needed.insert(v);
    }
    for (const Node* node : plan_.order) {
      const Support s = plan_.support(*node);
      if (s == Support::none || !is_needed(*node)) continue;
      const std::vector<Value*> operands = data_operands(*node, s);
      const bool of_integers = std::ranges::any_of(
          operands, [&](const Value* v) { return plan_.is_integer(v->producer()); });
      // A constant table is written in the bytes that are looked up.
      const bool of_table = operands.empty() && s == Support::move &&
                            !options_.keep_float.contains(plan_.names[node->output()]) &&
                            is_only_multiplied(node->output());
      if (of_integers || of_table) plan_.integer.insert(node);
    }
  }

  // Whether all that becomes of it, perhaps moved, is input of products of integers.
  bool is_only_multiplied(const Value* v) const {
    return !graph_.is_output(v) && std::ranges::all_of(v->uses(), [&](const Use& use) {
      if (use.index != 0) return false;
      if (is_product(*use.user)) return plan_.is_integer(use.user);
      return plan_.support(*use.user) == Support::move && use.user->output_count() == 1 &&
             is_only_multiplied(use.user->output());
    });
  }

  void find_bases() {
    for (const Node* node : plan_.order) {
      if (plan_.support(*node) != Support::pointwise || !plan_.is_integer(node)) continue;
      const Value* base = nullptr;
      bool single = true;
      for (const Value* v : node->inputs()) {
        if (v->constant() != nullptr) {
          single &= v->constant()->elements() == 1;
          continue;
        }
        single &= base == nullptr || base == plan_.base_of(v);
        base = plan_.base_of(v);
      }
      if (single && base != nullptr && base->shape() == node->output()->shape())
        plan_.bases[node->output()] = base;
    }
  }

  // Results that are computed in f32 from operands of bytes.
  bool is_mixed(const Value* v) const {
    const Node* producer = v->producer();
    return producer != nullptr && plan_.support(*producer) == Support::pointwise &&
           plan_.base_of(v) == v;
  }

  // What one pointwise node alone reads of another is never written: rounding it gains nothing.
  bool stays_real(const Value& v, const Node& reader) const {
    return is_mixed(plan_.base_of(&v)) && has_single_use(graph_, &v) &&
           v.shape() == reader.output()->shape();
  }

  void add_bytes(const Value* v) { plan_.params.try_emplace(v); }

  void find_bytes() {
    for (auto it = plan_.order.rbegin(); it != plan_.order.rend(); ++it) {
      const Node* node = *it;
      bool wanted = false;
      for (int i = 0; i < node->output_count(); ++i) {
        const Value* v = node->output(i);
        const Value* base = plan_.base_of(v);
        wanted |= plan_.in_bytes(v);
        if (plan_.in_bytes(v) && base != v && plan_.is_integer(base->producer()) && !is_mixed(base))
          add_bytes(base);
      }
      if (!plan_.is_integer(node)) continue;
      if (is_product(*node)) {
        add_bytes(node->input(0));
        continue;
      }
      const Support s = plan_.support(*node);
      if (s == Support::pointwise) {
        if (!is_mixed(node->output())) continue;
        for (const Value* v : data_operands(*node, s))
          if (plan_.is_integer(v->producer()) && !stays_real(*v, *node)) add_bytes(v);
        continue;
      }
      if (!wanted) continue;
      for (const Value* v : data_operands(*node, s)) add_bytes(v);
      for (int i = 0; s == Support::move && i < node->output_count(); ++i)
        add_bytes(node->output(i));
    }
  }

  Result<const TensorStatistics*> statistics_of(const Value* v) {
    const auto it = statistics_.tensors.find(plan_.names[v]);
    if (it != statistics_.tensors.end()) return &it->second;
    return not_found(fmt::format(
        "the statistics have no tensor '{}': they were taken of another model", plan_.names[v]));
  }

  Status choose_ranges() {
    Groups groups;
    std::vector<const Value*> values;
    for (const auto& input : graph_.inputs())
      if (plan_.in_bytes(input.get())) values.push_back(input.get());
    for (const Node* node : plan_.order) {
      for (int i = 0; i < node->output_count(); ++i)
        if (plan_.in_bytes(node->output(i))) values.push_back(node->output(i));
      if (!plan_.moves_bytes(*node)) continue;
      for (const Value* v : data_operands(*node, Support::move))
        for (int i = 0; i < node->output_count(); ++i) groups.join(v, node->output(i));
    }
    // The widest member holds the others' values.
    std::unordered_map<const Value*, std::pair<const Value*, double>> widest;
    for (const Value* v : values) {
      const TensorStatistics* s = TRY(statistics_of(v));
      const double width = std::max(s->max, 0.0) - std::min(s->min, 0.0);
      const auto [it, is_new] = widest.try_emplace(groups.find(v), v, width);
      if (!is_new && width > it->second.second) it->second = {v, width};
    }
    std::unordered_map<const Value*, Range> ranges;
    for (const Value* v : values) {
      const Value* member = widest.at(groups.find(v)).first;
      if (!ranges.contains(member)) {
        const auto own = options_.methods.find(plan_.names[member]);
        ranges[member] =
            choose_range(*TRY(statistics_of(member)),
                         own == options_.methods.end() ? options_.method : own->second);
      }
      choose(v, ranges[member], *TRY(statistics_of(v)));
    }
    std::unordered_set<const Value*> seen;
    for (const Node* node : plan_.order)
      if (const auto it = plan_.two_bytes.find(node);
          it != plan_.two_bytes.end() && seen.insert(node->input(0)).second)
        report(two_byte_choice(plan_.names[node->input(0)], *it->second), *it->second);
    return {};
  }

  void choose(const Value* v, const Range& range, const TensorStatistics& s) {
    const std::string& name = plan_.names[v];
    TensorChoice choice{name, range, params_of(range)};
    choice.saturation = saturation(s, choice.params);
    const double power = s.count > 0 ? s.sum_squares / static_cast<double>(s.count) : 0;
    const double error = expected_error(s, choice.params);
    choice.sqnr_db = power > 0 && error > 0 ? 10 * std::log10(power / error) : 0;
    plan_.params[v] = choice.params;
    report(std::move(choice), s);
  }

  void report(TensorChoice choice, const TensorStatistics& s) {
    if (s.is_constant())
      plan_.report.warnings.push_back(
          fmt::format("tensor '{}' was {} throughout the calibration data: its range is a guess",
                      choice.name, s.min));
    if (s.not_finite > 0)
      plan_.report.warnings.push_back(
          fmt::format("tensor '{}' held {} values that are not finite; they were left out",
                      choice.name, s.not_finite));
    plan_.report.tensors.push_back(std::move(choice));
  }

  // The 256 values of pointwise results whose base becomes bytes.
  Status make_tables() {
    for (const Node* node : plan_.order) {
      const Value* v = node->output_count() == 1 ? node->output() : nullptr;
      const Value* base = v == nullptr ? nullptr : plan_.base_of(v);
      if (v == nullptr || base == v || !plan_.in_bytes(v) || !plan_.in_bytes(base)) continue;
      const QuantParams from = plan_.params[base], to = plan_.params[v];
      Tensor x = TRY(Tensor::allocate(DType::f32, std::vector<int64_t>{256}));
      for (int i = 0; i < 256; ++i)
        x.mutable_data<float>()[i] = static_cast<float>(i - from.zero) * from.scale;
      std::unordered_map<const Value*, Tensor> known{{base, x}};
      const Tensor y = TRY(evaluate_chain(*v, known));
      if (y.elements() != 256 || y.dtype() != DType::f32)
        return internal_error(fmt::format("no table for '{}'", plan_.names[v]));
      Tensor table = TRY(Tensor::allocate(DType::u8, std::vector<int64_t>{256}));
      for (int i = 0; i < 256; ++i) {
        const float q = std::nearbyint(y.data<float>()[i] / to.scale) + static_cast<float>(to.zero);
        table.mutable_data<uint8_t>()[i] =
            static_cast<uint8_t>(std::isnan(q) ? 0.0f : std::clamp(q, 0.0f, 255.0f));
      }
      plan_.tables[v] = std::move(table);
    }
    return {};
  }

  const Graph& graph_;
  const FunctionStatistics& statistics_;
  const QuantizeOptions& options_;
  Plan plan_;
};

}  // namespace

bool is_product(const Node& node) {
  return (node.as<Conv>() != nullptr || node.as<Matmul>() != nullptr) &&
         node.output()->dtype() == DType::f32;
}

bool is_candidate(const Node& node) {
  return is_product(node) || (is_recurrent(node) && node.output()->dtype() == DType::f32);
}

Result<Plan> make_plan(const Graph& graph, const FunctionStatistics& statistics,
                       const QuantizeOptions& options) {
  return Planner(graph, statistics, options).run();
}

}  // namespace tenon::quant

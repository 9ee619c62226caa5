// Elementwise nodes, one or a fused region of them, as one kernel of the vector unit.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "isa/check_program.h"
#include "lower/elementwise.h"
#include "lower/pack.h"
#include "lower/tiles.h"
#include "lower/vector_core.h"
#include "ops/quantize.h"

namespace tenon::lower {
namespace {

bool is_quantising(const Node& node) {
  return node.is("quantize_linear") || node.is("dequantize_linear");
}

bool is_pointwise(const Node& node) {
  return node.def().has(kPointwise) || is_quantising(node) || node.is("fake_quant");
}

// What is computed in f32 whatever the reals are.
bool is_wide(const Node& node) {
  static constexpr std::string_view kNames[] = {"sigmoid", "tanh", "silu", "mish", "fake_quant",
                                                "sin",     "cos",  "tan",  "pow"};
  return is_quantising(node) || std::ranges::find(kNames, node.def().name) != std::end(kNames);
}

// Whether f16 holds it without losing more than the last bits: 1e-12 would be 0 there, and 1e9
// infinite.
bool is_half(double x) {
  constexpr double kLeast = 0x1p-14;
  return x == 0 || !std::isfinite(x) || (std::abs(x) >= kLeast && std::abs(x) <= kMostHalf);
}

class Pointwise {
 public:
  Pointwise(Lowering& lowering, const Node& node) : lowering_(lowering), node_(node) {}

  Status run() {
    collect();
    work_.dims = dims_of(node_.output());
    work_.strides = broadcast_strides(work_.dims, work_.dims);
    TRY(find_operands());
    for (const Node* n : nodes_) {
      TRY(check_scales(*n));
      for (int i = 0; i < n->output_count(); ++i) {
        const DType t = n->output(i)->dtype();
        if (!isa::is_tile_dtype(lowering_.device_dtype(t)))
          return unsupported(fmt::format("the vector unit does not compute in {}", dtype_name(t)));
        if (t == DType::i64 && !n->is("cast") && !lowering_.ranges().fits_i32(n->output(i)))
          return unsupported("its whole numbers may take more than 32 bits");
      }
    }
    work_.wide = std::ranges::any_of(nodes_, [](const Node* n) { return is_wide(*n); });
    const auto is_lost = [](const auto& n) {
      return is_float(n.first->dtype()) && !is_half(n.second);
    };
    if (lowering_.real() == DType::f16 && std::ranges::any_of(numbers_, is_lost)) {
      work_.real = DType::f32;
      stays_finite_ = std::ranges::any_of(
          numbers_, [&](const auto& n) { return is_lost(n) && std::abs(n.second) > kMostHalf; });
    }
    if (lowering_.real() == DType::bf16)
      stays_finite_ = std::ranges::any_of(numbers_, [](const auto& n) {
        return std::isfinite(n.second) && std::abs(n.second) > kMostBFloat16;
      });
    for (size_t i = 0; i < results_.size(); ++i)
      work_.results.push_back(lowering_.tensor_of(node_.output(static_cast<int>(i))));
    // Reals that are no halves are beyond what those hold.
    const auto is_single = [&](int tensor) { return lowering_.tensor(tensor).dtype == DType::f32; };
    if (lowering_.real() == DType::f16 &&
        (std::ranges::any_of(work_.operands, is_single, &Elementwise::Operand::tensor) ||
         std::ranges::any_of(work_.results, is_single))) {
      work_.real = DType::f32;
      stays_finite_ = true;
    }
    work_.compute = [this](VectorCode& code, std::span<const Register> operands) {
      return compute(code, operands);
    };
    return lower_elementwise(lowering_, node_, work_);
  }

 private:
  void collect() {
    if (node_.regions().empty()) {
      nodes_ = {&node_};
      for (int i = 0; i < node_.output_count(); ++i) results_.push_back(node_.output(i));
      return;
    }
    const Graph& region = *node_.regions()[0];
    for (const auto& n : region.nodes())
      if (!n->is("const")) nodes_.push_back(n.get());
    for (const Value* v : region.outputs()) results_.push_back(v);
    for (size_t i = 0; i < region.inputs().size(); ++i)
      bind(region.inputs()[i].get(), node_.input(static_cast<int>(i)));
  }

  void bind(const Value* inner, const Value* outer) {
    outer_[inner] = outer;
    lowering_.ranges().bind(inner, outer);
  }

  // Scales and zeros go along the last axis, or are one for all.
  static Status check_scales(const Node& n) {
    if (!is_quantising(n)) return {};
    int64_t axis = -1;
    if (const auto* op = n.as<QuantizeLinear>()) axis = op->axis;
    if (const auto* op = n.as<DequantizeLinear>()) axis = op->axis;
    const auto dims = dims_of(n.input(0));
    if (axis < 0) axis += static_cast<int64_t>(dims.size());
    for (int i = 1; i < n.input_count(); ++i) {
      if (n.input(i) == nullptr || count_of(dims_of(n.input(i))) == 1) continue;
      if (axis + 1 != static_cast<int64_t>(dims.size()))
        return unsupported("its scales are along an inner axis");
    }
    return {};
  }

  // What a value inside a region is outside.
  const Value* outer(const Value* v) const {
    const auto found = outer_.find(v);
    return found == outer_.end() ? v : found->second;
  }

  Status find_operands() {
    std::vector<const Value*> made;
    for (const Node* n : nodes_) {
      for (const Value* inside : n->inputs()) {
        const Value* v = inside == nullptr ? nullptr : outer(inside);
        if (v == nullptr || std::ranges::find(made, v) != made.end() || numbers_.contains(v))
          continue;
        if (const auto number = splat(v)) {
          numbers_[v] = *number;
          continue;
        }
        if (std::ranges::find(operands_, v) != operands_.end()) continue;
        const auto dims = dims_of(v);
        if (dims.size() > work_.dims.size() || count_of(dims) > count_of(work_.dims))
          return unsupported("an operand is larger than the result");
        operands_.push_back(v);
        work_.operands.push_back(
            {v->name, lowering_.tensor_of(v), broadcast_strides(dims, work_.dims)});
      }
      for (int i = 0; i < n->output_count(); ++i) made.push_back(n->output(i));
    }
    return {};
  }

  static std::optional<double> splat(const Value* v) {
    const Tensor* t = v->constant();
    if (t == nullptr || t->elements() == 0 || t->dtype() == DType::string) return std::nullopt;
    const double x = t->real_at(0);
    for (int64_t i = 1; i < t->elements(); ++i)
      if (i > 4096 || t->real_at(i) != x) return std::nullopt;
    return x;
  }

  // Computes every node on tiles of the operands.
  Result<std::vector<Register>> compute(VectorCode& code, std::span<const Register> operands) {
    std::unordered_map<const Value*, Register> values;
    std::unordered_map<const Value*, size_t> readers;
    const auto computed = [&](const Register& x) {
      return x.view.dtype == DType::f16 ? code.tile(x, code.real()) : code.computed(x);
    };
    for (const Node* n : nodes_)
      for (const Value* v : n->inputs()) ++readers[v];
    for (const Value* v : results_) ++readers[v];
    for (const Node* n : nodes_) {
      std::vector<Register> in;
      for (const Value* inside : n->inputs()) {
        if (inside == nullptr) return unsupported("an operand is left out");
        const Value* v = outer(inside);
        if (const auto made = values.find(v); made != values.end())
          in.push_back(made->second);
        else if (const auto number = numbers_.find(v); number != numbers_.end())
          in.push_back({{}, number->second, nullptr});
        else
          in.push_back(computed(
              operands[static_cast<size_t>(std::ranges::find(operands_, v) - operands_.begin())]));
      }
      for (const Value* v : n->inputs())
        if (--readers[v] == 0) values.erase(v);
      values[n->output()] = TRY(code.apply(*n, in));
    }
    std::vector<Register> out;
    for (size_t i = 0; i < results_.size(); ++i) {
      const Register& y = values.at(results_[i]);
      const DType dtype = lowering_.tensor(work_.results[i]).dtype;
      const float most = dtype == DType::f16 ? kBeyondHalf : kMostBFloat16;
      const bool is_narrow = dtype == DType::f16 || dtype == DType::bf16;
      out.push_back(stays_finite_ && is_narrow ? code.clip(y, -most, most) : y);
    }
    return out;
  }

  Lowering& lowering_;
  const Node& node_;
  std::vector<const Node*> nodes_;
  std::vector<const Value*> results_;
  std::unordered_map<const Value*, const Value*> outer_;
  std::unordered_map<const Value*, double> numbers_;
  std::vector<const Value*> operands_;
  bool stays_finite_ = false;  // what is finite in f32 becomes no infinity of a narrower type
  Elementwise work_;
};

}  // namespace

Status lower_pointwise(Lowering& lowering, const Node& node) {
  if (node.output_count() != 1 && !node.is("fused"))
    return unsupported(fmt::format("chips have no '{}'", node.def().name));
  if (!node.is("fused") && !is_pointwise(node))
    return unsupported(fmt::format("chips have no '{}'", node.def().name));
  return Pointwise(lowering, node).run();
}

}  // namespace tenon::lower

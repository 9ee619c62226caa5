#include "device/cpu/fused_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "device/cpu/strides.h"
#include "ops/binary.h"
#include "ops/cast.h"
#include "ops/quantize.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "ops/unary_attr.h"

namespace tenon::cpu {
namespace {

// Comparisons give 0 or 1.
template <BinaryKind K>
float map2_value(float a, float b) {
  if constexpr (K == BinaryKind::equal) return a == b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::not_equal) return a != b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::less) return a < b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::less_equal) return a <= b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::greater) return a > b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::greater_equal) return a >= b ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::logical_and) return a != 0 && b != 0 ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::logical_or) return a != 0 || b != 0 ? 1.0f : 0.0f;
  if constexpr (K == BinaryKind::logical_xor) return (a != 0) != (b != 0) ? 1.0f : 0.0f;
  return static_cast<float>(binary_value(K, static_cast<double>(a), static_cast<double>(b)));
}
template <BinaryKind K>
void map2(const float* a, const float* b, float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = map2_value<K>(a[i], b[i]);
}

struct Map2Row {
  std::string_view op;
  Map2 function;
};
template <BinaryKind K>
constexpr Map2Row map2_row() {
  return {kBinaryInfos[static_cast<size_t>(K)].name, map2<K>};
}
constexpr Map2Row kMap2Rows[] = {
    map2_row<BinaryKind::equal>(),       map2_row<BinaryKind::not_equal>(),
    map2_row<BinaryKind::less>(),        map2_row<BinaryKind::less_equal>(),
    map2_row<BinaryKind::greater>(),     map2_row<BinaryKind::greater_equal>(),
    map2_row<BinaryKind::logical_and>(), map2_row<BinaryKind::logical_or>(),
    map2_row<BinaryKind::logical_xor>(), map2_row<BinaryKind::floor_div>(),
    map2_row<BinaryKind::floor_mod>(),   map2_row<BinaryKind::trunc_mod>(),
    map2_row<BinaryKind::atan2>(),       map2_row<BinaryKind::div_no_nan>()};

template <typename T>
bool map_of(const Op& op, std::function<double(double)>& map) {
  const T* value = op.as<T>();
  if (value != nullptr) map = [v = *value](double x) { return v.value(x); };
  return value != nullptr;
}

// The operation of an op but for its operands. False: there is none.
bool operation(const Op& op, DType from, DType to, Instruction& out) {
  const std::string_view name = op.def().name;
  if (const auto k = unary_kernel(name)) {
    out.code = Code::kUnary;
    out.kernel = static_cast<uint8_t>(*k);
    return true;
  }
  if (const auto k = binary_kernel(name)) {
    out.code = Code::kBinary;
    out.kernel = static_cast<uint8_t>(*k);
    return true;
  }
  out.activation = activation_of(op);
  if (out.activation.kind != ActivationKind::kNone) {
    out.code = Code::kActivate;
    return true;
  }
  for (const Map2Row& row : kMap2Rows)
    if (row.op == name) {
      out.code = Code::kMap2;
      out.map2 = row.function;
      return true;
    }
  if (op.as<Select>() != nullptr) {
    out.code = Code::kSelect;
    return true;
  }
  if (op.as<Cast>() != nullptr) {
    out.code = to == DType::boolean && from != to ? Code::kTruth : Code::kCopy;
    return true;
  }
  if (name == "logical_not") {
    out.code = Code::kNot;
    return true;
  }
  out.code = Code::kMap;
  if (map_of<Selu>(op, out.map) || map_of<Celu>(op, out.map) ||
      map_of<ThresholdedRelu>(op, out.map) || map_of<Shrink>(op, out.map))
    return true;
  for (size_t i = 0; i < kUnaryInfos.size(); ++i)
    if (kUnaryInfos[i].name == name && name != "bitwise_not") {
      out.map = [kind = static_cast<UnaryKind>(i)](double x) { return unary_value(kind, x); };
      return true;
    }
  return false;
}

bool is_byte(DType dtype) {
  return dtype == DType::i8 || dtype == DType::u8;
}
bool is_allowed(DType dtype) {
  return dtype == DType::f32 || dtype == DType::boolean || is_byte(dtype);
}

Instruction binary(std::string_view op, int dst, int a, int b) {
  Instruction in;
  in.code = Code::kBinary;
  in.kernel = static_cast<uint8_t>(*binary_kernel(op));
  in.dst = dst;
  in.src[0] = a;
  in.src[1] = b;
  in.scalar[1] = true;
  return in;
}

// quantize_linear and dequantize_linear of slot `x` by scalars; `zero` may be absent (-1).
// A scale that is 1 needs no multiplication.
void quantisation(bool quantize, DType dtype, int dst, int x, int scale, int zero, bool is_one,
                  std::vector<Instruction>& code) {
  if (!quantize) {
    if (zero >= 0) code.push_back(binary("sub", dst, x, zero));
    if (zero < 0 || !is_one) code.push_back(binary("mul", dst, zero >= 0 ? dst : x, scale));
    return;
  }
  code.push_back(binary("div", dst, x, scale));
  Instruction round;
  round.code = Code::kUnary;
  round.kernel = static_cast<uint8_t>(*unary_kernel("round"));
  round.dst = round.src[0] = dst;
  code.push_back(round);
  if (zero >= 0) code.push_back(binary("add", dst, dst, zero));
  Instruction clip;
  clip.code = Code::kActivate;
  clip.activation.kind = ActivationKind::kClip;
  clip.activation.alpha = dtype == DType::u8 ? 0.0f : -128.0f;
  clip.activation.beta = clip.activation.alpha + 255;
  clip.dst = clip.src[0] = dst;
  code.push_back(clip);
}

// Translates a region. The error is the reason the kernel does not apply.
class Translator {
 public:
  Translator(const StepInfo& step, Program& program)
      : step_(step), region_(*step.region), p_(program), values_(region_.values) {}

  std::string run() {
    for (const TensorType& t : step_.inputs)
      if (t.is_none() || t.is_list || (!is_allowed(t.dtype) && t.dtype != DType::bf16))
        return "the type of an operand";
    if (step_.outputs.empty() || region_.outputs.size() != step_.outputs.size() ||
        region_.inputs.size() != step_.inputs.size())
      return "the sub-graph does not fit";
    dims_ = step_.outputs[0].shape.sizes();
    for (const TensorType& t : step_.outputs)
      if (t.shape.sizes() != dims_ || !is_allowed(t.dtype)) return "results of different shapes";
    put_in_order();
    count_uses();
    if (std::string reason = constants(); !reason.empty()) return reason;
    if (std::string reason = operands(); !reason.empty()) return reason;
    for (size_t i = 0; i < order_.size(); ++i)
      if (std::string reason = translate(static_cast<int>(i)); !reason.empty()) return reason;
    return finish();
  }

 private:
  struct Known {
    TensorType type;
    int slot = -1;
    bool scalar = false;
    int step = -1;  // that computes it, until that has its place
    int last_use = -1;
    int reg = -1;     // to be given back after the last use
    int output = -1;  // index of the result it is
    const Tensor* constant = nullptr;
    std::optional<ByteQuantizer> rounding;
  };
  Known& value(int v) { return values_[static_cast<size_t>(v)]; }
  int new_slot() { return p_.slots++; }

  // Each step right before what reads it first: few values wait at a time.
  void put_in_order() {
    for (size_t i = 0; i < region_.steps.size(); ++i)
      for (const int v : region_.steps[i].outputs) value(v).step = static_cast<int>(i);
    for (const int v : region_.outputs) visit(v);
  }
  void visit(int v) {
    const int step = v < 0 ? -1 : std::exchange(value(v).step, -1);
    if (step < 0) return;
    for (const int x : region_.steps[static_cast<size_t>(step)].inputs) visit(x);
    order_.push_back(step);
  }
  const Region::Step& step_at(int index) const {
    return region_.steps[static_cast<size_t>(order_[static_cast<size_t>(index)])];
  }

  void count_uses() {
    for (size_t i = 0; i < order_.size(); ++i)
      for (const int v : step_at(static_cast<int>(i)).inputs)
        if (v >= 0) value(v).last_use = static_cast<int>(i);
    for (size_t i = 0; i < region_.outputs.size(); ++i) {
      value(region_.outputs[i]).last_use = static_cast<int>(order_.size());
      value(region_.outputs[i]).output = static_cast<int>(i);
    }
  }

  int new_scalar() {
    const int slot = new_slot();
    p_.scalar_slots.push_back(slot);
    ++p_.scalars;
    return slot;
  }

  int new_register(Known& k) {
    if (free_.empty()) {
      free_.push_back(p_.registers++);
      p_.register_slots.push_back(new_slot());
    }
    k.reg = free_.back();
    free_.pop_back();
    return p_.register_slots[static_cast<size_t>(k.reg)];
  }

  std::string constants() {
    for (const auto& c : region_.constants) {
      const Tensor& t = *c.tensor;
      if (!is_allowed(t.dtype()) || t.elements() < 1) return "the type of a constant";
      for (int64_t i = 1; i < t.elements(); ++i)
        if (t.real_at(i) != t.real_at(0)) return "a constant is no scalar";
      Known& k = value(c.value);
      k.type = t.type();
      k.scalar = true;
      k.constant = &t;
      k.slot = new_scalar();
      p_.constants.emplace_back(k.slot, static_cast<float>(t.real_at(0)));
    }
    return {};
  }

  std::string operands() {
    std::vector<std::vector<int64_t>> strides;
    for (const TensorType& t : step_.inputs) {
      const auto sizes = t.shape.sizes();
      if (sizes.size() > dims_.size()) return "an operand has a higher rank than the result";
      for (size_t i = 0; i < sizes.size(); ++i)
        if (sizes[i] != 1 && sizes[i] != dims_[dims_.size() - sizes.size() + i])
          return "an operand does not broadcast to the result";
      strides.push_back(broadcast_strides(sizes, dims_));
    }
    strides.push_back(broadcast_strides(dims_, dims_));
    const Loops loops = collapse(dims_, strides);
    p_.loops = loops.shape;
    if (p_.loops.size() > kMaxLoops) return "too many dimensions";
    if (!p_.loops.empty()) p_.inner = p_.loops.back();
    for (size_t i = 0; i + 1 < p_.loops.size(); ++i) p_.rows *= p_.loops[i];
    for (size_t i = 0; i < step_.inputs.size(); ++i) {
      Known& k = value(region_.inputs[i]);
      if (k.output >= 0) return "a result is an operand";
      k.type = step_.inputs[i];
      Load load;
      load.input = i;
      load.dtype = k.type.dtype;
      load.strides = loops.strides[i];
      k.scalar =
          std::all_of(load.strides.begin(), load.strides.end(), [](auto s) { return s == 0; });
      const bool dense = load.strides == loops.strides.back();
      const bool by_row = p_.inner > kTile && !k.scalar && load.strides.back() == 1;
      load.direct = !k.scalar && load.dtype == DType::f32 && (dense || by_row);
      load.dense = dense && !k.scalar;
      load.once =
          !load.direct && p_.inner <= kTile && !k.scalar &&
          std::all_of(load.strides.begin(), load.strides.end() - 1, [](auto s) { return s == 0; });
      if (k.scalar)
        k.slot = new_scalar();
      else if (load.direct)
        k.slot = new_slot();
      else
        k.slot = new_register(k);
      if (load.once) k.reg = -1;
      load.slot = k.slot;
      (k.scalar ? p_.scalar_loads : p_.loads).push_back(std::move(load));
    }
    return {};
  }

  std::string translate(int index) {
    const Region::Step& step = step_at(index);
    if (step.outputs.size() != 1 || step.inputs.empty() || step.inputs.size() > 3)
      return fmt::format("{} is not pointwise", step.op->def().name);
    std::vector<OperandInfo> infos;
    Instruction in;
    bool all_scalar = true;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] < 0 || value(step.inputs[i]).slot < 0) return "an operand is absent";
      const Known& k = value(step.inputs[i]);
      if (k.type.dtype == DType::bf16 && step.op->as<Cast>() == nullptr)
        return "bf16 is not widened first";
      infos.push_back({k.type, nullptr, nullptr});
      in.src[i] = k.slot;
      in.scalar[i] = k.scalar;
      all_scalar &= k.scalar;
    }
    auto types = step.op->infer(InferContext(infos));
    if (!types.ok() || types->size() != 1 || !is_allowed((*types)[0].dtype))
      return fmt::format("the type of the result of {}", step.op->def().name);
    const bool quantize = step.op->as<QuantizeLinear>() != nullptr;
    const bool dequantize = step.op->as<DequantizeLinear>() != nullptr;
    const bool bytes = is_byte(infos[0].type.dtype) || is_byte((*types)[0].dtype);
    if (bytes != (quantize || dequantize) || (bytes && step.inputs.size() < 2))
      return fmt::format("{} of these types", step.op->def().name);
    for (size_t i = 1; bytes && i < infos.size(); ++i)
      if (!in.scalar[i] || infos[i].type.shape.rank() != 0) return "a scale is no scalar";
    if (bytes && (infos[dequantize ? 1 : 0].type.dtype != DType::f32 || all_scalar))
      return "quantisation of these types";
    Known& out = value(step.outputs[0]);
    out.type = (*types)[0];
    if (quantize && out.output >= 0 && !in.scalar[0] && round_at_the_end(step, out)) return {};
    if (!bytes && !operation(*step.op, infos[0].type.dtype, out.type.dtype, in))
      return fmt::format("there is no array kernel for {}", step.op->def().name);
    for (const int v : step.inputs) release(value(v), index);
    out.scalar = all_scalar && out.output < 0;
    if (all_scalar && out.output >= 0 && p_.inner * p_.rows != 1) return "a result is a scalar";
    if (out.output >= 0 && out.type.shape.sizes() != dims_) return "results of different shapes";
    if (out.scalar)
      out.slot = new_scalar();
    else if (out.output >= 0 && out.type.dtype == DType::f32)
      out.slot = new_slot();
    else
      out.slot = new_register(out);
    in.dst = out.slot;
    if (bytes) {
      const Tensor* scale = value(step.inputs[1]).constant;
      const bool is_one = scale != nullptr && scale->real_at(0) == 1;
      quantisation(quantize, out.type.dtype, in.dst, in.src[0], in.src[1],
                   step.inputs.size() > 2 ? in.src[2] : -1, is_one, p_.code);
    } else {
      (out.scalar ? p_.scalar_code : p_.code).push_back(std::move(in));
    }
    release(out, index);
    return {};
  }

  // A result that no step reads is rounded as it is stored.
  bool round_at_the_end(const Region::Step& step, Known& y) {
    for (const Region::Step& reader : region_.steps)
      if (std::ranges::find(reader.inputs, step.outputs[0]) != reader.inputs.end()) return false;
    const Tensor* scale = value(step.inputs[1]).constant;
    const bool has_zero = step.inputs.size() > 2;
    const Tensor* zero = has_zero ? value(step.inputs[2]).constant : nullptr;
    if (scale == nullptr || (has_zero && zero == nullptr) || y.type.shape.sizes() != dims_)
      return false;
    y.rounding = {static_cast<float>(scale->real_at(0)),
                  has_zero ? static_cast<int32_t>(zero->int_at(0)) : 0, y.type.dtype == DType::i8};
    Known& x = value(step.inputs[0]);
    x.last_use = static_cast<int>(order_.size());
    y.slot = x.slot;
    return true;
  }

  void release(Known& k, int index) {
    if (k.reg < 0 || k.last_use > index) return;
    free_.push_back(k.reg);
    k.reg = -1;
  }

  std::string finish() {
    for (size_t i = 0; i < region_.outputs.size(); ++i) {
      const Known& k = value(region_.outputs[i]);
      if (k.slot < 0 || k.output != static_cast<int>(i)) return "a result is not computed";
      p_.output_slots.push_back(k.slot);
      p_.output_types.push_back(k.type.dtype);
      p_.output_rounding.push_back(k.rounding);
    }
    if (p_.registers > kMaxRegisters || p_.scalars > kMaxScalars || p_.slots > kMaxSlots)
      return "it needs too many registers";
    return {};
  }

  const StepInfo& step_;
  const Region& region_;
  Program& p_;
  std::vector<Known> values_;
  std::vector<int64_t> dims_;
  std::vector<int> free_;
  std::vector<int> order_;  // of the steps
};

}  // namespace

std::string translate(const StepInfo& step, Program& program) {
  return Translator(step, program).run();
}

}  // namespace tenon::cpu

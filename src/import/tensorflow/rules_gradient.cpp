// Rules of what tf.gradients leaves in a graph: derivatives of activations, and the reductions and
// scatters that undo broadcasting and slicing.
#include <algorithm>

#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// Short algebra over the values of a rule: the first error sticks.
class Algebra {
 public:
  explicit Algebra(RuleContext& c) : c_(c), dtype_(c.inputs[0]->dtype()) {}

  using Term = Result<Value*>;
  Term op(const char* name, std::initializer_list<Term> terms) {
    std::vector<Value*> values;
    for (const Term& term : terms) values.push_back(TRY(Term(term)));
    return c_.builder.op(name, std::move(values));
  }
  Term constant(double v) { return number(c_, v, dtype_); }
  Term mul(const Term& a, const Term& b) { return op("mul", {a, b}); }
  Term positive(const Term& x) { return op("greater", {x, constant(0)}); }

 private:
  RuleContext& c_;
  DType dtype_;
};

// Of (y, dy), y being the function's result.
Values of_result(RuleContext& c) {
  Algebra a(c);
  Value *y = c.inputs[0], *dy = c.inputs[1];
  const std::string_view op = c.node.op;
  const bool is_sigmoidal = op == "SigmoidGrad" || op == "TanhGrad";
  if (is_complex(y->dtype()) && !is_sigmoidal) y = TRY(c.builder.op("conj", {y}));
  if (op == "SigmoidGrad") return one(a.mul(dy, a.mul(y, a.op("sub", {a.constant(1), y}))));
  if (op == "TanhGrad") return one(a.mul(dy, a.op("sub", {a.constant(1), a.mul(y, y)})));
  if (op == "SqrtGrad") return one(a.op("div", {a.mul(dy, a.constant(0.5)), y}));
  if (op == "RsqrtGrad") return one(a.mul(a.mul(dy, a.constant(-0.5)), a.mul(y, a.mul(y, y))));
  // ReciprocalGrad, InvGrad
  return one(a.op("neg", {a.mul(dy, a.mul(y, y))}));
}

// Of (dy, x), or (dy, y) for the exponential units.
Values of_operand(RuleContext& c) {
  Algebra a(c);
  Value *dy = c.inputs[0], *x = c.inputs[1];
  const std::string_view op = c.node.op;
  const auto zero = a.constant(0);
  if (op == "ReluGrad") return one(a.op("select", {a.positive(x), dy, zero}));
  if (op == "Relu6Grad") {
    const auto inside = a.op("logical_and", {a.positive(x), a.op("less", {x, a.constant(6)})});
    return one(a.op("select", {inside, dy, zero}));
  }
  if (op == "LeakyReluGrad") {
    const double alpha = TRY(c.node.attrs.get_float("alpha", 0.2F));
    return one(a.op("select", {a.positive(x), dy, a.mul(dy, a.constant(alpha))}));
  }
  if (op == "SoftplusGrad") return one(a.mul(dy, a.op("sigmoid", {x})));
  if (op == "SoftsignGrad") {
    const auto size = a.op("add", {a.constant(1), a.op("abs", {x})});
    return one(a.op("div", {dy, a.mul(size, size)}));
  }
  const bool selu = op == "SeluGrad";
  constexpr double kScale = 1.0507009873554805, kAlpha = 1.6732632423543772;
  const auto below = a.mul(dy, a.op("add", {x, a.constant(selu ? kScale * kAlpha : 1)}));
  return one(a.op("select", {a.op("less", {x, zero}), below,
                             selu ? a.mul(dy, a.constant(kScale)) : Result<Value*>(dy)}));
}

Values bias_add_grad(RuleContext& c) {
  const int rank = TRY(rank_of(c.inputs[0]));
  const int channel = TRY(channels_first(c)) ? 1 : rank - 1;
  std::vector<int64_t> axes;
  for (int i = 0; i < rank; ++i)
    if (i != channel) axes.push_back(i);
  if (axes.empty()) return std::vector<Value*>{c.inputs[0]};
  return one(c.builder.op("sum", {c.inputs[0]}, {{"axes", axes}}));
}

// The axes over which each of two shapes was repeated to fit the other.
Values broadcast_axes(RuleContext& c) {
  SymInts shapes[2];
  for (size_t k = 0; k < 2; ++k) {
    const Value* v = c.inputs[k];
    if (const Tensor* t = v->constant(); t != nullptr && is_int(t->dtype()))
      for (const int64_t n : t->to_ints()) shapes[k].push_back({n});
    else if (v->ints())
      shapes[k] = *v->ints();
    else
      return unsupported("the number of dimensions must be known");
  }
  const size_t rank = std::max(shapes[0].size(), shapes[1].size());
  std::vector<int64_t> axes[2];
  for (size_t i = 0; i < rank; ++i) {
    SymInt sizes[2] = {{1}, {1}};
    for (size_t k = 0; k < 2; ++k)
      if (i + shapes[k].size() >= rank) sizes[k] = shapes[k][i + shapes[k].size() - rank];
    const auto is_one = [](const SymInt& s) { return s.value && *s.value == 1; };
    const bool same = sizes[0].value && sizes[1].value ? *sizes[0].value == *sizes[1].value
                                                       : sizes[0].as_dim().same(sizes[1].as_dim());
    for (size_t k = 0; k < 2; ++k)
      if (is_one(sizes[k])) axes[k].push_back(static_cast<int64_t>(i));
    if (!same && !is_one(sizes[0]) && !is_one(sizes[1]))
      return unsupported("whether two dimensions agree must be known; give sizes by --input-shape");
  }
  std::vector<Value*> out;
  for (const auto& list : axes)
    out.push_back(TRY(cast_to(c, c.builder.ints(list), c.inputs[0]->dtype())));
  return out;
}

// (shape, begin, end, strides, dy): zeros but for the slice, which is dy.
Values strided_slice_grad(RuleContext& c) {
  Value* zeros = TRY(filled(c, 0, c.inputs[4]->dtype(), TRY(cast_to(c, c.inputs[0], DType::i64))));
  RuleContext update{
      c.model, c.builder, c.node, {zeros, c.inputs[1], c.inputs[2], c.inputs[3], c.inputs[4]}};
  return find_rule("TensorStridedSliceUpdate")->rule(update);
}

constexpr RuleEntry kRules[] = {
    {"BiasAddGrad", bias_add_grad},
    {"BroadcastGradientArgs", broadcast_axes, 2},
    {"EluGrad", of_operand, 2},
    {"InvGrad", of_result, 2},
    {"LeakyReluGrad", of_operand, 2},
    {"ReciprocalGrad", of_result, 2},
    {"Relu6Grad", of_operand, 2},
    {"ReluGrad", of_operand, 2},
    {"RsqrtGrad", of_result, 2},
    {"SeluGrad", of_operand, 2},
    {"SigmoidGrad", of_result, 2},
    {"SoftplusGrad", of_operand, 2},
    {"SoftsignGrad", of_operand, 2},
    {"SqrtGrad", of_result, 2},
    {"StridedSliceGrad", strided_slice_grad, 5},
    {"TanhGrad", of_result, 2},
};

}  // namespace

std::span<const RuleEntry> gradient_rules() {
  return kRules;
}

}  // namespace tenon::tf

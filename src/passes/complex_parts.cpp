// Complex numbers as two real tensors each, and Fourier transforms as products: for devices that
// have neither.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "ops/binary.h"
#include "ops/dft.h"
#include "ops/fft.h"
#include "passes/fourier.h"
#include "passes/passes.h"

namespace tenon {
namespace {

using Names = std::string_view;

bool is_one_of(const Node& node, std::span<const Names> names) {
  return std::ranges::find(names, node.def().name) != names.end();
}

// Of these each part of the result is made of the parts of the operands alone.
constexpr Names kByParts[] = {"reshape", "expand_dims",     "squeeze", "identity", "transpose",
                              "slice",   "strided_slice",   "expand",  "tile",     "split",
                              "reverse", "gather",          "concat",  "select",   "sum",
                              "mean",    "gather_elements", "cumsum",  "neg",      "add",
                              "sub",     "gather_nd",       "pad"};

bool is_complex_value(const Value* v) {
  return v != nullptr && !v->type().is_list && v->dtype() == DType::c64;
}

std::vector<int64_t> dims_of(const Value* v) {
  std::vector<int64_t> dims;
  for (const Dim& d : v->shape().dims()) dims.push_back(d.size());
  return dims;
}

class Splitter {
 public:
  explicit Splitter(Graph& graph) : graph_(graph) {}

  Result<bool> run() {
    std::vector<Node*> nodes;
    for (const auto& node : graph_.nodes()) nodes.push_back(node.get());
    for (Node* node : nodes)
      if (!node->is("const") && is_static(*node)) TRY(visit(*node));
    Builder end(graph_);
    auto outputs = graph_.outputs();
    for (Value*& v : outputs) v = TRY(joined(end, v));
    graph_.set_outputs(std::move(outputs));
    remove_dead_nodes(graph_);
    return changed_;
  }

 private:
  static bool is_static(const Node& node) {
    const auto known = [](const Value* v) {
      return v == nullptr || v->type().is_list || v->shape().is_static();
    };
    return std::ranges::all_of(node.inputs(), known) && node.output_count() > 0 &&
           known(node.output());
  }

  Status visit(Node& node) {
    Builder b(graph_, &node);
    b.set_origins(node.origins);
    if (node.is("dft")) return transform_pairs(b, node);
    const bool takes = std::ranges::any_of(node.inputs(), is_complex_value);
    if (!takes && !is_complex_value(node.output())) return {};
    const bool has_parts = std::ranges::all_of(node.inputs(), [&](const Value* v) {
      return !is_complex_value(v) || v->constant() != nullptr || parts_.contains(v);
    });
    const bool done =
        has_parts && TRY(is_complex_value(node.output()) ? make(b, node) : take(b, node));
    if (done) return {};
    for (int i = 0; i < node.input_count(); ++i)
      if (Value* v = TRY(joined(b, node.input(i))); v != node.input(i)) node.set_input(i, v);
    return {};
  }

  // The parts of an operand: a real one is its own real part.
  Result<ComplexParts> parts(Builder& b, Value* v) {
    if (!is_complex_value(v)) return ComplexParts{v, nullptr};
    if (const auto found = parts_.find(v); found != parts_.end()) return found->second;
    const Tensor& t = *v->constant();
    Tensor re = TRY(Tensor::allocate(DType::f32, t.dims())),
           im = TRY(Tensor::allocate(DType::f32, t.dims()));
    const auto* numbers = t.data<std::complex<float>>();
    for (int64_t i = 0; i < t.elements(); ++i) {
      re.mutable_data<float>()[i] = numbers[i].real();
      im.mutable_data<float>()[i] = numbers[i].imag();
    }
    return parts_[v] = {b.constant(std::move(re)), b.constant(std::move(im))};
  }
  Result<Value*> imaginary(Builder& b, const ComplexParts& x) const {
    if (x.im != nullptr) return x.im;
    return b.constant(TRY(Tensor::zeros(DType::f32, dims_of(x.re))));
  }

  // A complex value that somebody reads as such, put together of what it is now made of.
  Result<Value*> joined(Builder& b, Value* v) {
    const auto found = parts_.find(v);
    if (found == parts_.end() || v->constant() != nullptr) return v;
    const Node& producer = *v->producer();
    if (producer.is("complex") || producer.is("cast")) return v;
    Value*& whole = joined_[v];
    if (whole == nullptr) {
      whole = TRY(b.op("complex", {found->second.re, TRY(imaginary(b, found->second))}));
      whole->name = v->name;
    }
    return whole;
  }

  void set(const Node& node, const ComplexParts& y, int output = 0) {
    parts_[node.output(output)] = y;
    changed_ = true;
  }

  // Of a node with a complex result: whether its parts are there now.
  Result<bool> make(Builder& b, Node& node) {
    if (is_one_of(node, kByParts)) return by_parts(b, node);
    if (node.is("complex")) {
      Value *re = node.input(0), *im = node.input(1);
      const auto same = [](const Value* x, const Value* y) { return dims_of(x) == dims_of(y); };
      if (!same(re, node.output()) || !same(im, node.output())) return false;
      parts_[node.output()] = {re, im};
      return true;
    }
    if (node.is("cast")) {
      Value* x = node.input(0);
      if (is_complex_value(x)) {
        parts_[node.output()] = TRY(parts(b, x));
        return true;
      }
      if (x->dtype() != DType::f32) x = TRY(b.op("cast", {x}, {{"to", DType::f32}}));
      parts_[node.output()] = {x, nullptr};
      return true;
    }
    ComplexParts x = TRY(parts(b, node.input(0)));
    const auto length = [&] { return x.re->shape()[x.re->shape().rank() - 1].size(); };
    if (node.is("fft") || node.is("ifft"))
      return transformed(node, TRY(transform_parts(b, x, length(), length(), node.is("ifft"))));
    if (const auto* op = node.as<Rfft>()) {
      const int64_t n = op->fft_length > 0 ? op->fft_length : length();
      return transformed(node, TRY(transform_parts(b, x, n, n / 2 + 1, false)));
    }
    return computed(b, node, x);
  }

  Result<bool> transformed(const Node& node, const ComplexParts& y) {
    if (y.re == nullptr) return false;
    set(node, y);
    return true;
  }

  // Functions of complex numbers.
  Result<bool> computed(Builder& b, const Node& node, const ComplexParts& x) {
    if (node.is("conj")) {
      set(node, {x.re, x.im == nullptr ? nullptr : TRY(b.op("neg", {x.im}))});
    } else if (node.is("square")) {
      set(node, TRY(multiply_parts(b, *make_op(Mul{}), x, x)));
    } else if ((node.is("mul") || node.is("matmul")) && node.input_count() == 2) {
      set(node, TRY(multiply_parts(b, node.op(), x, TRY(parts(b, node.input(1))))));
    } else if (node.is("exp")) {
      Value* size = TRY(b.op("exp", {x.re}));
      if (x.im == nullptr)
        set(node, {size, nullptr});
      else
        set(node, {TRY(b.op("mul", {size, TRY(b.op("cos", {x.im}))})),
                   TRY(b.op("mul", {size, TRY(b.op("sin", {x.im}))}))});
    } else if (node.is("div")) {
      set(node, TRY(quotient(b, x, TRY(parts(b, node.input(1))))));
    } else {
      return false;
    }
    return true;
  }

  // x / y = x conj(y) / |y|^2
  Result<ComplexParts> quotient(Builder& b, ComplexParts x, const ComplexParts& y) {
    Value* by = y.re;
    if (y.im != nullptr) {
      x = TRY(multiply_parts(b, *make_op(Mul{}), x, {y.re, TRY(b.op("neg", {y.im}))}));
      by = TRY(b.op("add", {TRY(b.op("square", {y.re})), TRY(b.op("square", {y.im}))}));
    }
    return ComplexParts{TRY(b.op("div", {x.re, by})),
                        x.im == nullptr ? nullptr : TRY(b.op("div", {x.im, by}))};
  }

  Result<bool> by_parts(Builder& b, Node& node) {
    if (node.is("pad") && node.input(2) != nullptr) return false;
    std::vector<Value*> re, im;
    bool is_real = true;
    for (Value* v : node.inputs()) {
      if (!is_complex_value(v)) continue;
      is_real = is_real && TRY(parts(b, v)).im == nullptr;
    }
    for (Value* v : node.inputs()) {
      if (!is_complex_value(v)) {
        re.push_back(v), im.push_back(v);
        continue;
      }
      const ComplexParts p = TRY(parts(b, v));
      re.push_back(p.re);
      im.push_back(is_real ? nullptr : TRY(imaginary(b, p)));
    }
    const Node* reals = TRY(b.add(node.op().clone(), re));
    const Node* others = is_real ? nullptr : TRY(b.add(node.op().clone(), im));
    for (int i = 0; i < node.output_count(); ++i)
      set(node, {reals->output(i), others == nullptr ? nullptr : others->output(i)}, i);
    return true;
  }

  // Of a node with a real result of complex numbers: whether it is made of their parts now.
  Result<bool> take(Builder& b, Node& node) {
    const ComplexParts x = TRY(parts(b, node.input(0)));
    Value* y = nullptr;
    if (node.is("real") || (node.is("cast") && node.output()->dtype() == DType::f32)) {
      y = x.re;
    } else if (node.is("imag")) {
      y = TRY(imaginary(b, x));
    } else if (node.is("complex_abs")) {
      y = TRY(magnitude(b, x));
    } else if (node.is("angle")) {
      y = TRY(b.op("atan2", {TRY(imaginary(b, x)), x.re}));
    } else if (node.is("irfft")) {
      y = TRY(real_signal(b, x, dims_of(node.output()).back()));
    }
    if (y == nullptr) return false;
    replace_node(graph_, node, y);
    changed_ = true;
    return true;
  }

  // The larger part times sqrt(1 + (smaller / larger)^2): squares may be more than halves hold.
  Result<Value*> magnitude(Builder& b, const ComplexParts& x) const {
    Value* re = TRY(b.op("abs", {x.re}));
    if (x.im == nullptr) return re;
    Value* im = TRY(b.op("abs", {x.im}));
    Value *larger = TRY(b.op("max", {re, im})), *smaller = TRY(b.op("min", {re, im}));
    Value* share = TRY(b.op("square", {TRY(b.op("div_no_nan", {smaller, larger}))}));
    Value* one = b.constant(Tensor::scalar(1.0f));
    return b.op("mul", {larger, TRY(b.op("sqrt", {TRY(b.op("add", {share, one}))}))});
  }

  // ONNX's transform: real tensors whose last dimension holds the parts.
  Status transform_pairs(Builder& b, Node& node) {
    const Dft& op = *node.as<Dft>();
    const auto x = dims_of(node.input(0)), y = dims_of(node.output());
    if (node.input(0)->dtype() != DType::f32) return {};
    const auto rank = static_cast<int64_t>(x.size());
    const auto axis = static_cast<size_t>(op.axis < 0 ? op.axis + rank : op.axis);
    const std::vector<int64_t> last{-1};
    const auto part = [&](int64_t i) -> Result<Value*> {
      Value* v =
          TRY(b.op("slice", {node.input(0), b.ints({i}), b.ints({i + 1})}, {{"axes", last}}));
      return swapped(b, TRY(b.op("squeeze", {v}, {{"axes", last}})), axis);
    };
    ComplexParts z{TRY(part(0)), x.back() == 2 ? TRY(part(1)) : nullptr};
    if (op.onesided && op.inverse) {
      z.re = TRY(real_signal(b, z, y[axis]));
      z.im = nullptr;
    } else {
      Dim length = x[axis];
      if (node.input(1) != nullptr) {
        const auto& ints = node.input(1)->ints();
        if (!ints || ints->size() != 1 || !ints->front().value) return {};
        length = *ints->front().value;
      }
      z = TRY(transform_parts(b, z, length.size(), y[axis], op.inverse));
    }
    if (z.re == nullptr) return {};
    const auto back = [&](Value* v) -> Result<Value*> {
      return b.op("expand_dims", {TRY(swapped(b, v, axis))}, {{"axes", last}});
    };
    Value* whole = TRY(back(z.re));
    if (y.back() == 2) {
      Value* im = TRY(back(TRY(imaginary(b, z))));
      whole = TRY(b.op("concat", {whole, im}, {{"axis", int64_t{-1}}}));
    }
    replace_node(graph_, node, whole);
    changed_ = true;
    return {};
  }

  // The axis and the last one exchanged.
  static Result<Value*> swapped(Builder& b, Value* v, size_t axis) {
    std::vector<int64_t> perm(static_cast<size_t>(v->shape().rank()));
    if (axis + 1 == perm.size()) return v;
    for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
    std::swap(perm[axis], perm.back());
    return b.op("transpose", {v}, {{"perm", perm}});
  }

  Graph& graph_;
  bool changed_ = false;
  std::unordered_map<const Value*, ComplexParts> parts_;
  std::unordered_map<const Value*, Value*> joined_;
};

}  // namespace

Result<bool> split_complex(Graph& graph, PassContext&) {
  return Splitter(graph).run();
}

}  // namespace tenon

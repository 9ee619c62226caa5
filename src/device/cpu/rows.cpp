// Softmax, normalisation, reductions and arg_max.
#include "device/cpu/kernels/rows.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "device/cpu/candidates.h"
#include "device/cpu/reduce_passes.h"
#include "device/cpu/rounded_reader.h"
#include "ops/arg_max.h"
#include "ops/axis.h"
#include "ops/norm.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "tensor/visit.h"

namespace tenon::cpu {
namespace {

constexpr int64_t kTaskElements = 8192;

std::string refuses_other_types(const StepInfo& s) {
  return all_f32(s) ? "" : "only f32";
}

class SoftmaxKernel final : public Kernel {
 public:
  explicit SoftmaxKernel(const StepInfo& s) {
    const auto* soft = s.op.as<Softmax>();
    const auto* log = s.op.as<LogSoftmax>();
    const AxisView view =
        axis_view(s.inputs[0].shape.sizes(), soft != nullptr ? soft->axis : log->axis);
    p_.rows = view.outer;
    p_.cols = view.size;
    p_.inner = view.inner;
    p_.log = soft == nullptr;
    scratch_ = softmax_scratch_bytes(p_, s.threads);
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    SoftmaxParams p = p_;
    p.x = c.in(0);
    p.y = c.out(0);
    softmax(p, c.pool, c.scratch);
    return {};
  }

 private:
  SoftmaxParams p_;
  int64_t scratch_ = 0;
};

struct NormAttributes {
  int64_t axis = -1;
  double epsilon = 0;
  bool rms = false;
};
NormAttributes norm_attributes(const Op& op) {
  if (const auto* x = op.as<LayerNorm>()) return {x->axis, x->epsilon, false};
  const auto* x = op.as<RmsNorm>();
  return {x->axis, x->epsilon, true};
}
int64_t first_axis(const StepInfo& s) {
  const int64_t axis = norm_attributes(s.op).axis;
  return axis < 0 ? axis + s.inputs[0].shape.rank() : axis;
}

std::string layer_norm_refuses(const StepInfo& s) {
  if (!all_f32(s)) return "only f32";
  const std::vector<int64_t> x = s.inputs[0].shape.sizes();
  const std::vector<int64_t> row(x.begin() + first_axis(s), x.end());
  for (const size_t i : {1, 2}) {
    if (!s.has(i)) continue;
    std::vector<int64_t> dims = s.inputs[i].shape.sizes();
    while (dims.size() > row.size() && dims.front() == 1) dims.erase(dims.begin());
    if (dims != row) return "gamma or beta is not one value per element of a row";
  }
  return {};
}

class LayerNormKernel final : public RoundedReader {
 public:
  explicit LayerNormKernel(const StepInfo& s) {
    const NormAttributes attributes = norm_attributes(s.op);
    p_.rows = p_.cols = 1;
    const std::vector<int64_t> x = s.inputs[0].shape.sizes();
    for (size_t i = 0; i < x.size(); ++i)
      (static_cast<int64_t>(i) < first_axis(s) ? p_.rows : p_.cols) *= x[i];
    p_.epsilon = static_cast<float>(attributes.epsilon);
    p_.rms = attributes.rms;
  }
  Status run(const RunContext& c) const override {
    LayerNormParams p = p_;
    const size_t others = p_.narrow_x ? 2 : 1;
    p.x = static_cast<const float*>(c.inputs[0]->raw());
    p.gamma = c.in(others);
    p.beta = c.in(others + 1);
    p.y = static_cast<float*>(c.outputs[0]->mutable_raw());
    layer_norm(p, c.pool);
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    if (!rounds_to_bf16(next) || p_.narrow_y) return nullptr;
    auto joined = std::make_unique<LayerNormKernel>(*this);
    joined->p_.narrow_y = true;
    return joined;
  }
  std::unique_ptr<Kernel> reading_rounded() const override {
    if (p_.narrow_x) return nullptr;
    auto reader = std::make_unique<LayerNormKernel>(*this);
    reader->p_.narrow_x = true;
    return reader;
  }

 private:
  LayerNormParams p_;
};

struct ReduceRow {
  std::string_view op;
  ReduceKind kernel;
};
constexpr ReduceRow kReduceRows[] = {
    {"sum", ReduceKind::kSum},        {"mean", ReduceKind::kMean},
    {"reduce_max", ReduceKind::kMax}, {"reduce_min", ReduceKind::kMin},
    {"prod", ReduceKind::kProd},      {"sum_square", ReduceKind::kSumSquares}};

// What a pass leaves is the next one's input, in scratch.
class ReduceKernel final : public RoundedReader {
 public:
  explicit ReduceKernel(const StepInfo& s) : passes_(reduce_passes(s)) {
    for (const ReduceRow& row : kReduceRows)
      if (row.op == s.op.def().name) kind_ = row.kernel;
    for (size_t i = 0; i + 1 < passes_.size(); ++i) scratch_floats_ += passes_[i].elements();
  }
  int64_t scratch_bytes() const override { return scratch_floats_ * 4; }
  Status run(const RunContext& c) const override {
    const float* x = static_cast<const float*>(c.inputs[0]->raw());
    float* next = static_cast<float*>(c.scratch);
    ReduceKind kind = kind_;
    for (size_t i = 0; i < passes_.size(); ++i) {
      const ReducePass& pass = passes_[i];
      float* y = i + 1 == passes_.size() ? c.out(0) : next;
      reduce({kind, pass.outer, pass.reduce, pass.inner, x, y, narrow_x_ && i == 0}, c.pool);
      next += pass.elements();
      x = y;
      if (kind == ReduceKind::kSumSquares) kind = ReduceKind::kSum;
    }
    return {};
  }
  std::unique_ptr<Kernel> reading_rounded() const override {
    if (narrow_x_ || kind_ != ReduceKind::kMean || passes_.empty() || passes_[0].inner == 1)
      return nullptr;
    auto reader = std::make_unique<ReduceKernel>(*this);
    reader->narrow_x_ = true;
    return reader;
  }

 private:
  std::vector<ReducePass> passes_;
  ReduceKind kind_ = ReduceKind::kSum;
  bool narrow_x_ = false;  // x is of bf16
  int64_t scratch_floats_ = 0;
};

// Reductions of integers and booleans, whose sums wrap.
template <typename T, typename F>
void fold_typed(const ReducePass& p, T start, const T* x, T* y, F f) {
  for (int64_t o = 0; o < p.outer; ++o, x += p.reduce * p.inner, y += p.inner) {
    std::fill_n(y, p.inner, start);
    for (int64_t r = 0; r < p.reduce; ++r) {
      const T* row = x + r * p.inner;
      for (int64_t i = 0; i < p.inner; ++i) y[i] = f(y[i], row[i]);
    }
  }
}

template <typename T>
[[gnu::noinline]] void reduce_typed(std::string_view op, const ReducePass& p, const T* x, T* y) {
  using U = std::make_unsigned_t<T>;
  using Limits = std::numeric_limits<T>;
  if (op == "sum")
    fold_typed(p, T(0), x, y, [](T a, T b) { return static_cast<T>(U(a) + U(b)); });
  else if (op == "prod")
    fold_typed(p, T(1), x, y, [](T a, T b) { return static_cast<T>(U(a) * U(b)); });
  else if (op == "reduce_max")
    fold_typed(p, Limits::min(), x, y, [](T a, T b) { return a > b ? a : b; });
  else if (op == "reduce_min")
    fold_typed(p, Limits::max(), x, y, [](T a, T b) { return a < b ? a : b; });
  else if (op == "all")
    fold_typed(p, T(1), x, y, [](T a, T b) { return static_cast<T>(a & b); });
  else
    fold_typed(p, T(0), x, y, [](T a, T b) { return static_cast<T>(a | b); });
}

class TypedReduceKernel final : public Kernel {
 public:
  explicit TypedReduceKernel(const StepInfo& s)
      : op_(s.op.def().name),
        element_(static_cast<int64_t>(dtype_size(s.inputs[0].dtype))),
        passes_(reduce_passes(s)) {
    for (size_t i = 0; i + 1 < passes_.size(); ++i) scratch_ += passes_[i].elements() * element_;
  }
  int64_t scratch_bytes() const override { return scratch_; }
  Status run(const RunContext& c) const override {
    if (element_ == 1)
      run_as<uint8_t>(c);
    else if (element_ == 4)
      run_as<int32_t>(c);
    else
      run_as<int64_t>(c);
    return {};
  }

 private:
  template <typename T>
  void run_as(const RunContext& c) const {
    const T* x = static_cast<const T*>(c.inputs[0]->raw());
    T* next = static_cast<T*>(c.scratch);
    for (size_t i = 0; i < passes_.size(); ++i) {
      T* y = i + 1 == passes_.size() ? static_cast<T*>(c.outputs[0]->mutable_raw()) : next;
      reduce_pass(passes_[i], x, y);
      next += passes_[i].elements();
      x = y;
    }
  }
  // A long row as rows that fill vectors, and what is left of it.
  template <typename T>
  void reduce_pass(const ReducePass& p, const T* x, T* y) const {
    constexpr int64_t kParts = 64;
    if (p.outer != 1 || p.inner != 1 || p.reduce < 2 * kParts) return reduce_typed(op_, p, x, y);
    T parts[2 * kParts];
    const int64_t rows = p.reduce / kParts, rest = p.reduce % kParts;
    reduce_typed(op_, {1, rows, kParts}, x, parts);
    std::copy_n(x + rows * kParts, rest, parts + kParts);
    reduce_typed(op_, {1, kParts + rest, 1}, parts, y);
  }
  std::string_view op_;
  int64_t element_;
  std::vector<ReducePass> passes_;
  int64_t scratch_ = 0;
};

std::string typed_reduce_refuses(const StepInfo& s) {
  const DType t = s.inputs[0].dtype;
  return t == DType::i32 || t == DType::i64 || t == DType::boolean ? ""
                                                                   : "only i32, i64 and booleans";
}

// The index of the first (or last) extreme element of each row x[outer, size, inner].
template <typename T, typename I>
void arg_extreme(const AxisView& view, bool max, bool last, const T* x, I* y, ThreadPool& pool) {
  const int64_t rows_per_task =
      std::max<int64_t>(1, kTaskElements / std::max<int64_t>(view.size * view.inner, 1));
  pool.parallel_for((view.outer + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
    const int64_t end = std::min(view.outer, (task + 1) * rows_per_task);
    for (int64_t o = task * rows_per_task; o < end; ++o)
      for (int64_t i = 0; i < view.inner; ++i) {
        const T* row = x + o * view.size * view.inner + i;
        int64_t best = 0;
        T value = row[0];
        for (int64_t k = 1; k < view.size; ++k) {
          const T v = row[k * view.inner];
          const bool better = (max ? v > value : v < value) || (last && v == value) ||
                              (value != value && v == v);  // NaN is never the one
          best = better ? k : best;
          value = better ? v : value;
        }
        y[o * view.inner + i] = static_cast<I>(best);
      }
  });
}

class ArgExtremeKernel final : public Kernel {
 public:
  explicit ArgExtremeKernel(const StepInfo& s) : dtype_(s.inputs[0].dtype) {
    if (const auto* x = s.op.as<ArgMax>())
      set(x->axis, true, x->select_last_index, x->dtype, s);
    else if (const auto* y = s.op.as<ArgMin>())
      set(y->axis, false, y->select_last_index, y->dtype, s);
  }
  Status run(const RunContext& c) const override {
    const auto for_element = [&](auto element) {
      using T = typename decltype(element)::type;
      const T* x = c.inputs[0]->data<T>();
      Tensor& y = *c.outputs[0];
      if (index_ == DType::i64)
        arg_extreme(view_, max_, last_, x, y.mutable_data<int64_t>(), c.pool);
      else
        arg_extreme(view_, max_, last_, x, y.mutable_data<int32_t>(), c.pool);
    };
    if (dtype_ == DType::f32)
      for_element(TypeTag<float>{});
    else if (dtype_ == DType::i32)
      for_element(TypeTag<int32_t>{});
    else
      for_element(TypeTag<int64_t>{});
    return {};
  }

 private:
  void set(int64_t axis, bool max, bool last, DType index, const StepInfo& s) {
    view_ = axis_view(s.inputs[0].shape.sizes(), axis);
    max_ = max;
    last_ = last;
    index_ = index;
  }
  DType dtype_, index_ = DType::i64;
  AxisView view_;
  bool max_ = true, last_ = false;
};

std::string arg_refuses(const StepInfo& s) {
  const DType x = s.inputs[0].dtype, y = s.outputs[0].dtype;
  if (x != DType::f32 && x != DType::i32 && x != DType::i64) return "only f32, i32 and i64";
  return y == DType::i32 || y == DType::i64 ? "" : "only i32 and i64 results";
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

}  // namespace

std::span<const KernelCandidate> row_candidates() {
  static const std::vector<KernelCandidate> all = [] {
    std::vector<KernelCandidate> list = {
        {Softmax::name, "row_softmax", refuses_other_types, make<SoftmaxKernel>},
        {LogSoftmax::name, "row_softmax", refuses_other_types, make<SoftmaxKernel>},
        {LayerNorm::name, "row_norm", layer_norm_refuses, make<LayerNormKernel>},
        {RmsNorm::name, "row_norm", layer_norm_refuses, make<LayerNormKernel>},
        {ArgMax::name, "row_arg", arg_refuses, make<ArgExtremeKernel>},
        {ArgMin::name, "row_arg", arg_refuses, make<ArgExtremeKernel>}};
    for (const ReduceRow& row : kReduceRows)
      list.push_back({row.op, "row_reduce", refuses_other_types, make<ReduceKernel>});
    for (const std::string_view op : {"sum", "prod", "reduce_max", "reduce_min", "all", "any"})
      list.push_back({op, "typed_reduce", typed_reduce_refuses, make<TypedReduceKernel>});
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu

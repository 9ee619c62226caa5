// Softmax, normalisation, reductions and arg_max.
#include "device/cpu/kernels/rows.h"

#include <algorithm>

#include "device/cpu/candidates.h"
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
    p_.log = log != nullptr;
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

class LayerNormKernel final : public Kernel {
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
    p.x = c.in(0);
    p.gamma = c.in(1);
    p.beta = c.in(2);
    p.y = c.out(0);
    layer_norm(p, c.pool);
    return {};
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

std::vector<int64_t> reduced_axes(const Op& op) {
  return std::get<std::vector<int64_t>>(op.get(0));  // `axes`, the first field of every reduction
}

// Every run of neighbouring reduced dimensions is one pass; what a pass leaves is the next one's
// input, in scratch.
class ReduceKernel final : public Kernel {
 public:
  explicit ReduceKernel(const StepInfo& s) {
    ReduceKind kind = ReduceKind::kSum;
    for (const ReduceRow& row : kReduceRows)
      if (row.op == s.op.def().name) kind = row.kernel;
    const std::vector<int64_t> x = s.inputs[0].shape.sizes();
    const std::vector<int64_t> axes = reduced_axes(s.op);
    std::vector<bool> reduced(x.size(), axes.empty());
    for (const int64_t a : axes)
      reduced[static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(x.size()) : a)] = true;
    // Kept and reduced extents in turn, kept first.
    std::vector<int64_t> sizes = {1};
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 1) continue;
      if ((sizes.size() % 2 == 0) != reduced[i]) sizes.push_back(1);
      sizes.back() *= x[i];
    }
    if (sizes.size() == 1) sizes = {1, 1, sizes[0]};
    int64_t inner = 1;
    for (size_t i = sizes.size(); i-- > 0;) {
      if (i % 2 == 0) {
        inner *= sizes[i];
        continue;
      }
      ReduceParams p{kind, 1, sizes[i], inner};
      for (size_t k = 0; k < i; ++k) p.outer *= sizes[k];
      passes_.push_back({p, scratch_floats_});
      if (i > 1) scratch_floats_ += p.outer * inner;
      if (kind == ReduceKind::kSumSquares) kind = ReduceKind::kSum;
    }
  }
  int64_t scratch_bytes() const override { return scratch_floats_ * 4; }
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    float* scratch = static_cast<float*>(c.scratch);
    for (size_t i = 0; i < passes_.size(); ++i) {
      ReduceParams p = passes_[i].params;
      p.x = x;
      p.y = i + 1 == passes_.size() ? c.out(0) : scratch + passes_[i].offset;
      reduce(p, c.pool);
      x = p.y;
    }
    return {};
  }

 private:
  struct Pass {
    ReduceParams params;
    int64_t offset = 0;
  };
  std::vector<Pass> passes_;
  int64_t scratch_floats_ = 0;
};

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
          const bool better = (max ? v > value : v < value) || (last && v == value);
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
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu

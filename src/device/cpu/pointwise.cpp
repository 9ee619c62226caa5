// Elementwise ops of one or two f32 tensors on the array kernels.
#include <algorithm>

#include "device/cpu/candidates.h"
#include "device/cpu/channel_rows.h"
#include "device/cpu/kernels/elementwise.h"
#include "device/cpu/strides.h"
#include "ops/unary_attr.h"

namespace tenon::cpu {
namespace {

// A task's share of an array: small enough for L1, large enough to be worth a task.
constexpr int64_t kChunk = 16384;

struct UnaryRow {
  std::string_view op;
  UnaryOp kernel;
};
constexpr UnaryRow kUnaryRows[] = {
    {"neg", UnaryOp::kNeg},           {"abs", UnaryOp::kAbs},
    {"sign", UnaryOp::kSign},         {"exp", UnaryOp::kExp},
    {"expm1", UnaryOp::kExpm1},       {"log", UnaryOp::kLog},
    {"log1p", UnaryOp::kLog1p},       {"sqrt", UnaryOp::kSqrt},
    {"rsqrt", UnaryOp::kRsqrt},       {"reciprocal", UnaryOp::kReciprocal},
    {"square", UnaryOp::kSquare},     {"tanh", UnaryOp::kTanh},
    {"sigmoid", UnaryOp::kSigmoid},   {"erf", UnaryOp::kErf},
    {"floor", UnaryOp::kFloor},       {"ceil", UnaryOp::kCeil},
    {"round", UnaryOp::kRoundEven},   {"sin", UnaryOp::kSin},
    {"cos", UnaryOp::kCos},           {"relu", UnaryOp::kRelu},
    {"silu", UnaryOp::kSilu},         {"hard_swish", UnaryOp::kHardSwish},
    {"softplus", UnaryOp::kSoftplus}, {"softsign", UnaryOp::kSoftsign},
    {"mish", UnaryOp::kMish}};

struct BinaryRow {
  std::string_view op;
  BinaryOp kernel;
};
constexpr BinaryRow kBinaryRows[] = {
    {"add", BinaryOp::kAdd}, {"sub", BinaryOp::kSub},
    {"mul", BinaryOp::kMul}, {"div", BinaryOp::kDiv},
    {"min", BinaryOp::kMin}, {"max", BinaryOp::kMax},
    {"pow", BinaryOp::kPow}, {"squared_difference", BinaryOp::kSquaredDifference}};

std::string refuses_other_types(const StepInfo& s) {
  return all_f32(s) ? "" : "only f32";
}

// f(begin, n) over chunks of [0, elements).
template <typename F>
void for_chunks(ThreadPool& pool, int64_t elements, F&& f) {
  const int64_t chunks = (elements + kChunk - 1) / kChunk;
  pool.parallel_for(chunks, [&](int64_t i) {
    const int64_t begin = i * kChunk;
    f(begin, std::min(kChunk, elements - begin));
  });
}

class UnaryKernel final : public Kernel {
 public:
  explicit UnaryKernel(const StepInfo& s) {
    for (const UnaryRow& row : kUnaryRows)
      if (row.op == s.op.def().name) op_ = row.kernel;
  }
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    float* y = c.out(0);
    for_chunks(c.pool, c.outputs[0]->elements(), [&](int64_t begin, int64_t n) {
      unary(op_, x + begin, y + begin, static_cast<size_t>(n));
    });
    return {};
  }

 private:
  UnaryOp op_ = UnaryOp::kNeg;
};

class ActivationKernel final : public Kernel {
 public:
  explicit ActivationKernel(const StepInfo& s) : activation_(activation_of(s.op)) {}
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    float* y = c.out(0);
    for_chunks(c.pool, c.outputs[0]->elements(), [&](int64_t begin, int64_t n) {
      activate(activation_, x + begin, y + begin, static_cast<size_t>(n));
    });
    return {};
  }

 private:
  Activation activation_;
};

// Broadcasting is reduced to few dimensions; the innermost is one call of the array kernel.
class BinaryKernel final : public Kernel {
 public:
  explicit BinaryKernel(const StepInfo& s) {
    if (refuses_channel_rows(s).empty()) channels_ = make_channel_rows(s);
    for (const BinaryRow& row : kBinaryRows)
      if (row.op == s.op.def().name) op_ = static_cast<size_t>(row.kernel);
    const std::vector<int64_t> shape = s.outputs[0].shape.sizes();
    loops_ = collapse(shape, {broadcast_strides(s.inputs[0].shape.sizes(), shape),
                              broadcast_strides(s.inputs[1].shape.sizes(), shape)});
    inner_ = loops_.shape.empty() ? 1 : loops_.shape.back();
    rows_ = 1;
    for (size_t i = 0; i + 1 < loops_.shape.size(); ++i) rows_ *= loops_.shape[i];
    if (!loops_.shape.empty()) {
      step_a_ = loops_.strides[0].back();
      step_b_ = loops_.strides[1].back();
    }
    if (loops_.shape.size() < 2 || step_a_ != 1 || step_b_ != 1 || inner_ > kPiece / 2) return;
    const size_t outer = loops_.shape.size() - 2;
    repeats_a_ = loops_.strides[0][outer] == 0;
    if (loops_.strides[repeats_a_ ? 0 : 1][outer] != 0 ||
        loops_.strides[repeats_a_ ? 1 : 0][outer] != inner_)
      return;
    alike_ = loops_.shape[outer];
    together_ = std::min(alike_, kPiece / inner_);
  }
  Status run(const RunContext& c) const override {
    const float* a = c.in(0);
    const float* b = c.in(1);
    void* const y = c.outputs[0]->mutable_raw();
    const KernelTable& table = kernels();
    const auto compute = [&](const float* pa, const float* pb, float* py, int64_t n) {
      const auto count = static_cast<size_t>(n);
      if (step_a_ != 0 && step_b_ != 0)
        table.binary[op_](pa, pb, py, count);
      else if (step_a_ != 0)
        table.binary_vs[op_](pa, pb, py, count);
      else if (step_b_ != 0)
        table.binary_sv[op_](pa, pb, py, count);
      else
        table.binary_vs[op_](pa, pb, py, count);
    };
    // Element `at` of y and those behind it.
    const auto apply = [&](const float* pa, const float* pb, int64_t at, int64_t n) {
      if (!narrow_y_) return compute(pa, pb, static_cast<float*>(y) + at, n);
      float wide[kPiece];
      for (int64_t i = 0; i < n; i += kPiece) {
        const int64_t count = std::min(kPiece, n - i);
        compute(pa + i * step_a_, pb + i * step_b_, wide, count);
        table.round_bf16(wide, static_cast<uint16_t*>(y) + at + i, count);
      }
    };
    if (rows_ == 1) {
      for_chunks(c.pool, inner_, [&](int64_t begin, int64_t n) {
        apply(a + begin * step_a_, b + begin * step_b_, begin, n);
      });
      return {};
    }
    const int64_t rows_per_task = std::max<int64_t>(1, kChunk / std::max<int64_t>(inner_, 1));
    const int64_t tasks = (rows_ + rows_per_task - 1) / rows_per_task;
    c.pool.parallel_for(tasks, [&](int64_t task) {
      const int64_t end = std::min(rows_, (task + 1) * rows_per_task);
      float repeated[kPiece];
      const float* repeats = nullptr;
      int64_t count = 1;
      for (int64_t row = task * rows_per_task; row < end; row += count) {
        int64_t rest = row, oa = 0, ob = 0;
        for (size_t d = loops_.shape.size() - 1; d-- > 0;) {
          const int64_t i = rest % loops_.shape[d];
          rest /= loops_.shape[d];
          oa += i * loops_.strides[0][d];
          ob += i * loops_.strides[1][d];
        }
        if (together_ == 1) {
          apply(a + oa, b + ob, row * inner_, inner_);
          continue;
        }
        count = std::min({together_, end - row, alike_ - row % alike_});
        const float* const same = repeats_a_ ? a + oa : b + ob;
        if (repeats != same)
          for (int64_t i = 0; i < together_; ++i) std::copy_n(same, inner_, repeated + i * inner_);
        repeats = same;
        apply(repeats_a_ ? repeated : a + oa, repeats_a_ ? b + ob : repeated, row * inner_,
              count * inner_);
      }
    });
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t operands) const override {
    if (narrow_y_) return nullptr;
    if (!rounds_to_bf16(next))
      return channels_ == nullptr ? nullptr : channels_->join(next, operands);
    auto joined = std::make_unique<BinaryKernel>(*this);
    joined->narrow_y_ = true;
    return joined;
  }

 private:
  static constexpr int64_t kPiece = 1024;

  size_t op_ = 0;
  bool narrow_y_ = false;
  std::shared_ptr<const Kernel> channels_;  // the same, for what is joined to it
  Loops loops_;
  int64_t rows_ = 1, inner_ = 1, step_a_ = 1, step_b_ = 1;
  // Of `alike_` short rows one operand is the same: it is repeated for so many at once.
  bool repeats_a_ = false;
  int64_t alike_ = 1, together_ = 1;
};

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

}  // namespace

std::optional<UnaryOp> unary_kernel(std::string_view op) {
  for (const UnaryRow& row : kUnaryRows)
    if (row.op == op) return row.kernel;
  return std::nullopt;
}

std::optional<BinaryOp> binary_kernel(std::string_view op) {
  for (const BinaryRow& row : kBinaryRows)
    if (row.op == op) return row.kernel;
  return std::nullopt;
}

Activation activation_of(const Op& op) {
  if (const auto* x = op.as<LeakyRelu>())
    return to_kernel(tenon::ActivationKind::leaky_relu, x->alpha, 0);
  if (const auto* x = op.as<Elu>()) return to_kernel(tenon::ActivationKind::elu, x->alpha, 0);
  if (const auto* x = op.as<Clip>()) return to_kernel(tenon::ActivationKind::clip, x->min, x->max);
  if (const auto* x = op.as<HardSigmoid>())
    return to_kernel(tenon::ActivationKind::hard_sigmoid, x->alpha, x->beta);
  if (const auto* x = op.as<Gelu>())
    return to_kernel(x->approximate == GeluKind::tanh ? tenon::ActivationKind::gelu_tanh
                                                      : tenon::ActivationKind::gelu_erf,
                     0, 0);
  return {};
}

std::span<const KernelCandidate> pointwise_candidates() {
  static const std::vector<KernelCandidate> all = [] {
    std::vector<KernelCandidate> list;
    for (const UnaryRow& row : kUnaryRows)
      list.push_back({row.op, "array_unary", refuses_other_types, make<UnaryKernel>});
    for (const BinaryRow& row : kBinaryRows)
      list.push_back({row.op, "array_binary", refuses_other_types, make<BinaryKernel>});
    for (const std::string_view op :
         {LeakyRelu::name, Elu::name, Clip::name, HardSigmoid::name, Gelu::name})
      list.push_back({op, "array_activation", refuses_other_types, make<ActivationKernel>});
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu

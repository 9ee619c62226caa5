// quantize_linear and dequantize_linear with one scale, or one per index of an axis, and
// dynamic_quantize_linear, and fake_quant.
#include "ops/quantize.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "device/cpu/byte_average.h"
#include "device/cpu/candidates.h"
#include "device/cpu/kernels/byte_sums.h"
#include "device/cpu/kernels/rows.h"
#include "ops/axis.h"

namespace tenon::cpu {
namespace {

// Runs of elements with one scale each: run i of the tensor has scale i % scales.
struct Runs {
  int64_t count = 1, length = 1, scales = 1;
};

Runs runs_of(const StepInfo& s, int64_t axis) {
  const std::vector<int64_t> x = s.inputs[0].shape.sizes();
  const bool single =
      s.inputs[1].shape.elements() == 1 && (!s.has(2) || s.inputs[2].shape.elements() == 1);
  const AxisView view = axis_view(x, single ? 0 : axis);
  if (single) return {1, view.outer * view.size * view.inner, 1};
  return {view.outer * view.size, view.inner, view.size};
}

// f(scale index, first element, elements) over pieces dealt to threads.
template <typename F>
void for_runs(const Runs& runs, ThreadPool& pool, F&& f) {
  constexpr int64_t kTask = 16384;
  if (runs.count == 1) {
    pool.parallel_for((runs.length + kTask - 1) / kTask, [&](int64_t task) {
      f(0, task * kTask, std::min(kTask, runs.length - task * kTask));
    });
    return;
  }
  const int64_t step = std::max<int64_t>(1, kTask / std::max<int64_t>(runs.length, 1));
  pool.parallel_for((runs.count + step - 1) / step, [&](int64_t task) {
    for (int64_t i = task * step; i < std::min(runs.count, (task + 1) * step); ++i)
      f(i % runs.scales, i * runs.length, runs.length);
  });
}

template <typename T>
void quantize_run(const float* x, T* y, int64_t n, float scale, int32_t zero) {
  int8_kernels().quantize_bytes({scale, zero, std::is_signed_v<T>}, x,
                                reinterpret_cast<uint8_t*>(y), n);
}
template <typename T>
void dequantize_run(const T* x, float* y, int64_t n, float scale, int32_t zero) {
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<float>(static_cast<int32_t>(x[i]) - zero) * scale;
}

class LinearKernel final : public Kernel {
 public:
  explicit LinearKernel(const StepInfo& s) : threads_(s.threads) {
    if (const auto* op = s.op.as<QuantizeLinear>()) {
      quantize_ = true;
      runs_ = runs_of(s, op->axis);
    } else {
      runs_ = runs_of(s, s.op.as<DequantizeLinear>()->axis);
    }
    is_signed_ = (quantize_ ? s.outputs[0] : s.inputs[0]).dtype == DType::i8;
    has_zero_ = s.has(2);
  }
  Status run(const RunContext& c) const override {
    if (is_signed_)
      run_as<int8_t>(c);
    else
      run_as<uint8_t>(c);
    return {};
  }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    const auto own = form();
    return own ? join_average(*own, next, threads_) : nullptr;
  }
  std::optional<LinearForm> form() const {
    if (runs_.count != 1) return std::nullopt;
    return LinearForm{quantize_, is_signed_, has_zero_};
  }

 private:
  template <typename T>
  void run_as(const RunContext& c) const {
    const float* scales = c.in(1);
    const T* zeros = c.has(2) ? c.inputs[2]->data<T>() : nullptr;
    const bool one_scale = c.inputs[1]->elements() == 1;
    const bool one_zero = zeros != nullptr && c.inputs[2]->elements() == 1;
    for_runs(runs_, c.pool, [&](int64_t at, int64_t first, int64_t n) {
      const float scale = scales[one_scale ? 0 : at];
      const int32_t zero = zeros == nullptr ? 0 : zeros[one_zero ? 0 : at];
      if (quantize_)
        quantize_run(c.in(0) + first, c.outputs[0]->mutable_data<T>() + first, n, scale, zero);
      else
        dequantize_run(c.inputs[0]->data<T>() + first, c.out(0) + first, n, scale, zero);
    });
  }

  Runs runs_;
  bool quantize_ = false, is_signed_ = false, has_zero_ = false;
  int threads_;
};

std::string refuses(const StepInfo& s) {
  const bool quantize = s.op.as<QuantizeLinear>() != nullptr;
  const DType real = (quantize ? s.inputs[0] : s.outputs[0]).dtype;
  const DType level = (quantize ? s.outputs[0] : s.inputs[0]).dtype;
  if (real != DType::f32 || s.inputs[1].dtype != DType::f32) return "only f32";
  if (level != DType::i8 && level != DType::u8) return "only i8 and u8";
  return s.has(2) && s.inputs[2].dtype != level ? "the zero point has another type" : "";
}

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<LinearKernel>(s);
}

// Two passes over x: its range, then the integers.
class DynamicKernel final : public Kernel {
 public:
  explicit DynamicKernel(const StepInfo& s) : n_(*s.inputs[0].shape.elements()) {}
  int64_t scratch_bytes() const override { return 8 * tasks(); }
  Status run(const RunContext& c) const override {
    const float* x = c.in(0);
    auto* const ranges = static_cast<float*>(c.scratch);
    const auto count = [&](int64_t task) {
      return static_cast<size_t>(std::min(kTask, n_ - task * kTask));
    };
    c.pool.parallel_for(tasks(), [&](int64_t task) {
      const auto reduce = [&](ReduceKind kind) {
        return kernels().reduce_row[static_cast<size_t>(kind)](x + task * kTask, count(task));
      };
      ranges[2 * task] = reduce(ReduceKind::kMin);
      ranges[2 * task + 1] = reduce(ReduceKind::kMax);
    });
    float low = 0, high = 0;
    for (int64_t i = 0; i < tasks(); ++i) {
      low = std::min(low, ranges[2 * i]);
      high = std::max(high, ranges[2 * i + 1]);
    }
    const float range = (high - low) / 255.0f, scale = range > 0 ? range : 1.0f;
    uint8_t zero = 0;
    const float offset = -low / scale;
    quantize_run(&offset, &zero, 1, 1.0f, 0);
    auto* const y = c.outputs[0]->mutable_data<uint8_t>();
    c.pool.parallel_for(tasks(), [&](int64_t task) {
      quantize_run(x + task * kTask, y + task * kTask, static_cast<int64_t>(count(task)), scale,
                   zero);
    });
    c.out(1)[0] = scale;
    c.outputs[2]->mutable_data<uint8_t>()[0] = zero;
    return {};
  }

 private:
  static constexpr int64_t kTask = 16384;
  int64_t tasks() const { return (n_ + kTask - 1) / kTask; }
  int64_t n_;
};

class FakeKernel final : public Kernel {
 public:
  explicit FakeKernel(const StepInfo& s)
      : levels_(s.op.as<FakeQuant>()->levels()), n_(s.outputs[0].shape.elements().value_or(0)) {}
  Status run(const RunContext& c) const override {
    const float from = levels_.from, to = levels_.to, step = levels_.step;
    const float inverse = 1 / step;
    for_runs({1, n_, 1}, c.pool, [&](int64_t, int64_t first, int64_t n) {
      const float* x = c.in(0) + first;
      float* y = c.out(0) + first;
      int64_t i = 0;
      // Of a minimum and a maximum with NaN the second operand comes out.
      for (; i + 8 <= n; i += 8) {
        const __m256 low = _mm256_max_ps(_mm256_set1_ps(from), _mm256_loadu_ps(x + i));
        const __m256 v =
            _mm256_sub_ps(_mm256_min_ps(_mm256_set1_ps(to), low), _mm256_set1_ps(from));
        const __m256 place =
            _mm256_add_ps(_mm256_mul_ps(v, _mm256_set1_ps(inverse)), _mm256_set1_ps(0.5f));
        const __m256 level = _mm256_mul_ps(_mm256_floor_ps(place), _mm256_set1_ps(step));
        _mm256_storeu_ps(y + i, _mm256_add_ps(level, _mm256_set1_ps(from)));
      }
      for (; i < n; ++i) {
        const float low = x[i] < from ? from : x[i], v = low > to ? to : low;
        y[i] = std::floor((v - from) * inverse + 0.5f) * step + from;
      }
    });
    return {};
  }

 private:
  FakeQuantLevels levels_;
  int64_t n_;
};

std::string refuses_fake(const StepInfo& s) {
  if (!all_f32(s)) return "only f32";
  return s.op.as<FakeQuant>()->levels().step == 0 ? "there is one level only" : "";
}

constexpr KernelCandidate kCandidates[] = {
    {FakeQuant::name, "levels", refuses_fake,
     [](const StepInfo& s) -> std::unique_ptr<Kernel> { return std::make_unique<FakeKernel>(s); }},
    {DynamicQuantizeLinear::name, "dynamic", [](const StepInfo&) { return std::string(); },
     [](const StepInfo& s) -> std::unique_ptr<Kernel> {
       return std::make_unique<DynamicKernel>(s);
     }},
    {QuantizeLinear::name, "linear", refuses, make},
    {DequantizeLinear::name, "linear", refuses, make},
};

}  // namespace

std::optional<LinearForm> linear_form(const Kernel& kernel) {
  const auto* linear = dynamic_cast<const LinearKernel*>(&kernel);
  return linear == nullptr ? std::nullopt : linear->form();
}

std::span<const KernelCandidate> quantize_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu

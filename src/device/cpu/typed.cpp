// Elementwise ops of one tensor beyond f32 arithmetic, and select.
#include <cmath>
#include <limits>

#include "device/cpu/broadcast.h"
#include "device/cpu/candidates.h"
#include "device/cpu/kernels/half.h"
#include "device/cpu/rounded_reader.h"
#include "ops/cast.h"
#include "ops/select.h"
#include "ops/unary.h"
#include "ops/unary_attr.h"
#include "tensor/visit.h"

namespace tenon::cpu {
namespace {

// A thread's share of an array.
constexpr int64_t kTask = 16384;

template <typename T>
const T* in(const RunContext& c, size_t i) {
  return static_cast<const T*>(c.inputs[i]->raw());
}
template <typename T>
T* out(const RunContext& c) {
  return static_cast<T*>(c.outputs[0]->mutable_raw());
}

// y[i] = cond ? x : z, the steps being 0 or 1.
template <typename T, int kC, int kX, int kZ>
void select_loop(const bool* cond, const T* x, const T* z, T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const T a = x[i * kX], b = z[i * kZ];
    y[i] = cond[i * kC] ? a : b;
  }
}
template <typename T>
using SelectLoop = void (*)(const bool*, const T*, const T*, T*, int64_t);

class SelectKernel final : public Kernel {
 public:
  explicit SelectKernel(const StepInfo& s)
      : rows_(s.outputs[0].shape.sizes(),
              {s.inputs[0].shape.sizes(), s.inputs[1].shape.sizes(), s.inputs[2].shape.sizes()}) {}
  Status run(const RunContext& c) const override {
    if (c.outputs[0]->elements() == 0) return {};
    switch (dtype_size(c.outputs[0]->dtype())) {
      case 1:
        return select<uint8_t>(c), Status();
      case 2:
        return select<uint16_t>(c), Status();
      case 4:
        return select<uint32_t>(c), Status();
      default:
        return select<uint64_t>(c), Status();
    }
  }

 private:
  template <typename T>
  void select(const RunContext& c) const {
    static constexpr SelectLoop<T> kLoops[] = {select_loop<T, 0, 0, 0>, select_loop<T, 0, 0, 1>,
                                               select_loop<T, 0, 1, 0>, select_loop<T, 0, 1, 1>,
                                               select_loop<T, 1, 0, 0>, select_loop<T, 1, 0, 1>,
                                               select_loop<T, 1, 1, 0>, select_loop<T, 1, 1, 1>};
    const auto [sc, sx, sz] = rows_.steps();
    const bool* cond = in<bool>(c, 0);
    const T* x = in<T>(c, 1);
    const T* z = in<T>(c, 2);
    T* y = out<T>(c);
    // Innermost steps are 0 or 1: the operands are dense.
    const SelectLoop<T> loop = kLoops[4 * (sc != 0) + 2 * (sx != 0) + (sz != 0)];
    rows_.run(c.pool, [&](const auto& at, int64_t first, int64_t n) {
      loop(cond + at[0], x + at[1], z + at[2], y + first, n);
    });
  }
  BroadcastRows<3> rows_;
};

std::string select_refuses(const StepInfo& s) {
  const DType t = s.outputs[0].dtype;
  return t == DType::string || dtype_size(t) > 8 ? "not for this type" : "";
}

// As `cast` defines it: integers wrap, floats truncate and saturate, NaN gives 0.
template <typename To, typename From>
To cast_one(From v) {
  if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    // One past the largest is a power of two and so exact.
    constexpr From kEnd = static_cast<From>(To{1} << (std::numeric_limits<To>::digits - 1)) * 2;
    constexpr From kLow = static_cast<From>(std::numeric_limits<To>::min());
    const To truncated = static_cast<To>(v > kLow && v < kEnd ? v : From(0));
    const To high = v >= kEnd ? std::numeric_limits<To>::max() : truncated;
    return v <= kLow ? std::numeric_limits<To>::min() : high;
  } else {
    return static_cast<To>(v);
  }
}

template <typename To, typename From>
void cast_loop(const void* x, void* y, int64_t n) {
  const From* from = static_cast<const From*>(x);
  To* to = static_cast<To*>(y);
  for (int64_t i = 0; i < n; ++i) to[i] = cast_one<To, From>(from[i]);
}
template <typename To, typename From>
void cast_half(const void* x, void* y, int64_t n) {
  convert(static_cast<const From*>(x), static_cast<To*>(y), n);
}

using ArrayLoop = void (*)(const void* x, void* y, int64_t n);

template <typename From>
ArrayLoop cast_from(DType to) {
  switch (to) {
    case DType::f32:
      return cast_loop<float, From>;
    case DType::f64:
      return cast_loop<double, From>;
    case DType::i32:
      return cast_loop<int32_t, From>;
    case DType::i64:
      return cast_loop<int64_t, From>;
    case DType::u8:
      return cast_loop<uint8_t, From>;
    case DType::i8:
      return cast_loop<int8_t, From>;
    case DType::boolean:
      return cast_loop<bool, From>;
    default:
      return nullptr;
  }
}

ArrayLoop cast_between(DType from, DType to) {
  if (from == DType::f16 && to == DType::f32) return cast_half<float, Half>;
  if (from == DType::f32 && to == DType::f16) return cast_half<Half, float>;
  if (from == DType::bf16 && to == DType::f32) return cast_half<float, BFloat16>;
  if (from == DType::f32 && to == DType::bf16) return cast_half<BFloat16, float>;
  switch (from) {
    case DType::f32:
      return cast_from<float>(to);
    case DType::f64:
      return cast_from<double>(to);
    case DType::i32:
      return cast_from<int32_t>(to);
    case DType::i64:
      return cast_from<int64_t>(to);
    case DType::u8:
      return cast_from<uint8_t>(to);
    case DType::i8:
      return cast_from<int8_t>(to);
    case DType::boolean:
      return cast_from<bool>(to);
    default:
      return nullptr;
  }
}

void invert(const void* x, void* y, int64_t n) {
  const auto* from = static_cast<const uint8_t*>(x);
  auto* to = static_cast<uint8_t*>(y);
  for (int64_t i = 0; i < n; ++i) to[i] = from[i] ^ 1;
}

template <UnaryKind kKind>
double of_f64(double v) {
  if constexpr (kKind == UnaryKind::abs) return std::fabs(v);
  if constexpr (kKind == UnaryKind::neg) return -v;
  if constexpr (kKind == UnaryKind::sign) return v > 0 ? 1 : (v < 0 ? -1 : v);
  if constexpr (kKind == UnaryKind::floor) return std::floor(v);
  if constexpr (kKind == UnaryKind::ceil) return std::ceil(v);
  if constexpr (kKind == UnaryKind::round) return std::nearbyint(v);
  if constexpr (kKind == UnaryKind::relu) return v < 0 ? 0 : v;
  if constexpr (kKind == UnaryKind::square) return v * v;
  if constexpr (kKind == UnaryKind::sqrt) return std::sqrt(v);
}
template <UnaryKind... kKinds>
ArrayLoop f64_loop(std::string_view op) {
  ArrayLoop found = nullptr;
  const auto look = [&]<UnaryKind kKind>() {
    if (Unary<kKind>::name == op)
      found = [](const void* x, void* y, int64_t n) {
        const auto* from = static_cast<const double*>(x);
        auto* to = static_cast<double*>(y);
        for (int64_t i = 0; i < n; ++i) to[i] = of_f64<kKind>(from[i]);
      };
  };
  (look.template operator()<kKinds>(), ...);
  return found;
}

ArrayLoop unary_loop(const StepInfo& s) {
  if (const auto* cast = s.op.as<Cast>()) return cast_between(s.inputs[0].dtype, cast->to);
  const std::string_view op = s.op.def().name;
  using enum UnaryKind;
  if (s.inputs[0].dtype == DType::f64)
    return f64_loop<abs, neg, sign, floor, ceil, round, relu, square, sqrt>(op);
  return op == Unary<logical_not>::name ? invert : nullptr;
}

class TypedUnary final : public Kernel {
 public:
  explicit TypedUnary(const StepInfo& s)
      : loop_(unary_loop(s)),
        rounds_to_bf16_(s.op.as<Cast>() != nullptr && s.inputs[0].dtype == DType::f32 &&
                        s.outputs[0].dtype == DType::bf16),
        widens_bf16_(s.op.as<Cast>() != nullptr && s.inputs[0].dtype == DType::bf16 &&
                     s.outputs[0].dtype == DType::f32) {}
  bool rounds_to_bf16() const { return rounds_to_bf16_; }
  std::unique_ptr<Kernel> join(const Kernel& next, size_t) const override {
    const auto* reader = dynamic_cast<const RoundedReader*>(&next);
    return widens_bf16_ && reader != nullptr ? reader->reading_rounded() : nullptr;
  }
  Status run(const RunContext& c) const override {
    const Tensor& x = *c.inputs[0];
    Tensor& y = *c.outputs[0];
    const auto x_size = static_cast<int64_t>(dtype_size(x.dtype()));
    const auto y_size = static_cast<int64_t>(dtype_size(y.dtype()));
    const int64_t n = y.elements();
    c.pool.parallel_for((n + kTask - 1) / kTask, [&](int64_t task) {
      const int64_t first = task * kTask;
      loop_(static_cast<const char*>(x.raw()) + first * x_size,
            static_cast<char*>(y.mutable_raw()) + first * y_size, std::min(kTask, n - first));
    });
    return {};
  }

 private:
  ArrayLoop loop_;
  bool rounds_to_bf16_, widens_bf16_;
};

std::string unary_refuses(const StepInfo& s) {
  return unary_loop(s) == nullptr ? "not for these types" : "";
}

// Bounds of f64 as they are.
class ClipF64 final : public Kernel {
 public:
  explicit ClipF64(const StepInfo& s) : clip_(*s.op.as<Clip>()) {}
  Status run(const RunContext& c) const override {
    const double* x = in<double>(c, 0);
    double* y = out<double>(c);
    const double low = clip_.min, high = clip_.max;
    c.pool.parallel_for((c.outputs[0]->elements() + kTask - 1) / kTask, [&](int64_t task) {
      const int64_t end = std::min((task + 1) * kTask, c.outputs[0]->elements());
      for (int64_t i = task * kTask; i < end; ++i) {
        const double v = x[i] < low ? low : x[i];
        y[i] = v > high ? high : v;
      }
    });
    return {};
  }

 private:
  Clip clip_;
};

std::string clip_refuses(const StepInfo& s) {
  return s.inputs[0].dtype == DType::f64 ? "" : "only f64";
}

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

}  // namespace

bool rounds_to_bf16(const Kernel& kernel) {
  const auto* unary = dynamic_cast<const TypedUnary*>(&kernel);
  return unary != nullptr && unary->rounds_to_bf16();
}

std::span<const KernelCandidate> typed_candidates() {
  static const std::vector<KernelCandidate> all = [] {
    std::vector<KernelCandidate> list = {
        {Select::name, "array_select", select_refuses, make<SelectKernel>},
        {Cast::name, "array_cast", unary_refuses, make<TypedUnary>},
        {Unary<UnaryKind::logical_not>::name, "array_not", unary_refuses, make<TypedUnary>},
        {Clip::name, "array_typed", clip_refuses, make<ClipF64>}};
    for (const std::string_view op :
         {"abs", "neg", "sign", "floor", "ceil", "round", "relu", "square", "sqrt"})
      list.push_back({op, "array_typed", unary_refuses, make<TypedUnary>});
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu

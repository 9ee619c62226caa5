// Elementwise ops of two tensors beyond f32 arithmetic: comparisons, booleans, integers, f64.
#include <algorithm>
#include <functional>

#include "device/cpu/broadcast.h"
#include "device/cpu/candidates.h"
#include "ops/binary.h"

namespace tenon::cpu {
namespace {

// A loop the compiler can vectorise for each of the usual steps.
template <typename T, typename R, typename F>
void binary_loop(const T* a, int64_t step_a, const T* b, int64_t step_b, R* y, int64_t n, F f) {
  if (step_a == 1 && step_b == 1)
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  else if (step_a == 1 && step_b == 0)
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], *b);
  else if (step_a == 0 && step_b == 1)
    for (int64_t i = 0; i < n; ++i) y[i] = f(*a, b[i]);
  else
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i * step_a], b[i * step_b]);
}

struct Operands {
  const void *a = nullptr, *b = nullptr;
  void* y = nullptr;
  ThreadPool& pool;
};
using BinaryRun = void (*)(const BroadcastRows<2>& rows, const Operands& c);

template <typename T, typename R, typename F>
void run_binary(const BroadcastRows<2>& rows, const Operands& c) {
  const T* a = static_cast<const T*>(c.a);
  const T* b = static_cast<const T*>(c.b);
  R* y = static_cast<R*>(c.y);
  const auto [step_a, step_b] = rows.steps();
  rows.run(c.pool, [&, sa = step_a, sb = step_b](const auto& at, int64_t first, int64_t n) {
    binary_loop(a + at[0], sa, b + at[1], sb, y + first, n, F{});
  });
}

// Wrapping arithmetic on T by its unsigned counterpart.
template <template <typename> typename F>
struct Wrapping {
  template <typename T>
  T operator()(T a, T b) const {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(F<U>{}(static_cast<U>(a), static_cast<U>(b)));
  }
};
// NaN where either is NaN.
struct Smaller {
  template <typename T>
  T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};
struct Larger {
  template <typename T>
  T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
// By as many bits as a number has, at most.
template <typename T>
T shift_bits(T bits) {
  return std::clamp<T>(bits, 0, 8 * sizeof(T) - 1);
}
struct ShiftLeft {
  template <typename T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) << shift_bits(b));
  }
};
struct ShiftRight {
  template <typename T>
  T operator()(T a, T b) const {
    return a >> shift_bits(b);
  }
};
struct DivideNoNan {
  double operator()(double a, double b) const { return b == 0 ? 0 : a / b; }
};

// x > y as y < x.
bool is_turned(BinaryKind kind) {
  return kind == BinaryKind::greater || kind == BinaryKind::greater_equal;
}

template <typename T>
BinaryRun comparison(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::equal:
      return run_binary<T, bool, std::equal_to<T>>;
    case BinaryKind::not_equal:
      return run_binary<T, bool, std::not_equal_to<T>>;
    case BinaryKind::less:
    case BinaryKind::greater:
      return run_binary<T, bool, std::less<T>>;
    case BinaryKind::less_equal:
    case BinaryKind::greater_equal:
      return run_binary<T, bool, std::less_equal<T>>;
    default:
      return nullptr;
  }
}

template <typename T>
BinaryRun extreme(BinaryKind kind) {
  if (kind == BinaryKind::min) return run_binary<T, T, Smaller>;
  return kind == BinaryKind::max ? run_binary<T, T, Larger> : nullptr;
}

template <typename T>
BinaryRun arithmetic(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::add:
      return run_binary<T, T, Wrapping<std::plus>>;
    case BinaryKind::sub:
      return run_binary<T, T, Wrapping<std::minus>>;
    case BinaryKind::mul:
      return run_binary<T, T, Wrapping<std::multiplies>>;
    case BinaryKind::bitwise_and:
      return run_binary<T, T, std::bit_and<T>>;
    case BinaryKind::bitwise_or:
      return run_binary<T, T, std::bit_or<T>>;
    case BinaryKind::bitwise_xor:
      return run_binary<T, T, std::bit_xor<T>>;
    case BinaryKind::shift_left:
      return run_binary<T, T, ShiftLeft>;
    case BinaryKind::shift_right:
      return run_binary<T, T, ShiftRight>;
    default:
      return extreme<T>(kind);
  }
}

BinaryRun arithmetic_f64(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::add:
      return run_binary<double, double, std::plus<double>>;
    case BinaryKind::sub:
      return run_binary<double, double, std::minus<double>>;
    case BinaryKind::mul:
      return run_binary<double, double, std::multiplies<double>>;
    case BinaryKind::div:
      return run_binary<double, double, std::divides<double>>;
    case BinaryKind::div_no_nan:
      return run_binary<double, double, DivideNoNan>;
    default:
      return extreme<double>(kind);
  }
}

BinaryRun logic(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::logical_and:
      return run_binary<uint8_t, uint8_t, std::bit_and<uint8_t>>;
    case BinaryKind::logical_or:
      return run_binary<uint8_t, uint8_t, std::bit_or<uint8_t>>;
    case BinaryKind::logical_xor:
    case BinaryKind::not_equal:
      return run_binary<uint8_t, uint8_t, std::bit_xor<uint8_t>>;
    case BinaryKind::equal:
      return run_binary<uint8_t, bool, std::equal_to<uint8_t>>;
    default:
      return nullptr;
  }
}

BinaryRun binary_run(BinaryKind kind, DType dtype) {
  if (dtype == DType::boolean) return logic(kind);
  if (dtype == DType::f32) return comparison<float>(kind);
  if (dtype == DType::f64)
    return is_comparison(kind) ? comparison<double>(kind) : arithmetic_f64(kind);
  if (dtype == DType::u8) return extreme<uint8_t>(kind);
  if (dtype == DType::i8) return extreme<int8_t>(kind);
  if (dtype == DType::i32)
    return is_comparison(kind) ? comparison<int32_t>(kind) : arithmetic<int32_t>(kind);
  if (dtype == DType::i64)
    return is_comparison(kind) ? comparison<int64_t>(kind) : arithmetic<int64_t>(kind);
  return nullptr;
}

BinaryKind kind_of(const StepInfo& s) {
  size_t i = 0;
  while (kBinaryInfos[i].name != s.op.def().name) ++i;
  return static_cast<BinaryKind>(i);
}

class TypedBinary final : public Kernel {
 public:
  explicit TypedBinary(const StepInfo& s)
      : run_(binary_run(kind_of(s), s.inputs[0].dtype)),
        first_(is_turned(kind_of(s)) ? 1 : 0),
        rows_(s.outputs[0].shape.sizes(),
              {s.inputs[first_].shape.sizes(), s.inputs[1 - first_].shape.sizes()}) {}
  Status run(const RunContext& c) const override {
    if (c.outputs[0]->elements() > 0)
      run_(rows_, {c.inputs[first_]->raw(), c.inputs[1 - first_]->raw(),
                   c.outputs[0]->mutable_raw(), c.pool});
    return {};
  }

 private:
  BinaryRun run_;
  size_t first_;
  BroadcastRows<2> rows_;
};

std::string binary_refuses(const StepInfo& s) {
  return binary_run(kind_of(s), s.inputs[0].dtype) == nullptr ? "not for these types" : "";
}

std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<TypedBinary>(s);
}

}  // namespace

std::span<const KernelCandidate> typed_binary_candidates() {
  static const std::vector<KernelCandidate> all = [] {
    std::vector<KernelCandidate> list;
    list.reserve(kBinaryInfos.size());
    for (const BinaryInfo& info : kBinaryInfos)
      list.push_back({info.name, "array_typed", binary_refuses, make});
    return list;
  }();
  return all;
}

}  // namespace tenon::cpu

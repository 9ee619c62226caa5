#include "simulate/vector.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "simulate/elements.h"

namespace tenon::simulate {
namespace {

using isa::Opcode;
using isa::Relation;

constexpr int64_t kChunk = 1024;
constexpr size_t kMaxOperands = 4;

// The axes of operands of equal sizes with what lies evenly in all of them joined.
struct Nest {
  size_t operands = 0;
  int rank = 0;
  std::array<int64_t, Operand::kMaxAxes> size{};
  std::array<std::array<int64_t, Operand::kMaxAxes>, kMaxOperands> stride{};  // in bytes

  explicit Nest(std::span<const Operand> all) : operands(all.size()) {
    for (size_t i = 0; i < static_cast<size_t>(all[0].rank); ++i) {
      if (all[0].size[i] == 1) continue;
      const auto last = static_cast<size_t>(rank - 1);
      bool even = rank > 0;
      for (size_t o = 0; o < operands && even; ++o)
        even = stride[o][last] == all[0].size[i] * all[o].stride[i] * all[o].element;
      const size_t at = even ? last : static_cast<size_t>(rank++);
      size[at] = even ? size[at] * all[0].size[i] : all[0].size[i];
      for (size_t o = 0; o < operands; ++o) stride[o][at] = all[o].stride[i] * all[o].element;
    }
  }

  // Calls f(places of the rows, elements in a row): rows are along the innermost axis.
  template <typename F>
  void for_each_row(std::span<const Operand> all, const F& f) const {
    std::array<std::byte*, kMaxOperands> at{};
    for (size_t o = 0; o < operands; ++o) at[o] = all[o].first();
    for (int i = 0; i < rank; ++i)
      if (size[static_cast<size_t>(i)] <= 0) return;
    const int64_t row = rank == 0 ? 1 : size[static_cast<size_t>(rank - 1)];
    std::array<int64_t, Operand::kMaxAxes> index{};
    for (;;) {
      f(at, row);
      int axis = rank - 2;
      for (; axis >= 0; --axis) {
        const auto k = static_cast<size_t>(axis);
        for (size_t o = 0; o < operands; ++o) at[o] += stride[o][k];
        if (++index[k] < size[k]) break;
        for (size_t o = 0; o < operands; ++o) at[o] -= stride[o][k] * size[k];
        index[k] = 0;
      }
      if (axis < 0) return;
    }
  }
  // Of the innermost axis, in elements.
  int64_t step(size_t operand, const Operand& o) const {
    return rank == 0 ? 1 : stride[operand][static_cast<size_t>(rank - 1)] / o.element;
  }
};

template <typename T>
bool holds(Relation relation, T a, T b) {
  switch (relation) {
    case Relation::less:
      return a < b;
    case Relation::less_equal:
      return a <= b;
    case Relation::equal:
      return a == b;
    case Relation::not_equal:
      return a != b;
    case Relation::greater_equal:
      return a >= b;
    case Relation::greater:
      return a > b;
  }
  return false;
}

// A NaN of either operand is the result.
float larger(float a, float b) {
  return a > b || std::isnan(a) ? a : b;
}
float smaller(float a, float b) {
  return a < b || std::isnan(a) ? a : b;
}
int64_t larger(int64_t a, int64_t b) {
  return std::max(a, b);
}
int64_t smaller(int64_t a, int64_t b) {
  return std::min(a, b);
}

template <typename F>
void apply(float* x, int64_t n, const F& f) {
  for (int64_t i = 0; i < n; ++i) x[i] = f(x[i]);
}

void unary(Opcode op, float* x, int64_t n) {
  switch (op) {
    case Opcode::exp:
      return apply(x, n, [](float v) { return std::exp(v); });
    case Opcode::ln:
      return apply(x, n, [](float v) { return std::log(v); });
    case Opcode::sqrt:
      return apply(x, n, [](float v) { return std::sqrt(v); });
    case Opcode::rsqrt:
      return apply(x, n, [](float v) { return 1 / std::sqrt(v); });
    case Opcode::reciprocal:
      return apply(x, n, [](float v) { return 1 / v; });
    case Opcode::abs:
      return apply(x, n, [](float v) { return std::fabs(v); });
    case Opcode::relu:
      return apply(x, n, [](float v) { return larger(v, 0.0F); });
    case Opcode::sigmoid:
      return apply(x, n, [](float v) { return 1 / (1 + std::exp(-v)); });
    case Opcode::tanh:
      return apply(x, n, [](float v) { return std::tanh(v); });
    default:
      return;
  }
}

void unary(Opcode op, int64_t* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (op == Opcode::abs) x[i] = x[i] < 0 ? -x[i] : x[i];
    if (op == Opcode::relu) x[i] = std::max<int64_t>(x[i], 0);
  }
}

float sum(float a, float b) {
  return a + b;
}
float difference(float a, float b) {
  return a - b;
}
float product(float a, float b) {
  return a * b;
}
float quotient(float a, float b) {
  return a / b;
}
// Of integers: what does not fit is saturated, by zero is 0.
int64_t sum(int64_t a, int64_t b) {
  int64_t r = 0;
  return __builtin_add_overflow(a, b, &r)
             ? (a < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max())
             : r;
}
int64_t difference(int64_t a, int64_t b) {
  int64_t r = 0;
  return __builtin_sub_overflow(a, b, &r)
             ? (a < 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max())
             : r;
}
int64_t product(int64_t a, int64_t b) {
  int64_t r = 0;
  return __builtin_mul_overflow(a, b, &r)
             ? ((a < 0) != (b < 0) ? std::numeric_limits<int64_t>::min()
                                   : std::numeric_limits<int64_t>::max())
             : r;
}
int64_t quotient(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? difference(0, a) : a / b;
}

template <typename T>
void binary(Opcode op, T* x, const T* y, int64_t n) {
  const auto each = [&](const auto& f) {
    for (int64_t i = 0; i < n; ++i) x[i] = f(x[i], y[i]);
  };
  switch (op) {
    case Opcode::add:
    case Opcode::adds:
      return each([](T a, T b) { return sum(a, b); });
    case Opcode::sub:
      return each([](T a, T b) { return difference(a, b); });
    case Opcode::mul:
    case Opcode::muls:
      return each([](T a, T b) { return product(a, b); });
    case Opcode::div:
      return each([](T a, T b) { return quotient(a, b); });
    case Opcode::max:
    case Opcode::maxs:
      return each([](T a, T b) { return larger(a, b); });
    case Opcode::min:
    case Opcode::mins:
      return each([](T a, T b) { return smaller(a, b); });
    default:
      return;
  }
}

template <typename T>
void load(const std::byte* from, DType dtype, int64_t stride, int64_t n, T* to) {
  if constexpr (std::is_same_v<T, float>)
    load_floats(from, dtype, stride, n, to);
  else
    load_ints(from, dtype, stride, n, to);
}

void store(const float* from, int64_t n, int64_t rounding, const Operand& o, int64_t stride,
           std::byte* to) {
  store_floats(from, n, static_cast<isa::Rounding>(rounding), o.dtype, stride, to);
}
void store(const int64_t* from, int64_t n, int64_t, const Operand& o, int64_t stride,
           std::byte* to) {
  store_ints(from, n, o.dtype, stride, to);
}

// The scalar as an element of the type.
template <typename T>
T scalar_of(double scalar, DType dtype) {
  alignas(8) std::byte bytes[8];
  T value = 0;
  if constexpr (std::is_same_v<T, int64_t>) {
    // Exactly, where f32 would round.
    constexpr double kMost = 0x1p62;
    const double whole = std::isnan(scalar) ? 0 : std::nearbyint(scalar);
    const auto number = static_cast<int64_t>(std::clamp(whole, -kMost, kMost));
    store_ints(&number, 1, dtype, 1, bytes);
  } else {
    const auto real = static_cast<float>(scalar);
    store_floats(&real, 1, isa::Rounding::even, dtype, 1, bytes);
  }
  load(bytes, dtype, 1, 1, &value);
  return value;
}

// The rows of one instruction with elements as T: floats, or exact integers.
template <typename T>
void compute(Opcode op, std::span<const Operand> all, int64_t number, double scalar) {
  alignas(32) std::array<T, kChunk> x, y;
  alignas(32) std::array<float, kChunk> condition;
  const isa::OpcodeClass kind = isa::info(op).kind;
  const Operand& dst = all[0];
  const int64_t rounding = op == Opcode::convert ? number : 0;
  const bool has_scalar = isa::info(op).has_scalar;
  if (has_scalar) {
    const T value = scalar_of<T>(scalar, dst.dtype);
    std::fill(x.begin(), x.end(), value);
    std::fill(y.begin(), y.end(), value);
  }
  const Nest nest(all);
  std::array<int64_t, kMaxOperands> step{};
  for (size_t o = 0; o < all.size(); ++o) step[o] = nest.step(o, all[o]);
  nest.for_each_row(all, [&](const auto& at, int64_t row) {
    for (int64_t first = 0; first < row; first += kChunk) {
      const int64_t n = std::min(kChunk, row - first);
      const auto place = [&](size_t o) { return at[o] + first * step[o] * all[o].element; };
      const auto get = [&](size_t o, T* to) { load(place(o), all[o].dtype, step[o], n, to); };
      if (kind == isa::OpcodeClass::select) {
        load_floats(place(1), all[1].dtype, step[1], n, condition.data());
        get(2, x.data());
        get(3, y.data());
        for (size_t i = 0; i < static_cast<size_t>(n); ++i) x[i] = condition[i] != 0 ? x[i] : y[i];
      } else if (kind == isa::OpcodeClass::compare) {
        get(1, x.data());
        get(2, y.data());
        for (size_t i = 0; i < static_cast<size_t>(n); ++i)
          x[i] = holds(static_cast<Relation>(number), x[i], y[i]) ? T{1} : T{0};
      } else if (op != Opcode::fill) {
        get(1, x.data());
        if (kind == isa::OpcodeClass::binary) get(2, y.data());
        if (kind == isa::OpcodeClass::unary)
          unary(op, x.data(), n);
        else if (kind != isa::OpcodeClass::move)
          binary(op, x.data(), y.data(), n);
      }
      store(x.data(), n, rounding, dst, step[0], place(0));
    }
  });
}

template <typename T>
T reduced(Opcode op, const T* x, int64_t n, T start) {
  // Eight partial results, as a vector unit's lanes have them.
  std::array<T, 8> lanes;
  lanes.fill(start);
  const auto each = [&](const auto& f) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
      for (size_t l = 0; l < 8; ++l) lanes[l] = f(lanes[l], x[i + static_cast<int64_t>(l)]);
    for (; i < n; ++i)
      lanes[static_cast<size_t>(i % 8)] = f(lanes[static_cast<size_t>(i % 8)], x[i]);
    for (size_t half = 4; half > 0; half /= 2)
      for (size_t l = 0; l < half; ++l) lanes[l] = f(lanes[l], lanes[l + half]);
    return lanes[0];
  };
  if (op == Opcode::reduce_sum) return each([](T a, T b) { return sum(a, b); });
  if (op == Opcode::reduce_max) return each([](T a, T b) { return larger(a, b); });
  return each([](T a, T b) { return smaller(a, b); });
}

template <typename T>
void reduce(Opcode op, const Operand& dst, const Operand& source) {
  alignas(32) std::array<T, kChunk> x;
  const auto last = static_cast<size_t>(source.rank - 1);
  const int64_t row = source.size[last], stride = source.stride[last];
  using Limits = std::numeric_limits<T>;
  const T most = Limits::has_infinity ? Limits::infinity() : Limits::max();
  const T least = Limits::has_infinity ? -Limits::infinity() : Limits::min();
  const T start = op == Opcode::reduce_sum ? T{0} : op == Opcode::reduce_max ? least : most;
  std::array<Operand, 2> rows{dst, source};
  for (Operand& o : rows) o.size[last] = 1;
  Nest(rows).for_each_row(rows, [&](const auto& at, int64_t count) {
    const Nest nest(rows);
    for (int64_t r = 0; r < count; ++r) {
      const std::byte* from = at[1] + r * nest.step(1, source) * source.element;
      T result = start;
      for (int64_t first = 0; first < row; first += kChunk) {
        const int64_t n = std::min(kChunk, row - first);
        load(from + first * stride * source.element, source.dtype, stride, n, x.data());
        const std::array<T, 2> both{result, reduced(op, x.data(), n, start)};
        result = reduced(op, both.data(), 2, start);
      }
      store(&result, 1, 0, dst, 1, at[0] + r * nest.step(0, dst) * dst.element);
    }
  });
}

}  // namespace

void run_elementwise(Opcode op, std::span<const Operand> operands, int64_t number, double scalar) {
  // Integers among themselves stay integers; a condition is not computed with.
  bool exact = true;
  for (size_t i = 0; i < operands.size(); ++i)
    exact &=
        is_exact(operands[i].dtype) || (i == 0 && isa::info(op).kind == isa::OpcodeClass::compare);
  if (exact)
    compute<int64_t>(op, operands, number, scalar);
  else
    compute<float>(op, operands, number, scalar);
}

void run_reduction(Opcode op, const Operand& dst, const Operand& source) {
  if (is_exact(source.dtype))
    reduce<int64_t>(op, dst, source);
  else
    reduce<float>(op, dst, source);
}

}  // namespace tenon::simulate

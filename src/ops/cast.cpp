#include "ops/cast.h"

#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <limits>
#include <vector>

#include "ops/ints.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

using Complex = std::complex<double>;

template <typename T>
T saturate(double v) {
  if (std::isnan(v)) return 0;
  constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
  if (v <= kLow) return std::numeric_limits<T>::min();
  // For 64 bits kHigh is 2^63 or 2^64, one more than fits.
  if (v >= kHigh) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}

// f(TypeTag<T>) for every type but strings.
template <typename F>
void visit_any(DType dtype, F&& f) {
  if (dtype == DType::boolean)
    f(TypeTag<bool>{});
  else if (dtype == DType::c64)
    f(TypeTag<std::complex<float>>{});
  else if (dtype == DType::c128)
    f(TypeTag<Complex>{});
  else
    visit_real(dtype, f);
}

// Stores what `load` gives as T; integers come as int64_t (bits of a uint64_t for u64).
template <typename Load>
void store_all(Tensor& y, Load load) {
  visit_any(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = y.mutable_data<T>();
    for (int64_t i = 0; i < y.elements(); ++i) {
      const auto v = load(i);
      using V = std::remove_cvref_t<decltype(v)>;
      if constexpr (std::is_same_v<T, bool>) {
        out[i] = v != V(0);
      } else if constexpr (std::is_same_v<V, Complex>) {
        if constexpr (std::is_same_v<T, std::complex<float>> || std::is_same_v<T, Complex>)
          out[i] = T(v);
        else if constexpr (std::is_integral_v<T>)
          out[i] = saturate<T>(v.real());
        else
          out[i] = T(static_cast<Arithmetic<T>>(v.real()));
      } else if constexpr (std::is_integral_v<T>) {
        if constexpr (std::is_same_v<V, double>)
          out[i] = saturate<T>(v);
        else
          out[i] = static_cast<T>(v);
      } else if constexpr (std::is_same_v<T, std::complex<float>>) {
        out[i] = T(static_cast<float>(v));
      } else if constexpr (std::is_same_v<T, Complex>) {
        out[i] = T(static_cast<double>(v));
      } else {
        out[i] = T(static_cast<Arithmetic<T>>(v));
      }
    }
  });
}

// Integers of few bits wrap, also from floats.
void store_narrow(const Cast& cast, const Tensor& x, Tensor& y) {
  auto* out = static_cast<uint8_t*>(y.mutable_raw());
  const bool is_real = is_float(x.dtype()) || is_narrow_float(x.dtype());
  const int mask = (1 << narrow_bits(cast.to)) - 1;
  for (int64_t i = 0; i < y.elements(); ++i) {
    if (is_narrow_float(cast.to)) {
      out[i] = to_narrow(cast.to, x.real_at(i), cast.saturate, cast.rounding);
      continue;
    }
    const int64_t whole = is_real ? saturate<int64_t>(x.real_at(i)) : x.int_at(i);
    out[i] = static_cast<uint8_t>(whole & mask);
  }
}

}  // namespace

Result<TensorTypes> Cast::infer(const InferContext& context) const {
  TensorType out = context.type(0);
  const bool strings = out.dtype == DType::string || to == DType::string;
  const bool complex_to_narrow = is_complex(out.dtype) && is_narrow(to);
  if (out.is_list || to == DType::none || (strings && out.dtype != to) || complex_to_narrow)
    return invalid_argument(
        fmt::format("cast cannot turn {} into {}", out.to_string(), dtype_name(to)));
  out.dtype = to;
  return TensorTypes{out};
}

std::optional<SymInts> Cast::infer_ints(const InferContext& context) const {
  // Only where the values cannot change: sizes fit 32 bits or more.
  const auto wide = [](DType t) {
    return t == DType::i32 || t == DType::i64 || t == DType::u32 || t == DType::u64;
  };
  if (!wide(to) || !(wide(context.dtype(0)) || context.dtype(0) == DType::boolean))
    return std::nullopt;
  if (!may_be_sizes(context, 0)) return std::nullopt;
  auto ints = context.ints(0);
  if (!ints) return std::nullopt;
  for (const SymInt& s : *ints) {
    const int64_t low = is_unsigned_int(to) ? 0 : std::numeric_limits<int32_t>::min();
    if (s.value && to != DType::i64 &&
        (*s.value < low || *s.value > std::numeric_limits<int32_t>::max()))
      return std::nullopt;
  }
  return ints;
}

Status Cast::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  if (x.dtype() == to) {
    y = x;
  } else if (is_narrow(to)) {
    store_narrow(*this, x, y);
  } else if (x.dtype() == DType::c64) {
    store_all(y, [&](int64_t i) { return Complex(x.data<std::complex<float>>()[i]); });
  } else if (x.dtype() == DType::c128) {
    store_all(y, [&](int64_t i) { return x.data<Complex>()[i]; });
  } else if (is_float(x.dtype()) || is_narrow(x.dtype())) {
    store_all(y, [&](int64_t i) { return x.real_at(i); });
  } else if (x.dtype() == DType::u64) {
    store_all(y, [&](int64_t i) { return x.data<uint64_t>()[i]; });
  } else {
    store_all(y, [&](int64_t i) { return x.int_at(i); });
  }
  return {};
}

constinit const OpDef Cast::def = define<Cast>();
OpDefs cast_ops() {
  return {&Cast::def};
}

}  // namespace tenon

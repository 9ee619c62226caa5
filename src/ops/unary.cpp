#include "ops/unary.h"

#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <utility>

#include "ops/binary.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

using Complex = std::complex<double>;

bool is_predicate(UnaryKind kind) {
  return kind == UnaryKind::is_nan || kind == UnaryKind::is_inf || kind == UnaryKind::is_finite;
}

bool takes_ints(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::abs:
    case UnaryKind::neg:
    case UnaryKind::sign:
    case UnaryKind::floor:
    case UnaryKind::ceil:
    case UnaryKind::round:
    case UnaryKind::square:
    case UnaryKind::relu:
    case UnaryKind::bitwise_not:
      return true;
    default:
      return is_predicate(kind);
  }
}

bool takes_complex(UnaryKind kind) {
  switch (kind) {
    case UnaryKind::neg:
    case UnaryKind::exp:
    case UnaryKind::expm1:
    case UnaryKind::log:
    case UnaryKind::log1p:
    case UnaryKind::sqrt:
    case UnaryKind::rsqrt:
    case UnaryKind::square:
    case UnaryKind::reciprocal:
    case UnaryKind::sin:
    case UnaryKind::cos:
    case UnaryKind::tan:
    case UnaryKind::sinh:
    case UnaryKind::cosh:
    case UnaryKind::tanh:
    case UnaryKind::sigmoid:
    case UnaryKind::sign:
    case UnaryKind::asin:
    case UnaryKind::acos:
    case UnaryKind::atan:
    case UnaryKind::asinh:
    case UnaryKind::acosh:
    case UnaryKind::atanh:
      return true;
    default:
      return false;
  }
}

bool accepts(UnaryKind kind, DType dtype) {
  if (kind == UnaryKind::logical_not) return dtype == DType::boolean;
  if (kind == UnaryKind::bitwise_not) return is_int(dtype);
  return is_float(dtype) || (is_int(dtype) && takes_ints(kind)) ||
         (is_complex(dtype) && takes_complex(kind));
}

// Integers are computed in 64 bits and wrap when stored.
int64_t unary_int(UnaryKind kind, int64_t x, bool is_unsigned) {
  const auto bits = static_cast<uint64_t>(x);
  switch (kind) {
    case UnaryKind::abs:
      return is_unsigned || x >= 0 ? x : static_cast<int64_t>(0 - bits);
    case UnaryKind::neg:
      return static_cast<int64_t>(0 - bits);
    case UnaryKind::sign:
      return is_unsigned ? (x != 0) : (x > 0) - (x < 0);
    case UnaryKind::square:
      return static_cast<int64_t>(bits * bits);
    case UnaryKind::relu:
      return is_unsigned || x >= 0 ? x : 0;
    case UnaryKind::bitwise_not:
      return static_cast<int64_t>(~bits);
    default:
      return x;
  }
}

Complex unary_complex(UnaryKind kind, Complex x) {
  switch (kind) {
    case UnaryKind::neg:
      return -x;
    case UnaryKind::exp:
      return std::exp(x);
    case UnaryKind::expm1:
      return std::exp(x) - 1.0;
    case UnaryKind::log:
      return std::log(x);
    case UnaryKind::log1p:
      return std::log(1.0 + x);
    case UnaryKind::sqrt:
      return std::sqrt(x);
    case UnaryKind::rsqrt:
      return 1.0 / std::sqrt(x);
    case UnaryKind::square:
      return x * x;
    case UnaryKind::reciprocal:
      return complex_quotient(1.0, x);
    case UnaryKind::sign:
      return x == 0.0 ? x : x / std::abs(x);
    case UnaryKind::sin:
      return std::sin(x);
    case UnaryKind::cos:
      return std::cos(x);
    case UnaryKind::tan:
      return std::tan(x);
    case UnaryKind::asin:
      return std::asin(x);
    case UnaryKind::acos:
      return std::acos(x);
    case UnaryKind::atan:
      return std::atan(x);
    case UnaryKind::asinh:
      return std::asinh(x);
    case UnaryKind::acosh:
      return std::acosh(x);
    case UnaryKind::atanh:
      return std::atanh(x);
    case UnaryKind::sinh:
      return std::sinh(x);
    case UnaryKind::cosh:
      return std::cosh(x);
    case UnaryKind::tanh:
      return std::tanh(x);
    default:
      return 1.0 / (1.0 + std::exp(-x));
  }
}

double softplus(double x) {
  return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
}

bool predicate(UnaryKind kind, double x) {
  if (kind == UnaryKind::is_nan) return std::isnan(x);
  return kind == UnaryKind::is_inf ? std::isinf(x) : std::isfinite(x);
}

}  // namespace

double unary_value(UnaryKind kind, double x) {
  switch (kind) {
    case UnaryKind::abs:
      return std::fabs(x);
    case UnaryKind::neg:
      return -x;
    case UnaryKind::sign:
      return x > 0 ? 1 : (x < 0 ? -1 : x);
    case UnaryKind::floor:
      return std::floor(x);
    case UnaryKind::ceil:
      return std::ceil(x);
    case UnaryKind::round:
      return std::nearbyint(x);
    case UnaryKind::exp:
      return std::exp(x);
    case UnaryKind::expm1:
      return std::expm1(x);
    case UnaryKind::log:
      return std::log(x);
    case UnaryKind::log1p:
      return std::log1p(x);
    case UnaryKind::sqrt:
      return std::sqrt(x);
    case UnaryKind::rsqrt:
      return 1 / std::sqrt(x);
    case UnaryKind::square:
      return x * x;
    case UnaryKind::reciprocal:
      return 1 / x;
    case UnaryKind::sin:
      return std::sin(x);
    case UnaryKind::cos:
      return std::cos(x);
    case UnaryKind::tan:
      return std::tan(x);
    case UnaryKind::asin:
      return std::asin(x);
    case UnaryKind::acos:
      return std::acos(x);
    case UnaryKind::atan:
      return std::atan(x);
    case UnaryKind::sinh:
      return std::sinh(x);
    case UnaryKind::cosh:
      return std::cosh(x);
    case UnaryKind::tanh:
      return std::tanh(x);
    case UnaryKind::asinh:
      return std::asinh(x);
    case UnaryKind::acosh:
      return std::acosh(x);
    case UnaryKind::atanh:
      return std::atanh(x);
    case UnaryKind::erf:
      return std::erf(x);
    case UnaryKind::erfc:
      return std::erfc(x);
    // Written so that NaN stays NaN.
    case UnaryKind::relu:
      return x < 0 ? 0 : x;
    case UnaryKind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case UnaryKind::softplus:
      return softplus(x);
    case UnaryKind::softsign:
      return x / (1 + std::fabs(x));
    case UnaryKind::silu:
      return x / (1 + std::exp(-x));
    case UnaryKind::hard_swish:
      return x < -3 ? 0 : (x > 3 ? x : x * (x + 3) / 6);
    case UnaryKind::mish:
      return x * std::tanh(softplus(x));
    case UnaryKind::is_nan:
    case UnaryKind::is_inf:
    case UnaryKind::is_finite:
      return predicate(kind, x) ? 1 : 0;
    case UnaryKind::logical_not:
    case UnaryKind::bitwise_not:
      break;
  }
  return x;
}

Result<TensorTypes> infer_unary(UnaryKind kind, const InferContext& context) {
  TensorType out = context.type(0);
  const std::string_view name = kUnaryInfos[static_cast<size_t>(kind)].name;
  if (out.is_list || !accepts(kind, out.dtype))
    return invalid_argument(fmt::format("{} does not take {}", name, out.to_string()));
  if (is_predicate(kind)) out.dtype = DType::boolean;
  return TensorTypes{out};
}

Status eval_unary(UnaryKind kind, EvalContext& context) {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const int64_t n = x.elements();
  if (is_predicate(kind)) {
    bool* out = y.mutable_data<bool>();
    for (int64_t i = 0; i < n; ++i)
      out[i] = is_float(x.dtype()) ? predicate(kind, x.real_at(i)) : kind == UnaryKind::is_finite;
    return {};
  }
  if (x.dtype() == DType::boolean) {
    const bool* in = x.data<bool>();
    bool* out = y.mutable_data<bool>();
    for (int64_t i = 0; i < n; ++i) out[i] = !in[i];
    return {};
  }
  if (is_complex(x.dtype())) {
    const auto apply = [&]<typename T>(TypeTag<T>) {
      for (int64_t i = 0; i < n; ++i)
        y.mutable_data<T>()[i] = T(unary_complex(kind, Complex(x.data<T>()[i])));
    };
    x.dtype() == DType::c64 ? apply(TypeTag<std::complex<float>>{}) : apply(TypeTag<Complex>{});
    return {};
  }
  if (is_float(x.dtype())) {
    visit_float(x.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const T* in = x.data<T>();
      T* out = y.mutable_data<T>();
      for (int64_t i = 0; i < n; ++i)
        out[i] = T(static_cast<Arithmetic<T>>(
            unary_value(kind, static_cast<double>(static_cast<Arithmetic<T>>(in[i])))));
    });
    return {};
  }
  visit_int(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* in = x.data<T>();
    T* out = y.mutable_data<T>();
    for (int64_t i = 0; i < n; ++i)
      out[i] = static_cast<T>(unary_int(kind, static_cast<int64_t>(in[i]), std::is_unsigned_v<T>));
  });
  return {};
}

OpDefs unary_ops() {
  return []<size_t... I>(std::index_sequence<I...>) {
    return OpDefs{&Unary<static_cast<UnaryKind>(I)>::def...};
  }
  (std::make_index_sequence<kUnaryInfos.size()>{});
}

}  // namespace tenon

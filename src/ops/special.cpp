#include "ops/special.h"

#include <cmath>
#include <limits>
#include <utility>

#include "ops/nn_util.h"
#include "ops/registry.h"
#include "ops/special_eval.h"

namespace tenon {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double value(SpecialKind kind, double x) {
  int sign = 0;
  switch (kind) {
    case SpecialKind::lgamma:
      return lgamma_r(x, &sign);
    case SpecialKind::digamma:
      return special::digamma(x);
    case SpecialKind::erfinv:
      return special::erfinv(x);
    case SpecialKind::bessel_i0e:
      return special::bessel_ie(0, x);
    case SpecialKind::bessel_i1e:
      return special::bessel_ie(1, x);
    case SpecialKind::ndtri:
      return special::ndtri(x);
    case SpecialKind::bessel_k0e:
      return special::bessel_ke(0, x);
    case SpecialKind::bessel_k1e:
      return special::bessel_ke(1, x);
    // TensorFlow has no limits at infinity, and poles below zero.
    case SpecialKind::bessel_j0:
      return std::isinf(x) ? kNan : ::j0(x);
    case SpecialKind::bessel_j1:
      return std::isinf(x) ? kNan : ::j1(x);
    case SpecialKind::bessel_y0:
      return x <= 0 ? -kInfinity : std::isinf(x) ? kNan : ::y0(x);
    case SpecialKind::bessel_y1:
      return x <= 0 ? -kInfinity : std::isinf(x) ? kNan : ::y1(x);
    case SpecialKind::dawson:
      return special::dawson(x);
    case SpecialKind::exponential_integral:
      return special::exponential_integral(x);
    case SpecialKind::fresnel_sin:
      return special::fresnel_sin(x);
    case SpecialKind::fresnel_cos:
      return special::fresnel_cos(x);
    case SpecialKind::spence:
      return special::spence(x);
  }
  return x;
}

}  // namespace

Result<TensorTypes> infer_special(SpecialKind kind, const InferContext& context) {
  TRY(nn::expect_float(context, kSpecialInfos[static_cast<size_t>(kind)][0]));
  return TensorTypes{context.type(0)};
}

Status eval_special(SpecialKind kind, EvalContext& context) {
  auto values = nn::reals(context.in(0));
  for (double& v : values) v = value(kind, v);
  nn::store_reals(context.out(0), values);
  return {};
}

namespace {
template <size_t... kKinds>
OpDefs all_kinds(std::index_sequence<kKinds...>) {
  return {&Special<static_cast<SpecialKind>(kKinds)>::def...};
}
}  // namespace

OpDefs special_ops() {
  return all_kinds(std::make_index_sequence<kSpecialInfos.size()>{});
}

}  // namespace tenon

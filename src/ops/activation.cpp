#include "ops/activation.h"

#include <algorithm>
#include <cmath>

#include "ops/registry.h"

namespace tenon {

double activate(ActivationKind kind, double alpha, double beta, double x) {
  const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
  // Written so that NaN stays NaN.
  const auto clamp = [](double v, double low, double high) {
    return v < low ? low : (v > high ? high : v);
  };
  switch (kind) {
    case ActivationKind::none:
      return x;
    case ActivationKind::relu:
      return x < 0 ? 0 : x;
    case ActivationKind::clip:
      return clamp(x, alpha, beta);
    case ActivationKind::leaky_relu:
      return x < 0 ? alpha * x : x;
    case ActivationKind::sigmoid:
      return sigmoid(x);
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::silu:
      return x * sigmoid(x);
    case ActivationKind::hard_swish:
      return x * clamp(x + 3, 0, 6) / 6;
    case ActivationKind::hard_sigmoid:
      return clamp(alpha * x + beta, 0, 1);
    case ActivationKind::gelu_erf:
      return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
    case ActivationKind::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case ActivationKind::elu:
      return x < 0 ? alpha * std::expm1(x) : x;
    case ActivationKind::softsign:
      return x / (1 + std::abs(x));
    case ActivationKind::softplus:
      return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
    case ActivationKind::affine:
      return alpha * x + beta;
    case ActivationKind::scaled_tanh:
      return alpha * std::tanh(beta * x);
    case ActivationKind::thresholded_relu:
      return x > alpha || x != x ? x : 0;
  }
  return x;
}

OpDefs activation_ops() {
  return {};
}

}  // namespace tenon

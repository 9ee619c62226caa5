// The activations that kernels can apply to their result before storing it.
#pragma once

#include <cstdint>

namespace tenon::cpu {

enum class ActivationKind : uint8_t {
  kNone,
  kRelu,       // max(x, 0)
  kClip,       // min(max(x, alpha), beta)
  kLeakyRelu,  // x < 0 ? alpha * x : x
  kSigmoid,    // 1 / (1 + exp(-x))
  kTanh,
  kSilu,         // x * sigmoid(x)
  kHardSwish,    // x * clip(x + 3, 0, 6) / 6
  kHardSigmoid,  // clip(alpha * x + beta, 0, 1)
  kGeluErf,      // x / 2 * (1 + erf(x / sqrt 2))
  kGeluTanh,     // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kElu,          // x < 0 ? alpha * (exp(x) - 1) : x
};

// NaN goes through every kind. The parameters a kind does not name are ignored.
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float alpha = 0;
  float beta = 0;
};

inline constexpr Activation kRelu{ActivationKind::kRelu};
inline constexpr Activation kRelu6{ActivationKind::kClip, 0.0f, 6.0f};

}  // namespace tenon::cpu

// Activations as they are fused into the ops that produce their input.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "ops/op.h"

namespace tenon {

// The numbering is shared with the kernels' epilogues (device/cpu).
enum class ActivationKind : uint8_t {
  none,
  relu,
  clip,        // min(max(x, alpha), beta)
  leaky_relu,  // x < 0 ? alpha * x : x
  sigmoid,
  tanh,
  silu,
  hard_swish,    // x * min(max(x + 3, 0), 6) / 6
  hard_sigmoid,  // min(max(alpha * x + beta, 0), 1)
  gelu_erf,
  gelu_tanh,
  elu,  // x < 0 ? alpha * (exp(x) - 1) : x
  // Only of recurrent layers, for which kernels step aside.
  softsign,          // x / (1 + |x|)
  softplus,          // log(1 + exp(x))
  affine,            // alpha * x + beta
  scaled_tanh,       // alpha * tanh(beta * x)
  thresholded_relu,  // x > alpha ? x : 0
};

inline constexpr std::array<std::string_view, 17> kActivationNames{
    "none",     "relu",       "clip",         "leaky_relu",  "sigmoid",         "tanh",
    "silu",     "hard_swish", "hard_sigmoid", "gelu_erf",    "gelu_tanh",       "elu",
    "softsign", "softplus",   "affine",       "scaled_tanh", "thresholded_relu"};
constexpr std::span<const std::string_view> enum_names(ActivationKind) {
  return kActivationNames;
}

// Whether kernels can apply it to what they compute.
constexpr bool is_fusable(ActivationKind kind) {
  return kind <= ActivationKind::elu;
}

// The activation of one value, in double.
double activate(ActivationKind kind, double alpha, double beta, double x);

}  // namespace tenon

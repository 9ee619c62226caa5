// What the numbers of a compiled model are: the names users write for it, those of other tools
// among them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tenon::quant {

// Of a product, such as a convolution; of anything else the first three mean what its weights are
// stored as.
enum class LayerPrecision : uint8_t {
  fp32,
  fp16,  // weights of f16, arithmetic in f32
  bf16,  // weights and what they are multiplied by of bf16, sums in f32
  // Integers by ranges found beforehand; where that is not to be, or for recurrent layers, as far
  // as possible what the next two say.
  int8,
  int8_dynamic,  // integers by the range of each input as it comes
  int8_weights,  // weights of 8 bits; arithmetic in f32
  int4_weights   // weights of matrix products of 4 bits, others as int8_weights
};
inline constexpr std::string_view kLayerPrecisions[] = {
    "fp32", "fp16", "bf16", "int8", "int8_dynamic", "int8_weights", "int4_weights"};

constexpr std::string_view name_of(LayerPrecision p) {
  return kLayerPrecisions[static_cast<size_t>(p)];
}

struct Precision {
  LayerPrecision products = LayerPrecision::fp32;
  // Of what is not of integers where products are.
  LayerPrecision rest = LayerPrecision::fp32;

  // "int8", "int8_fp16", …
  std::string to_string() const;
  bool operator==(const Precision&) const = default;
};

// Error: unsupported, saying what there is and what comes nearest.
Result<Precision> parse_precision(std::string_view text);
// One of kLayerPrecisions. Error: invalid_argument.
Result<LayerPrecision> parse_layer_precision(std::string_view text);

}  // namespace tenon::quant

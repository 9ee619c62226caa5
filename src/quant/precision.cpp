#include "quant/precision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "base/nearest.h"

namespace tenon::quant {
namespace {

using enum LayerPrecision;

struct Spelling {
  std::string_view text;
  Precision precision;
};

// Our names first, then those of the chips' compilers: MagicMind's, ATC's precision_mode and
// precision_mode_v2, and what frameworks call the types.
constexpr Spelling kSpellings[] = {
    {"fp32", {fp32}},
    {"fp16", {fp16, fp16}},
    {"bf16", {bf16, bf16}},
    {"int8", {int8}},
    {"int8_fp16", {int8, fp16}},
    {"int8_bf16", {int8, bf16}},
    {"int8_dynamic", {int8_dynamic}},
    {"int8_weights", {int8_weights}},
    {"int4_weights", {int4_weights}},
    {"float32", {fp32}},
    {"force_float32", {fp32}},
    {"force_fp32", {fp32}},
    {"must_keep_origin_dtype", {fp32}},
    {"origin", {fp32}},
    {"float16", {fp16, fp16}},
    {"half", {fp16, fp16}},
    {"force_float16", {fp16, fp16}},
    {"force_fp16", {fp16, fp16}},
    {"mixed_float16", {fp16, fp16}},
    {"allow_fp32_to_fp16", {fp16, fp16}},
    {"allow_mix_precision", {fp16, fp16}},
    {"allow_mix_precision_fp16", {fp16, fp16}},
    {"cube_fp16in_fp32out", {fp16, fp16}},
    {"bfloat16", {bf16, bf16}},
    {"force_bfloat16", {bf16, bf16}},
    {"mixed_bfloat16", {bf16, bf16}},
    {"allow_fp32_to_bf16", {bf16, bf16}},
    {"allow_mix_precision_bf16", {bf16, bf16}},
    {"qint8", {int8}},
    {"int8_fp32", {int8}},
    {"qint8_mixed_float32", {int8}},
    {"qint8_mixed_float16", {int8, fp16}},
    {"qint8_mixed_bfloat16", {int8, bf16}},
    {"dynamic_int8", {int8_dynamic}},
    {"int8_weight_only", {int8_weights}},
    {"w8a16", {int8_weights}},
    {"int4_weight_only", {int4_weights}},
    {"w4a16", {int4_weights}},
};
constexpr size_t kOwnNames = 9;

}  // namespace

std::string Precision::to_string() const {
  for (const Spelling& s : kSpellings)
    if (s.precision == *this) return std::string(s.text);
  return fmt::format("{}_{}", name_of(products), name_of(rest));
}

Result<Precision> parse_precision(std::string_view text) {
  std::vector<std::string> names;
  for (const Spelling& s : kSpellings) {
    if (s.text == text) return s.precision;
    names.emplace_back(s.text);
  }
  std::string near = did_you_mean(std::string(text), names);
  names.resize(kOwnNames);
  if (near.empty() && text.find("16") != std::string_view::npos && text.find("int") == 0)
    near = "; 16-bit integers are not there, int8_fp16 comes nearest";
  return unsupported(
      fmt::format("precision '{}' is not there{}; there are: {}, and the names "
                  "other tools have for them",
                  text, near, fmt::join(names, ", ")));
}

Result<LayerPrecision> parse_layer_precision(std::string_view text) {
  const auto* found = std::ranges::find(kLayerPrecisions, text);
  if (found != std::end(kLayerPrecisions))
    return static_cast<LayerPrecision>(std::distance(std::begin(kLayerPrecisions), found));
  return invalid_argument(fmt::format("there is no precision '{}' of a layer; there are: {}", text,
                                      fmt::join(kLayerPrecisions, ", ")));
}

}  // namespace tenon::quant

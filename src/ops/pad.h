// Padding.
#pragma once

#include "ops/op.h"

namespace tenon {

enum class PadMode : uint8_t {
  constant,
  reflect,    // mirrored without the edge
  edge,       // the edge repeated
  symmetric,  // mirrored with the edge
  wrap,       // the other end
};
inline constexpr std::array<std::string_view, 5> kPadModeNames{"constant", "reflect", "edge",
                                                               "symmetric", "wrap"};
constexpr std::span<const std::string_view> enum_names(PadMode) {
  return kPadModeNames;
}

// Where the element at position `at` (may be outside of [0, n)) comes from; -1: the value.
int64_t pad_source(PadMode mode, int64_t at, int64_t n);

struct Pad {
  PadMode mode = PadMode::constant;
  std::vector<int64_t> axes;

  static const OpDef def;
  static constexpr std::string_view name = "pad";
  static constexpr std::string_view doc =
      "pad(x, pads [, value]): pads holds the begins of the axes, then the ends; negative ones cut "
      "off; value is 0 by default.";
  static constexpr Arity inputs{2, 3};
  static constexpr auto fields() {
    return std::tuple{Field{1, "mode", &Pad::mode, "what the new elements are"},
                      Field{2, "axes", &Pad::axes, "the axes pads speaks of; empty: all"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  // The begins of every axis of x; negative where the axis is cut off.
  Result<std::vector<int64_t>> begins(int rank, const Tensor& pads) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

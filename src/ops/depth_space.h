// Moving blocks between the channels and the two spatial dimensions, channels last.
#pragma once

#include "ops/op.h"

namespace tenon {

// How channels are split: dcr has the block offsets outermost (TensorFlow), crd innermost.
enum class DepthMode : uint8_t { dcr, crd };
inline constexpr std::array<std::string_view, 2> kDepthModeNames{"dcr", "crd"};
constexpr std::span<const std::string_view> enum_names(DepthMode) {
  return kDepthModeNames;
}

struct DepthToSpace {
  int64_t block = 1;
  DepthMode mode = DepthMode::dcr;

  static const OpDef def;
  static constexpr std::string_view name = "depth_to_space";
  static constexpr std::string_view doc =
      "x [N,H,W,C] to [N, H*block, W*block, C/block²]: channels become blocks of pixels.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "block", &DepthToSpace::block, "side of the square block"},
        Field{2, "mode", &DepthToSpace::mode, "dcr: offsets outermost; crd: innermost"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct SpaceToDepth {
  int64_t block = 1;

  static const OpDef def;
  static constexpr std::string_view name = "space_to_depth";
  static constexpr std::string_view doc =
      "x [N,H,W,C] to [N, H/block, W/block, C*block²]: blocks of pixels become channels, block "
      "offsets outermost.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "block", &SpaceToDepth::block, "side of the square block"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

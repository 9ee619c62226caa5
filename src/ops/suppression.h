// Suppression of overlapping boxes in TensorFlow's later forms: soft, and over classes at once.
#pragma once

#include "ops/op.h"

namespace tenon {

struct SoftNms {
  static const OpDef def;
  static constexpr std::string_view name = "soft_nms";
  static constexpr std::string_view doc =
      "soft_nms(boxes [N,4] of two corners, scores [N], max_output, iou, score_thr, sigma): the "
      "i32 "
      "indices of the boxes kept, best first, and their scores, lowered by exp(-overlap² / (2 "
      "sigma)) for each better box; sigma 0 suppresses beyond iou only.";
  static constexpr Arity inputs{6};
  static constexpr Arity outputs{2};
  static constexpr uint32_t traits = kDataDependent;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct OverlapNms {
  static const OpDef def;
  static constexpr std::string_view name = "overlap_nms";
  static constexpr std::string_view doc =
      "overlap_nms(overlaps f32 [N,N], scores f32 [N], max_output, overlap, score_thr): the i32 "
      "indices of the boxes kept, best first: each overlaps no better one beyond the limit.";
  static constexpr Arity inputs{5};
  static constexpr uint32_t traits = kDataDependent;
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct CombinedNms {
  bool pad_per_class = false;
  bool clip_boxes = true;

  static const OpDef def;
  static constexpr std::string_view name = "combined_nms";
  static constexpr std::string_view doc =
      "combined_nms(boxes [B,N,Q,4], scores [B,N,C], per class, total, iou, score_thr), Q being 1 "
      "or "
      "C: the best boxes of all classes, suppressed class by class: boxes [B,M,4], scores and "
      "classes [B,M] filled up with 0, and their number i32 [B].";
  static constexpr Arity inputs{6};
  static constexpr Arity outputs{4};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "pad_per_class", &CombinedNms::pad_per_class, "M is not above per class * C"},
        Field{2, "clip_boxes", &CombinedNms::clip_boxes, "corners are limited to [0, 1]"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

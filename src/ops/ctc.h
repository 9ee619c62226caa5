// Decoding of the outputs of networks trained with connectionist temporal classification (Graves et
// al., 2006).
#pragma once

#include "ops/op.h"

namespace tenon {

struct CtcBeamSearch {
  int64_t beam_width = 100;
  int64_t paths = 1;
  bool merge_repeated = false;

  static const OpDef def;
  static constexpr std::string_view name = "ctc_beam_search";
  static constexpr std::string_view doc =
      "ctc_beam_search(scores [time, batch, classes], lengths [batch]), the last class being the "
      "blank: for each of the best `paths` the places [n, 2], labels [n] and size [2] of a sparse "
      "tensor, all places first, and the log probabilities [batch, paths].";
  static constexpr Arity inputs{2};
  static constexpr Arity outputs{4, kVariadic};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "beam_width", &CtcBeamSearch::beam_width, "labellings kept at every step"},
        Field{2, "paths", &CtcBeamSearch::paths, "labellings returned, the most probable first"},
        Field{3, "merge_repeated", &CtcBeamSearch::merge_repeated,
              "equal labels in a row become one in the result"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

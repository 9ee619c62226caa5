// How far sequences are apart.
#pragma once

#include "ops/op.h"

namespace tenon {

struct EditDistance {
  bool normalize = true;

  static const OpDef def;
  static constexpr std::string_view name = "edit_distance";
  static constexpr std::string_view doc =
      "edit_distance(places, values, size, places, values, size): for each pair of sequences in "
      "the last dimension of two sparse tensors (hypothesis, truth) how many elements have to be "
      "put in, left out or exchanged, f32.";
  static constexpr Arity inputs{6};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "normalize", &EditDistance::normalize, "divide by the length of the truth"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

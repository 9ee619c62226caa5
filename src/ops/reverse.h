// Reversal along dimensions.
#pragma once

#include "ops/op.h"
#include "ops/strided_view.h"

namespace tenon {

struct Reverse {
  std::vector<int64_t> axes;

  static const OpDef def;
  static constexpr std::string_view name = "reverse";
  static constexpr std::string_view doc = "Reverses the order of elements along dimensions.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axes", &Reverse::axes, "which dimensions"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  std::optional<SymInts> infer_ints(const InferContext& context) const;
  Result<StridedView> strided_view(const EvalContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ReverseSequence {
  int64_t batch_axis = 0;
  int64_t time_axis = 1;

  static const OpDef def;
  static constexpr std::string_view name = "reverse_sequence";
  static constexpr std::string_view doc =
      "reverse_sequence(x, lengths): reverses the first lengths[b] steps of each sequence b.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "batch_axis", &ReverseSequence::batch_axis, "the dimension of sequences"},
        Field{2, "time_axis", &ReverseSequence::time_axis, "the dimension of steps"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

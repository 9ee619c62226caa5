// Probabilities of classes from those of pairs of classes.
#pragma once

#include "ops/op.h"

namespace tenon {

// pairwise_coupling(r [N,k,k]) with r_ij the probability of class i where it is i or j: p [N,k],
// f32. The second method of Wu, Lin and Weng, "Probability estimates for multi-class classification
// by pairwise coupling" (2004). It is no composition of other ops because it ends row by row where
// LIBSVM ends, well before the minimum: no p_i's condition is off by more than 0.005 / k.
struct PairwiseCoupling {
  static const OpDef def;
  static constexpr std::string_view name = "pairwise_coupling";
  static constexpr std::string_view doc =
      "pairwise_coupling(r [N,k,k]): the probabilities [N,k] of k classes from those of their "
      "pairs "
      "(r_ij of i where it is i or j), f32, by the second method of Wu, Lin and Weng (2004), ended "
      "where LIBSVM ends it.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() { return std::tuple{}; }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon

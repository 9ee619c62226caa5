// Ops with sub-graphs. The interpreter and the compiler run them; they have no evaluation here.
#pragma once

#include "ops/op.h"

namespace tenon {

struct If {
  static const OpDef def;
  static constexpr std::string_view name = "if";
  static constexpr std::string_view doc =
      "if(cond, args…): the first sub-graph's results where cond is true, else the second's.";
  static constexpr Arity inputs{1, kVariadic};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr int regions = 2;
  Result<TensorTypes> infer(const InferContext& context) const;
};

struct Case {
  static const OpDef def;
  static constexpr std::string_view name = "case";
  static constexpr std::string_view doc =
      "case(index, args…): the results of the sub-graph of that index; the last for one outside.";
  static constexpr Arity inputs{1, kVariadic};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr int regions = kVariadic;
  Result<TensorTypes> infer(const InferContext& context) const;
};

struct While {
  static const OpDef def;
  static constexpr std::string_view name = "while";
  static constexpr std::string_view doc =
      "while(args…): as long as the first sub-graph holds, args become the second's results.";
  static constexpr Arity inputs{0, kVariadic};
  static constexpr Arity outputs{0, kVariadic};
  static constexpr int regions = 2;
  Result<TensorTypes> infer(const InferContext& context) const;
};

struct Fused {
  static const OpDef def;
  static constexpr std::string_view name = "fused";
  static constexpr std::string_view doc = "A sub-graph that runs as one kernel.";
  static constexpr Arity inputs{0, kVariadic};
  static constexpr Arity outputs{1, kVariadic};
  static constexpr int regions = 1;
  Result<TensorTypes> infer(const InferContext& context) const;
};

}  // namespace tenon

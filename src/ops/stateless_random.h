// Random numbers that are a function of a key and a counter, the same as TensorFlow's stateless
// ops: Philox 4x32-10 (Salmon et al., 2011), one counter step for four 32-bit words.
#pragma once

#include "ops/op.h"

namespace tenon {

struct StatelessKey {
  static const OpDef def;
  static constexpr std::string_view name = "stateless_key";
  static constexpr std::string_view doc =
      "stateless_key(seed of two integers): the key u64 [1] and the counter u64 [2] it stands for.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

enum class StatelessKind : uint8_t { uniform, normal, integers, bits, truncated_normal };
inline constexpr std::array<std::string_view, 5> kStatelessKindNames{
    "uniform", "normal", "integers", "bits", "truncated_normal"};
constexpr std::span<const std::string_view> enum_names(StatelessKind) {
  return kStatelessKindNames;
}

struct StatelessRandom {
  StatelessKind kind = StatelessKind::uniform;
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "stateless_random";
  static constexpr std::string_view doc =
      "stateless_random(shape, key, counter [, low, high]): floats in [0, 1), normally distributed "
      "ones (all, or those below 2), integers in [low, high), or integers of any bits.";
  static constexpr Arity inputs{3, 5};
  static constexpr auto fields() {
    return std::tuple{Field{1, "kind", &StatelessRandom::kind, "how the values are distributed"},
                      Field{2, "dtype", &StatelessRandom::dtype, "of the result"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
